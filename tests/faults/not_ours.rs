//! A file that somebody else wrote is replaced by no apply, whichever setting names it.

use std::fs;

use pbx_tests::{Asterisk, Database, Settings};

use crate::faults::matrix;
use crate::faults::world::{Disk, World};

const TRUNK: &str = "; The trunk.\n[trunk]\ntype=aor\ncontact=sip:127.0.0.1:9\n";
const CALLS_IN: &str = "[from-trunk]\nexten => 1,1,NoOp(mine)\n";

#[test]
fn a_file_of_the_administrators_that_a_setting_names_is_not_replaced() {
    let mut world = World::new();
    let settings = world.portal.settings().clone();
    for (setting, main, text) in
        [("pjsip_include", "pjsip.conf", TRUNK), ("dialplan_include", "extensions.conf", CALLS_IN)]
    {
        let file = world.asterisk.etc().join(format!("trunk-of-{main}"));
        fs::write(&file, text).unwrap();
        world.asterisk.append(main, &format!("#include {}", file.display()));
        world.asterisk.rx("module reload res_pjsip.so pbx_config.so");
        world.portal.stop();
        let variable = format!("PBX_PORTAL__ASTERISK__{}", setting.to_uppercase());
        world.portal = settings.clone().with(&variable, file.to_str().unwrap()).start();

        let planned = world.portal.http().post_empty("/apply?dry_run=true").expect(200);
        let named = format!("asterisk.{setting} is {}, which holds lines that are not the portal's; ", file.display());
        assert!(planned.string("/warnings/0").contains(&named), "{}", planned.text);
        let commands = world.stand_in.commands();
        // What was reviewed is refused as well.
        for review in [&[][..], &[("if-match", planned.header("etag"))]] {
            let answer = world.portal.http().post_with("/apply", review, &[]);
            world.check(matrix::NOT_OURS, &answer);
            let detail = answer.string("/detail");
            let fix = format!("to fix: name another file in asterisk.{setting} and restart the portal, or move ");
            assert!(detail.contains(&named) && detail.contains(&fix), "{detail}");
            assert_eq!(fs::read_to_string(&file).unwrap(), text);
        }
        assert_eq!(world.stand_in.commands(), commands, "Asterisk was asked for nothing");
    }
    world.portal.stop();
    world.portal = settings.start();
    world.recovers();
}

#[test]
fn what_was_in_a_files_place_before_the_first_apply_is_replaced_only_where_it_says_nothing() {
    let (database, asterisk) = (Database::create(), Asterisk::start_new());
    let portal = Settings::new(&database.url(), &asterisk).start();
    portal.create_user("Bob", "bob@example.com");
    let files = [asterisk.pjsip_include(), asterisk.dialplan_include()];
    for (file, text) in files.iter().zip([TRUNK, CALLS_IN]) {
        fs::write(file, text).unwrap();
    }
    let detail = portal.http().post_empty("/apply").expect(500).string("/detail");
    for (file, text) in files.iter().zip([TRUNK, CALLS_IN]) {
        assert!(detail.contains(&format!("is {}, which holds lines", file.display())), "{detail}");
        assert_eq!(fs::read_to_string(file).unwrap(), text);
    }
    fs::write(&files[0], "").unwrap();
    fs::write(&files[1], "\n  ; nothing yet\n").unwrap();
    // One that is rolled back leaves the places to whom they are.
    let main = asterisk.etc().join("pjsip.conf");
    let included = fs::read_to_string(&main).unwrap();
    asterisk.remove_include("pjsip.conf");
    assert_eq!(portal.http().post_empty("/apply").expect(502).json["apply"]["outcome"], "rolled_back");
    fs::write(&main, included).unwrap();
    fs::write(&files[0], TRUNK).unwrap();
    portal.http().post_empty("/apply").expect(500);
    assert_eq!(fs::read_to_string(&files[0]).unwrap(), TRUNK);
    fs::write(&files[0], "").unwrap();
    assert_eq!(portal.http().post_empty("/apply").expect(200).json["outcome"], "applied");
    // From then on the place is the portal's, whatever somebody writes there.
    fs::write(&files[0], TRUNK).unwrap();
    assert_eq!(portal.http().post_empty("/apply").expect(200).json["outcome"], "applied");
}

#[test]
fn what_an_interrupted_apply_left_is_not_restored_over_a_file_of_the_administrators() {
    let mut world = World::new();
    world.killed_at("module reload*", |_| {});
    let settings = world.portal.settings().clone();
    let file = world.asterisk.etc().join("trunk.conf");
    fs::write(&file, TRUNK).unwrap();
    let refused = settings.clone().with("PBX_PORTAL__ASTERISK__PJSIP_INCLUDE", file.to_str().unwrap()).run(&["serve"]);
    let named = format!("interrupted apply: asterisk.pjsip_include is {}, which holds lines", file.display());
    assert!(refused.status.code() == Some(1) && refused.stderr.contains(&named), "{refused:?}");
    assert_eq!(fs::read_to_string(&file).unwrap(), TRUNK);
    world.portal = settings.start();
    assert!(Disk::of(&world.asterisk) == world.old.disk, "the old pair is on disk");
    world.recovers();
}
