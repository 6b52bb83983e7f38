//! A control socket that runs the stand-in's program for each question, and has faults of its own.

use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

/// What the control socket does instead of its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SocketFault {
    /// Nothing: it works.
    None,
    /// Nobody listens any more; the socket stays in its place, as after a `kill -9`.
    Refused,
    /// It is removed.
    Absent,
    /// It takes connections and never says a word.
    Silent,
    /// It closes each connection at once.
    NoBanner,
    /// What answers is no Asterisk.
    Gibberish,
    /// Another Asterisk answers there, which runs nothing of ours.
    Stranger,
    /// The connection is gone when the question has come.
    Gone,
    /// Verbose messages stand before and behind each answer.
    Verbose,
    /// The answer does not end.
    Flood,
}

struct Shared {
    fault: Mutex<SocketFault>,
    asked: AtomicUsize,
    program: PathBuf,
    real: PathBuf,
}

/// Serves the socket until it is dropped.
pub(crate) struct SocketServer {
    path: PathBuf,
    shared: Arc<Shared>,
}

impl SocketServer {
    pub(crate) fn start(path: &Path, program: &Path, real: &Path) -> Self {
        let listener = UnixListener::bind(path).expect("the stand-in's control socket");
        let shared = Arc::new(Shared {
            fault: Mutex::new(SocketFault::None),
            asked: AtomicUsize::new(0),
            program: program.to_owned(),
            real: real.to_owned(),
        });
        let server = Self { path: path.to_owned(), shared: Arc::clone(&shared) };
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if shared.fault() == SocketFault::Refused {
                    break;
                }
                let shared = Arc::clone(&shared);
                thread::spawn(move || drop(shared.serve(stream)));
            }
        });
        server
    }

    pub(crate) fn misbehave(&self, fault: SocketFault) {
        *self.shared.fault.lock().expect("the fault") = fault;
        match fault {
            SocketFault::Refused => drop(UnixStream::connect(&self.path)),
            SocketFault::Absent => std::fs::remove_file(&self.path).expect("the control socket to go"),
            _ => {}
        }
    }

    pub(crate) fn asked(&self) -> usize {
        self.shared.asked.load(Ordering::SeqCst)
    }
}

impl Drop for SocketServer {
    fn drop(&mut self) {
        *self.shared.fault.lock().expect("the fault") = SocketFault::Refused;
        drop(UnixStream::connect(&self.path));
    }
}

impl Shared {
    fn fault(&self) -> SocketFault {
        *self.fault.lock().expect("the fault")
    }

    fn serve(&self, mut stream: UnixStream) -> std::io::Result<()> {
        let fault = self.fault();
        self.asked.fetch_add(1, Ordering::SeqCst);
        match fault {
            SocketFault::NoBanner => return Ok(()),
            SocketFault::Silent => {
                stream.read_exact(&mut [0; 1])?;
                return Ok(());
            }
            SocketFault::Gibberish => return stream.write_all(b"220 mail.example.com ESMTP\n"),
            SocketFault::Stranger => stream.write_all(b"elsewhere/1/22.0.0\n")?,
            _ => stream.write_all(&banner(&self.real)?)?,
        }
        let question = question(&mut stream)?;
        match fault {
            SocketFault::Stranger => return stream.write_all(b"No objects found.\n\n"),
            SocketFault::Gone => return Ok(()),
            SocketFault::Flood => loop {
                stream.write_all(&[b'x'; 8192])?;
            },
            SocketFault::Verbose => stream.write_all(b"\x7f  == Spawn extension (c, 1, 1) exited\n")?,
            _ => {}
        }
        self.run(&question, &stream)?;
        if fault == SocketFault::Verbose {
            stream.write_all(b"\x7f    -- Executing [1@c:1]\n\x7f and the rest")?;
        }
        Ok(())
    }

    /// Lets the program answer, unless the caller has gone.
    fn run(&self, question: &str, stream: &UnixStream) -> std::io::Result<()> {
        let output: OwnedFd = stream.try_clone()?.into();
        let mut program = Command::new(&self.program);
        program.args(["-rx", question]).process_group(0).stdin(Stdio::null()).stdout(output).stderr(Stdio::null());
        let mut child = program.spawn()?;
        // The program's output is the socket too, so it stays a blocking one.
        stream.set_read_timeout(Some(Duration::from_millis(20)))?;
        let has_gone = || matches!((&*stream).read(&mut [0; 1]), Ok(0));
        drop(program);
        while child.try_wait()?.is_none() {
            if has_gone() {
                let _gone = kill_process_group(Pid::from_child(&child), Signal::KILL);
                child.wait()?;
            }
        }
        Ok(())
    }
}

/// What the real Asterisk says of itself.
fn banner(real: &Path) -> std::io::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(real)?;
    let mut banner = vec![0; 1024];
    let length = stream.read(&mut banner)?;
    banner.truncate(length);
    Ok(banner)
}

/// The command of `cli quit after …`.
fn question(stream: &mut UnixStream) -> std::io::Result<String> {
    let mut text = Vec::new();
    let mut byte = [0];
    while stream.read(&mut byte)? == 1 && byte != [0] {
        text.extend_from_slice(&byte);
    }
    let text = String::from_utf8_lossy(&text).into_owned();
    Ok(text.strip_prefix("cli quit after ").unwrap_or(&text).to_owned())
}
