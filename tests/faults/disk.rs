//! Directories and files that are missing, full, read-only, elsewhere, or not what was left there.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use pbx_tests::{Asterisk, Behaviour, Response, until};

use crate::faults::matrix::{self, Row};
use crate::faults::mounts::{Mount, able_to_mount};
use crate::faults::strace::{Call, Fault, Strace};
use crate::faults::world::{Disk, State, World, create};

/// Both directories of include files.
fn directories(world: &World) -> [PathBuf; 2] {
    [world.asterisk.pjsip_include(), world.asterisk.dialplan_include()].map(|file| file.parent().unwrap().to_owned())
}

/// One world in which `arrange` does something to a directory for as long as its value lives.
fn directory_case<T>(row: Row, fix: &str, arrange: impl Fn(&Path) -> T) {
    let world = World::new();
    for directory in directories(&world) {
        let arranged = arrange(&directory);
        let detail = world.apply(row).string("/detail");
        assert!(detail.contains(&directory.display().to_string()) && detail.contains(fix), "{detail}");
        drop(arranged);
        world.check_old();
    }
    world.recovers();
}

#[test]
fn a_missing_directory_is_named() {
    /// Out of the way until the value goes.
    struct Aside(PathBuf, PathBuf);
    impl Drop for Aside {
        fn drop(&mut self) {
            fs::rename(&self.1, &self.0).unwrap();
        }
    }
    directory_case(matrix::NO_DIRECTORY, "create the directory", |directory| {
        let aside = directory.with_extension("aside");
        fs::rename(directory, &aside).unwrap();
        Aside(directory.to_owned(), aside)
    });
}

#[test]
fn a_read_only_directory_is_named() {
    able_to_mount("faults::disk::a_read_only_directory_is_named", || {
        directory_case(matrix::READ_ONLY, "read-only", Mount::read_only);
    });
}

#[test]
fn a_file_that_cannot_be_replaced_is_named_and_nothing_is_lost() {
    able_to_mount("faults::disk::a_file_that_cannot_be_replaced_is_named_and_nothing_is_lost", || {
        let world = World::new();
        for file in [world.asterisk.pjsip_include(), world.asterisk.dialplan_include()] {
            let mount = Mount::by_itself(&file);
            let detail = world.apply(matrix::MOUNTED).string("/detail");
            assert!(detail.contains(&format!("umount {}", file.display())), "{detail}");
            assert_eq!(world.claims().1, [1000]);
            drop(mount);
        }
        world.recovers();
    });
}

#[test]
fn an_apply_that_was_killed_over_a_file_that_cannot_be_replaced_is_recovered() {
    able_to_mount("faults::disk::an_apply_that_was_killed_over_a_file_that_cannot_be_replaced_is_recovered", || {
        let mut world = World::new();
        world.recovers();
        let before = Disk::of(&world.asterisk);
        let id = world.portal.http().get("/users").expect(200).string("/users/1/id");
        let user = serde_json::json!({ "name": "New", "email": "new@example.com", "replaces": id });
        world.portal.http().post("/users", &user).expect(201);
        // Which stays as it is.
        let mount = Mount::by_itself(&world.asterisk.dialplan_include());
        world.killed_at("module reload*", |world| assert_ne!(Disk::of(&world.asterisk), before));
        // Not over two files of which one is old and one is new.
        let read_only = Mount::read_only(world.asterisk.pjsip_include().parent().unwrap());
        assert_eq!(world.portal.settings().start_unready().wait().code(), Some(1));
        drop(read_only);
        world.portal = world.portal.settings().start();
        assert_eq!(Disk::of(&world.asterisk), before);
        drop(mount);
        world.recovers();
    });
}

#[test]
fn a_full_directory_is_named() {
    able_to_mount("faults::disk::a_full_directory_is_named", || {
        // Space for what lies there; then for the new file as well, and not for a rollback.
        for pages in [1, 2] {
            directory_case(matrix::FULL, "free space", |directory| Mount::small(directory, pages));
        }
    });
}

#[test]
fn a_state_directory_on_another_file_system_is_as_good() {
    let state = tempfile::Builder::new().prefix("pbx-state-").tempdir_in("/dev/shm").unwrap();
    let world = World::with_state_dir(state.path());
    assert!(state.path().join("proven").exists());
    world.apply(matrix::OTHER_FILE_SYSTEM);
    world.recovers();
}

#[test]
fn a_damaged_record_is_named_and_nothing_is_taken_from_it() {
    let state = tempfile::Builder::new().prefix("pbx-state-").tempdir().unwrap();
    let mut world = World::with_state_dir(state.path());
    let proven = state.path().join("proven");
    let whole = fs::read(&proven).unwrap();
    fs::write(&proven, &whole[..whole.len() / 2]).unwrap();
    let applied = world.apply(matrix::STATE_DAMAGED);
    let planned = world.portal.http().post_empty("/apply?dry_run=true").expect(500);
    assert_eq!(planned.string("/type"), "urn:pbx-portal:install-failed");
    for detail in [applied, planned].map(|answer| answer.string("/detail")) {
        assert!(detail.contains(&format!("{} cannot be read: it is damaged", proven.display())), "{detail}");
    }
    // Nor does it keep the service from starting.
    world.portal.kill();
    world.portal = world.portal.settings().start();
    create(&world.portal, "meanwhile");
    assert_eq!(world.claims().1, [0; 0]);
    // What it says is what helps.
    fs::remove_file(&proven).unwrap();
    let planned = world.portal.http().post_empty("/apply?dry_run=true").expect(200);
    assert_eq!(planned.json["live"]["problems"].as_array().unwrap().len(), 1, "{}", planned.text);
    assert_eq!(planned.json["warnings"], serde_json::json!([]), "no user is called the administrator's");
    world.recovers();
}

#[test]
fn notes_that_are_something_else_stop_no_apply() {
    let mut world = World::new();
    let state = world.portal.settings().state_dir();
    for name in ["note-running", "note-record-x", "note-last", ".proven.x.staged"] {
        fs::remove_file(state.join(name)).ok();
        fs::create_dir(state.join(name)).unwrap();
    }
    world.portal.http().post_empty("/apply").expect(200);
    world.portal.kill();
    world.portal = world.portal.settings().start();
    world.portal.http().post_empty("/apply").expect(200);
    assert!(world.portal.log().contains("note-record-x cannot be read"), "{}", world.portal.log());
}

#[test]
fn a_full_state_directory_is_named() {
    able_to_mount("faults::disk::a_full_state_directory_is_named", || {
        let state = tempfile::Builder::new().prefix("pbx-state-").tempdir().unwrap();
        let mount = Mount::small(state.path(), 16);
        fs::set_permissions(state.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let world = World::with_state_dir(state.path());
        let filler = state.path().join("filler");
        // Page by page less, so that each of the writes is the one that fails.
        for pages_left in [0, 1, 2] {
            // What somebody else has just closed may still take room.
            until("room to leave", || {
                let mut file = fs::File::create(&filler).unwrap();
                while file.write_all(&[0; 4096]).is_ok() {}
                let length = fs::metadata(&filler).unwrap().len().checked_sub(pages_left * 4096)?;
                file.set_len(length).ok()
            });
            let answer = world.portal.http().post_empty("/apply");
            if pages_left == 2 && answer.status == 200 {
                break;
            }
            world.check(matrix::STATE_FULL, &answer);
            let list = world.portal.http().get("/users").expect(200);
            assert_eq!(list.json["last_apply"]["id"], answer.json["apply"]["id"], "{}", list.text);
            let check = world.portal.settings().run(&["check"]);
            assert!(!check.status.success() && check.stdout.contains("free space"), "{}", check.stdout);
            let detail = answer.string("/detail");
            assert!(detail.contains(state.path().to_str().unwrap()) && detail.contains("free space"), "{detail}");
            fs::remove_file(&filler).unwrap();
        }
        drop(fs::remove_file(&filler));
        world.recovers();
        drop(world);
        drop(mount);
    });
}

/// An apply under which `directory` becomes read-only when it gives `command`, for as long as the mount lives.
pub(crate) fn read_only_from(world: &World, command: &str, directory: &Path) -> (Response, Mount) {
    let mut mount = None;
    let answer = world.apply_and_meanwhile(command, || mount = Some(Mount::read_only(directory)));
    (answer, mount.unwrap())
}

#[test]
fn a_proof_that_cannot_be_recorded_is_rolled_back() {
    able_to_mount("faults::disk::a_proof_that_cannot_be_recorded_is_rolled_back", || {
        let world = World::new();
        let state = world.portal.settings().state_dir();
        let (answer, mount) = read_only_from(&world, "module reload*", &state);
        let proven = state.join("proven");
        let detail = answer.string("/detail");
        assert!(detail.contains(&format!("{} cannot be replaced", proven.display())), "{detail}");
        // The journal could not be removed, and is no reason to leave the new pair live.
        assert!(state.join("journal").exists());
        world.check(matrix::STATE_READ_ONLY, &answer);
        drop(mount);
        world.recovers();
        assert!(!state.join("journal").exists());
    });
}

/// An apply in which no directory can be synced any more once `renamed` has come to its place below `directory`.
fn unsynced_from(directory: impl Fn(&World) -> PathBuf, renamed: &str) -> (World, Response) {
    let mut world = World::beside(Asterisk::start_new());
    let attach = |world: &World, fault| Strace::attach(world.portal.id(), world.asterisk.home(), fault);
    let strace = attach(&world, None);
    world.recovers();
    let calls = strace.detach(&[directory(&world)]);
    let rename = |call: &Call| call.name.starts_with("rename") && call.what.contains(renamed);
    let renamed = calls.iter().position(rename).unwrap();
    let sync = calls[renamed..].iter().find(|call| call.name == "fsync").unwrap();

    world.old = State::of(&world.asterisk);
    create(&world.portal, "third");
    let strace = attach(&world, Some(Fault::BrokenDisk(sync)));
    let answer = world.portal.http().post_empty("/apply");
    drop(strace);
    assert!(world.portal.log().contains("cannot be synced"), "the fault was met");
    (world, answer)
}

#[test]
fn files_that_cannot_be_synced_are_rolled_back() {
    let directory = |world: &World| world.asterisk.pjsip_include().parent().unwrap().to_owned();
    let (world, answer) = unsynced_from(directory, "/.generated_endpoints.conf");
    world.check(matrix::UNSYNCED, &answer);
    world.recovers();
}

#[test]
fn a_proof_stands_though_its_record_cannot_be_synced() {
    let (world, answer) = unsynced_from(|world| world.portal.settings().state_dir(), "/.proven");
    world.check(matrix::PROOF_UNSYNCED, &answer);
    assert_eq!(world.portal.http().get("/users").expect(200).json["apply_required"], false);
    assert_eq!(world.recovers().json["outcome"], "unchanged");
}

#[test]
fn a_pair_that_cannot_be_restored_is_restored_at_the_next_start() {
    able_to_mount("faults::disk::a_pair_that_cannot_be_restored_is_restored_at_the_next_start", || {
        for file in [Asterisk::pjsip_include, Asterisk::dialplan_include] {
            let mut world = World::new();
            let file = file(&world.asterisk);
            world.stand_in.on_next(2, "pjsip show endpoints", &Behaviour::Say("No objects found.\n".to_owned()));
            let (answer, mount) = read_only_from(&world, "module reload*", file.parent().unwrap());
            world.check(matrix::STUCK, &answer);
            let detail = answer.string("/detail");
            let reason = format!("the next apply or start tries again: {} cannot be replaced", file.display());
            assert!(detail.contains(&reason), "{detail}");
            drop(mount);
            world.portal = world.portal.settings().start();
            assert!(Disk::of(&world.asterisk) == world.old.disk, "the old pair is not on disk");
            world.check_no_stale_files();
            world.recovers();
        }
    });
}

#[test]
fn a_state_directory_that_was_removed_is_made_again() {
    let world = World::new();
    fs::remove_dir_all(world.portal.settings().state_dir()).unwrap();
    let answer = world.apply(matrix::STATE_GONE);
    // What was proven is not known any more, whatever lies on disk.
    assert_eq!(answer.json["changes"]["added"], serde_json::json!([1000, 1001]));
    world.recovers();
}

#[test]
fn an_unknown_pair_is_restored_and_not_claimed() {
    let world = World::new();
    fs::remove_dir_all(world.portal.settings().state_dir()).unwrap();
    let file = world.asterisk.pjsip_include();
    let by_hand = "; Generated by pbx-portal.\n#tryinclude nothing.conf\n";
    fs::write(&file, by_hand).unwrap();
    world.stand_in.on_next(2, "pjsip show endpoints", &Behaviour::Say("No objects found.\n".to_owned()));
    let answer = world.portal.http().post_empty("/apply").expect(502);
    assert_eq!(answer.json["apply"]["outcome"], "rollback_failed");
    assert!(answer.string("/detail").contains("the former files are none that can be proven"), "{}", answer.text);
    assert_eq!(fs::read_to_string(&file).unwrap(), by_hand);
    world.portal.http().post_empty("/apply").expect(200);
    world.check_new_is_live();
}

#[test]
fn what_would_block_or_flood_is_refused_at_once() {
    let world = World::new();
    let state = world.portal.settings().state_dir();
    let files =
        [world.asterisk.pjsip_include(), world.asterisk.dialplan_include(), state.join("proven"), state.join("lock")];
    for file in files {
        for large in [false, true] {
            if large && file.ends_with("lock") {
                continue;
            }
            let aside = state.join("aside");
            fs::rename(&file, &aside).unwrap();
            if large {
                fs::File::create(&file).unwrap().set_len(3 << 30).unwrap();
            } else {
                assert!(std::process::Command::new("mkfifo").arg(&file).status().unwrap().success());
            }
            let detail = world.apply(matrix::NO_FILE).string("/detail");
            let what = if large { "it holds more than 16 MiB" } else { "it is no regular file" };
            assert!(detail.contains(&file.display().to_string()) && detail.contains(what), "{detail}");
            fs::rename(&aside, &file).unwrap();
        }
    }
    world.recovers();
}

#[test]
fn a_symbolic_link_in_a_files_place_stays_and_is_named() {
    let world = World::new();
    for file in [world.asterisk.pjsip_include(), world.asterisk.dialplan_include()] {
        let elsewhere = world.asterisk.home().join("elsewhere.conf");
        fs::rename(&file, &elsewhere).unwrap();
        symlink(&elsewhere, &file).unwrap();
        let detail = world.apply(matrix::SYMLINK).string("/detail");
        assert!(detail.contains(&file.display().to_string()) && detail.contains("symbolic link"), "{detail}");
        assert_eq!(fs::read_link(&file).unwrap(), elsewhere);
        fs::rename(&elsewhere, &file).unwrap();
    }
    world.recovers();
}
