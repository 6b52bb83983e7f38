//! A child process that cannot outlive its deadline or flood us.

use std::{
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::process::{CommandExt as _, ExitStatusExt as _},
    },
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open},
};

/// More than a listing of 100 000 users; whoever prints more is not answering a question.
const MOST_OUTPUT: usize = 64 << 20;

/// What a process said until it ended.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

/// Why there is no [`Output`].
#[derive(Debug)]
pub(crate) enum Unfinished {
    CannotStart(io::Error),
    TimedOut,
    TooMuchOutput,
    Lost(io::Error),
}

/// Runs `command` to its end, in a process group of its own, which is killed at `deadline`.
pub(crate) fn run(mut command: Command, deadline: Instant) -> Result<Output, Unfinished> {
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(Unfinished::CannotStart)?;
    Group { leader: child, ended: false }.wait(deadline)
}

/// A child with all that it started; dropped, none of them lives on.
struct Group {
    leader: Child,
    ended: bool,
}

impl Group {
    fn wait(mut self, deadline: Instant) -> Result<Output, Unfinished> {
        let pidfd = pidfd_open(Pid::from_child(&self.leader), PidfdFlags::empty()).map_err(lost)?;
        let (mut stdout, mut stderr) = (self.leader.stdout.take(), self.leader.stderr.take());
        let (mut out, mut err) = (Vec::new(), Vec::new());
        while stdout.is_some() || stderr.is_some() {
            let ready = wait_readable([stdout.as_ref().map(AsFd::as_fd), stderr.as_ref().map(AsFd::as_fd)], deadline)?;
            if ready[0] {
                read_once(&mut stdout, &mut out)?;
            }
            if ready[1] {
                read_once(&mut stderr, &mut err)?;
            }
            if out.len() + err.len() > MOST_OUTPUT {
                return Err(Unfinished::TooMuchOutput);
            }
        }
        wait_readable([Some(pidfd.as_fd()), None], deadline)?;
        let status = self.end().map_err(Unfinished::Lost)?;
        Ok(Output { status, stdout: out, stderr: err })
    }

    /// Kills what is left of the group, and only then takes the leader's status: until then the
    /// group's number cannot become a stranger's.
    fn end(&mut self) -> io::Result<ExitStatus> {
        self.ended = true;
        match kill_process_group(Pid::from_child(&self.leader), Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => log::warn!("process group {} could not be killed: {error}", self.leader.id()),
        }
        self.leader.wait()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if !self.ended
            && let Err(error) = self.end()
        {
            log::warn!("process {} could not be waited for: {error}", self.leader.id());
        }
    }
}

fn lost(error: rustix::io::Errno) -> Unfinished {
    Unfinished::Lost(error.into())
}

/// Waits until one of `sources` can be read, or has ended.
fn wait_readable(sources: [Option<BorrowedFd<'_>>; 2], deadline: Instant) -> Result<[bool; 2], Unfinished> {
    let mut polled: Vec<_> = sources.iter().flatten().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Unfinished::TimedOut);
        }
        match poll(&mut polled, Some(&timespec(left))) {
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => break,
            Err(error) => return Err(lost(error)),
        }
    }
    let mut answers = polled.iter().map(|fd| !fd.revents().is_empty());
    Ok(sources.map(|source| source.is_some() && answers.next().unwrap_or(false)))
}

fn timespec(duration: Duration) -> Timespec {
    Timespec { tv_sec: duration.as_secs().try_into().unwrap_or(i64::MAX), tv_nsec: duration.subsec_nanos().into() }
}

/// Reads what is there; forgets the source at its end.
fn read_once(source: &mut Option<impl io::Read>, into: &mut Vec<u8>) -> Result<(), Unfinished> {
    let mut buffer = [0; 16 << 10];
    if let Some(pipe) = source {
        match pipe.read(&mut buffer) {
            Ok(0) => *source = None,
            Ok(length) => into.extend_from_slice(&buffer[..length]),
            // There is something to read, so no signal interrupts it.
            Err(error) => return Err(Unfinished::Lost(error)),
        }
    }
    Ok(())
}

/// How a process ended, for people.
pub(crate) fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => "an unknown end".to_owned(),
    }
}
