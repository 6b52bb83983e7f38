//! What the service takes of the system, and how long a client with a token waits, all the while.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use pbx_tests::{Http, Portal, until};

const MIB: usize = 1024 * 1024;
/// What the memory may grow by, at its peak.
const MEMORY: usize = 50 * MIB;
/// What of it may stay when all have gone. The heap keeps what it grew to where something still lies at its end.
const KEPT: usize = 25 * MIB;
/// Connections and what else is open.
const DESCRIPTORS: usize = 900;
const THREADS: usize = 64;
/// Only a service that does not answer reaches it, however busy the machine.
const ANSWER: Duration = Duration::from_secs(15);

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    pub(crate) memory: usize,
    pub(crate) descriptors: usize,
    pub(crate) threads: usize,
    /// The longest that an answer took.
    pub(crate) answer: Duration,
}

impl Usage {
    fn now(process: u32) -> Self {
        let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
        let number = |name: &str| -> usize {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
            line.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or_default()
        };
        let descriptors = fs::read_dir(format!("/proc/{process}/fd")).map_or(0, Iterator::count);
        Self { memory: number("VmRSS:") * 1024, descriptors, threads: number("Threads:"), answer: Duration::ZERO }
    }

    fn max(self, other: Self) -> Self {
        Self {
            memory: self.memory.max(other.memory),
            descriptors: self.descriptors.max(other.descriptors),
            threads: self.threads.max(other.threads),
            answer: self.answer.max(other.answer),
        }
    }
}

/// Watches a portal until it is stopped.
pub(crate) struct Watch {
    process: u32,
    rest: Usage,
    stop: Arc<AtomicBool>,
    looking: JoinHandle<Usage>,
}

impl Watch {
    pub(crate) fn start(portal: &Portal) -> Self {
        let process = portal.id();
        let rest = Usage::now(process);
        let stop = Arc::new(AtomicBool::new(false));
        let (url, token, stopped) = (portal.url().to_owned(), portal.settings().token().to_owned(), Arc::clone(&stop));
        let looking = thread::spawn(move || {
            let mut peak = rest;
            while !stopped.load(Ordering::SeqCst) {
                // Each time with a connection of its own, as a script comes.
                let http = Http::new(&url, Some(&token));
                let asked = Instant::now();
                http.get("/users").expect(200);
                peak = peak.max(Usage { answer: asked.elapsed(), ..Usage::now(process) });
                thread::sleep(Duration::from_millis(20));
            }
            peak
        });
        Self { process, rest, stop, looking }
    }

    /// What the service takes now.
    pub(crate) fn usage(&self) -> Usage {
        Usage::now(self.process)
    }

    /// All strangers have gone: nothing went over its limit, and the service is as it was.
    pub(crate) fn end(self) {
        let descriptors = self.rest.descriptors + 20;
        until("the service to close what strangers left", || {
            (Usage::now(self.process).descriptors <= descriptors).then_some(())
        });
        self.stop.store(true, Ordering::SeqCst);
        let peak = self.looking.join().expect("every answer was 200");
        let after = Usage::now(self.process);
        let rest = self.rest;
        eprintln!("at rest {rest:?}\nat the peak {peak:?}\nafter {after:?}");
        assert!(peak.memory <= rest.memory + MEMORY, "{} MiB more at the peak", (peak.memory - rest.memory) / MIB);
        assert!(after.memory <= rest.memory + KEPT, "{} MiB more stay", (after.memory - rest.memory) / MIB);
        assert!(peak.descriptors <= DESCRIPTORS, "{} descriptors", peak.descriptors);
        assert!(peak.threads <= THREADS, "{} threads", peak.threads);
        assert!(peak.answer <= ANSWER, "an answer took {:?}", peak.answer);
    }
}
