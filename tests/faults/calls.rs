//! What continues while configurations come and go: calls with their audio, registrations, the administrator's own objects.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use pbx_tests::{Asterisk, Phone, bulk_users, until};
use serde_json::{Value, json};

use crate::faults::matrix;
use crate::faults::world::{Running, World, create};

/// A world without the stand-in.
fn world(prepare: impl FnOnce(&Asterisk)) -> World {
    let mut asterisk = Asterisk::configured();
    prepare(&asterisk);
    asterisk.start();
    World::beside(asterisk)
}

/// Far longer than three applies take.
const TALK: Duration = Duration::from_secs(45);

/// Packets received and sent on each leg of the call.
fn audio(asterisk: &Asterisk) -> Vec<[u32; 2]> {
    let statistics = asterisk.rx("pjsip show channelstats");
    let legs = statistics.lines().filter(|line| line.contains("ulaw"));
    legs.map(|line| {
        // … codec, received, lost, %, jitter, sent, …
        let columns: Vec<&str> = line.split_whitespace().skip_while(|word| *word != "ulaw").collect();
        [1, 5].map(|column| columns.get(column).and_then(|n| n.parse().ok()).unwrap_or_default())
    })
    .collect()
}

/// Half a second of audio more on both legs, in both directions, counted from `before`.
#[track_caller]
fn continues(asterisk: &Asterisk, before: &[[u32; 2]]) {
    let mut now = Vec::new();
    let heard = pbx_tests::wait::within_limit(|| {
        now = audio(asterisk);
        let more = |(now, before): (&[u32; 2], &[u32; 2])| now[0] >= before[0] + 25 && now[1] >= before[1] + 25;
        (now.len() == 2 && now.iter().zip(before).all(more)).then_some(())
    });
    assert!(heard.is_some(), "the audio stopped: {before:?}, then {now:?}");
}

#[test]
fn a_call_continues_through_applies_and_the_removal_of_its_caller() {
    let world = world(|_| ());
    let (http, sql) = (world.portal.http(), |sql: &str| world.database.sql(sql));
    let newcomer = http.get("/users").expect(200).string("/users/1/id");
    http.delete(&format!("/users/{newcomer}")).expect(204);
    let caller = create(&world.portal, "caller");
    http.post_empty("/apply").expect(200);
    let _callee = world.bystander.answering();
    let mut call = Phone::of(&world.asterisk, &caller).start_call("1000", TALK);
    assert_eq!(call.answered(), 200);
    continues(&world.asterisk, &[[0, 0]; 2]);

    let none: [u16; 0] = [];
    let bulk: Vec<u16> = (1101..=1600).collect();
    let steps: [(Value, &dyn Fn()); 3] = [
        (json!({ "added": bulk, "removed": none, "changed": none }), &|| {
            drop(sql(&bulk_users(1101..=1600)));
        }),
        (json!({ "added": none, "removed": bulk, "changed": none }), &|| {
            drop(sql("DELETE FROM users WHERE name = 'Bulk'"));
        }),
        (json!({ "added": none, "removed": [1001], "changed": none }), &|| {
            drop(http.delete(&format!("/users/{}", caller.string("/id"))).expect(204));
        }),
    ];
    for (expected, change) in steps {
        change();
        let before = audio(&world.asterisk);
        let answer = http.post_empty("/apply").expect(200);
        assert_eq!((&answer.json["outcome"], &answer.json["changes"]), (&json!("applied"), &expected));
        continues(&world.asterisk, &before);
        world.check_new_is_live();
    }
    // A hang-up still ends the call, although the caller is no user any more.
    assert_eq!(call.wait(), 200);
    until("the call to end", || world.asterisk.rx("core show channels count").contains("0 active calls").then_some(()));
}

#[test]
fn a_thousand_registrations_during_applies_all_succeed() {
    let world = world(|_| ());
    let users: Vec<_> = (0..40).map(|n| create(&world.portal, &format!("u{n}"))).collect();
    world.portal.http().post_empty("/apply").expect(200);
    let logins: Vec<_> =
        users.iter().map(|user| (user.number("/extension").to_string(), user.string("/sip_password"))).collect();
    let done = AtomicBool::new(false);
    let (registered, applies) = thread::scope(|scope| {
        let applies = scope.spawn(|| {
            let mut applies = 0;
            while !done.load(Ordering::SeqCst) {
                let user = create(&world.portal, &format!("guest{applies}"));
                assert_eq!(world.portal.http().post_empty("/apply").expect(200).json["outcome"], "applied");
                world.portal.http().delete(&format!("/users/{}", user.string("/id"))).expect(204);
                assert_eq!(world.portal.http().post_empty("/apply").expect(200).json["outcome"], "applied");
                applies += 2;
            }
            applies
        });
        let registered = Phone::register_many(&world.asterisk, &logins, 1000, 150);
        done.store(true, Ordering::SeqCst);
        (registered, applies.join().unwrap())
    });
    println!("{registered} registrations during {applies} applies");
    assert_eq!(registered, 1000);
    assert!(applies >= 2, "one that adds a user and one that removes it");
    world.recovers();
}

#[test]
fn the_administrators_own_objects_survive_untouched() {
    let mut world = world(|asterisk| {
        asterisk.append(
            "pjsip.conf",
            "[trunk]\ntype=endpoint\ncontext=from-trunk\ndisallow=all\nallow=alaw\naors=trunk\n[trunk]\ntype=aor\n\
             contact=sip:192.0.2.1\n[1500]\ntype=endpoint\ncontext=mine\ndisallow=all\nallow=ulaw\nauth=1500\naors=1500\n\
             [1500]\ntype=auth\nauth_type=userpass\nusername=1500\npassword=the-administrators-own\n[1500]\ntype=aor\nmax_contacts=5\n\
             [1700]\ntype=aor\nmax_contacts=1",
        );
        asterisk.append("extensions.conf", "[from-trunk]\nexten => 4930,1,Hangup()\n[mine]\nexten => 7,1,Hangup()");
    });
    // What is registered or reachable at the moment is no part of the configuration.
    let own = || {
        let shown = [
            "pjsip show endpoint trunk",
            "pjsip show endpoint 1500",
            "pjsip show aor trunk",
            "dialplan show from-trunk",
            "dialplan show mine",
        ];
        let text = shown.map(|command| world.asterisk.rx(command)).concat();
        let lines = text.lines().filter(|line| {
            !["Contact:", "Endpoint:", "contact "].iter().any(|word| line.trim_start().starts_with(word))
        });
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let admins_phone = Phone::new(&world.asterisk, "1500", "the-administrators-own");
    assert_eq!(admins_phone.register(), 200);
    let before = own();
    world.admins_numbers = &["1500"];
    let planned = world.portal.http().post_empty("/apply?dry_run=true").expect(200);
    let answer = world.apply(matrix::ADMINS_NUMBER);
    let warnings = answer.json["warnings"].as_array().unwrap();
    let names = |at: usize, number: &str| {
        let warning = warnings[at].as_str().unwrap();
        warning.contains(number) && warning.contains("which is no user's")
    };
    assert!(warnings.len() == 2 && names(0, "endpoint 1500") && names(1, "the aor 1700"), "{}", answer.text);
    assert_eq!(planned.json["warnings"], answer.json["warnings"]);
    assert_eq!(world.audit(&answer, "cardinality(warnings)"), "2");
    assert_eq!(own(), before);
    assert!(world.has_contact("1500"));
    assert_eq!(admins_phone.register(), 200);
    assert!(Running::of(&world.asterisk).endpoints.contains_key("trunk"));
    assert_eq!(world.recovers().json["outcome"], "unchanged");
}
