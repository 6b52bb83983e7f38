//! `asterisk.endpoint_options`, from the setting to what Asterisk does.

use pbx_tests::{Asterisk, Database, Phone, Settings};

const OPTIONS: &str = "PBX_PORTAL__ASTERISK__ENDPOINT_OPTIONS";

#[test]
fn another_option_replaces_every_endpoint_and_no_registration() {
    let (database, asterisk) = (Database::create(), Asterisk::start_new());
    let settings = Settings::new(&database.url(), &asterisk);
    let mut portal = settings.start();
    let bob = portal.create_user("Bob", "bob@example.com");
    portal.create_user("Carol", "carol@example.com");
    portal.http().post_empty("/apply").expect(200);
    let at_bob = Phone::of(&asterisk, &bob).answering();
    portal.stop();

    let mut portal = settings.clone().with(OPTIONS, "language=de allow=alaw rtp_timeout=60").start();
    let applied = portal.http().post_empty("/apply").expect(200);
    assert_eq!(applied.json["changes"]["changed"], serde_json::json!([1000, 1001]), "{}", applied.text);
    let endpoint = asterisk.rx("pjsip show endpoint 1000");
    let has = |name: &str, value: &str| {
        let mut lines = endpoint.lines().filter_map(|line| line.split_once(" : "));
        lines.any(|(key, live)| key.trim() == name && live.trim() == value)
    };
    assert!(has("language", "de") && has("allow", "(alaw)") && has("rtp_timeout", "60"), "{endpoint}");
    assert!(asterisk.rx("database show registrar/contact").contains("/registrar/contact/1000;@"));
    assert_eq!(portal.http().post_empty("/apply").expect(200).json["outcome"], "unchanged");
    portal.stop();

    let portal = settings.start();
    assert_eq!(portal.http().post_empty("/apply").expect(200).json["outcome"], "applied");
    drop(at_bob);
    assert_eq!(asterisk.complaints(), Vec::<String>::new());
}

#[test]
fn an_option_that_asterisk_does_not_take_is_rolled_back_and_named() {
    let (database, asterisk) = (Database::create(), Asterisk::start_new());
    let settings = Settings::new(&database.url(), &asterisk);
    let mut portal = settings.start();
    portal.create_user("Alice", "alice@example.com");
    portal.http().post_empty("/apply").expect(200);
    let before = asterisk.rx("pjsip show endpoints");
    portal.stop();
    for (options, named) in [
        (
            "language=de media_encription=sdes",
            "correct asterisk.endpoint_options: media_encription, which Asterisk does not know.",
        ),
        ("language=de media_encryption=sdse", "asterisk.endpoint_options (language=de media_encryption=sdse)"),
        ("allow=opsu", "asterisk.endpoint_options (allow=opsu)"),
    ] {
        let mut portal = settings.clone().with(OPTIONS, options).start();
        let refused = portal.http().post_empty("/apply").expect(502);
        assert_eq!(refused.json["apply"]["outcome"], "rolled_back", "{}", refused.text);
        assert!(refused.string("/detail").contains(named), "{}", refused.text);
        assert_eq!(asterisk.rx("pjsip show endpoints"), before);
        portal.stop();
    }
    assert_eq!(settings.start().http().post_empty("/apply").expect(200).json["outcome"], "unchanged");
    // Where something else is to blame, they are not.
    asterisk.append("pjsip.conf", "[1000]\ntype=endpoint\nallow=ulaw");
    let refused = settings.with(OPTIONS, "language=de").start().http().post_empty("/apply").expect(502);
    let detail = refused.string("/detail");
    assert!(detail.contains("defines the endpoint 1000") && !detail.contains("endpoint_options"), "{detail}");
}

#[test]
fn an_option_that_the_portal_decides_ends_the_start_with_its_name() {
    let (database, asterisk) = (Database::create(), Asterisk::configured());
    let refused = Settings::new(&database.url(), &asterisk).with(OPTIONS, "context=default").run(&["serve"]);
    assert_eq!(refused.status.code(), Some(78));
    assert!(refused.stderr.contains("pbx-portal: asterisk.endpoint_options (PBX_PORTAL__"), "{}", refused.stderr);
    assert!(refused.stderr.contains("must not set context: "), "{}", refused.stderr);
}

#[test]
fn phones_register_whatever_digests_are_the_administrators_default() {
    for [uas, uac] in [["MD5,SHA-256", "MD5"], ["SHA-256", "SHA-256"]] {
        let mut asterisk = Asterisk::configured();
        let defaults = format!("[global](+)\ndefault_auth_algorithms_uas={uas}\ndefault_auth_algorithms_uac={uac}");
        asterisk.append("pjsip.conf", &defaults);
        asterisk.start();
        let database = Database::create();
        let portal = Settings::new(&database.url(), &asterisk).start();
        let alice = portal.create_user("Alice", "alice@example.com");
        assert_eq!(portal.http().post_empty("/apply").expect(200).json["outcome"], "applied");
        assert_eq!(Phone::of(&asterisk, &alice).register(), 200, "{uas}");
    }
}
