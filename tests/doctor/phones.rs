//! What phones meet: transports, who they are taken for, and where their calls go.

use std::fs;
use std::process::Command;

use pbx_tests::{Asterisk, Database, Ports};

use crate::doctor::host::{Host, edit};

#[test]
fn what_catches_the_calls_of_users_comes_behind_them() {
    let mut host = Host::new();
    for restart in [false, true] {
        host.asterisk.append("extensions.conf", "[synergycall-internal]\nexten => _X.,1,Hangup(21)");
        if restart {
            host.asterisk.restart();
        }
        host.heals("calls");
        host.takes_more();
    }
    let extensions = host.asterisk.etc().join("extensions.conf");
    // It runs, and is gone from the file.
    let text = fs::read_to_string(&extensions).unwrap();
    host.asterisk.append("extensions.conf", "[synergycall-internal]\nexten => _X.,1,Hangup(21)");
    host.asterisk.rx("module reload pbx_config.so");
    fs::write(&extensions, text).unwrap();
    host.heals("calls");
    host.asterisk.append("extensions.conf", "[synergycall-internal]\nswitch => Loopback/nowhere");
    host.heals("calls");
    let outside = "[globals]\n[synergycall-internal]\ninclude => outside\n[outside]\nexten => _X.,1,Hangup(21)";
    edit(&extensions, "[globals]", outside);
    host.asterisk.restart();
    host.heals("calls");
}

#[test]
fn what_catches_one_user_of_many_is_found() {
    let mut host = Host::new();
    let more = (2..60).map(|number| host.portal.create_user("x", &format!("{number}@example.com")));
    more.for_each(drop);
    host.portal.http().post_empty("/apply").expect(200);
    let extensions = host.asterisk.etc().join("extensions.conf");
    for (context, exten) in [("synergycall-internal", "_105X"), ("outside", "_105X"), ("outside", "1055")] {
        let admin = format!(
            "[globals]\n[synergycall-internal]\ninclude => outside\n[{context}]\nexten => {exten},1,Hangup(21)"
        );
        let text = fs::read_to_string(&extensions).unwrap();
        edit(&extensions, "[globals]", &admin);
        host.asterisk.rx("module reload pbx_config.so");
        let found = host.heals("calls");
        assert!(found.lines.concat().contains("a phone that calls 105"), "{found:#?}");
        fs::write(&extensions, text).unwrap();
    }
}

#[test]
fn an_access_list_that_lets_nobody_in_is_opened() {
    let mut host = Host::new();
    host.asterisk.append("modules.conf", "load=res_pjsip_acl.so");
    let pjsip = host.asterisk.etc().join("pjsip.conf");
    let text = fs::read_to_string(&pjsip).unwrap();
    for closed in
        ["[a]\ntype=acl\ndeny=0.0.0.0/0.0.0.0", "[a]\ntype=acl\npermit=127.0.0.1/32\ndeny=192.0.2.1,0.0.0.0/0"]
    {
        fs::write(&pjsip, format!("{text}{closed}\n")).unwrap();
        host.asterisk.restart();
        host.heals("identification");
    }
    for open in [
        "[a]\ntype=acl\ndeny=0.0.0.0/0.0.0.0\npermit=127.0.0.1/32",
        "[a]\ntype=acl\ndeny=0.0.0.0/0,!127.0.0.0/8",
        "[a]\ntype=acl\ndeny=0.0.0.0/0\n[a](+)\npermit=127.0.0.0/8",
    ] {
        fs::write(&pjsip, format!("{text}{open}\n")).unwrap();
        host.asterisk.restart();
        host.works();
        host.check().is_well();
    }
    host.asterisk.append("modules.conf", "noload=res_pjsip_acl.so");
    fs::write(&pjsip, format!("{text}[a]\ntype=acl\ndeny=0.0.0.0/0\n")).unwrap();
    host.asterisk.restart();
    host.works();
    host.check().is_well();
}

#[test]
fn a_hint_takes_no_call() {
    let host = Host::new();
    host.asterisk.append("extensions.conf", "[synergycall-internal]\nexten => _1XXX,hint,PJSIP/${EXTEN}");
    host.asterisk.rx("module reload pbx_config.so");
    host.works();
    host.check().is_well();
}

#[test]
fn what_takes_the_calls_to_users_who_wait_for_an_apply_is_no_failure() {
    let mut asterisk = Asterisk::start_new();
    let outside = "[synergycall-internal]\ninclude => outside\n[outside]\nexten => _X.,1,Hangup(21)";
    asterisk.append("extensions.conf", outside);
    asterisk.restart();
    let host = Host::unapplied(Database::create(), asterisk);
    host.check().is_well();
    host.works();
    host.check().is_well();
    host.portal.create_user("carol", "carol@example.com");
    host.check().is_well();
}

#[test]
fn what_is_more_specific_than_the_pattern_that_rings_users_goes() {
    let mut host = Host::new();
    let admin = "[synergycall-ring]\nexten => _X.,1,Hangup(21)\nexten => _10XX,1,NoOp()\n same => n,Hangup(21)";
    host.asterisk.append("extensions.conf", admin);
    host.asterisk.rx("module reload pbx_config.so");
    host.heals("calls");
    host.takes_more();
    let text = fs::read_to_string(host.asterisk.etc().join("extensions.conf")).unwrap();
    assert!(text.contains("\nexten => _X.,1,Hangup(21)\n; exten => _10XX,"), "{text}");
}

#[test]
fn a_switch_that_takes_other_numbers_alone_is_no_failure() {
    let mut host = Host::new();
    host.asterisk.append("modules.conf", "load=pbx_loopback.so");
    let switch =
        "[synergycall-internal]\nswitch => Loopback/${EXTEN:1}@outside/_0X.\n[outside]\nexten => _X.,1,Hangup(21)";
    host.asterisk.append("extensions.conf", switch);
    host.asterisk.restart();
    host.check().is_well();
    host.works();
    edit(&host.asterisk.etc().join("extensions.conf"), "/_0X.", "/_1X.");
    host.heals("calls");
}

#[test]
fn a_switch_that_is_asked_before_all_contexts_is_taken_out_without_a_restart() {
    let mut host = Host::new();
    host.asterisk.append("modules.conf", "load=pbx_loopback.so");
    host.asterisk.append("extensions.conf", "[outside]\nexten => _X.,1,Hangup(21)");
    let etc = host.asterisk.etc();
    let extensions = etc.join("extensions.conf");
    let text = fs::read_to_string(&extensions).unwrap();
    let general = |lines: &str| text.replace("[general]", lines);
    for lines in [
        "[general]\noverrideswitch=Loopback/700@outside",
        "[general]\n#include more.conf",
        "[mine](!)\noverrideswitch=Loopback/700@outside\n[general](mine)",
    ] {
        for restart in [false, true] {
            fs::write(etc.join("more.conf"), "OverrideSwitch => Loopback/700@outside ; all calls\n").unwrap();
            fs::write(&extensions, general(lines)).unwrap();
            if restart {
                host.asterisk.restart();
            }
            host.heals("calls");
            host.takes_more();
        }
    }
    // It takes no call to a user.
    for lines in [
        "[general]\noverrideswitch=Loopback/700@outside/_0X.",
        "[general]\n[general]\noverrideswitch=Loopback/700@outside",
    ] {
        fs::write(&extensions, general(lines)).unwrap();
        host.asterisk.restart();
        host.check().is_well();
        host.works();
    }
}

#[test]
fn what_no_file_of_ours_to_edit_has_is_named_with_who_has_it() {
    let mut host = Host::new();
    host.asterisk
        .append("modules.conf", "load=res_ael_share.so\nload=pbx_ael.so\nload=bridge_holding.so\nload=res_parking.so");
    let parking = host.asterisk.etc().join("res_parking.conf");
    let ael = host.asterisk.etc().join("extensions.ael");
    let lot = "[general]\n[default]\nparkext=1000\nparkpos=1001-1020\ncontext=";
    for (path, text, point, fix) in [
        (
            &ael,
            "context synergycall-internal { _1XXX => { Hangup(21); } }\n".to_owned(),
            "calls",
            "take what takes 1000@synergycall-internal out of the configuration of pbx_ael, then: systemctl restart asterisk",
        ),
        (
            &parking,
            format!("{lot}synergycall-internal\n"),
            "live",
            "take 1000@synergycall-internal out of the configuration of res_parking, then: systemctl restart asterisk",
        ),
    ] {
        fs::write(&ael, "").unwrap();
        fs::write(&parking, format!("{lot}elsewhere\n")).unwrap();
        fs::write(path, text).unwrap();
        host.asterisk.restart();
        let found = host.check();
        assert_eq!(found.faults(), [(point, fix)], "{found:#?}");
    }
}

#[test]
fn what_another_module_has_of_users_who_wait_is_found_before_their_apply() {
    let mut asterisk = Asterisk::start_new();
    let modules = "load=bridge_holding.so\nload=res_parking.so\nload=res_pjsip_config_wizard.so";
    asterisk.append("modules.conf", modules);
    let etc = asterisk.etc();
    let (parking, wizard) = (etc.join("res_parking.conf"), etc.join("pjsip_wizard.conf"));
    let lot = |context: &str, number: u32| {
        let positions = format!("{}-{}", number + 1, number + 9);
        format!("[general]\n[default]\nparkext=>{number}\nparkpos=>{positions}\ncontext=>{context}\n")
    };
    let nothing = [(&parking, lot("elsewhere", 700)), (&wizard, String::new())];
    let configure = |asterisk: &mut Asterisk, file, text: &str| {
        for (path, text) in &nothing {
            fs::write(path, text).unwrap();
        }
        fs::write(file, text).unwrap();
        asterisk.restart();
    };
    let hint = "[lobby]\ntype=wizard\naccepts_registrations=yes\nhas_hint=yes\nhint_exten=1000\n\
                hint_context=synergycall-internal\n";
    configure(&mut asterisk, &wizard, hint);
    let mut host = Host::unapplied(Database::create(), asterisk);
    // A hint takes no call.
    host.check().is_well();
    let found = |host: &Host, exten: &str, module: &str| {
        let fix = format!("take {exten} out of the configuration of {module}, then: systemctl restart asterisk");
        let found = host.check();
        assert_eq!(found.faults(), [("live", &*fix)], "{found:#?}");
        let refused = host.portal.http().post_empty("/apply").expect(502);
        assert!(refused.string("/detail").contains(&format!("defined twice: extension {exten} in {module} ")));
    };
    for (file, text, exten, module) in [
        (
            &wizard,
            &*format!("{hint}hint_application=Hangup(21)\n"),
            "1000@synergycall-internal",
            "res_pjsip_config_wizard",
        ),
        (&parking, &lot("synergycall-internal", 1000), "1000@synergycall-internal", "res_parking"),
        (&parking, &lot("synergycall-ring", 1000), "1000@synergycall-ring", "res_parking"),
    ] {
        configure(&mut host.asterisk, file, text);
        found(&host, exten, module);
    }
    // Where the users are, Asterisk takes theirs.
    configure(&mut host.asterisk, &parking, &lot("synergycall-users", 1000));
    host.check().is_well();
    host.works();
    host.check().is_well();
    configure(&mut host.asterisk, &parking, &lot("synergycall-internal", 1002));
    host.check().is_well();
    host.portal.create_user("carol", "carol@example.com");
    found(&host, "1002@synergycall-internal", "res_parking");
    configure(&mut host.asterisk, &parking, &lot("elsewhere", 700));
    host.check().is_well();
    host.works();
    host.check().is_well();
}

#[test]
fn an_endpoint_that_takes_every_phone_comes_behind_the_users() {
    let mut host = Host::new();
    let anonymous = "load=res_pjsip_nat.so\nload=res_pjsip_endpoint_identifier_anonymous.so";
    edit(&host.asterisk.etc().join("modules.conf"), "load=res_pjsip_nat.so", anonymous);
    let order = "type=global\nendpoint_identifier_order=anonymous,username";
    edit(&host.asterisk.etc().join("pjsip.conf"), "type=global", order);
    host.asterisk.restart();
    host.check().is_well();
    host.asterisk.append("pjsip.conf", "[anonymous]\ntype=endpoint\ncontext=x\nallow=ulaw");
    host.asterisk.restart();
    host.heals("identification");
}

#[test]
fn an_identify_that_takes_every_phone_comes_behind_the_users() {
    let mut host = Host::new();
    host.asterisk.append("modules.conf", "load=res_pjsip_endpoint_identifier_ip.so");
    let trunk = "[trunk]\ntype=endpoint\ncontext=x\nallow=ulaw\n[trunk]\ntype=identify\nendpoint=trunk\n";
    let pjsip = host.asterisk.etc().join("pjsip.conf");
    let text = fs::read_to_string(&pjsip).unwrap();
    fs::write(&pjsip, format!("{text}{trunk}match=192.168.0.0/16\nmatch=192.0.2.0/24\nmatch=10.0.0.1\n")).unwrap();
    host.asterisk.restart();
    let found = host.check();
    found.is_well();
    let notes: Vec<_> = found.lines.iter().filter(|line| line.starts_with("note  identification: ")).collect();
    assert_eq!(
        notes,
        [
            "note  identification: a phone at 192.168.0.0/16 is taken for the endpoint trunk (identify trunk), and not for a user"
        ]
    );
    let global = "[global]\ntype=global\nuser_agent=Private\n";
    for without in [global, "nothing"] {
        fs::write(&pjsip, format!("{}{trunk}match=0.0.0.0/0\n", text.replace(without, ""))).unwrap();
        host.asterisk.restart();
        host.heals("identification");
    }
}

#[test]
fn an_identify_that_goes_by_what_each_phone_sends_comes_behind_the_users() {
    let mut host = Host::new();
    host.asterisk.append("modules.conf", "load=res_pjsip_endpoint_identifier_ip.so");
    let pjsip = host.asterisk.etc().join("pjsip.conf");
    let text = fs::read_to_string(&pjsip).unwrap();
    let configure = |host: &mut Host, order: &str, line: &str| {
        let text = text.replace("type=global", &format!("type=global\nendpoint_identifier_order={order}"));
        let trunk = "[trunk]\ntype=endpoint\ncontext=x\nallow=ulaw\n[trunk]\ntype=identify\nendpoint=trunk\n";
        fs::write(&pjsip, format!("{text}{trunk}{line}\n")).unwrap();
        host.asterisk.restart();
    };
    for (order, line) in [
        ("request_uri,username", "match_request_uri=/127/"),
        ("ip,header,username", "match=192.0.2.1\nmatch_header=To: /@127/"),
    ] {
        configure(&mut host, order, line);
        host.heals("identification");
        configure(&mut host, "ip,username", line);
        host.check().is_well();
    }
    configure(&mut host, "header,username", "match_header=X-Trunk: /./");
    host.check().is_well();
    host.works();
}

#[test]
fn extensions_that_come_and_go_with_registrations_are_not_where_the_users_are() {
    let mut host = Host::new();
    for context in ["synergycall-users", "nowhere&synergycall-internal"] {
        let pjsip = host.asterisk.etc().join("pjsip.conf");
        edit(&pjsip, "type=global", &format!("type=global\nregcontext={context}"));
        host.asterisk.restart();
        host.heals("identification");
    }
}

#[test]
fn transports_at_which_phones_get_no_answer_are_reported() {
    let mut host = Host::new();
    let told = |host: &Host| -> Vec<String> {
        let found = host.check();
        found.is_well();
        let notes = found.lines.iter().filter_map(|line| line.strip_prefix("note  transport: "));
        notes.map(str::to_owned).collect()
    };
    assert!(told(&host).is_empty());
    let ports = Ports::reserve();
    let [port, other] = [0, 1].map(|n| ports.first() + n);
    let tls = |port: u16| format!("[tls]\ntype=transport\nprotocol=tls\nbind=127.0.0.1:{port}\n");
    host.asterisk.append("pjsip.conf", &format!("{}method=tlsv1_2", tls(port)));
    host.asterisk
        .append("pjsip.conf", "[unread]\ntype=transport\nprotocol=tls\ncert_file=/nonexistent\nbind=127.0.0.1");
    host.asterisk.append("pjsip.conf", "[web]\ntype=transport\nprotocol=ws\nbind=127.0.0.1");
    host.asterisk.restart();
    let pjsip = host.asterisk.etc().join("pjsip.conf");
    assert_eq!(
        told(&host),
        [
            format!("Asterisk did not take [unread] ({}, line 14)", pjsip.display()),
            format!(
                "phones get no answer at tls (tls 127.0.0.1:{port}): it cannot begin TLS: cert_file or priv_key_file is missing or of no use"
            ),
            "phones get no answer at web (ws): enabled=no in http.conf".to_owned(),
        ]
    );
    let (key, certificate) = (host.asterisk.etc().join("key.pem"), host.asterisk.etc().join("certificate.pem"));
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=127.0.0.1", "-keyout"]);
    assert!(openssl.arg(&key).arg("-out").arg(&certificate).output().expect("openssl").status.success());
    let text = fs::read_to_string(&pjsip).unwrap();
    let (before, _) = text.split_once("[tls]").unwrap();
    let files = format!("cert_file={}\npriv_key_file={}\n", certificate.display(), key.display());
    fs::write(&pjsip, format!("{before}{}{files}", tls(other))).unwrap();
    host.asterisk.restart();
    assert_eq!(
        told(&host),
        [format!(
            "phones get no answer at tls (tls 127.0.0.1:{other}): it speaks nothing newer than TLS 1.1: add method=tlsv1_2 to its section, and restart Asterisk"
        )]
    );
    for method in
        ["tlsv1_2", "tlsv1_3", "tlsv1_2\ncipher=ECDHE-RSA-CHACHA20-POLY1305", "tlsv1_2\ncipher=ECDHE-RSA-AES128-SHA256"]
    {
        fs::write(&pjsip, format!("{before}{}{files}method={method}\n", tls(other))).unwrap();
        host.asterisk.restart();
        assert!(told(&host).is_empty(), "{method}");
    }
}

#[test]
fn an_asterisk_without_a_transport_gets_one() {
    let mut host = Host::new();
    let pjsip = host.asterisk.etc().join("pjsip.conf");
    let text = fs::read_to_string(&pjsip).unwrap();
    let (before, rest) = text.split_once("[transport-udp]").unwrap();
    let (_, after) = rest.split_once("#include").unwrap();
    fs::write(&pjsip, format!("{before}#include{after}")).unwrap();
    host.asterisk.restart();
    host.heals("transport");
    let unknown = after.replace("generated_endpoints", "[[:alpha:]]*");
    fs::write(&pjsip, format!("{before}#include{unknown}")).unwrap();
    host.asterisk.restart();
    let found = host.heals("transport");
    assert!(found.lines.concat().contains("not looked at: what line "), "{found:#?}");
    // No restart brings these to answer: the HTTP server is off, and there is no certificate.
    for (protocol, bind) in [("ws", "127.0.0.1".to_owned()), ("tls", format!("127.0.0.1:{}", Ports::reserve().first()))]
    {
        let only = format!("[only]\ntype=transport\nprotocol={protocol}\nbind={bind}\n");
        fs::write(&pjsip, format!("{before}{only}#include{after}")).unwrap();
        host.asterisk.restart();
        let found = host.heals("transport");
        assert!(found.lines.concat().contains(&format!("SIP OPTIONS on this host at only ({protocol}")), "{found:#?}");
    }
}

#[test]
fn a_transport_whose_name_has_a_blank_is_one() {
    let mut host = Host::new();
    edit(&host.asterisk.etc().join("pjsip.conf"), "[transport-udp]", "[udp of the office]");
    host.asterisk.restart();
    let found = host.check();
    found.is_well();
    assert!(found.lines.concat().contains("transport: udp of the office (udp 127.0.0.1:"), "{found:#?}");
}

#[test]
fn a_transport_that_asterisk_did_not_take_is_replaced() {
    let mut host = Host::new();
    let pjsip = host.asterisk.etc().join("pjsip.conf");
    let text = fs::read_to_string(&pjsip).unwrap();
    let bind = format!("bind=127.0.0.1:{}", host.asterisk.port());
    let twice = format!("{text}[transport-udp]\ntype=transport\nprotocol=udp\n{bind}\n");
    for (text, what) in [
        (twice, "line 9) is defined twice"),
        (text.replace("protocol=udp", "protocol=udp\nbogus=1"), "line 4), and its log says why"),
        (text.replace(&bind, "bind=192.0.2.7:5060"), "line 4), and its log says why"),
    ] {
        fs::write(&pjsip, text).unwrap();
        host.asterisk.restart();
        let found = host.heals("transport");
        assert!(found.lines.concat().contains(what), "{found:#?}");
    }
}

#[test]
fn a_good_transport_stays_where_asterisk_takes_nothing_for_another_line() {
    let mut host = Host::new();
    let pjsip = host.asterisk.etc().join("pjsip.conf");
    let text = fs::read_to_string(&pjsip).unwrap();
    host.asterisk.append("pjsip.conf", "[trunk](nobody)\ntype=aor");
    host.asterisk.restart();
    let found = host.heals("#include of asterisk.pjsip_include");
    assert!(found.faults().iter().all(|(point, _)| *point != "transport"), "{found:#?}");
    assert!(fs::read_to_string(&pjsip).unwrap().starts_with(text.trim_end()));
}

#[test]
fn the_native_bridge_alone_joins_nobody() {
    let mut host = Host::new();
    edit(&host.asterisk.etc().join("modules.conf"), "load=bridge_simple.so", "load=bridge_native_rtp.so");
    host.asterisk.restart();
    host.heals("modules");
}
