#![expect(clippy::disallowed_methods, reason = "the tests write what others would")]

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use super::*;
use crate::ask::cli::Cli;
use crate::text::pair::IncludeFiles;

fn host() -> (tempfile::TempDir, Deployment) {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let files = IncludeFiles { endpoints: at("p/p.conf"), dialplan: at("e/e.conf") };
    for path in [&files.endpoints, &files.dialplan] {
        fs::create_dir(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }
    fs::create_dir(at("state")).unwrap();
    fs::set_permissions(at("state"), fs::Permissions::from_mode(0o750)).unwrap();
    let cli = Cli::new("/nonexistent/asterisk", Duration::from_secs(1)).unwrap();
    let state = at("state");
    (directory, Deployment::new(cli, files, state))
}

fn rehearse(deployment: &Deployment) -> Rehearsal {
    deployment.rehearse(&Pair::default(), Instant::now() + Duration::from_secs(30))
}

#[test]
fn a_rehearsal_leaves_nothing() {
    let (directory, deployment) = host();
    let rehearsal = rehearse(&deployment);
    assert_eq!((&rehearsal.state_dir, &rehearsal.endpoints, &rehearsal.dialplan), (&Ok(()), &Ok(()), &Ok(())));
    assert!(!rehearsal.is_busy && !rehearsal.is_interrupted);
    for (place, files) in [("state", 0), ("p", 1), ("e", 1)] {
        assert_eq!(fs::read_dir(directory.path().join(place)).unwrap().count(), files, "{place}");
    }
    let _locked = deployment.lock(Instant::now()).unwrap();
    assert!(rehearse(&deployment).is_busy);
}

#[test]
fn damaged_records_and_stray_files_are_moved_away() {
    let (_directory, deployment) = host();
    for record in [deployment.state.journal(), deployment.state.proven()] {
        fs::write(&record, "half").unwrap();
        let fault = rehearse(&deployment).state_dir.unwrap_err();
        assert!(fault.what.contains("it is damaged"), "{fault:?}");
        assert_eq!(fault.fix, format!("mv {0} {0}.damaged", record.display()));
        fs::remove_file(&record).unwrap();
    }
    let path = deployment.files.endpoints.clone();
    fs::remove_file(&path).unwrap();
    let missing = rehearse(&deployment).endpoints.unwrap_err();
    assert_eq!(missing.fix, format!("install -g asterisk -m 0640 /dev/null {}", path.display()));
    fs::create_dir(&path).unwrap();
    let no_file = rehearse(&deployment).endpoints.unwrap_err();
    assert!(no_file.fix.starts_with(&format!("rmdir {} && install ", path.display())), "{no_file:?}");
}

#[test]
fn one_fix_makes_a_file_that_is_missing_in_a_directory_that_was_made_again() {
    let (directory, deployment) = host();
    let (path, place) = (&deployment.files.endpoints, directory.path().join("p"));
    fs::remove_file(path).unwrap();
    fs::set_permissions(&place, fs::Permissions::from_mode(0o755)).unwrap();
    let us = Who { uid: 3_999_999_999, gids: vec![3_999_999_999] };
    let asterisk = Who { uid: 3_999_999_998, gids: vec![3_999_999_998] };
    let missing = rehearse_file(path, 0, &us, Some(&asterisk)).unwrap_err();
    let expected = "chgrp 3999999998 DIR && chmod 2770 DIR && install -g 3999999998 -m 0640 /dev/null DIR/p.conf";
    assert_eq!(missing.fix, expected.replace("DIR", &place.display().to_string()));
}

#[test]
fn a_file_that_asterisk_may_not_read_is_given_to_its_group() {
    let (directory, deployment) = host();
    let (path, place) = (&deployment.files.endpoints, directory.path().join("p"));
    let us = Who::of_process("self").unwrap();
    let asterisk = Who { uid: 3_999_999_998, gids: vec![3_999_999_999] };
    fs::set_permissions(&place, fs::Permissions::from_mode(0o755)).unwrap();
    let closed = rehearse_file(path, 0, &us, Some(&asterisk)).unwrap_err();
    assert_eq!(closed.fix, format!("chgrp 3999999999 {0} && chmod 2770 {0}", place.display()));
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    let unread = readable(path, &place, &asterisk, "voip").unwrap_err();
    assert_eq!(unread.fix, format!("chgrp voip {0} && chmod 0640 {0}", path.display()));
}

#[test]
fn a_place_that_the_unit_forbids_is_named_to_systemd() {
    let fix = other_fix(Path::new("/srv/pbx"), &io::Error::from(io::ErrorKind::ReadOnlyFilesystem));
    assert!(
        fix.contains("ReadWritePaths=-/srv/pbx\\n' > /etc/systemd/system/pbx-portal.service.d/write-srv-pbx.conf"),
        "{fix}"
    );
}

#[test]
fn an_interrupted_deployment_is_one_that_nobody_goes_on_with() {
    let (_directory, deployment) = host();
    let locked = deployment.lock(Instant::now()).unwrap();
    let record = Record { tag: String::new(), unpurged: BTreeSet::new(), pair: Pair::default() };
    state_dir::StagedRecord::new(&deployment.state.journal(), record).unwrap().commit().unwrap();
    let is = |rehearsal: Rehearsal| (rehearsal.is_busy, rehearsal.is_interrupted, rehearsal.state_dir);
    assert_eq!(is(rehearse(&deployment)), (true, false, Ok(())));
    drop(locked);
    assert_eq!(is(rehearse(&deployment)), (false, true, Ok(())));
}

#[test]
fn a_state_directory_that_is_gone_open_or_none_is_put_right() {
    let (_directory, deployment) = host();
    let state = deployment.state.path().to_owned();
    let fix = || rehearse(&deployment).state_dir.unwrap_err().fix.replace(&state.display().to_string(), "STATE");
    let us = Who::of_process("self").unwrap();
    let make = format!("install -d -o {} -g {} -m 0750 STATE", us.user(), us.group());
    fs::set_permissions(&state, fs::Permissions::from_mode(0o754)).unwrap();
    assert_eq!(fix(), "chmod o= STATE");
    fs::remove_dir(&state).unwrap();
    assert_eq!(fix(), make);
    fs::write(&state, "").unwrap();
    assert_eq!(fix(), format!("mv STATE STATE.old && {make}"));
}

#[test]
fn a_lock_that_cannot_be_opened_is_moved_away() {
    let (_directory, deployment) = host();
    let lock = deployment.state.path().join("lock");
    for target in ["nowhere", "lock", "."] {
        std::os::unix::fs::symlink(target, &lock).unwrap();
        let fault = rehearse(&deployment).state_dir.unwrap_err();
        assert_eq!(fault.fix, format!("mv {0} {0}.damaged", lock.display()), "{fault:?}");
        fs::remove_file(&lock).unwrap();
    }
}

#[test]
fn what_others_may_write_or_read_is_closed() {
    let (directory, deployment) = host();
    let (path, place) = (&deployment.files.endpoints, directory.path().join("p"));
    for (of_place, of_file, text, fix) in [
        (0o777, 0o640, "", "chmod o-w DIR"),
        (0o755, 0o642, "", "chmod o= DIR/p.conf"),
        (0o755, 0o644, "[1]\ntype=auth\n", "chmod o= DIR/p.conf"),
        (0o755, 0o644, "[1]\ntype=aor\n", ""),
        (0o755, 0o640, "[1]\ntype=auth\n", ""),
    ] {
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(of_file)).unwrap();
        fs::set_permissions(&place, fs::Permissions::from_mode(of_place)).unwrap();
        let found =
            closed(path, &place, &fs::metadata(&place).unwrap()).map_or_else(|fault| fault.fix, |()| String::new());
        assert_eq!(found, fix.replace("DIR", &place.display().to_string()));
    }
}

#[test]
fn what_stands_in_a_files_place_is_made_a_file() {
    let (directory, deployment) = host();
    let (path, place) = (&deployment.files.endpoints, directory.path().join("p"));
    let fix = || {
        let fault = rehearse(&deployment).endpoints.unwrap_err();
        fault.fix.replace(&place.display().to_string(), "DIR")
    };
    let replaced =
        |content: &str| format!("mv DIR/p.conf DIR/p.conf.old && install -g asterisk -m 0640 {content} DIR/p.conf");
    fs::rename(path, place.join("x")).unwrap();
    for (target, content) in [("x", "DIR/p.conf.old"), ("nowhere", "/dev/null")] {
        std::os::unix::fs::symlink(target, path).unwrap();
        assert_eq!(fix(), replaced(content));
        fs::remove_file(path).unwrap();
    }
    File::create(path).unwrap().set_len(1 << 30).unwrap();
    assert_eq!(fix(), replaced("/dev/null"));
    fs::remove_dir_all(&place).unwrap();
    let install = "install -d -g asterisk -m 2770 DIR && install -g asterisk -m 0640 /dev/null DIR/p.conf";
    assert_eq!(fix(), install);
}

#[test]
fn new_files_are_to_be_read_by_asterisk() {
    let (directory, deployment) = host();
    let (path, place) = (&deployment.files.endpoints, directory.path().join("p"));
    fs::set_permissions(path, fs::Permissions::from_mode(0o640)).unwrap();
    let (gid, other) = (fs::metadata(&place).unwrap().gid(), 3_999_999_999);
    let who = |uid, gid| Who { uid, gids: vec![gid] };
    let asterisk = |gid| Some(who(3_999_999_998, gid));
    for (mode, us, asterisk, is_fine) in [
        (0o2770, other, asterisk(gid), true),
        (0o770, other, asterisk(gid), false),
        (0o770, gid, asterisk(gid), true),
        (0o2770, other, asterisk(other), false),
        (0o770, other, Some(who(3_999_999_999, gid)), true),
        (0o770, other, Some(who(0, 0)), true),
        (0o2770, other, None, true),
        (0o770, other, None, false),
        (0o770, gid, None, true),
    ] {
        fs::set_permissions(&place, fs::Permissions::from_mode(mode)).unwrap();
        let found = rehearse_file(path, 0, &who(3_999_999_999, us), asterisk.as_ref());
        assert_eq!(found.is_ok(), is_fine, "{mode:o} {us} {asterisk:?}: {found:?}");
    }
}

#[test]
fn asterisk_enters_the_directory_to_read() {
    let (directory, deployment) = host();
    let (path, place) = (&deployment.files.endpoints, directory.path().join("p"));
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    let asterisk = Who { uid: 3_999_999_998, gids: vec![3_999_999_998] };
    let fix = |mode| {
        fs::set_permissions(&place, fs::Permissions::from_mode(mode)).unwrap();
        readable(path, &place, &asterisk, "voip").err().map(|fault| fault.fix)
    };
    assert_eq!(fix(0o750), Some(format!("chgrp voip {0} && chmod 2770 {0}", place.display())));
    assert_eq!(fix(0o751), None);
}

#[test]
fn the_group_is_asterisks_unless_it_reads_everything() {
    let us = Who { uid: 3_999_999_999, gids: vec![3_999_999_997] };
    let asterisk = Who { uid: 3_999_999_998, gids: vec![3_999_999_998] };
    assert_eq!(group_for(&us, Some(&asterisk)), "3999999998");
    assert_eq!(group_for(&us, Some(&Who { uid: 0, gids: vec![0] })), "3999999997");
}

#[test]
fn where_there_is_no_room_it_is_shown_how_much_there_is() {
    let fix = |kind: io::ErrorKind| other_fix(Path::new("/srv/pbx"), &kind.into());
    for kind in [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded] {
        assert_eq!(fix(kind), "free space on the file system of /srv/pbx: df /srv/pbx");
    }
    assert_eq!(fix(io::ErrorKind::Interrupted), "ls -ld /srv/pbx");
}
