//! A control socket that runs the stand-in's program for each question that a rule is about, hands every other to the real
//! Asterisk, and has faults of its own.

use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
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
    Elsewhere,
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
    directory: PathBuf,
    real: PathBuf,
}

/// Serves the socket until it is dropped.
pub(crate) struct SocketServer {
    path: PathBuf,
    shared: Arc<Shared>,
}

impl SocketServer {
    /// In the stand-in's directory.
    pub(crate) fn start(directory: &Path, real: &Path) -> Self {
        let path = directory.join("asterisk.ctl");
        let listener = UnixListener::bind(&path).expect("the stand-in's control socket");
        let shared = Arc::new(Shared {
            fault: Mutex::new(SocketFault::None),
            asked: AtomicUsize::new(0),
            directory: directory.to_owned(),
            real: real.to_owned(),
        });
        let server = Self { path, shared: Arc::clone(&shared) };
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if shared.fault() == SocketFault::Refused {
                    break;
                }
                let shared = Arc::clone(&shared);
                thread::spawn(move || {
                    // What the caller did not wait for is reported to nobody.
                    drop(shared.serve(&stream));
                    stream.shutdown(Shutdown::Both)
                });
            }
        });
        server
    }

    pub(crate) fn misbehave(&self, fault: SocketFault) {
        *self.shared.fault.lock().expect("the fault") = fault;
        match fault {
            SocketFault::Refused => drop(UnixStream::connect(&self.path)),
            SocketFault::Absent => fs::remove_file(&self.path).expect("the control socket to go"),
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

    fn serve(&self, mut stream: &UnixStream) -> io::Result<()> {
        let fault = self.fault();
        let mut real = None;
        self.asked.fetch_add(1, Ordering::SeqCst);
        match fault {
            SocketFault::NoBanner => return Ok(()),
            SocketFault::Silent => {
                stream.read_exact(&mut [0; 1])?;
                return Ok(());
            }
            SocketFault::Gibberish => return stream.write_all(b"220 mail.example.com ESMTP\n"),
            SocketFault::Elsewhere => stream.write_all(b"elsewhere/1/22.0.0\n")?,
            _ => {
                let asterisk = real.insert(UnixStream::connect(&self.real)?);
                let mut banner = [0; 1024];
                let length = asterisk.read(&mut banner)?;
                stream.write_all(&banner[..length])?;
            }
        }
        let question = question(stream)?;
        match fault {
            SocketFault::Elsewhere => return stream.write_all(b"No objects found.\n\n"),
            SocketFault::Gone => return Ok(()),
            SocketFault::Flood => loop {
                stream.write_all(&[b'x'; 8192])?;
            },
            SocketFault::Verbose => stream.write_all(b"\x7f  == Spawn extension (c, 1, 1) exited\n")?,
            _ => {}
        }
        match real {
            Some(real) if !self.has_rule(&question) => self.forward(&question, stream, real)?,
            _ => self.run(&question, stream)?,
        }
        if fault == SocketFault::Verbose {
            stream.write_all(b"\x7f    -- Executing [1@c:1]\n\x7f and the rest")?;
        }
        Ok(())
    }

    /// Whether a rule is about this command, still active or used up.
    fn has_rule(&self, command: &str) -> bool {
        fs::read_dir(self.directory.join("rules")).into_iter().flatten().flatten().any(|rule| {
            let pattern = fs::read_to_string(rule.path().join("pattern")).unwrap_or_default();
            pattern.split_once('*').map_or(command == pattern, |(start, _)| command.starts_with(start))
        })
    }

    /// Lets the real one answer, unless the caller has gone: what the program would do, without the 20 ms of CPU of a shell
    /// and a client. Measured, these were a fifth of what all tests take.
    fn forward(&self, question: &str, mut stream: &UnixStream, mut real: UnixStream) -> io::Result<()> {
        let mut commands = OpenOptions::new().append(true).create(true).open(self.directory.join("commands"))?;
        commands.write_all(format!("{question}\n").as_bytes())?;
        let (mut caller, given_up) = (stream.try_clone()?, real.try_clone()?);
        thread::spawn(move || {
            let _gone = caller.read(&mut [0; 1]);
            given_up.shutdown(Shutdown::Both)
        });
        real.write_all(format!("cli quit after {question}\0").as_bytes())?;
        io::copy(&mut real, &mut stream).map(drop)
    }

    /// Lets the program answer, unless the caller has gone.
    fn run(&self, question: &str, stream: &UnixStream) -> io::Result<()> {
        let output: OwnedFd = stream.try_clone()?.into();
        let mut program = Command::new(self.directory.join("served"));
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

/// The command of `cli quit after …`.
fn question(mut stream: &UnixStream) -> io::Result<String> {
    let mut text = Vec::new();
    let mut byte = [0];
    while stream.read(&mut byte)? == 1 && byte != [0] {
        text.extend_from_slice(&byte);
    }
    let text = String::from_utf8_lossy(&text).into_owned();
    Ok(text.strip_prefix("cli quit after ").unwrap_or(&text).to_owned())
}
