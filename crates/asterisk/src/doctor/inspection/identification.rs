//! Whether Asterisk knows a phone by its user name.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use crate::ask::cli::Cli;
use crate::ask::cli_error::CliError;
use crate::doctor::fault::Fault;
use crate::doctor::inspection::{AdminPjsip, edit};
use crate::proof::admin_sections::AdminSection;
use crate::text::expected::Expected;
use crate::text::identifies::{self, Match};
use crate::text::listing;

const RESTART: &str = "systemctl restart asterisk";

/// Whether a phone is taken for an endpoint of the administrator's before its user name is looked at, or changes the
/// dialplan when it registers; where phones are taken for one that may not be users', a sentence says so.
pub(super) fn check(
    cli: &Cli,
    admin: &AdminPjsip<'_>,
    settings: &str,
    expected: &Expected,
    modules: &BTreeSet<String>,
    deadline: Instant,
) -> Result<Result<Vec<String>, Fault>, CliError> {
    let closed = || modules.contains("res_pjsip_acl.so").then(|| closed(admin)).flatten();
    if let Some(fault) = bad_global(admin, settings, expected).or_else(closed) {
        return Ok(Err(fault));
    }
    let order = listing::setting(settings, "endpoint_identifier_order").unwrap_or_default();
    let at = |name: &str| order.split(',').position(|of| of.trim() == name);
    let is_first = |name: &str| at(name).is_some_and(|other| at("username").is_none_or(|user| other < user));
    let identifies = cli.ask("pjsip show identifies", deadline)?;
    let matches: Vec<_> = identifies::matches(&identifies).filter(|of| is_first(of.by)).collect();
    let taken = if let Some(Match { identify, endpoint, what, .. }) = matches.iter().find(|of| of.is_everybody()) {
        format!("each phone that matches {what} is taken for the endpoint {endpoint} (identify {identify})")
    } else if is_first("anonymous")
        && !cli.ask("pjsip show endpoint anonymous", deadline)?.starts_with("Unable to find")
    {
        "each phone is taken for the endpoint anonymous".to_owned()
    } else {
        return Ok(Ok(notes(matches)));
    };
    Ok(Err(Fault::new(
        format!("{taken}, as endpoint_identifier_order is {order}"),
        format!("{} && {RESTART}", order_fix(admin)),
    )))
}

/// A sentence for each identify that may take phones of users for its endpoint.
fn notes(matches: Vec<Match<'_>>) -> Vec<String> {
    let mut all = BTreeMap::<_, Vec<_>>::new();
    for Match { identify, endpoint, what, .. } in matches.into_iter().filter(Match::may_be_users) {
        all.entry((identify, endpoint)).or_default().push(what);
    }
    let notes = all.into_iter().map(|((identify, endpoint), networks)| {
        format!(
            "a phone at {} is taken for the endpoint {endpoint} (identify {identify}), and not for a user",
            networks.join(", ")
        )
    });
    notes.collect()
}

/// A setting for all endpoints with which phones do not get through, whoever they are taken for.
fn bad_global(admin: &AdminPjsip<'_>, settings: &str, expected: &Expected) -> Option<Fault> {
    const NAME: &str = "regcontext";
    let said = listing::setting(settings, NAME).unwrap_or_default();
    let context = said.split('&').find(|context| expected.contexts.contains_key(*context))?;
    let edit = edit(globals(admin).map(|AdminSection { path, line, last_line, .. }| {
        (path.as_path(), format!("{line},{last_line}s/^[[:blank:]]*{NAME}[[:blank:]]*=.*//I"))
    }));
    Some(Fault::new(
        format!(
            "{NAME} is {context}: where a phone registers there, it takes calls, and where it unregisters, the user has none"
        ),
        if edit.is_empty() { RESTART.to_owned() } else { format!("{edit} && {RESTART}") },
    ))
}

/// An access list that lets nobody in: of its rules, the last one that an address fits counts. One of several sections, or
/// with an exception (`!`), is not judged.
fn closed(admin: &AdminPjsip<'_>) -> Option<Fault> {
    const ALL: [&str; 3] = ["0.0.0.0/0", "0.0.0.0/0.0.0.0", "0/0"];
    let lists = || admin.sections.iter().filter(|of| of.kind.as_deref() == Some("acl") || of.adds);
    let closed = lists().filter(|of| !of.is_template && !of.adds).filter_map(|section| {
        let rules = admin.tree.settings(section).filter(|(_, key, _)| ["deny", "permit"].contains(&key.as_str()));
        let rules: Vec<_> = rules.collect();
        let (line, _, networks) = rules.last().filter(|(_, key, _)| key == "deny")?;
        let is_plain = rules.iter().all(|(.., networks)| !networks.contains('!'))
            && lists().filter(|of| of.name.eq_ignore_ascii_case(&section.name)).count() == 1;
        let is_of_all = networks.rsplit(',').next().is_some_and(|network| ALL.contains(&network.trim()));
        (is_plain && is_of_all).then_some((section, *line))
    });
    let (AdminSection { name, path, .. }, line) = closed.last()?;
    let private = "permit=10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,127.0.0.0/8";
    Some(Fault::new(
        format!("the access list [{name}] ({}, line {line}) lets no phone in", path.display()),
        format!(
            "{} && {RESTART}   # or the networks of your phones",
            admin.tree.append(&format!("[{}](+type=acl)\\n{private}", in_printf(name)))
        ),
    ))
}

/// The sections of what counts for all endpoints.
fn globals<'a>(admin: &AdminPjsip<'a>) -> impl Iterator<Item = &'a AdminSection> {
    admin.sections.iter().filter(|section| section.kind.as_deref() == Some("global"))
}

/// The command that puts user names first: of sections and of options, Asterisk takes the last.
fn order_fix(admin: &AdminPjsip<'_>) -> String {
    const ORDER: &str = "endpoint_identifier_order=username,ip,anonymous";
    let head = match globals(admin).filter(|section| !section.is_template).last() {
        Some(section) => format!("[{}](+type=global)", in_printf(&section.name)),
        None => "[global]\\ntype=global".to_owned(),
    };
    admin.tree.append(&format!("{head}\\n{ORDER}"))
}

/// A name as `printf` in a shell takes it.
fn in_printf(name: &str) -> String {
    name.replace('\\', r"\\").replace('%', "%%").replace('\'', r"'\''")
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the tests write the administrator's files")]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::deploy::deployment::tests::soon;
    use crate::deploy::tests::Host;
    use crate::proof::config_tree::Tree;
    use crate::text::expected::tests::expected;

    /// What is found with this `pjsip.conf`, where Asterisk says this of its settings and identifies.
    fn checked(admin: &str, settings: &str, identifies: &str) -> Result<Vec<String>, (String, String)> {
        let host = Host::new();
        fs::write(host.at("pjsip.conf"), admin).unwrap();
        host.answering(&format!(
            "'pjsip show identifies') printf '=====\\n{identifies}' ;;\n'pjsip show endpoint anonymous') {} ;;",
            if admin.contains("[anonymous]") {
                "echo ' Endpoint:  anonymous'"
            } else {
                "echo Unable to find object anonymous."
            }
        ));
        let main = host.at("").canonicalize().unwrap().join("pjsip.conf");
        let tree = Tree::read(main.parent().unwrap(), "pjsip.conf", Path::new("/x"));
        let expected = expected("", "[users]\nexten => 1,1,Answer()\n");
        let sections = &tree.sections;
        let admin = AdminPjsip { tree: &tree, sections };
        let modules = BTreeSet::from(["res_pjsip_acl.so".to_owned()]);
        let checked = check(&host.deployment.cli, &admin, settings, &expected, &modules, soon()).unwrap();
        checked.map_err(|Fault { what, fix }| (what, fix.replace(&main.display().to_string(), "MAIN")))
    }

    const ALL: &str = " Identify:  all/trunk\\n      Match: 0.0.0.0/0\\n";
    const SOME: &str =
        " Identify:  some/trunk\\n      Match: 10.0.0.0/8\\n     Header: X-A: /1/\\n RequestURI: /sip:/\\n";

    #[test]
    fn who_is_taken_for_another_endpoint_is_known_by_the_user_name_first() {
        let order = |order: &str| format!("  endpoint_identifier_order: {order}\n");
        for is_fine in ["username,ip,anonymous", "username", "auth_username", ""] {
            assert_eq!(checked("[anonymous]\ntype=endpoint\n", &order(is_fine), ALL), Ok(Vec::new()), "{is_fine}");
        }
        assert_eq!(checked("", &order("anonymous,username"), ALL), Ok(Vec::new()));
        let restart = "systemctl restart asterisk";
        for (admin, fix) in [
            ("", "printf '\\n[global]\\ntype=global\\nendpoint_identifier_order=username,ip,anonymous\\n' >> MAIN"),
            (
                "[one]\ntype=global\n[g](!)\ntype=global\n[100% 'x\\]\ntype=global\n",
                "printf '\\n[100%% '\\''x\\\\](+type=global)\\nendpoint_identifier_order=username,ip,anonymous\\n' >> MAIN",
            ),
        ] {
            let (what, fixed) = checked(admin, &order("ip,username"), ALL).unwrap_err();
            let taken = "each phone that matches 0.0.0.0/0 is taken for the endpoint trunk (identify all)";
            assert_eq!(what, format!("{taken}, as endpoint_identifier_order is ip,username"));
            assert_eq!(fixed, format!("{fix} && {restart}"));
        }
        for (by, what) in [("request_uri", "/sip:/"), ("header", "To: /./")] {
            let other = SOME.replace("X-A: /1/", "To: /./");
            let (fault, _) = checked("", &order(&format!("{by},username")), &other).unwrap_err();
            assert!(fault.starts_with(&format!("each phone that matches {what} is taken for the ")), "{fault}");
        }
        let (what, _) = checked("[anonymous]\ntype=endpoint\n", &order("anonymous, username"), SOME).unwrap_err();
        assert!(what.starts_with("each phone is taken for the endpoint anonymous, as "), "{what}");
    }

    #[test]
    fn who_may_be_taken_for_another_endpoint_is_told() {
        let notes = |order: &str| checked("", &format!("endpoint_identifier_order: {order}\n"), SOME).unwrap();
        let at = "a phone at 10.0.0.0/8 is taken for the endpoint trunk (identify some), and not for a user";
        assert_eq!(notes("ip,header,username"), [at]);
        assert_eq!(notes("header,username,ip"), [""; 0]);
    }

    #[test]
    fn an_access_list_is_judged_by_its_last_rule_where_that_is_of_everybody() {
        let closed = |lists: &str| checked(lists, "", "").is_err();
        assert!(closed("[a]\ntype=acl\npermit=10.0.0.0/8\ndeny=0/0\n"));
        for open in [
            "[a]\ntype=acl\ndeny=0/0\npermit=10.0.0.0/8\n",
            "[a]\ntype=acl\npermit=0/0\ndeny=10.0.0.0/8\n",
            "[a]\ntype=acl\ndeny=!10.0.0.0/8,0/0\n",
            "[a](!)\ntype=acl\ndeny=0/0\n",
            "[a]\ntype=acl\npermit=0/0\n[A](+)\ndeny=0/0\n",
            "[a]\ntype=acl\ndeny=0/0\n[a](+)\npermit=0/0\n",
        ] {
            assert!(!closed(open), "{open}");
        }
    }

    #[test]
    fn a_setting_with_which_no_phone_gets_through_is_removed() {
        for (settings, what) in [("regcontext: his", None), ("regcontext: his&users", Some("regcontext is users: "))] {
            for (admin, fix) in [
                ("", RESTART),
                ("[other]\ntype=aor\n", RESTART),
                ("[global]\ntype=global\n", "sed -i '1,2s/^[[:blank:]]*"),
            ] {
                match (checked(admin, settings, ""), what) {
                    (Err((said, fixed)), Some(what)) => {
                        assert!(said.starts_with(what) && fixed.starts_with(fix), "{said}: {fixed}");
                        assert!(fixed.ends_with(RESTART), "{fixed}");
                    }
                    (found, what) => assert_eq!((found, what), (Ok(Vec::new()), None)),
                }
            }
        }
    }
}
