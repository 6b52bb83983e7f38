//! The floor of an answer out of memory: the server that the portal is built with, and nothing but a body of that size.

use std::sync::mpsc;
use std::thread;

use actix_web::dev::ServerHandle;
use actix_web::rt::System;
use actix_web::web::{self, Bytes};
use actix_web::{App, HttpResponse, HttpServer};

/// Runs as long as the value.
pub(crate) struct StaticServer {
    pub(crate) url: String,
    handle: ServerHandle,
}

impl StaticServer {
    /// As many workers as the portal has by default.
    pub(crate) fn start(size: usize) -> Self {
        let (sender, started) = mpsc::channel();
        let body = Bytes::from(vec![b' '; size]);
        thread::spawn(move || {
            System::new().block_on(async move {
                let answer = move || {
                    let body = body.clone();
                    async move { HttpResponse::Ok().body(body) }
                };
                let server = HttpServer::new(move || App::new().route("/", web::get().to(answer.clone())));
                let workers = thread::available_parallelism().map_or(1, std::num::NonZero::get);
                let server = server.workers(workers).disable_signals().bind("127.0.0.1:0").expect("a free port");
                let url = format!("http://{}", server.addrs()[0]);
                let server = server.run();
                sender.send((url, server.handle())).expect("somebody waits");
                server.await.expect("the static server");
            });
        });
        let (url, handle) = started.recv().expect("the static server");
        Self { url, handle }
    }
}

impl Drop for StaticServer {
    fn drop(&mut self) {
        // Told to stop, not waited for.
        drop(self.handle.stop(false));
    }
}
