//! Free ports on 127.0.0.1.

use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::process;
use std::sync::atomic::{AtomicU16, Ordering};

/// Below the ports that the kernel assigns, so that no socket of a neighbour lands on one between the look
/// and the use.
const FIRST: u16 = 10_240;
/// Where the audio ports of the private Asterisks begin.
const END: u16 = 20_000;
/// A phone needs its port and a few behind it (audio, its control, `sipp`'s command port).
const STEP: u16 = 10;
const BLOCKS: u16 = (END - FIRST) / STEP;

/// Ten ports that nobody uses, and that no other test of this machine gets while the value lives.
pub struct Ports {
    first: u16,
    /// A name that one process at a time can have, gone with it, however it ends.
    _reservation: UnixListener,
}

impl Ports {
    /// Reserves ten.
    ///
    /// # Panics
    /// When none are free.
    pub fn reserve() -> Self {
        static TAKEN: AtomicU16 = AtomicU16::new(0);
        // Several test programs may run at once: each starts elsewhere.
        let start = u16::try_from(process::id() % u32::from(BLOCKS)).unwrap_or_default().wrapping_mul(37);
        let reserved = (0..BLOCKS).find_map(|_| {
            let offset = TAKEN.fetch_add(1, Ordering::Relaxed);
            Self::at(FIRST + start.wrapping_add(offset) % BLOCKS * STEP)
        });
        reserved.unwrap_or_else(|| panic!("no free port between {FIRST} and {END} on 127.0.0.1"))
    }

    fn at(first: u16) -> Option<Self> {
        let name = SocketAddr::from_abstract_name(format!("pbx-tests-port-{first}")).ok()?;
        let reservation = UnixListener::bind_addr(&name).ok()?;
        let free =
            |port| UdpSocket::bind(("127.0.0.1", port)).is_ok() && TcpListener::bind(("127.0.0.1", port)).is_ok();
        (first..first + STEP).all(free).then_some(Self { first, _reservation: reservation })
    }

    /// The first of them.
    #[must_use]
    pub const fn first(&self) -> u16 {
        self.first
    }
}
