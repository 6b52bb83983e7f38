//! `GET /users`: true, and cheap to ask again.

use serde_json::json;

use crate::http::Service;

#[test]
fn the_list_is_never_older_than_the_last_commit() {
    let service = Service::start();
    let http = service.portal.http();
    let empty = http.get("/users").expect(200);
    assert_eq!(
        empty.json,
        json!({"users": [], "revision": 0, "applied_revision": 0, "apply_required": false, "last_apply": null})
    );
    for n in 0..20 {
        let created = service.create("A", &format!("a{n}@example.com")).expect(201);
        let list = http.get("/users").expect(200);
        assert_eq!(list.json["users"].as_array().unwrap().last().unwrap()["id"], created.json["id"]);
        assert_eq!(list.json["revision"], n + 1);
        assert_eq!(list.json["apply_required"], true);
    }
    let first = http.get("/users").string("/users/0/id");
    http.delete(&format!("/users/{first}")).expect(204);
    let list = http.get("/users").expect(200);
    assert_eq!((list.number("/users/0/extension"), list.number("/revision")), (1001, 21));
    service.database.sql("UPDATE users SET name = 'By hand'");
    assert_eq!(http.get("/users").string("/users/0/name"), "By hand");
}

#[test]
fn a_list_that_is_known_is_not_sent_again() {
    let service = Service::start();
    let http = service.portal.http();
    let known = http.get("/users").expect(200);
    let etag = known.header("etag").to_owned();
    assert!(etag.starts_with('"') && etag.ends_with('"') && etag.len() > 20, "{etag}");
    for header in [etag.clone(), format!("W/{etag}"), "*".to_owned(), format!("\"x\", {etag}")] {
        let answer = http.get_with("/users", &[("if-none-match", &header)]).expect(304);
        assert_eq!((answer.header("etag"), answer.text.as_str()), (etag.as_str(), ""));
    }
    for header in ["\"x\"", "x", ""] {
        http.get_with("/users", &[("if-none-match", header)]).expect(200);
    }
    service.create("A", "a@example.com").expect(201);
    let changed = http.get_with("/users", &[("if-none-match", &etag)]).expect(200);
    assert_ne!(changed.header("etag"), etag);
    let head = service.raw_with_token("HEAD /users", "\r\n");
    assert_eq!(
        (head.header("etag"), head.header("content-length")),
        (changed.header("etag").to_owned(), changed.text.len().to_string())
    );
}
