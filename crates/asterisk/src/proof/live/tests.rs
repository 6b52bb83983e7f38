use super::*;
use crate::text::expected::Extens;
use crate::text::expected::tests::expected;

fn live_as(expected: &Expected, origin: &str) -> Live {
    let live_context = |extens: &Extens| {
        extens
            .iter()
            .map(|(name, steps)| (name.clone(), steps.iter().map(|s| (s.clone(), origin.to_owned())).collect()))
            .collect()
    };
    Live {
        endpoints: expected.endpoints.clone(),
        standalone: expected.standalone.clone(),
        contexts: expected.contexts.iter().map(|(name, extens)| (name.clone(), live_context(extens))).collect(),
        shown: expected.shown.clone(),
    }
}

fn one() -> Expected {
    expected(
        "[1000]\ntype=endpoint\nauth=1000-a\naors=1000\n[1000-a]\ntype=auth\n[1000]\ntype=aor\n[m-1]\ntype=aor",
        "[c]\nexten => 1000,1,Answer()",
    )
}

#[test]
fn what_is_as_it_is_to_be_matches() {
    assert!(live_as(&one(), "ours.conf:1").compare(&one(), &Expected::default(), |_| false).is_ok());
}

#[test]
fn that_auths_were_read_is_shown_by_a_new_one_or_by_one_that_went() {
    let user = |number: &str| {
        format!(
            "[{number}]\ntype=endpoint\nauth={number}-a\naors={number}\n[{number}-a]\ntype=auth\n[{number}]\ntype=aor\n"
        )
    };
    let of = |numbers: &[&str]| expected(&numbers.iter().map(|number| user(number)).collect::<String>(), "");
    let (one, two, other) = (of(&["1"]), of(&["1", "2"]), of(&["1", "3"]));
    let gone = Some((Kind::Auth, "2-a".to_owned()));
    assert_eq!(one.gone_auth(&two), gone);
    assert_eq!([two.gone_auth(&two), two.gone_auth(&one), other.gone_auth(&two)], [None, None, None]);
    let mut live = live_as(&one, "ours.conf:1");
    assert!(live.compare(&one, &two, |_| false).is_ok());
    live.standalone.extend(gone);
    assert_eq!(live.compare(&one, &two, |_| false).unwrap_err().stale, ["auth 2-a"]);
}

#[test]
fn each_lost_object_is_named() {
    let nothing = Live::default().compare(&one(), &Expected::default(), |_| false).unwrap_err();
    assert_eq!(nothing.missing, ["endpoint 1000", "aor m-1", "context c"]);

    let mut live = live_as(&one(), "ours.conf:1");
    live.endpoints.get_mut("1000").unwrap().auths.clear();
    live.endpoints.get_mut("1000").unwrap().aors.clear();
    let mismatch = live.compare(&one(), &Expected::default(), |_| false).unwrap_err();
    assert_eq!(mismatch.missing, ["aor 1000 of endpoint 1000", "auth 1000-a of endpoint 1000"]);
}

#[test]
fn an_endpoint_that_kept_its_old_settings_is_different() {
    let mut live = live_as(&one(), "ours.conf:1");
    live.endpoints.get_mut("1000").unwrap().auths = BTreeSet::from(["1000-old".to_owned()]);
    assert_eq!(live.compare(&one(), &Expected::default(), |_| false).unwrap_err().different, ["endpoint 1000"]);
}

#[test]
fn what_only_the_former_files_had_is_stale() {
    let former = expected(
        "[1001]\ntype=endpoint\naors=1001\n[1001]\ntype=aor\n[m-0]\ntype=aor",
        "[c]\nexten => 1001,1,Answer()",
    );
    let mut live = live_as(&one(), "ours.conf:1");
    let old = live_as(&former, "ours.conf:1");
    live.endpoints.extend(old.endpoints);
    live.standalone.extend(old.standalone);
    live.contexts.get_mut("c").unwrap().extend(old.contexts["c"].clone());
    let mismatch = live.compare(&one(), &former, |_| false).unwrap_err();
    assert_eq!(mismatch.stale, ["endpoint 1001", "aor m-0", "extension 1001@c"]);
    let foreign = live.compare(&one(), &Expected::default(), |_| false).unwrap();
    assert_eq!(foreign.endpoints, ["1001"]);
    assert_eq!(foreign.extens, [("1001".to_owned(), "c".to_owned())]);
}

#[test]
fn what_stood_alone_and_is_an_endpoints_now_is_not_stale() {
    let named = expected("[a]\ntype=endpoint\naors=b\noutbound_auth=c\n[b]\ntype=aor\n[c]\ntype=auth", "");
    let standalone = expected("[a]\ntype=endpoint\n[b]\ntype=aor\n[c]\ntype=auth", "");
    let mut live = live_as(&named, "");
    live.standalone = standalone.standalone.clone();
    assert!(live.compare(&named, &standalone, |_| false).is_ok());
    let without = expected("[a]\ntype=endpoint", "");
    live.endpoints = without.endpoints.clone();
    assert_eq!(live.compare(&without, &standalone, |_| false).unwrap_err().stale, ["aor b", "auth c"]);
}

#[test]
fn an_identify_is_missed_and_the_administrators_own_is_not() {
    let identify = |name: &str| expected(&format!("[a]\ntype=endpoint\n[{name}]\ntype=identify\nendpoint=a"), "");
    let (one, two) = (identify("one"), identify("two"));
    let mut live = live_as(&one, "");
    assert_eq!(live.compare(&two, &one, |_| false).unwrap_err().missing, ["identify two of endpoint a"]);
    let mut identified_by = |name: &str| {
        live.endpoints.get_mut("a").unwrap().identifies.insert(name.to_owned());
        live.compare(&two, &one, |_| false).unwrap_err().stale
    };
    assert_eq!(identified_by("two"), ["identify one of endpoint a"]);
    live.endpoints = two.endpoints.clone();
    live.endpoints.get_mut("a").unwrap().identifies.insert("his".to_owned());
    assert!(live.compare(&two, &one, |_| false).is_ok());
}

#[test]
fn a_former_users_number_may_become_the_administrators_own() {
    let former = expected("[1001]\ntype=endpoint\nauth=1001-a\n[1001-a]\ntype=auth", "[c]\nexten => 1001,1,Answer()");
    let with = |auths: &[&str]| {
        let mut live = live_as(&one(), "ours.conf:1");
        let auths = auths.iter().map(|auth| (*auth).to_owned()).collect();
        live.endpoints.insert("1001".to_owned(), Endpoint { auths, ..Endpoint::default() });
        live
    };
    let is_stale = |auths: &[&str], is_administrators| {
        let compared = with(auths).compare(&one(), &former, |_| is_administrators);
        compared.is_err_and(|mismatch| !mismatch.stale.is_empty())
    };
    assert!(is_stale(&["1001-a"], true), "it has our auth");
    assert!(!is_stale(&["his"], false), "it has another auth");
    assert!(is_stale(&[], false), "it has lost its auth");
    assert!(!is_stale(&[], true), "his configuration defines it");
    let mut live = live_as(&one(), "ours.conf:1");
    live.contexts
        .get_mut("c")
        .unwrap()
        .insert("1001".to_owned(), vec![(Step::Hint("SIP/his".to_owned()), "extensions.conf:2".to_owned())]);
    assert_eq!(live.compare(&one(), &former, |_| false).unwrap().extens.len(), 1);
}

#[test]
fn an_extension_that_others_define_too_is_a_conflict() {
    let mut live = live_as(&one(), "ours.conf:1");
    let steps = live.contexts.get_mut("c").unwrap().get_mut("1000").unwrap();
    steps.push((
        Step::Priority { number: 2, label: None, application: "Hangup()".to_owned() },
        "extensions.conf:7".to_owned(),
    ));
    let mismatch = live.compare(&one(), &Expected::default(), |_| false).unwrap_err();
    assert_eq!(mismatch.conflicts, ["extension 1000@c is also defined in extensions.conf:7"]);
}

#[test]
fn an_object_that_is_asked_for_by_name_and_not_shown_is_missing_or_different() {
    let wanted = expected("[r]\ntype=registration\nclient_uri=sip:1@192.0.2.1\n", "");
    let found = |live: &Live, wanted: &Expected| {
        let compared = live.compare(wanted, &Expected::default(), |_| false);
        let Mismatch { missing, different, .. } = *compared.err().unwrap_or_default();
        (missing.join("; "), different.join("; "))
    };
    let mut live = live_as(&wanted, "ours:1");
    assert_eq!(found(&live, &wanted), (String::new(), String::new()));
    live.shown.clear();
    assert_eq!(found(&live, &wanted), (String::new(), "registration r: Asterisk shows none".to_owned()));
    live.standalone.clear();
    assert_eq!(found(&live, &wanted), ("registration r".to_owned(), String::new()));
    // The aor of an endpoint stands not alone.
    let of_endpoint = Expected {
        shown: BTreeMap::from([((Kind::Aor, "1000".to_owned()), Options::default())]),
        ..expected("[1000]\ntype=endpoint\naors=1000\n[1000]\ntype=aor\n", "")
    };
    let live = Live { shown: BTreeMap::new(), ..live_as(&of_endpoint, "ours:1") };
    assert_eq!(found(&live, &of_endpoint), (String::new(), "aor 1000: Asterisk shows none".to_owned()));
}

#[test]
fn one_pattern_finds_markers_of_either_generation() {
    let prefix = |names: &[&str]| common_prefix(names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>().iter());
    assert_eq!(
        prefix(&["synergycall-generation-8f3a", "synergycall-generation-8fff"]).as_deref(),
        Some("synergycall-generation-")
    );
    assert_eq!(prefix(&["synergycall-generation-8f3a"]).as_deref(), Some("synergycall-generation-"));
    assert_eq!(prefix(&["a.b", "c"]).as_deref(), Some(""));
    assert_eq!(prefix(&[]), None);
}
