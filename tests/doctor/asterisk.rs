//! The administrator's part of Asterisk.

use std::fs;

use crate::doctor::host::{Host, edit};

const LINE: &str = "#include pjsip.d/synergycall/*.conf";
const EXACT: &str = "#include pjsip.d/synergycall/generated_endpoints.conf";

#[test]
fn a_file_that_is_included_twice_is_included_once_again() {
    let mut host = Host::new();
    for twice in [EXACT, LINE] {
        host.asterisk.append("pjsip.conf", twice);
        // Nothing shows until Asterisk is restarted, and then everything is gone.
        let found = host.heals("#include of asterisk.pjsip_include");
        assert_eq!(found.faults().len(), 1, "{found:#?}");
        host.asterisk.append("pjsip.conf", twice);
        host.asterisk.restart();
        host.heals("#include of asterisk.pjsip_include");
    }
    let extensions = host.asterisk.etc().join("extensions.conf");
    edit(&extensions, "#include", "#include extensions.d/synergycall/generated_routing.conf\n#include");
    host.heals("#include of asterisk.dialplan_include");
}

#[test]
fn a_line_in_another_spelling_is_that_line() {
    let host = Host::new();
    let pjsip = host.asterisk.etc().join("pjsip.conf");
    for other in ["#Include pjsip.d/synergycall/*.conf", "#include pjsip.d/{trunks,synergycall}/*.conf"] {
        edit(&pjsip, LINE, other);
        host.asterisk.rx("module reload res_pjsip.so");
        host.check().is_well();
        host.works();
        edit(&pjsip, other, LINE);
    }
    edit(&pjsip, LINE, &format!("{LINE}\n#Include pjsip.d/{{trunks,synergycall}}/*.conf"));
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
fn an_own_object_with_the_number_of_a_user_goes() {
    let mut host = Host::new();
    for own in
        ["[1000]\ntype=endpoint\ncontext=x", "[own](!)\ntype=aor\n[1001](own)\nmax_contacts=1", "[1000](+)\nallow=g722"]
    {
        for restart in [false, true] {
            host.asterisk.append("pjsip.conf", own);
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
}

#[test]
fn a_line_that_is_missing_or_in_a_comment_is_added_and_read() {
    let mut host = Host::new();
    let pjsip = host.asterisk.etc().join("pjsip.conf");
    for other in ["; none", &format!(";-- {LINE} --;"), &format!(";--\n{LINE}\n--;"), &format!(";--\n{LINE}")] {
        edit(&pjsip, LINE, other);
        host.asterisk.restart();
        host.heals("#include of asterisk.pjsip_include");
        let text = fs::read_to_string(&pjsip).unwrap().replace(&format!("--;\n{EXACT}"), "").replace(EXACT, "");
        fs::write(&pjsip, text.replace(other, LINE)).unwrap();
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
fn an_asterisk_without_a_transport_gets_one() {
    let mut host = Host::new();
    let pjsip = host.asterisk.etc().join("pjsip.conf");
    let text = fs::read_to_string(&pjsip).unwrap();
    let (before, rest) = text.split_once("[transport-udp]").unwrap();
    let (_, after) = rest.split_once("#include").unwrap();
    fs::write(&pjsip, format!("{before}#include{after}")).unwrap();
    host.asterisk.restart();
    host.heals("transport");
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
}

#[test]
fn the_native_bridge_alone_joins_nobody() {
    let mut host = Host::new();
    edit(&host.asterisk.etc().join("modules.conf"), "load=bridge_simple.so", "load=bridge_native_rtp.so");
    host.asterisk.restart();
    host.heals("modules");
}

#[test]
fn another_realm_than_asterisks_is_found() {
    let host = Host::new();
    let other = host.settings.clone().with("PBX_PORTAL__ASTERISK__REALM", "other");
    let found = crate::doctor::host::check(&other);
    assert_eq!(found.faults().len(), 1, "{found:#?}");
    assert!(
        found.faults()[0].0 == "asterisk.realm" && found.faults()[0].1.contains("realm = \"asterisk\""),
        "{found:#?}"
    );
}

#[test]
fn what_asterisk_runs_besides_what_was_applied_is_applied_again() {
    let mut host = Host::new();
    edit(&host.asterisk.dialplan_include(), "exten => generation", "exten => 1,1,NoOp()\nexten => generation");
    host.heals("live");
}
