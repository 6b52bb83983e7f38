//! An Asterisk whose word cannot be relied on: it claims what it did not do, falls silent, or does not stop talking.

use std::fs;
use std::process::Command;

use pbx_tests::Behaviour;
use pbx_tests::misbehaving::RELOADED;

use crate::faults::matrix::{self, Row};
use crate::faults::world::{BOTH_WAYS, BOTH_WAYS_IMPATIENT, World};

const RELOAD: &str = "module reload*";
const LISTING: &str = "pjsip show endpoints";

/// Worlds in which one thing goes wrong, of which the detail says this, and which recover from it, on both ways to ask.
fn case(row: Row, said: &[&str], arrange: impl Fn(&World)) {
    in_each(BOTH_WAYS, row, said, arrange);
}

/// As [`case`], for what never comes.
fn case_of_patience(row: Row, said: &[&str], arrange: impl Fn(&World)) {
    in_each(BOTH_WAYS_IMPATIENT, row, said, arrange);
}

fn in_each(worlds: [fn() -> World; 2], row: Row, said: &[&str], arrange: impl Fn(&World)) {
    for world in worlds {
        let world = world();
        arrange(&world);
        let answer = world.apply(row);
        assert!(
            !world.portal.settings().state_dir().join("journal").exists(),
            "it is rolled back, and the contacts are still known"
        );
        let detail = answer.json["detail"].as_str().unwrap_or_default();
        for said in said {
            assert!(detail.contains(said), "{said} in {detail}");
        }
        world.recovers();
    }
}

#[test]
fn a_success_that_reloaded_nothing_is_no_success() {
    case(matrix::NOTHING_RELOADED, &["not live", "endpoint 1001", "extension 1001@synergycall-users"], |world| {
        world.stand_in.on(RELOAD, &Behaviour::Say(RELOADED.to_owned()));
    });
}

#[test]
fn a_success_of_one_module_is_no_success() {
    case(matrix::ONE_MODULE, &["No such module 'pbx_config.so'"], |world| {
        let half = "Module 'res_pjsip.so' reloaded successfully.\nNo such module 'pbx_config.so'\n";
        world.stand_in.on_next(1, RELOAD, &Behaviour::Say(half.to_owned()));
    });
}

#[test]
fn a_module_that_was_not_initialized_is_loaded_once_and_no_more() {
    case(matrix::ONE_MODULE, &["'pbx_config.so' was not properly initialized"], |world| {
        let half =
            "Module 'res_pjsip.so' reloaded successfully.\nThe module 'pbx_config.so' was not properly initialized.\n";
        // After the load as well; the rollback succeeds.
        world.stand_in.on_next(2, RELOAD, &Behaviour::Say(half.to_owned()));
    });
}

#[test]
fn a_reload_that_prints_nothing_is_no_success() {
    case(matrix::SILENT_RELOAD, &["no answer"], |world| world.stand_in.on_next(1, RELOAD, &Behaviour::Silence));
}

#[test]
fn a_listing_that_is_empty_proves_nothing() {
    // The rollback cannot be verified either, although the old pair is live.
    let silent = |world: &World| world.stand_in.on(LISTING, &Behaviour::Silence);
    case_of_patience(matrix::SILENT_LISTING, &["could not be proven"], silent);
}

#[test]
fn without_an_answer_to_what_an_apply_has_to_know_nothing_is_touched() {
    let silent = |world: &World| world.stand_in.on("database show*", &Behaviour::Silence);
    case_of_patience(matrix::NO_CONTACTS, &["gave no answer to `database show registrar/contact`"], silent);
    case_of_patience(matrix::NO_CONTACTS, &[], |world| world.stand_in.on("database show*", &Behaviour::Half));
}

#[test]
fn what_asterisk_denies_is_named() {
    let denied = |command: &str| Behaviour::Say(format!("You don't have permissions to run '{command}' command\n"));
    let question = "`database show registrar/contact`: cli_permissions.conf has to permit it";
    case(matrix::DENIED, &[question], |world| world.stand_in.on_next(1, "database show*", &denied("database show")));
    let reload = "`module reload res_pjsip.so pbx_config.so`: cli_permissions.conf has to permit it";
    case(matrix::RELOAD_DENIED, &[reload], |world| world.stand_in.on_next(2, RELOAD, &denied("module reload")));
}

#[test]
fn half_an_answer_to_a_reload_is_no_success() {
    case(matrix::HALF_A_RELOAD, &[], |world| world.stand_in.on_next(1, RELOAD, &Behaviour::Half));
}

#[test]
fn half_a_listing_is_asked_for_again() {
    case(matrix::HALF_A_LISTING, &[], |world| {
        for (listing, behaviour) in [
            (LISTING, Behaviour::Half),
            ("dialplan show synergycall-*", Behaviour::Half),
            ("pjsip list aors*", Behaviour::Silence),
            ("database show*", Behaviour::Half),
        ] {
            world.stand_in.on_next(3, listing, &behaviour);
        }
    });
    let world = World::new();
    world.stand_in.on_next(2, LISTING, &Behaviour::Half);
    world.apply(matrix::HALF_A_LISTING);
    assert!(world.portal.log().contains("was not whole: `pjsip show endpoints` 2 times"), "{}", world.portal.log());
}

#[test]
fn half_listings_prove_nothing() {
    case_of_patience(matrix::HALF_LISTINGS, &[], |world| world.stand_in.on(LISTING, &Behaviour::Half));
}

#[test]
fn the_proof_of_a_rollback_asks_again_too() {
    for world in BOTH_WAYS {
        let world = world();
        world.stand_in.on_next(1, RELOAD, &Behaviour::Say(RELOADED.to_owned()));
        // Twice read for the new pair, then half of it for the old one.
        world.stand_in.on_next(2, LISTING, &Behaviour::Delay(0));
        world.stand_in.on_next(2, LISTING, &Behaviour::Half);
        world.apply(matrix::NOTHING_RELOADED);
        assert!(world.portal.log().contains("was not whole: `pjsip show endpoints` 2 times"), "{}", world.portal.log());
        world.recovers();
    }
}

#[test]
fn half_a_listing_of_what_is_unchanged_is_asked_for_again() {
    for world in BOTH_WAYS {
        let world = world();
        world.recovers();
        world.stand_in.on_next(2, LISTING, &Behaviour::Half);
        assert_eq!(world.portal.http().post_empty("/apply").expect(200).json["outcome"], "unchanged");
        world.stand_in.on_next(2, LISTING, &Behaviour::Half);
        let plan = world.portal.http().post_empty("/apply?dry_run=true").expect(200);
        assert_eq!(plan.json["live"]["matches"], true, "{}", plan.text);
    }
}

#[test]
fn a_flood_is_no_success() {
    case(matrix::FLOOD, &[], |world| world.stand_in.on(RELOAD, &Behaviour::Flood));
}

#[test]
fn a_flood_that_does_not_end_is_cut_off() {
    case(matrix::ENDLESS_FLOOD, &[], |world| {
        world.stand_in.on_next(1, RELOAD, &Behaviour::Before("exec yes".to_owned()));
    });
}

#[test]
fn a_client_that_cannot_be_started_is_named() {
    let world = World::by_command();
    let (program, aside) = (world.stand_in.command(), world.stand_in.command() + ".aside");
    fs::rename(&program, &aside).unwrap();
    let answer = world.apply(matrix::NO_PROGRAM);
    assert!(answer.string("/detail").contains(&format!("`{program}` cannot be started")), "{}", answer.text);
    fs::rename(&aside, &program).unwrap();
    world.recovers();
}

#[test]
fn a_client_that_goes_in_the_middle_leaves_the_old_files() {
    let world = World::by_command();
    let (program, aside) = (world.stand_in.command(), world.stand_in.command() + ".aside");
    // The last question before the reload.
    world.stand_in.on_next(1, "database show*", &Behaviour::After(format!("mv {program} {aside}")));
    world.apply(matrix::PROGRAM_GOES);
    fs::rename(&aside, &program).unwrap();
    world.recovers();
}

#[test]
fn a_client_that_is_missing_for_the_reload_alone_changed_nothing() {
    let world = World::new();
    let (program, aside) = (world.stand_in.command(), world.stand_in.command() + ".aside");
    fs::rename(&program, &aside).unwrap();
    let answer = world.apply(matrix::NO_PROGRAM_TO_RELOAD);
    assert!(answer.string("/detail").contains(&format!("`{program}` cannot be started")), "{}", answer.text);
    fs::rename(&aside, &program).unwrap();
    world.recovers();
}

#[test]
fn a_client_that_fails_is_quoted() {
    let fails = |world: &World| world.stand_in.on_next(1, RELOAD, &Behaviour::Exit(3));
    case(matrix::CLIENT_FAILS, &["exit status: 3", "cannot continue"], fails);
}

/// The client reads asterisk.conf too, and says what it thinks of it; with `debug` also that it ends.
#[test]
fn what_the_client_says_of_itself_spoils_no_answer() {
    for world in BOTH_WAYS {
        let world = world();
        world.asterisk.append("asterisk.conf", "debug = 1\nlockmode = none");
        let said =
            Command::new(world.stand_in.command()).args(["-rx", "core waitfullybooted"]).output().unwrap().stdout;
        let said = String::from_utf8(said).unwrap();
        assert!(said.contains("lockmode") && said.contains("Asterisk ending (0)."), "{said}");
        assert_eq!(world.recovers().json["outcome"], "applied");
        assert_eq!(world.recovers().json["outcome"], "unchanged");
        let check = world.portal.settings().run(&["check"]);
        for point in ["ok    version: ", "ok    cli_permissions.conf: ", "ok    live: "] {
            assert!(check.stdout.contains(point), "{point}: {}", check.stdout);
        }
    }
}
