//! What a caller from outside sends is printed in Asterisk's listings while the call lasts, line breaks included.

use pbx_tests::{Asterisk, Behaviour, Database, HostileCall, MisbehavingAsterisk, bulk_users, until};

use crate::faults::matrix;
use crate::faults::world::{World, create};

const TRUNK: &str = "[outside]\ntype=endpoint\ncontext=from-outside\ndisallow=all\nallow=ulaw\n\
    [outside]\ntype=identify\nendpoint=outside\nmatch=127.0.0.2";

/// What callers send as their number, and how Asterisk begins to list it.
pub(crate) const CALLERS: [(&str, &str); 4] = [
    ("%0a%20Endpoint%3a%20%201000/x", "\n Endpoint:  1000/x>"),
    ("%0aObjects%20found%3a%2099", "\nObjects found: 99>"),
    ("1%0a%20%20%20%20%20InAuth%3a%20%20x/y", "1\n     InAuth:  x/y>"),
    ("%0a%0a%20Endpoint%3a%20%201500/1500%0a%20%20%20%20%20%20%20%20Aor%3a%20%201500", "\n\n Endpoint:  1500/1500\n"),
];

/// An Asterisk that takes calls from outside.
pub(crate) fn asterisk_with_callers() -> Asterisk {
    let mut asterisk = Asterisk::configured();
    asterisk.append("modules.conf", "load=res_pjsip_endpoint_identifier_ip.so");
    asterisk.append("pjsip.conf", TRUNK);
    asterisk.append("extensions.conf", "[from-outside]\ninclude => synergycall-internal");
    asterisk.start();
    asterisk
}

#[test]
fn what_a_caller_sends_neither_spoils_nor_makes_a_proof() {
    for way in [MisbehavingAsterisk::ask_by_socket, MisbehavingAsterisk::ask_by_command] {
        let world = World::build(Database::create(), asterisk_with_callers(), way, |settings| settings);
        what_callers_send_changes_nothing(&world);
    }
}

fn what_callers_send_changes_nothing(world: &World) {
    for (round, (caller, shown)) in CALLERS.into_iter().enumerate() {
        let callee = world.bystander.answering();
        let call = HostileCall::start(&world.asterisk, caller);
        until("the caller's text in the listing", || {
            world.asterisk.rx("pjsip show endpoints").contains(&format!("CLCID: \"x\" <{shown}")).then_some(())
        });
        let http = world.portal.http();
        let applied = http.post_empty("/apply");
        let unchanged = http.post_empty("/apply");
        let plan = http.post_empty("/apply?dry_run=true").expect(200);
        drop(call);
        drop(callee);
        world.check(matrix::HOSTILE_CALLER, &applied);
        assert_eq!(unchanged.expect(200).json["outcome"], "unchanged", "{shown}");
        assert_eq!(plan.json["live"]["matches"], true, "{shown}: {}", plan.text);
        create(&world.portal, &format!("round{round}"));
    }
    world.recovers();
}

#[test]
fn lines_that_asterisk_drops_for_a_stalled_reader_are_asked_for_again() {
    for world in crate::faults::world::BOTH_WAYS {
        let world = world();
        // Pipe and socket hold some thousand lines before any is dropped.
        world.database.sql(&bulk_users(1101..=1980));
        world.stand_in.on_next(2, "dialplan show synergycall-users", &Behaviour::Stall);
        world.apply(matrix::STALLED_READER);
        let log = world.portal.log();
        assert!(log.contains("was not whole: `dialplan show synergycall-"), "nothing was dropped: {log}");
        world.stand_in.on_next(2, "dialplan show synergycall-users", &Behaviour::Stall);
        assert_eq!(world.recovers().json["outcome"], "unchanged");
    }
}
