use pbx_persistence::Database;

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
