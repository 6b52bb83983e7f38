//! The id of each request, and log lines that no input can forge.

use crate::service::Service;

fn is_uuid(id: &str) -> bool {
    id.len() == 36 && id.split('-').map(str::len).eq([8, 4, 4, 4, 12])
}

#[test]
fn a_sane_id_of_the_caller_is_kept_and_anything_else_replaced() {
    let service = Service::start();
    for path in ["/users", "/nowhere", "/docs", "/docs/", "/openapi.json"] {
        let answer = service.portal.http().get_with(path, &[("x-request-id", "trace-1.2_3")]);
        assert_eq!(answer.header("x-request-id"), "trace-1.2_3", "{path}");
        assert!(is_uuid(service.portal.http().get(path).header("x-request-id")), "{path}");
    }
    let refused =
        service.raw("POST /users HTTP/1.1\r\nHost: x\r\nContent-Length: 99999\r\nX-Request-Id: early\r\n\r\n");
    assert_eq!((refused.status, refused.header("x-request-id")), (413, "early".to_owned()));
    for hostile in ["", "a b", "a;b", "é", "x\" 500", "\u{1}", &"x".repeat(65), &"x".repeat(9000)] {
        let answer = service.raw_with_token("GET /users", &format!("X-Request-Id: {hostile}\r\n\r\n"));
        assert!(answer.status == 400 || is_uuid(&answer.header("x-request-id")), "{hostile:?}: {}", answer.head);
    }
    let twice = service.raw_with_token("GET /users", "X-Request-Id: one\r\nX-Request-Id: two\r\n\r\n");
    assert!(is_uuid(&twice.header("x-request-id")), "{}", twice.head);
}

#[test]
fn no_input_begins_a_log_line_of_its_own() {
    let service = Service::start();
    let before = service.portal.log().lines().count();
    for line in [
        "GET /%0a2026-01-01T00:00:00Z%20ERROR%20forged",
        "GET /a\u{1b}[2Kb",
        "GET /é\u{2028}\u{202e}",
        "G\u{7f}T /users",
    ] {
        service.raw_with_token(line, "X-Request-Id: a\r\n ERROR forged\r\n\r\n");
        service.raw_with_token(line, "\r\n");
    }
    service.create("a\nERROR forged", "a@example.com\nERROR forged").expect(422);
    service.portal.http().post_empty("/apply?%0aERROR=forged").expect(400);
    let log = service.portal.log();
    for line in log.lines().skip(before) {
        let source = line.split_whitespace().nth(2).unwrap_or_default();
        let ours =
            ["pbx_api::http::access", "pbx_api::http::connection", "actix_http::h1::dispatcher"].contains(&source);
        assert!(line.starts_with("20") && ours, "{line:?}");
        assert!(!line.chars().any(|c| c.is_control() || ('\u{2028}'..='\u{202e}').contains(&c)), "{line:?}");
    }
}
