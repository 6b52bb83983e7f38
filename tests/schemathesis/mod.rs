//! schemathesis reads `/openapi.json` and sends what an honest and a hostile script might: every answer must be one
//! that the document promises.
#![expect(clippy::disallowed_methods, reason = "a test starts a program and reads its environment")]

use std::process::Command;
use std::{env, fs};

use pbx_tests::{Asterisk, Database, Settings};

const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../.sandbox/schemathesis/bin/schemathesis");
const CONFIGURATION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/schemathesis/schemathesis.toml");
const HOOKS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/schemathesis/hooks.py");

/// So many examples of each kind, however long they take; `PBX_TEST_SCHEMATHESIS_EXAMPLES` asks for another number.
#[test]
fn every_answer_is_one_that_the_document_promises() {
    let (database, asterisk) = (Database::create(), Asterisk::start_new());
    let portal = Settings::new(&database.url(), &asterisk).start();
    let examples = env::var("PBX_TEST_SCHEMATHESIS_EXAMPLES").unwrap_or_else(|_| "200".to_owned());
    // What it writes goes with the portal's own directory.
    let directory = portal.settings().working_directory().join("schemathesis");
    fs::create_dir(&directory).expect("a directory for schemathesis");
    let output = Command::new(PROGRAM)
        .args(["--config-file", CONFIGURATION, "run", "--checks", "all", "--max-examples", &examples])
        .arg(format!("{}/openapi.json", portal.url()))
        .env("PBX_TEST_TOKEN", portal.settings().token())
        .envs([("SCHEMATHESIS_HOOKS", HOOKS), ("PYTHONDONTWRITEBYTECODE", "1")])
        .current_dir(directory)
        .output()
        .expect("schemathesis, which deploy/sandbox/schemathesis installs");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    println!("{said}");
    assert!(output.status.success(), "{}", output.status);
    // It must have done what it is here for, past the token and as far as Asterisk.
    for phase in ["Examples (in", "Coverage (in", "Fuzzing (in", "Stateful (in", "Tested: 4"] {
        assert!(said.contains(phase), "{phase}");
    }
    let count = |query: &str| database.sql(query).parse::<u32>().expect("a number");
    assert!(count("SELECT revision FROM tenants") > 10, "users were created and deleted");
    let proven = "SELECT count(*) FROM apply_audit_log WHERE outcome IN ('applied', 'unchanged')";
    assert!(
        count(proven) > 1,
        "Asterisk was asked: {}",
        database.sql("SELECT outcome, count(*) FROM apply_audit_log GROUP BY 1")
    );
}
