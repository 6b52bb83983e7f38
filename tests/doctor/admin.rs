//! What the administrator's own files define beside what an apply brings.

use std::fs;

use pbx_tests::{Asterisk, Database};

use crate::doctor::host::{Host, Place, edit};

#[test]
fn what_the_first_apply_would_meet_is_found_before_it() {
    let mut host = Host::unapplied(Database::create(), Asterisk::start_new());
    let etc = host.asterisk.etc();
    for (file, before, admin, point) in [
        ("extensions.conf", "[globals]", "[synergycall-users]\nexten => 1000,1,Hangup(21)", "extensions"),
        ("extensions.conf", "[globals]", "[synergycall-users]\nexten => 1001,hint,SIP/1001", "extensions"),
        ("extensions.conf", "[globals]", "[synergycall-users]\nexten => 1000,2,Hangup(21)", "extensions"),
        ("extensions.conf", "[globals]", "[synergycall-ring]\nexten => 1000,1,Hangup(21)", "extensions"),
        ("extensions.conf", "[globals]", "[synergycall-internal]\nexten => 1002,1,Hangup(21)", "extensions"),
        ("pjsip.conf", "user_agent", "regcontext=synergycall-internal", "identification"),
    ] {
        edit(&etc.join(file), before, &format!("{admin}\n{before}"));
        host.asterisk.restart();
        let found = host.check();
        let [(said, fix)] = found.faults()[..] else { panic!("{admin}: one fault: {found:#?}") };
        assert_eq!(said, point, "{admin}");
        host.run(said, fix, &Place::default());
        host.check().is_well();
    }
    host.works();
}

#[test]
fn an_admin_template_with_the_name_of_one_of_ours_goes() {
    let mut host = Host::new();
    let ours = fs::read_to_string(host.asterisk.pjsip_include()).unwrap();
    let template = ours.lines().find(|line| line.starts_with("[synergycall-endpoint")).unwrap();
    for (admin, restart) in [(template.to_owned(), false), (template.replace("(!)", ""), true)] {
        edit(
            &host.asterisk.etc().join("pjsip.conf"),
            "#include",
            &format!("{admin}\ntype=endpoint\ncontext=nowhere\n#include"),
        );
        if restart {
            host.asterisk.restart();
        }
        host.heals("numbers");
        host.takes_more();
    }
}

#[test]
fn what_is_added_to_an_auth_of_a_user_goes() {
    let mut host = Host::new();
    let text = fs::read_to_string(host.asterisk.pjsip_include()).unwrap();
    let auth =
        text.lines().find_map(|line| line.strip_prefix('[')?.split_once(']').filter(|(of, _)| of.starts_with("1000-")));
    let (auth, _) = auth.expect("an auth");
    for option in ["(+)", "(+type=auth)"] {
        let digest = "password_digest=MD5:00000000000000000000000000000000";
        host.asterisk.append("pjsip.conf", &format!("[{auth}]{option}\n{digest}"));
        host.asterisk.rx("module reload res_pjsip.so");
        let warnings = host.portal.http().post_empty("/apply").expect(200).json["warnings"].to_string();
        assert!(warnings.contains(&format!("adds to [{auth}]")), "{warnings}");
        host.heals("numbers");
    }
}

#[test]
fn an_admin_object_with_the_number_of_a_user_goes() {
    let mut host = Host::new();
    for admin in
        ["[1000]\ntype=endpoint\ncontext=x", "[own](!)\ntype=aor\n[1001](own)\nmax_contacts=1", "[1000](+)\nallow=g722"]
    {
        for restart in [false, true] {
            host.asterisk.append("pjsip.conf", admin);
            if restart {
                host.asterisk.restart();
            }
            host.heals("numbers");
        }
    }
    host.asterisk.append("pjsip.conf", "[1700]\ntype=endpoint\ncontext=x\n[1000]\ntype=acl");
    let found = host.check();
    found.is_well();
    assert!(found.lines.iter().any(|line| line.starts_with("note  numbers: [1700] (")), "{found:#?}");
    for (more, shown) in [(4, ") will clash with"), (1, ") and 1 more will clash with")] {
        for number in 0..more {
            host.asterisk.append("pjsip.conf", &format!("[18{more}{number}]\ntype=endpoint\ncontext=x"));
        }
        let found = host.check();
        assert!(found.lines.iter().any(|line| line.contains(shown)), "{shown}: {found:#?}");
    }
}

#[test]
fn an_admin_extension_with_the_number_of_a_user_goes() {
    let mut host = Host::new();
    host.asterisk.append("extensions.conf", "[synergycall-users]\nexten => 600,1,Answer()\nexten => 1700,1,Answer()");
    let found = host.check();
    found.is_well();
    assert!(found.lines.iter().any(|line| line.starts_with("note  extensions: [1700] (")), "{found:#?}");
    host.asterisk.rx("module reload pbx_config.so");
    let found = host.check();
    found.is_well();
    let warned = "note  live: the administrator's own dialplan adds 600 to synergycall-users";
    assert!(found.lines.iter().any(|line| line.starts_with(warned)), "{found:#?}");
    let extensions = host.asterisk.etc().join("extensions.conf");
    for context in ["synergycall-users", "synergycall-internal"] {
        let admin =
            format!("[globals]\n[{context}]\nexten => 1000,1,NoOp()\n same => n,Hangup()\nexten => 601,1,Answer()");
        edit(&extensions, "[globals]", &admin);
        let found = host.heals("extensions");
        assert_eq!(found.faults().len(), 1, "{found:#?}");
        assert!(fs::read_to_string(&extensions).unwrap().contains("\nexten => 601,1,Answer()"));
        host.takes_more();
    }
}

#[test]
fn an_admin_extension_in_another_spelling_or_of_a_template_goes() {
    let mut host = Host::new();
    let extensions = host.asterisk.etc().join("extensions.conf");
    let text = fs::read_to_string(&extensions).unwrap();
    let before = |lines: &str| text.replace("[globals]", &format!("[globals]\n{lines}"));
    for (text, point) in [
        (before("[synergycall-internal]\nexten => 10-00,1,Hangup(21)"), "extensions"),
        (before("[synergycall-users]\nexten => 10-00,1,NoOp()\n same => n,Hangup(21)"), "extensions"),
        (before("NUMBER=1000\n[synergycall-internal]\nexten => ${NUMBER},1,Hangup(21)"), "live"),
        (before("[own](!)\nexten => 1000,1,NoOp()\n same => n,Hangup(21)\n[synergycall-internal](own)"), "live"),
    ] {
        fs::write(&extensions, text).unwrap();
        host.asterisk.rx("module reload pbx_config.so");
        let refused = host.portal.http().post_empty("/apply").expect(502);
        assert!(refused.string("/detail").contains("defined twice: "), "{refused:?}");
        host.heals(point);
        host.takes_more();
    }
}

#[test]
fn the_fixes_of_one_file_leave_each_others_lines_where_they_are() {
    let mut host = Host::new();
    let [pjsip, extensions] = ["pjsip.conf", "extensions.conf"].map(|file| host.asterisk.etc().join(file));
    edit(&pjsip, "user_agent", "endpoint_identifier_order=anonymous,username\nuser_agent");
    host.asterisk.append("pjsip.conf", "[anonymous]\ntype=endpoint\ncontext=x");
    host.asterisk.restart();
    let [trunk, outside] = ["[trunk]\ntype=endpoint\ncontext=x\n", "[outside]\nexten => 112,1,Answer()\n"];
    edit(&pjsip, "#include", "#include pjsip.d/synergycall/*.conf\n#include");
    host.asterisk.append("pjsip.conf", &format!("[1000]\ntype=endpoint\ncontext=x\n{trunk}"));
    edit(&extensions, "#include", "#include extensions.d/synergycall/*.conf\n#include");
    host.asterisk.append("extensions.conf", &format!("[synergycall-internal]\nexten => 1000,1,Hangup(21)\n{outside}"));
    let found = host.heals("identification");
    let includes = ["pjsip_include", "dialplan_include"].map(|key| format!("#include of asterisk.{key}"));
    for expected in [&*includes[0], &*includes[1], "numbers", "extensions"] {
        assert!(found.faults().iter().any(|(point, _)| *point == expected), "{expected} in {found:#?}");
    }
    host.takes_more();
    for (path, others) in [(pjsip, trunk), (extensions, outside)] {
        let text = fs::read_to_string(path).unwrap();
        assert!(text.contains(&format!("\n{others}")), "{text}");
    }
}

#[test]
fn what_only_looks_like_a_users_is_the_administrators() {
    let mut host = Host::new();
    host.asterisk.append("extensions.conf", "[synergycall-internal]\nexten => 1000,hint,Custom:DND1000");
    host.asterisk.append(
        "pjsip.conf",
        "[1000 lobby]\ntype=endpoint\ncontext=x\nauth=1000 lobby\n[1000 lobby]\ntype=auth\nusername=lobby\npassword=x\n\
         [1001@office]\ntype=endpoint\ncontext=x",
    );
    host.asterisk.restart();
    host.check().is_well();
    host.takes_more();
    let applied = host.portal.http().post_empty("/apply").expect(200);
    let [warning] = applied.json["warnings"].as_array().unwrap().as_slice() else { panic!("{applied:?}") };
    let warning = warning.as_str().unwrap();
    assert!(
        warning.starts_with("Asterisk takes a phone that registers as 1001@office for the administrator's"),
        "{warning}"
    );
    assert!(host.check().lines.contains(&format!("note  live: {warning}")));
}
