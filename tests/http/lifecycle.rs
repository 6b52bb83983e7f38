//! Starting, stopping and starting again.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use pbx_tests::{Asterisk, Cluster, Database, Settings, Transaction, until};

use crate::http::raw;
use crate::service::{Service, Systemd};

const BODY: &str = r#"{"name": "A", "email": "a@example.com"}"#;

/// A create that waits for a row, which a transaction by hand holds, and is under way.
fn create_under_way(service: &Service) -> (TcpStream, Transaction) {
    let lock = service.database.begin("UPDATE tenants SET revision = revision");
    let mut stream = raw::connect(service.portal.url());
    let (token, length) = (service.portal.settings().token(), BODY.len());
    write!(
        stream,
        "POST /users HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{BODY}"
    )
    .unwrap();
    service.database.wait_for_waiting(1);
    (stream, lock)
}

/// The client goes away with a reset, and the service has noticed it.
fn goes_away(service: &Service, stream: TcpStream) {
    rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
    drop(stream);
    let gone = |line: &str| line.contains("] POST /users - ") && line.contains("actor=test: the client went away");
    until("the client's line", || service.portal.log().lines().any(gone).then_some(()));
}

/// The service ended well, and the create with it, for which it waited.
fn ended(mut service: Service) {
    let status = service.portal.wait();
    let log = service.portal.log();
    assert!(status.success() && log.trim_end().ends_with(" stopped"), "{status}: {log}");
    assert_eq!(service.database.sql("SELECT count(*) FROM users"), "1");
}

#[test]
fn a_request_in_flight_ends_before_the_service_does() {
    let service = Service::start();
    let (stream, lock) = create_under_way(&service);
    service.portal.terminate();
    lock.commit();
    let answer = raw::receive(stream);
    assert_eq!(answer.status, 201, "{}", answer.head);
    ended(service);
}

#[test]
fn what_was_done_for_a_client_that_has_gone_is_in_the_log() {
    let service = Service::start();
    let (stream, lock) = create_under_way(&service);
    goes_away(&service, stream);
    lock.commit();
    until("the user's line", || service.portal.log().contains("created user ").then_some(()));
}

#[test]
fn a_request_whose_client_has_gone_ends_before_the_service_does() {
    let service = Service::start();
    let (stream, lock) = create_under_way(&service);
    drop(stream);
    // For the service to notice, which nothing shows; with less time the test asks for less.
    thread::sleep(Duration::from_millis(200));
    service.portal.terminate();
    lock.commit();
    ended(service);
}

#[test]
fn work_that_does_not_end_in_time_is_reported() {
    let mut service = Service::start_with(|settings| settings.with_patience(1, 1));
    let (stream, lock) = create_under_way(&service);
    goes_away(&service, stream);
    service.portal.terminate();
    let left = " stopped with 1 pieces of work not ended";
    until("the word of it", || service.portal.log().contains(left).then_some(()));
    drop(lock);
    assert!(service.portal.wait().success());
}

#[test]
fn idle_connections_do_not_delay_the_end() {
    let mut service = Service::start();
    let mut idle = raw::connect(service.portal.url());
    write!(idle, "GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut answered = [0];
    idle.read_exact(&mut answered).unwrap();
    let fresh = raw::connect(service.portal.url());
    assert!(service.portal.stop().success());
    // Who is cut off, as a client that keeps the service waiting is after five seconds, reads a reset and not an end.
    for mut stream in [idle, fresh] {
        stream.read_to_end(&mut Vec::new()).unwrap();
    }
}

#[test]
fn nothing_is_forgotten_by_a_restart() {
    let service = Service::start();
    service.create("A", "a@example.com").expect(201);
    let before = service.portal.http().get("/users").expect(200);
    let portal = service.portal.restart();
    let after = portal.http().get("/users").expect(200);
    assert_eq!((after.header("etag"), &after.json), (before.header("etag"), &before.json));
}

#[test]
fn several_may_start_at_once_on_one_empty_database() {
    let (database, asterisk) = (Database::create(), Asterisk::configured());
    let mut portals: Vec<_> = (0..4).map(|_| Settings::new(&database.url(), &asterisk).start_unready()).collect();
    for (n, portal) in portals.iter_mut().enumerate() {
        portal.wait_until_ready();
        portal.create_user("A", &format!("a{n}@example.com"));
    }
    for portal in &portals {
        assert_eq!(portal.http().get("/users").number("/revision"), 4);
    }
}

#[test]
fn an_address_that_is_taken_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (database, asterisk) = (Database::create(), Asterisk::configured());
    let finished = Settings::new(&database.url(), &asterisk).with("PBX_PORTAL__SERVER__BIND", &address).run(&["serve"]);
    assert_eq!(finished.status.code(), Some(1));
    assert!(finished.stderr.contains(&format!("server.bind: cannot listen on {address}")), "{}", finished.stderr);
}

#[test]
fn without_postgresql_the_start_fails_and_says_why() {
    let mut cluster = Cluster::start_new();
    let (url, asterisk) = (cluster.url(), Asterisk::configured());
    let settings = Settings::new(&url, &asterisk).with("PBX_PORTAL__DATABASE__TIMEOUT_SECONDS", "2");
    cluster.freeze();
    let frozen = settings.run(&["migrate"]);
    assert_eq!(frozen.status.code(), Some(1));
    cluster.thaw();
    cluster.stop();
    for command in ["migrate", "serve"] {
        let stopped = settings.run(&[command]);
        assert_eq!(stopped.status.code(), Some(1));
        let last = stopped.stderr.lines().last().unwrap();
        assert!(last.starts_with("pbx-portal: ") && last.contains("database is unavailable"), "{last}");
    }
}

#[test]
fn systemd_is_told_when_it_is_ready_and_fed_while_it_answers() {
    let systemd = Systemd::new();
    let mut service = Service::start_with(|settings| systemd.watches(settings, "2000000"));
    for word in ["READY=1", "WATCHDOG=1", "WATCHDOG=1"] {
        assert_eq!(systemd.hears(), word);
    }
    service.portal.terminate();
    let stopping = until("a word of the end", || Some(systemd.hears()).filter(|word| word.starts_with("STOPPING=1")));
    // Two applies of 100 seconds and a command of 30 for the requests, and as long again for what they began.
    assert_eq!(stopping, "STOPPING=1\nEXTEND_TIMEOUT_USEC=460000000");
    assert!(service.portal.wait().success());
    assert!(TcpStream::connect(service.portal.url().strip_prefix("http://").unwrap()).is_err());
}

#[test]
fn systemd_is_fed_until_the_last_piece_of_work_has_ended() {
    let systemd = Systemd::new();
    let service = Service::start_with(|settings| systemd.watches(settings, "8000000"));
    let (stream, lock) = create_under_way(&service);
    // Without the caller's connection, the threads that answer requests have nothing left to do.
    goes_away(&service, stream);
    service.portal.terminate();
    while !systemd.hears().starts_with("STOPPING=1") {}
    for _ in 0..3 {
        let asked = Instant::now();
        assert_eq!(systemd.hears(), "WATCHDOG=1");
        assert!(asked.elapsed() < Duration::from_secs(6), "after {:?}", asked.elapsed());
    }
    assert!(!service.portal.log().contains("ERROR"), "{}", service.portal.log());
    drop(lock);
    ended(service);
}
