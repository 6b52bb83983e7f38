//! The example of each library crate, as it stands: it runs on its own, and does what it says.
#![expect(clippy::disallowed_methods, reason = "a test runs programs and writes their files")]
#![expect(clippy::unwrap_used, reason = "a test's helper that fails fails the test")]

mod allocate;
mod deploy;
mod options;
mod pages;
mod render;
mod report;

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// Runs an example that cargo built beside this test; gives what it printed, or what it said when it failed.
fn run(example: &str, arguments: &[&str], variables: &[(&str, &str)], input: &str) -> Result<String, String> {
    let own = std::env::current_exe().unwrap();
    // target/<profile>/deps/<test> → target/<profile>/examples/<example>
    let program = own.ancestors().nth(2).unwrap().join("examples").join(example);
    assert!(program.exists(), "{} is missing: cargo build --workspace --all-targets", program.display());
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(variables.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

/// A file of another crate.
fn repository(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)).unwrap()
}
