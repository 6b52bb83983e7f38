//! An Asterisk that is frozen at one moment or another (SIGSTOP): its socket takes connections, and nothing answers.

use std::time::{Duration, Instant};

use pbx_tests::Behaviour;

use crate::matrix;
use crate::world::{Disk, World};

const RELOAD: &str = "module reload*";

/// A line of shell that freezes the daemon.
fn freeze(world: &World) -> String {
    format!("kill -STOP {}", world.asterisk.id())
}

#[test]
fn an_asterisk_that_hangs_before_the_apply_is_left_alone() {
    let world = World::new();
    let began = Instant::now();
    world.asterisk.freeze();
    let answer = world.portal.http().post_empty("/apply");
    assert!(began.elapsed() < Duration::from_secs(3), "one command's time, not the whole apply's");
    world.asterisk.thaw();
    world.check(matrix::HUNG_BEFORE, &answer);
    assert!(answer.string("/detail").contains("did not answer"), "{}", answer.text);
    assert!(!answer.header("retry-after").is_empty());
    world.recovers();
}

#[test]
fn an_asterisk_that_hangs_at_the_reload_has_the_old_files_when_it_goes_on() {
    let world = World::new();
    world.stand_in.on(RELOAD, &Behaviour::Before(freeze(&world)));
    let answer = world.apply(matrix::HUNG_DURING);
    assert!(answer.string("/detail").contains("could not be proven"), "{}", answer.text);
    world.asterisk.thaw();
    world.recovers();
}

#[test]
fn an_asterisk_that_hangs_after_the_reload_is_not_believed() {
    let world = World::new();
    world.stand_in.on_next(1, RELOAD, &Behaviour::After(freeze(&world)));
    world.apply(matrix::HUNG_AFTER);
    world.asterisk.thaw();
    assert!(Disk::of(&world.asterisk) == world.old.disk);
    world.check_bystander();
    world.recovers();
}

#[test]
fn a_reload_whose_answer_never_comes_is_read_back_and_stands() {
    let world = World::new();
    world.stand_in.on(RELOAD, &Behaviour::HangAfterwards);
    world.apply(matrix::CLIENT_HUNG);
    world.recovers();
}

#[test]
fn a_reload_that_hangs_once_is_rolled_back_and_proven() {
    let world = World::new();
    world.stand_in.on_next(1, RELOAD, &Behaviour::HangWithChild);
    world.apply(matrix::HUNG_FOR_A_WHILE);
    world.recovers();
}

#[test]
fn while_asterisk_hangs_users_are_created_listed_and_deleted_as_fast_as_ever() {
    let world = World::new();
    world.asterisk.freeze();
    let http = world.portal.http();
    std::thread::scope(|scope| {
        // One waits for Asterisk, the others for their turn.
        let applies: Vec<_> = (0..8).map(|_| scope.spawn(|| http.post_empty("/apply"))).collect();
        let mut slowest = Duration::ZERO;
        let mut rounds = 0;
        while !applies.iter().all(std::thread::ScopedJoinHandle::is_finished) && rounds < 30 {
            rounds += 1;
            let began = Instant::now();
            let user = crate::world::create(&world.portal, &format!("u{rounds}"));
            http.get("/users").expect(200);
            http.delete(&format!("/users/{}", user.string("/id"))).expect(204);
            slowest = slowest.max(began.elapsed());
        }
        assert!(rounds >= 10, "{rounds} rounds while Asterisk hung");
        assert!(slowest < Duration::from_millis(500), "three requests took {slowest:?}");
        for apply in applies {
            assert_eq!(apply.join().unwrap().status, 503);
        }
    });
    world.asterisk.thaw();
    world.recovers();
}
