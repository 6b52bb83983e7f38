//! `pbx-portal check`, the doctor: each fault is one line that says what mends it, and whoever heeds it is well again.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::Path;

use pbx_tests::{Asterisk, Behaviour, Database, MisbehavingAsterisk, Settings};

/// A host on which an apply would work.
struct Host {
    settings: Settings,
    stand_in: MisbehavingAsterisk,
    asterisk: Asterisk,
    database: Database,
}

impl Host {
    fn new() -> Self {
        let (database, asterisk) = (Database::create(), Asterisk::start_new());
        let stand_in = MisbehavingAsterisk::before(&asterisk);
        let settings =
            Settings::new(&database.url(), &asterisk).with("PBX_PORTAL__ASTERISK__COMMAND", &stand_in.command());
        set_mode(&settings.state_dir(), 0o750);
        assert!(settings.run(&["migrate"]).status.success());
        let host = Self { settings, stand_in, asterisk, database };
        host.is_well();
        host
    }

    /// Every point is well.
    #[track_caller]
    fn is_well(&self) -> Vec<String> {
        let (status, lines) = check(&self.settings);
        assert!(status == 0 && lines.iter().all(|line| line.starts_with("ok    ")), "{lines:#?}");
        lines
    }

    #[track_caller]
    fn finds(&self, point: &str, words: &[&str]) {
        finds(&self.settings, point, words);
    }
}

/// The exit status, and the lines of the report.
fn check(settings: &Settings) -> (i32, Vec<String>) {
    let finished = settings.run(&["check"]);
    (finished.status.code().expect("it ends by itself"), finished.stdout.lines().map(str::to_owned).collect())
}

/// One point is amiss, and its line has these words.
#[track_caller]
fn finds(settings: &Settings, point: &str, words: &[&str]) {
    let (status, lines) = check(settings);
    let amiss: Vec<_> = lines.iter().filter(|line| !line.starts_with("ok    ")).collect();
    assert!(amiss.len() == 1 && amiss[0].starts_with(&format!("FAIL  {point}: ")), "{lines:#?}");
    for word in words.iter().chain(&["; to fix: "]) {
        assert!(amiss[0].contains(word), "{word} in {}", amiss[0]);
    }
    assert_eq!(status, 1, "{lines:#?}");
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_host_that_is_well_is_told_so_point_by_point() {
    let lines = Host::new().is_well();
    let points: Vec<_> = lines.iter().map(|line| line["ok    ".len()..].split(": ").next().unwrap()).collect();
    let expected = [
        "settings",
        "database",
        "migrations",
        "state_dir",
        "asterisk.pjsip_include",
        "asterisk.dialplan_include",
        "asterisk.command",
        "version",
        "#include of asterisk.pjsip_include",
        "#include of asterisk.dialplan_include",
        "modules",
        "asterisk.realm",
        "live",
    ];
    assert_eq!(points, expected);
}

#[test]
fn a_database_that_is_away_or_old_is_found() {
    let host = Host::new();
    let nowhere = host.settings.clone().with("DATABASE_URL", "postgresql://u:hidden@127.0.0.1:1/nowhere");
    let nowhere = nowhere.with("PBX_PORTAL__DATABASE__TIMEOUT_SECONDS", "1");
    finds(&nowhere, "database", &["Connection refused", "start PostgreSQL, or correct DATABASE_URL"]);
    assert!(!check(&nowhere).1.concat().contains("hidden"));
    let empty = Database::create();
    let old = host.settings.clone().with("DATABASE_URL", &empty.url());
    finds(&old, "migrations", &["_initial are not applied", "pbx-portal migrate"]);
    let latin = Database::create_in_encoding("LATIN1");
    let latin = host.settings.clone().with("DATABASE_URL", &latin.url());
    finds(&latin, "database", &["has the encoding LATIN1", "createdb --encoding=UTF8 --template=template0"]);
    assert_eq!(latin.run(&["serve"]).status.code(), Some(78), "another start would end the same");
    assert_eq!(empty.sql("SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace"), "0");
    assert_eq!(host.database.sql("SELECT count(*) FROM apply_audit_log"), "0");
}

#[test]
fn directories_and_files_that_are_not_as_they_have_to_be_are_found() {
    let host = Host::new();
    let state = host.settings.state_dir();
    set_mode(&state, 0o755);
    host.finds("state_dir", &["open to everybody", &format!("chmod o= {}", state.display())]);
    fs::remove_dir(&state).unwrap();
    host.finds("state_dir", &[&format!("install -d -o pbx-portal -g pbx-portal -m 0750 {}", state.display())]);
    fs::create_dir(&state).unwrap();
    set_mode(&state, 0o750);

    for (key, file) in [
        ("asterisk.pjsip_include", host.asterisk.pjsip_include()),
        ("asterisk.dialplan_include", host.asterisk.dialplan_include()),
    ] {
        let (directory, aside) = (file.parent().unwrap(), file.with_extension("aside"));
        fs::rename(&file, &aside).unwrap();
        let (_, lines) = check(&host.settings);
        let missing = format!("FAIL  {key}: {} is missing, and Asterisk loads nothing", file.display());
        assert!(lines.iter().any(|line| line.starts_with(&missing) && line.contains("install -m 0640")), "{lines:#?}");
        symlink(&aside, &file).unwrap();
        host.finds(key, &["is no regular file", &format!("mv {0} {0}.old", file.display())]);
        fs::rename(&aside, &file).unwrap();

        // Where root runs this; the files of anybody else are of a group of theirs anyway.
        if chown(directory, None, Some(1)).is_ok() {
            let mend = format!("chmod g+s {}", directory.display());
            host.finds(key, &["does not give its group to new files", &mend]);
            set_mode(directory, 0o2755);
            host.is_well();
        }
        let away = directory.with_extension("away");
        fs::rename(directory, &away).unwrap();
        let (_, lines) = check(&host.settings);
        let mend = format!("to fix: install -d -o root -g asterisk -m 2770 {}", directory.display());
        assert!(
            lines.iter().any(|line| line.starts_with(&format!("FAIL  {key}: ")) && line.ends_with(&mend)),
            "{lines:#?}"
        );
        fs::rename(&away, directory).unwrap();
    }
    host.is_well();
}

#[test]
fn an_asterisk_that_cannot_be_asked_is_found() {
    let mut host = Host::new();
    let patience = |settings: Settings| settings.with("PBX_PORTAL__ASTERISK__COMMAND_TIMEOUT_SECONDS", "1");
    let elsewhere = host.settings.clone().with("PBX_PORTAL__ASTERISK__COMMAND", "/nonexistent/asterisk");
    finds(&elsewhere, "asterisk.command", &["`/nonexistent/asterisk` cannot be started", "install Asterisk"]);
    host.asterisk.freeze();
    finds(&patience(host.settings.clone()), "asterisk.command", &["did not answer", "systemctl restart asterisk"]);
    host.asterisk.thaw();
    host.stand_in.on_next(1, "core show version", &Behaviour::Exit(3));
    host.finds("asterisk.command", &["exit status 3", "-rx 'core show version'"]);
    host.asterisk.stop();
    host.finds("asterisk.command", &["not running", "systemctl start asterisk", "astctlpermissions = 0660"]);
    host.asterisk.start();
    host.is_well();
}

#[test]
fn an_asterisk_that_could_not_take_an_apply_is_found() {
    let mut host = Host::new();
    host.stand_in.on_next(1, "core show version", &Behaviour::Say("Asterisk 20.12.0 built by x\n".to_owned()));
    host.finds("version", &["20.12.0 does not know password_digest", "upgrade to Asterisk 22.2.0"]);
    for (key, file, module) in
        [("pjsip_include", "pjsip.conf", "res_pjsip.so"), ("dialplan_include", "extensions.conf", "pbx_config.so")]
    {
        let path = host.asterisk.etc().join(file);
        let text = fs::read_to_string(&path).unwrap();
        host.asterisk.remove_include(file);
        let line = format!("{} does not include", path.display());
        let point = format!("#include of asterisk.{key}");
        host.finds(&point, &[&line, "add the line `#include "]);
        host.asterisk.restart();
        fs::write(&path, text).unwrap();
        let reload = format!("module reload {module}");
        host.finds(&point, &["Asterisk has not read ", &reload]);
        host.asterisk.rx(&reload);
        host.is_well();
    }
    let other = host.settings.clone().with("PBX_PORTAL__ASTERISK__REALM", "other");
    finds(&other, "asterisk.realm", &["Asterisk's default_realm is asterisk", "set asterisk.realm = \"asterisk\""]);
    host.asterisk.rx("module unload app_dial.so");
    host.finds("modules", &["app_dial.so not running", "module load app_dial.so"]);
    host.asterisk.rx("module load app_dial.so");
    host.is_well();
}

#[test]
fn what_an_apply_mends_is_told_and_is_no_fault() {
    let host = Host::new();
    fs::write(host.asterisk.dialplan_include(), "[synergycall-users]\nexten => 1,1,NoOp()\n").unwrap();
    let (status, lines) = check(&host.settings);
    let last = lines.last().unwrap();
    assert!(last.starts_with("note  live: ") && last.ends_with("; POST /apply mends it"), "{lines:#?}");
    assert!(last.contains("never applied on this node") && status == 0, "{lines:#?}");
}
