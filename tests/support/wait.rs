//! Waiting, always for something and never for longer than said.

use std::thread;
use std::time::{Duration, Instant};

/// How often a condition is looked at: often enough that no test notices, seldom enough that two cores do not either.
const STEP: Duration = Duration::from_millis(10);

/// Asks `probe` until it gives a value, for at most `limit`.
///
/// # Panics
/// When the time is over; the message says what was waited for.
#[track_caller]
pub fn until<T>(what: &str, limit: Duration, probe: impl FnMut() -> Option<T>) -> T {
    within(limit, probe).unwrap_or_else(|| panic!("waited {limit:?} for {what}"))
}

/// Asks `probe` until it gives a value; `None` when `limit` is over.
pub fn within<T>(limit: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        if let Some(value) = probe() {
            return Some(value);
        }
        if start.elapsed() > limit {
            return None;
        }
        thread::sleep(STEP);
    }
}
