//! The text of both files, as text. `UPDATE_GOLDEN=1 cargo test -p pbx-confgen` rewrites it.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may read its environment and write its fixtures"
)]

use std::path::Path;
use std::{env, fs};

use pbx_confgen::Renderer;
use pbx_domain::User;

use crate::users::{HOSTILE_NAMES, user};

fn assert_golden(case: &str, users: &[User]) {
    let rendering = Renderer::default().render(users).unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(case);
    for (file, text) in
        [("generated_endpoints.conf", &rendering.endpoints), ("generated_routing.conf", &rendering.routing)]
    {
        let path = folder.join(file);
        if env::var("UPDATE_GOLDEN").as_deref() == Ok("1") {
            fs::create_dir_all(&folder).unwrap();
            fs::write(&path, text).unwrap();
        }
        let golden = fs::read_to_string(&path).unwrap_or_default();
        assert!(golden == *text, "{case}/{file} is not as it was; UPDATE_GOLDEN=1 accepts this:\n{text}");
    }
}

#[test]
fn no_user_gives_files_that_load_all_the_same() {
    assert_golden("none", &[]);
}

#[test]
fn one_user() {
    assert_golden("one", &[user(1000, "Alice Example")]);
}

#[test]
fn two_users() {
    assert_golden("two", &[user(1000, "Alice Example"), user(1999, "Bob")]);
}

#[test]
fn users_with_hostile_names() {
    assert_golden("hostile", &(1000..).zip(HOSTILE_NAMES).map(|(n, name)| user(n, name)).collect::<Vec<_>>());
}
