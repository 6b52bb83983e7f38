//! What holds for all users.

#![expect(clippy::panic, reason = "a helper of tests")]

use std::collections::{BTreeMap, BTreeSet};

use pbx_confgen::{EndpointOptions, Prefix, RenderError, Renderer, Rendering};
use pbx_domain::{DisplayName, ExtensionRange, User};
use proptest::prelude::*;
use sha2::{Digest as _, Sha256};

use crate::users::{HOSTILE_NAMES, user};

fn render(users: &[User]) -> Result<Rendering, RenderError> {
    Renderer::default().render(users)
}

/// Asterisk's reader of a quoted caller id, written again from its rules and stricter: a bare
/// quote, backslash or semicolon within the quotes is an error, and so is anything after them.
fn read_callerid(value: &str) -> Option<(String, &str)> {
    let mut name = String::new();
    let mut rest = value.strip_prefix('"')?.chars();
    loop {
        match rest.next()? {
            '"' => break,
            ';' => return None,
            '\\' => match rest.next()? {
                c @ ('"' | '\\' | ';') => name.push(c),
                _ => return None,
            },
            c if c.is_control() => return None,
            c => name.push(c),
        }
    }
    Some((name, rest.as_str().strip_prefix(" <")?.strip_suffix('>')?))
}

/// The name of every user as the file says it, by extension.
fn names(rendering: &Rendering) -> BTreeMap<String, String> {
    let callerids = rendering.endpoints.lines().filter_map(|line| line.strip_prefix("callerid="));
    callerids
        .map(|value| read_callerid(value).unwrap_or_else(|| panic!("{value}")))
        .map(|(name, number)| (number.to_owned(), name))
        .collect()
}

/// The auth of every user, by extension.
fn auths(rendering: &Rendering) -> BTreeMap<String, String> {
    let auths = rendering.endpoints.lines().filter_map(|line| line.strip_prefix("auth="));
    auths.map(|auth| (auth.split('-').next().unwrap_or_default().to_owned(), auth.to_owned())).collect()
}

/// The generation in the head of a file.
fn generation(text: &str) -> &str {
    text.lines().find_map(|line| line.strip_prefix("; generation ")).unwrap_or_default()
}

/// Any legal name, those that mean something to Asterisk far more often than chance would.
fn name() -> impl Strategy<Value = String> {
    let telling =
        prop::sample::select(vec!["\\", "\"", ";", "--", "[", "]", "#", "=", ">", "<", "${", "}", " ", "é", "😀"]);
    let made_of_telling = prop::collection::vec(telling, 1..40).prop_map(|parts| parts.concat());
    prop_oneof![made_of_telling, "\\PC{1,40}", prop::sample::select(HOSTILE_NAMES.to_vec()).prop_map(str::to_owned)]
        .prop_filter("legal", |name| name.parse::<DisplayName>().is_ok())
}

fn users() -> impl Strategy<Value = Vec<User>> {
    prop::collection::btree_map(1000_u16..=1999, name(), 0..20)
        .prop_map(|names| names.into_iter().map(|(extension, name)| user(extension, &name)).collect())
}

proptest! {
    #[test]
    fn every_legal_name_is_read_back_as_it_was(users in users()) {
        let read = names(&render(&users).unwrap());
        let meant = users.iter().map(|u| (u.extension.to_string(), u.name.to_string())).collect();
        prop_assert_eq!(read, meant);
    }

    #[test]
    fn the_order_of_the_users_makes_no_difference(users in users(), seed in any::<prop::sample::Index>()) {
        let mut shuffled = users.clone();
        if !shuffled.is_empty() {
            shuffled.rotate_left(seed.index(users.len()));
            shuffled.reverse();
        }
        prop_assert_eq!(render(&users).unwrap(), render(&shuffled).unwrap());
    }

    #[test]
    fn other_users_make_another_generation(one in users(), two in users()) {
        let settings = |users: &[User]| users.iter().map(|u| (u.extension, u.name.clone())).collect::<Vec<_>>();
        let same = settings(&one) == settings(&two);
        let generations = [&one, &two].map(|users| generation(&render(users).unwrap().endpoints).to_owned());
        prop_assert_eq!(generations[0] == generations[1], same);
    }

    #[test]
    fn the_routing_file_is_about_numbers_alone(one in users(), two in users()) {
        let numbers = |users: &[User]| users.iter().map(|u| u.extension).collect::<Vec<_>>();
        let same = numbers(&one) == numbers(&two);
        prop_assert_eq!(render(&one).unwrap().routing == render(&two).unwrap().routing, same);
    }

    #[test]
    fn each_line_is_one_that_a_strict_reader_knows(users in users()) {
        let rendering = render(&users).unwrap();
        for line in rendering.endpoints.lines().chain(rendering.routing.lines()) {
            prop_assert!(line.len() < 512, "Asterisk skips lines of more than 8190 bytes: {}", line);
            let section = line.starts_with('[') && (line.ends_with(']') || line.ends_with(')'));
            let setting = line.split_once('=').is_some_and(|(key, _)| {
                !key.is_empty() && key.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
            });
            let dialplan = ["exten => ", " same => ", "include => "].iter().any(|key| line.starts_with(key));
            prop_assert!(line.is_empty() || line.starts_with("; ") || section || setting || dialplan, "{}", line);
        }
    }

    #[test]
    fn each_object_is_defined_once(users in users()) {
        let rendering = render(&users).unwrap();
        for text in [&rendering.endpoints, &rendering.routing] {
            let sections: Vec<_> = text.lines().filter(|line| line.starts_with('[')).collect();
            prop_assert_eq!(sections.iter().collect::<BTreeSet<_>>().len(), sections.len());
        }
        let sections = rendering.endpoints.lines().filter(|line| line.starts_with('[')).count();
        prop_assert_eq!(sections, 3 + 3 * users.len() + 1);
        let entries = rendering.routing.lines().filter(|line| line.starts_with("exten => 1")).count();
        prop_assert_eq!(entries, 2 * users.len(), "a hint and an entry for each");
    }
}

#[test]
fn a_change_of_a_user_changes_the_auth_of_that_user_and_of_no_other() {
    let users = [user(1000, "Alice"), user(1001, "Bob"), user(1002, "Carol")];
    let before = auths(&render(&users).unwrap());
    let mut changed = [users.clone(), users.clone(), users.clone()];
    changed[0][1].name = "Bob B.".parse().unwrap();
    changed[1][1].realm = "example.com".parse().unwrap();
    changed[2][1].ha1 = "f".repeat(32).parse().unwrap();
    let mut seen = BTreeSet::from([before["1001"].clone()]);
    for users in changed {
        let after = auths(&render(&users).unwrap());
        assert_eq!((&after["1000"], &after["1002"]), (&before["1000"], &before["1002"]));
        assert!(seen.insert(after["1001"].clone()), "each of the three changes has an auth of its own");
    }
}

#[test]
fn what_is_not_in_the_files_does_not_change_them() {
    let mut same = user(1000, "Alice");
    let before = render(std::slice::from_ref(&same)).unwrap();
    same.id = pbx_domain::UserId::generate();
    same.email = "other@example.com".parse().unwrap();
    same.revision = pbx_domain::Revision::new(9);
    same.created_at = std::time::SystemTime::now();
    assert_eq!(render(&[same]).unwrap(), before);
}

#[test]
fn two_users_with_one_extension_are_refused() {
    let users = [user(1001, "Alice"), user(1000, "Bob"), user(1001, "Carol")];
    let refused = render(&users).unwrap_err();
    assert_eq!(refused, RenderError::DuplicateExtension { extension: users[0].extension });
    assert_eq!(refused.to_string(), "extension 1001 belongs to two users: delete one of them");
}

#[test]
fn the_name_of_an_auth_is_known_without_a_rendering() {
    let renderer = Renderer::new(&Prefix::default(), &EndpointOptions::new(["language=de"]).unwrap());
    let users: Vec<_> = (1000..).zip(HOSTILE_NAMES).map(|(number, name)| user(number, name)).collect();
    let rendered = auths(&renderer.render(&users).unwrap());
    for user in users {
        assert_eq!(renderer.auth_name(&user).unwrap(), rendered[&user.extension.to_string()]);
    }
}

#[test]
fn an_option_is_every_endpoints_and_changes_every_auth_but_not_the_dialplan() {
    let users = [user(1000, "Alice"), user(1001, "Bob")];
    let with = |options: &[&str]| {
        Renderer::new(&Prefix::default(), &EndpointOptions::new(options).unwrap()).render(&users).unwrap()
    };
    let (none, one, other) =
        (with(&[]), with(&["media_encryption=sdes"]), with(&["media_encryption=dtls", "allow=g722"]));
    assert_eq!(none, render(&users).unwrap());
    assert_eq!((&one.routing, &other.routing), (&none.routing, &none.routing));
    for number in ["1000", "1001"] {
        let names: BTreeSet<_> = [&none, &one, &other].map(|of| auths(of)[number].clone()).into();
        assert_eq!(names.len(), 3, "{names:?}");
    }
    // Without its first line, the name.
    let template = |of: &Rendering| {
        of.endpoints.split("\n\n").nth(1).and_then(|text| text.split_once('\n')).unwrap_or_default().1.to_owned()
    };
    assert_eq!(template(&one), template(&none) + "\nmedia_encryption=sdes");
    assert_eq!(
        template(&other),
        template(&none).replace("\nallow=ulaw,alaw,g722", "") + "\nmedia_encryption=dtls\nallow=g722"
    );
}

#[test]
fn all_our_names_begin_with_the_prefix() {
    let rendering = Renderer::new(&"abcdefghijkl".parse().unwrap(), &EndpointOptions::default());
    let rendering = rendering.render(&[user(1000, "Alice")]).unwrap();
    let both = rendering.endpoints.clone() + &rendering.routing;
    assert!(!both.contains("synergycall"), "{both}");
    for name in both.lines().filter_map(|line| line.strip_prefix('[')?.split(']').next()) {
        assert!(name.starts_with("abcdefghijkl-") || name.starts_with("1000"), "{name}");
        assert!(name.len() <= 40, "`pjsip list aors` cuts {name}");
    }
}

#[test]
fn debug_shows_no_digest() {
    let rendering = render(&[user(1000, "Alice")]).unwrap();
    assert!(rendering.endpoints.contains("=MD5:00000000000000000000000000001000\n"));
    let shown = format!("{rendering:?} {rendering:#?}");
    assert!(!shown.contains("0000000000001000") && shown.contains("bytes"), "{shown}");
}

#[test]
fn the_marker_is_last_and_short_enough_for_asterisks_listing() {
    let rendering = render(&[user(1000, "Alice")]).unwrap();
    let name = format!("synergycall-generation-{}", generation(&rendering.endpoints));
    assert!(name.len() < 41, "{name}");
    assert!(rendering.endpoints.ends_with(&format!("\n[{name}]\ntype=aor\nmax_contacts=0\n")));
    let routing = generation(&rendering.routing);
    assert!(rendering.routing.contains(&format!("\nexten => generation,1,NoOp({routing})\n")));
}

/// The first 16 hexadecimal digits.
fn sha256(text: &str) -> String {
    format!("{:016x}", Sha256::digest(text)[..8].iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte)))
}

#[test]
fn an_auth_is_named_after_all_that_the_file_says_of_its_user() {
    let rendering = render(&[user(1000, "Alice"), user(1001, "Bob")]).unwrap();
    let auth = &auths(&rendering)["1001"];
    let [templates, first, own, marker] =
        ["\n[synergycall-endpoint-", "\n[1000](", "\n[1001](", "\n[synergycall-generation-"]
            .map(|section| rendering.endpoints.find(section).unwrap());
    let tag = rendering.endpoints[templates..].split(['-', ']']).nth(2).unwrap();
    let untagged = rendering.endpoints[templates..first].replace(&format!("-{tag}]"), "]");
    assert_eq!(tag, &sha256(&untagged)[..8], "a template is named after what all of them say");
    let said = rendering.endpoints[templates..first].to_owned() + &rendering.endpoints[own..marker];
    assert_eq!(*auth, format!("1001-{}", &sha256(&said.replace(auth.as_str(), "1001-"))[..12]));
}

#[test]
fn a_generation_is_made_of_all_of_its_file_but_itself() {
    let rendering = render(&[user(1000, "Alice")]).unwrap();
    for text in [&rendering.endpoints, &rendering.routing] {
        let generation = generation(text);
        assert_eq!(text.matches(generation).count(), 2, "in the head and as the marker: {text}");
        assert_eq!(generation, sha256(&text.replace(generation, &"0".repeat(16))));
    }
}

#[test]
fn a_renderer_for_other_numbers_takes_no_others() {
    let office = Renderer::new(&"office".parse().unwrap(), &EndpointOptions::default());
    let renderer = office.clone().with_range(ExtensionRange::new(200, 299).unwrap());
    let user = user(1000, "Alice");
    let refused = renderer.render(std::slice::from_ref(&user)).unwrap_err();
    assert_eq!(refused.to_string(), "extension 1000 is none of 200 to 299");
    let other = User { extension: ExtensionRange::new(200, 299).unwrap().extension(200).unwrap(), ..user };
    let Rendering { endpoints, routing, .. } = renderer.render(std::slice::from_ref(&other)).unwrap();
    assert!(endpoints.contains("\n[200](office-endpoint-") && routing.contains("\nexten => _2XX,1,"), "{routing}");
    assert!(Renderer::default().render(&[other]).is_err());
    for own in ["office-ring", "office-users"] {
        assert!(office.clone().in_context(&own.parse().unwrap()).is_err(), "{own}");
    }
    assert_eq!(office.clone().in_context(&"office-internal".parse().unwrap()).unwrap().render(&[]), office.render(&[]));
    let shown = format!("{office:?}");
    assert!(shown.contains("office-internal") && shown.contains("office-endpoint"), "{shown}");
    let elsewhere = office.in_context(&"doors".parse().unwrap()).unwrap().render(&[]).unwrap();
    assert!(elsewhere.endpoints.contains("\ncontext=doors\n"), "{}", elsewhere.endpoints);
    assert!(elsewhere.routing.contains("\n[doors]\n"), "{}", elsewhere.routing);
}
