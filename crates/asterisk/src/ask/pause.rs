//! A pause between two tries.

use std::thread;
use std::time::{Duration, Instant};

const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// A pause that grows.
#[derive(Debug)]
pub(crate) struct Pause(Duration);

impl Pause {
    pub(crate) fn new() -> Self {
        Self(FIRST_PAUSE)
    }

    /// Sleeps, unless the pause would not be over before `deadline`.
    pub(crate) fn before(&mut self, deadline: Instant) -> bool {
        if Instant::now() + self.0 >= deadline {
            return false;
        }
        thread::sleep(self.0);
        self.0 = (self.0 * 2).min(LONGEST_PAUSE);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_grows_and_ends_before_the_deadline() {
        let mut pause = Pause::new();
        assert!(!pause.before(Instant::now() + FIRST_PAUSE / 2));
        for least in [FIRST_PAUSE, FIRST_PAUSE * 2, FIRST_PAUSE * 4] {
            let began = Instant::now();
            assert!(pause.before(began + Duration::from_secs(30)));
            assert!(began.elapsed() >= least);
        }
    }
}
