//! Clients that three generators make of `crates/api/openapi.json`, without a switch, run the four operations and their
//! errors against a live portal.
#![expect(clippy::disallowed_methods, reason = "a test starts programs and reads its environment")]
#![expect(clippy::expect_used, clippy::panic, reason = "a test that fails says so at once")]

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use pbx_tests::{Asterisk, Database, Portal, Settings};

const HERE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/clients");
const INSTALLED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../.sandbox/clients");
const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/api/openapi.json");
const READ_ONLY_TOKEN: &str = "read-only-read-only-read-only-read-only";

#[test]
fn openapi_generator() {
    let story = Story::new();
    let said = story.run("openapi-generator-cli", &["generate", "-i", DOCUMENT, "-g", "python", "-o", "client"]);
    assert!(!said.contains("ERROR"), "{said}");
    story.python("openapi_generator.py");
}

#[test]
fn openapi_python_client() {
    let story = Story::new();
    let said = story.run("openapi-python-client", &["generate", "--path", DOCUMENT, "--output-path", "client"]);
    // It leaves out what it does not understand, with a warning.
    assert!(!said.to_lowercase().contains("warning"), "{said}");
    story.python("openapi_python_client.py");
}

#[test]
fn openapi_typescript() {
    let story = Story::new();
    symlink(Path::new(INSTALLED).join("node_modules"), story.path("node_modules")).expect("a link");
    fs::copy(Path::new(HERE).join("openapi_typescript.mts"), story.path("story.mts")).expect("the story");
    story.run("openapi-typescript", &[DOCUMENT, "--output", "portal.d.mts"]);
    let strict = ["--strict", "--target", "es2022", "--module", "nodenext", "--lib", "es2022,dom,dom.iterable"];
    story.run("tsc", &[&strict[..], &["story.mts"]].concat());
    story.run("node", &["story.mjs"]);
}

/// A portal for one client, another in which no apply succeeds, as Asterisk does not know an option of its endpoints,
/// and one that has no Asterisk. All are one node.
struct Story {
    portal: Portal,
    rejected: Portal,
    lonely: Portal,
    _asterisk: Asterisk,
    _database: Database,
}

impl Story {
    fn new() -> Self {
        let (database, asterisk) = (Database::create(), Asterisk::start_new());
        let readers = format!("monitoring:{READ_ONLY_TOKEN}");
        let settings = Settings::new(&database.url(), &asterisk).with("PBX_PORTAL__AUTH__READ_ONLY_TOKENS", &readers);
        let portal = settings.start();
        let rejected = settings.clone().with("PBX_PORTAL__ASTERISK__ENDPOINT_OPTIONS", "no_such_option=yes").start();
        let lonely = settings.with("PBX_PORTAL__ASTERISK__COMMAND", "false").start();
        fs::create_dir(portal.settings().working_directory().join("story")).expect("a directory");
        Self { portal, rejected, lonely, _asterisk: asterisk, _database: database }
    }

    /// What the generators write goes with the portal's own directory.
    fn path(&self, name: &str) -> PathBuf {
        self.portal.settings().working_directory().join("story").join(name)
    }

    fn python(&self, program: &str) {
        self.run("python", &[&format!("{HERE}/{program}")]);
    }

    /// Runs one of the programs that `deploy/sandbox/clients` installs, or one of the system's. Gives what it said.
    fn run(&self, program: &str, arguments: &[&str]) -> String {
        let path = env::var("PATH").expect("PATH");
        let output = Command::new(program)
            .args(arguments)
            .env("PATH", format!("{INSTALLED}/bin:{INSTALLED}/node_modules/.bin:{path}"))
            .envs([("PYTHONPATH", "client"), ("PYTHONDONTWRITEBYTECODE", "1"), ("NO_COLOR", "1")])
            .env("PORTAL_URL", self.portal.url())
            .env("PORTAL_TOKEN", self.portal.settings().token())
            .env("PORTAL_READ_ONLY_TOKEN", READ_ONLY_TOKEN)
            .env("REJECTED_PORTAL_URL", self.rejected.url())
            .env("LONELY_PORTAL_URL", self.lonely.url())
            .current_dir(self.path(""))
            .output()
            .unwrap_or_else(|error| panic!("{program}, which deploy/sandbox/clients installs: {error}"));
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program}: {}\n{said}", output.status);
        said.into_owned()
    }
}
