//! A control socket that is not what it should be.

use pbx_tests::{SocketFault, until};

use crate::faults::matrix;
use crate::faults::world::World;

#[test]
fn questions_go_over_the_control_socket_and_the_reload_by_the_command() {
    let world = World::new();
    let asked = world.stand_in.asked_by_socket();
    assert!(asked > 0, "nothing came over the socket");
    let settings = world.stand_in.count("core show settings");
    world.recovers();
    assert!(world.stand_in.asked_by_socket() >= asked + 5);
    assert_eq!(world.stand_in.count("core show settings"), settings, "where it is was learnt once");
    let world = World::by_command();
    world.recovers();
    assert_eq!(world.stand_in.asked_by_socket(), 0);
}

#[test]
fn without_a_socket_that_is_surely_asterisks_the_command_is_asked() {
    for fault in [
        SocketFault::Refused,
        SocketFault::Absent,
        SocketFault::NoBanner,
        SocketFault::Gibberish,
        SocketFault::Elsewhere,
    ] {
        println!("{fault:?}");
        let world = World::new();
        world.stand_in.socket(fault);
        world.apply(matrix::SOCKET_GONE);
        assert_eq!(world.recovers().json["outcome"], "unchanged");
        // A portal that starts with such a socket does not trust it either.
        let world = World { portal: world.portal.settings().start(), ..world };
        assert_eq!(world.recovers().json["outcome"], "unchanged");
    }
}

#[test]
fn a_socket_that_says_nothing_is_an_asterisk_that_hangs() {
    let world = World::impatient();
    world.recovers();
    crate::faults::world::create(&world.portal, "third");
    let world = World { old: crate::faults::world::State::of(&world.asterisk), ..world };
    world.stand_in.socket(SocketFault::Silent);
    let answer = world.apply(matrix::SOCKET_SILENT);
    assert!(answer.string("/detail").contains("did not answer"), "{}", answer.text);
    world.stand_in.socket(SocketFault::None);
    world.recovers();
}

#[test]
fn a_socket_that_breaks_off_is_asked_again() {
    let world = World::new();
    let answer = std::thread::scope(|scope| {
        let held = world.stand_in.hold_next("module reload*");
        let apply = scope.spawn(|| world.portal.http().post_empty("/apply"));
        held.wait();
        world.stand_in.socket(SocketFault::Gone);
        let asked = world.stand_in.asked_by_socket();
        drop(held);
        until("the socket to break off", || (world.stand_in.asked_by_socket() > asked + 3).then_some(()));
        world.stand_in.socket(SocketFault::None);
        apply.join().unwrap()
    });
    world.check(matrix::SOCKET_BREAKS, &answer);
    world.recovers();
}

#[test]
fn verbose_messages_are_no_part_of_an_answer() {
    let world = World::new();
    world.stand_in.socket(SocketFault::Verbose);
    world.apply(matrix::SOCKET_VERBOSE);
    world.recovers();
}

#[test]
fn a_socket_that_floods_is_cut_off() {
    let world = World::new();
    world.stand_in.socket(SocketFault::Flood);
    let answer = world.apply(matrix::SOCKET_FLOODS);
    assert!(answer.string("/detail").contains("does not end"), "{}", answer.text);
    world.stand_in.socket(SocketFault::None);
    world.recovers();
}

#[test]
fn an_asterisk_that_is_restarted_in_the_middle_is_asked_where_its_socket_is() {
    let mut world = World::new();
    let settings = world.stand_in.count("core show settings");
    let held = world.stand_in.hold_next("module reload*");
    let (http, url) = (world.portal.http().clone(), "/apply");
    let apply = std::thread::spawn(move || http.post_empty(url));
    held.wait();
    world.asterisk.restart();
    drop(held);
    let answer = apply.join().unwrap();
    world.check(matrix::RESTARTED_BETWEEN, &answer);
    let asked = world.stand_in.asked_by_socket();
    world.recovers();
    assert!(world.stand_in.count("core show settings") > settings);
    assert!(world.stand_in.asked_by_socket() > asked + 2, "the new Asterisk's socket is used");
}
