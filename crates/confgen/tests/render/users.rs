//! Users to render.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::time::SystemTime;

use pbx_domain::{Extension, Revision, User, UserId};

/// Names that mean something to Asterisk's reader, its dialplan or a terminal. All are legal;
/// the last is the longest, and every character of it needs a backslash.
pub(crate) const HOSTILE_NAMES: [&str; 27] = [
    r#"Alice "Al"; <Ops> \ 😀"#,
    r"ends with a backslash \",
    r#"ends with a quote ""#,
    r#"" <666> ; "#,
    "; all a comment",
    ";-- block",
    "--; block's end",
    "a;b;;c",
    "#include /etc/passwd",
    "#exec id",
    "[1000](synergycall-endpoint)",
    "[general]",
    "a=b",
    "a => b",
    "a += b",
    "exten => _X.,1,Dial(PJSIP/${EXTEN})",
    "${EXTEN}${SHELL(id)}",
    "$[1+1]",
    "%41%00%0a",
    r"\n\r\0\x41\",
    r#"\"\;\\"#,
    "Smith, John & Sons | 'x'",
    "0000000000000000",
    "שלום עולם",
    "\u{200f}mark \u{feff}bom",
    "李雷 Ḽơᶉëᶆ ȋṕšᶙṁ",
    "\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"",
];

/// A user whose digest is made up of the extension: nobody's password.
pub(crate) fn user(extension: u16, name: &str) -> User {
    User {
        id: UserId::generate(),
        name: name.parse().unwrap(),
        email: format!("user{extension}@example.com").parse().unwrap(),
        extension: Extension::new(extension).unwrap(),
        realm: "asterisk".parse().unwrap(),
        ha1: format!("{extension:032}").parse().unwrap(),
        created_at: SystemTime::UNIX_EPOCH,
        revision: Revision::new(1),
    }
}
