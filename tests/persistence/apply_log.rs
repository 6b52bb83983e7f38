use std::time::{Duration, SystemTime};

use pbx_domain::{ApplyId, ApplyOutcome, ApplyRecord, Changes, Extension, InstalledFile, Revision, Timings};
use pbx_persistence::{LoggedApply, StartedApply};

use crate::persistence::{Fixture, connect};

pub(super) fn started(node: &str) -> StartedApply {
    StartedApply {
        id: ApplyId::generate(),
        node: node.to_owned(),
        actor: Some("ops".to_owned()),
        request_id: "request-1".to_owned(),
        started_at: SystemTime::UNIX_EPOCH + Duration::from_micros(1_800_000_000_123_456),
    }
}

fn finished(started: &StartedApply) -> ApplyRecord {
    let extensions = |numbers: &[u16]| numbers.iter().map(|number| Extension::new(*number).unwrap()).collect();
    ApplyRecord {
        id: started.id,
        node: started.node.clone(),
        actor: started.actor.clone(),
        request_id: started.request_id.clone(),
        revision: Revision::new(2),
        users: 2,
        outcome: ApplyOutcome::Applied,
        detail: Some("it's \"done\"".to_owned()),
        warnings: vec!["1999 is nobody's".to_owned(), "a, {b}".to_owned()],
        changes: Changes { added: extensions(&[1000, 1001]), removed: extensions(&[1500]), changed: vec![] },
        files: vec![InstalledFile { path: "/a b/c.conf".to_owned(), sha256: "0f".repeat(32), bytes: 123 }],
        started_at: started.started_at,
        duration: Duration::from_micros(131_250),
        timings: Timings {
            snapshot: Duration::from_micros(1_500),
            reload: Duration::from_nanos(1_234_567),
            ..Timings::default()
        },
    }
}

#[test]
fn a_record_is_open_while_its_apply_runs_and_whole_afterwards() {
    let fixture = Fixture::new();
    let users = [fixture.create(1), fixture.create(2)];
    let log = fixture.inside.apply_log();
    let started = started("pbx-a");

    assert!(!log.has(started.id).unwrap());
    let list = log.begin(&started, &[]).unwrap();
    assert!(log.has(started.id).unwrap());
    assert_eq!((list.revision.get(), list.users.as_slice()), (2, users.as_slice()));
    let row = || fixture.outside.sql("SELECT * FROM apply_audit_log");
    let (id, time) = (started.id, "2027-01-15 08:00:00.123456+00");
    assert_eq!(row(), format!("{id}|default|pbx-a|2|running|ops|request-1|2|{{}}|{{}}|{{}}|[]|{{}}|{{}}||{time}||"));

    let record = finished(&started);
    let whole = format!(
        "{id}|default|pbx-a|2|applied|ops|request-1|2|{{1000,1001}}|{{1500}}|{{}}|\
         [{{\"path\": \"/a b/c.conf\", \"bytes\": 123, \"sha256\": \"{}\"}}]|\
         {{\"purge\": 0.0, \"reload\": 1.235, \"render\": 0.0, \"verify\": 0.0, \"install\": 0.0, \"snapshot\": 1.5}}|\
         {{\"1999 is nobody's\",\"a, {{b}}\"}}|it's \"done\"|{time}|2027-01-15 08:00:00.254706+00|131.25",
        "0f".repeat(32)
    );
    for _ in 0..2 {
        assert!(log.finish(&record).unwrap());
        assert_eq!(row(), whole);
    }
}

#[test]
fn a_record_is_closed_only_in_the_database_that_has_it() {
    let fixture = Fixture::new();
    let started = started("pbx-a");
    fixture.inside.apply_log().begin(&started, &[]).unwrap();
    fixture.outside.sql("DELETE FROM apply_audit_log");
    assert!(!fixture.inside.apply_log().finish(&finished(&started)).unwrap());
    assert_eq!(fixture.outside.sql("SELECT count(*) FROM apply_audit_log"), "0");
}

#[test]
fn an_attempt_that_never_began_is_recorded_whole_and_once() {
    let fixture = Fixture::new();
    let started = started("pbx-a");
    let record = ApplyRecord { outcome: ApplyOutcome::Refused, ..finished(&started) };
    for _ in 0..2 {
        fixture.inside.apply_log().record(&record).unwrap();
        let row = "SELECT id, node, revision, outcome, actor, users, added, detail, started_at, finished_at, duration_ms \
                   FROM apply_audit_log";
        let times = "2027-01-15 08:00:00.123456+00|2027-01-15 08:00:00.254706+00|131.25";
        let expected = format!("{}|pbx-a|2|refused|ops|2|{{1000,1001}}|it's \"done\"|{times}", started.id);
        assert_eq!(fixture.outside.sql(row), expected);
    }
}

#[test]
fn a_begin_that_is_repeated_leaves_one_record_of_what_it_read_last() {
    let fixture = Fixture::new();
    let started = started("pbx-a");
    for users in 0..2 {
        let list = fixture.inside.apply_log().begin(&started, &[]).unwrap();
        assert_eq!((list.users.len(), list.revision.get()), (users, i64::try_from(users).unwrap()));
        assert_eq!(fixture.outside.sql("SELECT users, revision FROM apply_audit_log"), format!("{users}|{users}"));
        fixture.create(users);
    }
}

#[test]
fn a_begin_that_meets_a_deadlock_is_tried_again() {
    let fixture = Fixture::new();
    fixture.deadlocks_once("apply_audit_log");
    // Its first connection is made for this.
    connect(&fixture.outside.url()).apply_log().begin(&started("pbx-a"), &[]).unwrap();
    assert_eq!(fixture.outside.sql("SELECT last_value FROM tries"), "2");
}

#[test]
fn what_was_left_open_is_closed_by_the_next_apply_of_its_node() {
    let fixture = Fixture::new();
    let [left, waits, elsewhere, next] = ["pbx-a", "pbx-a", "pbx-b", "pbx-a"].map(started);
    for apply in [&left, &waits, &elsewhere, &next, &next] {
        fixture.inside.apply_log().begin(apply, &[left.id, waits.id][usize::from(apply == &next)..]).unwrap();
    }
    for (apply, outcome) in [(left, "interrupted"), (waits, "running"), (elsewhere, "running"), (next, "running")] {
        let sql = format!("SELECT outcome FROM apply_audit_log WHERE id = '{}'", apply.id);
        assert_eq!(fixture.outside.sql(&sql), outcome);
    }
}

#[test]
fn every_outcome_can_be_recorded() {
    use ApplyOutcome::{Applied, Interrupted, Refused, RollbackFailed, RolledBack, Unchanged};
    let fixture = Fixture::new();
    for outcome in [Applied, Unchanged, Refused, RolledBack, RollbackFailed, Interrupted] {
        let started = StartedApply { actor: None, ..started("pbx-a") };
        fixture.inside.apply_log().begin(&started, &[]).unwrap();
        fixture.inside.apply_log().finish(&ApplyRecord { outcome, ..finished(&started) }).unwrap();
        let recorded = fixture.outside.sql(&format!("SELECT outcome FROM apply_audit_log WHERE id = '{}'", started.id));
        assert_eq!(recorded, outcome.as_str());
    }
}

#[test]
fn a_record_whose_words_hold_a_nul_is_recorded_without_it() {
    let fixture = Fixture::new();
    let started = started("pbx-a");
    fixture.inside.apply_log().begin(&started, &[]).unwrap();
    let nul = "a\0b".to_owned();
    let record = ApplyRecord { detail: Some(nul.clone()), warnings: vec![nul], ..finished(&started) };
    assert!(fixture.inside.apply_log().finish(&record).unwrap());
    assert_eq!(fixture.outside.sql("SELECT detail, warnings FROM apply_audit_log"), "a\u{fffd}b|{a\u{fffd}b}");
}

#[test]
fn what_a_crashed_process_left_running_is_closed_for_its_node_alone() {
    let fixture = Fixture::new();
    let log = fixture.inside.apply_log();
    let [done, elsewhere, crashed] = [started("pbx-a"), started("pbx-b"), started("pbx-a")];
    log.begin(&done, &[]).unwrap();
    log.finish(&finished(&done)).unwrap();
    for apply in [&elsewhere, &crashed] {
        log.begin(apply, &[]).unwrap();
    }

    assert_eq!(log.interrupt_running("pbx-a", &[crashed.id]).unwrap(), []);
    assert_eq!(log.interrupt_running("pbx-a", &[]).unwrap(), [crashed.id]);
    assert_eq!(log.interrupt_running("pbx-a", &[]).unwrap(), []);
    let rows = fixture.outside.sql(
        "SELECT node, outcome, finished_at > now() - interval '1 minute', duration_ms, detail FROM apply_audit_log ORDER BY node, outcome",
    );
    let interrupted = "pbx-a|interrupted|t||nobody closed it: its process was killed, PostgreSQL opened it late, or was restored to a moment in mid-apply";
    assert_eq!(rows, format!("pbx-a|applied|t|131.25|it's \"done\"\n{interrupted}\npbx-b|running|||"));

    log.finish(&finished(&crashed)).unwrap();
    let outcome = fixture.outside.sql(&format!("SELECT outcome FROM apply_audit_log WHERE id = '{}'", crashed.id));
    assert_eq!(outcome, "applied", "who learns later how it ended may say so");
}

#[test]
fn applies_begin_while_users_come_and_go() {
    let fixture = Fixture::new();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| (0..200).for_each(|number| drop(fixture.create(number))));
        while !writer.is_finished() {
            let started = started("pbx-a");
            let list = fixture.inside.apply_log().begin(&started, &[]).unwrap();
            let recorded = format!("SELECT revision, users FROM apply_audit_log WHERE id = '{}'", started.id);
            assert_eq!(fixture.outside.sql(&recorded), format!("{}|{}", list.revision, list.users.len()));
        }
    });
}

#[test]
fn the_last_applies_are_read_as_they_were_recorded() {
    let fixture = Fixture::new();
    let users = [fixture.create(1), fixture.create(2)];
    let log = fixture.inside.apply_log();
    assert_eq!(log.recent(None, 10).unwrap(), []);
    let waiting = log.waiting("pbx-a").unwrap();
    assert!(waiting.is_any() && waiting.since.is_none() && waiting.users == users);

    let at = |node: &str, seconds: u64| {
        let later = Duration::from_secs(seconds);
        let started = started(node);
        StartedApply { started_at: started.started_at + later, ..started }
    };
    let [first, other, last] = [at("pbx-a", 0), at("pbx-b", 1), at("pbx-a", 2)];
    for apply in [&first, &other, &last] {
        log.begin(apply, &[]).unwrap();
    }
    let record = |apply: &StartedApply, outcome| {
        let mut record = finished(apply);
        record.outcome = outcome;
        // To the microsecond, as it is kept.
        record.timings.reload = Duration::from_micros(1_235);
        record
    };
    let (first, other) = (record(&first, ApplyOutcome::Applied), record(&other, ApplyOutcome::RolledBack));
    assert!(log.finish(&first).unwrap() && log.finish(&other).unwrap());
    let ended = |record: &ApplyRecord| LoggedApply::Ended(Box::new(record.clone()));
    let running = LoggedApply::Running { apply: last.clone(), revision: Revision::new(2), users: 2 };
    assert_eq!(log.recent(None, 10).unwrap(), [running.clone(), ended(&other), ended(&first)]);
    assert_eq!(log.recent(None, 1).unwrap(), std::slice::from_ref(&running));
    assert_eq!(log.recent(Some("pbx-a"), 10).unwrap(), [running, ended(&first)]);
    assert_eq!(log.recent(Some("pbx"), 10).unwrap(), []);
    let all = log.recent(None, 10).unwrap();
    assert!(all.iter().map(LoggedApply::node).eq(["pbx-a", "pbx-b", "pbx-a"]), "{all:?}");

    let waiting = log.waiting("pbx-a").unwrap();
    assert!(!waiting.is_any() && waiting.users.is_empty());
    assert_eq!(waiting.since, Some(first));
    let third = fixture.create(3);
    let waiting = log.waiting("pbx-a").unwrap();
    assert!(waiting.is_any() && waiting.users == [third.clone()] && waiting.revision.get() == 3);
    fixture.inside.users().delete(third.id).unwrap();
    let waiting = log.waiting("pbx-a").unwrap();
    assert!(waiting.is_any() && waiting.users.is_empty(), "a delete waits too");
    assert!(log.waiting("pbx-b").unwrap().since.is_none(), "nothing was proven there");

    // What a process left that is gone.
    log.interrupt_running("pbx-a", &[]).unwrap();
    let LoggedApply::Ended(interrupted) = &log.recent(None, 1).unwrap()[0] else { panic!("it has ended") };
    assert_eq!((interrupted.outcome, interrupted.id), (ApplyOutcome::Interrupted, last.id));
}
