use crate::examples::{repository, run};

const USERS: &str = r#"[{"extension": 1000, "name": "Alice Example", "email": "alice@example.com",
    "ha1": "00000000000000000000000000001000"}]"#;

#[test]
fn either_file_is_rendered_from_json() {
    for file in ["endpoints", "routing"] {
        let golden = repository(&format!("crates/confgen/tests/golden/one/generated_{file}.conf"));
        assert_eq!(run("render", &[file], &[], USERS), Ok(golden));
    }
}

#[test]
fn a_value_that_breaks_a_rule_is_refused() {
    for (legal, illegal, reason) in [
        ("1000,", "2000,", "user 1: must be a number from 1000 to 1999"),
        ("Alice Example", "Alice\\n#include x", "must not contain U+000A"),
        ("\"ha1\"", "\"password\"", "\\\"ha1\\\" is missing"),
    ] {
        let said = run("render", &["endpoints"], &[], &USERS.replace(legal, illegal)).unwrap_err();
        assert!(said.contains(reason), "{said}");
    }
}
