//! One apply after the other: of one process, of two, and the ones that only look.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;
use std::{fs, thread};

use pbx_tests::{Behaviour, Http, Portal, Response, until};

use crate::faults::matrix;
use crate::faults::world::{Disk, Running, World, create};

/// So many applies at once, spread over these portals.
fn applies(portals: &[&Http], count: usize) -> Vec<Response> {
    thread::scope(|scope| {
        let callers: Vec<_> = (0..count)
            .map(|n| portals[n % portals.len()])
            .map(|http| scope.spawn(|| http.post_empty("/apply")))
            .collect();
        callers.into_iter().map(|caller| caller.join().unwrap().expect(200)).collect()
    })
}

#[track_caller]
fn one_is_applied(world: &World, answers: &[Response]) -> Response {
    let (applied, unchanged): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.json["outcome"] == "applied");
    assert_eq!(applied.len(), 1);
    assert!(unchanged.iter().all(|answer| answer.json["outcome"] == "unchanged"));
    assert_eq!(
        world.database.sql("SELECT count(*) FROM apply_audit_log WHERE outcome = 'unchanged'"),
        unchanged.len().to_string()
    );
    applied[0].clone()
}

#[test]
fn of_twenty_applies_at_once_one_applies_and_all_answer_the_truth() {
    let world = World::new();
    let before = world.stand_in.count("module reload");
    let answers = applies(&[world.portal.http()], 20);
    one_is_applied(&world, &answers);
    assert_eq!(world.stand_in.count("module reload") - before, 1);
    world.recovers();
}

#[test]
fn applies_of_two_portals_of_one_host_never_overlap() {
    let world = World::new();
    let other = world.portal.settings().start();
    let answers = applies(&[world.portal.http(), other.http()], 12);
    world.check(matrix::TWO_PORTALS, &one_is_applied(&world, &answers));
    // What one applied, both know.
    assert_eq!(other.http().get("/users").expect(200).json["apply_required"], false);
    create(&other, "third");
    assert_eq!(other.http().post_empty("/apply").expect(200).json["outcome"], "applied");
    let users = world.portal.http().get("/users").expect(200);
    assert_eq!(users.json["apply_required"], false, "{}", users.text);
    assert_eq!(users.json["users"][2]["applied"], true, "{}", users.text);
}

#[test]
fn a_caller_that_does_not_get_the_lock_gets_503_and_a_record() {
    let world = World::new();
    let neighbour = world.portal.settings().clone().with_patience(1, 1).start();
    let records = world.records();
    // Before it touches anything, so that a caller who waits finds all as it was.
    let held = world.stand_in.hold_next("core waitfullybooted");
    thread::scope(|scope| {
        let first = scope.spawn(|| world.portal.http().post_empty("/apply"));
        held.wait();
        // One waits for the other process, and one behind it for its own.
        let second = scope.spawn(|| neighbour.http().post_empty("/apply"));
        let third = scope.spawn(|| neighbour.http().post_empty("/apply"));
        let dry_run = scope.spawn(|| neighbour.http().post_empty("/apply?dry_run=true"));
        for answer in [second.join().unwrap(), third.join().unwrap()] {
            world.check(matrix::NO_LOCK, &answer);
            assert!(!answer.header("retry-after").is_empty());
        }
        let dry_run = dry_run.join().unwrap().expect(503);
        assert_eq!(dry_run.string("/type"), "urn:pbx-portal:apply-busy");
        drop(held);
        first.join().unwrap().expect(200);
    });
    assert_eq!(world.records() - records, 3, "a dry run leaves none");
    world.recovers();
}

#[test]
fn an_apply_that_gets_the_lock_late_says_nothing_of_asterisk() {
    let world = World::new();
    let late = world.portal.settings().clone().with_patience(2, 3).start();
    let lock = fs::File::open(late.settings().state_dir().join("lock")).unwrap();
    world.stand_in.on("core waitfullybooted", &Behaviour::Hang);
    let asked = || world.stand_in.count("core waitfullybooted");
    let applied_after = |milliseconds, portal: &Portal| {
        lock.lock().unwrap();
        thread::scope(|scope| {
            let apply = scope.spawn(|| portal.http().post_empty("/apply"));
            thread::sleep(Duration::from_millis(milliseconds));
            lock.unlock().unwrap();
            apply.join().unwrap()
        })
    };
    // A busy machine may give the lock too late for a question: then once more.
    let answer = until("a question after the lock", || {
        let before = asked();
        let answer = applied_after(2200, &late);
        (asked() > before).then_some(answer)
    });
    world.check(matrix::NO_LOCK, &answer);
    assert!(answer.string("/detail").starts_with("Other applies took "), "{}", answer.text);
    // Who waited as well, and then has the whole time for a command, has nobody but Asterisk to blame.
    let patient = world.portal.settings().clone().with_patience(1, 60).start();
    let answer = applied_after(1500, &patient);
    assert_eq!(answer.expect(503).string("/type"), "urn:pbx-portal:asterisk-unavailable");
    world.stand_in.behave();
    world.recovers();
}

/// All that could show a visit: names, numbers and times of everything in a directory.
fn trace(directory: &Path) -> Vec<String> {
    let entry = |path: &Path| {
        let data = fs::symlink_metadata(path).unwrap();
        format!("{} {} {} {} {}", path.display(), data.ino(), data.mtime(), data.mtime_nsec(), data.size())
    };
    let mut all = vec![entry(directory)];
    all.extend(fs::read_dir(directory).unwrap().map(|file| entry(&file.unwrap().path())));
    all.sort();
    all
}

/// The trace of both include files' directories.
fn traces(world: &World) -> Vec<String> {
    let files = [world.asterisk.pjsip_include(), world.asterisk.dialplan_include()];
    files.iter().flat_map(|file| trace(file.parent().unwrap())).collect()
}

#[test]
fn an_apply_with_nothing_to_do_writes_and_reloads_nothing() {
    let world = World::new();
    world.recovers();
    let state = world.portal.settings().state_dir();
    let directory = format!("{} ", state.display());
    // Only the note of the last apply is another one.
    let traces = || {
        let mut state = trace(&state);
        state.retain(|file| !file.contains("note-last") && !file.starts_with(&directory));
        (traces(&world), state, world.stand_in.count("module reload"))
    };
    let before = traces();
    assert_eq!(world.recovers().json["outcome"], "unchanged");
    assert_eq!(traces(), before);
}

#[test]
fn a_dry_run_reports_the_changes_and_leaves_no_trace() {
    let mut world = World::new();
    let state = world.portal.settings().state_dir();
    let traces = |world: &World| (traces(world), trace(&state));
    let (before, records) = (traces(&world), world.records());
    let commands = world.stand_in.commands().len();
    let plan = world.portal.http().post_empty("/apply?dry_run=true").expect(200);
    assert_eq!((plan.json["outcome"].as_str(), &plan.json["id"]), (Some("planned"), &serde_json::Value::Null));
    assert_eq!(plan.json["changes"]["added"], serde_json::json!([1001]));
    assert_eq!(plan.json["live"], serde_json::json!({ "matches": true, "problems": [] }), "what waits is no drift");
    assert!(
        world.stand_in.commands()[commands..]
            .iter()
            .all(|command| !command.contains("reload") && !command.contains("del"))
    );

    world.asterisk.stop();
    let down = world.portal.http().post_empty("/apply?dry_run=true").expect(200);
    assert_eq!(down.json["live"]["matches"], false);
    assert!(down.json["live"]["problems"].to_string().contains("not running"), "{}", down.text);
    world.asterisk.start();

    assert_eq!(traces(&world), before);
    assert_eq!(world.records(), records);
    assert!(Disk::of(&world.asterisk) == world.old.disk && Running::of(&world.asterisk) == world.old.running);
    let applied = world.recovers();
    assert_eq!(applied.json["files"], plan.json["files"], "what was planned is what came");
}
