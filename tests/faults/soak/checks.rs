//! After a round: what was answered, what is on disk, what Asterisk runs, what is recorded and what is claimed, held
//! against each other.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use pbx_tests::{Http, Phone, Response, wait};
use serde_json::Value;

use crate::faults::soak::model::{broken_promises, touched_since};
use crate::faults::soak::observed::{Live, Pair, Users, contacts, descendants, md5, usage};
use crate::faults::soak::plan::{Fault, Plan};
use crate::faults::soak::round::{Attempt, Story, contradictions};
use crate::faults::soak::world::World;

/// More descriptors than eight connections, their watchers and what listens can have.
const MOST_DESCRIPTORS: usize = 80;

/// Milliseconds that an apply takes only where its time, 12 s here, is nearly over.
const LONG: f64 = 9_000.0;

/// What is wrong.
#[derive(Default)]
pub(crate) struct Wrong(pub(crate) Vec<String>);

impl Wrong {
    fn check(&mut self, is_right: bool, what: impl FnOnce() -> String) {
        if !is_right {
            self.0.push(what());
        }
    }
}

/// Waits for a condition for as long as anything may take.
fn comes(condition: impl Fn() -> bool) -> bool {
    wait::within_limit(|| condition().then_some(())).is_some()
}

impl World {
    /// The faults are over, and nothing was applied since: what is claimed has to be true.
    pub(crate) fn check_settled(&mut self, plan: &Plan, story: &Story, wrong: &mut Wrong) {
        let now = self.shared.users().unwrap();
        let rewind = story.suffered.rewind.as_ref();
        wrong.0.extend(broken_promises(&self.users, &story.events, rewind, &now));
        for attempt in &story.attempts {
            check_answer(plan, attempt, wrong);
        }
        let failed = story.events.iter().filter(|event| event.what.contains(": 500 ") && !plan.fault.takes_tables());
        wrong.0.extend(failed.map(|event| event.what.clone()));

        let disk = Pair::on_disk(&self.parts.asterisk);
        let was_edited = story.suffered.edited.is_some();
        let is_whole = disk.auths().keys().copied().collect::<BTreeSet<_>>() == disk.extens();
        wrong.check(is_whole || was_edited, || format!("a mix of two pairs is on disk: {disk:?}"));
        let proven = match &story.suffered.edited {
            Some((before, after)) if *after == disk => before.clone(),
            _ => disk.clone(),
        };

        let lists: Vec<Response> = self.parts.portals.iter().map(|portal| list(portal.http())).collect();
        for list in &lists {
            wrong.0.extend(contradictions(list));
            check_rows(list, &now, wrong);
        }
        let list = &lists[0];
        wrong.check(lists.iter().all(|other| other.json == list.json), || format!("two portals say: {lists:?}"));

        let last = story.attempts.last();
        let is_claimed = list.json["applied_revision"] != 0;
        let is_doubtful = was_edited || story.attempts.iter().any(Attempt::is_doubtful);
        wrong
            .check(is_claimed || is_doubtful, || format!("nothing is claimed, and nothing is in doubt: {}", list.text));
        let ends_in_doubt = last.is_some_and(|last| {
            let before_it = story.attempts.iter().filter(|other| other.ended <= last.began).count();
            last.outcome() == "rollback_failed" && before_it + 1 == story.attempts.len()
        });
        wrong.check(!is_claimed || !ends_in_doubt, || {
            format!("claimed after a rollback that was not verified: {}", list.text)
        });
        if !is_claimed {
            return;
        }
        let candidates = candidates(&self.proven, &story.attempts);
        let is_known = candidates.contains(&proven.sha256());
        let may_be_unseen = was_edited || story.attempts.iter().any(|attempt| attempt.answer.is_none());
        wrong.check(is_known || may_be_unseen, || {
            format!("the pair on disk is none that was proven ({candidates:?}): {proven:?}")
        });
        if !is_known && was_edited {
            return;
        }
        let rendered = Pair::of(&now);
        let (then, here) = (proven.auths(), rendered.auths());
        for user in list.json["users"].as_array().unwrap() {
            let number = u16::try_from(user["extension"].as_u64().unwrap()).unwrap();
            let is_applied = then.get(&number).is_some_and(|auth| here.get(&number) == Some(auth));
            wrong.check(user["applied"] == is_applied, || {
                format!("{number} should say applied: {is_applied}: {} beside {proven:?}", list.text)
            });
        }
        let is_required = rendered != proven;
        wrong.check(list.json["apply_required"] == is_required, || {
            format!("apply_required should be {is_required}: {} beside {proven:?}", list.text)
        });
        if disk == proven && !was_edited {
            let expected = Live::of_pair(&proven);
            wrong.check(comes(|| Live::of(&self.parts.asterisk) == expected), || {
                format!("claimed: {expected:?}\nlive: {:?}", Live::of(&self.parts.asterisk))
            });
        }
        let proof = story.attempts.iter().find(|attempt| attempt.proven() == Some(proven.sha256()));
        if let (Some(proof), None) = (proof, rewind) {
            check_proof(proof, story, &proven, &rendered, &now, wrong);
        }
    }

    /// Applies in a world without a fault; then nothing may be left of it.
    pub(crate) fn check_healed(&mut self, plan: &Plan, story: &Story, wrong: &mut Wrong) {
        let http = self.shared.http(0);
        let applied = http.post_empty("/apply");
        wrong.check(applied.status == 200, || {
            format!("with all well again, an apply: {} {}", applied.status, applied.text)
        });
        if applied.status != 200 {
            return;
        }
        let again = http.post_empty("/apply");
        wrong.check(again.json["outcome"] == "unchanged", || format!("applied twice: {} {}", again.status, again.text));
        let now = self.shared.users().unwrap();
        let (rendered, disk) = (Pair::of(&now), Pair::on_disk(&self.parts.asterisk));
        wrong.check(disk == rendered, || format!("on disk: {disk:?}\nof the users: {rendered:?}"));
        let (expected, live) = (Live::of_pair(&rendered), Live::of(&self.parts.asterisk));
        wrong.check(live == expected, || format!("live: {live:?}\nof the users: {expected:?}"));
        let dry_run = http.post_empty("/apply?dry_run=true");
        wrong.check(dry_run.json["live"]["matches"] == true, || format!("drift: {} {}", dry_run.status, dry_run.text));
        let list = list(&http);
        check_rows(&list, &now, wrong);
        let all = list.json["users"].as_array().unwrap().iter().all(|user| user["applied"] == true);
        wrong.check(all && list.json["apply_required"] == false, || format!("not all is applied: {}", list.text));
        wrong.check(list.json["last_apply"]["id"] == again.json["id"], || format!("last_apply: {}", list.text));

        self.check_records(story, wrong);
        self.check_leftovers(wrong);
        self.check_phones(plan, story, &now, wrong);
        self.proven = rendered.sha256();
        self.users = now;
    }

    fn check_records(&mut self, story: &Story, wrong: &mut Wrong) {
        let database = self.shared.database.read().unwrap();
        let count = |sql: &str| database.sql(&format!("SELECT count(*) FROM apply_audit_log WHERE {sql}"));
        wrong.check(comes(|| count("finished_at IS NULL OR outcome = 'running'") == "0"), || {
            format!(
                "open records: {}",
                database.sql("SELECT apply_audit_log FROM apply_audit_log WHERE finished_at IS NULL")
            )
        });
        for attempt in &story.attempts {
            let Some(id) = attempt.record().and_then(|record| record["id"].as_str()) else { continue };
            let sql = format!("SELECT outcome FROM apply_audit_log WHERE id = '{id}'");
            let recorded = || database.sql(&sql);
            let may_be_none = story.suffered.rewind.is_some() || !attempt.is_begun();
            let is_right = |recorded: &str| recorded == attempt.outcome() || (recorded.is_empty() && may_be_none);
            wrong.check(comes(|| is_right(&recorded())), || format!("recorded as {:?}: {attempt:?}", recorded()));
        }
        let may_wait =
            |attempt: &&Attempt| story.suffered.rewind.is_some() || attempt.answer.is_none() || !attempt.is_begun();
        self.lost_records += story.attempts.iter().filter(may_wait).count();
    }

    fn check_leftovers(&self, wrong: &mut Wrong) {
        let parts = &self.parts;
        for file in [parts.asterisk.pjsip_include(), parts.asterisk.dialplan_include()] {
            let names = names(file.parent().unwrap());
            let own = file.file_name().unwrap().to_string_lossy().into_owned();
            wrong.check(names == [own], || format!("beside {}: {names:?}", file.display()));
        }
        let state = || names(&parts.state_dir());
        let waits = |name: &&String| name.starts_with("note-record-");
        let is_clean = || {
            let names = state();
            let rest: Vec<&String> = names.iter().filter(|name| !waits(name)).collect();
            rest == ["lock", "note-last", "proven", "verified"]
                && names.iter().filter(waits).count() <= self.lost_records
        };
        wrong.check(comes(is_clean), || format!("in the state directory: {:?}", state()));
        for portal in &parts.portals {
            wrong.check(comes(|| descendants(portal.id()).is_empty()), || {
                format!("processes of the portal's: {:?}", descendants(portal.id()))
            });
            wrong.check(comes(|| usage(portal.id())[0] <= MOST_DESCRIPTORS), || {
                format!("{} descriptors", usage(portal.id())[0])
            });
        }
    }

    /// Nobody's phone is registered at somebody else's number, and the phones of those that are there may register.
    fn check_phones(&mut self, plan: &Plan, story: &Story, now: &Users, wrong: &mut Wrong) {
        let asterisk = &self.parts.asterisk;
        let ha1 = |extension: u16| now.values().find(|row| row.extension == extension).map(|row| &row.ha1);
        for extension in contacts(asterisk) {
            let is_right = ha1(extension).is_some() && ha1(extension) == self.registered.get(&extension);
            wrong.check(is_right, || format!("a former owner's phone is registered at {extension}"));
        }
        // What Asterisk had not written yet goes with it.
        let is_kept = contacts(asterisk).contains(&1000) || matches!(plan.fault, Fault::KilledAsterisk);
        wrong.check(is_kept || self.registered.is_empty(), || "the bystander's registration is lost".to_owned());
        let code = self.parts.bystander.register();
        wrong.check(code == 200, || format!("the bystander's phone cannot register: {code}"));
        self.registered.extend(ha1(1000).map(|ha1| (1000, ha1.clone())));

        self.passwords.extend(story.passwords.iter().cloned());
        self.passwords.retain(|id, _| now.contains_key(id));
        // One a round: those that were not given another credential by hand.
        let mut known = self.passwords.iter().skip(story.events.len() % self.passwords.len().max(1));
        if let Some((id, password)) = known.next() {
            let row = &now[id];
            if md5(&format!("{}:{}:{password}", row.extension, row.realm)) == row.ha1 {
                let code = Phone::new(asterisk, &row.extension.to_string(), password).register();
                wrong.check(code == 200, || format!("the phone of {row:?} cannot register: {code}"));
                self.registered.insert(row.extension, row.ha1.clone());
            }
        }
    }
}

/// The list, as soon as the portal has recovered from what its connections met.
fn list(http: &Http) -> Response {
    wait::until("the list", || Some(http.get("/users")).filter(|list| list.status == 200))
}

fn check_rows(list: &Response, now: &Users, wrong: &mut Wrong) {
    let text = |user: &Value, member: &str| user[member].as_str().unwrap_or_default().to_owned();
    let of = |id, name, email, extension: u64| (id, name, email, extension);
    let users = list.json["users"].as_array().unwrap();
    let said: BTreeSet<_> = users
        .iter()
        .map(|user| of(text(user, "id"), text(user, "name"), text(user, "email"), user["extension"].as_u64().unwrap()))
        .collect();
    let there: BTreeSet<_> =
        now.values().map(|row| of(row.id.clone(), row.name.clone(), row.email.clone(), row.extension.into())).collect();
    wrong.check(said == there, || format!("the list is not the database's: {}\nthere is {now:?}", list.text));
}

/// Whether the answer is one of those that there may be.
fn check_answer(plan: &Plan, attempt: &Attempt, wrong: &mut Wrong) {
    let Some(answer) = &attempt.answer else {
        let is_explained = matches!(plan.fault, Fault::KilledPortal | Fault::StoppedPortal);
        return wrong.check(is_explained, || format!("no answer: {attempt:?}"));
    };
    let code = answer.json["type"].as_str().unwrap_or_default().trim_start_matches("urn:pbx-portal:");
    let is_right = match (answer.status, attempt.outcome()) {
        (200, "applied" | "unchanged") => true,
        (412, "refused") => attempt.is_reviewed && code == "plan-changed",
        // Nor could the record be closed without its table.
        (500, _) => plan.fault.takes_tables(),
        // On a machine that is too busy, the time of an apply is over before it has done anything wrong.
        _ if plan.fault.is_harmless() => {
            answer.status >= 503 && answer.json["apply"]["duration_ms"].as_f64() > Some(LONG)
        }
        // Whatever became of it, its record could not be closed.
        (503, _) if code == "database-unavailable" => true,
        (503, "refused") => matches!(code, "asterisk-unavailable" | "apply-busy"),
        (503, "rolled_back") => matches!(code, "asterisk-unavailable" | "apply-busy"),
        (502, "rolled_back" | "rollback_failed") => code == "apply-rejected",
        (504, "rolled_back" | "rollback_failed" | "refused") => code == "asterisk-timeout",
        _ => false,
    };
    wrong.check(is_right, || format!("{} {}", answer.status, answer.text));
    wrong.check(answer.status != 503 || !answer.header("retry-after").is_empty(), || {
        format!("503 without Retry-After: {}", answer.text)
    });
}

/// The pairs that may be the one that was proven last.
fn candidates(before: &[String; 2], attempts: &[Attempt]) -> Vec<[String; 2]> {
    let proofs: Vec<(&Attempt, [String; 2])> =
        attempts.iter().filter_map(|attempt| Some((attempt, attempt.proven()?))).collect();
    let last = |attempt: &Attempt| proofs.iter().all(|(later, _)| later.began <= attempt.ended);
    let mut all: Vec<_> = proofs.iter().filter(|(attempt, _)| last(attempt)).map(|(_, pair)| pair.clone()).collect();
    if all.is_empty() {
        all.push(before.clone());
    }
    all
}

/// Everything that was acknowledged before this apply was asked for is in its pair, and nothing else that is older.
fn check_proof(proof: &Attempt, story: &Story, pair: &Pair, rendered: &Pair, now: &Users, wrong: &mut Wrong) {
    let Some((ids, numbers)) = touched_since(&story.events, proof.began) else { return };
    let (then, here) = (pair.auths(), rendered.auths());
    for row in now.values().filter(|row| !ids.contains(&row.id)) {
        wrong.check(then.get(&row.extension) == here.get(&row.extension), || {
            format!("{row:?} was there before {proof:?}, and is not in its pair {pair:?}")
        });
    }
    for number in then.keys().filter(|number| !numbers.contains(number)) {
        wrong.check(then.get(number) == here.get(number), || {
            format!("{number} was not there any more before {proof:?}, and is in its pair {pair:?}")
        });
    }
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
