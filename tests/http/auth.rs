//! Who may do what.

use serde_json::json;

use crate::http::{Service, assert_problem};

const NOBODY: &str = "01939d5e-7a8b-7c3d-9e4f-5a6b7c8d9e0f";

#[test]
fn all_four_operations_need_a_token_before_anything_else_is_judged() {
    let service = Service::start();
    let good = service.portal.settings().token().to_owned();
    let other = good.replace(|c: char| c.is_ascii_digit(), "x");
    for token in [None, Some(""), Some("x"), Some(other.as_str()), Some(&good[1..])] {
        let http = service.portal.http().with_token(token);
        for answer in [
            http.get("/users?x=y"),
            http.post_with("/users?x=y", &[], b"{"),
            http.delete("/users/x"),
            http.delete(&format!("/users/{NOBODY}")),
            http.post_empty("/apply?x=y"),
        ] {
            assert_problem(&answer, 401, "unauthorized");
        }
    }
    for header in [
        "Basic Og==",
        "Bearer",
        &good,
        &format!("Token {good}"),
        &format!("Bearer {good} x"),
        &format!("Bearer {good}\r\nAuthorization: Bearer {good}"),
    ] {
        let answer = service
            .raw(&format!("GET /users HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: {header}\r\n\r\n"));
        answer.assert_problem(401, "unauthorized");
    }
    let lower = service
        .raw(&format!("GET /users HTTP/1.1\r\nHost: x\r\nConnection: close\r\nauthorization: bearer  {good}\r\n\r\n"));
    assert_eq!(lower.status, 200, "the scheme's case and blanks make no difference");
}

#[test]
fn the_name_of_the_token_is_the_actor_in_the_log() {
    let tokens = ["ops", "ci"].map(|name| (name, format!("{name}-0123456789abcdef0123456789abcdef")));
    let value = tokens.each_ref().map(|(name, token)| format!("{name}:{token}")).join(",");
    let service = Service::start_with(|settings| settings.with("PBX_PORTAL__AUTH__TOKENS", &value));
    for (name, token) in &tokens {
        let http = service.portal.http().with_token(Some(token));
        http.get_with("/users", &[("x-request-id", &format!("as-{name}"))]).expect(200);
        let log = service.portal.log();
        let line = log.lines().find(|line| line.contains(&format!("[as-{name}]"))).expect("an access line");
        assert!(line.contains("GET /users 200") && line.ends_with(&format!("actor={name}")), "{line}");
    }
}

#[test]
fn without_a_token_everybody_on_this_host_may_do_everything() {
    let service = Service::start_with(|settings| settings.without("PBX_PORTAL__AUTH__TOKENS"));
    let http = service.portal.http().with_token(None);
    http.post("/users", &json!({"name": "A", "email": "a@example.com"})).expect(201);
    assert!(service.portal.log().contains("auth.tokens is empty"));
}

#[test]
fn without_a_token_a_web_page_of_another_site_can_do_nothing() {
    let service = Service::start_with(|settings| settings.without("PBX_PORTAL__AUTH__TOKENS"));
    let own = service.portal.url();
    let answer = |headers: &[(&str, &str)]| service.portal.http().with_token(None).get_with("/users", headers);
    for headers in [
        &[("sec-fetch-site", "cross-site")][..],
        &[("sec-fetch-site", "same-site"), ("origin", own)],
        &[("origin", "https://example.com")],
        &[("origin", "http://127.0.0.1")],
        &[("origin", "null")],
    ] {
        assert_problem(&answer(headers), 401, "unauthorized");
    }
    // A name that was resolved to this host is refused as that, whatever page sends it.
    for origin in ["http://evil.example:8000", "http://other.example"] {
        assert_problem(&answer(&[("host", "evil.example:8000"), ("origin", origin)]), 403, "forbidden");
    }
    // The documentation page, behind a proxy as well, and a person who types the address.
    for headers in [
        &[("sec-fetch-site", "same-origin"), ("origin", own)][..],
        &[("sec-fetch-site", "same-origin"), ("origin", "https://pbx.example.com")],
        &[("sec-fetch-site", "none")],
        &[("origin", own)],
    ] {
        answer(headers).expect(200);
    }
}

#[test]
fn a_read_only_token_may_look_and_nothing_else() {
    let read_only = "read-only-0123456789abcdef0123456789abcdef";
    let tokens = format!("nagios:{read_only}");
    let with = |settings: pbx_tests::Settings| settings.with("PBX_PORTAL__AUTH__READ_ONLY_TOKENS", &tokens);
    // With and without others that may do everything: one alone is no open door.
    for without in ["PBX_PORTAL__AUTH__TOKENS", "NOTHING"] {
        let service = Service::start_with(|settings| with(settings).without(without));
        let http = service.portal.http().with_token(Some(read_only));
        http.get("/users").expect(200);
        http.post_empty("/apply?dry_run=true").expect(200);
        http.post_empty("/%61pply?dry_run=true").expect(200);
        let user = json!({"name": "A", "email": "a@example.com"});
        for answer in [
            http.post("/users", &user),
            http.post("/users?dry_run=true", &user),
            http.delete(&format!("/users/{NOBODY}")),
            http.delete("/users/x?dry_run=true"),
            http.post_empty("/apply"),
            http.post_empty("/apply?dry_run=false"),
            http.post_empty("/apply?dry_run=true&dry_run=false"),
            http.post_empty("/apply?x=y"),
        ] {
            assert_problem(&answer, 403, "forbidden");
        }
        assert_problem(&service.portal.http().with_token(None).get("/users"), 401, "unauthorized");
        let log = service.portal.log();
        assert!(log.contains("POST /apply 403") && log.contains("actor=nagios peer=127.0.0.1"), "{log}");
    }
}

#[test]
fn without_a_token_only_the_services_own_addresses_are_hosts() {
    let service = Service::start_with(|settings| settings.without("PBX_PORTAL__AUTH__TOKENS"));
    let own = service.portal.url().strip_prefix("http://").unwrap();
    let port = own.rsplit(':').next().unwrap();
    let asked = |target: &str, host: &str| {
        service.raw(&format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"))
    };
    for host in [own.to_owned(), format!("localhost:{port}"), format!("LOCALHOST:{port}"), format!("[::1]:{port}")] {
        assert_eq!(asked("/users", &host).status, 200, "{host}");
    }
    for host in ["evil.example", "127.0.0.1", "localhost", "", "x"] {
        asked("/users", host).assert_problem(403, "forbidden");
    }
    for host in [format!("evil.example:{port}"), format!("localhost.evil.example:{port}"), format!("127.0.0.2:{port}")]
    {
        asked("/users", &host).assert_problem(403, "forbidden");
        asked(&format!("http://{host}/users"), own).assert_problem(403, "forbidden");
        for request in ["POST /apply", "POST /users", &format!("DELETE /users/{NOBODY}")] {
            let head = format!("{request} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
            service.raw(&head).assert_problem(403, "forbidden");
        }
    }
    service.raw("GET /users HTTP/1.0\r\n\r\n").assert_problem(403, "forbidden");
    assert_eq!(asked("/openapi.json", "evil.example").status, 200, "what is open stays open");
    let log = service.portal.log();
    assert!(log.contains("GET /users 403") && log.contains("actor=- peer=127.0.0.1"), "{log}");
}

/// The filter of `deploy/examples`, tried with fail2ban's own program on a real log.
#[test]
fn fail2ban_finds_clients_without_a_token_alone() {
    let read_only = "read-only-0123456789abcdef0123456789abcdef";
    let service = Service::start_with(|settings| {
        settings.with("PBX_PORTAL__AUTH__READ_ONLY_TOKENS", &format!("nagios:{read_only}"))
    });
    let http = service.portal.http();
    http.get("/users").expect(200);
    http.get("/x%20401%200.1%20ms%20actor=-%20peer=192.0.2.9").expect(404);
    service.raw("GET /x HTTP/1.1\r\nHost: x\r\nX-Request-Id: 401\r\nConnection: close\r\n\r\n");
    http.with_token(Some(read_only)).post_empty("/apply").expect(403);
    let nothing = found(&service.portal.log());
    assert!(nothing.contains(" 0 matched"), "{nothing}");
    http.with_token(None).get("/users").expect(401);
    http.with_token(Some("wrong")).post_empty("/apply").expect(401);
    let both = found(&service.portal.log());
    assert!(both.contains(" 2 matched") && both.contains("peer=127.0.0.1"), "{both}");
}

/// What `fail2ban-regex` says of a log.
#[expect(clippy::disallowed_methods, reason = "a test runs fail2ban's program")]
fn found(log: &str) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), log).unwrap();
    let filter = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/examples/fail2ban/filter.conf");
    let output = std::process::Command::new("fail2ban-regex")
        .args(["--print-all-matched", file.path().to_str().unwrap(), filter])
        .output()
        .expect("fail2ban-regex (package fail2ban)");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
