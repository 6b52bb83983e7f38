//! What a user may be, and what is said of one that may not.

use serde_json::{Value, json};

use crate::http::{Service, assert_problem, fields};

#[test]
fn all_that_is_wrong_is_said_at_once() {
    let service = Service::start();
    let post = |body: &str| {
        service.portal.http().post_with("/users", &[("content-type", "application/json")], body.as_bytes())
    };
    for (body, expected) in [
        (
            r#"{"name": "", "email": "x", "extension": 1000, "sip_password": "x"}"#,
            &["name", "email", "extension", "sip_password"][..],
        ),
        ("{}", &["name", "email"]),
        (r#"{"name": 1, "email": null}"#, &["name", "email"]),
        (r#"{"name": ["A"], "email": {"a": "b"}}"#, &["name", "email"]),
        (r#"{"name": "A", "email": "a@example.com", "Name": "B"}"#, &["Name"]),
        (r#"{"name": "A", "name": "B", "email": "a@example.com"}"#, &["name"]),
        (r#"{"name": 1e999, "email": "a@example.com"}"#, &["name"]),
        ("[]", &["body"]),
        ("\"x\"", &["body"]),
        ("null", &["body"]),
    ] {
        let answer = post(body);
        assert_problem(&answer, 422, "invalid-user");
        assert_eq!(fields(&answer), expected, "{body}");
        let messages = answer.json["errors"].as_array().unwrap().iter().map(|error| &error["message"]);
        assert!(
            messages.into_iter().all(|message| message.as_str().is_some_and(|text| text.len() > 5)),
            "{}",
            answer.text
        );
    }
    let deep = format!("{{\"name\": {}{}}}", "[".repeat(8000), "]".repeat(8000));
    assert_problem(&post(&deep), 422, "invalid-user");
    for malformed in [
        r#"{"name": "\ud800", "email": "a@example.com"}"#,
        r#"{"name": "A", "email": "a@example.com"} x"#,
        r#"{"name": "A",}"#,
    ] {
        assert_problem(&post(malformed), 400, "malformed-json");
    }
    assert_eq!(service.portal.http().get("/users").json["users"], json!([]));
}

#[test]
fn a_created_user_is_answered_for_whole_and_only_once_with_its_password() {
    let service = Service::start();
    let answer = service.create("  \"Al\" \\; ${EXTEN} 李雷 😀  ", "Alice@Example.com").expect(201);
    assert_eq!(answer.header("location"), format!("/users/{}", answer.string("/id")));
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.header("content-type"), "application/json");
    let Value::Object(mut user) = answer.json.clone() else { panic!("an object") };
    assert_eq!(user["extension"], 1000);
    assert_eq!(user["applied"], false);
    assert_eq!(user["name"], "\"Al\" \\; ${EXTEN} 李雷 😀", "as it was given, but for outer blanks");
    assert_eq!(user["email"], "Alice@Example.com");
    let created_at = user["created_at"].as_str().unwrap();
    assert!(created_at.len() == 27 && created_at.ends_with('Z') && &created_at[10..11] == "T", "{created_at}");
    let password = user.remove("sip_password").unwrap();
    assert!(password.as_str().is_some_and(|password| password.len() >= 24));
    assert_eq!(service.portal.http().get("/users").json["users"], json!([user]));
}
