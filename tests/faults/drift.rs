//! What others did to the files, to Asterisk and to the state directory between two applies.

use std::fs;
use std::process::Command;

use pbx_tests::Behaviour;

use crate::faults::matrix;
use crate::faults::world::{Disk, World, create};

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

/// Another setting under the same names.
fn load_another_caller_id(world: &World) {
    let edit = ["-i", "s/^callerid=.*/callerid=somebody else <1000>/"];
    assert!(Command::new("sed").args(edit).arg(world.asterisk.pjsip_include()).status().unwrap().success());
    world.asterisk.rx("module reload res_pjsip.so");
    assert!(has_another_caller_id(world));
}

fn has_another_caller_id(world: &World) -> bool {
    world.asterisk.rx("pjsip show endpoint 1000").contains("somebody else")
}

#[test]
fn settings_that_somebody_loaded_under_the_same_names_and_put_back_are_applied_again() {
    let world = World::new();
    world.recovers();
    let applied = fs::read(world.asterisk.pjsip_include()).unwrap();
    load_another_caller_id(&world);
    fs::write(world.asterisk.pjsip_include(), applied).unwrap();
    assert_eq!(world.recovers().json["outcome"], "applied", "the bytes are the same, and that proves nothing");
    assert!(!has_another_caller_id(&world));
    assert_eq!(world.recovers().json["outcome"], "unchanged");
}

#[test]
fn what_somebody_added_to_the_dialplan_and_put_back_is_gone_after_an_apply() {
    let world = World::new();
    world.recovers();
    let file = world.asterisk.dialplan_include();
    let is_live = || world.asterisk.rx("dialplan show theirs").contains("Hangup(21)");
    for (is_changed, is_included) in [(false, true), (true, true), (false, false), (true, false)] {
        let applied = fs::read_to_string(&file).unwrap();
        let users = "include => synergycall-users\n";
        let include = if is_included { "include => theirs\n" } else { "" };
        let more = applied.replace(users, &format!("{include}{users}[theirs]\nexten => _X.,1,Hangup(21)\n"));
        fs::write(&file, more).unwrap();
        world.asterisk.rx("module reload pbx_config.so");
        assert!(is_live());
        fs::write(&file, applied).unwrap();
        if is_changed {
            // Which leaves the dialplan as it is.
            world.database.sql("UPDATE users SET name = 'Another'");
        }
        assert_eq!(world.recovers().json["outcome"], "applied");
        assert!(!is_live());
        assert_eq!(world.recovers().json["outcome"], "unchanged");
    }
}

#[test]
fn a_rollback_that_nothing_shows_to_be_read_is_not_proven_where_somebody_wrote_the_file() {
    let world = World::new();
    world.recovers();
    load_another_caller_id(&world);
    create(&world.portal, "late");
    let refused = "The module 'res_pjsip.so' reported a reload failure\n";
    world.stand_in.on("module reload*", &Behaviour::Say(refused.to_owned()));
    let answer = world.portal.http().post_empty("/apply").expect(502);
    assert_eq!(answer.json["apply"]["outcome"], "rollback_failed", "{}", answer.text);
    let list = world.portal.http().get("/users").expect(200);
    assert!(list.json["users"].as_array().unwrap().iter().all(|user| user["applied"] == false), "{}", list.text);
    assert_eq!(world.recovers().json["outcome"], "applied");
    assert!(!has_another_caller_id(&world));
}

#[test]
fn settings_that_somebody_loaded_stay_no_proven_ones_while_asterisk_lacks_its_own_configuration() {
    let world = World::new();
    world.recovers();
    let applied = fs::read(world.asterisk.pjsip_include()).unwrap();
    load_another_caller_id(&world);
    fs::write(world.asterisk.pjsip_include(), applied).unwrap();
    let main = world.asterisk.etc().join("pjsip.conf");
    fs::rename(&main, main.with_extension("away")).unwrap();
    let answer = world.portal.http().post_empty("/apply").expect(502);
    assert_eq!(answer.json["apply"]["outcome"], "rollback_failed", "{}", answer.text);
    fs::rename(main.with_extension("away"), &main).unwrap();
    assert_eq!(world.recovers().json["outcome"], "applied");
    assert!(!has_another_caller_id(&world));
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
