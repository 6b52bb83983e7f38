//! Users are created, applied, registered and called, and go for good.

use pbx_tests::{Asterisk, Database, Phone};
use serde_json::json;

use crate::e2e::portal;

#[test]
fn two_users_are_created_applied_registered_and_talk_and_one_goes_for_good() {
    let (database, asterisk) = (Database::create(), Asterisk::start_new());
    let portal = portal(&database, &asterisk);

    let alice = portal.create_user("Alice Example", "alice@example.com");
    let bob = portal.create_user("Bob \"the Builder\"; \\o/ 😀", "bob@example.com");
    assert_eq!((alice.number("/extension"), bob.number("/extension")), (1000, 1001));
    assert_eq!(alice.header("location"), format!("/users/{}", alice.string("/id")));
    let (alices_phone, bobs_phone) = (Phone::of(&asterisk, &alice), Phone::of(&asterisk, &bob));

    // A user exists for Asterisk from the apply on, and not before.
    assert_eq!((alices_phone.register(), bobs_phone.register()), (401, 401));
    let users = portal.http().get("/users").expect(200);
    assert_eq!(users.json["apply_required"], true);
    assert_eq!(users.json["users"][0]["applied"], false);

    let applied = portal.http().post_empty("/apply").expect(200);
    assert_eq!(applied.json["outcome"], "applied");
    assert_eq!(applied.json["changes"], json!({ "added": [1000, 1001], "removed": [], "changed": [] }));
    let users = portal.http().get("/users").expect(200);
    assert_eq!(users.json["apply_required"], false);
    assert_eq!(users.json["users"][1]["applied"], true);
    assert_eq!(users.json["revision"], users.json["applied_revision"]);

    let at_bob = bobs_phone.answering();
    let at_alice = alices_phone.answering();
    assert_eq!(alices_phone.call("1001"), 200);
    assert!(at_bob.wait_for_caller().starts_with("\"Alice Example\" <sip:1000@"), "{:?}", at_bob.callers());
    assert_eq!(bobs_phone.call("1000"), 200);
    let shown = at_alice.wait_for_caller();
    assert!(shown.starts_with(r#""Bob \"the Builder\"; \\o/ 😀" <sip:1001@"#), "{shown}");
    assert_eq!(alices_phone.call("1999"), 404, "a number that nobody has");

    portal.http().delete(&format!("/users/{}", bob.string("/id"))).expect(204);
    assert_eq!(bobs_phone.register(), 200, "a deletion waits for the apply, too");
    let applied = portal.http().post_empty("/apply").expect(200);
    assert_eq!(applied.json["changes"], json!({ "added": [], "removed": [1001], "changed": [] }));
    assert_eq!(bobs_phone.register(), 401);
    assert_eq!(bobs_phone.call("1000"), 401);
    assert_eq!(alices_phone.call("1001"), 404);

    // The number goes to the next user, and the former owner's phone, which is still there, rings no more.
    let calls_before = at_bob.callers().len();
    let carol = portal.create_user("Carol", "carol@example.com");
    assert_eq!(carol.number("/extension"), 1001);
    portal.http().post_empty("/apply").expect(200);
    assert_eq!(bobs_phone.register(), 401);
    assert_eq!(alices_phone.call("1001"), 480, "nobody has registered");
    assert_eq!(at_bob.callers().len(), calls_before);
    let _at_carol = Phone::of(&asterisk, &carol).answering();
    assert_eq!(alices_phone.call("1001"), 200);

    assert_eq!(asterisk.complaints(), Vec::<String>::new());
}

#[test]
fn an_asterisk_that_starts_with_our_files_has_nothing_to_complain_about() {
    let (database, mut asterisk) = (Database::create(), Asterisk::start_new());
    let portal = portal(&database, &asterisk);
    let alice = portal.create_user("Alice; #include \"x\" [y] ${EXTEN} --;", "alice@example.com");
    assert_eq!(portal.http().post_empty("/apply").expect(200).json["outcome"], "applied");
    asterisk.restart();
    assert_eq!(asterisk.complaints(), Vec::<String>::new());
    assert_eq!(Phone::of(&asterisk, &alice).register(), 200);
    assert_eq!(portal.http().post_empty("/apply").expect(200).json["outcome"], "unchanged");
}

#[test]
fn what_a_caller_hears_is_what_happened() {
    let (database, asterisk) = (Database::create(), Asterisk::start_new());
    let portal = portal(&database, &asterisk);
    let alice = portal.create_user("Alice", "alice@example.com");
    let bob = portal.create_user("Bob", "bob@example.com");
    portal.http().post_empty("/apply").expect(200);
    let (alice, bob) = (Phone::of(&asterisk, &alice), Phone::of(&asterisk, &bob));

    assert_eq!(alice.call("1001"), 480, "not registered");
    let busy = bob.busy();
    assert_eq!(alice.call("1001"), 486);
    drop(busy);
    assert_eq!(bob.unregister(), 200);

    // Every contact of a user rings: the one that is answered takes the call.
    let _rings_in_vain = bob.ringing();
    let _second_phone = bob.answering();
    assert_eq!(alice.call("1001"), 200);
}
