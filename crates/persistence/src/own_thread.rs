//! Calls on a thread of their own, for systems where the socket of a connection cannot be shut down from outside: a
//! thread that does not return in time is given up.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Instant;
use std::{io, thread};

/// The most threads at a time, those included that were given up.
const LIMIT: usize = 128;
static RUNNING: AtomicUsize = AtomicUsize::new(0);

/// One of the threads, until it ends.
struct Counted;

impl Drop for Counted {
    fn drop(&mut self) {
        RUNNING.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The result of the call; `None` where it did not return until the deadline.
///
/// # Errors
///
/// There are too many threads already, or none can be started.
pub(crate) fn run<T: Send + 'static>(
    deadline: Instant,
    call: impl FnOnce() -> T + Send + 'static,
) -> io::Result<Option<T>> {
    let others = RUNNING.fetch_add(1, Ordering::SeqCst);
    let running = Counted;
    if others >= LIMIT {
        return Err(io::Error::other(format!("{LIMIT} calls still wait for a PostgreSQL that fell silent")));
    }
    let (send, receive) = mpsc::sync_channel(1);
    thread::Builder::new().name("db-call".to_owned()).spawn(move || {
        let _running = running;
        // Nobody may be left to take it.
        let _given_up = send.send(call());
    })?;
    Ok(receive.recv_timeout(deadline.saturating_duration_since(Instant::now())).ok())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_call_that_does_not_return_is_given_up_and_counts_until_it_ends() {
        let soon = || Instant::now() + Duration::from_millis(20);
        assert_eq!(run(Instant::now() + Duration::from_secs(5), || 7).unwrap(), Some(7));
        let (go, gone) = mpsc::channel::<()>();
        let gone = std::sync::Arc::new(std::sync::Mutex::new(gone));
        while RUNNING.load(Ordering::SeqCst) < LIMIT {
            let gone = std::sync::Arc::clone(&gone);
            let call = move || gone.lock().unwrap().recv().is_ok();
            assert_eq!(run(soon(), call).unwrap(), None);
        }
        assert!(run(soon(), || ()).unwrap_err().to_string().contains("128 calls"));
        drop(go);
        while RUNNING.load(Ordering::SeqCst) > 0 {
            thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(run(Instant::now() + Duration::from_secs(5), || 7).unwrap(), Some(7));
    }
}
