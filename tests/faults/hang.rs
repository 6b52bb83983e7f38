//! An Asterisk that is frozen at one moment or another (SIGSTOP): its socket takes connections, and nothing answers.

use pbx_tests::Behaviour;

use crate::faults::matrix;
use crate::faults::world::{BOTH_WAYS_IMPATIENT, Disk, World};

const RELOAD: &str = "module reload*";

/// A line of shell that freezes the daemon.
fn freeze(world: &World) -> String {
    format!("kill -STOP {}", world.asterisk.id())
}

#[test]
fn an_asterisk_that_hangs_before_the_apply_is_left_alone() {
    for world in BOTH_WAYS_IMPATIENT {
        let world = world();
        world.asterisk.freeze();
        let answer = world.portal.http().post_empty("/apply");
        world.asterisk.thaw();
        world.check(matrix::HUNG_BEFORE, &answer);
        assert!(answer.string("/detail").contains("did not answer"), "{}", answer.text);
        assert!(!answer.header("retry-after").is_empty());
        world.recovers();
    }
}

#[test]
fn an_asterisk_that_hangs_at_another_question_before_the_apply_is_left_alone() {
    for world in BOTH_WAYS_IMPATIENT {
        let world = world();
        world.stand_in.on("database show*", &Behaviour::Hang);
        let answer = world.apply(matrix::NO_CONTACTS);
        assert!(!answer.header("retry-after").is_empty());
        world.recovers();
    }
}

#[test]
fn an_asterisk_that_hangs_when_there_is_nothing_to_do_is_left_alone() {
    for world in BOTH_WAYS_IMPATIENT {
        let world = world();
        world.recovers();
        let reloads = world.stand_in.count("module reload");
        world.stand_in.on("pjsip show endpoints", &Behaviour::Hang);
        let answer = world.portal.http().post_empty("/apply").expect(503);
        assert_eq!(answer.string("/type"), "urn:pbx-portal:asterisk-unavailable");
        assert_eq!(answer.json["apply"]["outcome"], "refused");
        assert_eq!(world.stand_in.count("module reload"), reloads);
        assert_eq!(world.recovers().json["outcome"], "unchanged");
    }
}

#[test]
fn an_asterisk_that_hangs_at_the_reload_finds_the_old_files_when_it_continues() {
    for world in BOTH_WAYS_IMPATIENT {
        let world = world();
        world.stand_in.on(RELOAD, &Behaviour::Before(freeze(&world)));
        let answer = world.apply(matrix::HUNG_DURING);
        assert!(answer.string("/detail").contains("could not be proven"), "{}", answer.text);
        world.asterisk.thaw();
        world.recovers();
    }
}

#[test]
fn an_asterisk_that_hangs_after_the_reload_is_not_believed() {
    for world in BOTH_WAYS_IMPATIENT {
        let world = world();
        world.stand_in.on_next(1, RELOAD, &Behaviour::After(freeze(&world)));
        world.apply(matrix::HUNG_AFTER);
        world.asterisk.thaw();
        assert!(Disk::of(&world.asterisk) == world.old.disk);
        world.check_bystander();
        world.recovers();
    }
}

#[test]
fn a_reload_whose_answer_never_comes_is_read_back_and_stands() {
    let world = World::impatient();
    world.stand_in.on(RELOAD, &Behaviour::HangAfterwards);
    world.apply(matrix::CLIENT_HUNG);
    world.recovers();
}

#[test]
fn a_reload_that_takes_all_the_time_of_an_apply_is_read_back_all_the_same() {
    let world = World::new().with_patience(8, 8);
    world.stand_in.on(RELOAD, &Behaviour::HangAfterwards);
    world.apply(matrix::CLIENT_HUNG);
    world.recovers();
}

#[test]
fn a_reload_that_hangs_once_is_rolled_back_and_proven() {
    let world = World::impatient();
    world.stand_in.on_next(1, RELOAD, &Behaviour::HangWithChild);
    world.apply(matrix::HUNG_FOR_A_WHILE);
    world.recovers();
}

#[test]
fn while_asterisk_hangs_users_are_created_listed_and_deleted_without_a_wait() {
    let world = World::new();
    let http = world.portal.http();
    let before = world.stand_in.asked_by_socket();
    world.asterisk.freeze();
    std::thread::scope(|scope| {
        // One waits for Asterisk, the others for the lock.
        let applies: Vec<_> = (0..8).map(|_| scope.spawn(|| http.post_empty("/apply"))).collect();
        pbx_tests::until("an apply to wait", || (world.stand_in.asked_by_socket() > before).then_some(()));
        for round in 0..10 {
            let user = crate::faults::world::create(&world.portal, &format!("u{round}"));
            http.get("/users").expect(200);
            http.delete(&format!("/users/{}", user.string("/id"))).expect(204);
        }
        assert!(applies.iter().all(|apply| !apply.is_finished()), "the users came and went after Asterisk did");
        world.asterisk.thaw();
        for apply in applies {
            apply.join().unwrap().expect(200);
        }
    });
    world.recovers();
}
