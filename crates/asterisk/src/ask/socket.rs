//! Asterisk's control socket, which `asterisk -rx` itself asks: the same answers without a process for each.
//!
//! Asterisk first sends a banner (`host/pid/version`). Then it gets `cli quit after COMMAND` and a zero byte, prints the
//! answer and closes the connection. The answer is what the command prints, byte for byte.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::event::PollFlags;
use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, send, socket_with};

use crate::ask::poll;
use crate::ask::process::{MOST_OUTPUT, Unfinished};

/// A control socket, and the banner of the Asterisk that it was learnt from: another process has another banner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ControlSocket {
    pub(crate) path: PathBuf,
    pub(crate) banner: String,
}

/// The answer to a question.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) banner: String,
    pub(crate) answer: Vec<u8>,
}

/// One question on its way.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: File,
    /// The banner that the socket has to show; `None` accepts any Asterisk.
    expected: Option<String>,
    request: Vec<u8>,
    banner: Option<String>,
    received: Vec<u8>,
}

/// Longer than any banner: a host name, a number and a version.
const LONGEST_BANNER: usize = 1024;

impl Connection {
    /// Connects, without waiting. That too many others wait to be let in is an error of the kind `WouldBlock`.
    pub(crate) fn open(path: &Path, expected: Option<&str>, question: &str) -> io::Result<Self> {
        let address = SocketAddrUnix::new(path)?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket: OwnedFd = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        connect(&socket, &address)?;
        Ok(Self {
            stream: socket.into(),
            expected: expected.map(str::to_owned),
            request: format!("cli quit after {question}\0").into_bytes(),
            banner: None,
            received: Vec::with_capacity(16 << 10),
        })
    }

    /// What to wait for before [`Self::proceed`] finds something new.
    pub(crate) fn source(&self) -> (BorrowedFd<'_>, PollFlags) {
        let is_to_be_sent = self.banner.is_some() && !self.request.is_empty();
        (self.stream.as_fd(), if is_to_be_sent { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN })
    }

    /// Does what can be done without waiting; the reply once Asterisk has closed the connection.
    pub(crate) fn proceed(&mut self) -> Result<Option<Reply>, Unfinished> {
        let read = poll::read(&mut self.stream, &mut self.received);
        if self.banner.is_none() && !self.take_banner(&read)? {
            return Ok(None);
        }
        self.send()?;
        match read.map_err(Unfinished::Broken)? {
            _ if self.received.len() > MOST_OUTPUT => Err(Unfinished::endless()),
            false => Ok(None),
            true => Ok(Some(Reply {
                banner: self.banner.take().unwrap_or_default(),
                answer: without_verbose_lines(std::mem::take(&mut self.received)),
            })),
        }
    }

    /// Whether Asterisk has said who it is; an error where that is not who is meant.
    fn take_banner(&mut self, read: &io::Result<bool>) -> Result<bool, Unfinished> {
        let not_asked = |why: &str| Err(Unfinished::NotAsked(why.to_owned()));
        let Some(end) = self.received.iter().position(|byte| *byte == b'\n') else {
            return match read {
                _ if self.received.len() > LONGEST_BANNER => not_asked("what answers there is no Asterisk"),
                Ok(false) => Ok(false),
                Ok(true) => not_asked("it says nothing"),
                Err(error) => not_asked(&error.to_string()),
            };
        };
        let banner = String::from_utf8_lossy(&self.received[..end]).into_owned();
        self.received.drain(..=end);
        let is_banner = banner.split('/').nth(1).is_some_and(|pid| pid.parse::<u32>().is_ok());
        if !is_banner || self.expected.as_ref().is_some_and(|expected| *expected != banner) {
            return not_asked("another program answers there");
        }
        self.banner = Some(banner);
        Ok(true)
    }

    fn send(&mut self) -> Result<(), Unfinished> {
        while !self.request.is_empty() {
            match send(&self.stream, &self.request, SendFlags::NOSIGNAL) {
                Ok(sent) => drop(self.request.drain(..sent)),
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => break,
                Err(error) => return Err(Unfinished::Broken(error.into())),
            }
        }
        Ok(())
    }
}

/// Without the verbose messages that Asterisk prints on every console between the lines of the answer: lines that begin
/// with byte 127.
fn without_verbose_lines(answer: Vec<u8>) -> Vec<u8> {
    const VERBOSE: u8 = 127;
    if !answer.contains(&VERBOSE) {
        return answer;
    }
    answer
        .split_inclusive(|byte| *byte == b'\n')
        .filter(|line| line.first() != Some(&VERBOSE))
        .flatten()
        .copied()
        .collect()
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::{BufRead as _, BufReader, Read as _, Write as _};
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::time::{Duration, Instant};

    use super::*;

    /// A control socket in a directory of its own; `talk` does the rest of each connection behind the banner.
    pub(crate) fn listening(
        banner: &'static [u8],
        talk: impl Fn(UnixStream) + Send + 'static,
    ) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("asterisk.ctl");
        listen(&path, banner, talk);
        (directory, path)
    }

    pub(crate) fn listen(path: &Path, banner: &'static [u8], talk: impl Fn(UnixStream) + Send + 'static) {
        let listener = UnixListener::bind(path).unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                stream.write_all(banner).unwrap();
                talk(stream);
            }
        });
    }

    /// What it is asked, up to the zero byte.
    pub(crate) fn question(stream: &mut UnixStream) -> String {
        let mut question = Vec::new();
        // Who found another banner has gone.
        _ = BufReader::new(stream).read_until(0, &mut question);
        question.pop();
        String::from_utf8(question).unwrap()
    }

    fn reply(path: &Path, expected: Option<&str>, question: &str) -> Result<Reply, Unfinished> {
        let mut connection = Connection::open(path, expected, question).unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            if let Some(reply) = connection.proceed()? {
                return Ok(reply);
            }
            assert!(Instant::now() < deadline, "no reply");
            poll::wait([connection.source()], deadline).unwrap();
        }
    }

    const BANNER: &[u8] = b"host/123/22.7.0\n";

    #[test]
    fn verbose_lines_are_no_part_of_an_answer() {
        let answer = b"one\n\x7fverbose\ntwo \x7f\n\x7f".to_vec();
        assert_eq!(without_verbose_lines(answer), b"one\ntwo \x7f\n");
    }

    #[test]
    fn the_banner_comes_first_and_the_answer_ends_with_the_connection() {
        // More than fits into the socket at once.
        let long = "x".repeat(1 << 20);
        let (_directory, path) = listening(BANNER, |mut stream| {
            let question = question(&mut stream);
            stream.write_all(format!("{} {}", &question[..20], question.len()).as_bytes()).unwrap();
        });
        for expected in [None, Some("host/123/22.7.0")] {
            let Reply { banner, answer } = reply(&path, expected, &long).unwrap();
            assert_eq!(banner, "host/123/22.7.0");
            assert_eq!(String::from_utf8(answer).unwrap(), format!("cli quit after xxxxx {}", 15 + long.len()));
        }
    }

    #[test]
    fn who_is_not_the_asterisk_that_is_meant_is_not_asked() {
        static LONG: [u8; LONGEST_BANNER + 1] = [b'x'; LONGEST_BANNER + 1];
        let other = "another program answers there";
        for (banner, why) in [
            (b"host/124/22.7.0\n".as_slice(), other),
            (b"220 mail.example.com ESMTP\n", other),
            (b"host/pid/version\n", other),
            (b"host/123/22.7.0", "it says nothing"),
            (&LONG[1..], "it says nothing"),
            (&LONG, "what answers there is no Asterisk"),
        ] {
            let (_directory, path) = listening(banner, drop);
            let Err(Unfinished::NotAsked(said)) = reply(&path, Some("host/123/22.7.0"), "x") else {
                panic!("{banner:?}")
            };
            assert_eq!(said, why);
        }
    }

    #[test]
    fn nobody_is_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("asterisk.ctl");
        let _silent = UnixListener::bind(&path).unwrap();
        let mut connection = Connection::open(&path, None, "x").unwrap();
        assert!(connection.proceed().unwrap().is_none());
        // It could be written to all the time, which would wake us for nothing.
        assert_eq!(connection.source().1, PollFlags::IN);
    }

    #[test]
    fn a_connection_that_breaks_after_the_question_is_no_answer() {
        let (_directory, path) = listening(BANNER, |mut stream| {
            stream.read_exact(&mut [0]).unwrap();
            stream.write_all(b"half").unwrap();
        });
        assert!(matches!(reply(&path, None, "x"), Err(Unfinished::Broken(_))));
    }

    #[test]
    fn an_answer_that_does_not_end_is_cut_off() {
        let (_directory, path) = listening(BANNER, |mut stream| {
            question(&mut stream);
            while stream.write_all(&[b'x'; 1 << 12]).is_ok() {}
        });
        assert!(matches!(reply(&path, None, "x"), Err(Unfinished::Failed(_))));
    }
}
