//! Every row of the table of errors that needs no Asterisk, and whatever the framework answers by itself.

use std::io::{Read, Write};

use pbx_tests::bulk_users;
use serde_json::json;

use crate::http::{Service, assert_problem, raw};

const JSON: &str = "Content-Type: application/json\r\n";
const NOBODY: &str = "01939d5e-7a8b-7c3d-9e4f-5a6b7c8d9e0f";

#[test]
fn each_kind_of_problem_has_its_status_and_code() {
    let service = Service::start();
    let http = service.portal.http();
    let json_type = [("content-type", "application/json")];
    let ok = br#"{"name": "A", "email": "a@example.com"}"#;

    assert_problem(&http.post_with("/users", &json_type, b"{"), 400, "malformed-json");
    assert_problem(&http.post_with("/users", &json_type, b"{\"name\": \"\xff\"}"), 400, "malformed-json");
    assert_problem(&http.post_with("/users", &json_type, b""), 400, "malformed-json");
    assert_problem(&http.delete("/users/1000"), 400, "malformed-id");
    assert_problem(&http.delete("/users/%FF"), 400, "malformed-id");
    assert_problem(&http.post_empty("/apply?dry-run=true"), 400, "malformed-query");
    assert_problem(&http.post_empty("/apply?dry_run=yes"), 400, "malformed-query");
    assert_problem(&http.get("/users?limit=10"), 400, "malformed-query");
    assert_problem(&http.post_with("/users?x", &json_type, ok), 400, "malformed-query");
    assert_problem(&http.delete(&format!("/users/{NOBODY}?x=y")), 400, "malformed-query");
    assert_problem(&http.delete(&format!("/users/{NOBODY}")), 404, "not-found");
    assert_problem(&http.post_with("/users", &json_type, &b" ".repeat(16 * 1024 + 1)), 413, "body-too-large");
    assert_problem(&http.post_with("/users", &[], ok), 415, "unsupported-media-type");
    assert_problem(&http.post("/users", &json!({})), 422, "invalid-user");
    assert_problem(&http.post_empty("/apply"), 503, "asterisk-unavailable");

    service.create("A", "a@example.com").expect(201);
    assert_problem(&service.create("B", "A@Example.COM"), 409, "email-taken");
    service.database.sql(&bulk_users(1000..=1999));
    assert_problem(&service.create("B", "b@example.com"), 409, "extensions-exhausted");
    assert_problem(&service.create("B", "a@example.com"), 409, "email-taken");
}

#[test]
fn other_content_types_and_codings_are_refused() {
    let service = Service::start();
    let body = br#"{"name": "A", "email": "a@example.com"}"#;
    for (name, value) in [
        ("content-type", "text/plain"),
        ("content-type", "application/x-www-form-urlencoded"),
        ("content-type", "application/json; charset=utf-16"),
        ("content-type", "application/problem+json"),
        ("content-type", "nonsense"),
    ] {
        assert_problem(
            &service.portal.http().post_with("/users", &[(name, value)], body),
            415,
            "unsupported-media-type",
        );
    }
    let gzip = [("content-type", "application/json"), ("content-encoding", "gzip")];
    assert_problem(&service.portal.http().post_with("/users", &gzip, body), 415, "unsupported-media-type");
    for legal in ["Application/JSON; charset=UTF-8", "application/json ; x=y"] {
        let created = service.portal.http().post_with("/users", &[("content-type", legal)], body).expect(201);
        service.portal.http().delete(&format!("/users/{}", created.string("/id"))).expect(204);
    }
    let identity = [("content-type", "application/json"), ("content-encoding", "Identity")];
    service.portal.http().post_with("/users", &identity, body).expect(201);
}

#[test]
fn an_unknown_path_is_not_found_with_or_without_a_token() {
    let service = Service::start();
    for path in [
        "/",
        "/user",
        "/users/",
        "/Users",
        "/users/a/b",
        "/apply/",
        "/openapi",
        "/docs/x",
        "/docs/../users",
        "//users",
        "/%2e%2e",
    ] {
        service.raw_with_token(&format!("GET {path}"), "\r\n").assert_problem(404, "not-found");
        service.raw(&format!("PUT {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")).assert_problem(
            if path.starts_with("/docs/") { 405 } else { 404 },
            if path.starts_with("/docs/") { "method-not-allowed" } else { "not-found" },
        );
    }
}

#[test]
fn a_wrong_method_gets_the_right_ones_on_every_path() {
    let service = Service::start();
    let one = format!("/users/{NOBODY}");
    for (path, allowed) in [
        ("/users", "GET, HEAD, POST"),
        (one.as_str(), "DELETE"),
        ("/apply", "POST"),
        ("/openapi.json", "GET, HEAD"),
        ("/docs", "GET, HEAD"),
        ("/docs/", "GET, HEAD"),
    ] {
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get"] {
            if allowed.split(", ").any(|allowed| allowed == method) || method == "CONNECT" {
                continue;
            }
            let answer = service.raw(&format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
            answer.assert_problem(405, "method-not-allowed");
            assert_eq!(answer.header("allow"), allowed, "{method} {path}");
        }
        let head = service.raw_with_token(&format!("HEAD {path}"), "\r\n");
        assert_eq!(head.status == 405, !allowed.contains("HEAD"), "{path}: {}", head.head);
        assert_eq!(head.body, b"", "HEAD {path}");
    }
}

#[test]
fn a_request_that_is_no_http_is_a_problem_too() {
    let service = Service::start_with(|settings| settings.without("RUST_LOG"));
    for request in [
        "nonsense\r\n\r\n",
        "GET /users\r\n\r\n",
        "GET /users HTTP/1.1\r\n\r\n",
        "GET /users HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        "GET /users HTTP/1.1\r\nHost: x\r\nBad Header: x\r\n\r\n",
        "GET /us ers HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST /users HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n",
        "POST /users HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    ] {
        let answer = service.raw(request);
        answer.assert_problem(400, "malformed-request");
        assert!(answer.header("date").ends_with(" GMT"), "{}", answer.head);
    }
    // Behind a good one, in the same go.
    for good in ["HTTP/1.1\r\nHost: x", "HTTP/1.0\r\nConnection: keep-alive"] {
        let both = service.raw(&format!("GET /docs {good}\r\n\r\nnonsense\r\n\r\n"));
        assert_eq!(both.status, 308, "{}", both.head);
        let second = String::from_utf8_lossy(&both.body);
        assert!(second.starts_with("HTTP/1.1 400 ") && second.contains("urn:pbx-portal:malformed-request"), "{second}");
    }
    let user = service.create("A", "a@example.com").expect(201).string("/id");
    for (line, status, code) in [
        ("POST /users", 400, "malformed-json"),
        ("POST /apply", 422, "invalid-body"),
        ("GET /users", 400, "malformed-request"),
        (&format!("DELETE /users/{user}"), 400, "malformed-request"),
    ] {
        let cut = service.raw_with_token(line, &format!("{JSON}Transfer-Encoding: chunked\r\n\r\nzz\r\n"));
        cut.assert_problem(status, code);
    }
    assert_eq!(service.database.sql("SELECT count(*) FROM users"), "1", "nothing is deleted without an answer");
    let log = service.portal.log();
    assert!(log.contains("no request 400") && !log.contains("ERROR"), "a mistake of the client's: {log}");
}

#[test]
fn a_name_that_looks_like_an_answer_stays_a_name() {
    let service = Service::start();
    service.create("HTTP/1.1 431 x", "a@example.com").expect(201);
    let token = service.portal.settings().token();
    let head = |line: &str| format!("{line} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n");
    let user = r#"{"name": "B", "email": "b@example.com"}"#;
    let expects = format!("Connection: close\r\n{JSON}Expect: 100-continue\r\nContent-Length: {}\r\n", user.len());
    let create = head("POST /users") + &expects + "\r\n" + user;
    for (next, expected) in [(create.as_str(), "100 Continue"), ("nonsense\r\n\r\n", "400 Bad Request")] {
        let mut client = raw::connect(service.portal.url());
        client.write_all(format!("{}\r\n{next}", head("GET /users")).as_bytes()).unwrap();
        let mut both = String::new();
        client.read_to_string(&mut both).unwrap();
        let users = both.lines().find(|line| line.starts_with('{')).expect("a line of JSON");
        assert!(users.contains(r#""name":"HTTP/1.1 431 x""#), "{both}");
        assert!(both.contains(&format!("\nHTTP/1.1 {expected}\r\n")), "{both}");
    }
}
