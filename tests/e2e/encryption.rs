//! Calls that nobody on the way can hear.

#![expect(clippy::disallowed_methods, reason = "a test makes a certificate")]

use std::process::Command;

use pbx_tests::{Asterisk, Database, Phone, Ports, Settings, until};

use crate::e2e::baresip::Baresip;

#[test]
fn two_phones_of_another_make_talk_encrypted_and_one_that_cannot_is_refused() {
    let (database, mut asterisk) = (Database::create(), Asterisk::configured());
    let (key, certificate) = (asterisk.etc().join("key.pem"), asterisk.etc().join("certificate.pem"));
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=127.0.0.1", "-keyout"]);
    assert!(openssl.arg(&key).arg("-out").arg(&certificate).output().expect("openssl").status.success());
    let ports = Ports::reserve();
    let port = ports.first();
    asterisk.append(
        "pjsip.conf",
        &format!(
            "[transport-tls]\ntype=transport\nprotocol=tls\nbind=127.0.0.1:{port}\ncert_file={}\npriv_key_file={}\n\
             method=tlsv1_2",
            certificate.display(),
            key.display()
        ),
    );
    asterisk.append("modules.conf", "load=res_srtp.so");
    asterisk.start();
    let options = ("PBX_PORTAL__ASTERISK__ENDPOINT_OPTIONS", "media_encryption=sdes");
    let portal = Settings::new(&database.url(), &asterisk).with(options.0, options.1).start();
    let [alice, bob, carol] =
        ["alice", "bob", "carol"].map(|name| portal.create_user(name, &format!("{name}@example.com")));
    portal.http().post_empty("/apply").expect(200);

    let mut at_bob = Baresip::start(&bob, port, None);
    until("bob's phone to register", || {
        asterisk.rx("database show registrar/contact").contains("/registrar/contact/1001;@").then_some(())
    });
    assert_eq!(Phone::of(&asterisk, &carol).call("1001"), 488, "a phone that does not encrypt");

    let mut at_alice = Baresip::start(&alice, port, Some("1001"));
    for phone in [&mut at_alice, &mut at_bob] {
        phone.wait_for("Call established");
        phone.wait_for("SRTP is Enabled");
    }
    until("audio both ways on both legs", || {
        let statistics = asterisk.rx("pjsip show channelstats");
        // Bridge, channel, up time, codec, received …: of a leg without audio it is 0.
        let heard = statistics.lines().filter(|line| {
            let columns: Vec<_> = line.split_whitespace().collect();
            line.contains("ulaw")
                && columns.iter().skip_while(|column| **column != "ulaw").nth(1).is_some_and(|n| *n != "0")
        });
        (heard.count() == 2).then_some(())
    });
    // It said why it refused the phone that does not encrypt, and nothing else.
    let complaints = asterisk.complaints();
    assert!(complaints.len() == 1 && complaints[0].contains("1002: Couldn't negotiate stream"), "{complaints:?}");
}
