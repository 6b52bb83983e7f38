//! What the administrator's own files define beside what an apply brings.

use std::fs;

use pbx_tests::{Asterisk, Database};

use crate::doctor::host::{Host, Place, edit};

#[test]
fn what_the_first_apply_would_meet_is_found_before_it() {
    let mut host = Host::unapplied(Database::create(), Asterisk::start_new());
    let etc = host.asterisk.etc();
    for (file, before, own, point) in [
        ("extensions.conf", "[globals]", "[synergycall-users]\nexten => 1000,1,Hangup(21)", "extensions"),
        ("extensions.conf", "[globals]", "[synergycall-users]\nexten => 1001,hint,SIP/1001", "extensions"),
        ("extensions.conf", "[globals]", "[synergycall-users]\nexten => 1000,2,Hangup(21)", "extensions"),
        ("extensions.conf", "[globals]", "[synergycall-ring]\nexten => 1000,1,Hangup(21)", "extensions"),
        ("extensions.conf", "[globals]", "[synergycall-internal]\nexten => 1002,1,Hangup(21)", "extensions"),
        ("pjsip.conf", "user_agent", "regcontext=synergycall-internal", "identification"),
    ] {
        edit(&etc.join(file), before, &format!("{own}\n{before}"));
        host.asterisk.restart();
        let found = host.check();
        let [(said, fix)] = found.faults()[..] else { panic!("{own}: one fault: {found:#?}") };
        assert_eq!(said, point, "{own}");
        host.run(said, fix, &Place::default());
        host.check().is_well();
    }
    host.works();
}

#[test]
fn an_own_template_with_the_name_of_one_of_ours_goes() {
    let mut host = Host::new();
    let ours = fs::read_to_string(host.asterisk.pjsip_include()).unwrap();
    let template = ours.lines().find(|line| line.starts_with("[synergycall-endpoint")).unwrap();
    for (own, restart) in [(template.to_owned(), false), (template.replace("(!)", ""), true)] {
        edit(
            &host.asterisk.etc().join("pjsip.conf"),
            "#include",
            &format!("{own}\ntype=endpoint\ncontext=nowhere\n#include"),
        );
        if restart {
            host.asterisk.restart();
        }
        host.heals("numbers");
        host.takes_more();
    }
}
