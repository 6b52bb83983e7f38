#![expect(clippy::disallowed_methods, reason = "the tests write the administrator's files")]

use std::fs;

use super::*;
use crate::deploy::tests::Host;

fn found(main: &str, is_read: bool) -> Result<(), Fault> {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::write(at("main.conf"), main).unwrap();
    fs::write(at("ours.conf"), "").unwrap();
    let tree = Tree::read(directory.path(), "main.conf", &at("ours.conf"));
    let fault = include(&tree, &at("ours.conf"), "reload", is_read);
    fault.map_err(|fault| Fault {
        fix: fault.fix.replace(&*directory.path().canonicalize().unwrap().to_string_lossy(), "DIR"),
        ..fault
    })
}

#[test]
fn a_file_is_to_be_included_once_and_read() {
    let fix = |main: &str| found(main, true).unwrap_err().fix;
    assert_eq!(found("#include ours.conf", true), Ok(()));
    assert_eq!(found("#include ours.conf", false).unwrap_err().fix, "reload");
    assert_eq!(fix("; no\n"), "printf '\\n#include ours.conf\\n' >> DIR/main.conf && reload");
    assert_eq!(fix("#include ours.conf\n#include o*.conf"), "sed -i '1s/^/; /' DIR/main.conf && reload");
}

#[test]
fn a_version_is_its_numbers_and_what_stands_before_them() {
    for (said, version) in [
        ("22.10.1", "22.10.1"),
        ("22.7.0~dfsg+~cs6.15.60671435-1", "22.7.0"),
        ("certified-22.8-cert1", "certified-22.8"),
        ("certified/22.8-cert1", "certified/22.8"),
        ("GIT-master", "GIT-master"),
        ("GIT-22-5a1b2c3", "GIT-22"),
    ] {
        assert_eq!(numbered(said), version);
    }
}

#[test]
fn a_socket_that_is_there_and_closed_is_opened() {
    let cli = Cli::new("asterisk -C /srv/pbx/asterisk.conf", std::time::Duration::from_secs(1)).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("asterisk.ctl");
    let words = format!("Unable to connect to remote asterisk (does {} exist?)", socket.display());
    assert_eq!(socket_fix(&cli, &words), "systemctl start asterisk");
    fs::write(&socket, "").unwrap();
    let metadata = |mode| {
        fs::set_permissions(&socket, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
        fs::metadata(&socket).unwrap()
    };
    let gid = std::os::unix::fs::MetadataExt::gid(&metadata(0o755));
    let us = |gid| Who { uid: 3_999_999_999, gids: vec![gid] };
    let opened = refused_fix(&cli, &us(gid), &metadata(0o755));
    assert_eq!(
        opened,
        "{ grep -q '^\\[files\\]' /srv/pbx/asterisk.conf || printf '\\n[files]\\n' >> /srv/pbx/asterisk.conf; } && \
         sed -i -e '/^[[:blank:]]*astctlpermissions/d' -e 's/^\\[files\\].*/&\\nastctlpermissions = 0660/' \
         /srv/pbx/asterisk.conf && systemctl restart asterisk"
    );
    assert!(refused_fix(&cli, &us(3_999_999_999), &metadata(0o660)).starts_with("usermod -a -G "));
    let both = refused_fix(&cli, &us(3_999_999_999), &metadata(0o755));
    assert!(both.starts_with("usermod -a -G ") && both.contains("astctlpermissions"), "{both}");
}

#[test]
fn what_may_clash_with_a_user_is_an_admin_object() {
    let directory = tempfile::tempdir().unwrap();
    let text = "[t](!)\ntype=endpoint\n[1000](t)\n[1001]\ntype=identify\n[1002]\ntype=aor\n[1003](+)\nallow=all\n";
    fs::write(directory.path().join(PJSIP_CONF), text).unwrap();
    let mut admin = Tree::read(directory.path(), PJSIP_CONF, Path::new("/x")).sections;
    admin.retain(may_clash);
    let found: Vec<_> = admin.iter().map(|admin| (admin.name.as_str(), admin.line, admin.last_line)).collect();
    assert_eq!(found, [("1000", 3, 3), ("1002", 6, 7), ("1003", 8, 9)]);
}

#[test]
fn sections_that_follow_each_other_are_removed_together() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let sections = |directory: &tempfile::TempDir| {
        let text = "[1]\ntype=aor\n[2]\ntype=aor\n[3]\n[4]\ntype=aor\n";
        fs::write(directory.path().join(PJSIP_CONF), text).unwrap();
        Tree::read(directory.path(), PJSIP_CONF, Path::new("/x")).sections
    };
    let (of_one, of_two) = (sections(&one), sections(&two));
    let host = Host::new();
    let chosen = [&of_one[0], &of_one[1], &of_one[3], &of_two[0], &of_two[1]];
    let removal = host.deployment.removal(chosen).replace(&one.path().display().to_string(), "ONE");
    let removal = removal.replace(&two.path().display().to_string(), "TWO");
    assert!(removal.contains("sed -i '1,4s/^/; /;6,7s/^/; /' ONE/pjsip.conf"), "{removal}");
    assert!(removal.contains("sed -i '1,4s/^/; /' TWO/pjsip.conf"), "{removal}");
    assert!(removal.ends_with(" -rx 'module reload res_pjsip.so pbx_config.so'"), "{removal}");
}

#[test]
fn why_asterisk_gives_no_answer_says_what_to_do() {
    let cli = Cli::new("asterisk", std::time::Duration::from_secs(1)).unwrap();
    let command = String::new;
    for (error, fix) in [
        (
            CliError::CannotStart { program: command(), error: std::io::ErrorKind::NotFound.into() },
            "install Asterisk 22, or set asterisk.command to the program that is there",
        ),
        (CliError::NotRunning { words: command() }, "systemctl start asterisk"),
        (CliError::TimedOut { command: command(), after: std::time::Duration::ZERO }, "systemctl restart asterisk"),
        (CliError::Failed { command: command(), reason: command() }, "asterisk -rx 'core show version'"),
        (
            CliError::Denied { command: "database show".to_owned() },
            "sed -i -E -e '/^\\s*deny\\s*=>?\\s*(all|database)/d' -e 's/^\\s*default_perm\\s*=.*/default_perm=permit/' \
             /etc/asterisk/cli_permissions.conf && if asterisk -rx 'cli reload permissions' | grep permissions; then \
             systemctl restart asterisk; fi",
        ),
    ] {
        assert_eq!(unreachable_fault(&cli, &error, Instant::now()).fix, fix);
    }
}

#[test]
fn files_that_asterisk_may_not_read_or_write_are_given_to_it() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().canonicalize().unwrap().join(name);
    let asterisk = Who { uid: 3_999_999_998, gids: vec![3_999_999_999] };
    let shown = |fault: Fault| fault.fix.replace(&at("").display().to_string(), "");
    let chmod = |name: &str, mode| {
        fs::set_permissions(at(name), std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    };
    fs::write(at("main.conf"), "").unwrap();
    fs::create_dir(at("db")).unwrap();
    fs::write(at("db/astdb.sqlite3"), "").unwrap();
    chmod("", 0o755);
    let tree = Tree::read(directory.path(), "main.conf", Path::new("/x"));
    let read = || diagnosis::closed_to(&asterisk, &tree, &at("db/x"));
    let write = || astdb::check_rights(&format!("  ASTDB:  {}\n", at("db/astdb").display()), &asterisk).map_err(shown);
    for (mode, is_read, is_written) in
        [(0o666, true, true), (0o664, true, false), (0o662, false, false), (0o660, false, false)]
    {
        chmod("main.conf", mode);
        chmod("db/astdb.sqlite3", mode);
        let main = at("main.conf").display().to_string();
        let closed = format!("Asterisk, which runs as 3999999998, may not enter or read {main}");
        let given = format!("chgrp 3999999999 {main} && chmod 0640 {main} && touch {main}");
        assert_eq!(read(), (!is_read).then_some((closed, given)));
        for (of_directory, is_open) in [(0o777, true), (0o755, false), (0o776, false)] {
            chmod("db", of_directory);
            let closed = [("db", is_open), ("db/astdb.sqlite3", is_written)];
            let closed = closed.map(|(path, is_open)| if is_open { "" } else { path }).join(" ");
            let closed = closed.trim();
            let owned =
                format!("chown 3999999998:3999999999 {closed} && chmod u+rwX {closed} && systemctl restart asterisk");
            assert_eq!(write(), if closed.is_empty() { Ok(()) } else { Err(owned) });
        }
    }
    chmod("main.conf", 0o644);
    chmod("", 0o700);
    assert_eq!(read().unwrap().1, format!("chmod a+x {}", directory.path().canonicalize().unwrap().display()));
}
