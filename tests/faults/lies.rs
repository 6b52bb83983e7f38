//! An Asterisk whose word cannot be relied on: it claims what it did not do, falls silent, or does not stop talking.

use std::fs;

use pbx_tests::Behaviour;
use pbx_tests::misbehaving::RELOADED;

use crate::matrix::{self, Row};
use crate::world::World;

const RELOAD: &str = "module reload*";
const LISTING: &str = "pjsip show endpoints";

/// A world in which one thing goes wrong, and which recovers from it. Gives the problem's detail.
fn case(row: Row, arrange: impl FnOnce(&World)) -> String {
    let world = World::new();
    arrange(&world);
    let answer = world.apply(row);
    assert!(
        !world.portal.settings().state_dir().join("journal").exists(),
        "the way back is made, and still remembered"
    );
    world.recovers();
    answer.string("/detail")
}

#[test]
fn a_success_that_reloaded_nothing_is_no_success() {
    let detail = case(matrix::NOTHING_RELOADED, |world| {
        world.stand_in.on(RELOAD, &Behaviour::Say(RELOADED.to_owned()));
    });
    assert!(detail.contains("not live") && detail.contains("endpoint 1001"), "{detail}");
    assert!(detail.contains("extension 1001@synergycall-users"), "{detail}");
}

#[test]
fn a_success_of_one_module_is_no_success() {
    let detail = case(matrix::ONE_MODULE, |world| {
        let half = "Module 'res_pjsip.so' reloaded successfully.\nNo such module 'pbx_config.so'\n";
        world.stand_in.on_next(1, RELOAD, &Behaviour::Say(half.to_owned()));
    });
    assert!(detail.contains("No such module 'pbx_config.so'"), "{detail}");
}

#[test]
fn a_module_that_was_not_initialized_is_loaded_once_and_no_more() {
    let detail = case(matrix::ONE_MODULE, |world| {
        let half =
            "Module 'res_pjsip.so' reloaded successfully.\nThe module 'pbx_config.so' was not properly initialized.\n";
        // After the load as well; the way back succeeds.
        world.stand_in.on_next(2, RELOAD, &Behaviour::Say(half.to_owned()));
    });
    assert!(detail.contains("'pbx_config.so' was not properly initialized"), "{detail}");
}

#[test]
fn a_reload_that_prints_nothing_is_no_success() {
    let detail = case(matrix::SILENT_RELOAD, |world| world.stand_in.on_next(1, RELOAD, &Behaviour::Silence));
    assert!(detail.contains("no answer"), "{detail}");
}

#[test]
fn a_listing_that_is_empty_proves_nothing() {
    // The way back is made and cannot be proven either; what is live is the old pair all the same.
    let detail = case(matrix::SILENT_LISTING, |world| world.stand_in.on(LISTING, &Behaviour::Silence));
    assert!(detail.contains("could not be proven"), "{detail}");
}

#[test]
fn without_an_answer_to_what_an_apply_has_to_know_nothing_is_touched() {
    let detail = case(matrix::NO_CONTACTS, |world| world.stand_in.on("database show*", &Behaviour::Silence));
    assert!(detail.contains("gave no answer to `database show registrar/contact`"), "{detail}");
    case(matrix::NO_CONTACTS, |world| world.stand_in.on("database show*", &Behaviour::Half));
}

#[test]
fn half_an_answer_to_a_reload_is_no_success() {
    case(matrix::HALF_A_RELOAD, |world| world.stand_in.on_next(1, RELOAD, &Behaviour::Half));
}

#[test]
fn half_a_listing_proves_nothing() {
    for listing in [LISTING, "dialplan show synergycall-users", "pjsip list aors*"] {
        case(matrix::HALF_A_LISTING, |world| world.stand_in.on_next(1, listing, &Behaviour::Half));
    }
}

#[test]
fn half_a_listing_does_not_prove_that_there_is_nothing_to_do() {
    let world = World::new();
    world.recovers();
    world.stand_in.on_next(1, LISTING, &Behaviour::Half);
    assert_eq!(world.portal.http().post_empty("/apply").expect(200).json["outcome"], "applied");
    assert_eq!(world.recovers().json["outcome"], "unchanged");
}

#[test]
fn a_flood_is_no_success() {
    case(matrix::FLOOD, |world| world.stand_in.on(RELOAD, &Behaviour::Flood));
}

#[test]
fn a_flood_that_does_not_end_is_cut_off() {
    case(matrix::ENDLESS_FLOOD, |world| {
        world.stand_in.on_next(1, RELOAD, &Behaviour::Before("exec yes".to_owned()));
    });
}

#[test]
fn a_client_that_cannot_be_started_is_named() {
    let world = World::new();
    let (program, aside) = (world.stand_in.command(), world.stand_in.command() + ".aside");
    fs::rename(&program, &aside).unwrap();
    let answer = world.apply(matrix::NO_PROGRAM);
    assert!(answer.string("/detail").contains(&format!("`{program}` cannot be started")), "{}", answer.text);
    fs::rename(&aside, &program).unwrap();
    world.recovers();
}

#[test]
fn a_client_that_goes_in_the_middle_leaves_the_old_files() {
    let world = World::new();
    let (program, aside) = (world.stand_in.command(), world.stand_in.command() + ".aside");
    // The preflight asks two things side by side.
    let asked = world.stand_in.count("database show");
    let both = format!("[ $(grep -c '^database show' $here/commands) -gt {asked} ]");
    let away = format!("until {both}; do sleep 0.02; done; mv {program} {aside}");
    world.stand_in.on_next(1, "core waitfullybooted", &Behaviour::After(away));
    world.apply(matrix::PROGRAM_GOES);
    fs::rename(&aside, &program).unwrap();
    world.recovers();
}

#[test]
fn a_client_that_fails_is_quoted() {
    let detail = case(matrix::CLIENT_FAILS, |world| world.stand_in.on_next(1, RELOAD, &Behaviour::Exit(3)));
    assert!(detail.contains("exit status 3") && detail.contains("cannot go on"), "{detail}");
}
