use std::process;
use std::time::{Duration, SystemTime};

use pbx_domain::{ApplyId, NewUser, Realm, SipPassword};
use pbx_persistence::StartedApply;

use crate::examples::{repository, run};

#[test]
fn a_report_lists_users_applies_and_what_waits() {
    let outside = pbx_tests::Database::create();
    let report = |url: &str| run("report", &[], &[("DATABASE_URL", url)], "");
    let old = report(&outside.url()).unwrap_err();
    assert!(old.contains("run `pbx-portal migrate`"), "{old}");

    let inside = pbx_persistence::Database::connect(&outside.url(), 1, Duration::from_secs(20)).unwrap();
    inside.migrate().unwrap();
    // The role of the crate's page, under a name that no other run has.
    let page = repository("crates/persistence/README.md");
    let role = format!("report_{}", process::id());
    outside.sql(&page.split("```").find_map(|block| block.strip_prefix("sql\n")).unwrap().replace("report", &role));
    let url = outside.url_as(&role);
    let report = || report(&url);
    assert_eq!(report().as_deref(), Ok("0 users at revision 0\n"));
    for (name, email) in [("Alice", "alice@example.com"), ("Bob", "bob@Example.com")] {
        let new = NewUser { name: name.parse().unwrap(), email: email.parse().unwrap(), replaces: None };
        inside.users().create(&new, &Realm::default(), &SipPassword::generate().unwrap()).unwrap();
    }
    let begun = |node: &str, second: u64| StartedApply {
        id: ApplyId::generate(),
        node: node.to_owned(),
        actor: None,
        request_id: "nightly".to_owned(),
        started_at: SystemTime::UNIX_EPOCH + Duration::from_secs(second),
    };
    for (node, second) in [("pbx-a", 1), ("pbx-b", 2)] {
        inside.apply_log().begin(&begun(node, second), &[]).unwrap();
    }
    outside.sql(
        "UPDATE apply_audit_log SET outcome = 'applied', finished_at = started_at, duration_ms = 1 WHERE node = 'pbx-b'",
    );
    let expected = "1000 Alice <alice@example.com>\n1001 Bob <bob@Example.com>\n2 users at revision 2\n\
        pbx-b: revision 2 was applied\npbx-a: revision 2 is running\npbx-a: 2 new or changed users wait\n";
    assert_eq!(report().as_deref(), Ok(expected));
    outside.sql("CREATE TABLE later (number integer)");
    assert_eq!(outside.sql(&format!("SELECT has_table_privilege('{role}', 'later', 'SELECT')")), "t");
    outside.sql(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}
