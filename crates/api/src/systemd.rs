//! What systemd is told: that the service is ready, stops, and still answers.

use std::{
    io::{self, Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    sync::OnceLock,
    thread,
    time::Duration,
};

use sd_notify::NotifyState;

use crate::request_id::{RequestId, X_REQUEST_ID};

/// The id of the watchdog's own requests, which nobody else knows.
static PROBE: OnceLock<RequestId> = OnceLock::new();

pub(crate) fn is_own_probe(id: &RequestId) -> bool {
    PROBE.get() == Some(id)
}

pub(crate) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// Says that the service stops, and how long that may take: an apply under way is given its time,
/// whatever the unit's `TimeoutStopSec`.
pub(crate) fn stopping(limit: Duration) {
    let limit = u32::try_from(limit.as_micros()).unwrap_or(u32::MAX);
    tell(&[NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(limit)]);
}

/// The line that `systemctl status` shows.
pub(crate) fn status(line: &str) {
    tell(&[NotifyState::Status(line)]);
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        log::warn!("systemd cannot be told: {error}");
    }
}

/// Feeds systemd's watchdog, where the unit has one, as long as the service answers requests:
/// a thread of its own asks the service itself, as any client would.
pub(crate) fn start_watchdog(bound: SocketAddr) {
    let Some(limit) = sd_notify::watchdog_enabled() else { return };
    let (interval, patience) = (limit / 4, limit / 4);
    let address = reachable(bound);
    let watch = move || loop {
        match ask(address, patience) {
            Ok(()) => tell(&[NotifyState::Watchdog]),
            Err(error) => log::error!("the watchdog got no answer from http://{address}: {error}"),
        }
        thread::sleep(interval);
    };
    if let Err(error) = thread::Builder::new().name("watchdog".to_owned()).spawn(watch) {
        log::error!("the watchdog cannot start: {error}");
    }
}

fn ask(address: SocketAddr, patience: Duration) -> io::Result<()> {
    let id = PROBE.get_or_init(RequestId::generate);
    let mut stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    write!(
        stream,
        "HEAD /openapi.json HTTP/1.1\r\nHost: {address}\r\n{X_REQUEST_ID}: {id}\r\nConnection: close\r\n\r\n"
    )?;
    let mut status = [0; 12];
    stream.read_exact(&mut status)?;
    if &status == b"HTTP/1.1 200" { Ok(()) } else { Err(io::Error::other(status.escape_ascii().to_string())) }
}

/// Where a service that listens everywhere can be reached.
const fn reachable(bound: SocketAddr) -> SocketAddr {
    match bound.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), bound.port()),
        IpAddr::V6(ip) if ip.is_unspecified() => SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), bound.port()),
        _ => bound,
    }
}
