use std::collections::BTreeSet;

use pbx_persistence::{Database, Protection};
use pbx_tests::Cluster;

use crate::persistence::{Fixture, chain};

#[test]
fn a_role_without_rights_on_the_schema_is_told_from_a_database_without_tables() {
    let empty = pbx_tests::Database::create();
    let role = format!("guest_{}", std::process::id());
    empty.sql(&format!("CREATE ROLE {role} LOGIN; REVOKE CREATE ON SCHEMA public FROM PUBLIC"));
    let url = empty.url_as(&role);
    let missing = || Database::connect(&url, 1, pbx_tests::wait::LIMIT).unwrap().inspect().unwrap().missing_rights;
    assert_eq!(missing(), ["CREATE on schema public"]);
    empty.sql("REVOKE ALL ON SCHEMA public FROM PUBLIC");
    assert_eq!(missing(), ["USAGE on schema public"]);
    empty.sql(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}

#[test]
fn a_connection_that_postgresql_alone_calls_local_is_not_known() {
    let cluster = Cluster::start_new();
    let outside = pbx_tests::Database::create_in(&cluster.url());
    let protection = |host: &str| {
        let url = outside.url().replace("127.0.0.1:", &format!("{host}:"));
        let database = Database::connect(&url, 1, pbx_tests::wait::LIMIT).unwrap();
        database.inspect().unwrap().protection
    };
    assert_eq!(protection("127.0.0.1"), Protection::Local);
    // The same address in a form that is none of this host's, as that of a host on which a pooler passes it on.
    assert_eq!(protection("[::ffff:127.0.0.1]"), Protection::Unknown);
}

/// What `pg_restore` makes after the data, and a restore that ends before it leaves out.
#[test]
fn each_key_and_trigger_that_is_gone_is_named() {
    let fixture = Fixture::new();
    let all = || -> BTreeSet<String> {
        let sql = "SELECT conrelid::regclass || '.' || conname FROM pg_constraint JOIN pg_class t ON t.oid = conrelid \
                   WHERE contype IN ('p', 'u', 'f') AND relname IN ('tenants', 'users', 'extensions', 'apply_audit_log') UNION \
                   SELECT tgrelid::regclass || '.' || tgname FROM pg_trigger WHERE NOT tgisinternal UNION \
                   SELECT 'users.' || relname FROM pg_class WHERE relname = 'users_email_key'";
        fixture.outside.sql(sql).lines().map(str::to_owned).collect()
    };
    let whole = all();
    let name = |found: &String| found.split_once('.').unwrap().1.to_owned();
    for gone in &whole {
        let (table, name_of_it) = gone.split_once('.').unwrap();
        if name_of_it == "users_email_key" {
            fixture.outside.sql("DROP INDEX users_email_key");
        } else if name_of_it.ends_with("key") {
            fixture.outside.sql(&format!("ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {name_of_it} CASCADE"));
        } else {
            fixture.outside.sql(&format!("DROP TRIGGER {name_of_it} ON {table}"));
        }
        let missing: BTreeSet<_> = fixture.inside.inspect().unwrap().missing_rules.into_iter().collect();
        assert_eq!(missing, whole.difference(&all()).map(name).collect());
    }
    assert!(all().is_empty() && whole.len() > 15, "{whole:?}");
}

#[test]
fn a_rehearsal_does_what_an_apply_does() {
    let fixture = Fixture::new();
    fixture.inside.rehearse_change().unwrap();
    fixture.outside.sql("ALTER TABLE apply_audit_log DROP CONSTRAINT apply_audit_log_pkey");
    let error = chain(&fixture.inside.rehearse_change().unwrap_err());
    assert!(error.contains("INSERT of apply_audit_log: ") && error.contains("ON CONFLICT"), "{error}");
}
