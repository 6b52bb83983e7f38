//! A database whose history is another one than the portal saw: what counts as applied goes by what was proven.

use std::cell::Cell;
use std::fs;
use std::path::Path;

use pbx_tests::{Asterisk, Behaviour, Cluster, Database, Response, Settings, until};

use crate::faults::database::{self, apply_and_meanwhile};
use crate::faults::matrix;
use crate::faults::world::{World, create};

/// How many lines of the log say that the database lacks the record of an apply.
fn reported(world: &World) -> usize {
    world.portal.log().lines().filter(|line| line.contains("does not have the record of the apply")).count()
}

/// Asterisk runs the bystander and "third", whose number the database gives to "newcomer" again.
#[track_caller]
fn only_what_runs_counts(world: &World, answer: &Response) {
    let (list, applied) = world.claims();
    assert_eq!(applied, [1000], "{}", list.text);
    assert_eq!((list.string("/users/1/name").as_str(), &list.json["apply_required"]), ("newcomer", &true.into()));
    assert_eq!(list.json["last_apply"]["id"], answer.json["apply"]["id"], "{}", list.text);
    assert_eq!(list.json["last_apply"]["outcome"], "applied");
    let id = answer.string("/apply/id");
    assert_eq!(world.database.sql(&format!("SELECT count(*) FROM apply_audit_log WHERE id = '{id}'")), "0");
    assert_eq!(world.waiting_records(), 1);
}

/// 1001 goes from "newcomer" to "third"; the dump is from before.
fn dump_and_change(world: &World) -> String {
    let dump = world.database.dump();
    let id = world.portal.http().get("/users").string("/users/1/id");
    world.portal.http().delete(&format!("/users/{id}")).expect(204);
    create(&world.portal, "third");
    dump
}

#[test]
fn a_database_restored_in_mid_apply_gets_no_record_and_changes_no_applied() {
    let (mut world, _cluster) = database::world();
    let dump = dump_and_change(&world);
    let answer = apply_and_meanwhile(&world, || world.database.restore(&dump));
    world.check_all_but_record(matrix::RESTORED, &answer, || world.extensions());
    assert!(answer.string("/detail").contains("does not have the record"), "{}", answer.text);
    only_what_runs_counts(&world, &answer);
    assert_eq!(reported(&world), 1);

    world.recovers();
    assert_eq!((reported(&world), world.waiting_records()), (1, 1), "it is reported once");
    let settings = world.portal.settings().clone();
    world.portal.stop();
    world.portal = settings.start();
    assert_eq!((reported(&world), world.waiting_records()), (0, 1), "it is reported once");
}

#[test]
fn a_record_that_waited_is_not_written_into_a_restored_database() {
    let (mut world, mut cluster) = database::world();
    let dump = dump_and_change(&world);
    let answer = apply_and_meanwhile(&world, || cluster.stop());
    assert_eq!((answer.status, answer.string("/apply/outcome").as_str()), (503, "applied"));
    world.portal.kill();
    cluster.start();
    world.database.restore(&dump);
    world.portal = world.portal.settings().start();
    only_what_runs_counts(&world, &answer);
    assert_eq!(reported(&world), 1);
    world.recovers();
}

/// A world on a primary whose standby has lost touch with it, and the standby.
fn lagging() -> (World, Cluster, Cluster) {
    let primary = Cluster::start_new();
    let standby = primary.standby();
    let database = Database::create_in(&primary.url());
    let url = database.url().replace(&primary.address(), &format!("{},{}", primary.address(), standby.address()))
        + "?target_session_attrs=read-write";
    let world = World::with(database, Asterisk::start_new(), |settings| {
        settings.with("DATABASE_URL", &url).with("PBX_PORTAL__DATABASE__TIMEOUT_SECONDS", "10")
    });
    primary.leave_behind(&standby);
    (world, primary, standby)
}

#[test]
fn a_standby_that_lost_commits_and_takes_over_makes_nobody_applied() {
    let (world, mut primary, standby) = lagging();
    create(&world.portal, "lost");
    let users = world.extensions();
    let answer = apply_and_meanwhile(&world, || {
        primary.kill();
        standby.promote();
    });
    world.check_all_but_record(matrix::FAILED_OVER, &answer, || users);
    let (list, applied) = world.claims();
    assert_eq!(list.json["users"].as_array().unwrap().len(), 2, "{}", list.text);
    assert_eq!((applied, &list.json["apply_required"]), (vec![1000, 1001], &true.into()));
    assert_eq!(list.json["last_apply"]["id"], answer.json["apply"]["id"]);
    assert_eq!(world.waiting_records(), 1);
    let recovered = world.portal.http().post_empty("/apply").expect(200);
    assert_eq!(recovered.json["changes"]["removed"], serde_json::json!([1002]));
    world.check_new_is_live();
}

#[test]
fn a_list_does_not_outlive_a_failover_that_lost_commits() {
    let (world, mut primary, standby) = lagging();
    create(&world.portal, "lost");
    let known = world.portal.http().get("/users").expect(200);
    primary.kill();
    standby.promote();
    // No list is asked for in between: the next one is of the same revision, and of another user.
    let other = serde_json::json!({ "name": "other", "email": "other@example.com" });
    until("the portal to be back", || (world.portal.http().post("/users", &other).status == 201).then_some(()));
    let list = world.portal.http().get_with("/users", &[("if-none-match", known.header("etag"))]).expect(200);
    assert_eq!((list.number("/revision"), list.string("/users/2/name").as_str()), (known.number("/revision"), "other"));
}

#[test]
fn a_revision_moved_back_by_hand_hides_no_change() {
    let world = World::new();
    world.recovers();
    let rename = |name: &str| format!("UPDATE users SET name = '{name}' WHERE email = 'newcomer@example.com'");
    for (name, sql) in [
        ("moved back", format!("{}; UPDATE tenants SET revision = revision - 1", rename("moved back"))),
        ("tenants first", format!("UPDATE tenants SET revision = revision; {}", rename("tenants first"))),
    ] {
        world.database.sql(&format!("BEGIN; {sql}; COMMIT"));
        let (list, applied) = world.claims();
        assert_eq!((list.string("/users/1/name").as_str(), applied), (name, vec![1000]), "{}", list.text);
        assert_eq!(list.json["apply_required"], true);
        assert_eq!(world.recovers().json["outcome"], "applied");
        assert_eq!(world.claims().1, [1000, 1001]);
    }
    // Nothing but the number moved.
    world.database.sql("UPDATE tenants SET revision = revision + 40");
    let (list, applied) = world.claims();
    assert_eq!((applied, &list.json["apply_required"]), (vec![1000, 1001], &false.into()), "{}", list.text);
    assert_eq!(world.recovers().json["outcome"], "unchanged");
    let list = world.claims().0;
    assert_eq!(list.json["applied_revision"], list.json["revision"], "an apply names the revision it was made of");
}

#[test]
fn after_a_rollback_that_was_not_proven_nothing_is_claimed() {
    let world = World::new();
    world.stand_in.on("pjsip show endpoints", &Behaviour::Say("No objects found.\n".to_owned()));
    let answer = world.portal.http().post_empty("/apply").expect(502);
    assert_eq!(answer.json["apply"]["outcome"], "rollback_failed", "{}", answer.text);
    let (list, applied) = world.claims();
    assert_eq!((applied, &list.json["apply_required"]), (vec![], &true.into()), "{}", list.text);
    assert_eq!((list.number("/applied_revision"), &list.json["last_apply"]["outcome"]), (0, &"rollback_failed".into()));
    world.recovers();
    assert_eq!(world.claims().1, [1000, 1001]);
}

#[test]
fn a_state_directory_copied_to_another_host_claims_nothing_there() {
    let world = World::new();
    world.recovers();
    // Alone, and with the include files, beside an Asterisk that has not read them.
    for with_files in [false, true] {
        let other = Asterisk::start_new();
        let settings = Settings::new(&world.database.url(), &other).with("PBX_PORTAL__NODE", "other");
        copy(&world.portal.settings().state_dir(), &settings.state_dir());
        if with_files {
            fs::copy(world.asterisk.pjsip_include(), other.pjsip_include()).unwrap();
            fs::copy(world.asterisk.dialplan_include(), other.dialplan_include()).unwrap();
        }
        let mut portal = settings.start();
        let list = portal.http().get("/users").expect(200);
        assert_eq!(
            (&list.json["apply_required"], list.number("/applied_revision")),
            (&true.into(), 0),
            "{}",
            list.text
        );
        let applied = |n| &list.json["users"][n]["applied"];
        assert_eq!((applied(0), applied(1)), (&false.into(), &false.into()));
        assert_eq!(portal.http().post_empty("/apply").expect(200).json["outcome"], "applied");
        assert_eq!(portal.http().get("/users").expect(200).json["apply_required"], false);
        // What Asterisk runs already is proven for this node as well.
        portal.stop();
        let renamed = settings.clone().with("PBX_PORTAL__NODE", "renamed").start();
        assert_eq!(renamed.http().get("/users").expect(200).number("/applied_revision"), 0);
        assert_eq!(renamed.http().post_empty("/apply").expect(200).json["outcome"], "unchanged");
        assert_eq!(renamed.http().get("/users").expect(200).json["apply_required"], false);
    }
}

#[test]
fn files_that_nobody_proved_make_an_apply_required_even_without_users() {
    let (database, asterisk) = (Database::create(), Asterisk::configured());
    fs::write(asterisk.pjsip_include(), "[1000]\ntype=endpoint\n").unwrap();
    let portal = Settings::new(&database.url(), &asterisk).start();
    assert_eq!(portal.http().get("/users").expect(200).json["apply_required"], true);
}

fn copy(from: &Path, to: &Path) {
    for file in fs::read_dir(from).unwrap().map(|file| file.unwrap()) {
        fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

#[test]
fn an_apply_that_was_killed_is_the_last_one_whether_database_or_directory_knows_of_it() {
    let mut world = World::new();
    let note = world.portal.settings().state_dir().join("note-running");
    for forgets in ["database", "directory"] {
        let id = Cell::new(String::new());
        world.killed_at("module reload*", |world| {
            let running = "FROM apply_audit_log WHERE outcome = 'running'";
            id.set(if forgets == "database" {
                world.database.sql(&format!("DELETE {running} RETURNING id"))
            } else {
                fs::remove_file(&note).unwrap();
                world.database.sql(&format!("SELECT id {running}"))
            });
        });
        world.portal = world.portal.settings().start();
        let list = world.portal.http().get("/users").expect(200);
        let last = &list.json["last_apply"];
        assert_eq!((&last["id"], &last["outcome"]), (&id.take().into(), &"interrupted".into()), "{forgets}: {last}");
    }
    world.recovers();
}

#[test]
fn an_apply_that_ended_stays_so_where_the_database_is_restored_to_a_moment_in_its_middle() {
    let mut world = World::new();
    let answer = world.portal.http().post_empty("/apply").expect(200);
    let before = world.claims().0.json["last_apply"].clone();
    assert_eq!((&before["id"], &before["outcome"]), (&answer.json["id"], &"applied".into()));
    world.portal.kill();
    world.database.sql(&format!(
        "UPDATE apply_audit_log SET outcome = 'running', finished_at = NULL, duration_ms = NULL, detail = NULL \
         WHERE id = '{}'",
        answer.string("/id")
    ));
    world.portal = world.portal.settings().start();
    assert_eq!(world.claims().0.json["last_apply"], before);
    assert_eq!(world.audit(&answer, "outcome"), "interrupted");
    let detail = world.audit(&answer, "detail");
    assert!(detail.starts_with("nobody closed it: ") && world.portal.log().contains(&detail), "{detail}");
    world.recovers();
}
