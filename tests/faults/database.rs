//! A PostgreSQL that goes away, or hangs, at one moment or another of an apply.

use std::thread;
use std::time::Duration;

use pbx_tests::{Asterisk, Behaviour, Cluster, Database, Response, until};

use crate::faults::matrix::{self, Row};
use crate::faults::world::World;

pub(crate) fn world() -> (World, Cluster) {
    let cluster = Cluster::start_new();
    let world = World::with(Database::create_in(&cluster.url()), Asterisk::start_new(), |settings| {
        settings.with("PBX_PORTAL__DATABASE__TIMEOUT_SECONDS", "5")
    });
    (world, cluster)
}

#[test]
fn without_a_database_nothing_is_touched() {
    let (world, mut cluster) = world();
    let commands = world.stand_in.commands();
    cluster.stop();
    let answer = world.apply(matrix::NO_DATABASE);
    assert!(!answer.header("retry-after").is_empty());
    assert_eq!(world.stand_in.commands(), commands, "Asterisk was not asked for anything");
    cluster.start();
    let records = world.records();
    let list = world.claims().0;
    assert_eq!(list.json["last_apply"]["id"], answer.json["apply"]["id"], "{}", list.text);
    world.recovers();
    assert_eq!(world.records(), records + 1, "the first was never begun");
}

#[test]
fn a_database_that_hangs_is_given_up_and_nothing_is_touched() {
    let (world, cluster) = world();
    // The statement waits when all stops. At the thaw its time is over, and it is cancelled.
    let lock = world.database.begin("LOCK TABLE apply_audit_log IN SHARE MODE");
    thread::scope(|scope| {
        let apply = scope.spawn(|| world.portal.http().post_empty("/apply"));
        world.database.wait_for_waiting(1);
        cluster.freeze();
        let answer = apply.join().unwrap();
        drop(lock);
        cluster.thaw();
        world.check(matrix::FROZEN_DATABASE, &answer);
    });
    world.recovers();
}

#[test]
fn a_record_that_is_opened_behind_the_back_of_the_portal_is_closed_as_refused() {
    let (world, _cluster) = world();
    let wait = world.database.wait_for_standby();
    // The server reads its settings in its own time.
    let answer = until("an apply that cannot begin", || {
        let answer = world.portal.http().post_empty("/apply");
        (answer.json["apply"]["outcome"] == "refused").then_some(answer)
    });
    assert_eq!((answer.status, world.audit(&answer, "outcome").as_str()), (503, ""));
    // For the portal to look for it too early, which nothing shows; with less time the test asks for less.
    thread::sleep(Duration::from_millis(2500));
    drop(wait);
    until("the record to be closed", || (world.audit(&answer, "outcome") == "refused").then_some(()));
    until("the note to be gone", || (world.waiting_records() == 0).then_some(()));
    assert!(!world.portal.log().contains("does not have the record"), "{}", world.portal.log());
    world.recovers();
}

#[test]
fn a_database_that_dies_between_snapshot_and_record_leaves_nothing_touched() {
    let (world, mut cluster) = world();
    let commands = world.stand_in.commands();
    let records = world.records();
    // The snapshot can be read, and its record has to wait for the table.
    let lock = world.database.begin("LOCK TABLE apply_audit_log IN SHARE MODE");
    thread::scope(|scope| {
        let apply = scope.spawn(|| world.portal.http().post_empty("/apply"));
        world.database.wait_for_waiting(1);
        // Were the lock released first, the record could still be written.
        cluster.crash();
        world.check(matrix::NO_AUDIT, &apply.join().unwrap());
    });
    drop(lock);
    assert_eq!(world.stand_in.commands(), commands, "Asterisk was not asked for anything");
    cluster.start();
    assert_eq!(world.records(), records);
    world.recovers();
}

/// Applies, and does something to the database while Asterisk reloads.
pub(crate) fn apply_and_meanwhile(world: &World, meanwhile: impl FnOnce()) -> Response {
    world.apply_and_meanwhile("module reload*", meanwhile)
}

/// The record of an apply whose end the database could not take is closed soon after its return, without a call.
#[track_caller]
fn is_closed_soon(world: &World, row: Row, answer: &Response) {
    until("the record to be closed", || {
        (world.waiting_records() == 0 && world.audit(answer, "outcome") == row.outcome).then_some(())
    });
    world.check(row, answer);
}

#[test]
fn a_database_that_dies_before_the_last_word_gets_it_when_it_is_back() {
    let (world, mut cluster) = world();
    let answer = apply_and_meanwhile(&world, || cluster.stop());
    assert_eq!(answer.status, 503);
    cluster.start();
    is_closed_soon(&world, matrix::NO_LAST_WORD, &answer);
    let users = world.portal.http().get("/users").expect(200);
    assert_eq!(users.json["apply_required"], false, "it was applied: {}", users.text);
    assert_eq!(world.recovers().json["outcome"], "unchanged");
}

#[test]
fn a_database_that_hangs_gets_the_record_when_it_continues() {
    let (world, cluster) = world();
    let answer = apply_and_meanwhile(&world, || cluster.freeze());
    assert_eq!(answer.status, 503);
    cluster.thaw();
    is_closed_soon(&world, matrix::NO_LAST_WORD_FROZEN, &answer);
    world.recovers();
}

#[test]
fn the_last_word_is_the_true_one_whatever_it_is() {
    let (world, mut cluster) = world();
    // A difference is believed when it is read twice.
    world.stand_in.on_next(2, "pjsip show endpoints", &Behaviour::Say("No objects found.\n".to_owned()));
    let answer = apply_and_meanwhile(&world, || cluster.stop());
    cluster.start();
    is_closed_soon(&world, matrix::NO_LAST_WORD_ROLLED_BACK, &answer);
    assert!(world.audit(&answer, "detail").contains("1001"), "{}", world.audit(&answer, "detail"));
    world.recovers();
}

#[test]
fn a_record_that_waits_survives_a_kill_of_the_portal() {
    let (mut world, mut cluster) = world();
    let answer = apply_and_meanwhile(&world, || cluster.stop());
    assert_eq!(world.waiting_records(), 1);
    world.portal.kill();
    cluster.start();
    world.portal = world.portal.settings().start();
    world.check(matrix::NO_LAST_WORD, &answer);
    assert_eq!(world.recovers().json["outcome"], "unchanged");
}

#[test]
fn a_record_that_postgresql_refuses_keeps_nobody_from_starting() {
    let (mut world, mut cluster) = world();
    let answer = apply_and_meanwhile(&world, || cluster.stop());
    world.portal.kill();
    cluster.start();
    world.database.sql(
        "ALTER TABLE apply_audit_log ADD CONSTRAINT his CHECK (outcome = 'running') NOT VALID; \
         ALTER TABLE users DROP CONSTRAINT users_email_address_check; \
         UPDATE users SET email = 'none' WHERE id = (SELECT id FROM users LIMIT 1)",
    );
    // Neither the record can be closed, nor a list be made: the user can still be deleted.
    let restart = |world: &mut World| world.portal = world.portal.settings().start();
    restart(&mut world);
    assert!(world.portal.log().contains("open audit records wait: the database refused"), "{}", world.portal.log());
    world.portal.http().get("/users").expect(500);
    let id = world.database.sql(
        "DELETE FROM extensions WHERE user_id = (SELECT id FROM users WHERE email = 'none'); \
         DELETE FROM users WHERE email = 'none' RETURNING id",
    );
    assert!(!id.is_empty());
    world.portal.kill();
    restart(&mut world);
    let waits = format!("the record of apply {} waits for the next apply or start: ", answer.string("/apply/id"));
    assert!(world.portal.log().contains(&waits), "{}", world.portal.log());
    assert_eq!((world.waiting_records(), world.audit(&answer, "outcome")), (1, "running".to_owned()));
    world.database.sql("ALTER TABLE apply_audit_log DROP CONSTRAINT his");
    world.portal.http().post_empty("/apply").expect(200);
    assert_eq!((world.waiting_records(), world.audit(&answer, "outcome")), (0, "applied".to_owned()));
}

#[test]
fn users_that_cannot_be_read_refuse_the_apply_and_its_record_says_so() {
    let world = World::new();
    world.database.sql(
        "ALTER TABLE users DROP CONSTRAINT users_email_address_check; \
         UPDATE users SET email = 'none' WHERE id = (SELECT id FROM users LIMIT 1)",
    );
    let answer = world.portal.http().post_empty("/apply").expect(500);
    assert_eq!(
        (answer.string("/type"), answer.string("/apply/outcome")),
        ("urn:pbx-portal:internal".into(), "refused".into())
    );
    assert_eq!(world.audit(&answer, "outcome || ' ' || users || ' ' || (revision > 0)"), "refused 2 true");
    world.check_old();
}

#[test]
fn users_of_whom_no_files_can_be_made_are_named() {
    let world = World::new();
    world.database.sql(
        "ALTER TABLE extensions DROP CONSTRAINT extensions_pkey; \
         WITH second AS (INSERT INTO users (id, name, email, revision) \
         VALUES (gen_random_uuid(), 'Second', 'second@example.com', 0) RETURNING id) \
         INSERT INTO extensions (number, user_id, realm, ha1, revision) \
         SELECT 1000, id, 'asterisk', repeat('0', 32), 0 FROM second",
    );
    for path in ["/apply", "/apply?dry_run=true"] {
        let detail = world.portal.http().post_empty(path).expect(500).string("/detail");
        assert!(detail.contains("extension 1000 belongs to two users: delete one of them"), "{detail}");
    }
    world.check_bystander();
}
