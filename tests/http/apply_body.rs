//! The body of `POST /apply`: an option in the wrong place applies nothing.

use std::thread;

use crate::http::{Service, assert_problem, fields};

#[test]
fn a_body_with_anything_in_it_applies_nothing() {
    let service = Service::start();
    let json = &[("content-type", "application/json")][..];
    let apply = |path: &str, body: &str| service.portal.http().post_with(path, json, body.as_bytes());
    for (body, named) in [
        (r#"{"dry_run": true}"#, &["dry_run"][..]),
        (r#"{"dry_run": true, "x": 1}"#, &["dry_run", "x"]),
        ("dry_run=true", &["body", "dry_run"]),
        ("[]", &["body"]),
        ("null", &["body"]),
        (r#"["anything"]"#, &["body"]),
        ("{", &["body"]),
        ("\u{feff}{}", &["body"]),
    ] {
        for path in ["/apply", "/apply?dry_run=true"] {
            let answer = apply(path, body);
            assert_problem(&answer, 422, "invalid-body");
            assert_eq!(fields(&answer), named, "{body}");
            let is_named = answer.text.contains("belongs in the query: POST /apply?dry_run=true");
            assert_eq!(is_named, named.contains(&"dry_run"), "{}", answer.text);
        }
    }
    assert_eq!(service.database.sql("SELECT count(*) FROM apply_audit_log"), "0");
    assert_eq!(service.portal.http().get("/users").expect(200).json["last_apply"], serde_json::Value::Null);

    // Asterisk does not run here.
    for body in ["", " \n", "{}", " { } "] {
        assert_problem(&apply("/apply", body), 503, "asterisk-unavailable");
        apply("/apply?dry_run=true", body).expect(200);
    }
    assert_eq!(service.database.sql("SELECT count(*) FROM apply_audit_log"), "4");
    let last = service.portal.http().get("/users").expect(200);
    assert_eq!(last.json["last_apply"]["outcome"], "refused", "{}", last.text);
    let id = last.string("/last_apply/id");
    let recorded = "to_char(finished_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')";
    let recorded = service.database.sql(&format!("SELECT {recorded} FROM apply_audit_log WHERE id = '{id}'"));
    assert_eq!(recorded, last.string("/last_apply/finished_at"));
}

#[test]
fn an_apply_that_was_killed_before_its_record_was_opened_is_none() {
    let mut service = Service::start();
    let lock = service.database.begin("LOCK TABLE apply_audit_log IN SHARE MODE");
    thread::scope(|scope| {
        let http = service.portal.http().clone();
        scope.spawn(move || assert!(http.try_post_empty("/apply").is_none(), "it was killed"));
        service.database.wait_for_waiting(1);
        service.portal.kill();
    });
    // Its statement ends with it, or with the lock.
    service.database.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE datname = current_database() AND wait_event_type = 'Lock'",
    );
    service.database.wait_for_waiting(0);
    drop(lock);
    service.portal = service.portal.settings().start();
    assert_eq!(service.portal.http().get("/users").expect(200).json["last_apply"], serde_json::Value::Null);
    assert_eq!(service.database.sql("SELECT count(*) FROM apply_audit_log"), "0");
}
