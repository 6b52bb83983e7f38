use pbx_persistence::{Database, Protection};
use pbx_tests::Cluster;

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
