//! What phones and others reach through the two contexts.

use std::time::Duration;

use pbx_tests::{Asterisk, Database, Phone, until};

use crate::e2e::portal;

#[test]
fn a_lamp_shows_who_talks_through_applies() {
    let (database, asterisk) = (Database::create(), Asterisk::start_new());
    let portal = portal(&database, &asterisk);
    let [alice, bob, carol] = ["alice", "bob", "carol"]
        .map(|name| Phone::of(&asterisk, &portal.create_user(name, &format!("{name}@example.com"))));
    portal.http().post_empty("/apply").expect(200);
    let _at_bob = bob.answering();
    let lamp = alice.watching("1001").expect("alice may watch bob");
    lamp.wait_for("terminated");
    assert_eq!(alice.watching("1999").err(), Some(404), "nobody has this number");

    let call = carol.start_call("1001", Duration::from_mins(1));
    lamp.wait_for("confirmed");
    // The dialplan's file changes with a number, the other one with every user.
    portal.create_user("dave", "dave@example.com");
    portal.http().post_empty("/apply").expect(200);
    assert_eq!(lamp.states().last().unwrap(), "confirmed");
    drop(call);
    asterisk.rx("channel request hangup all");
    // A lamp that was lit while Asterisk reloaded its dialplan was seen to stay lit on a busy machine. A phone asks anew.
    drop(lamp);
    let lamp = alice.watching("1001").expect("alice may watch bob");
    until("the lamp to go out", || (lamp.states().last()? == "terminated").then_some(()));
    let before = lamp.states().len();
    let _call = carol.start_call("1001", Duration::from_mins(1));
    until("the lamp to show the next call", || {
        let states = lamp.states();
        (states.len() > before && states.last()? == "confirmed").then_some(())
    });
    assert_eq!(asterisk.complaints(), Vec::<String>::new());
}

#[test]
fn what_is_added_for_phones_is_not_reached_through_the_users_context() {
    let (database, mut asterisk) = (Database::create(), Asterisk::configured());
    asterisk.append("modules.conf", "load=res_pjsip_endpoint_identifier_ip.so");
    asterisk
        .append("extensions.conf", "[synergycall-internal]\ninclude => outside\n[outside]\nexten => 0,1,Answer()\n");
    asterisk.append("extensions.conf", " same => n,Wait(1)\n[from-trunk]\ninclude => synergycall-users");
    let trunk = "[trunk]\ntype=endpoint\ncontext=from-trunk\nallow=ulaw\n[trunk]\ntype=identify\nendpoint=trunk\n";
    asterisk.append("pjsip.conf", &format!("{trunk}match=127.0.0.3\n"));
    asterisk.start();
    let portal = portal(&database, &asterisk);
    let alice = portal.create_user("Alice", "alice@example.com");
    portal.http().post_empty("/apply").expect(200);
    let alice = Phone::of(&asterisk, &alice);
    let outsider = Phone::new(&asterisk, "outsider", "none").at("127.0.0.3");

    assert_eq!(alice.call("0"), 200);
    assert_eq!(outsider.call("0"), 404);
    assert_eq!(outsider.call("1001"), 404, "nobody has this number");
    assert_eq!(outsider.call("1000"), 480, "alice, who is not registered");
}
