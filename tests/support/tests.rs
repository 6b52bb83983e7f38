//! The harness itself: what the other tests take for granted.
#![expect(
    clippy::disallowed_methods,
    reason = "a test writes what an administrator would, and runs what the portal would"
)]

use std::fs;
use std::time::{Duration, Instant};

use pbx_tests::misbehaving::RELOADED;
use pbx_tests::{Asterisk, Behaviour, Cluster, Database, MisbehavingAsterisk};

#[test]
fn a_private_asterisk_boots_without_a_complaint_restarts_reloads_and_is_killed() {
    let mut asterisk = Asterisk::start_new();
    asterisk.restart();
    asterisk.kill();
    assert!(asterisk.rx("core show version").contains("Unable to connect"));
    asterisk.start();
    assert!(asterisk.rx("core show version").starts_with("Asterisk 2"));
    assert_eq!(asterisk.rx("module reload res_pjsip.so pbx_config.so"), RELOADED);
    assert_eq!(asterisk.complaints(), Vec::<String>::new());
}

#[test]
fn a_database_is_empty_and_private() {
    let (one, two) = (Database::create(), Database::create());
    one.sql("CREATE TABLE t (n int CONSTRAINT n_is_small CHECK (n < 10))");
    one.sql("INSERT INTO t VALUES (1), (2)");
    assert_eq!(one.sql("SELECT n, n + 1 FROM t ORDER BY n"), "1|2\n2|3");
    assert!(one.try_sql("INSERT INTO t VALUES (10)").unwrap_err().contains("n_is_small"));
    assert_eq!(two.sql("SELECT count(*) FROM pg_class WHERE relname = 't'"), "0");
    let transaction = one.begin("INSERT INTO t VALUES (3); SELECT * FROM t FOR UPDATE");
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| one.sql("DELETE FROM t WHERE n = 1"));
        one.wait_for_waiting(1);
        transaction.commit();
        waits.join().unwrap();
    });
    drop(one.begin("DELETE FROM t"));
    assert_eq!(one.sql("SELECT count(*) FROM t"), "2");
    drop(one);
    let next = Database::create();
    assert_eq!(next.sql("SELECT count(*) FROM pg_class WHERE relname = 't'"), "0");
}

#[test]
fn a_private_cluster_stops_starts_freezes_and_thaws() {
    let mut cluster = Cluster::start_new();
    let database = Database::create_in(&cluster.url());
    database.sql("CREATE TABLE t (n int)");
    cluster.stop();
    assert!(database.try_sql("SELECT 1").unwrap_err().contains("refused"));
    cluster.start();
    assert_eq!(database.sql("SELECT count(*) FROM t"), "0");
    cluster.freeze();
    assert!(database.try_sql("SELECT 1").unwrap_err().contains("timeout"));
    cluster.thaw();
    assert_eq!(database.sql("SELECT 1"), "1");
}

#[test]
fn a_misbehaving_asterisk_behaves_until_asked_otherwise() {
    let asterisk = Asterisk::start_new();
    let stand_in = MisbehavingAsterisk::before(&asterisk);
    let ask = |command: &str| {
        let output = std::process::Command::new(stand_in.command()).args(["-rx", command]).output().unwrap();
        (String::from_utf8_lossy(&output.stdout).into_owned(), output.status.code())
    };
    let version = asterisk.rx("core show version");
    assert_eq!(ask("core show version"), (version.clone(), Some(0)));

    stand_in.on_next(2, "core show v*", &Behaviour::Say("nothing".to_owned()));
    assert_eq!(ask("core show version").0, "nothing");
    assert_eq!(ask("core show uptime").0.lines().count(), 2, "another command");
    assert_eq!(ask("core show version").0, "nothing");
    assert_eq!(ask("core show version").0, version, "twice was said");

    stand_in.behave();
    stand_in.on("*", &Behaviour::Exit(3));
    assert_eq!(ask("core show version"), (String::new(), Some(3)));
    stand_in.behave();
    stand_in.on("*", &Behaviour::Half);
    assert_eq!(ask("core show version").0, version[..version.trim_end().len() / 2]);
    stand_in.behave();
    stand_in.on("*", &Behaviour::Flood);
    assert_eq!(ask("core show version").0.len(), 10_000_000);
    stand_in.behave();
    stand_in.on("*", &Behaviour::Silence);
    assert_eq!(ask("core show version"), (String::new(), Some(0)));
    stand_in.behave();
    let note = asterisk.home().join("note");
    stand_in.on("*", &Behaviour::After(format!("echo here >{}", note.display())));
    assert_eq!(ask("core show version"), (version, Some(0)));
    assert_eq!(fs::read_to_string(note).unwrap(), "here\n");
    stand_in.behave();
    stand_in.on("*", &Behaviour::Delay(300));
    let start = Instant::now();
    ask("core show version");
    assert!(start.elapsed() > Duration::from_millis(300));
    stand_in.behave();
    let held = stand_in.hold_next("*");
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| ask("core show version"));
        held.wait();
        assert!(!asked.is_finished());
        drop(held);
        assert_eq!(asked.join().unwrap().1, Some(0));
    });
    assert_eq!((stand_in.commands().len(), stand_in.count("core show v")), (12, 11));
}
