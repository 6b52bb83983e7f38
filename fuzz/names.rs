//! Any names, rendered into the include files and read again by the rules of Asterisk's own readers.
#![no_main]

use std::collections::BTreeMap;
use std::time::SystemTime;

use libfuzzer_sys::fuzz_target;
use pbx_asterisk::{Expected, Pair};
use pbx_confgen::Renderer;
use pbx_domain::{DisplayName, Extension, Realm, Revision, User, UserId};

// A name per piece of the input; NUL is legal in none, so it parts them.
fuzz_target!(|input: &str| {
    let names = input.split('\0').filter_map(|name| name.parse::<DisplayName>().ok());
    let users: Vec<User> = (1000_u16..=1999).zip(names).map(|(number, name)| user(number, name)).collect();
    let rendering = Renderer::default().render(&users).expect("no legal name is refused");

    let read: BTreeMap<String, String> = rendering.endpoints.split('\n').filter_map(callerid).collect();
    let meant: BTreeMap<String, String> =
        users.iter().map(|user| (user.extension.to_string(), user.name.to_string())).collect();
    assert_eq!(read, meant);

    let pair = Pair { endpoints: rendering.endpoints.into_bytes(), dialplan: rendering.routing.into_bytes() };
    let expected = Expected::read(&pair).expect("what is written can be proven");
    assert!(expected.endpoints().eq(meant.keys().map(String::as_str)));
});

/// Number and name of a line `callerid=…`, as Asterisk takes it: `config.c` first, then `callerid.c`.
fn callerid(line: &str) -> Option<(String, String)> {
    let line = without_comment(line);
    assert!(line.len() < 8190, "a line that is skipped");
    let value = line.strip_prefix("callerid=")?.trim_matches(|c: char| c.is_ascii() && c <= ' ');
    let (before, number) = value.rsplit_once('<').expect("an address");
    let quoted = before.trim_matches(|c: char| c.is_ascii() && c <= ' ');
    let quoted = quoted.strip_prefix('"').and_then(|name| name.strip_suffix('"')).expect("a name in quotes");
    let mut name = String::new();
    let mut characters = quoted.chars();
    while let Some(c) = characters.next() {
        assert_ne!(c, '"', "the name ends early: {line}");
        name.push(if c == '\\' { characters.next().expect("a character behind the backslash") } else { c });
    }
    Some((number.strip_suffix('>').expect("the address's end").to_owned(), name))
}

/// `config.c`: a semicolon begins a comment, unless a backslash stands right before it, which is taken away.
fn without_comment(line: &str) -> String {
    let mut read = String::new();
    for c in line.chars() {
        match c {
            ';' if read.ends_with('\\') => {
                read.pop();
                read.push(';');
            }
            ';' => break,
            c => read.push(c),
        }
    }
    read
}

fn user(number: u16, name: DisplayName) -> User {
    User {
        id: UserId::generate(),
        name,
        email: "user@example.com".parse().expect("an address"),
        extension: Extension::new(number).expect("an extension"),
        ha1: "0123456789abcdef0123456789abcdef".parse().expect("a digest"),
        realm: Realm::default(),
        created_at: SystemTime::UNIX_EPOCH,
        revision: Revision::new(1),
    }
}
