//! Notifications to systemd: the service is ready, stops, and still answers.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use sd_notify::NotifyState;

/// Says that the service stops, and how long that may take: an apply under way is given its time,
/// whatever the unit's `TimeoutStopSec`.
pub(crate) fn stopping(limit: Duration) {
    notify(&[NotifyState::Stopping, NotifyState::Custom(&extend_timeout(limit))]);
}

/// `NotifyState::ExtendTimeoutUsec` takes no more than 71 minutes; an apply of an hour and its rollback may need more.
fn extend_timeout(limit: Duration) -> String {
    format!("EXTEND_TIMEOUT_USEC={}", limit.as_micros())
}

pub(crate) fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        log::warn!("systemd cannot be notified: {error}");
    }
}

/// How often each worker shows that it lives.
const BEAT: Duration = Duration::from_millis(500);

/// When each worker last ran its queue, in which requests wait as well. So the check does not go over
/// the network, where it would wait behind other clients.
#[derive(Clone, Default)]
pub(crate) struct Pulse(Arc<Workers>);

#[derive(Default)]
struct Workers {
    last_runs: Mutex<Vec<Weak<Mutex<Instant>>>>,
    are_ending: AtomicBool,
}

impl Pulse {
    /// Takes the pulse of the worker that runs on this thread, as long as it runs.
    pub(crate) fn beat_on_this_thread(&self) {
        let last = Arc::new(Mutex::new(Instant::now()));
        self.0.last_runs.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&last));
        actix_web::rt::spawn(async move {
            loop {
                *last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
                tokio::time::sleep(BEAT).await;
            }
        });
    }

    /// From now on workers end, each when it has nothing left to do; the work that they started may continue.
    pub(crate) fn workers_end(&self) {
        self.0.are_ending.store(true, Ordering::Relaxed);
    }

    /// For how long the slowest worker has not run; nothing without a worker.
    fn silence(&self) -> Option<Duration> {
        let workers = self.0.last_runs.lock().unwrap_or_else(PoisonError::into_inner);
        let last =
            |worker: &Weak<Mutex<Instant>>| Some(*worker.upgrade()?.lock().unwrap_or_else(PoisonError::into_inner));
        workers.iter().filter_map(last).map(|last| last.elapsed()).max()
    }

    /// Why the watchdog that has to be fed within `limit` is not fed: a worker does not run. A service that stops has limits
    /// of its own.
    fn complaint(&self, limit: Duration) -> Option<String> {
        if self.0.are_ending.load(Ordering::Relaxed) {
            return None;
        }
        match self.silence() {
            Some(silence) if silence <= limit / 4 + BEAT => None,
            Some(silence) => {
                Some(format!("a thread that answers requests has not run for {:.1} s", silence.as_secs_f64()))
            }
            None => Some("no thread runs that answers requests".to_owned()),
        }
    }
}

/// Feeds systemd's watchdog, where the unit has one, from a thread of its own, as long as there is no complaint.
pub(crate) fn start_watchdog(pulse: Pulse) {
    let Some(limit) = sd_notify::watchdog_enabled() else { return };
    let watch = move || loop {
        // At first, the workers are about to start.
        thread::sleep(limit / 4);
        match pulse.complaint(limit) {
            None => notify(&[NotifyState::Watchdog]),
            Some(complaint) => log::error!("{complaint}"),
        }
    };
    if let Err(error) = thread::Builder::new().name("watchdog".to_owned()).spawn(watch) {
        log::error!("the watchdog cannot start: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_may_take_hours() {
        assert_eq!(extend_timeout(Duration::from_hours(4)), "EXTEND_TIMEOUT_USEC=14400000000");
    }

    #[actix_web::test]
    async fn a_worker_that_does_nothing_else_for_long_is_noticed() {
        let pulse = Pulse::default();
        assert_eq!(pulse.silence(), None, "there is no worker yet");
        pulse.beat_on_this_thread();
        tokio::time::sleep(BEAT * 2).await;
        assert!(pulse.silence().unwrap() < BEAT * 2);
        thread::sleep(BEAT * 3);
        assert!(pulse.silence().unwrap() >= BEAT * 3);
        tokio::time::sleep(BEAT).await;
        assert!(pulse.silence().unwrap() < BEAT * 2);
    }

    #[actix_web::test]
    async fn the_watchdog_is_fed_while_all_workers_run_and_while_the_service_stops() {
        let (pulse, limit) = (Pulse::default(), BEAT * 4);
        assert!(pulse.complaint(limit).unwrap().contains("no thread runs"));
        pulse.beat_on_this_thread();
        assert_eq!(pulse.complaint(Duration::from_mins(2)), None);
        thread::sleep(limit / 4 + BEAT);
        assert!(pulse.complaint(limit).unwrap().contains("a thread that answers requests has not run for"));
        pulse.workers_end();
        assert_eq!(pulse.complaint(limit), None);
    }
}
