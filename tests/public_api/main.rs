//! The public interface of each library crate is the one that its `public-api.txt` lists. `UPDATE_GOLDEN=1` accepts
//! another; read it in the diff, and say in the changelog what it means for those who use it.
//!
//! rustdoc's JSON is unstable, so each version of `public-api` reads that of some toolchains only: `make public-api`
//! takes the one that it fits.
#![expect(clippy::disallowed_methods, reason = "it runs rustdoc, reads its environment and writes its fixtures")]
#![expect(clippy::unwrap_used, reason = "a failing step fails its test")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

const CRATES: [&str; 4] = ["asterisk", "confgen", "domain", "persistence"];

#[test]
fn every_public_interface_is_as_it_was() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut changed = Vec::new();
    for name in CRATES {
        let items = public_api::Builder::from_rustdoc_json(rustdoc_json(&root, name))
            .omit_blanket_impls(true)
            .omit_auto_trait_impls(true)
            .omit_auto_derived_impls(false)
            .build()
            .unwrap_or_else(|error| panic!("{error}: run `make public-api`, which takes the toolchain that fits"));
        let text = items.items().map(ToString::to_string).collect::<Vec<_>>().join("\n") + "\n";
        let path = root.join("crates").join(name).join("public-api.txt");
        if env::var("UPDATE_GOLDEN").as_deref() == Ok("1") {
            fs::write(&path, &text).unwrap();
        }
        let before = fs::read_to_string(&path).unwrap_or_default();
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        let (before, now) = (lines(&before), lines(&text));
        changed.extend(before.iter().filter(|line| !now.contains(line)).map(|line| format!("- {line}")));
        changed.extend(now.iter().filter(|line| !before.contains(line)).map(|line| format!("+ {line}")));
    }
    assert!(changed.is_empty(), "UPDATE_GOLDEN=1 make public-api accepts this:\n{}", changed.join("\n"));
}

/// What rustdoc says of a crate. Only rustdoc is allowed unstable features: a build with `RUSTC_BOOTSTRAP`
/// would be another build of everything.
fn rustdoc_json(root: &Path, name: &str) -> PathBuf {
    let target = env::current_exe().unwrap().ancestors().nth(3).unwrap().to_owned();
    let output = Command::new(env!("CARGO"))
        .args(["rustdoc", "--locked", "--quiet", "--lib", "--package", &format!("pbx-{name}"), "--target-dir"])
        .arg(&target)
        .args(["--", "-Z", "unstable-options", "--output-format", "json", "--cap-lints", "allow"])
        .env("RUSTDOC", root.join("tests/public_api/rustdoc"))
        .current_dir(root)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    target.join(format!("doc/pbx_{name}.json"))
}
