//! One round: changes, applies and readers at once, and one fault among them.

use std::sync::Mutex;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::thread;
use std::time::{Duration, Instant};

use pbx_tests::Response;

use crate::faults::soak::changes::Changes;
use crate::faults::soak::faults::Suffered;
use crate::faults::soak::model::Event;
use crate::faults::soak::plan::{Plan, PlannedApply};
use crate::faults::soak::world::{Shared, World};

/// An apply that was asked for.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) began: Instant,
    pub(crate) ended: Instant,
    pub(crate) is_reviewed: bool,
    /// Nothing where the portal ended first.
    pub(crate) answer: Option<Response>,
}

/// What happened in a round.
pub(crate) struct Story {
    pub(crate) events: Vec<Event>,
    pub(crate) attempts: Vec<Attempt>,
    pub(crate) passwords: Vec<(String, String)>,
    pub(crate) suffered: Suffered,
    pub(crate) wrong: Vec<String>,
}

impl Attempt {
    fn make(shared: &Shared, planned: &PlannedApply) -> Self {
        thread::sleep(planned.begins);
        let http = shared.http(planned.portal);
        let plan = planned.is_reviewed.then(|| http.try_request("POST", "/apply?dry_run=true", &[], &[])).flatten();
        let plan = plan.filter(|plan| plan.status == 200).map(|plan| plan.header("etag").to_owned());
        let headers: Vec<(&str, &str)> = plan.iter().map(|plan| ("if-match", plan.as_str())).collect();
        let began = Instant::now();
        let answer = http.try_request("POST", "/apply", &headers, &[]);
        Self { began, ended: Instant::now(), is_reviewed: plan.is_some(), answer }
    }

    /// The record that the answer has; nothing where there is none.
    pub(crate) fn record(&self) -> Option<&serde_json::Value> {
        let answer = self.answer.as_ref()?;
        let record = if answer.status == 200 { &answer.json } else { &answer.json["apply"] };
        (!record.is_null()).then_some(record)
    }

    /// Whether its record was surely opened.
    pub(crate) fn is_begun(&self) -> bool {
        let code = self.answer.as_ref().and_then(|answer| answer.json["type"].as_str());
        (code, self.outcome()) != (Some("urn:pbx-portal:database-unavailable"), "refused")
    }

    pub(crate) fn outcome(&self) -> &str {
        self.record().and_then(|record| record["outcome"].as_str()).unwrap_or_default()
    }

    /// The digests of the pair that it says it proved.
    pub(crate) fn proven(&self) -> Option<[String; 2]> {
        let record = self.record().filter(|_| matches!(self.outcome(), "applied" | "unchanged"))?;
        Some([0, 1].map(|file| record["files"][file]["sha256"].as_str().unwrap_or_default().to_owned()))
    }

    /// Whether nobody can say what Asterisk runs after it.
    pub(crate) fn is_doubtful(&self) -> bool {
        self.answer.is_none() || self.outcome() == "rollback_failed"
    }

    /// `200 applied`, for the report.
    pub(crate) fn summary(&self) -> String {
        let status = self.answer.as_ref().map_or_else(|| "none".to_owned(), |answer| answer.status.to_string());
        format!("{status} {}", self.outcome()).trim_end().to_owned()
    }
}

impl World {
    /// Lets the round happen, until everything in it has ended and is well again.
    pub(crate) fn live_through(&mut self, plan: &Plan, round: u64) -> Story {
        let (changes, attempts, wrong) = (Changes::default(), Mutex::new(Vec::new()), Mutex::new(Vec::new()));
        let (done, left) = (AtomicBool::new(false), AtomicUsize::new(plan.applies.len()));
        let (shared, parts, users, dumps) = (&self.shared, &mut self.parts, &self.users, &self.dumps);
        let suffered = thread::scope(|scope| {
            let mut threads = Vec::new();
            threads.push(scope.spawn(|| changes.make(shared, plan, round, users)));
            for planned in &plan.applies {
                let (attempts, left) = (&attempts, &left);
                threads.push(scope.spawn(move || {
                    // Also where it panics.
                    let _over = Over(left);
                    let attempt = Attempt::make(shared, planned);
                    attempts.lock().unwrap().push(attempt);
                }));
            }
            let reader = scope.spawn(|| wrong.lock().unwrap().extend(read(shared, plan, &done)));
            thread::sleep(plan.begins);
            let applies_over = || {
                while left.load(SeqCst) > 0 {
                    thread::sleep(Duration::from_millis(5));
                }
            };
            let suffered = parts.suffer(shared, plan, dumps, users, &changes, &applies_over);
            let ended: Vec<_> = threads.into_iter().map(thread::ScopedJoinHandle::join).collect();
            done.store(true, SeqCst);
            assert!(reader.join().is_ok() && ended.iter().all(Result::is_ok), "a thread of the round panicked");
            suffered
        });
        let (events, passwords, more) = changes.into_parts();
        let mut wrong = wrong.into_inner().unwrap();
        wrong.extend(more);
        let mut attempts: Vec<Attempt> = attempts.into_inner().unwrap();
        attempts.sort_by_key(|attempt| attempt.ended);
        Story { events, attempts, passwords, suffered, wrong }
    }
}

struct Over<'a>(&'a AtomicUsize);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

/// Reads the list over and over; what is wrong with it in itself.
fn read(shared: &Shared, plan: &Plan, done: &AtomicBool) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut known: Option<Response> = None;
    for number in 0.. {
        if done.load(SeqCst) {
            break;
        }
        let http = shared.http(number);
        let etag = known.as_ref().map(|known| ("if-none-match", known.header("etag")));
        match http.try_request("GET", "/users", etag.as_slice(), &[]) {
            Some(list) if list.status == 200 => {
                wrong.extend(contradictions(&list));
                known = Some(list);
            }
            Some(list) if list.status == 500 && plan.fault.takes_tables() => {}
            Some(list) if list.status != 503 && (list.status != 304 || known.is_none()) => {
                wrong.push(format!("GET /users: {} {}", list.status, list.text));
            }
            _ => {}
        }
        thread::sleep(Duration::from_millis(40));
    }
    wrong
}

/// What a list says that cannot be true together.
pub(crate) fn contradictions(list: &Response) -> Vec<String> {
    let mut wrong = Vec::new();
    let users = list.json["users"].as_array().cloned().unwrap_or_default();
    let numbers: Vec<i64> = users.iter().filter_map(|user| user["extension"].as_i64()).collect();
    if !numbers.is_sorted_by(|one, next| one < next) || numbers.len() != users.len() {
        wrong.push(format!("the list is not ordered by extension: {}", list.text));
    }
    let applied = users.iter().filter(|user| user["applied"] == true).count();
    let (is_required, revision) = (&list.json["apply_required"], &list.json["applied_revision"]);
    if *is_required == false && applied != users.len() {
        wrong.push(format!("no apply is required, and not all are applied: {}", list.text));
    }
    if *revision == 0 && (applied > 0 || (*is_required == false && !users.is_empty())) {
        wrong.push(format!("nothing is claimed, and users are applied: {}", list.text));
    }
    wrong
}
