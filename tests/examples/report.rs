use std::time::Duration;

use pbx_domain::{NewUser, Realm, SipPassword};

use crate::run;

#[test]
fn a_report_lists_who_has_which_extension() {
    let outside = pbx_tests::Database::create();
    let report = || run("report", &[], &[("DATABASE_URL", &outside.url())], "");
    let old = report().unwrap_err();
    assert!(old.contains("run `pbx-portal migrate`"), "{old}");

    let inside = pbx_persistence::Database::connect(&outside.url(), 1, Duration::from_secs(20)).unwrap();
    inside.migrate().unwrap();
    assert_eq!(report().as_deref(), Ok("0 users at revision 0; the next one gets 1000\n"));
    for (name, email) in [("Alice", "alice@example.com"), ("Bob", "bob@Example.com"), ("Eve", "eve@example.org")] {
        let new = NewUser { name: name.parse().unwrap(), email: email.parse().unwrap(), replaces: None };
        inside.users().create(&new, &Realm::default(), &SipPassword::generate().unwrap()).unwrap();
    }
    let expected = "1000 Alice <alice@example.com>\n1001 Bob <bob@Example.com>\n1002 Eve <eve@example.org>\n\
        2 at example.com\n1 at example.org\n3 users at revision 3; the next one gets 1003\n";
    assert_eq!(report().as_deref(), Ok(expected));
}
