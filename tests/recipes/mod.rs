//! `docs/scripts.md` as it stands: every command runs, in order, and prints what the page says.
#![expect(clippy::disallowed_methods, reason = "a test runs the page's commands")]
#![expect(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test that fails says so at once")]

mod page;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::{fs, thread};

use page::{Block, blocks, matches};
use pbx_tests::{Asterisk, Database, Portal, Settings, bulk_users, until};

const PAGE: &str = include_str!("../../docs/scripts.md");

/// What the administrator defines where the page says that Asterisk does not take it.
const CONFLICTS: [(&str, &str); 2] =
    [("Asterisk did not take it", "[1001]\ntype=endpoint\n"), ("NOT APPLIED", "[1004]\ntype=endpoint\n")];

struct World {
    database: Database,
    asterisk: Asterisk,
    portal: Portal,
}

#[test]
fn every_command_of_the_page_prints_what_the_page_says() {
    let mut world = World::new();
    let blocks = blocks(PAGE);
    assert!(blocks.len() > 14, "{} blocks of commands in the page", blocks.len());
    for block in &blocks {
        let printed = world.run(block);
        assert!(
            matches(&block.output, &printed),
            "under {:?} the page says\n{}\nand this came:\n{printed}",
            block.heading,
            block.output
        );
    }

    let directory = world.directory();
    for secret in ["token", "credentials.csv"] {
        let mode = fs::metadata(directory.join(secret)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{secret}");
    }
    // Each password that a recipe wrote is the one of its user, until a new one replaced it.
    let read = |file: &str| fs::read_to_string(directory.join(file)).unwrap();
    let (credentials, replaced) = (read("credentials.csv"), read("eve.csv"));
    let lines: Vec<&str> = credentials.lines().collect();
    assert_eq!(lines.len(), 2 + 1 + 50 + 2, "two, Grace, fifty and two more: {credentials}");
    for (line, status) in
        [(lines[0], 200), (lines[1], 401), (replaced.trim_end(), 200), (lines[3], 200), (lines[54], 200)]
    {
        let [_, extension, password] = line.split(',').collect::<Vec<_>>()[..] else { panic!("{line}") };
        assert_eq!(pbx_tests::Phone::new(&world.asterisk, extension, password).register(), status, "{line}");
    }
    let names = world.database.sql("SELECT name FROM users WHERE email ~ '^(dora|eve)@' ORDER BY email");
    assert_eq!(names, "Dora \"Dodo\" Díaz\nExample, Eve");
}

#[test]
fn a_password_of_an_address_that_ends_alike_is_another_users() {
    let world = World::with_script("onboard.sh");
    world.portal.create_user("Bob", "bob@example.com");
    fs::write(world.directory().join("staff.csv"), "Bob,Bob@example.com\n").unwrap();
    for (kept, result) in [
        ("jimbob@example.com,1001,secret", "is there already, with a password that is not in credentials.csv"),
        ("bob@example.com,1000,secret", "is there already"),
    ] {
        fs::write(world.directory().join("credentials.csv"), format!("{kept}\n")).unwrap();
        let printed = world.sh("sh onboard.sh staff.csv credentials.csv");
        assert_eq!(printed.lines().next(), Some(&*format!("1/1 Bob@example.com {result}")), "{printed}");
    }
}

#[test]
fn what_was_reviewed_and_has_no_name_is_not_applied() {
    let world = World::with_script("ensure.sh");
    world.portal.create_user("Bob", "bob@example.com");
    fs::write(world.directory().join("users.json"), "[]").unwrap();
    fs::write(world.directory().join("curl"), WITHOUT_ETAG).unwrap();
    let printed =
        world.sh("chmod +x curl; PATH=.:$PATH sh ensure.sh users.json credentials.csv || echo \"exit status $?\"");
    let expected = "0 created\nto apply: 1 added, 0 removed, 0 changed\nFAILED: …ETag…\nexit status 1";
    assert!(matches(expected, &printed), "{printed}");
    assert_eq!(world.portal.http().get("/users").expect(200).json["applied_revision"], 0);
}

/// Its record waits for PostgreSQL; to repeat it would ask for a plan that is none any more.
#[test]
fn an_apply_that_is_live_although_it_was_answered_with_503_is_done() {
    for (script, run, expected) in [
        (
            "ensure.sh",
            "sh ensure.sh users.json credentials.csv",
            "0 created\nto apply: 1 added, 0 removed, 0 changed\napplied: Asterisk runs with 1 users",
        ),
        ("users.yml", "ansible-playbook -i localhost, users.yml", "…: ok=… changed=1 …failed=0 …"),
    ] {
        let world = World::with_script(script);
        world.portal.create_user("Bob", "bob@example.com");
        world.database.sql(
            "CREATE FUNCTION lose() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END $$; \
             CREATE TRIGGER lose BEFORE UPDATE ON apply_audit_log FOR EACH ROW WHEN (NEW.outcome = 'applied') \
             EXECUTE FUNCTION lose()",
        );
        fs::write(world.directory().join("users.json"), "[]").unwrap();
        let printed = world.sh(&format!("{run} || echo \"exit status $?\""));
        assert!(matches(expected, &printed), "{printed}");
        assert!(world.portal.log().contains(" POST /apply 503 "), "{}", world.portal.log());
        assert!(world.asterisk.rx("pjsip show endpoints").contains("1000"));
    }
}

/// curl behind a proxy that keeps the answers' tags for itself.
const WITHOUT_ETAG: &str = "#!/bin/sh
curl=$(PATH=${PATH#.:} command -v curl)
$curl \"$@\" || exit
while [ \"$1\" != -D ]; do shift; done
sed -i '/^etag:/Id' \"$2\"
";

impl World {
    fn new() -> Self {
        let (database, asterisk) = (Database::create(), Asterisk::start_new());
        let portal = Settings::new(&database.url(), &asterisk).start();
        Self { database, asterisk, portal }
    }

    /// With one of the page's scripts and the token that it needs.
    fn with_script(name: &str) -> Self {
        let mut world = Self::new();
        let is_needed = |block: &Block| block.heading == "Address and token" || block.file() == Some(name);
        for block in blocks(PAGE).iter().filter(|block| is_needed(block)) {
            world.run(block);
        }
        world
    }

    fn directory(&self) -> &Path {
        self.portal.settings().working_directory()
    }

    /// Runs the block in the situation that its heading, or what it is to print, names.
    fn run(&mut self, block: &Block) -> String {
        if let Some(file) = block.file() {
            fs::write(self.directory().join(file), &block.commands).unwrap();
            return String::new();
        }
        if block.heading == "No extension is free" {
            self.database.sql(&bulk_users(1000..=1999));
            let printed = self.sh(&block.commands);
            self.database.sql("DELETE FROM users WHERE name = 'Bulk'");
            return printed;
        }
        if block.heading == "Not now: 503" {
            self.asterisk.stop();
            return thread::scope(|scope| {
                let Self { asterisk, portal, .. } = self;
                let printed = scope.spawn(|| sh(portal, &block.commands));
                until("the first attempt", || portal.log().contains(" POST /apply 503 ").then_some(()));
                asterisk.start();
                printed.join().unwrap()
            });
        }
        let is_named = |(name, _): &&(&str, &str)| block.heading == *name || block.output.contains(name);
        if let Some((_, conflict)) = CONFLICTS.iter().find(is_named) {
            let file = self.asterisk.etc().join("pjsip.conf");
            let before = fs::read_to_string(&file).unwrap();
            self.asterisk.append("pjsip.conf", conflict);
            let printed = self.sh(&block.commands);
            fs::write(&file, before).unwrap();
            return printed;
        }
        self.sh(&block.commands)
    }

    fn sh(&self, commands: &str) -> String {
        sh(&self.portal, commands)
    }
}

/// What the commands print, standard error included; a failure that they do not deal with is one of the test.
fn sh(portal: &Portal, commands: &str) -> String {
    let directory = portal.settings().working_directory();
    // As a reader of the page would paste it.
    fs::write(directory.join("pasted"), portal.settings().token().to_owned() + "\n").unwrap();
    fs::write(directory.join("commands"), format!("exec 2>&1\n{commands}")).unwrap();
    let output = Command::new("sh")
        .args(["-eu", "commands"])
        .env("PORTAL", portal.url())
        .env("LC_ALL", "C.UTF-8")
        .current_dir(directory)
        .stdin(fs::File::open(directory.join("pasted")).unwrap())
        .stderr(Stdio::inherit())
        .output()
        .expect("sh");
    let printed = String::from_utf8(output.stdout).expect("output in UTF-8");
    assert!(output.status.success(), "{}:\n{commands}\n{printed}", output.status);
    printed
}
