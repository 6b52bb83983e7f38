//! What is kept in memory goes by the token, so every change has to replace it.

use pbx_domain::CreateRefusal;
use pbx_persistence::{ChangeToken, CreateUserError};

use crate::persistence::{Fixture, connect, create};

fn token(fixture: &Fixture) -> ChangeToken {
    fixture.inside.users().list().unwrap().token
}

#[test]
fn every_change_replaces_the_token_by_hand_too() {
    let fixture = Fixture::new();
    let mut tokens = vec![token(&fixture)];
    let mut expect_another = |what: &str| {
        let token = token(&fixture);
        assert!(!tokens.contains(&token), "{what}");
        tokens.push(token);
    };
    let users: Vec<_> = (0..5).map(|number| fixture.create(number)).collect();
    expect_another("a create");
    fixture.inside.users().delete(users[4].id).unwrap();
    expect_another("a delete");
    let first = format!("WHERE user_id = '{}'", users[0].id);
    for sql in [
        "UPDATE users SET name = 'By hand'",
        &format!("UPDATE extensions SET ha1 = repeat('f', 32) {first}"),
        &format!("UPDATE extensions SET number = 1500 {first}"),
        "UPDATE tenants SET revision = 0; UPDATE users SET name = 'tenants was written first'",
        "UPDATE tenants SET moved_by = pg_current_xact_id(); UPDATE users SET name = 'a restored number'",
        "INSERT INTO tenants (name) VALUES ('other'); \
         WITH user_ AS (INSERT INTO users (id, tenant, name, email) VALUES (gen_random_uuid(), 'other', 'x', 'x@example.com') RETURNING id) \
         INSERT INTO extensions (tenant, number, user_id, realm, ha1) SELECT 'other', 1999, id, 'asterisk', repeat('0', 32) FROM user_",
        "DELETE FROM users WHERE name = 'tenants was written first' OR email = 'u1@example.com'",
        "TRUNCATE users CASCADE",
    ] {
        fixture.outside.sql(sql);
        expect_another(sql);
    }
}

#[test]
fn a_revision_that_moved_alone_is_a_change() {
    let fixture = Fixture::new();
    let users = [0, 1, 2].map(|number| fixture.create(number));
    // As where rows arrive by logical replication, for which triggers of rows fire and those of statements do not.
    let token = fixture.outside.sql("SELECT token FROM tenants");
    fixture.outside.sql(&format!(
        "BEGIN; DELETE FROM users WHERE id = '{}'; UPDATE tenants SET token = '{token}'; COMMIT",
        users[1].id
    ));
    assert_eq!(fixture.outside.sql("SELECT token FROM tenants"), token);
    assert_eq!(fixture.create(3).extension.get(), 1001);
}

#[test]
fn a_change_beside_a_temporary_table_of_the_same_name_is_a_change() {
    is_a_change_after("CREATE TEMP TABLE tenants AS TABLE tenants");
}

#[test]
fn a_change_beside_older_copies_of_the_tables_is_a_change() {
    is_a_change_after(
        "CREATE SCHEMA old; CREATE TABLE old.tenants AS TABLE tenants; CREATE TABLE old.users AS TABLE users; \
         SET search_path = old, public",
    );
}

/// As `pg_restore` and logical replication make it.
#[test]
fn a_change_without_a_search_path_is_a_change() {
    is_a_change_after("SET search_path = ''");
}

/// Whether changes of the users move the revision, replace the token, and lock the tenant, in a session that began so.
fn is_a_change_after(session: &str) {
    let fixture = Fixture::new();
    let users = fixture.inside.users();
    (0..3).for_each(|number| drop(fixture.create(number)));
    for sql in [
        "UPDATE public.users SET name = 'By hand'",
        "UPDATE public.extensions SET ha1 = repeat('f', 32) WHERE number = 1000",
        "WITH made AS (INSERT INTO public.users (id, name, email) VALUES (gen_random_uuid(), 'x', 'x@example.com') RETURNING id) \
         INSERT INTO public.extensions (number, user_id, realm, ha1) SELECT 1003, id, 'asterisk', repeat('0', 32) FROM made",
        "DELETE FROM public.users WHERE email = 'u1@example.com'",
        "TRUNCATE public.users CASCADE",
    ] {
        let before = users.list().unwrap();
        fixture.outside.sql(&format!("{session}; {sql}; DROP SCHEMA IF EXISTS old CASCADE"));
        let after = users.list_unless(before.token).unwrap().map(|list| list.revision.get());
        assert_eq!(after, Some(before.revision.get() + 1), "{sql}");
        if sql.starts_with("DELETE") {
            assert_eq!(fixture.create(1).extension.get(), 1001, "the lowest that is free");
        }
    }
    let _writer = fixture.outside.begin(&format!("{session}; UPDATE public.users SET name = 'x' WHERE false"));
    let locked = fixture.outside.try_sql("SELECT FROM tenants FOR NO KEY UPDATE NOWAIT").unwrap_err();
    assert!(locked.contains("could not obtain lock"), "{locked}");
}

#[test]
fn a_user_who_is_moved_to_another_tenant_by_one_statement_is_a_change() {
    let fixture = Fixture::new();
    let user = fixture.create(1);
    fixture.outside.sql("INSERT INTO tenants (name) VALUES ('other')");
    let before = fixture.inside.users().list().unwrap();
    fixture.outside.sql(&format!(
        "ALTER TABLE extensions DROP CONSTRAINT extensions_user_fkey; \
         ALTER TABLE extensions ADD CONSTRAINT extensions_user_fkey FOREIGN KEY (tenant, user_id) \
         REFERENCES users (tenant, id) ON DELETE CASCADE ON UPDATE CASCADE; \
         UPDATE users SET tenant = 'other' WHERE id = '{}'",
        user.id
    ));
    let after = fixture.inside.users().list().unwrap();
    assert_eq!((before.users.len(), after.users.len()), (1, 0));
    assert_ne!(before.token, after.token);
    assert!(after.revision > before.revision);
}

#[test]
fn a_list_is_read_again_only_when_something_changed() {
    let fixture = Fixture::new();
    let users = fixture.inside.users();
    let empty = users.list().unwrap();
    assert_eq!((empty.users.len(), users.list_unless(empty.token).unwrap()), (0, None));
    let user = fixture.create(1);
    let list = users.list_unless(empty.token).unwrap().unwrap();
    assert_eq!(list.users, [user]);
    assert_eq!(users.list_unless(list.token).unwrap(), None);
    fixture.outside.sql("DELETE FROM users WHERE false");
    let list = users.list().unwrap();
    assert_eq!((list.users.len(), list.revision.get()), (1, 1), "nothing was changed");
}

#[test]
fn a_change_with_the_triggers_disabled_is_listed_all_the_same() {
    let fixture = Fixture::new();
    let users = fixture.inside.users();
    fixture.create(1);
    let mut token = token(&fixture);
    let mut expect_name = |sql: &str, name: &str| {
        fixture.outside.sql(sql);
        let list = users.list_unless(token).unwrap().expect(sql);
        assert_eq!(list.users[0].name.as_str(), name, "{sql}");
        token = list.token;
    };
    // In a session that replicates, the triggers of the migration run as in any other.
    expect_name("SET session_replication_role = replica; UPDATE users SET name = 'A'", "A");
    fixture.outside.sql("UPDATE tenants SET revision = 7");
    assert_eq!(fixture.revision(), 7);
    expect_name("UPDATE tenants SET revision = 1", "A");
    // As `pg_restore --data-only --disable-triggers` does it.
    expect_name(
        "ALTER TABLE users DISABLE TRIGGER ALL; UPDATE users SET name = 'B'; ALTER TABLE users ENABLE TRIGGER ALL",
        "B",
    );
}

#[test]
fn a_change_for_which_no_trigger_fires_is_known_all_the_same() {
    let fixture = Fixture::new();
    let users = fixture.inside.users();
    for number in 0..3 {
        fixture.create(number);
    }
    let token = token(&fixture);
    fixture.outside.sql("ALTER TABLE users ALTER name TYPE text USING upper(name)");
    let rewritten = users.list_unless(token).unwrap().unwrap();
    assert_eq!(rewritten.users[0].name.as_str(), rewritten.users[0].name.as_str().to_uppercase());
    for sql in [
        "ALTER TABLE users DISABLE TRIGGER users_token; ALTER TABLE extensions DISABLE TRIGGER extensions_token",
        "DELETE FROM users WHERE email = 'u1@example.com'",
        "ALTER TABLE users ENABLE ALWAYS TRIGGER users_token; ALTER TABLE extensions ENABLE ALWAYS TRIGGER extensions_token",
    ] {
        fixture.outside.sql(sql);
    }
    assert_eq!(fixture.create(3).extension.get(), 1001, "the lowest that is free");
    let list = users.list().unwrap();
    assert_eq!(users.list_unless(list.token).unwrap(), None);
    assert_eq!(list.users.len(), 3);
}

#[test]
fn where_triggers_were_dropped_every_list_is_read_anew() {
    let fixture = Fixture::new();
    let users = fixture.inside.users();
    fixture.create(1);
    let mut token = token(&fixture);
    assert_eq!(users.list_unless(token).unwrap(), None);
    fixture.outside.sql("DROP TRIGGER users_token ON users; DROP TRIGGER users_revision ON users");
    // By the second change, no token is known that the triggers made.
    for name in ["A", "B"] {
        fixture.outside.sql(&format!("UPDATE users SET name = '{name}'"));
        let list = users.list_unless(token).unwrap().unwrap();
        assert_eq!(list.users[0].name.as_str(), name);
        token = list.token;
    }
}

#[test]
fn where_triggers_are_disabled_no_change_goes_by_remembered_users() {
    let fixture = Fixture::new();
    for number in 0..3 {
        fixture.create(number);
    }
    for table in ["users", "extensions"] {
        fixture.outside.sql(&format!("ALTER TABLE {table} DISABLE TRIGGER USER"));
    }
    fixture.outside.sql("DELETE FROM extensions WHERE number = 1001; DELETE FROM users WHERE email = 'u1@example.com'");
    assert_eq!(fixture.create(3).extension.get(), 1001, "the lowest that is free");
    fixture.outside.sql("DELETE FROM extensions WHERE number = 1000; DELETE FROM users WHERE email = 'u0@example.com'");
    assert_eq!(fixture.create(0).extension.get(), 1000, "its address is free");
    fixture.outside.sql("DELETE FROM extensions WHERE number = 1002; DELETE FROM users WHERE email = 'u2@example.com'");
    assert!(matches!(create(&fixture.inside, 0), Err(CreateUserError::Refused(CreateRefusal::EmailTaken { .. }))));
    assert_eq!(fixture.extensions(), [1000, 1001]);
}

#[test]
fn users_that_were_written_behind_the_triggers_are_noticed() {
    let fixture = Fixture::new();
    fixture.create(0);
    let other = connect(&fixture.outside.url());
    let token = fixture.outside.sql("SELECT token FROM tenants");
    create(&other, 1).unwrap();
    fixture.outside.sql(&format!("UPDATE tenants SET token = '{token}'"));
    assert_eq!(fixture.create(2).extension.get(), 1002);
}

#[test]
fn two_histories_with_the_same_revision_have_different_tokens() {
    let fixture = Fixture::new();
    fixture.create(1);
    let before = fixture.inside.users().list().unwrap();
    let lost = fixture.create(2);
    let with_lost = fixture.inside.users().list().unwrap();
    // What a restore, or a standby that lagged, makes of it.
    fixture.outside.sql(&format!("DELETE FROM users WHERE id = '{}'; UPDATE tenants SET revision = 1", lost.id));
    fixture.create(3);
    let after = fixture.inside.users().list().unwrap();
    assert_eq!(after.revision, with_lost.revision);
    assert!(after.token != with_lost.token && after.token != before.token);
}

#[test]
fn a_database_has_an_identity_of_its_own() {
    let [first, second] = [Fixture::new(), Fixture::new()];
    let identity = |fixture: &Fixture| fixture.inside.users().list().unwrap().database;
    assert_ne!(identity(&first), identity(&second));
    let before = identity(&first);
    first.create(1);
    assert_eq!((identity(&first), connect(&first.outside.url()).users().list().unwrap().database), (before, before));
}

#[test]
fn a_change_that_met_nobody_leaves_the_token() {
    let fixture = Fixture::new();
    let user = fixture.create(1);
    let other = connect(&fixture.outside.url());
    other.users().delete(user.id).unwrap();
    let before = token(&fixture);
    // It goes by what it knows, in vain, and learns that there is no such user.
    assert!(!fixture.inside.users().delete(user.id).unwrap());
    fixture.outside.sql("UPDATE users SET name = 'X' WHERE false");
    assert_eq!(token(&fixture), before);
}
