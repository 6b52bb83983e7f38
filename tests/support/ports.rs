//! Free ports on 127.0.0.1.

use std::net::{TcpListener, UdpSocket};
use std::process;
use std::sync::atomic::{AtomicU16, Ordering};

/// Below the ports that the kernel hands out by itself, so that no socket of a neighbour lands on one between the look
/// and the use.
const FIRST: u16 = 10_240;
/// Where the audio ports of the private Asterisks begin.
const END: u16 = 20_000;
/// A phone needs its port and a few behind it (audio, its control, `sipp`'s command port).
const STEP: u16 = 10;
const BLOCKS: u16 = (END - FIRST) / STEP;

/// The first of ten ports that nobody uses.
pub(crate) fn free_port() -> u16 {
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    // Several test programs may run at once: each starts elsewhere.
    let start = u16::try_from(process::id() % u32::from(BLOCKS)).unwrap_or_default().wrapping_mul(37);
    for _ in 0..BLOCKS {
        let turn = TAKEN.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + start.wrapping_add(turn) % BLOCKS * STEP;
        let free =
            |port| UdpSocket::bind(("127.0.0.1", port)).is_ok() && TcpListener::bind(("127.0.0.1", port)).is_ok();
        if (port..port + STEP).all(free) {
            return port;
        }
    }
    panic!("no free port between {FIRST} and {END} on 127.0.0.1")
}
