//! Names on a real call: from `POST /users` to the `From` header that the called phone gets.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::thread;

use pbx_tests::{Asterisk, Database, Phone, Settings};

const HOSTILE: [&str; 52] = [
    // Asterisk's file reader: sections, templates, directives, comments, the operators of a setting.
    "[1000]",
    "[synergycall-endpoint](!)",
    "#include \"/etc/passwd\"",
    "#exec /bin/true",
    ";",
    "Alice; the first",
    ";-- Alice --;",
    "--; Alice ;--",
    ";--",
    "a => b",
    "a = b",
    "context += default",
    "type=transport",
    "(!)",
    // Its dialplan: variables, expressions, arguments.
    "${EXTEN}",
    "${SHELL(id)}",
    "$[1+1]",
    "$${X}}",
    "a,b,c",
    "a&b|c^d",
    "%41%00%0d%0a",
    // Quoting, in the file and in the header.
    "\"",
    "\\",
    "\"Alice\"",
    "\"Alice",
    "Alice\"",
    "Alice\\",
    "\\\"",
    "\\\\\\\"\\;",
    "Alice \"Al\" Example",
    "C:\\new\\table",
    "O'Brien `x` $x",
    // SIP: addresses, parameters, other headers.
    "<sip:x@y>",
    "\" <sip:1999@evil.example>",
    "Alice <1000>",
    "Alice;tag=1;transport=tcp",
    "sip:alice@example.com",
    "Alice, \"Bob\" <sip:b@example.com>",
    "anonymous",
    // Scripts, directions, marks, pictures.
    "Ærøskøbing Çelik Ñandú",
    "Αλίκη Παραδείγματος",
    "Алиса Примерова",
    "李雷 与 韩梅梅",
    "山田　太郎",
    "김철수",
    "שלום עולם",
    "\u{200f}مرحبا\u{200f} (abc)",
    "नमस्ते दुनिया",
    "e\u{301}\u{323} Z\u{361}a\u{334}l\u{335}g\u{336}o",
    "👩‍👩‍👧‍👦 🇩🇪 😀",
    // Exactly the 79 bytes that Asterisk keeps of a name; the first is twice as long when it is escaped.
    "\"\\;\"\\;\"\\;\"\\;\"\\;\"\\;\"\\;\"\\;\"\\;\"\\;\"\\;\"\\;\"\\;\"\\;\"\\;\"\\;\"\\;\"\\;\"\\;\"\\;\"\\;\"\\;\"\\;\"\\;\"\\;\"\\;\"",
    "ééééééééééééééééééééééééééééééééééééé😀a",
];

#[test]
fn hostile_names_reach_the_called_phone_as_they_were_given() {
    let (database, asterisk) = (Database::create(), Asterisk::start_new());
    let portal = Settings::new(&database.url(), &asterisk).start();
    assert_eq!(HOSTILE.iter().filter(|name| name.len() == 79).count(), 2);

    let user = |name: &str, email: &str| {
        let user = portal.create_user(name, email);
        assert_eq!(user.string("/name"), name);
        (user.number("/extension").to_string(), user.string("/sip_password"))
    };
    let (number, password) = user("Called", "called@example.com");
    let callers: Vec<_> = (0..).zip(HOSTILE).map(|(at, name)| user(name, &format!("{at}@example.com"))).collect();
    assert_eq!(portal.http().post_empty("/apply").expect(200).json["outcome"], "applied");

    let called = Phone::new(&asterisk, &number, &password).answering();
    let waiting = Mutex::new(callers.iter());
    thread::scope(|scope| {
        // As many at once as two cores carry.
        for _ in 0..6 {
            scope.spawn(|| {
                while let Some((extension, password)) = { waiting.lock().unwrap().next() } {
                    assert_eq!(Phone::new(&asterisk, extension, password).call(&number), 200, "{extension}");
                }
            });
        }
    });

    let shown: BTreeMap<String, String> = called.callers().iter().map(|from| shown(from)).collect();
    let meant = callers.into_iter().map(|(extension, _)| extension).zip(HOSTILE.map(str::to_owned)).collect();
    assert_eq!(shown, meant);
    assert_eq!(asterisk.complaints(), Vec::<String>::new());
}

/// The number and the display name of a `From` header: `"<quoted string>" <sip:<number>@…>`, read by the grammar of RFC
/// 3261, section 25.1, in which a backslash within the quotes means the character behind it.
fn shown(from: &str) -> (String, String) {
    let mut name = String::new();
    let mut rest = from.strip_prefix('"').unwrap_or_else(|| panic!("no quoted display name: {from}")).chars();
    loop {
        match rest.next().expect("a closing quote") {
            '"' => break,
            '\\' => name.push(rest.next().expect("a character behind a backslash")),
            c => name.push(c),
        }
    }
    let number = rest.as_str().strip_prefix(" <sip:").and_then(|address| address.split_once('@'));
    let (number, _) = number.unwrap_or_else(|| panic!("no address behind the name: {from}"));
    (number.to_owned(), name)
}
