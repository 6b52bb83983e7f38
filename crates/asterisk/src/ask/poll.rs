//! Waiting for many sources at once, on this thread alone: no thread has to be made, so none can be missing.

use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Waits until one of `sources` is as it is waited for, or has ended, or `until`.
pub(crate) fn wait<'a>(
    sources: impl IntoIterator<Item = (BorrowedFd<'a>, PollFlags)>,
    until: Instant,
) -> io::Result<()> {
    let mut polled: Vec<_> = sources.into_iter().map(|(fd, flags)| PollFd::from_borrowed_fd(fd, flags)).collect();
    match poll(&mut polled, Some(&timespec(until.saturating_duration_since(Instant::now())))) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Whether `source` can be read, or has ended.
pub(crate) fn is_now(source: BorrowedFd<'_>) -> bool {
    let mut polled = [PollFd::from_borrowed_fd(source.as_fd(), PollFlags::IN)];
    matches!(poll(&mut polled, Some(&timespec(Duration::ZERO))), Ok(1..))
}

fn timespec(duration: Duration) -> Timespec {
    Timespec { tv_sec: duration.as_secs().try_into().unwrap_or(i64::MAX), tv_nsec: duration.subsec_nanos().into() }
}

/// Reads what a non-blocking source has, a megabyte at most, and says whether it has ended.
pub(crate) fn read(source: &mut impl io::Read, into: &mut Vec<u8>) -> io::Result<bool> {
    const MOST: usize = 1 << 20;
    // What was read before an error is there all the same.
    match source.take(MOST as u64).read_to_end(into) {
        Ok(length) => Ok(length < MOST),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}
