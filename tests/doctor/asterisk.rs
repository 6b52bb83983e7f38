//! The administrator's part of Asterisk.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use pbx_tests::{Asterisk, Database, Phone, Settings, until};

use crate::doctor::host::{Found, Host, Place, check, edit};

const LINE: &str = "#include pjsip.d/synergycall/generated_endpoints.conf";
const PATTERN: &str = "#include pjsip.d/synergycall/*.conf";

#[test]
fn a_file_that_is_included_twice_is_included_once_again() {
    let mut host = Host::new();
    for twice in [LINE, PATTERN] {
        host.asterisk.append("pjsip.conf", twice);
        // Nothing shows until Asterisk is restarted, and then everything is gone.
        let found = host.heals("#include of asterisk.pjsip_include");
        assert_eq!(found.faults().len(), 1, "{found:#?}");
        host.asterisk.append("pjsip.conf", twice);
        host.asterisk.restart();
        host.heals("#include of asterisk.pjsip_include");
    }
    let extensions = host.asterisk.etc().join("extensions.conf");
    edit(&extensions, "#include", "#include extensions.d/synergycall/*.conf\n#include");
    host.heals("#include of asterisk.dialplan_include");
}

#[test]
fn a_comment_that_does_not_end_is_ended_behind_what_it_hides() {
    let mut host = Host::new();
    for (file, point) in [("pjsip.conf", "asterisk.pjsip_include"), ("extensions.conf", "asterisk.dialplan_include")] {
        edit(&host.asterisk.etc().join(file), "#include", "[old](!)\n;-- off\n;-- for now\n[older](nobody)\n#include");
        host.asterisk.restart();
        let found = host.heals(&format!("#include of {point}"));
        assert!(found.lines.concat().contains("begins a comment that does not end"), "{found:#?}");
        host.asterisk.restart();
        host.check().is_well();
        host.takes_more();
    }
}

#[test]
fn a_main_file_that_is_gone_is_found_before_asterisk_misses_it() {
    let host = Host::new();
    for (file, point) in [("pjsip.conf", "asterisk.pjsip_include"), ("extensions.conf", "asterisk.dialplan_include")] {
        let main = host.asterisk.etc().join(file);
        let away = main.with_extension("away");
        fs::rename(&main, &away).unwrap();
        let found = host.check();
        let gone = format!("FAIL  #include of {point}: {} is gone; to fix: cp -a ", main.display());
        assert!(found.status == 1 && found.lines.iter().any(|line| line.starts_with(&gone)), "{found:#?}");
        let user = host.portal.create_user("one more", "more@example.com");
        let failed = host.portal.http().post_empty("/apply").expect(502);
        assert!(failed.string("/detail").contains(&format!("To fix: {} is gone (", main.display())), "{}", failed.text);
        host.portal.http().delete(&format!("/users/{}", user.string("/id"))).expect(204);
        fs::rename(&away, &main).unwrap();
        host.works();
    }
    host.check().is_well();
}

#[test]
fn a_line_in_another_spelling_is_that_line() {
    let host = Host::new();
    let pjsip = host.asterisk.etc().join("pjsip.conf");
    let other = "#Include pjsip.d/synergycall/*.conf";
    edit(&pjsip, LINE, other);
    host.asterisk.rx("module reload res_pjsip.so");
    host.check().is_well();
    host.works();
    edit(&pjsip, other, &format!("{LINE}\n{other}"));
    let found = host.check();
    assert!(found.status == 1 && found.lines.concat().contains("is included more than once"), "{found:#?}");
}

#[test]
fn a_line_for_which_asterisk_takes_nothing_is_found_before_it_reads_it() {
    let mut host = Host::new();
    for (file, lines) in [
        ("pjsip.conf", "#include nowhere.conf"),
        ("extensions.conf", "#include nowhere/*.conf"),
        ("pjsip.conf", "[trunk](nobody)\ntype=aor\nmax_contacts=1"),
        ("extensions.conf", "[from-trunk\nexten => 1,1,NoOp()"),
        ("pjsip.conf", "[nowhere](+)\nallow=ulaw"),
        ("extensions.conf", "[mine](!)\n[others](!)\n[from-trunk](mine, others)\nexten => 1,1,NoOp()"),
    ] {
        for restart in [false, true] {
            host.asterisk.append(file, lines);
            if restart {
                host.asterisk.restart();
            }
            host.heals(if file == "pjsip.conf" {
                "#include of asterisk.pjsip_include"
            } else {
                "#include of asterisk.dialplan_include"
            });
            host.takes_more();
        }
    }
}

#[test]
fn what_only_asterisk_understands_is_taken_for_nothing_missing() {
    let mut host = Host::new();
    let pjsip = host.asterisk.etc().join("pjsip.conf");
    let text = fs::read_to_string(&pjsip).unwrap();
    let trunk = "\n[Trunk](!)\ntype=aor\n[theirs](trunk)\n";
    for name in ["[^.]*.conf", "[[:alpha:]]*.conf", "generated\\_endpoints.conf", "**.conf", "{generated,own}_*.conf"] {
        let pattern = LINE.replace("generated_endpoints.conf", name);
        fs::write(&pjsip, text.replace(LINE, &pattern) + trunk).unwrap();
        host.asterisk.restart();
        host.check().is_well();
        host.takes_more();
    }
    host.asterisk.append("asterisk.conf", "execincludes=yes");
    let program = format!("#exec /bin/cat {}", host.asterisk.pjsip_include().display());
    fs::write(&pjsip, text.replace(LINE, &program) + trunk).unwrap();
    host.asterisk.restart();
    host.check().is_well();
    host.takes_more();
}

#[test]
fn an_admin_object_that_is_defined_twice_goes() {
    let mut host = Host::new();
    for admin in ["[trunk]\ntype=endpoint\nallow=ulaw\n", "[trunk]\ntype=auth\npassword=x\n", "[trunk]\ntype=aor\n"] {
        for restart in [false, true] {
            host.asterisk.append("pjsip.conf", &admin.repeat(2));
            if restart {
                host.asterisk.restart();
            }
            host.heals("numbers");
            host.takes_more();
        }
    }
    // As one of them is in another file, and as that is included twice.
    fs::write(host.asterisk.etc().join("more.conf"), "[more]\ntype=aor\n").unwrap();
    host.asterisk.append("pjsip.conf", "#include more.conf\n[more]\ntype=aor");
    host.heals("numbers");
    host.asterisk.append("pjsip.conf", "#include more.conf");
    host.heals("numbers");
    host.takes_more();
}

#[test]
fn a_copy_of_an_include_file_that_the_pattern_includes_goes() {
    let mut host = Host::new();
    let files = [(host.asterisk.pjsip_include(), "numbers"), (host.asterisk.dialplan_include(), "extensions")];
    for (file, point) in files {
        let main = host.asterisk.etc().join(if point == "numbers" { "pjsip.conf" } else { "extensions.conf" });
        edit(&main, &file.file_name().unwrap().to_string_lossy(), "*.conf");
        host.asterisk.rx("module reload res_pjsip.so pbx_config.so");
        // Read before ours, and after it.
        for name in ["backup.conf", "old.conf"] {
            fs::copy(&file, file.with_file_name(name)).unwrap();
            host.heals(point);
            host.takes_more();
        }
    }
}

#[test]
fn an_asterisk_that_waits_for_its_last_call_is_kept() {
    let host = Host::new();
    let [alice, bob] = host.users.each_ref().map(|user| Phone::of(&host.asterisk, user));
    let _answering = bob.answering();
    let _call = alice.start_call("1001", Duration::from_mins(1));
    // Asterisk lets nobody in once it is to end, so both are there before.
    until("a call", || host.asterisk.rx("core show channels count").contains("2 active channels").then_some(()));
    thread::scope(|scope| {
        scope.spawn(|| host.asterisk.rx("core stop gracefully"));
        let is_ending = || host.asterisk.rx("core waitfullybooted").contains("during shutdown").then_some(());
        until("the end", is_ending);
        let found = host.check();
        let command = host.asterisk.command();
        let fix = format!("{command} -rx 'core abort shutdown'");
        assert_eq!(found.faults(), [("asterisk.command", fix.as_str())]);
        host.asterisk.rx("core abort shutdown");
    });
    host.check().is_well();
}

#[test]
fn a_user_who_may_not_reload_gets_the_permission() {
    let mut host = Host::new();
    let denied = "[general]\ndefault_perm=permit\n[root]\ndeny=module reload\n";
    fs::write(host.asterisk.etc().join("cli_permissions.conf"), denied).unwrap();
    host.asterisk.restart();
    host.heals("cli_permissions.conf");
}

#[test]
fn a_user_who_may_not_do_what_an_apply_does_gets_the_permission() {
    let mut host = Host::new();
    let mostly = "module\npermit=pjsip\npermit=dialplan\npermit=core\npermit=config";
    for (by_default, lines, point) in [
        ("permit", "permit=all\ndeny=database", "astdb"),
        ("permit", "deny => database query", "astdb"),
        ("permit", "deny=pjsip show", "asterisk.command"),
        // Nor may root read the permissions again.
        ("deny", &format!("permit={mostly}"), "astdb"),
    ] {
        let text = format!("[general]\ndefault_perm={by_default}\n[root]\n{lines}\n");
        fs::write(host.asterisk.etc().join("cli_permissions.conf"), text).unwrap();
        host.asterisk.restart();
        let found = host.heals(point);
        assert!(found.lines.concat().contains("cli_permissions.conf has to permit it"), "{found:#?}");
    }
}

#[test]
fn objects_that_asterisk_has_elsewhere_are_where_an_apply_needs_them_again() {
    let mut host = Host::new();
    let text = "[res_pjsip]\nidentify=config,pjsip.conf,criteria=type=identify\n";
    let file = host.asterisk.etc().join("sorcery.conf");
    for lines in [
        "auth=config,auths.conf,criteria=type=auth",
        "endpoint=memory",
        "aor=memory",
        "contact=astdb,mine",
        "contact=memory",
    ] {
        fs::write(&file, format!("{text}{lines}\n")).unwrap();
        host.asterisk.restart();
        if lines.starts_with("contact") {
            let warnings = host.portal.http().post_empty("/apply").expect(200).json["warnings"].to_string();
            assert!(warnings.contains("sorcery.conf, line 3: a former owner's phone stays registered"), "{warnings}");
        }
        host.heals("sorcery.conf");
        assert_eq!(fs::read_to_string(&file).unwrap(), format!("{text}; {lines}\n"));
        host.takes_more();
    }
}

#[test]
fn encryption_that_was_chosen_gets_its_module() {
    let mut host = Host::new();
    let settings = host.settings.clone().with("PBX_PORTAL__ASTERISK__ENDPOINT_OPTIONS", "media_encryption=sdes");
    for restart in [false, true] {
        if restart {
            edit(&host.asterisk.etc().join("modules.conf"), "load=res_srtp.so\n", "");
            host.asterisk.restart();
        }
        let found = check(&settings);
        let [("modules", fix)] = found.faults()[..] else { panic!("one fault: {found:#?}") };
        host.run("modules", fix, &Place::default());
        check(&settings).is_well();
    }
}

#[test]
fn options_that_asterisk_does_not_take_are_found_before_an_apply() {
    let mut host = Host::new();
    let file = host.settings.working_directory().join("config.toml");
    let path = file.to_str().unwrap().to_owned();
    let check = |host: &Host, options: &str| {
        fs::write(&file, format!("[asterisk]\nendpoint_options = [{options}\n]\n")).unwrap();
        host.settings.run(&["check", "--config", &path])
    };
    let good = check(&host, "\n  'language=de', 'transport=transport-udp', 'media_encryption=no'");
    assert_eq!(good.status.code(), Some(0), "{}", good.stdout);
    let variables = host.settings.working_directory().join("env");
    fs::write(&variables, "RUST_LOG=info").unwrap();
    let replaced = [("/etc/pbx-portal/config.toml", &file), ("/etc/pbx-portal/env", &variables)];
    let replaced = replaced.map(|(from, to)| (from.to_owned(), to.to_str().unwrap().to_owned())).to_vec();
    let place = Place { replaced, ..Place::default() };
    for (option, why) in [
        ("colour=red", "colour, which Asterisk does not know"),
        ("transport=nowhere", "transport, which names a transport that there is not"),
    ] {
        let found = Found::of(&check(&host, &format!("\n  'language=de',\n  '{option}'")));
        let [(point, fix)] = found.faults()[..] else { panic!("one fault: {found:#?}") };
        assert!(point == "asterisk.endpoint_options" && found.lines.concat().contains(why), "{found:#?}");
        host.run(point, fix, &place);
        let written = fs::read_to_string(&variables).unwrap();
        assert_eq!(written, "RUST_LOG=info\nPBX_PORTAL__ASTERISK__ENDPOINT_OPTIONS=\"language=de\"\n");
        let chosen = host.settings.clone().with("PBX_PORTAL__ASTERISK__ENDPOINT_OPTIONS", "language=de");
        Found::of(&chosen.run(&["check", "--config", &path])).is_well();
        fs::write(&variables, "RUST_LOG=info").unwrap();
    }
    for (others, kept) in [("", ""), ("'allow=ulaw,alaw', 'language=de', ", "allow=ulaw,alaw language=de")] {
        let found = Found::of(&check(&host, &format!("{others}'colour=red'")));
        let [(point, fix)] = found.faults()[..] else { panic!("one fault: {found:#?}") };
        host.run(point, fix, &place);
        let written = fs::read_to_string(&variables).unwrap();
        assert_eq!(written, format!("RUST_LOG=info\nPBX_PORTAL__ASTERISK__ENDPOINT_OPTIONS=\"{kept}\"\n"));
        let chosen = host.settings.clone().with("PBX_PORTAL__ASTERISK__ENDPOINT_OPTIONS", kept);
        Found::of(&chosen.run(&["check", "--config", &path])).is_well();
        fs::write(&variables, "RUST_LOG=info").unwrap();
    }
    // A variable would be split at the blank.
    let found = Found::of(&check(&host, "'set_var=GREETING=good day', 'colour=red'"));
    let [(_, fix)] = found.faults()[..] else { panic!("one fault: {found:#?}") };
    let list = r#"["set_var=GREETING=good day"]"#;
    assert!(fix.starts_with(&format!("write {list} as asterisk.endpoint_options in ")), "{found:#?}");
    Found::of(&check(&host, list.trim_matches(['[', ']']))).is_well();
}

#[test]
fn a_line_that_is_missing_or_in_a_comment_is_added_and_read() {
    let mut host = Host::new();
    let pjsip = host.asterisk.etc().join("pjsip.conf");
    let whole = fs::read_to_string(&pjsip).unwrap();
    for other in ["; none", &format!(";-- {LINE} --;"), &format!(";--\n{LINE}\n--;")] {
        edit(&pjsip, LINE, other);
        host.asterisk.restart();
        host.heals("#include of asterisk.pjsip_include");
        fs::write(&pjsip, &whole).unwrap();
        host.asterisk.restart();
        host.works();
    }
    host.asterisk.remove_include("extensions.conf");
    host.heals("#include of asterisk.dialplan_include");
}

#[test]
fn a_line_that_is_there_and_was_not_read_is_read() {
    let mut host = Host::new();
    for (file, point) in [("pjsip.conf", "asterisk.pjsip_include"), ("extensions.conf", "asterisk.dialplan_include")] {
        let path = host.asterisk.etc().join(file);
        let text = fs::read_to_string(&path).unwrap();
        host.asterisk.remove_include(file);
        host.asterisk.restart();
        fs::write(&path, text).unwrap();
        let found = host.heals(&format!("#include of {point}"));
        assert!(!found.lines.concat().contains("does not include"), "{found:#?}");
    }
}

#[test]
fn an_asterisk_without_pjsip_is_not_waited_for() {
    let mut host = Host::new();
    let file = host.asterisk.etc().join("modules.conf");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.lines().filter(|line| !line.contains("pjsip")).collect::<Vec<_>>().join("\n")).unwrap();
    host.asterisk.restart();
    let began = Instant::now();
    let said = "Asterisk has no command `pjsip show endpoints`: res_pjsip.so has to be loaded";
    let refused = host.portal.http().post_empty("/apply").expect(503);
    assert!(refused.string("/detail").contains(said), "{}", refused.text);
    let planned = host.portal.http().post_empty("/apply?dry_run=true").expect(200);
    assert!(planned.string("/live/problems/0").contains(said), "{}", planned.text);
    // Of the minute that an apply has.
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    host.heals("modules");
    host.asterisk.restart();
    host.works();
}

#[test]
fn modules_that_are_missing_are_loaded_now_and_at_every_start() {
    let mut host = Host::new();
    for modules in [
        &["res_rtp_asterisk"][..],
        &["res_pjsip_sdp_rtp"],
        &[
            "res_pjsip_pubsub",
            "chan_pjsip",
            "res_pjsip_exten_state",
            "res_pjsip_dialog_info_body_generator",
            "res_pjsip_pidf_body_generator",
        ],
        &["app_dial", "func_strings"],
        &["res_pjsip_caller_id"],
        &["pbx_config"],
    ] {
        let file = host.asterisk.etc().join("modules.conf");
        for module in modules {
            edit(&file, &format!("load={module}.so"), &format!("noload => {module}.so"));
        }
        host.asterisk.restart();
        host.heals("modules");
        host.asterisk.restart();
        host.check().is_well();
        host.works();
    }
    // Tabs are blanks.
    host.asterisk.append("modules.conf", "noload\t=>\tapp_dial.so");
    host.asterisk.restart();
    host.heals("modules");
    host.asterisk.restart();
    host.check().is_well();
    host.works();
    let file = host.asterisk.etc().join("modules.conf");
    fs::write(host.asterisk.etc().join("more.conf"), "noload=app_dial.so\n").unwrap();
    for (from, to) in [("load=app_dial.so", "#include more.conf"), ("[modules]\nload=app_dial.so", "[Modules]")] {
        edit(&file, from, to);
        host.asterisk.restart();
        host.heals("modules");
        host.asterisk.restart();
        host.check().is_well();
        host.works();
    }
}

#[test]
fn another_realm_than_asterisks_is_found() {
    let mut host = Host::new();
    let files = host.settings.working_directory();
    let (variables, file) = (files.join("env"), files.join("config.toml"));
    fs::write(&variables, "PBX_PORTAL__ASTERISK__REALM=other\nRUST_LOG=info\n").unwrap();
    fs::write(&file, "[asterisk]\n#realm = \"asterisk\"\n").unwrap();
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    let replaced = [("/etc/pbx-portal/env", &variables), ("/etc/pbx-portal/config.toml", &file)];
    let replaced = replaced.map(|(from, to)| (from.to_owned(), path(to))).to_vec();
    let found = check(&host.settings.clone().with("PBX_PORTAL__ASTERISK__REALM", "other"));
    let [("asterisk.realm", fix)] = found.faults()[..] else { panic!("one fault: {found:#?}") };
    host.run("asterisk.realm", fix, &Place { replaced, ..Place::default() });
    let written = fs::read_to_string(&variables).unwrap();
    assert_eq!(written, "RUST_LOG=info\n\nPBX_PORTAL__ASTERISK__REALM=\"asterisk\"\n");
    check(&host.settings.clone().with("PBX_PORTAL__ASTERISK__REALM", "asterisk")).is_well();
}

#[test]
fn a_realm_may_begin_with_what_ends_an_arrow() {
    let (database, mut asterisk) = (Database::create(), Asterisk::start_new());
    edit(&asterisk.etc().join("pjsip.conf"), "type=global", "type=global\ndefault_realm= >x");
    asterisk.restart();
    let settings = Settings::new(&database.url(), &asterisk).with("PBX_PORTAL__ASTERISK__REALM", ">x");
    let portal = settings.start();
    let [alice, bob] = ["alice", "bob"].map(|name| portal.create_user(name, &format!("{name}@example.com")));
    portal.http().post_empty("/apply").expect(200);
    check(&settings).is_well();
    let _answering = Phone::of(&asterisk, &bob).answering();
    assert_eq!(Phone::of(&asterisk, &alice).call("1001"), 200);
}

#[test]
fn what_asterisk_runs_besides_what_was_applied_is_applied_again() {
    let mut host = Host::new();
    edit(&host.asterisk.dialplan_include(), "exten => generation", "exten => 1,1,NoOp()\nexten => generation");
    host.heals("live");
}
