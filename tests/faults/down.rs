//! An Asterisk that is not there, not there yet, gone in the middle, or busy.

use std::{fs, thread};

use pbx_tests::misbehaving::{BUSY, QUEUED};
use pbx_tests::{Behaviour, until};

use crate::faults::matrix;
use crate::faults::world::{BOTH_WAYS, State, World};

const RELOAD: &str = "module reload*";

/// A world whose phones outlive a killed Asterisk, which writes its database once a second.
fn settled_world() -> World {
    let world = World::new();
    let file = world.asterisk.home().join("db/astdb.sqlite3");
    until("the bystander's contact to be on disk", || {
        let database = fs::read(&file).unwrap_or_default();
        let is_written = database.windows(CONTACT.len()).any(|part| part == CONTACT);
        // While there is a journal, what is written is not committed.
        (is_written && !file.with_extension("sqlite3-journal").exists()).then_some(())
    });
    world
}

const CONTACT: &[u8] = b"/registrar/contact/1000;@";

/// A line of shell that kills the daemon, and sees it dead: its parent, the test, has not waited for it yet.
fn kill(world: &World) -> String {
    let daemon = world.asterisk.id();
    format!("kill -KILL {daemon}; until grep -q '^State:.Z' /proc/{daemon}/status; do sleep 0.02; done")
}

#[test]
fn an_asterisk_that_is_down_is_left_alone_and_starts_with_the_old_files() {
    let mut world = World::new();
    world.asterisk.stop();
    let answer = world.apply(matrix::DOWN);
    assert!(answer.string("/detail").contains("Asterisk is not running"), "{}", answer.text);
    world.asterisk.start();
    world.check_old();
    world.recovers();
}

#[test]
fn an_asterisk_that_is_down_is_left_alone_by_an_apply_that_only_removes() {
    let mut world = World::new();
    world.recovers();
    world.old = State::of(&world.asterisk);
    // No new number: nothing is asked before the reload but whether Asterisk is there.
    let newcomer = world.portal.http().get("/users").expect(200).string("/users/1/id");
    world.portal.http().delete(&format!("/users/{newcomer}")).expect(204);
    world.asterisk.stop();
    world.apply(matrix::DOWN);
}

#[test]
fn an_asterisk_that_was_killed_and_left_its_socket_is_down() {
    let mut world = settled_world();
    world.asterisk.kill();
    world.apply(matrix::DOWN);
    world.asterisk.start();
    world.check_old();
    world.recovers();
}

#[test]
fn an_asterisk_that_boots_is_waited_for() {
    for world in BOTH_WAYS {
        let world = world();
        let asked = || world.stand_in.count("core waitfullybooted");
        let before = asked();
        world.stand_in.on_next(1, "core waitfullybooted", &Behaviour::Delay(600));
        world.apply(matrix::BOOTING);
        assert_eq!(asked(), before + 1);
    }
}

#[test]
fn whenever_an_apply_meets_a_real_boot_it_is_refused_or_proven() {
    for world in BOTH_WAYS {
        let mut world = world();
        world.asterisk.stop();
        world.asterisk.start_booting();
        until("the boot to end", || {
            let answer = world.portal.http().post_empty("/apply");
            if answer.status == 200 {
                world.check(matrix::BOOTING, &answer);
                return Some(());
            }
            world.check(matrix::DOWN, &answer);
            None
        });
        world.recovers();
    }
}

#[test]
fn a_reload_that_is_queued_behind_the_boot_is_made_again() {
    let world = World::new();
    world.stand_in.on_next(2, RELOAD, &Behaviour::Say(QUEUED.to_owned()));
    world.apply(matrix::QUEUED);
    assert_eq!(world.stand_in.count("module reload"), 4);
}

#[test]
fn an_asterisk_that_is_killed_at_the_reload_starts_with_the_old_files() {
    let mut world = settled_world();
    world.stand_in.on_next(1, RELOAD, &Behaviour::Before(kill(&world)));
    world.apply(matrix::KILLED_DURING);
    world.asterisk.kill();
    world.asterisk.start();
    world.check_old();
    world.recovers();
}

#[test]
fn an_asterisk_that_is_killed_after_the_reload_starts_with_the_old_files() {
    let mut world = settled_world();
    world.stand_in.on_next(1, RELOAD, &Behaviour::After(kill(&world)));
    world.apply(matrix::KILLED_AFTER);
    world.asterisk.kill();
    world.asterisk.start();
    world.check_old();
    world.recovers();
}

#[test]
fn an_asterisk_that_was_restarted_between_two_applies_is_no_surprise() {
    let mut world = World::new();
    world.asterisk.restart();
    world.apply(matrix::RESTARTED_BETWEEN);
    world.asterisk.restart();
    world.check_new_is_live();
    assert_eq!(world.recovers().json["outcome"], "unchanged");
}

#[test]
fn a_module_that_found_no_file_at_the_start_is_loaded() {
    let mut world = settled_world();
    world.asterisk.stop();
    fs::remove_file(world.asterisk.dialplan_include()).unwrap();
    world.asterisk.start();
    world.apply(matrix::STARTED_WITHOUT);
    assert_eq!(world.stand_in.count("module load pbx_config.so"), 1);
    assert_eq!(world.recovers().json["outcome"], "unchanged");
}

#[test]
fn a_module_that_was_unloaded_by_hand_is_named_with_what_loads_it() {
    let world = World::new();
    // Not `res_pjsip.so`, which is always in use: forced to unload it, Asterisk itself crashes.
    world.asterisk.rx("module unload pbx_config.so");
    let answer = world.apply(matrix::UNLOADED);
    let load = "module load pbx_config.so";
    let fix =
        format!("To fix: Asterisk does not run pbx_config.so: load it ({} -rx '{load}').", world.stand_in.command());
    assert!(answer.string("/detail").ends_with(&fix), "{}", answer.text);
    world.asterisk.rx(load);
    world.recovers();
}

#[test]
fn an_asterisk_that_is_busy_for_a_while_is_waited_for() {
    let world = World::new();
    world.stand_in.on_next(5, RELOAD, &Behaviour::Say(BUSY.to_owned()));
    world.apply(matrix::BUSY_FOR_A_WHILE);
}

#[test]
fn an_asterisk_that_really_reloads_something_else_all_the_time_is_waited_for() {
    let world = World::new();
    thread::scope(|scope| {
        scope.spawn(|| (0..60).for_each(|_| drop(world.asterisk.rx("module reload res_pjsip.so"))));
        world.apply(matrix::BUSY_FOR_A_WHILE);
    });
}

#[test]
fn an_asterisk_that_is_busy_for_ever_keeps_the_old_pair() {
    let world = World::impatient();
    world.stand_in.on(RELOAD, &Behaviour::Say(BUSY.to_owned()));
    let answer = world.apply(matrix::BUSY_FOR_EVER);
    assert!(answer.string("/detail").contains("busy with other reloads"), "{}", answer.text);
    assert!(!answer.header("retry-after").is_empty());
    world.recovers();
}

#[test]
fn a_rollback_waits_for_other_reloads_too() {
    let world = World::new().with_patience(10, 100);
    world.stand_in.on_next(1, RELOAD, &Behaviour::Silence);
    // The pauses between them come to more than half of what a command may take, and twice that is far off: a busy
    // machine may take a second for each.
    world.stand_in.on_next(15, RELOAD, &Behaviour::Say(BUSY.to_owned()));
    world.apply(matrix::SILENT_RELOAD);
    world.recovers();
}

#[test]
fn a_rollback_that_never_begins_is_not_proven() {
    let world = World::impatient();
    // Whether the first reload began is not known: it may end after the old pair was seen live.
    world.stand_in.on_next(1, RELOAD, &Behaviour::Silence);
    world.stand_in.on(RELOAD, &Behaviour::Say(BUSY.to_owned()));
    world.apply(matrix::NO_ROLLBACK);
    world.recovers();
}
