//! The state directory and the include files.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::Path;
use std::process::Command;

use pbx_tests::Asterisk;
use rustix::fs::{XattrFlags, setxattr};

use crate::doctor::host::{Host, Place, check};
use crate::faults::mounts::{Mount, able_to_mount};

#[test]
fn an_include_directory_or_file_that_is_gone_is_made_again() {
    let mut host = Host::new();
    let files = [
        (host.asterisk.pjsip_include(), "asterisk.pjsip_include"),
        (host.asterisk.dialplan_include(), "asterisk.dialplan_include"),
    ];
    for (file, point) in &files {
        let directory = file.parent().unwrap().to_owned();
        for restart in [false, true] {
            fs::remove_dir_all(&directory).unwrap();
            if restart {
                host.asterisk.restart();
            }
            host.heals(point);
            fs::remove_file(file).unwrap();
            if restart {
                host.asterisk.restart();
            }
            // The pattern of the #include line would match it. And the transports are good.
            let found = host.heals(point);
            assert!(!found.lines.concat().contains("does not include"), "{found:#?}");
            assert!(!found.lines.concat().contains("FAIL  transport"), "{found:#?}");
        }
        fs::rename(file, file.with_extension("away")).unwrap();
        symlink(file.with_extension("away"), file).unwrap();
        host.heals(point);
        fs::File::create(file).unwrap().set_len(3 << 30).unwrap();
        host.heals(point);
    }
}

const ASTERISK: u32 = 4_242;

/// One whose Asterisk runs as a user of its own.
fn with_a_user() -> Host {
    let mut asterisk = Asterisk::configured();
    let chown_home = chown(asterisk.home(), Some(0), Some(ASTERISK));
    assert!(chown_home.is_ok(), "this test gives files to another user: run it as root ({chown_home:?})");
    asterisk.run_as(ASTERISK);
    for file in [asterisk.pjsip_include(), asterisk.dialplan_include()] {
        let directory = file.parent().unwrap();
        chown(directory, Some(0), Some(ASTERISK)).unwrap();
        fs::set_permissions(directory, Permissions::from_mode(0o2770)).unwrap();
    }
    asterisk.start();
    Host::beside(asterisk)
}

#[test]
fn what_an_acl_gives_to_asterisk_it_may_read() {
    let host = with_a_user();
    let grant = |path: &Path, list: &str| {
        let owner = (1, 7, u32::MAX);
        let entries = [owner, (2, 7, ASTERISK), (4, 0, u32::MAX), (16, 7, u32::MAX), (32, 0, u32::MAX)];
        let mut acl = 2_u32.to_le_bytes().to_vec();
        for (tag, rights, id) in entries {
            acl.extend([u16::to_le_bytes(tag), u16::to_le_bytes(rights)].concat());
            acl.extend(u32::to_le_bytes(id));
        }
        setxattr(path, list, &acl, XattrFlags::empty()).unwrap();
    };
    for file in [host.asterisk.etc().join("pjsip.conf"), host.asterisk.home().join("db/astdb.sqlite3")] {
        chown(&file, Some(0), Some(0)).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
        grant(&file, "system.posix_acl_access");
    }
    for file in [host.asterisk.pjsip_include(), host.asterisk.dialplan_include()] {
        let directory = file.parent().unwrap();
        for path in [&file, directory] {
            chown(path, Some(0), Some(0)).unwrap();
            grant(path, "system.posix_acl_access");
        }
        grant(directory, "system.posix_acl_default");
    }
    host.check().is_well();
    host.takes_more();
    host.check().is_well();
}

#[test]
fn a_file_that_asterisk_may_not_read_is_given_to_it() {
    let mut host = with_a_user();
    let files = [
        (host.asterisk.pjsip_include(), "asterisk.pjsip_include"),
        (host.asterisk.dialplan_include(), "asterisk.dialplan_include"),
    ];
    for (file, point) in &files {
        for restart in [false, true] {
            chown(file, Some(0), Some(0)).unwrap();
            fs::set_permissions(file, Permissions::from_mode(0o600)).unwrap();
            if restart {
                host.asterisk.restart();
            }
            let found = host.heals(point);
            assert!(!found.lines.concat().contains("FAIL  transport"), "{found:#?}");
        }
        let directory = file.parent().unwrap();
        chown(directory, Some(0), Some(0)).unwrap();
        fs::set_permissions(directory, Permissions::from_mode(0o755)).unwrap();
        host.heals(point);
    }
    let astdb = host.asterisk.home().join("db/astdb.sqlite3");
    for restart in [false, true] {
        chown(&astdb, Some(0), Some(0)).unwrap();
        fs::set_permissions(&astdb, Permissions::from_mode(0o644)).unwrap();
        if restart {
            host.asterisk.restart();
        }
        host.heals("astdb");
    }
    for (file, point) in [("pjsip.conf", "asterisk.pjsip_include"), ("extensions.conf", "asterisk.dialplan_include")] {
        let admin = host.asterisk.etc().join(file);
        fs::copy(&admin, admin.with_extension("more")).unwrap();
        fs::write(&admin, format!("#include {}\n", admin.with_extension("more").display())).unwrap();
        for (closed, restart) in [(admin.clone(), false), (admin.clone(), true), (admin.with_extension("more"), true)] {
            chown(&closed, Some(0), Some(0)).unwrap();
            fs::set_permissions(&closed, Permissions::from_mode(0o600)).unwrap();
            if restart {
                host.asterisk.restart();
            }
            let user = host.portal.create_user("one more", "more@example.com");
            let failed = host.portal.http().post_empty("/apply").expect(502);
            let fix = format!("may not enter or read {} (chgrp ", closed.display());
            assert!(failed.string("/detail").contains(&fix), "{}", failed.text);
            host.portal.http().delete(&format!("/users/{}", user.string("/id"))).expect(204);
            let found = host.heals(&format!("#include of {point}"));
            assert!(!found.lines.concat().contains("FAIL  transport"), "{found:#?}");
            host.takes_more();
        }
    }
}

#[test]
fn a_main_file_that_asterisk_takes_for_unchanged_is_to_be_touched() {
    let host = with_a_user();
    let main = host.asterisk.etc().join("pjsip.conf");
    let edited = fs::read_to_string(&main).unwrap() + "\n";
    fs::write(&main, edited).unwrap();
    fs::set_permissions(&main, Permissions::from_mode(0o600)).unwrap();
    chown(&main, Some(0), Some(0)).unwrap();
    host.portal.create_user("one more", "more@example.com");
    host.portal.http().post_empty("/apply").expect(502);
    // By hand, and not as the answer says.
    fs::set_permissions(&main, Permissions::from_mode(0o644)).unwrap();
    let failed = host.portal.http().post_empty("/apply").expect(502);
    let fix = format!("may take {} for unchanged, as after a time when it could not read it (touch ", main.display());
    assert!(failed.string("/detail").contains(&fix), "{}", failed.text);
    assert!(Command::new("touch").arg(&main).status().unwrap().success());
    host.works();
}

#[test]
fn a_directory_that_is_closed_to_asterisk_is_opened() {
    let mut host = with_a_user();
    let close = |path: &Path, mode| {
        chown(path, Some(0), Some(0)).unwrap();
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    };
    let files = [
        (host.asterisk.pjsip_include(), "#include of asterisk.pjsip_include"),
        (host.asterisk.dialplan_include(), "#include of asterisk.dialplan_include"),
    ];
    for (file, point) in &files {
        let directory = file.parent().unwrap();
        let above = directory.parent().unwrap();
        for restart in [false, true] {
            close(above, 0o700);
            if restart {
                host.asterisk.restart();
            }
            host.heals(point);
        }
        close(above, 0o700);
        let user = host.portal.create_user("one more", "more@example.com");
        let failed = host.portal.http().post_empty("/apply").expect(502);
        assert!(failed.string("/detail").contains(&format!("(chmod a+x {})", above.display())), "{}", failed.text);
        host.portal.http().delete(&format!("/users/{}", user.string("/id"))).expect(204);
        close(directory, 0o700);
        host.heals(point);
    }
    close(&host.asterisk.etc(), 0o700);
    host.heals(files[0].1);
    close(&host.asterisk.home().join("db"), 0o755);
    host.heals("astdb");
}

#[test]
fn a_state_directory_that_is_gone_open_or_damaged_is_put_right() {
    let mut host = Host::new();
    let state = host.settings.state_dir();
    for record in ["proven", "journal"] {
        fs::write(state.join(record), "half a rec").unwrap();
        host.portal.http().post_empty("/apply").expect(500);
        host.heals("state_dir");
    }
    // No kind of file blocks it.
    for file in ["proven", "journal", "lock"] {
        _ = fs::remove_file(state.join(file));
        assert!(Command::new("mkfifo").arg(state.join(file)).status().unwrap().success());
        host.heals("state_dir");
    }
    for file in ["unproven", "verified"] {
        _ = fs::remove_file(state.join(file));
        fs::create_dir(state.join(file)).unwrap();
        host.heals("state_dir");
    }
    for (file, to) in
        [("proven", "proven"), ("lock", "lock"), ("lock", "/nonexistent/lock"), ("journal", "/nonexistent/journal")]
    {
        _ = fs::remove_file(state.join(file));
        symlink(to, state.join(file)).unwrap();
        host.heals("state_dir");
    }
    fs::remove_dir_all(&state).unwrap();
    fs::write(&state, "").unwrap();
    host.heals("state_dir");
    fs::set_permissions(&state, Permissions::from_mode(0o755)).unwrap();
    host.heals("state_dir");
    fs::remove_dir_all(&state).unwrap();
    host.heals("state_dir");
}

#[test]
fn a_file_that_is_mounted_and_cannot_be_replaced_is_unmounted() {
    able_to_mount("doctor::files::a_file_that_is_mounted_and_cannot_be_replaced_is_unmounted", || {
        let mut host = Host::new();
        let dialplan = host.asterisk.dialplan_include();
        let mounted = Command::new("mount").arg("--bind").args([&dialplan, &dialplan]).status();
        assert!(mounted.is_ok_and(|status| status.success()));
        host.heals("asterisk.dialplan_include");
        host.takes_more();
    });
}

#[test]
fn a_database_of_asterisks_that_cannot_grow_is_found() {
    able_to_mount("doctor::files::a_database_of_asterisks_that_cannot_grow_is_found", || {
        let mut asterisk = Asterisk::configured();
        let directory = asterisk.home().join("db");
        fs::create_dir_all(&directory).unwrap();
        let _mount = Mount::small(&directory, 512);
        asterisk.start();
        let mut host = Host::beside(asterisk);
        let filler = directory.join("filler");
        io::copy(&mut io::repeat(0), &mut fs::File::create(&filler).unwrap()).unwrap_err();
        let found = host.check();
        let fix = format!("free space on the file system of {0}: df {0}", directory.display());
        assert_eq!(found.faults(), [("astdb", fix.as_str())]);
        fs::remove_file(filler).unwrap();
        host.check().is_well();
        host.asterisk.stop();
        let options = ["-o", "remount,ro"];
        assert!(Command::new("mount").args(options).arg(&directory).status().unwrap().success());
        host.asterisk.start();
        host.heals("astdb");
    });
}

#[test]
fn an_include_file_or_directory_that_is_open_to_everybody_is_closed() {
    let mut host = Host::new();
    let (endpoints, dialplan) = (host.asterisk.pjsip_include(), host.asterisk.dialplan_include());
    for (at, mode, point) in [
        (endpoints.as_path(), 0o644, "asterisk.pjsip_include"),
        (&endpoints, 0o666, "asterisk.pjsip_include"),
        (endpoints.parent().unwrap(), 0o777, "asterisk.pjsip_include"),
        (&dialplan, 0o666, "asterisk.dialplan_include"),
    ] {
        fs::set_permissions(at, Permissions::from_mode(mode)).unwrap();
        host.heals(point);
    }
    // What holds no secret may be read.
    fs::set_permissions(&dialplan, Permissions::from_mode(0o644)).unwrap();
    host.check().is_well();
    fs::remove_file(&dialplan).unwrap();
    fs::create_dir(&dialplan).unwrap();
    host.heals("asterisk.dialplan_include");
}

#[test]
fn a_file_that_somebody_left_in_the_place_of_ours_is_kept_beside_it() {
    let mut host = Host::new();
    for (file, point, theirs) in [
        (host.asterisk.pjsip_include(), "asterisk.pjsip_include", "[trunk]\ntype=aor\n"),
        (host.asterisk.dialplan_include(), "asterisk.dialplan_include", "[from-trunk]\nexten => 1,1,NoOp()\n"),
    ] {
        let kept = file.with_extension("conf.not-of-the-portal");
        let verified = host.settings.state_dir().join("verified");
        let leave = || {
            // As before the first apply there.
            fs::remove_file(&verified).unwrap();
            fs::write(&file, theirs).unwrap();
        };
        for restart in [false, true] {
            leave();
            if restart {
                host.asterisk.restart();
            }
            host.heals(point);
            assert_eq!(fs::read_to_string(&kept).unwrap(), theirs);
            host.takes_more();
            fs::remove_file(&kept).unwrap();
        }
        // What was kept before stays, too.
        leave();
        fs::write(&kept, "; another\n").unwrap();
        let found = host.check();
        let (_, fix) = found.faults().into_iter().find(|(found, _)| *found == point).unwrap();
        _ = Command::new("bash").args(["-c", fix]).status().unwrap();
        let both = [&file, &kept].map(|file| fs::read_to_string(file).unwrap());
        assert_eq!(both, [theirs, "; another\n"]);
        fs::remove_file(&kept).unwrap();
        host.heals(point);
    }
}

#[test]
fn a_setting_that_names_a_file_of_the_administrators_goes_and_the_file_stays() {
    let mut host = Host::new();
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    let trunk = "[trunk]\ntype=auth\nusername=trunk\npassword=x\n";
    let calls_in = "[from-trunk]\nexten => 1,1,NoOp()\n";
    let pjsip = ("pjsip.conf", "pjsip_include", trunk, "pjsip.d/synergycall/generated_endpoints.conf");
    let dialplan = ("extensions.conf", "dialplan_include", calls_in, "extensions.d/synergycall/generated_routing.conf");
    for ((main, key, theirs, default), is_included) in
        [(pjsip, false), (pjsip, true), (dialplan, false), (dialplan, true)]
    {
        // Open to everybody, as a file of ours may not be.
        let file = host.asterisk.etc().join(format!("trunk-of-{main}"));
        fs::write(&file, theirs).unwrap();
        if is_included {
            host.asterisk.append(main, &format!("#include {}", file.display()));
            host.asterisk.rx("module reload res_pjsip.so pbx_config.so");
        }
        let main = host.asterisk.etc().join(main);
        let included = fs::read(&main).unwrap();
        let variables = host.settings.working_directory().join("env");
        let variable = format!("PBX_PORTAL__ASTERISK__{}", key.to_uppercase());
        fs::write(&variables, format!("{variable}={}\n", file.display())).unwrap();
        let found = check(&host.settings.clone().with(&variable, &path(&file)));
        let points: Vec<_> = found.faults().iter().map(|(point, _)| *point).collect();
        assert_eq!(points, [&format!("asterisk.{key}"), "live"], "{found:#?}");
        let place = Place { replaced: vec![("/etc/pbx-portal/env".to_owned(), path(&variables))], ..Place::default() };
        for (point, fix) in found.faults() {
            host.run(point, fix, &place);
        }
        assert_eq!(fs::read_to_string(&variables).unwrap(), format!("\n{variable}=\"/etc/asterisk/{default}\"\n"));
        assert_eq!(fs::read(&main).unwrap(), included);
        assert_eq!(fs::read_to_string(&file).unwrap(), theirs);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o644);
        host.check().is_well();
        host.works();
    }
}

#[test]
fn a_setting_that_names_asterisks_own_file_is_found_and_nothing_is_to_be_done_to_that() {
    let host = Host::new();
    for (key, main) in [("pjsip_include", "pjsip.conf"), ("dialplan_include", "extensions.conf")] {
        let file = host.asterisk.etc().join(main);
        let variable = format!("PBX_PORTAL__ASTERISK__{}", key.to_uppercase());
        let found = check(&host.settings.clone().with(&variable, file.to_str().unwrap()));
        let settings = found.lines.iter().find(|line| line.starts_with("FAIL  settings: ")).unwrap();
        assert!(settings.contains(&format!("settings: asterisk.{key} ({variable}) must be a file that")), "{settings}");
        assert!(settings.contains("; to fix: write for example /etc/asterisk/"), "{settings}");
        // What the right setting names is not to go either.
        let files = [file, host.asterisk.pjsip_include(), host.asterisk.dialplan_include()];
        let touches = |(_, fix): &(&str, &str)| files.iter().any(|file| fix.contains(file.to_str().unwrap()));
        assert!(!found.faults().iter().any(touches), "{found:#?}");
    }
}
