//! What a stranger may do with a connection.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use pbx_tests::wait::LIMIT;

/// The largest file that anybody may have.
pub(crate) const LARGEST: &str = "GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: x\r\n\r\n";
const SMALL: &str = "GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n";

/// A client that keeps its connection, and what it did last.
pub(crate) struct Stranger {
    pub(crate) kind: Kind,
    stream: TcpStream,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Sends nothing.
    Silent,
    /// Sends its head byte by byte.
    SlowHead,
    /// Is answered, and sends its next head byte by byte.
    SlowNextHead,
    /// Sends its body byte by byte.
    SlowBody,
    /// Asks for the largest file and reads nothing of it.
    NeverReads,
    /// Asks for the largest file and reads a byte of it now and then.
    ReadsSlowly,
    /// Asks for the largest file often, in one go, and reads nothing.
    AsksOften,
    /// Asks, closes its own half, and reads nothing.
    HalfClosed,
    /// Is answered, and then idle.
    Idle,
}

impl Kind {
    pub(crate) const ALL: [Self; 9] = [
        Self::Silent,
        Self::SlowHead,
        Self::SlowNextHead,
        Self::SlowBody,
        Self::NeverReads,
        Self::ReadsSlowly,
        Self::AsksOften,
        Self::HalfClosed,
        Self::Idle,
    ];
}

impl Stranger {
    /// Comes, and begins. Fails where the service has no room.
    pub(crate) fn come(address: SocketAddr, kind: Kind) -> io::Result<Self> {
        let mut stranger = Self::ask(address, kind)?;
        stranger.wait_for_answer()?;
        Ok(stranger)
    }

    /// Comes, and sends what it begins with.
    pub(crate) fn ask(address: SocketAddr, kind: Kind) -> io::Result<Self> {
        let mut stream = TcpStream::connect_timeout(&address, LIMIT)?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.set_write_timeout(Some(LIMIT))?;
        match kind {
            Kind::Silent => {}
            Kind::SlowHead => stream.write_all(b"GET /openapi.json HTTP/1.1\r\nHost:")?,
            Kind::SlowBody => stream.write_all(b"POST /users HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")?,
            Kind::NeverReads | Kind::ReadsSlowly => stream.write_all(LARGEST.as_bytes())?,
            Kind::AsksOften => stream.write_all(LARGEST.repeat(16).as_bytes())?,
            Kind::HalfClosed => {
                stream.write_all(LARGEST.as_bytes())?;
                stream.shutdown(Shutdown::Write)?;
            }
            Kind::SlowNextHead | Kind::Idle => stream.write_all(SMALL.as_bytes())?,
        }
        Ok(Self { kind, stream })
    }

    /// Waits for the answer, if it asked for one; who reads nothing leaves it where it is.
    pub(crate) fn wait_for_answer(&mut self) -> io::Result<()> {
        match self.kind {
            Kind::Silent | Kind::SlowHead | Kind::SlowBody => Ok(()),
            Kind::SlowNextHead | Kind::Idle => self.stream.read_exact(&mut [0; 12]),
            Kind::NeverReads | Kind::ReadsSlowly | Kind::AsksOften | Kind::HalfClosed => {
                self.stream.peek(&mut [0]).map(drop)
            }
        }
    }

    /// Does what it does now and then; an error once it is disconnected.
    pub(crate) fn go_on(&mut self) -> io::Result<()> {
        match self.kind {
            Kind::SlowHead | Kind::SlowNextHead | Kind::SlowBody => self.stream.write_all(b"x"),
            Kind::ReadsSlowly => self.stream.read_exact(&mut [0; 10]),
            _ => Ok(()),
        }
    }

    /// Whether the service ended the connection. What came before its end is read, but for who never reads: there
    /// only the system knows.
    pub(crate) fn is_disconnected(&mut self) -> bool {
        if self.go_on().is_err() {
            return true;
        }
        match self.kind {
            Kind::NeverReads | Kind::ReadsSlowly | Kind::AsksOften | Kind::HalfClosed => {
                self.stream.take_error().is_ok_and(|error| error.is_some()) || self.is_closed()
            }
            _ => {
                self.stream.set_nonblocking(true).expect("a socket");
                let mut buffer = [0; 4096];
                let ended = loop {
                    match self.stream.read(&mut buffer) {
                        Ok(0) => break true,
                        Ok(_) => {}
                        Err(error) => break error.kind() != io::ErrorKind::WouldBlock,
                    }
                };
                self.stream.set_nonblocking(false).expect("a socket");
                ended
            }
        }
    }

    /// Whether the other end is closed, although bytes of it are unread.
    fn is_closed(&self) -> bool {
        use rustix::event::{PollFd, PollFlags, poll};
        let mut here = [PollFd::new(&self.stream, PollFlags::RDHUP)];
        let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut here, Some(&now)).expect("poll");
        here[0].revents().intersects(PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR)
    }
}

/// Sends this, and returns what comes back until the connection ends. Fails where neither comes.
pub(crate) fn exchange(address: SocketAddr, request: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&address, LIMIT)?;
    stream.set_write_timeout(Some(LIMIT))?;
    stream.set_read_timeout(Some(LIMIT))?;
    // A service that refuses early may close before all was written.
    let _refused_early = stream.write_all(request);
    let _closed_already = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    let mut buffer = [0; 16 * 1024];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(answer),
            Ok(read) => answer.extend_from_slice(&buffer[..read]),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                return Err(error);
            }
            // A reset after the answer.
            Err(_) => return Ok(answer),
        }
    }
}

/// Where a portal listens.
pub(crate) fn address(url: &str) -> SocketAddr {
    url.strip_prefix("http://").and_then(|address| address.parse().ok()).expect("a URL")
}

pub(crate) const NOW_AND_THEN: Duration = Duration::from_millis(250);
