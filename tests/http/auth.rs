//! Who may do what.

use serde_json::json;

use crate::{Service, assert_problem};

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
fn the_documentation_is_open() {
    let service = Service::start();
    let http = service.portal.http().with_token(None);
    http.get("/openapi.json").expect(200);
    http.get("/docs").expect(308);
    http.get("/docs/").expect(200);
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
fn without_a_token_everybody_on_this_host_may_do_everything_and_the_log_says_so() {
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
    // The documentation page, behind a proxy as well, and whoever types the address.
    for headers in [
        &[("sec-fetch-site", "same-origin"), ("origin", own)][..],
        &[("sec-fetch-site", "same-origin"), ("origin", "https://pbx.example.com")],
        &[("sec-fetch-site", "none")],
        &[("origin", own)],
    ] {
        answer(headers).expect(200);
    }
}
