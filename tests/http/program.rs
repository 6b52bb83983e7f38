//! The command line and the settings of the real program.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use pbx_tests::{Asterisk, Database, Settings};

fn settings(database: &Database, asterisk: &Asterisk) -> Settings {
    Settings::new(&database.url(), asterisk)
}

#[test]
fn the_command_line_behaves_as_people_expect() {
    let (database, asterisk) = (Database::create(), Asterisk::configured());
    let settings = settings(&database, &asterisk);
    let version = settings.run(&["--version"]);
    assert!(version.status.success() && version.stdout.starts_with("pbx-portal 0."), "{version:?}");
    let help = settings.run(&["--help"]);
    assert!(help.status.success());
    for word in ["serve", "migrate", "check", "openapi", "--config", "DATABASE_URL"] {
        assert!(help.stdout.contains(word), "{word}");
    }
    for wrong in
        [&[][..], &["start"], &["serve", "--port", "1"], &["serve", "x"], &["--config"], &["serve", "--config"]]
    {
        let finished = settings.run(wrong);
        assert_eq!(finished.status.code(), Some(2), "{wrong:?}");
        assert!(!finished.stderr.is_empty());
    }
    let openapi = settings.clone().without("DATABASE_URL").run(&["openapi"]);
    assert!(openapi.status.success(), "needs no settings");
}

#[test]
fn migrate_says_what_it_did_and_does_nothing_twice() {
    let (database, asterisk) = (Database::create(), Asterisk::configured());
    let settings = settings(&database, &asterisk);
    let first = settings.run(&["migrate"]);
    assert!(first.status.success() && first.stdout.starts_with("applied "), "{first:?}");
    let second = settings.run(&["migrate"]);
    assert_eq!((second.status.code(), second.stdout.as_str()), (Some(0), "the database is up to date\n"));
}

#[test]
fn wrong_settings_are_refused_in_one_line_that_names_the_key() {
    let (database, asterisk) = (Database::create(), Asterisk::configured());
    let settings = settings(&database, &asterisk);
    let file = settings.working_directory().join("config.toml");
    let path = file.to_str().unwrap();
    for (text, named) in [
        ("[server]\nport = 1", "server.port"),
        ("[server]\nworkers = 'two'", "server.workers"),
        ("[database]\nurl = 'postgresql://u:hidden@h/db'", "database.url"),
        ("[asterisk]\nrealm = \"a\\\"b\"", "asterisk.realm"),
        ("hidden = hidden hidden", "is not TOML at line 1"),
    ] {
        fs::write(&file, text).unwrap();
        let finished = settings.run(&["serve", "--config", path]);
        assert_eq!((finished.status.code(), finished.stderr.lines().count()), (Some(78), 1), "{}", finished.stderr);
        assert!(finished.stderr.starts_with("pbx-portal: ") && finished.stderr.contains(named), "{}", finished.stderr);
        assert!(!finished.stderr.contains(":hidden"), "{}", finished.stderr);
    }
    let missing = settings.run(&["serve", "--config", "nowhere.toml"]);
    assert_eq!(missing.status.code(), Some(78));
    assert!(missing.stderr.contains("settings file nowhere.toml cannot be read"), "{}", missing.stderr);
    for (variable, value, named) in [
        ("PBX_PORTAL__SERVER__PORT", "1", "PBX_PORTAL__SERVER__PORT is no setting"),
        ("PBX_PORTAL__STATE_DIR", "state", "state_dir (PBX_PORTAL__STATE_DIR) must be an absolute path"),
        (
            "PBX_PORTAL__ASTERISK__PJSIP_INCLUDE",
            "/etc/asterisk/pjsip.conf",
            "asterisk.pjsip_include (PBX_PORTAL__ASTERISK__PJSIP_INCLUDE) must be a file that Asterisk's own one includes",
        ),
        ("PBX_PORTAL__DATABASE__URL", "postgresql://u:hidden@h/db", "database.url is given twice"),
        ("DATABASE_URL", "mysql://u:hidden@h/db", "database.url cannot be used"),
        ("PBX_PORTAL__AUTH__TOKENS", "hidden", "auth.tokens"),
    ] {
        let finished = settings.clone().with(variable, value).run(&["serve"]);
        assert_eq!((finished.status.code(), finished.stderr.lines().count()), (Some(78), 1), "{}", finished.stderr);
        assert!(finished.stderr.contains(named), "{}", finished.stderr);
        assert!(!finished.stderr.contains("hidden"), "{}", finished.stderr);
    }
    let open =
        settings.without("PBX_PORTAL__AUTH__TOKENS").with("PBX_PORTAL__SERVER__BIND", "0.0.0.0:0").run(&["serve"]);
    assert!(open.stderr.contains("auth.tokens") && open.status.code() == Some(78), "{}", open.stderr);
}

#[test]
fn in_the_journal_each_line_has_its_priority() {
    let (database, asterisk) = (Database::create(), Asterisk::configured());
    let settings = settings(&database, &asterisk);
    // Its standard error is the same file each time.
    settings.run(&["openapi"]);
    let file = fs::metadata(settings.working_directory().join("stderr")).unwrap();
    let journal = settings.clone().with("JOURNAL_STREAM", &format!("{}:{}", file.dev(), file.ino()));
    let migrated = journal.run(&["migrate"]).stderr;
    assert!(!migrated.is_empty() && migrated.lines().all(|line| line.starts_with("<6>20")), "{migrated}");
    let empty = Database::create();
    let elsewhere = settings.with("DATABASE_URL", &empty.url()).with("JOURNAL_STREAM", "1:1").run(&["migrate"]).stderr;
    assert!(!elsewhere.is_empty() && elsewhere.lines().all(|line| line.starts_with("20")), "{elsewhere}");
}
