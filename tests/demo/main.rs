//! The whole story on one machine: a portal, a PostgreSQL, a real Asterisk, two users, two phones, an answered call.
//!
//! `make demo` starts it; every request is a `curl` that anybody can repeat.
#![expect(clippy::disallowed_methods, reason = "it runs curl, as its reader will")]
#![expect(clippy::expect_used, clippy::print_stdout, reason = "it is there to show something, or to say why it cannot")]

use std::fs::OpenOptions;
use std::io::{Write, stdout};
use std::net::TcpListener;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::Duration;

use pbx_tests::{Asterisk, Database, Phone, Portal, Settings};
use serde_json::Value;

/// Where the documentation of everything says the portal listens, if nobody else does.
const USUAL_PORT: u16 = 8000;

fn main() {
    say("Starting a private Asterisk");
    let asterisk = Asterisk::start_new();
    println!("{}, SIP on 127.0.0.1:{} (UDP)", asterisk.rx("core show version").trim(), asterisk.port());

    say("Starting the portal on a private PostgreSQL");
    let database = Database::create();
    let mut settings = Settings::new(&database.url(), &asterisk).with("PBX_PORTAL__NODE", "demo");
    if TcpListener::bind(("127.0.0.1", USUAL_PORT)).is_ok() {
        settings = settings.with("PBX_PORTAL__SERVER__BIND", &format!("127.0.0.1:{USUAL_PORT}"));
    }
    let mut portal = settings.start();
    let curl = Curl::new(&portal);
    println!("It listens on {}. Its token is in {}, which curl takes as a header.", portal.url(), curl.token.display());

    say("Two users");
    let alice = curl.post("/users", r#"{"name": "Alice Example", "email": "alice@example.com"}"#);
    let bob = curl.post("/users", r#"{"name": "Bob \"the Builder\"", "email": "bob@example.com"}"#);

    say("Before the apply, Asterisk knows neither of them");
    let (alice, bob) = (phone(&asterisk, &alice), phone(&asterisk, &bob));
    show_registration("Alice", alice.register(), 401);

    say("The apply: Asterisk is reloaded, and proven to run exactly these two");
    curl.run(&["-X", "POST"], "/apply");

    say("Both phones register");
    show_registration("Alice", alice.register(), 200);
    let at_bob = bob.answering();
    show_registration("Bob", 200, 200);

    say("Alice calls Bob");
    let code = alice.call("1001");
    assert!(code == 200, "the call was not answered: {code}");
    println!("INVITE by Alice's phone: {code}, answered. Bob's phone showed {}", at_bob.wait_for_caller());

    say("The list: both users are applied");
    curl.run(&[], "/users");

    say("Everything stays up until Ctrl-C");
    println!("Documentation to try it out: {}/docs (Authorize with the token of that file)", portal.url());
    println!("Asterisk's console:          {} -r", asterisk.command());

    say("To copy into another terminal: a third user, and an apply");
    println!("{}", curl.line(&["--json", r#"{"name": "Carol Example", "email": "carol@example.com"}"#], "/users"));
    println!("{}", curl.line(&["-X", "POST"], "/apply"));
    stdout().flush().expect("standard output");
    while portal.runs() {
        thread::sleep(Duration::from_millis(500));
    }
    println!("The portal ended by itself. Its log:\n{}", portal.log());
}

fn say(what: &str) {
    println!("\n==> {what}");
}

fn phone(asterisk: &Asterisk, user: &Value) -> Phone {
    let password = user["sip_password"].as_str().expect("a password");
    Phone::new(asterisk, &user["extension"].to_string(), password)
}

fn show_registration(who: &str, code: u16, expected: u16) {
    println!("REGISTER of {who}'s phone: {code}");
    assert!(code == expected, "{expected} was expected");
}

/// Runs `curl` and shows it.
struct Curl {
    url: String,
    token: PathBuf,
}

impl Curl {
    /// The token goes by a file: a command line is there for everybody to read.
    fn new(portal: &Portal) -> Self {
        let token = portal.settings().working_directory().join("token");
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&token).expect("a file");
        writeln!(file, "Authorization: Bearer {}", portal.settings().token()).expect("a file");
        Self { url: portal.url().to_owned(), token }
    }

    fn post(&self, path: &str, body: &str) -> Value {
        self.run(&["--json", body], path)
    }

    fn words(&self, arguments: &[&str], path: &str) -> Vec<String> {
        let header = format!("@{}", self.token.display());
        let words = ["-sS", "--fail-with-body", "-H", &header].into_iter().chain(arguments.iter().copied());
        words.map(str::to_owned).chain([format!("{}{path}", self.url)]).collect()
    }

    /// The command as a shell takes it.
    fn line(&self, arguments: &[&str], path: &str) -> String {
        let words: Vec<_> = self.words(arguments, path).iter().map(|word| quoted(word)).collect();
        format!("curl {}", words.join(" "))
    }

    fn run(&self, arguments: &[&str], path: &str) -> Value {
        println!("$ {}", self.line(arguments, path));
        let output = Command::new("curl").args(self.words(arguments, path)).output().expect("curl (package curl)");
        let text = String::from_utf8_lossy(&output.stdout);
        println!("{text}");
        assert!(output.status.success(), "curl failed: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_str(&text).expect("an answer in JSON")
    }
}

/// As a shell wants it.
fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:@".contains(&byte);
    if word.bytes().all(plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}
