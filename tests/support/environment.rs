//! The environment variables of a test run.

use std::env;
use std::path::PathBuf;

/// Whether PostgreSQL syncs what it commits: `on` where figures are wanted.
pub(crate) fn fsync() -> String {
    env::var("PBX_SANDBOX_FSYNC").unwrap_or_else(|_| "off".to_owned())
}

/// The URL of the superuser database in a private PostgreSQL cluster.
pub(crate) fn postgres_url() -> String {
    required("PBX_TEST_POSTGRES")
}

/// The root of an Asterisk: an unpacked tree, or `/` for an installed one.
pub(crate) fn asterisk_root() -> PathBuf {
    PathBuf::from(required("PBX_TEST_ASTERISK"))
}

/// The program under test: the one that cargo built beside this test.
pub(crate) fn portal_program() -> PathBuf {
    if let Ok(path) = env::var("PBX_TEST_PORTAL") {
        return PathBuf::from(path);
    }
    // target/<profile>/deps/<test> (or …/examples/demo) → target/<profile>/pbx-portal
    let own = env::current_exe().expect("the test's own path");
    let path = own.ancestors().nth(2).expect("a test lies in target/<profile>/deps").join("pbx-portal");
    assert!(path.exists(), "{} is missing: build it with `cargo build --workspace`", path.display());
    path
}

fn required(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run the tests through `make test`"))
}
