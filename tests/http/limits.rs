//! Clients that send too much, too slowly or too often.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use crate::http::{Service, raw};

const JSON: &str = "Content-Type: application/json\r\n";

#[test]
fn a_body_is_refused_at_16_kib_whether_announced_or_not() {
    let service = Service::start();
    let announced = service.raw_with_token("POST /users", &format!("{JSON}Content-Length: 16385\r\n\r\n"));
    announced.assert_problem(413, "body-too-large");
    let endless =
        format!("{JSON}Transfer-Encoding: chunked\r\n\r\n{}", "1000\r\n".to_owned() + &" ".repeat(0x1000) + "\r\n");
    let chunks = endless + &("1000\r\n".to_owned() + &" ".repeat(0x1000) + "\r\n").repeat(4);
    service.raw_with_token("POST /users", &chunks).assert_problem(413, "body-too-large");
    for path in ["POST /apply", "GET /users", "DELETE /users/x", "GET /docs/"] {
        service.raw_with_token(path, "Content-Length: 16385\r\n\r\n").assert_problem(413, "body-too-large");
    }
    service.raw_with_token("POST /apply", &chunks).assert_problem(413, "body-too-large");

    let user = r#"{"name": "A", "email": "a@example.com"}"#;
    let padded = format!("{user:<16384}");
    let fits = service.raw_with_token("POST /users", &format!("{JSON}Content-Length: 16384\r\n\r\n{padded}"));
    assert_eq!(fits.status, 201, "{}", fits.head);
}

#[test]
fn the_request_behind_a_body_that_was_refused_is_answered() {
    let service = Service::start();
    let head = |line: &str, rest: &str| {
        let token = service.portal.settings().token();
        format!("{line} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n{rest}\r\n")
    };
    let chunk = format!("{:x}\r\n{}\r\n0\r\n\r\n", 100_000, " ".repeat(100_000));
    let refused = head("POST /users", &format!("{JSON}Transfer-Encoding: chunked\r\n")) + &chunk;
    let mut client = raw::connect(service.portal.url());
    client.write_all((refused + &head("GET /users", "Connection: close\r\n")).as_bytes()).unwrap();
    let mut both = String::new();
    client.read_to_string(&mut both).unwrap();
    let statuses: Vec<_> = both.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
    assert_eq!(statuses, ["413", "200"], "{both}");
}

#[test]
fn a_head_that_is_too_large_is_refused() {
    let service = Service::start();
    let long = service.raw_with_token("GET /users", &format!("X: {}\r\n\r\n", "x".repeat(200_000)));
    long.assert_problem(431, "head-too-large");
    let many = service.raw_with_token("GET /users", &format!("{}\r\n", "X: x\r\n".repeat(200)));
    many.assert_problem(431, "head-too-large");
}

#[test]
fn a_header_name_that_is_too_long_behind_a_body_takes_no_answer_away() {
    let service = Service::start();
    let token = service.portal.settings().token();
    let user = r#"{"name": "A", "email": "a@example.com"}"#;
    let mut client = raw::connect(service.portal.url());
    let expects = format!("{JSON}Expect: 100-continue\r\nContent-Length: {}\r\n", user.len());
    write!(client, "POST /users HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n{expects}\r\n").unwrap();
    // The service waits for the body.
    client.read_exact(&mut [0; b"HTTP/1.1 100 Continue\r\n\r\n".len()]).unwrap();
    let name = "x".repeat(66_000);
    client.write_all(format!("{user}GET /users HTTP/1.1\r\nHost: x\r\n{name}: x\r\n\r\n").as_bytes()).unwrap();
    let created = raw::receive(client);
    assert_eq!(created.status, 201, "{}", created.head);
    assert!(!service.portal.log().contains("panic"), "{}", service.portal.log());
}

#[test]
fn a_line_of_the_log_is_short_whatever_is_asked_for() {
    let service = Service::start();
    let request =
        format!("{} /{} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "M".repeat(30_000), "p".repeat(20_000));
    service.raw(&request).assert_problem(404, "not-found");
    assert!(service.portal.log().lines().all(|line| line.len() < 500));
}

#[test]
fn a_client_that_sends_too_slowly_is_cut_off_and_disturbs_nobody() {
    let service = Service::start();
    let token = service.portal.settings().token();
    let start = Instant::now();
    let mut body = raw::connect(service.portal.url());
    write!(
        body,
        "POST /users HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n{JSON}Content-Length: 100\r\n\r\n{{"
    )
    .unwrap();
    let mut head = raw::connect(service.portal.url());
    write!(head, "GET /users HTTP/1.1\r\nHost:").unwrap();

    for _ in 0..20 {
        service.portal.http().get("/users").expect(200);
    }
    raw::receive(body).assert_problem(408, "request-timeout");
    raw::receive(head).assert_problem(408, "request-timeout");
    assert!(start.elapsed() > Duration::from_secs(5), "{:?}", start.elapsed());
}
