//! Who depends on whom: our crates on each other and on outside packages, and the modules of the large crates on those
//! before them. A new dependency is a decision, made here.
#![expect(clippy::unwrap_used, reason = "a failing step fails its test")]
#![expect(clippy::disallowed_methods, reason = "it asks cargo")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// What each crate may know of ours.
const DEPENDENCIES: [(&str, &[&str]); 5] = [
    ("pbx-domain", &[]),
    ("pbx-asterisk", &[]),
    ("pbx-persistence", &["pbx-domain"]),
    ("pbx-confgen", &["pbx-domain"]),
    ("pbx-api", &["pbx-asterisk", "pbx-confgen", "pbx-domain", "pbx-persistence"]),
];

/// Outside packages that one crate uses, or a few.
const HOMES: [(&str, &[&str]); 14] = [
    ("actix-web", &["pbx-api"]),
    ("anyhow", &["pbx-api"]),
    ("askama", &["pbx-confgen"]),
    ("clap", &["pbx-api"]),
    ("config", &["pbx-api"]),
    ("diesel", &["pbx-persistence"]),
    ("diesel_migrations", &["pbx-persistence"]),
    ("email_address", &["pbx-domain"]),
    ("env_logger", &["pbx-api"]),
    ("getrandom", &["pbx-domain"]),
    ("md-5", &["pbx-domain"]),
    // Who and where this process is in the settings and `check`, and libpq's sockets; everything else about processes and files in
    // pbx-asterisk.
    ("rustix", &["pbx-api", "pbx-asterisk", "pbx-persistence"]),
    ("tempfile", &["pbx-asterisk"]),
    ("utoipa", &["pbx-api"]),
];

/// The modules of the large crates, each of which uses only those before it. What is beside them (`lib.rs`, say) is for all.
const MODULES: [(&str, &[&str]); 2] = [
    ("asterisk", &["text", "files", "ask", "proof", "deploy", "doctor"]),
    ("api", &["http", "settings", "operations", "program"]),
];

#[test]
fn within_a_crate_each_module_uses_those_before_it() {
    for (name, modules) in MODULES {
        let source = format!("{}/../crates/{name}/src", env!("CARGO_MANIFEST_DIR"));
        for (position, module) in modules.iter().enumerate() {
            let files = files_of(&PathBuf::from(format!("{source}/{module}")));
            for file in files.into_iter().chain([PathBuf::from(format!("{source}/{module}.rs"))]) {
                let text = fs::read_to_string(&file).unwrap();
                let code: String = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
                for above in &modules[position + 1..] {
                    assert!(!uses(&code, above), "{} uses {above}", file.display());
                }
            }
        }
    }
}

/// Whether code names this module of its crate: `crate::above`, or `use crate::{…, above`.
fn uses(code: &str, above: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    code.split("crate::").skip(1).any(|rest| {
        let named = if rest.starts_with('{') { rest.split(';').next().unwrap_or_default() } else { rest };
        let mut at = named.match_indices(above).map(|(at, _)| named.split_at(at));
        at.any(|(before, after)| {
            let is_first =
                before.is_empty() || (rest.starts_with('{') && !before.ends_with(|c| is_word(c) || c == ':'));
            is_first && !after[above.len()..].starts_with(is_word)
        })
    })
}

fn files_of(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let (directories, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let rust = files.into_iter().filter(|path| path.extension().is_some_and(|end| end == "rs"));
    rust.chain(directories.iter().flat_map(|directory| files_of(directory))).collect()
}

#[test]
fn every_dependency_between_our_crates_is_a_decision() {
    let found = dependencies();
    let crates: BTreeSet<&str> = found.keys().map(String::as_str).filter(|name| *name != "pbx-tests").collect();
    assert_eq!(crates, DEPENDENCIES.iter().map(|(name, _)| *name).collect(), "a crate came or went");
    for (name, allowed) in DEPENDENCIES {
        let ours: BTreeSet<&str> =
            found[name].iter().map(String::as_str).filter(|dependency| dependency.starts_with("pbx-")).collect();
        assert_eq!(ours, allowed.iter().copied().collect(), "the dependencies of {name}");
    }
}

#[test]
fn outside_packages_stay_in_their_crates() {
    let found = dependencies();
    for (package, crates) in HOMES {
        let homes: Vec<&str> = found
            .iter()
            .filter(|(name, dependencies)| *name != "pbx-tests" && dependencies.contains(package))
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(homes, crates, "who depends on {package}");
    }
}

#[test]
fn the_harness_knows_no_crate_of_ours() {
    let ours: Vec<String> =
        dependencies()["pbx-tests"].iter().filter(|name| name.starts_with("pbx-")).cloned().collect();
    assert_eq!(ours, Vec::<String>::new());
}

/// Each crate of the workspace and what it directly depends on when it is built for use.
///
/// `cargo tree --invert` is no guard: it succeeds for packages that only tests depend on.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version=1", "--offline", "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| {
            let all = package["dependencies"].as_array().unwrap().iter();
            let built = all.filter(|dependency| dependency["kind"] != "dev");
            (text(&package["name"]), built.map(|dependency| text(&dependency["name"])).collect())
        })
        .collect()
}
