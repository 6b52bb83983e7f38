//! A network link on loopback that a test can cut.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// Forwards connections to an address until it is cut. A cut link is silent, as a cable that was pulled: nothing is
/// refused or closed, and nothing passes. Its threads end with their connections.
pub(crate) struct Link {
    port: u16,
    cut: Arc<AtomicBool>,
}

impl Link {
    pub(crate) fn to(address: String) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port for the link");
        let port = listener.local_addr().expect("the link's address").port();
        let cut = Arc::new(AtomicBool::new(false));
        let link = Self { port, cut: Arc::clone(&cut) };
        thread::spawn(move || {
            for near in listener.incoming().flatten() {
                // If the other end is gone, so is this one.
                let Ok(far) = TcpStream::connect(&address) else { continue };
                let ends = [(near.try_clone(), far.try_clone()), (Ok(far), Ok(near))];
                for (from, to) in ends {
                    let (Ok(from), Ok(to)) = (from, to) else { continue };
                    let cut = Arc::clone(&cut);
                    thread::spawn(move || forward(from, to, &cut));
                }
            }
        });
        link
    }

    /// Where it listens.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn set_cut(&self, cut: bool) {
        self.cut.store(cut, Ordering::SeqCst);
    }
}

fn forward(mut from: TcpStream, mut to: TcpStream, cut: &AtomicBool) {
    let mut bytes = [0; 16_384];
    loop {
        let read = from.read(&mut bytes).unwrap_or(0);
        while cut.load(Ordering::SeqCst) {
            thread::sleep(Duration::from_millis(20));
        }
        if read == 0 || to.write_all(&bytes[..read]).is_err() {
            // The other direction's read ends with it.
            let _closed_already = to.shutdown(std::net::Shutdown::Both);
            return;
        }
    }
}
