//! `pbx-portal serve` and `pbx-portal migrate`.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::time::Duration;

use actix_http::error::DispatchError;
use actix_http::{HttpService, KeepAlive, Protocol};
use actix_server::{Server, ServerBuilder};
use actix_service::{ServiceFactoryExt as _, fn_service, map_config};
use actix_web::dev::AppConfig;
use actix_web::middleware::from_fn;
use actix_web::rt::System;
use actix_web::rt::net::{TcpSocket, TcpStream};
use actix_web::rt::signal::unix::{SignalKind, signal};
use actix_web::{App, web};
use anyhow::Context as _;
use pbx_persistence::Database;
use sd_notify::NotifyState;

use crate::http::access;
use crate::http::clients::{Client, Strangers};
use crate::http::connection::ClientConnection;
use crate::http::work::Work;
use crate::operations::apply::Applier;
use crate::operations::listing::ListingCache;
use crate::program::systemd::{self, Pulse};
use crate::{AppState, Settings, configure};

/// How long a client may take to send the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may take to close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// The most connections at once; more wait in the listener's queue. A process has 1024 descriptors where nobody says
/// more.
const MAX_CONNECTIONS: usize = 768;
/// The most connections at once of clients that showed no token; one of them makes room for another.
const MAX_STRANGERS: usize = 512;
/// How many connections may wait to be accepted. Accepting is fast, but many may arrive at once.
const BACKLOG: u32 = 1024;
/// The send buffer that is asked for each connection; the system makes it twice as large.
const SEND_BUFFER: u32 = 64 * 1024;
/// How much of an answer is copied at a time.
const WRITE_BUFFER: usize = 8 * 1024;

/// Recovers from an interrupted apply, migrates the database, then serves until SIGTERM or SIGINT, and ends
/// what was begun.
///
/// # Errors
///
/// An interrupted apply cannot be recovered from, the database cannot be reached within `database.timeout_seconds` or cannot be
/// migrated, the address cannot be bound, or the server fails.
pub fn serve(settings: Settings) -> anyhow::Result<()> {
    let database = connect(&settings)?;
    // The files before anything that may fail for other reasons: Asterisk may start with them at any moment.
    let applier = Applier::new(&settings, &database)?;
    migrate(&settings)?;
    applier.close_open_records()?;
    System::new().block_on(run(settings, database, applier))
}

/// Brings the database up to date; returns the names of the migrations that it ran.
///
/// # Errors
///
/// The database cannot be reached within `database.timeout_seconds`, or a migration fails.
pub fn migrate(settings: &Settings) -> anyhow::Result<Vec<String>> {
    let database = connect(settings)?;
    let applied = database.migrate().context("the database cannot be migrated")?;
    for migration in &applied {
        log::info!("migrated the database: {migration}");
    }
    Ok(applied)
}

fn connect(settings: &Settings) -> anyhow::Result<Database> {
    let database = &settings.database;
    Database::connect(database.url.reveal(), database.pool_size, database.timeout)
        .context("database.url cannot be used")
}

/// Accepted connections inherit the size of the send buffer.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)?.into_std()
}

async fn run(mut settings: Settings, database: Database, applier: Applier) -> anyhow::Result<()> {
    let listener = listen(settings.bind).with_context(|| {
        format!("server.bind: cannot listen on {}; free it or choose another address", settings.bind)
    })?;
    let address = listener.local_addr().context("server.bind: the address is not known")?;
    settings.bind = address;
    let (work, listing) = (Work::default(), ListingCache::default());
    let state = web::Data::new(AppState { settings, database, applier, work, listing });
    let settings = &state.settings;
    let shutdown_timeout = settings.shutdown_timeout();
    let pulse = Pulse::default();
    let server = server(&state, listener, &pulse)?;

    if settings.tokens.is_empty() {
        log::warn!("auth.tokens is empty: everybody who reaches {address} on this host may do everything");
    }
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be waited for")?;
    let stopping_pulse = pulse.clone();
    actix_web::rt::spawn(async move {
        if terminate.recv().await.is_some() {
            stopping_pulse.workers_end();
            log::info!("stopping: requests under way end first");
            systemd::stopping(shutdown_timeout * 2);
        }
    });
    let server = server.run();
    log::info!("pbx-portal {} listens on http://{address}", env!("CARGO_PKG_VERSION"));
    systemd::notify(&[NotifyState::Ready]);
    systemd::start_watchdog(pulse);
    server.await.context("the server failed")?;

    let left = state.work.drain(shutdown_timeout);
    if left > 0 {
        log::error!("stopped with {left} pieces of work not ended");
    } else {
        log::info!("stopped");
    }
    Ok(())
}

/// The server as `HttpServer` makes it, but for the `ClientConnection`.
fn server(state: &web::Data<AppState>, listener: TcpListener, pulse: &Pulse) -> anyhow::Result<ServerBuilder> {
    let (shared, workers_pulse, address) = (state.clone(), pulse.clone(), state.settings.bind);
    let max_strangers = MAX_STRANGERS.div_ceil(state.settings.workers);
    let server =
        Server::build().workers(state.settings.workers).shutdown_timeout(state.settings.shutdown_timeout().as_secs());
    let draining = server.graceful_shutdown_signal();
    server
        .max_concurrent_connections(MAX_CONNECTIONS.div_ceil(state.settings.workers))
        .listen("http", listener, move || {
            let (state, draining) = (shared.clone(), draining.clone());
            workers_pulse.beat_on_this_thread();
            let strangers = Strangers::new(max_strangers);
            let stop = move || {
                let draining = draining.clone();
                async move { draining.notified().await }
            };
            let app = App::new().app_data(state).configure(configure).wrap(from_fn(access::observe));
            let http = HttpService::build()
                .client_request_timeout(HEAD_TIMEOUT)
                .client_disconnect_timeout(CLOSE_TIMEOUT)
                // The `ClientConnection` limits how long it may wait for its next request.
                .keep_alive(KeepAlive::Os)
                .h1_write_buffer_size(WRITE_BUFFER)
                .local_addr(address)
                .graceful_shutdown_signal(stop.clone())
                .on_connect_ext(|connection: &ClientConnection, shown| {
                    shown.insert::<Rc<Client>>(Rc::clone(connection.client()));
                })
                .finish(map_config(app, |()| AppConfig::default()));
            fn_service(move |stream: TcpStream| {
                let peer = stream.peer_addr().ok();
                let client = strangers.admit(peer.map(|peer| peer.ip()));
                let connection = ClientConnection::new(stream, client, stop());
                async move { Ok::<_, DispatchError>((connection, Protocol::Http1, peer)) }
            })
            .and_then(http)
        })
        .context("the server cannot be set up")
}
