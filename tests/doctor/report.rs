//! The points of the report, and the words of each failure.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::Path;
use std::thread;

use pbx_tests::{Asterisk, Behaviour, Cluster, Database, MisbehavingAsterisk, Settings};

use crate::doctor::host::{Found, check};

/// The user `nobody`, on every Linux.
const NOBODY: u32 = 65_534;

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
        let Found { status, lines } = check(&self.settings);
        assert!(status == 0 && lines.iter().all(|line| line.starts_with("ok    ")), "{lines:#?}");
        lines
    }

    #[track_caller]
    fn finds(&self, point: &str, words: &[&str]) {
        finds(&self.settings, point, words);
    }
}

/// One point fails, and its line has these words.
#[track_caller]
fn finds(settings: &Settings, point: &str, words: &[&str]) {
    let Found { status, lines } = check(settings);
    let failed: Vec<_> = lines.iter().filter(|line| !line.starts_with("ok    ")).collect();
    assert!(failed.len() == 1 && failed[0].starts_with(&format!("FAIL  {point}: ")), "{lines:#?}");
    for word in words.iter().chain(&["; to fix: "]) {
        assert!(failed[0].contains(word), "{word} in {}", failed[0]);
    }
    assert_eq!(status, 1, "{lines:#?}");
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_healthy_host_passes_point_by_point() {
    let host = Host::new();
    let lines = host.is_well();
    let points: Vec<_> = lines.iter().map(|line| line["ok    ".len()..].split(": ").next().unwrap()).collect();
    let expected = [
        "settings",
        "service",
        "server.bind",
        "database",
        "database connection",
        "migrations",
        "tables",
        "state_dir",
        "asterisk.pjsip_include",
        "asterisk.dialplan_include",
        "asterisk.command",
        "version",
        "#include of asterisk.pjsip_include",
        "#include of asterisk.dialplan_include",
        "numbers",
        "extensions",
        "modules",
        "astdb",
        "cli_permissions.conf",
        "sorcery.conf",
        "identification",
        "asterisk.endpoint_options",
        "transport",
        "asterisk.realm",
        "live",
        "users",
    ];
    assert_eq!(points, expected);
    let version = host.database.sql("SHOW server_version");
    assert!(lines.contains(&format!("ok    database: PostgreSQL {version} answers")), "{lines:#?}");
}

#[test]
fn a_database_that_is_away_or_old_is_found() {
    let host = Host::new();
    let nowhere = host.settings.clone().with("DATABASE_URL", "postgresql://u:hidden@127.0.0.1:1/nowhere");
    let nowhere = nowhere.with("PBX_PORTAL__DATABASE__TIMEOUT_SECONDS", "1");
    finds(&nowhere, "database", &["Connection refused", "systemctl restart postgresql"]);
    assert!(!check(&nowhere).lines.concat().contains("hidden"));
    let empty = Database::create();
    let old = host.settings.clone().with("DATABASE_URL", &empty.url());
    finds(&old, "migrations", &["_initial, ", " are not applied", "pbx-portal migrate"]);
    let latin = Database::create_in_encoding("LATIN1");
    let latin = host.settings.clone().with("DATABASE_URL", &latin.url());
    finds(&latin, "database", &["has the encoding LATIN1", "createdb --encoding=UTF8 --template=template0"]);
    finds(&latin, "database", &["to fix: cd / && runuser -u postgres -- psql -c 'ALTER DATABASE ", " ENCODING UTF8 "]);
    assert_eq!(latin.run(&["serve"]).status.code(), Some(78), "another start would end the same");
    assert_eq!(empty.sql("SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace"), "0");
    assert_eq!(host.database.sql("SELECT count(*) FROM apply_audit_log"), "0");
}

#[test]
fn an_asterisk_that_cannot_be_asked_is_found() {
    let mut host = Host::new();
    let patience = |settings: Settings| settings.with("PBX_PORTAL__ASTERISK__COMMAND_TIMEOUT_SECONDS", "1");
    let elsewhere = host.settings.clone().with("PBX_PORTAL__ASTERISK__COMMAND", "/nonexistent/asterisk");
    let is_installed = Path::new("/usr/sbin/asterisk").exists();
    let fix = if is_installed {
        "'PBX_PORTAL__ASTERISK__COMMAND=\"asterisk\"'"
    } else {
        "install Asterisk 22, or set asterisk.command"
    };
    finds(&elsewhere, "asterisk.command", &["`/nonexistent/asterisk` cannot be started", fix]);
    host.asterisk.freeze();
    finds(&patience(host.settings.clone()), "asterisk.command", &["did not answer", "systemctl restart asterisk"]);
    host.asterisk.thaw();
    host.stand_in.on_next(1, "core show version", &Behaviour::Exit(3));
    host.finds("asterisk.command", &["exit status: 3", "-rx 'core show version'"]);
    host.asterisk.stop();
    host.finds("asterisk.command", &["not running", "systemctl start asterisk"]);
    host.asterisk.start();
    host.is_well();
}

#[test]
fn an_asterisk_that_could_not_take_an_apply_is_found() {
    let host = Host::new();
    host.stand_in.on_next(1, "core show version", &Behaviour::Say("Asterisk 20.12.0 built by x\n".to_owned()));
    host.finds("version", &["20.12.0 does not know password_digest", "upgrade to Asterisk 22.2.0"]);
}

#[test]
fn an_apply_that_is_running_is_no_drift() {
    let host = Host::new();
    let portal = host.settings.start();
    for (name, is_over) in [("alice", true), ("bob", false)] {
        portal.create_user(name, &format!("{name}@example.com"));
        host.stand_in.behave();
        let applying = host.stand_in.hold_next("module reload*");
        thread::scope(|scope| {
            let apply = scope.spawn(|| portal.http().post_empty("/apply").expect(200));
            applying.wait();
            let Found { status, lines } = if is_over {
                // It has seen the new files, and not yet what Asterisk runs.
                let asking = host.stand_in.hold_next("pjsip show endpoints");
                let checking = scope.spawn(|| check(&host.settings));
                asking.wait();
                drop(applying);
                apply.join().unwrap();
                drop(asking);
                checking.join().unwrap()
            } else {
                check(&host.settings)
            };
            let live = if is_over { "ok    live: " } else { "note  live: an apply is running" };
            assert!(status == 0 && lines.iter().any(|line| line.starts_with(live)), "{lines:#?}");
        });
    }
    host.is_well();
}

#[test]
fn files_that_were_never_applied_are_drift() {
    let host = Host::new();
    let theirs = "; Generated by pbx-portal.\n[synergycall-users]\nexten => 1,1,NoOp()\n";
    fs::write(host.asterisk.dialplan_include(), theirs).unwrap();
    host.finds(
        "live",
        &["never applied on this node", "curl -sS -H @/root/pbx-token -X POST http://127.0.0.1:0/apply"],
    );
}

#[test]
fn a_connection_of_which_nobody_knows_how_it_is_protected_is_a_note() {
    let cluster = Cluster::start_new();
    let (database, host) = (Database::create_in(&cluster.url()), Host::new());
    // The same address in a form that is none of this host's.
    let url = database.url().replace("127.0.0.1:", "[::ffff:127.0.0.1]:");
    let settings = host.settings.clone().with("DATABASE_URL", &url);
    assert!(settings.run(&["migrate"]).status.success());
    let Found { status, lines } = check(&settings);
    let note = |line: &String| line.starts_with("note  database connection: ") && line.contains("; let who answers");
    assert!(status == 0 && lines.iter().any(note), "{lines:#?}");
}

#[test]
fn what_root_may_do_says_nothing_of_what_the_owner_of_the_state_directory_may() {
    let host = Host::new();
    // Elsewhere, this runs as the owner.
    if fs::metadata(host.settings.state_dir()).unwrap().uid() == 0 {
        chown(host.settings.state_dir(), Some(NOBODY), None).unwrap();
        let lines = check(&host.settings).lines.join("\n");
        assert!(
            lines.contains("FAIL  service: this runs as root") && lines.contains("; to fix: pbx-portal check"),
            "{lines}"
        );
    }
}
