//! The harness itself: what the other tests take for granted.
#![expect(clippy::unwrap_used, reason = "a failing step fails its test")]
#![expect(
    clippy::disallowed_methods,
    reason = "a test writes what an administrator would, and runs what the portal would"
)]

use std::fs;
use std::time::{Duration, Instant};

use pbx_tests::{Asterisk, Behaviour, Cluster, Database, MisbehavingAsterisk, Phone};

/// Two users as an administrator would write them, with passwords in clear.
const ENDPOINTS: &str = "
[1000]\ntype=endpoint\ncontext=internal\ndisallow=all\nallow=ulaw\nauth=1000\naors=1000\nrewrite_contact=yes
callerid=\"Alice \\\"Al\\\"\\; 😀\" <1000>
[1000]\ntype=auth\nauth_type=userpass\nusername=1000\npassword=secret-of-alice\n[1000]\ntype=aor\nmax_contacts=5\nqualify_frequency=60
[1001]\ntype=endpoint\ncontext=internal\ndisallow=all\nallow=ulaw\nauth=1001\naors=1001\nrewrite_contact=yes
[1001]\ntype=auth\nauth_type=userpass\nusername=1001\npassword=secret-of-bob\n[1001]\ntype=aor\nmax_contacts=5\nqualify_frequency=60
";
const DIALPLAN: &str = "
[internal]
exten => _1XXX,1,Set(TO=${PJSIP_DIAL_CONTACTS(${EXTEN})})
 same => n,GotoIf($[\"${TO}\" = \"\"]?away)
 same => n,Dial(${TO},2)
 same => n,GotoIf($[\"${DIALSTATUS}\" = \"BUSY\"]?busy)
 same => n(away),Hangup(20)
 same => n(busy),Hangup(17)
";

fn asterisk_with_two_users() -> Asterisk {
    let asterisk = Asterisk::start_new();
    fs::write(asterisk.pjsip_include(), ENDPOINTS).unwrap();
    fs::write(asterisk.dialplan_include(), DIALPLAN).unwrap();
    let answer = asterisk.rx("module reload res_pjsip.so pbx_config.so");
    assert_eq!(answer, pbx_tests::misbehaving::RELOADED);
    asterisk
}

#[test]
fn a_private_asterisk_boots_without_a_complaint_restarts_and_is_killed() {
    let mut asterisk = Asterisk::start_new();
    asterisk.restart();
    asterisk.kill();
    assert!(asterisk.rx("core show version").contains("Unable to connect"));
    asterisk.start();
    assert!(asterisk.rx("core show version").starts_with("Asterisk 2"));
    assert_eq!(asterisk.complaints(), Vec::<String>::new());
}

#[test]
fn phones_register_call_and_are_refused() {
    let asterisk = asterisk_with_two_users();
    let alice = Phone::new(&asterisk, "1000", "secret-of-alice");
    let bob = Phone::new(&asterisk, "1001", "secret-of-bob");

    assert_eq!(Phone::new(&asterisk, "1000", "wrong").register(), 401);
    assert_eq!(Phone::new(&asterisk, "1002", "nobody").register(), 401);
    assert_eq!(Phone::new(&asterisk, "1000", "wrong").call("1001"), 401);
    assert_eq!(Phone::new(&asterisk, "1002", "nobody").call("1001"), 401);
    assert_eq!(alice.call("1001"), 480, "nobody is registered");
    assert_eq!(alice.call("2000"), 404);

    let at_bob = bob.answering();
    assert_eq!(alice.call("1001"), 200);
    assert_eq!(alice.call("1001"), 200, "and again");
    assert_eq!(at_bob.callers().len(), 2);
    assert!(at_bob.wait_for_caller().starts_with(r#""Alice \"Al\"; 😀" <sip:1000@"#), "{:?}", at_bob.callers());
    drop(at_bob);

    assert_eq!(bob.unregister(), 200);
    let at_bob = bob.busy();
    assert_eq!(alice.call("1001"), 486);
    drop(at_bob);

    assert_eq!(bob.unregister(), 200);
    let _at_bob = bob.ringing();
    assert_eq!(alice.call("1001"), 480, "two seconds later");
    assert_eq!(asterisk.complaints(), Vec::<String>::new());
}

#[test]
fn a_call_carries_audio_both_ways() {
    let asterisk = asterisk_with_two_users();
    let _at_bob = Phone::new(&asterisk, "1001", "secret-of-bob").answering();
    let mut call = Phone::new(&asterisk, "1000", "secret-of-alice").start_call("1001", Duration::from_secs(10));
    assert_eq!(call.answered(), 200);
    assert!(asterisk.rx("core show channels count").contains("1 active call"));
    pbx_tests::until("packets both ways", || {
        // Channel, up time, codec, packets received, lost, …, packets sent, lost, …
        let statistics = asterisk.rx("pjsip show channelstats");
        let legs: Vec<Vec<&str>> = statistics
            .lines()
            .filter(|line| line.contains("ulaw"))
            .map(|line| line.split_whitespace().skip_while(|word| *word != "ulaw").collect())
            .collect();
        let packets = |leg: &Vec<&str>, column: usize| leg.get(column).and_then(|n| n.parse::<u32>().ok());
        let alive = |leg| packets(leg, 1).is_some_and(|n| n > 10) && packets(leg, 5).is_some_and(|n| n > 10);
        (legs.len() == 2 && legs.iter().all(alive)).then_some(())
    });
    assert_eq!(call.wait(), 200);
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
