//! Any text at all as a name.

use std::cell::Cell;
use std::time::SystemTime;

use pbx_domain::{DisplayName, Extension, Ha1, Realm, Revision, SipPassword, User, UserId};
use proptest::prelude::*;
use proptest::test_runner::{TestError, TestRunner};

use crate::names::roll_call::RollCall;

/// As many users as there are extensions, at every reload.
const USERS: usize = 1000;

#[test]
fn any_text_is_refused_or_comes_back_identical_from_asterisks_own_parser() {
    let roll_call = RollCall::start();
    let legal_texts = Cell::new(0);
    // The failure shows the text that came back otherwise, so there is nothing to shrink, and nothing to keep.
    let config =
        ProptestConfig { cases: 8, max_shrink_iters: 0, failure_persistence: None, ..ProptestConfig::default() };
    let run = TestRunner::new(config).run(&prop::collection::vec(text(), USERS), |texts| {
        let legal: Vec<(DisplayName, &String)> =
            texts.iter().filter_map(|text| Some((text.parse().ok()?, text))).collect();
        let users: Vec<_> = (1000..).zip(&legal).map(|(number, (name, _))| user(number, name.clone())).collect();
        let names = roll_call.names(&users);
        for ((user, _), (_, text)) in users.iter().zip(&legal) {
            // Blanks at both ends are the one thing that a name loses.
            prop_assert_eq!(&names[&user.extension.to_string()], text.trim());
        }
        legal_texts.set(legal_texts.get() + legal.len());
        Ok(())
    });
    match run {
        Ok(()) => {}
        Err(TestError::Fail(reason, _)) => panic!("{reason}"),
        Err(error) => panic!("{error}"),
    }
    assert!(legal_texts.get() > 4000, "{} of the texts were legal names", legal_texts.get());
}

/// Any text, those that mean something to Asterisk's parsers and those at the limits far more often than by chance.
fn text() -> impl Strategy<Value = String> {
    const SIGNIFICANT: &[&str] = &[
        "\\",
        "\"",
        ";",
        ";--",
        "--;",
        "[",
        "]",
        "(!)",
        "#include ",
        "#",
        "=",
        "=>",
        "+=",
        "<",
        ">",
        "<1999>",
        "${",
        "}",
        "$[",
        "%41",
        ",",
        "&",
        "|",
        "'",
        "`",
        " ",
        "\u{a0}",
        "\u{200f}",
        "\u{301}",
        "é",
        "😀",
        "李",
        "a",
        "1",
        "\n",
        "\t",
    ];
    let significant = prop::collection::vec(prop::sample::select(SIGNIFICANT), 1..24).prop_map(|parts| parts.concat());
    let any = prop::collection::vec(any::<char>(), 0..24).prop_map(String::from_iter);
    let at_the_limit = ("[\\\\\";a]", 70..90_usize).prop_map(|(of, length)| of.repeat(length));
    prop_oneof![6 => significant, 3 => "\\PC{1,26}", 1 => any, 1 => at_the_limit]
}

fn user(extension: u16, name: DisplayName) -> (User, SipPassword) {
    let extension = Extension::new(extension).unwrap();
    let (realm, password) = (Realm::default(), SipPassword::generate().unwrap());
    let user = User {
        id: UserId::generate(),
        name,
        email: "user@example.com".parse().unwrap(),
        extension,
        ha1: Ha1::of(extension, &realm, &password),
        realm,
        created_at: SystemTime::UNIX_EPOCH,
        revision: Revision::new(1),
    };
    (user, password)
}
