//! A child process that cannot outlive the thread that waits for it, or flood us.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Instant;

use rustix::event::PollFlags;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use crate::ask::poll;
use crate::files::file::said;

/// More than a listing of 100 000 users: a program that prints more does not answer the question.
pub(crate) const MOST_OUTPUT: usize = 64 << 20;

/// Why a question brought nothing.
#[derive(Debug)]
pub(crate) enum Unfinished {
    /// It was not asked over the control socket: nobody listens, it is no Asterisk, or not the one that is meant.
    NotAsked(String),
    /// The connection broke after the question.
    Broken(io::Error),
    /// The process cannot be waited for, or says too much.
    Failed(String),
}

impl Unfinished {
    pub(crate) fn endless() -> Self {
        Self::Failed("its output does not end".to_owned())
    }

    fn lost(error: &io::Error) -> Self {
        Self::Failed(format!("its process was lost: {}", said(error)))
    }
}

/// A program that runs, with all that it started: dropped, none of them lives on.
#[derive(Debug)]
pub(crate) struct Process {
    group: Group,
    pidfd: OwnedFd,
    out: Vec<u8>,
    err: Vec<u8>,
}

impl Process {
    /// Starts `command` in a process group of its own.
    pub(crate) fn start(mut command: Command) -> io::Result<Self> {
        let child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).spawn()?;
        let group = Group { leader: child, ended: false };
        let pidfd = pidfd_open(Pid::from_child(&group.leader), PidfdFlags::empty())?;
        let process = Self { group, pidfd, out: Vec::new(), err: Vec::new() };
        for pipe in process.open_pipes() {
            fcntl_setfl(pipe, fcntl_getfl(pipe)? | OFlags::NONBLOCK)?;
        }
        Ok(process)
    }

    fn open_pipes(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let Child { stdout, stderr, .. } = &self.group.leader;
        stdout.as_ref().map(AsFd::as_fd).into_iter().chain(stderr.as_ref().map(AsFd::as_fd))
    }

    /// What to wait for before [`Self::proceed`] finds something new.
    pub(crate) fn sources(&self) -> impl Iterator<Item = (BorrowedFd<'_>, PollFlags)> {
        let end = self.open_pipes().next().is_none().then_some(self.pidfd.as_fd());
        self.open_pipes().chain(end).map(|source| (source, PollFlags::IN))
    }

    /// Reads what is there, without waiting; what was said once the process has ended.
    pub(crate) fn proceed(&mut self) -> Result<Option<Output>, Unfinished> {
        read(&mut self.group.leader.stdout, &mut self.out)?;
        read(&mut self.group.leader.stderr, &mut self.err)?;
        if self.out.len() + self.err.len() > MOST_OUTPUT {
            return Err(Unfinished::endless());
        }
        if self.open_pipes().next().is_some() || !poll::is_now(self.pidfd.as_fd()) {
            return Ok(None);
        }
        let status = self.group.end().map_err(|error| Unfinished::lost(&error))?;
        Ok(Some(Output { status, stdout: std::mem::take(&mut self.out), stderr: std::mem::take(&mut self.err) }))
    }
}

#[derive(Debug)]
struct Group {
    leader: Child,
    ended: bool,
}

impl Group {
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

/// Reads what is there, a megabyte at most, so that no flood keeps others waiting; forgets the source at its end.
fn read(source: &mut Option<impl io::Read>, into: &mut Vec<u8>) -> Result<(), Unfinished> {
    if let Some(pipe) = source
        && poll::read(pipe, into).map_err(|error| Unfinished::lost(&error))?
    {
        *source = None;
    }
    Ok(())
}

/// Whether a process or a connection may be had a moment later.
pub(crate) fn is_for_now(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::OutOfMemory)
}

/// In a millisecond, or at `deadline`: Asterisk queues three connections, and a fourth gets in within that time.
pub(crate) fn moment_before(deadline: Instant) -> Instant {
    deadline.min(Instant::now() + std::time::Duration::from_millis(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_system_lacks_may_be_had_a_moment_later() {
        use io::ErrorKind::{ConnectionRefused, NotFound, OutOfMemory, WouldBlock};
        assert!([WouldBlock, OutOfMemory].into_iter().all(|kind| is_for_now(&kind.into())));
        assert!(![NotFound, ConnectionRefused].into_iter().any(|kind| is_for_now(&kind.into())));
    }

    #[test]
    fn a_moment_is_to_come_and_ends_with_the_time() {
        let now = Instant::now();
        assert!(moment_before(now + std::time::Duration::from_mins(1)) > now);
        assert_eq!(moment_before(now), now);
    }
}
