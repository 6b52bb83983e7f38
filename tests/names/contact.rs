//! What a phone registers as its contact is its own choice, and may not steer those who call it.

use std::thread;

use pbx_tests::{Asterisk, Database, Phone, Settings};

/// Where no call of this test may end: the administrator's own context, with a number that costs.
const ADMINISTRATORS: &str = "
[default]
exten => 0900123,1,Log(WARNING,0900123 was dialled)
 same => n,Answer()
 same => n,Wait(1)
[synergycall-internal]
exten => unguarded,1,Dial(${PJSIP_DIAL_CONTACTS(1001)},30)
";

/// The phones of two users, 1000 and 1001, who are applied.
fn phones(database: &Database, asterisk: &Asterisk) -> [Phone; 2] {
    let portal = Settings::new(&database.url(), asterisk).start();
    let users = ["a@example.com", "b@example.com"].map(|email| portal.create_user("User", email));
    portal.http().post_empty("/apply").expect(200);
    users.each_ref().map(|user| Phone::of(asterisk, user))
}

/// User parts of contacts with what separates phones and arguments for `Dial`, and what the dialplan evaluates. `OWN`
/// means the phone's own extension.
const CONTACTS: [&str; 12] = [
    "x&Local/0900123,30,",
    "x&Local/0900123%40default/n&PJSIP/OWN",
    "x,30,G(default)",
    "x%2c30%2cG%28default%5e0900123%5e1%29",
    "x,1,g&Local/0900123",
    "x%26Local%2f0900123",
    "&Local/0900123,1",
    "x)&Local/0900123,30,",
    "OWN&PJSIP/OWN/sip",
    "x.example&PJSIP/OWN/sip:y",
    "$%7bEXTEN%7d",
    "$%7bSHELL(id)%7d",
];

#[test]
fn no_registered_contact_dials_for_its_callers() {
    let (database, mut asterisk) = (Database::create(), Asterisk::configured());
    asterisk.append("modules.conf", "load=app_verbose.so");
    asterisk.append("extensions.conf", ADMINISTRATORS);
    asterisk.start();
    let portal = Settings::new(&database.url(), &asterisk).start();
    let user = |email: &str| {
        let user = portal.create_user("User", email);
        (Phone::of(&asterisk, &user), user.number("/extension").to_string())
    };
    let (caller, _) = user("caller@example.com");
    let phones: Vec<_> =
        (0..).zip(CONTACTS).map(|(at, contact)| (user(&format!("{at}@example.com")), contact)).collect();
    portal.http().post_empty("/apply").expect(200);

    thread::scope(|scope| {
        for ((phone, number), contact) in &phones {
            let caller = &caller;
            scope.spawn(move || {
                let rings = phone.busy_as(&contact.replace("OWN", number));
                assert_eq!(caller.call(number), 486, "{contact}");
                assert_eq!(rings.callers().len(), 1, "{contact}: the phone itself rings");
            });
        }
    });
    assert_eq!(asterisk.complaints(), Vec::<String>::new());

    // The first would do it, were it not for the guard.
    let (phone, _) = &phones[0].0;
    assert_eq!(phone.unregister(), 200);
    let _rings = phone.busy_as(CONTACTS[0]);
    assert_eq!(caller.call("unguarded"), 200);
    assert!(asterisk.complaints().iter().any(|line| line.ends_with("0900123 was dialled")));
}

#[test]
fn every_phone_rings_although_one_has_a_separator_in_its_contact() {
    let (database, asterisk) = (Database::create(), Asterisk::start_new());
    let [caller, phone] = phones(&database, &asterisk);
    for contact in ["x%26y", "x&y", "&"] {
        let phones = [phone.busy(), phone.busy_as(contact), phone.busy()];
        assert_eq!(caller.call("1001"), 486);
        assert_eq!(phones.each_ref().map(|phone| phone.callers().len()), [1; 3], "{contact}");
        assert_eq!(phone.unregister(), 200);
    }
}

#[test]
fn no_contact_sends_callers_to_another_host() {
    let (database, asterisk) = (Database::create(), Asterisk::start_new());
    let [caller, phone] = phones(&database, &asterisk);
    for (user_part, behind, code) in [
        ("1001", ";ob;line=x", 486),
        ("1001", "?Route=%3Csip:127.0.0.3%3Blr%3E", 480),
        ("1001", ";maddr=127.0.0.3", 480),
        ("1001", ";MaDDr=127.0.0.3", 480),
        ("1001", ";m%61ddr=127.0.0.3", 480),
        ("1001", ";m%2561ddr=127.0.0.3", 480),
        ("1001", ";x=\"a\";pn-prid=a%20b%3ac&d;ob", 486),
        ("1001", ";x=\"|sip:1001@127.0.0.3;y=\";z=\"|q@q\"", 480),
        ("1001", ";x=\"a\";maddr=127.0.0.3", 480),
        // For a separator of Dial's, Asterisk chooses the contact.
        ("x,y", "?X-Any=header", 480),
        ("x,y", ";maddr=127.0.0.3", 480),
    ] {
        let rings = phone.busy_with(user_part, behind);
        assert_eq!(caller.call("1001"), code, "{behind}");
        assert_eq!(rings.callers().len(), usize::from(code == 486), "{behind}");
        assert_eq!(phone.unregister(), 200);
    }
}

#[test]
fn no_redirection_of_a_phone_is_followed() {
    let (database, mut asterisk) = (Database::create(), Asterisk::configured());
    asterisk.append("modules.conf", "load=app_verbose.so");
    asterisk.append("extensions.conf", ADMINISTRATORS);
    asterisk.append("extensions.conf", "exten => followed,1,Dial(PJSIP/1001,30)");
    asterisk.start();
    let [caller, phone] = phones(&database, &asterisk);
    let moved = phone.moved();
    assert_eq!(caller.call("1001"), 486);
    assert_eq!((moved.callers().len(), asterisk.complaints()), (1, Vec::new()));
    // Without the option, it is.
    assert_eq!(caller.call("followed"), 200);
    assert!(asterisk.complaints().iter().any(|line| line.ends_with("0900123 was dialled")));
}

#[test]
fn a_number_with_dashes_rings_its_user() {
    let (database, asterisk) = (Database::create(), Asterisk::start_new());
    let [caller, phone] = phones(&database, &asterisk);
    let _busy = phone.busy();
    // Asterisk takes no notice of dashes in what is dialled.
    for number in ["1001", "10-01", "1-0-0-1-"] {
        assert_eq!(caller.call(number), 486, "{number}");
    }
}

#[test]
fn a_text_message_rings_no_phone() {
    let (database, mut asterisk) = (Database::create(), Asterisk::configured());
    asterisk.append("modules.conf", "load=res_pjsip_messaging.so\nload=res_pjsip_endpoint_identifier_ip.so");
    let trunk = "[trunk]\ntype=endpoint\ncontext=from-trunk\nallow=ulaw\n[trunk]\ntype=identify\nendpoint=trunk\n";
    asterisk.append("pjsip.conf", &format!("{trunk}match=127.0.0.3\n"));
    asterisk.append("extensions.conf", "[from-trunk]\ninclude => synergycall-users");
    asterisk.start();
    let [writer, reader] = phones(&database, &asterisk);
    let rings = reader.busy();
    assert_eq!(writer.text("1001"), 404);
    // A trunk's texts reach the users' context where it has no other for them.
    assert_eq!(Phone::new(&asterisk, "outsider", "none").at("127.0.0.3").text("1001"), 202);
    // A call comes after all that came before it.
    assert_eq!(writer.call("1001"), 486);
    assert_eq!(rings.callers().len(), 1);
    asterisk.append("extensions.conf", "[synergycall-messages]\nexten => 1001,1,NoOp()");
    asterisk.rx("module reload pbx_config.so");
    assert_eq!(writer.text("1001"), 202);
}
