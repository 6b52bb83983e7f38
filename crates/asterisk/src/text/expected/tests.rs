use super::*;

/// What a pair of these files says.
pub(crate) fn expected(endpoints: &str, dialplan: &str) -> Expected {
    Expected::read(&Pair { endpoints: endpoints.into(), dialplan: dialplan.into() }).unwrap()
}

fn of_endpoints(text: &str) -> Expected {
    expected(text, "")
}

#[test]
fn an_endpoint_has_an_auth_or_one_of_several() {
    let text = "[1]\ntype=endpoint\nauth=a\n[2]\ntype=endpoint\nauth=a,b\n[3]\ntype=endpoint\n";
    let expected = of_endpoints(text);
    assert_eq!(expected.endpoints().collect::<Vec<_>>(), ["1", "2", "3"]);
    assert_eq!(["1", "2", "3", "4"].map(|name| expected.auth_of(name)), [Some("a"), None, None, None]);
}

#[test]
fn contexts_and_extensions_come_with_the_number_of_their_steps() {
    let text = "[a]\nexten => 1,hint,PJSIP/1\nexten => 1,1,NoOp()\n same => n,Hangup()\n[b]\ninclude => a\n";
    let expected = expected("", text);
    assert_eq!(expected.contexts().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(expected.extensions().collect::<Vec<_>>(), [("a", "1", 3)]);
    let numbers = ["1", "1/2000", "-1-/2-0", "_1", "2"].map(|exten| expected.has_number(exten));
    assert_eq!(numbers, [true, true, true, false, false]);
}

#[test]
fn an_object_is_defined_by_its_kind_and_name() {
    let text = "[m]\ntype=aor\n[a]\ntype=auth\n";
    let expected = of_endpoints(text);
    let defines = |kind, name: &str| expected.defines(&(kind, name.to_owned()));
    assert!(defines(Kind::Aor, "m") && defines(Kind::Auth, "a") && !defines(Kind::Auth, "m"));
}

#[test]
fn a_pair_that_cannot_be_read_says_where() {
    for (endpoints, dialplan, file, line) in [
        (&b"[1]\ntype=endpoint\n\xff"[..], &b""[..], "endpoints", 3),
        (b"[1]\nno setting\n", b"", "endpoints", 2),
        (b"", b"[c]\n\nexten 1\n", "dialplan", 3),
    ] {
        let pair = Pair { endpoints: endpoints.to_vec(), dialplan: dialplan.to_vec() };
        let error = Expected::read(&pair).unwrap_err().to_string();
        assert!(error.starts_with(&format!("the {file} file cannot be proven: line {line} ")), "{error}");
    }
}

#[test]
fn a_difference_names_new_old_and_other_endpoints() {
    let former = of_endpoints("[1]\ntype=endpoint\nauth=a\n[2]\ntype=endpoint\n[3]\ntype=endpoint\n");
    let now = of_endpoints("[1]\ntype=endpoint\nauth=b\n[3]\ntype=endpoint\n[4]\ntype=endpoint\n");
    let Difference { added, removed, changed, others: _ } = now.difference(&former);
    assert_eq!((added, removed, changed), (vec!["4".to_owned()], vec!["2".to_owned()], vec!["1".to_owned()]));
}

#[test]
fn a_difference_shows_whatever_the_text_says_otherwise() {
    const ENDPOINTS: &str = "[t](!)\ntype=endpoint\nallow=alaw\n[1](t)\nauth=1-a\naors=1\n[1-a]\ntype=auth\npassword=x\n\
        [1]\ntype=aor\nmax_contacts=1\n[i]\ntype=identify\nendpoint=1\nmatch=192.0.2.1\n[m]\ntype=aor\nmailboxes=1\n\
        [r]\ntype=registration\nclient_uri=sip:1@192.0.2.1\n[2]\ntype=endpoint\n";
    const DIALPLAN: &str = "[c]\nexten => 1,1,Answer()\n";
    let former = expected(ENDPOINTS, DIALPLAN);
    for (from, to, changed, others) in [
        ("alaw", "ulaw", ["1"].as_slice(), [].as_slice()),
        ("password=x", "password=y", &["1"], &[]),
        ("max_contacts=1", "max_contacts=2", &["1"], &[]),
        ("match=192", "match=193", &["1"], &[]),
        ("mailboxes=1", "mailboxes=2", &[], &["aor m"]),
        ("sip:1@", "sip:2@", &[], &["registration r"]),
        ("[m]", "[n]", &[], &["aor m", "aor n"]),
    ] {
        let difference = expected(&ENDPOINTS.replace(from, to), DIALPLAN).difference(&former);
        assert_eq!((difference.changed.as_slice(), difference.others.as_slice()), (&*owned(changed), &*owned(others)));
    }
    let difference = expected(ENDPOINTS, &DIALPLAN.replace("Answer", "Hangup")).difference(&former);
    assert_eq!(difference, Difference { others: owned(&["context c"]), ..Difference::default() });
    let difference = expected(&ENDPOINTS.replace("[t]", "; only a comment\n[t]"), DIALPLAN).difference(&former);
    assert_eq!(difference, Difference::default());
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn no_object_is_asked_for_by_name_but_registrations_and_if_strict_aors() {
    let text = "[1]\ntype=endpoint\nauth=1-a\naors=1\n[1-a]\ntype=auth\n[1]\ntype=aor\n[m]\ntype=aor\n";
    let asked = |text: &str, is_strict: bool| {
        let pair = Pair { endpoints: text.into(), dialplan: Vec::new() };
        Expected::read_for(&pair, is_strict)
            .unwrap()
            .shown
            .into_keys()
            .map(|(kind, name)| format!("{kind} {name}"))
            .collect::<Vec<_>>()
    };
    assert_eq!(asked(text, false), [""; 0]);
    assert_eq!(asked(text, true), ["aor 1", "aor m"]);
    assert_eq!(asked("[r]\ntype=registration", false), ["registration r"]);
}

#[test]
fn only_another_credential_makes_a_former_owner() {
    let user = |number: u16, auth: &str, digest: &str| {
        format!(
            "[{number}]\ntype=endpoint\nauth={auth}\naors=aor-{number}\n[{auth}]\ntype=auth\npassword_digest=MD5:{digest}\n"
        )
    };
    let former = of_endpoints(&(user(1, "1-a", "x") + &user(2, "2-a", "x") + &user(3, "3-a", "x")));
    let now = of_endpoints(&(user(1, "1-b", "x") + &user(2, "2-b", "y") + &user(4, "4-a", "x")));
    let aors: Vec<_> = now.aors_of_former_owners(&former).into_iter().collect();
    assert_eq!(aors, ["aor-2", "aor-3"]);
    assert_eq!(now.former_owners(&former).collect::<Vec<_>>(), ["2", "3"]);
    let shown = format!("{former:?}");
    assert!(!shown.contains("MD5"), "{shown}");
    assert_eq!(now.new_aors(&former).into_iter().collect::<Vec<_>>(), ["aor-4"]);
}
