//! What others did to the files, to Asterisk and to the state directory between two applies.

use std::fs;
use std::process::Command;

use crate::faults::matrix;
use crate::faults::world::{Disk, World};

#[test]
fn an_edit_by_hand_is_reported_by_a_dry_run_and_undone_by_an_apply() {
    let world = World::new();
    for (file, edit) in [
        (world.asterisk.pjsip_include(), "s/^\\[1000\\](synergycall-endpoint/[1700](synergycall-endpoint/"),
        (world.asterisk.dialplan_include(), "s/^exten => 1000,1.*/exten => 1000,1,Hangup()/"),
    ] {
        let status = Command::new("sed").args(["-i", edit]).arg(&file).status().unwrap();
        assert!(status.success() && Disk::of(&world.asterisk) != world.old.disk);
        let live = |reloaded: bool| {
            let plan = world.portal.http().post_empty("/apply?dry_run=true").expect(200);
            assert_eq!(plan.json["live"]["matches"], false, "{}", plan.text);
            let problems = plan.json["live"]["problems"].to_string();
            assert!(problems.contains(&format!("{} was changed", file.display())), "{problems}");
            assert_eq!(problems.contains("Asterisk does not run what was applied"), reloaded, "{problems}");
        };
        live(false);
        world.asterisk.rx("module reload res_pjsip.so pbx_config.so");
        live(true);
        world.apply(matrix::EDITED);
        let plan = world.portal.http().post_empty("/apply?dry_run=true").expect(200);
        assert_eq!(plan.json["live"]["matches"], true, "{}", plan.text);
    }
    world.recovers();
}

#[test]
fn what_somebody_took_from_asterisk_alone_is_applied_again() {
    let world = World::new();
    world.recovers();
    world.asterisk.rx("dialplan remove extension 1001@synergycall-users");
    let plan = world.portal.http().post_empty("/apply?dry_run=true").expect(200);
    let problems = plan.json["live"]["problems"].to_string();
    assert!(problems.contains("not live: extension 1001@synergycall-users"), "{}", plan.text);
    assert_eq!(world.recovers().json["outcome"], "applied", "the files are the same, and that proves nothing");
    assert_eq!(world.recovers().json["outcome"], "unchanged");
}

#[test]
fn settings_that_somebody_loaded_under_the_same_names_and_put_back_are_applied_again() {
    let world = World::new();
    world.recovers();
    let file = world.asterisk.pjsip_include();
    let applied = fs::read(&file).unwrap();
    let caller_id = || world.asterisk.rx("pjsip show endpoint 1000").contains("somebody else");
    let status = Command::new("sed").args(["-i", "s/^callerid=.*/callerid=somebody else <1000>/"]).arg(&file).status();
    assert!(status.unwrap().success());
    world.asterisk.rx("module reload res_pjsip.so");
    assert!(caller_id());
    fs::write(&file, applied).unwrap();
    assert_eq!(world.recovers().json["outcome"], "applied", "the bytes are the same, and that proves nothing");
    assert!(!caller_id());
    assert_eq!(world.recovers().json["outcome"], "unchanged");
}

#[test]
fn a_state_directory_from_a_backup_is_made_true() {
    let world = World::new();
    let proven = world.portal.settings().state_dir().join("proven");
    let backup = fs::read(&proven).unwrap();
    world.recovers();
    fs::write(&proven, backup).unwrap();
    assert_eq!(world.recovers().json["outcome"], "unchanged");
    let plan = world.portal.http().post_empty("/apply?dry_run=true").expect(200);
    assert_eq!(plan.json["live"]["matches"], true, "{}", plan.text);
}
