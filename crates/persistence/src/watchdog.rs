//! Ends the calls of libpq that are overdue. libpq itself waits for ever for a server that fell
//! silent while its host still answers, or for a proxy that lost its server: `kill -STOP` of a PostgreSQL is enough, as
//! the kernel keeps acknowledging packets, so neither keepalives nor `tcp_user_timeout` ever fire.
//!
//! One thread watches all calls. It sleeps until the earliest deadline, and shuts that call's socket down.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{io, thread};

use crate::session::lock;
use crate::socket::{Before, Socket};

/// When a call is ended again that did not return: libpq may have gone on to another host.
const AGAIN: Duration = Duration::from_millis(50);

static WATCHDOG: Watchdog = Watchdog {
    shared: Mutex::new(Shared { calls: BTreeMap::new(), next: 0, is_running: false, wakes_at: None }),
    changed: Condvar::new(),
};

struct Watchdog {
    shared: Mutex<Shared>,
    changed: Condvar,
}

struct Shared {
    calls: BTreeMap<u64, Call>,
    next: u64,
    is_running: bool,
    /// When the thread looks again by itself; never where there is nothing to watch.
    wakes_at: Option<Instant>,
}

struct Call {
    deadline: Instant,
    target: Target,
    /// Whether it was ended.
    is_overdue: bool,
}

/// What is shut down.
pub(crate) enum Target {
    /// A connection.
    Open(Socket),
    /// A connection that is being made.
    Opening(Arc<Before>),
}

impl Target {
    fn shut_down(&self) {
        match self {
            Self::Open(socket) => socket.shut_down(),
            Self::Opening(before) => {
                if let Ok(Some(socket)) = before.find() {
                    socket.shut_down();
                }
            }
        }
    }
}

/// A call that is watched, until the value is dropped.
pub(crate) struct Watch {
    id: u64,
}

/// Watches a call, which has to end by then.
///
/// # Errors
///
/// The thread that watches cannot be started, so the call must not be made.
pub(crate) fn watch(deadline: Instant, target: Target) -> io::Result<Watch> {
    let mut shared = lock(&WATCHDOG.shared);
    if !shared.is_running {
        thread::Builder::new().name("db-watchdog".to_owned()).spawn(|| WATCHDOG.run())?;
        shared.is_running = true;
    }
    let id = shared.next;
    shared.next += 1;
    shared.calls.insert(id, Call { deadline, target, is_overdue: false });
    if shared.wakes_at.is_none_or(|wakes_at| deadline < wakes_at) {
        WATCHDOG.changed.notify_one();
    }
    Ok(Watch { id })
}

impl Watch {
    /// Whether the call was ended: what is left of its connection is of no use. It is watched no longer.
    pub(crate) fn was_overdue(self) -> bool {
        lock(&WATCHDOG.shared).calls.remove(&self.id).is_some_and(|call| call.is_overdue)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        lock(&WATCHDOG.shared).calls.remove(&self.id);
    }
}

impl Watchdog {
    fn run(&self) {
        let mut shared = lock(&self.shared);
        loop {
            let now = Instant::now();
            for call in shared.calls.values_mut().filter(|call| call.deadline <= now) {
                call.target.shut_down();
                call.is_overdue = true;
                // With several hosts in DATABASE_URL, libpq now connects to the next one, on a new socket.
                call.deadline = now + AGAIN;
            }
            let next = shared.calls.values().map(|call| call.deadline).min();
            shared.wakes_at = next;
            shared = match next {
                None => self.changed.wait(shared).unwrap_or_else(PoisonError::into_inner),
                Some(next) => {
                    let wait = self.changed.wait_timeout(shared, next.saturating_duration_since(now));
                    wait.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}
