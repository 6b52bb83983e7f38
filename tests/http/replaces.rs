//! `replaces`: a new user takes the extension of another, who goes.

use pbx_tests::Response;
use serde_json::{Value, json};

use crate::service::Service;

fn replace(service: &Service, email: &str, replaced: &Value) -> Response {
    service.portal.http().post("/users", &json!({ "name": "New", "email": email, "replaces": replaced }))
}

/// All that is said of the users.
fn users(service: &Service) -> Value {
    service.portal.http().get("/users").expect(200).json
}

#[test]
fn the_new_user_has_the_extension_and_nothing_else_of_the_old() {
    let service = Service::start();
    let old = service.create("Old", "old@example.com").expect(201);
    let other = service.create("Other", "other@example.com").expect(201);
    let new = replace(&service, "OLD@example.com", &old.json["id"]).expect(201);
    assert_eq!(new.json["extension"], 1000);
    assert_eq!(new.header("location"), format!("/users/{}", new.string("/id")));
    for member in ["id", "sip_password"] {
        assert_ne!(new.json[member], old.json[member], "{member}");
    }
    let list = users(&service);
    let ids: Vec<_> = list["users"].as_array().unwrap().iter().map(|user| &user["id"]).collect();
    assert_eq!(ids, [&new.json["id"], &other.json["id"]]);
    assert_eq!(list["revision"], 3, "one change, one revision");
    service.portal.http().delete(&format!("/users/{}", old.string("/id"))).expect(404);
}

#[test]
fn what_cannot_be_replaced_changes_nothing() {
    let service = Service::start();
    let first = service.create("First", "first@example.com").expect(201);
    let second = service.create("Second", "second@example.com").expect(201);
    let before = users(&service);

    let nobody = json!("01939d5e-7a8b-7c3d-9e4f-5a6b7c8d9e0f");
    assert_eq!(replace(&service, "new@example.com", &nobody).expect(404).json["type"], "urn:pbx-portal:not-found");
    for taken in
        [replace(&service, "SECOND@example.com", &first.json["id"]), service.create("Again", "Second@Example.com")]
    {
        let taken = taken.expect(409);
        assert_eq!(taken.json["type"], "urn:pbx-portal:email-taken");
        assert_eq!(taken.json["user"], json!({ "id": second.json["id"], "extension": 1001 }));
    }
    for wrong in [json!("1000"), json!(1000), json!(null), json!([])] {
        let refused = replace(&service, "new@example.com", &wrong).expect(422);
        assert_eq!(refused.json["errors"][0]["field"], "replaces", "{}", refused.text);
    }
    assert_eq!(users(&service), before);
}
