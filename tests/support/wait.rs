//! Waiting for conditions. How long something ought to take is for a benchmark to say, not for a test.

use std::thread;
use std::time::{Duration, Instant};

/// How long a test waits for anything: on a busy machine, too, only what hangs takes that long.
pub const LIMIT: Duration = Duration::from_mins(2);
/// How long between two looks at a condition, at first and at last: most come true at once, and each look at one that does
/// not takes time from the others.
const STEPS: [Duration; 2] = [Duration::from_millis(5), Duration::from_millis(60)];

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
    let [mut step, longest] = STEPS;
    loop {
        if let Some(value) = probe() {
            return Some(value);
        }
        if start.elapsed() > LIMIT {
            return None;
        }
        thread::sleep(step);
        step = (step * 3 / 2).min(longest);
    }
}
