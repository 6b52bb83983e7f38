//! Many at once, who never go.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use pbx_tests::until;
use rustix::process::{Pid, Resource, Rlimit, prlimit};

use crate::service::{Service, Systemd};
use crate::strangers::stranger::{Kind, NOW_AND_THEN, Stranger, address};
use crate::strangers::watch::Watch;
use crate::strangers::{number, warm};

/// More than there is room for; `PBX_TEST_STRANGERS` says how many.
fn crowd(service: &Service, kinds: &[Kind]) -> Vec<Stranger> {
    let address = address(service.portal.url());
    let kinds: Vec<_> = kinds.iter().copied().cycle().take(number("PBX_TEST_STRANGERS", 900)).collect();
    let mut crowd = Vec::new();
    // Many at a time: on a busy machine each answer takes a while, and all have to be here before a timeout of the service
    // ends for the first. Not too many: those that wait for an answer have to have room.
    for kinds in kinds.chunks(50) {
        let mut here: Vec<_> =
            kinds.iter().map(|kind| Stranger::ask(address, *kind).expect("every client is let in")).collect();
        for stranger in &mut here {
            stranger.wait_for_answer().expect("every client is answered");
        }
        crowd.append(&mut here);
    }
    crowd
}

/// All do what they do for a while.
fn stay(crowd: &mut [Stranger], time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        for stranger in &mut *crowd {
            // A client that was disconnected to make room has no more to do.
            let _disconnected = stranger.go_on();
        }
        thread::sleep(NOW_AND_THEN);
    }
}

#[test]
fn a_crowd_that_reads_nothing_costs_little_and_keeps_nobody_out() {
    let service = warm(|settings| settings);
    let watch = Watch::start(&service.portal);
    let mut crowd = crowd(&service, &[Kind::NeverReads]);
    stay(&mut crowd, Duration::from_secs(2));
    drop(crowd);
    watch.end();
}

#[test]
fn a_crowd_of_all_kinds_costs_little_and_keeps_nobody_out() {
    let service = warm(|settings| settings);
    let watch = Watch::start(&service.portal);
    let mut crowd = crowd(&service, &Kind::ALL);
    stay(&mut crowd, Duration::from_secs(2));
    drop(crowd);
    watch.end();
}

#[test]
fn who_has_not_asked_yet_stays_when_a_crowd_that_has_comes() {
    let service = warm(|settings| settings);
    // As on a slow network: its request is under way. Where the crowd takes as long as a head may, it is late by itself.
    let (mut client, _crowd) = until("a crowd within eight seconds", || {
        let began = Instant::now();
        let client = TcpStream::connect(address(service.portal.url())).unwrap();
        let crowd = crowd(&service, &[Kind::Idle]);
        (began.elapsed() < Duration::from_secs(8)).then_some((client, crowd))
    });
    ask_with_token(&service, &mut client);
}

/// Asks for the users, and reads all of the answer.
fn ask_with_token(service: &Service, client: &mut TcpStream) {
    let token = service.portal.settings().token();
    let host = address(service.portal.url());
    write!(client, "GET /users HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"}\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).unwrap();
        answer.extend(byte);
    }
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
}

#[test]
fn who_has_shown_a_token_stays_whoever_comes() {
    let service = warm(|settings| settings);
    // A connection ends by itself when nothing is asked for in that time.
    let (mut client, _crowd) = until("a crowd within eight seconds", || {
        let mut client = TcpStream::connect(address(service.portal.url())).unwrap();
        ask_with_token(&service, &mut client);
        let began = Instant::now();
        let crowd = crowd(&service, &[Kind::Silent]);
        (began.elapsed() < Duration::from_secs(8)).then_some((client, crowd))
    });
    ask_with_token(&service, &mut client);
}

#[test]
fn a_crowd_leaves_descriptors_to_the_service_where_it_has_few() {
    let service = warm(|settings| settings);
    // What a shell gives where nobody said more.
    let few = Rlimit { current: Some(1024), maximum: Some(1024) };
    let process = Pid::from_raw(service.portal.id().try_into().unwrap());
    prlimit(process, Resource::Nofile, few).unwrap();
    let watch = Watch::start(&service.portal);
    let crowd = crowd(&service, &[Kind::Silent, Kind::Idle]);
    service.portal.create_user("B", "b@example.com");
    drop(crowd);
    watch.end();
}

#[test]
fn a_crowd_delays_neither_the_watchdog_nor_the_end() {
    let systemd = Systemd::new();
    let mut service = warm(|settings| systemd.watches(settings, "8000000"));
    assert_eq!(systemd.hears(), "READY=1");
    let mut crowd = crowd(&service, &Kind::ALL);
    // The earlier notifications are read; those that follow are sent while the crowd is there.
    systemd.socket.set_nonblocking(true).unwrap();
    while systemd.socket.recv(&mut [0; 200]).is_ok() {}
    systemd.socket.set_nonblocking(false).unwrap();
    for _ in 0..2 {
        let asked = Instant::now();
        stay(&mut crowd, Duration::from_millis(500));
        assert_eq!(systemd.hears(), "WATCHDOG=1");
        assert!(asked.elapsed() < Duration::from_secs(6), "after {:?}", asked.elapsed());
    }
    let asked = Instant::now();
    assert!(service.portal.stop().success());
    assert!(asked.elapsed() < Duration::from_secs(15), "{:?}", asked.elapsed());
}
