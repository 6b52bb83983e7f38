use pbx_persistence::{Database, Protection};

use crate::persistence::{Fixture, connect};

#[test]
fn a_database_that_is_well_has_nothing_missing() {
    let fixture = Fixture::new();
    let found = fixture.inside.inspect().unwrap();
    assert_eq!((found.pending.len(), found.unknown.len(), found.missing_rights.len()), (0, 0, 0), "{found:?}");
    assert_eq!(found.protection, Protection::Local);
    assert_eq!(found.server_version, fixture.outside.sql("SHOW server_version"));
}

#[test]
fn migrations_of_a_newer_portal_are_named() {
    let fixture = Fixture::new();
    fixture.outside.sql("INSERT INTO __diesel_schema_migrations (version) VALUES ('20991231000000')");
    assert_eq!(fixture.inside.inspect().unwrap().unknown, ["20991231000000"]);
}

#[test]
fn the_rights_that_a_role_lacks_are_named() {
    let fixture = Fixture::new();
    let role = format!("reader_{}", std::process::id());
    fixture.outside.sql(&format!("CREATE ROLE {role} LOGIN; GRANT SELECT ON users, extensions, tenants TO {role}"));
    let reader = connect(&fixture.outside.url().replace("postgres@", &format!("{role}@")));
    let missing = reader.inspect().unwrap().missing_rights;
    for right in ["INSERT on users", "UPDATE on tenants", "SELECT on __diesel_schema_migrations"] {
        assert!(missing.iter().any(|missing| missing == right), "{right} in {missing:?}");
    }
    assert!(!missing.iter().any(|missing| missing == "SELECT on users"), "{missing:?}");
    assert_eq!(reader.users().list().unwrap().users.len(), 0, "a role that may read can list");
    drop(reader);
    fixture.outside.sql(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}

#[test]
fn a_role_without_rights_on_the_schema_is_told_from_a_database_without_tables() {
    let empty = pbx_tests::Database::create();
    let role = format!("guest_{}", std::process::id());
    empty.sql(&format!("CREATE ROLE {role} LOGIN; REVOKE CREATE ON SCHEMA public FROM PUBLIC"));
    let url = empty.url().replace("postgres@", &format!("{role}@"));
    let missing = || Database::connect(&url, 1, pbx_tests::wait::LIMIT).unwrap().inspect().unwrap().missing_rights;
    assert_eq!(missing(), ["CREATE on schema public"]);
    empty.sql("REVOKE ALL ON SCHEMA public FROM PUBLIC");
    assert_eq!(missing(), ["USAGE on schema public"]);
    empty.sql(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}
