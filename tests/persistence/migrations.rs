use std::path::{Path, PathBuf};
use std::{fs, thread};

use pbx_persistence::DatabaseError;
use pbx_tests::Database;

use crate::persistence::{Fixture, chain, connect, create};

const TABLES: &str =
    "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' ORDER BY 1";

/// Tables, functions, types and whatever else is in the schema but for what Diesel keeps its list in.
const ANYTHING: &str = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relname NOT LIKE '\\_\\_diesel%' \
                        UNION ALL SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace \
                        UNION ALL SELECT typname FROM pg_type WHERE typnamespace = 'public'::regnamespace AND typname NOT LIKE '%\\_\\_diesel%'";

#[test]
fn an_empty_database_gets_the_four_tables_and_the_tenant() {
    let outside = Database::create();
    let inside = connect(&outside.url());
    let pending = inside.inspect().unwrap().pending;
    assert_eq!((pending.len(), outside.sql(TABLES).as_str()), (down_scripts().len(), ""), "asking writes nothing");
    assert_eq!(inside.migrate().unwrap(), pending);
    assert_eq!(outside.sql(TABLES), "__diesel_schema_migrations\napply_audit_log\nextensions\ntenants\nusers");
    assert_eq!(outside.sql("SELECT name, revision FROM tenants"), "default|0");
    assert_eq!((inside.inspect().unwrap().pending, inside.migrate().unwrap()), (vec![], vec![]));
}

#[test]
fn a_database_that_cannot_hold_every_name_is_refused() {
    let outside = Database::create_in_encoding("LATIN1");
    let inside = connect(&outside.url());
    for error in [inside.migrate().unwrap_err(), inside.inspect().unwrap_err()] {
        assert!(matches!(error, DatabaseError::WrongEncoding { .. }), "{}", chain(&error));
        assert!(error.to_string().contains("has the encoding LATIN1"), "{error}");
    }
    assert_eq!(outside.sql(TABLES), "");
}

#[test]
fn down_leaves_nothing_and_up_again_works() {
    let Fixture { outside, inside } = Fixture::new();
    create(&inside, 1).unwrap();
    for sql in down_scripts() {
        outside.sql(&sql);
    }
    assert_eq!(outside.sql(ANYTHING), "");
    outside.sql("DELETE FROM __diesel_schema_migrations");
    assert_eq!(inside.migrate().unwrap().len(), down_scripts().len());
    assert_eq!(create(&inside, 1).unwrap().extension.get(), 1000);
}

#[test]
fn a_database_of_the_first_release_keeps_its_users_up_and_down_and_up() {
    let outside = with_migrations(1);
    by_hand(&outside, 3);
    let taken = || outside.sql("SELECT revision, taken_extensions FROM tenants");
    let before = taken();

    let inside = connect(&outside.url());
    assert_eq!(inside.migrate().unwrap().len(), down_scripts().len() - 1);
    assert_eq!(inside.users().list().unwrap().users.len(), 3);
    for sql in &down_scripts()[..down_scripts().len() - 1] {
        outside.sql(sql);
    }
    assert_eq!(taken(), before, "the first release continues where it stopped");
    outside.sql("DELETE FROM __diesel_schema_migrations WHERE version <> '20261120000000'");
    inside.migrate().unwrap();
    assert_eq!(create(&inside, 9).unwrap().extension.get(), 1003);
}

/// A database that has the first migrations alone, such as one of the first release.
fn with_migrations(number: usize) -> Database {
    with_migrations_in("UTF8", number)
}

fn with_migrations_in(encoding: &str, number: usize) -> Database {
    let outside = Database::create_in_encoding(encoding);
    outside.sql(
        "CREATE TABLE __diesel_schema_migrations (version varchar(50) PRIMARY KEY, run_on timestamp NOT NULL DEFAULT now())",
    );
    let mut migrations: Vec<_> = fs::read_dir(migrations()).unwrap().map(|entry| entry.unwrap().path()).collect();
    migrations.sort();
    for migration in &migrations[..number] {
        let name = migration.file_name().unwrap().to_str().unwrap();
        let version = name.split('_').next().unwrap().replace('-', "");
        outside.sql(&fs::read_to_string(migration.join("up.sql")).unwrap());
        outside.sql(&format!("INSERT INTO __diesel_schema_migrations VALUES ('{version}')"));
    }
    outside
}

/// Creates so many users, as SQL written by hand does.
fn by_hand(outside: &Database, users: usize) {
    outside.sql(&format!(
        "INSERT INTO users (id, name, email) SELECT gen_random_uuid(), 'By hand', 'u' || n || '@example.com' FROM generate_series(1, {users}) n; \
         INSERT INTO extensions (number, user_id, realm, ha1) SELECT 999 + substr(email, 2, 1)::int, id, 'asterisk', repeat('0', 32) FROM users"
    ));
}

#[test]
fn a_migration_waits_for_a_writer_and_does_not_deadlock_with_it() {
    // What the writer has locked, and what it does while the migration waits.
    for (applied, begun, then) in [
        (1, "UPDATE tenants SET revision = revision + 1", "DELETE FROM extensions; DELETE FROM users"),
        (2, "UPDATE tenants SET revision = revision + 1; DELETE FROM extensions", "DELETE FROM users"),
        (4, "UPDATE tenants SET revision = revision + 1; DELETE FROM extensions", "DELETE FROM users"),
    ] {
        let outside = with_migrations(applied);
        by_hand(&outside, 1);
        let writer = outside.begin(begun);
        thread::scope(|scope| {
            let migrating = scope.spawn(|| connect(&outside.url()).migrate());
            outside.wait_for_waiting(1);
            writer.commit_after(then);
            let applied = migrating.join().unwrap().map_err(|error| chain(&error));
            assert!(applied.is_ok(), "{applied:?}");
        });
        assert_eq!(outside.sql("SELECT count(*) FROM users"), "0");
    }
}

#[test]
fn a_user_who_breaks_a_new_rule_is_named_with_what_to_do() {
    for (encoding, broken, shown) in [
        ("UTF8", "email = repeat('l', 65) || '@example.com'", ""),
        ("UTF8", "email = 'a@' || repeat('n', 64) || '.example'", ""),
        ("UTF8", "email = 'a@[b@c]'", ""),
        ("UTF8", "created_at = 'infinity'", "\"infinity\""),
        ("UTF8", "created_at = '0044-03-15 BC'", " BC\""),
        ("SQL_ASCII", r"name = E'J\xfcrgen'", r#""J\374rgen""#),
    ] {
        for fix in ["UPDATE users SET ", "DELETE FROM users "] {
            let outside = with_migrations_in(encoding, 2);
            by_hand(&outside, 3);
            let ids = outside.sql(&format!("UPDATE users SET {broken} WHERE email = 'u1@example.com' RETURNING id"));
            let id = ids.lines().next().unwrap();
            let inside = connect(&outside.url());
            let said = chain(&inside.migrate().unwrap_err());
            let email = outside.sql(&format!("SELECT email FROM users WHERE id = '{id}'"));
            assert!(
                said.contains(&format!("user {id} ({email})")) && said.contains("1 in all") && said.contains(shown),
                "{said}"
            );
            let command = said.split('"').find(|quoted| quoted.starts_with(fix)).unwrap_or_else(|| panic!("{said}"));
            outside.sql(command);
            inside.migrate().unwrap();
            assert!(inside.users().list().unwrap().users.len() >= 2);
        }
    }
}

#[test]
fn of_several_users_who_break_a_new_rule_each_is_mended_as_printed() {
    for (encoding, broken) in [
        ("UTF8", "email = substr(email, 1, 2) || '@[b@c]'"),
        ("UTF8", "created_at = 'infinity'"),
        ("SQL_ASCII", r"name = E'J\xfcrgen'"),
    ] {
        let outside = with_migrations_in(encoding, 2);
        by_hand(&outside, 3);
        outside.sql(&format!("UPDATE users SET {broken}"));
        let inside = connect(&outside.url());
        for left in [3, 2, 1] {
            let said = chain(&inside.migrate().unwrap_err());
            assert!(said.contains(&format!("{left} in all")), "{said}");
            outside.sql(said.split('"').find(|quoted| quoted.starts_with("UPDATE")).unwrap());
        }
        inside.migrate().unwrap();
        assert_eq!(inside.users().list().unwrap().users.len(), 3);
    }
}

#[test]
fn tables_in_a_schema_of_any_name_are_served() {
    let outside = Database::create();
    let (name, schema) = (outside.sql("SELECT current_database()"), r#""The PBX's 100%""#);
    outside.sql(&format!("CREATE SCHEMA {schema}; ALTER DATABASE {name} SET search_path = {schema}"));
    let inside = connect(&outside.url());
    inside.migrate().map_err(|error| chain(&error)).unwrap();
    create(&inside, 1).unwrap();
    let before = inside.users().list().unwrap();
    outside.sql(&format!("SET search_path = ''; UPDATE {schema}.users SET name = 'By hand'"));
    let after = inside.users().list_unless(before.token).unwrap().unwrap();
    assert_eq!((after.revision.get(), after.users[0].name.as_str()), (2, "By hand"));
}

#[test]
fn a_database_whose_strings_have_escapes_is_migrated() {
    let outside = Database::create();
    let name = outside.sql("SELECT current_database()");
    outside.sql(&format!("ALTER DATABASE \"{}\" SET standard_conforming_strings = off", name.trim()));
    let inside = connect(&outside.url());
    inside.migrate().map_err(|error| chain(&error)).unwrap();
    create(&inside, 1).unwrap();
}

fn migrations() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../migrations")
}

/// The last first.
fn down_scripts() -> Vec<String> {
    let mut migrations: Vec<_> = fs::read_dir(migrations()).unwrap().map(|entry| entry.unwrap().path()).collect();
    migrations.sort();
    migrations.iter().rev().map(|migration| fs::read_to_string(migration.join("down.sql")).unwrap()).collect()
}

#[test]
fn of_several_that_migrate_at_once_one_does_it_and_all_succeed() {
    let outside = Database::create();
    let applied: Vec<_> = thread::scope(|scope| {
        let migrate = || connect(&outside.url()).migrate().unwrap();
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(migrate)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(applied.len(), down_scripts().len(), "{applied:?}");
}

#[test]
fn a_role_that_may_only_use_the_tables_can_serve_a_migrated_database() {
    let Fixture { outside, .. } = Fixture::new();
    let role = format!("role_{}", outside.sql("SELECT current_database()").trim());
    outside.sql(&format!(
        "CREATE ROLE {role} LOGIN; REVOKE CREATE ON SCHEMA public FROM public; \
         GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}"
    ));
    let limited = connect(&outside.url_as(&role));
    assert_eq!(limited.migrate().unwrap(), Vec::<String>::new());
    let user = create(&limited, 1).unwrap();
    limited.users().delete(user.id).unwrap();
    outside.sql(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}

#[test]
fn a_migration_that_fails_is_named() {
    let outside = Database::create();
    outside.sql("CREATE TABLE users ()");
    let error = connect(&outside.url()).migrate().unwrap_err();
    let chain = chain(&error);
    assert!(chain.contains("initial") && chain.contains("relation \"users\" already exists"), "{chain}");
    assert_eq!(outside.sql(TABLES), "__diesel_schema_migrations\nusers", "a migration is applied whole or not at all");
}
