//! The phone of a number's former owner, which does not know yet that it is one.

use std::fs;
use std::io::Write as _;

use pbx_tests::misbehaving::RELOADED;
use pbx_tests::{Behaviour, Phone, Response, until};

use crate::faults::disk::read_only_from;
use crate::faults::matrix;
use crate::faults::mounts::{Mount, able_to_mount};
use crate::faults::world::{BOTH_WAYS, World, create};

/// Deletes the user with this number.
fn delete(world: &World, number: i64) {
    let users = world.portal.http().get("/users").expect(200);
    let user = users.json["users"].as_array().unwrap().iter().find(|user| user["extension"] == number).unwrap();
    world.portal.http().delete(&format!("/users/{}", user["id"].as_str().unwrap())).expect(204);
}

fn apply(world: &World) -> Response {
    world.portal.http().post_empty("/apply").expect(200)
}

/// What is remembered of contacts that are still to be removed.
fn pending_purges(world: &World) -> String {
    let proven = fs::read_to_string(world.portal.settings().state_dir().join("proven")).unwrap();
    proven.lines().nth(2).unwrap().to_owned()
}

/// The keys of the contacts that are registered there.
fn contacts_at(world: &World, number: &str) -> Vec<String> {
    let contacts = world.asterisk.rx("database show registrar/contact");
    let at = format!("/registrar/contact/{number};@");
    contacts.lines().filter_map(|line| Some(line.strip_prefix(&at)?.split_once(": ")?.0.to_owned())).collect()
}

/// The number 1001, applied; its phone.
fn owner(world: &World) -> Phone {
    delete(world, 1001);
    let phone = Phone::of(&world.asterisk, &create(&world.portal, "owner"));
    apply(world);
    phone
}

#[test]
fn the_phone_of_a_deleted_user_is_gone_and_stays_out() {
    let world = World::new();
    let former = owner(&world);
    let at_former = former.answering();
    assert!(world.has_contact("1001"));
    delete(&world, 1001);
    assert_eq!(apply(&world).json["warnings"], serde_json::json!([]));
    assert!(!world.has_contact("1001"));
    assert_eq!(pending_purges(&world), "unpurged ");
    assert_eq!((former.register(), former.call("1000")), (401, 401));
    create(&world.portal, "successor");
    apply(&world);
    assert_eq!(world.bystander.call("1001"), 480, "nobody has registered");
    assert_eq!(at_former.callers(), Vec::<String>::new());
    world.check_bystander();
}

#[test]
fn the_phone_of_a_number_with_a_new_owner_is_gone() {
    let world = World::new();
    let former = owner(&world);
    let at_former = former.answering();
    delete(&world, 1001);
    let successor = Phone::of(&world.asterisk, &create(&world.portal, "successor"));
    assert_eq!(apply(&world).json["changes"]["changed"], serde_json::json!([1001]));
    assert!(!world.has_contact("1001"));
    assert_eq!((former.register(), former.call("1000")), (401, 401));
    let at_successor = successor.answering();
    assert_eq!(world.bystander.call("1001"), 200);
    assert_eq!((at_former.callers().len(), at_successor.callers().len()), (0, 1));
    world.check_bystander();
}

#[test]
fn a_contact_that_was_removed_does_not_come_back_with_an_asterisk_that_was_killed() {
    let key = "/registrar/contact/1001;@";
    for world in BOTH_WAYS {
        let mut world = world();
        let former = owner(&world);
        let _at_former = former.answering();
        // Asterisk writes one change of its database at once, and what comes within a second after it then.
        until("the registration to be on disk", || {
            let written = fs::read(world.asterisk.home().join("db/astdb.sqlite3")).unwrap();
            written.windows(key.len()).any(|part| part == key.as_bytes()).then_some(())
        });
        delete(&world, 1001);
        world.check_bystander();
        let answer = apply(&world);
        assert_eq!(answer.json["warnings"], serde_json::json!([]));
        assert_eq!(world.asterisk.complaints(), Vec::<String>::new());
        world.asterisk.kill();
        world.asterisk.start();
        world.check(matrix::KILLED_AT_ONCE, &answer);
        assert!(!world.has_contact("1001"));
    }
}

#[test]
fn the_phone_of_a_user_who_was_replaced_is_gone_and_stays_out() {
    let world = World::new();
    let former = owner(&world);
    let at_former = former.answering();
    let list = world.portal.http().get("/users").expect(200);
    let replaced = list.json["users"].as_array().unwrap().iter().find(|user| user["extension"] == 1001).unwrap();
    let body = serde_json::json!({ "name": "New Phone", "email": replaced["email"], "replaces": replaced["id"] });
    let new = Phone::of(&world.asterisk, &world.portal.http().post("/users", &body).expect(201));
    assert_eq!(former.register(), 200, "nothing changes before the apply");
    assert_eq!(apply(&world).json["changes"]["changed"], serde_json::json!([1001]));
    assert!(!world.has_contact("1001"));
    assert_eq!((former.register(), former.call("1000")), (401, 401));
    let at_new = new.answering();
    assert_eq!(world.bystander.call("1001"), 200);
    assert_eq!((at_former.callers().len(), at_new.callers().len()), (0, 1));
    world.check_bystander();
}

/// Gives 1001 to somebody else, whom the apply that `end`s early makes live. Then the database loses him: it is restored.
fn owner_who_never_came(world: &mut World, end: impl FnOnce(&mut World, &Phone)) {
    owner(world).register();
    world.database.sql("CREATE TABLE old_users AS TABLE users; CREATE TABLE old_extensions AS TABLE extensions");
    delete(world, 1001);
    let phone = Phone::of(&world.asterisk, &create(&world.portal, "never"));
    end(world, &phone);
    world.database.sql(
        "DELETE FROM extensions; DELETE FROM users; \
         INSERT INTO users TABLE old_users; INSERT INTO extensions TABLE old_extensions",
    );
}

#[test]
fn the_phone_of_an_owner_whose_apply_was_killed_is_gone() {
    let mut world = World::new();
    owner_who_never_came(&mut world, |world, phone| {
        // He is live before this is asked.
        world.killed_at("pjsip show endpoints", |_| assert_eq!(phone.register(), 200));
        world.portal = world.portal.settings().start();
    });
    assert_eq!(pending_purges(&world), "unpurged 1001,");
    assert_eq!(world.recovers().json["warnings"], serde_json::json!([]));
    assert!(!world.has_contact("1001"));
    assert_eq!(pending_purges(&world), "unpurged ");
}

#[test]
fn the_phone_of_an_owner_whose_apply_was_rolled_back_is_gone_and_the_former_ones_stays() {
    let mut world = World::new();
    let mut former = Vec::new();
    owner_who_never_came(&mut world, |world, phone| {
        former = contacts_at(world, "1001");
        // He is live from the first reload on. It is read twice after that, and twice after the one of both files.
        world.stand_in.on_next(1, "module reload*", &Behaviour::Delay(0));
        world.stand_in.on_next(4, "pjsip show endpoints", &Behaviour::Say("No objects found.\n".to_owned()));
        let answer = world.apply_and_meanwhile("module reload*", || {
            assert_eq!(phone.register(), 200);
            assert_eq!(contacts_at(world, "1001").len(), 2);
        });
        assert_eq!(answer.json["apply"]["outcome"], "rolled_back", "{}", answer.text);
        assert_eq!(phone.register(), 401);
    });
    assert_eq!((former.len(), contacts_at(&world, "1001")), (1, former.clone()));
    assert_eq!(pending_purges(&world), "unpurged ");
    world.recovers();
    assert_eq!(contacts_at(&world, "1001"), former);
}

#[test]
fn whoever_an_older_pair_let_in_is_gone_once_the_newer_one_is_live_again() {
    let world = World::new();
    let files = [world.asterisk.pjsip_include(), world.asterisk.dialplan_include()];
    let on_disk = || files.each_ref().map(|file| fs::read(file).unwrap());
    let former = owner(&world);
    let older = on_disk();
    delete(&world, 1001);
    create(&world.portal, "successor");
    apply(&world);
    let newer = on_disk();
    let put = |pair: &[Vec<u8>; 2]| files.iter().zip(pair).for_each(|(file, text)| fs::write(file, text).unwrap());
    // A backup is restored and loaded; then nothing, or the newer one is restored and not loaded.
    for is_restored in [false, true] {
        put(&older);
        world.asterisk.rx("module reload res_pjsip.so pbx_config.so");
        assert_eq!(former.register(), 200);
        if is_restored {
            put(&newer);
        }
        let answer = apply(&world);
        assert_eq!((&answer.json["outcome"], &answer.json["warnings"]), (&"applied".into(), &serde_json::json!([])));
        assert!(!world.has_contact("1001"), "restored: {is_restored}");
        assert_eq!(former.register(), 401);
        world.check_bystander();
    }
}

#[test]
fn whoever_an_older_pair_let_in_is_gone_whatever_became_of_the_first_apply() {
    for end in ["rolled back", "killed", "rollback failed"] {
        let mut world = World::impatient();
        let files = [world.asterisk.pjsip_include(), world.asterisk.dialplan_include()];
        let former = owner(&world);
        let older = files.each_ref().map(|file| fs::read(file).unwrap());
        delete(&world, 1001);
        create(&world.portal, "successor");
        apply(&world);
        for (file, text) in files.iter().zip(&older) {
            fs::write(file, text).unwrap();
        }
        world.asterisk.rx("module reload res_pjsip.so pbx_config.so");
        assert_eq!(former.register(), 200);
        create(&world.portal, "another");
        if end == "killed" {
            world.killed_at("pjsip show endpoints", |_| {});
            world.portal = world.portal.settings().start();
        } else {
            // A difference is believed when it is read twice.
            let times = if end == "rolled back" { 2 } else { 1000 };
            world.stand_in.on_next(times, "pjsip show endpoints", &Behaviour::Say("No objects found.\n".to_owned()));
            world.portal.http().post_empty("/apply").expect(502);
            world.stand_in.behave();
        }
        if end == "rolled back" {
            assert!(!world.has_contact("1001"), "it does not wait for the next apply");
        }
        assert_eq!(apply(&world).json["warnings"], serde_json::json!([]), "{end}");
        assert!(!world.has_contact("1001"), "{end}");
        assert_eq!(pending_purges(&world), "unpurged ", "{end}");
    }
}

#[test]
fn whoever_was_let_in_by_what_is_live_alone_is_gone_though_the_apply_was_refused() {
    let world = World::impatient();
    let files = [world.asterisk.pjsip_include(), world.asterisk.dialplan_include()];
    let read = || files.each_ref().map(|file| fs::read(file).unwrap());
    let put = |texts: &[Vec<u8>; 2]| files.iter().zip(texts).for_each(|(file, text)| fs::write(file, text).unwrap());
    let former = owner(&world);
    let older = read();
    delete(&world, 1001);
    create(&world.portal, "successor");
    apply(&world);
    let newer = read();
    let reload = || world.asterisk.rx("module reload res_pjsip.so pbx_config.so");
    put(&older);
    reload();
    assert_eq!(former.register(), 200);
    put(&newer);
    // The apply sees whom Asterisk lets in, and gets no further.
    world.stand_in.on("core waitfullybooted", &Behaviour::Silence);
    world.portal.http().post_empty("/apply").expect(503);
    world.stand_in.behave();
    reload();
    assert_eq!(apply(&world).json["outcome"], "applied", "the files were touched");
    assert!(!world.has_contact("1001"));
}

#[test]
fn a_purge_that_fails_is_a_warning_and_is_made_up_for() {
    for (command, behaviour) in [
        ("database del*", Behaviour::Say("Database entry could not be removed.\n".to_owned())),
        ("database del*", Behaviour::Hang),
        ("database show*", Behaviour::Silence),
    ] {
        let world = World::impatient();
        let former = owner(&world);
        assert_eq!(former.register(), 200);
        delete(&world, 1001);
        world.stand_in.on(command, &behaviour);
        let answer = world.apply(matrix::PURGE_FAILS);
        assert!(answer.json["warnings"][0].as_str().unwrap_or_default().contains("1001"), "{}", answer.text);
        assert_eq!(world.audit(&answer, "cardinality(warnings)"), "1");
        let planned = world.portal.http().post_empty("/apply?dry_run=true").expect(200);
        assert_eq!(planned.json["warnings"], answer.json["warnings"]);
        let warned = format!("note  live: {}", answer.json["warnings"][0].as_str().unwrap());
        assert!(world.portal.settings().run(&["check"]).stdout.lines().any(|line| line == warned), "{warned}");
        assert!(world.has_contact("1001") && former.register() == 401);
        assert_eq!(pending_purges(&world), "unpurged 1001,");
        // The pending purge outlives the process, and the number's next owner.
        create(&world.portal, "successor");
        let answer = world.recovers();
        assert_eq!(answer.json["warnings"], serde_json::json!([]), "{}", answer.text);
        assert!(!world.has_contact("1001"));
        assert_eq!(world.recovers().json["outcome"], "unchanged");
    }
}

#[test]
fn a_removal_that_asterisk_does_not_write_is_a_warning() {
    let world = World::new();
    let former = owner(&world);
    assert_eq!(former.register(), 200);
    delete(&world, 1001);
    let locked = Behaviour::Say("Error executing query: database is locked\n".to_owned());
    world.stand_in.on_next(2, "database query*", &locked);
    let answer = world.apply(matrix::PURGE_FAILS);
    assert!(answer.json["warnings"][0].as_str().unwrap_or_default().contains("1001"), "{}", answer.text);
    assert_eq!(pending_purges(&world), "unpurged 1001,");
    // Nobody is registered there any more, and Asterisk may undo the removal yet.
    assert!(!world.has_contact("1001"));
    let again = apply(&world);
    assert!(again.json["warnings"][0].as_str().unwrap_or_default().contains("1001"), "{}", again.text);
    assert_eq!(pending_purges(&world), "unpurged 1001,");
    world.recovers();
    assert_eq!(pending_purges(&world), "unpurged ");
}

#[test]
fn a_pending_purge_is_made_by_an_apply_that_has_nothing_else_to_do() {
    let world = World::impatient();
    let former = owner(&world);
    assert_eq!(former.register(), 200);
    delete(&world, 1001);
    world.stand_in.on("database show*", &Behaviour::Silence);
    apply(&world);
    assert!(world.has_contact("1001"));
    let answer = apply(&world);
    assert_eq!(
        (answer.json["outcome"].as_str(), answer.json["warnings"].as_array().map(Vec::len)),
        (Some("unchanged"), Some(1))
    );
    assert_eq!(world.recovers().json["outcome"], "unchanged");
    assert!(!world.has_contact("1001"));
}

#[test]
fn a_purge_that_cannot_be_recorded_is_made_once_more() {
    able_to_mount("faults::purge::a_purge_that_cannot_be_recorded_is_made_once_more", || {
        let world = World::new();
        let former = owner(&world);
        assert_eq!(former.register(), 200);
        delete(&world, 1001);
        let state = world.portal.settings().state_dir();
        let (answer, mount) = read_only_from(&world, "database del*", &state);
        world.check(matrix::PURGE_UNRECORDED, &answer);
        assert_eq!(answer.json["warnings"], serde_json::json!([]), "{}", answer.text);
        assert!(!world.has_contact("1001"));
        assert_eq!(pending_purges(&world), "unpurged 1001,");
        drop(mount);
        assert_eq!(world.recovers().json["outcome"], "unchanged");
        assert_eq!(pending_purges(&world), "unpurged ");
    });
}

#[test]
fn a_pending_purge_is_made_where_there_is_no_space_to_record_it() {
    able_to_mount("faults::purge::a_pending_purge_is_made_where_there_is_no_space_to_record_it", || {
        let state = tempfile::Builder::new().prefix("pbx-state-").tempdir().unwrap();
        let mount = Mount::small(state.path(), 16);
        let world = World::with_state_dir(state.path());
        let former = owner(&world);
        assert_eq!(former.register(), 200);
        delete(&world, 1001);
        world.stand_in.on("database del*", &Behaviour::Silence);
        apply(&world);
        assert_eq!(pending_purges(&world), "unpurged 1001,");
        world.stand_in.behave();
        let filler = state.path().join("filler");
        let mut file = fs::File::create(&filler).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
        let answer = apply(&world);
        assert_eq!(answer.json["outcome"], "unchanged", "{}", answer.text);
        assert!(!world.has_contact("1001"));
        assert_eq!(pending_purges(&world), "unpurged 1001,");
        // Open, it would keep its space.
        drop(file);
        fs::remove_file(&filler).unwrap();
        world.recovers();
        assert_eq!(pending_purges(&world), "unpurged ");
        drop(world);
        drop(mount);
    });
}

#[test]
fn a_pending_purge_that_a_record_from_a_backup_does_not_know_is_remembered() {
    let world = World::new();
    let former = owner(&world);
    assert_eq!(former.register(), 200);
    let proven = world.portal.settings().state_dir().join("proven");
    let backup = fs::read(&proven).unwrap();
    delete(&world, 1001);
    create(&world.portal, "successor");
    world.stand_in.on("database del*", &Behaviour::Silence);
    apply(&world);
    fs::write(&proven, backup).unwrap();
    assert_eq!(pending_purges(&world), "unpurged ");
    let answer = apply(&world);
    assert_eq!(
        (answer.json["outcome"].as_str(), answer.json["warnings"].as_array().map(Vec::len)),
        (Some("unchanged"), Some(1))
    );
    assert_eq!(pending_purges(&world), "unpurged 1001,");
    assert_eq!(world.recovers().json["outcome"], "unchanged");
    assert!(!world.has_contact("1001"));
    assert_eq!(pending_purges(&world), "unpurged ");
}

#[test]
fn a_phone_registered_during_a_rolled_back_apply_does_not_ring_for_the_next_owner() {
    let world = World::impatient();
    delete(&world, 1001);
    let former = Phone::of(&world.asterisk, &create(&world.portal, "owner"));
    // Asterisk takes the new files, cannot show it, and takes the old ones back only in words.
    let listing = "pjsip show endpoints";
    world.stand_in.on(listing, &Behaviour::Silence);
    let reload = "module reload*";
    world.stand_in.on_next(1, reload, &Behaviour::Delay(0));
    world.stand_in.on(reload, &Behaviour::Say(RELOADED.to_owned()));
    assert_eq!(world.portal.http().post_empty("/apply").expect(502).json["apply"]["outcome"], "rollback_failed");
    world.stand_in.behave();
    let at_former = former.answering();
    delete(&world, 1001);
    create(&world.portal, "successor");
    apply(&world);
    assert_eq!((former.register(), former.call("1000")), (401, 401));
    assert_eq!(world.bystander.call("1001"), 480, "the successor has not registered");
    assert_eq!(at_former.callers(), Vec::<String>::new());
}

#[test]
fn a_phone_that_registers_until_the_reload_does_not_ring_for_the_next_owner() {
    let mut world = World::new();
    delete(&world, 1001);
    let former = Phone::of(&world.asterisk, &create(&world.portal, "owner"));
    world.killed_at("pjsip show endpoints", |_| ());
    // The former pair is on disk again, and Asterisk runs the killed one.
    world.portal = world.portal.settings().start();
    delete(&world, 1001);
    create(&world.portal, "successor");
    let answer = world.apply_and_meanwhile("module reload*", || assert_eq!(former.register(), 200));
    assert_eq!(answer.expect(200).json["outcome"], "applied");
    assert!(!world.has_contact("1001"));
    assert_eq!(pending_purges(&world), "unpurged ");
}
