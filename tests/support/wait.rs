//! Waiting, always for something, and never for how long it ought to take: that is for a benchmark to say.

use std::thread;
use std::time::{Duration, Instant};

/// How long a test waits for anything. However busy the machine, only what hangs takes that long.
pub const LIMIT: Duration = Duration::from_mins(2);
/// How often a condition is looked at: often enough that no test notices, seldom enough that two cores do not either.
const STEP: Duration = Duration::from_millis(10);

/// Asks `probe` until it gives a value.
///
/// # Panics
/// When it hangs; the message says what was waited for.
#[track_caller]
pub fn until<T>(what: &str, probe: impl FnMut() -> Option<T>) -> T {
    within_limit(probe).unwrap_or_else(|| panic!("waited {LIMIT:?} for {what}"))
}

/// Asks `probe` until it gives a value; `None` after [`LIMIT`].
pub fn within_limit<T>(mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        if let Some(value) = probe() {
            return Some(value);
        }
        if start.elapsed() > LIMIT {
            return None;
        }
        thread::sleep(STEP);
    }
}
