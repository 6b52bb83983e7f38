use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use std::{iter, thread};

use pbx_domain::{CreateRefusal, Ha1, NewUser, Realm, SipPassword, UserId};
use pbx_persistence::{CreateUserError, Database, DatabaseError};

use crate::persistence::apply_log::started;
use crate::persistence::{Fixture, chain, connect, create, new_user};

#[test]
fn a_user_is_listed_as_it_was_created() {
    let fixture = Fixture::new();
    let realm: Realm = "Two Words".parse().unwrap();
    let password = SipPassword::generate().unwrap();
    let name = r#"Zoë "Zee" \; #include ${EXTEN} 😀 李雷"#;
    let new = NewUser { name: name.parse().unwrap(), email: "\"A b\"@Example.COM".parse().unwrap(), replaces: None };
    let user = fixture.inside.users().create(&new, &realm, &password).unwrap();
    assert_eq!((&user.name, &user.email, user.extension.get()), (&new.name, &new.email, 1000));
    assert_eq!((&user.realm, &user.ha1), (&realm, &Ha1::of(user.extension, &realm, &password)));
    assert_eq!(user.revision.get(), 1);
    let list = fixture.inside.users().list().unwrap();
    assert_eq!((list.revision, list.users), (user.revision, vec![user]));
}

#[test]
fn nobody_is_listed_with_the_revision_all_the_same() {
    let fixture = Fixture::new();
    let list = fixture.inside.users().list().unwrap();
    assert_eq!((list.revision.get(), list.users), (0, vec![]));
    let alice = fixture.create(1);
    fixture.inside.users().delete(alice.id).unwrap();
    let list = fixture.inside.users().list().unwrap();
    assert_eq!((list.revision.get(), list.users), (2, vec![]));
}

#[test]
fn the_password_is_nowhere_in_the_database() {
    let fixture = Fixture::new();
    let password = SipPassword::generate().unwrap();
    fixture.inside.users().create(&new_user(1), &Realm::default(), &password).unwrap();
    let rows = fixture.outside.sql("SELECT * FROM users; ") + &fixture.outside.sql("SELECT * FROM extensions");
    assert!(rows.contains("u1@example.com") && !rows.contains(password.reveal()), "{rows}");
}

#[test]
fn a_deleted_users_extension_is_free_at_once_and_the_lowest_goes_first() {
    let fixture = Fixture::new();
    let users: Vec<_> = (0..5).map(|number| fixture.create(number)).collect();
    for deleted in [3, 1] {
        fixture.inside.users().delete(users[deleted].id).unwrap();
    }
    assert_eq!(fixture.extensions(), [1000, 1002, 1004]);
    assert_eq!([5, 6, 7].map(|number| fixture.create(number).extension.get()), [1001, 1003, 1005]);
    assert!(!fixture.inside.users().delete(users[1].id).unwrap());
}

#[test]
fn deleting_nobody_changes_nothing() {
    let fixture = Fixture::new();
    fixture.create(1);
    assert!(!fixture.inside.users().delete(UserId::generate()).unwrap());
    assert_eq!(fixture.revision(), 1);
}

#[test]
fn an_address_is_taken_in_any_case_and_a_refusal_changes_nothing() {
    let fixture = Fixture::new();
    let alice = fixture.create(1);
    for email in ["u1@example.com", "U1@EXAMPLE.com"] {
        let new = NewUser { name: "Other".parse().unwrap(), email: email.parse().unwrap(), replaces: None };
        let result = fixture.inside.users().create(&new, &Realm::default(), &SipPassword::generate().unwrap());
        assert!(matches!(result, Err(CreateUserError::Refused(CreateRefusal::EmailTaken { .. }))), "{result:?}");
    }
    assert_eq!((fixture.revision(), fixture.extensions()), (1, vec![1000]));
    fixture.inside.users().delete(alice.id).unwrap();
    fixture.create(1);
}

#[test]
fn of_many_who_want_one_address_one_gets_it() {
    let fixture = Fixture::new();
    let results = in_threads(16, |_| create(&fixture.inside, 7));
    let (created, refused): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    assert_eq!(created.len(), 1);
    assert!(
        refused.iter().all(|result| matches!(result, Err(CreateUserError::Refused(CreateRefusal::EmailTaken { .. })))),
        "{refused:?}"
    );
    assert_eq!((fixture.revision(), fixture.extensions()), (1, vec![1000]));
}

#[test]
fn a_thousand_creates_at_once_give_each_number_once() {
    let fixture = Fixture::new();
    let pools = [fixture.inside.clone(), connect(&fixture.outside.url())];
    let next = AtomicUsize::new(0);
    let created = in_threads(64, |thread| {
        let number = || Some(next.fetch_add(1, Ordering::Relaxed)).filter(|number| *number < 1000);
        iter::from_fn(number).map(|number| create(&pools[thread % 2], number).unwrap()).collect::<Vec<_>>()
    });
    let users: Vec<_> = created.into_iter().flatten().collect();
    let numbers: BTreeSet<_> = users.iter().map(|user| user.extension.get()).collect();
    assert_eq!((users.len(), numbers), (1000, (1000..=1999).collect()));
    assert_eq!(fixture.extensions(), (1000..=1999).collect::<Vec<_>>());
    let revision = fixture.revision();
    assert!(revision < 1000, "creates share a commit: {revision}");

    let exhausted = create(&fixture.inside, 1000);
    assert!(matches!(exhausted, Err(CreateUserError::Refused(CreateRefusal::Exhausted))), "{exhausted:?}");
    let taken = create(&fixture.inside, 999);
    assert!(matches!(taken, Err(CreateUserError::Refused(CreateRefusal::EmailTaken { .. }))), "{taken:?}");
    assert_eq!(fixture.revision(), revision);

    fill_holes_at_once(&pools, &fixture);
}

/// Holes all over the range, and the creators of both pools at them: each hole is filled once.
fn fill_holes_at_once(pools: &[Database; 2], fixture: &Fixture) {
    let users = fixture.inside.users().list().unwrap().users;
    let holes: BTreeSet<_> = users.iter().step_by(7).map(|user| user.extension.get()).collect();
    for user in users.iter().step_by(7) {
        fixture.inside.users().delete(user.id).unwrap();
    }
    let filled = in_threads(holes.len(), |thread| create(&pools[thread % 2], 2000 + thread).unwrap().extension.get());
    assert_eq!(filled.into_iter().collect::<BTreeSet<_>>(), holes);
    assert_eq!(fixture.extensions(), (1000..=1999).collect::<Vec<_>>());
}

#[test]
fn creates_and_deletes_at_once_leave_no_gap_that_a_later_create_would_miss() {
    let fixture = Fixture::new();
    in_threads(16, |thread| {
        for round in 0..10 {
            let user = create(&fixture.inside, thread * 10 + round).unwrap();
            assert!(user.extension.get() < 1016, "at most 16 are there at a time, {} was given", user.extension);
            fixture.inside.users().delete(user.id).unwrap();
        }
    });
    assert_eq!(fixture.create(0).extension.get(), 1000);
}

#[test]
fn a_list_is_of_one_moment() {
    let fixture = Fixture::new();
    thread::scope(|scope| {
        let writer = scope.spawn(|| (0..200).for_each(|number| drop(fixture.create(number))));
        while !writer.is_finished() {
            let list = fixture.inside.users().list().unwrap();
            assert_eq!(list.users.len(), usize::try_from(list.revision.get()).unwrap(), "one creates at a time");
            assert!(list.users.iter().all(|user| user.revision <= list.revision));
        }
    });
}

#[test]
fn a_row_that_breaks_a_rule_is_named_and_nothing_panics() {
    let fixture = Fixture::new();
    let users: Vec<_> = (0..3).map(|number| fixture.create(number)).collect();
    fixture.outside.sql("ALTER TABLE extensions DISABLE TRIGGER USER");
    for (table, column, value, message) in [
        ("users", "name", "' x'", None),
        ("users", "name", "U&'a\\000A'", Some("the name must not contain U+000A")),
        ("users", "email", "'nobody'", Some("the email must be a mail address")),
        ("extensions", "ha1", "'s3cret'", Some("the ha1 must be 32 lower-case hexadecimal digits")),
        ("extensions", "realm", "'a:b'", Some("the realm must be")),
        ("extensions", "number", "999", Some("the extension must be a number from 1000 to 1999")),
    ] {
        let id = users[1].id;
        let key = if table == "users" { "id" } else { "user_id" };
        let constraints = fixture.outside.sql(&format!(
            "SELECT string_agg(format('DROP CONSTRAINT %I', conname), ', ') FROM pg_constraint \
             WHERE contype = 'c' AND conrelid = '{table}'::regclass"
        ));
        if !constraints.is_empty() {
            fixture.outside.sql(&format!("ALTER TABLE {table} {constraints}"));
        }
        let before = fixture.outside.sql(&format!("SELECT quote_literal({column}) FROM {table} WHERE {key} = '{id}'"));
        fixture.outside.sql(&format!("UPDATE {table} SET {column} = {value} WHERE {key} = '{id}'"));
        match (fixture.inside.users().list(), message) {
            (Ok(list), None) => assert_eq!(list.users.len(), 3, "blanks at the ends are trimmed"),
            (Err(error), Some(message)) => {
                let chain = chain(&error);
                assert!(chain.contains(&format!("user {id}: {message}")) && !chain.contains("s3cret"), "{chain}");
            }
            (result, _) => panic!("{column} = {value}: {result:?}"),
        }
        fixture.outside.sql(&format!("UPDATE {table} SET {column} = {before} WHERE {key} = '{id}'"));
    }
    assert_eq!(fixture.inside.users().list().unwrap().users.len(), 3);
}

/// As after a restore that failed in part: an apply would take the others out of Asterisk, and a number be given twice.
#[test]
fn halves_of_users_are_named_and_nothing_is_listed_or_changed() {
    for (half, words) in [
        ("DELETE FROM users WHERE email = 'u1@example.com'", "the extension 1001 has no user"),
        ("DELETE FROM extensions WHERE number = 1001", "the user ID has no extension"),
    ] {
        let fixture = Fixture::new();
        let second = [0, 1, 2].map(|number| fixture.create(number))[1].id;
        let (users, log) = (fixture.inside.users(), fixture.inside.apply_log());
        let known = users.list().unwrap().token;
        let tenant = fixture.outside.sql("SELECT format('token = %L, revision = %s', token, revision) FROM tenants");
        fixture.outside.sql(&format!("SET session_replication_role = replica; {half}"));
        let rows =
            || fixture.outside.sql("SELECT u, e, t FROM users u FULL JOIN extensions e ON user_id = id, tenants t");
        let before = rows();
        let CreateUserError::Database(created) = create(&fixture.inside, 3).unwrap_err() else { panic!("{half}") };
        for error in [
            created,
            users.delete(second).unwrap_err(),
            users.list().unwrap_err(),
            users.list_unless(known).unwrap_err(),
            log.begin(&started("a"), &[]).unwrap_err(),
        ] {
            assert!(matches!(error, DatabaseError::Failed(_)), "{error:?}");
            assert!(chain(&error).contains(&words.replace("ID", &second.to_string())), "{}", chain(&error));
        }
        assert_eq!((rows(), fixture.outside.sql("SELECT count(*) FROM apply_audit_log")), (before, "0".to_owned()));
        // Where the users are the known ones no row is read.
        fixture.outside.sql(&format!("UPDATE tenants SET {tenant}"));
        assert_eq!(users.list_unless(known).unwrap(), None);
    }
}

#[test]
fn a_database_without_its_tenant_says_so() {
    let fixture = Fixture::new();
    fixture.outside.sql("DELETE FROM tenants");
    let users = fixture.inside.users();
    let CreateUserError::Database(create) = create(&fixture.inside, 1).unwrap_err() else { panic!("not the database") };
    for error in [create, users.delete(UserId::generate()).unwrap_err(), users.list().unwrap_err()] {
        assert!(matches!(error, DatabaseError::Failed(_)), "{error:?}");
        assert!(chain(&error).contains("the table tenants has no row"), "{}", chain(&error));
    }
}

/// Runs `work` in as many threads at once, and gives what each returned.
fn in_threads<T: Send>(threads: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    thread::scope(|scope| {
        let handles: Vec<_> = (0..threads)
            .map(|thread| {
                scope.spawn({
                    let work = &work;
                    move || work(thread)
                })
            })
            .collect();
        handles.into_iter().map(|handle| handle.join().unwrap()).collect()
    })
}

#[test]
fn who_is_replaced_is_gone_and_the_extension_stays() {
    let fixture = Fixture::new();
    let users: Vec<_> = (0..3).map(|number| fixture.create(number)).collect();
    let replace = |email: &str, id: UserId| {
        let new = NewUser { name: "New".parse().unwrap(), email: email.parse().unwrap(), replaces: Some(id) };
        fixture.inside.users().create(&new, &Realm::default(), &SipPassword::generate().unwrap())
    };
    let new = replace("U1@example.com", users[1].id).unwrap();
    assert_eq!((new.extension, new.id == users[1].id), (users[1].extension, false));
    assert_eq!((fixture.revision(), fixture.extensions()), (4, vec![1000, 1001, 1002]));
    assert!(matches!(replace("x@example.com", users[1].id), Err(CreateUserError::Refused(CreateRefusal::NoSuchUser))));
    match replace("u0@example.com", users[2].id) {
        Err(CreateUserError::Refused(CreateRefusal::EmailTaken { id, extension })) => {
            assert_eq!((id, extension), (users[0].id, users[0].extension));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(fixture.revision(), 4);
}

#[test]
fn what_postgresql_refuses_fails_alone_and_leaves_no_gap() {
    let fixture = Fixture::new();
    fixture.create(1000);
    fixture.outside.sql("ALTER TABLE users ADD CONSTRAINT of_the_administrator CHECK (email <> 'u7@example.com')");
    let lock = fixture.outside.begin("SELECT FROM tenants FOR UPDATE");
    let results = thread::scope(|scope| {
        let creators: Vec<_> = (0..16)
            .map(|number| {
                (
                    number,
                    scope.spawn({
                        let inside = &fixture.inside;
                        move || create(inside, number)
                    }),
                )
            })
            .collect();
        fixture.outside.wait_for_waiting(1);
        thread::sleep(Duration::from_millis(200));
        lock.commit();
        creators.into_iter().map(|(number, creator)| (number, creator.join().unwrap())).collect::<Vec<_>>()
    });
    for (number, result) in results {
        match result {
            Ok(_) => assert_ne!(number, 7),
            Err(CreateUserError::Database(error @ DatabaseError::Failed(_))) => {
                assert_eq!(number, 7, "{}", chain(&error));
                assert!(chain(&error).contains("of_the_administrator"), "{}", chain(&error));
            }
            Err(error) => panic!("{number}: {}", chain(&error)),
        }
    }
    assert_eq!(fixture.extensions(), (1000..1016).collect::<Vec<_>>());
}

#[test]
fn a_user_whom_a_trigger_changes_is_not_created() {
    let fixture = Fixture::new();
    fixture.create(0);
    for (table, change) in [
        ("users", "name := upper(NEW.name)"),
        ("users", "email := 'x' || NEW.email"),
        ("extensions", "number := NEW.number + 100"),
        ("extensions", "realm := 'elsewhere'"),
        ("extensions", "ha1 := repeat('f', 32)"),
    ] {
        fixture.outside.sql(&format!(
            "CREATE FUNCTION change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.{change}; RETURN NEW; END $$; \
             CREATE TRIGGER t BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION change()"
        ));
        let error = create(&fixture.inside, 1).expect_err(change);
        assert!(chain(&error).contains("a trigger changed the "), "{change}: {}", chain(&error));
        fixture.outside.sql("DROP FUNCTION change() CASCADE");
        assert_eq!(fixture.extensions(), [1000], "{change}");
    }
    assert_eq!(fixture.create(1).extension.get(), 1001);
}

#[test]
fn a_deadlock_is_tried_again() {
    let fixture = Fixture::new();
    fixture.create(0);
    fixture.deadlocks_once("users");
    assert_eq!(fixture.create(1).extension.get(), 1001);
    assert_eq!((fixture.outside.sql("SELECT last_value FROM tries"), fixture.revision()), ("2".to_owned(), 2));
}

#[test]
fn a_statement_that_was_prepared_for_another_type_is_prepared_again() {
    let fixture = Fixture::new();
    let user = fixture.create(0);
    let listed = || fixture.inside.users().list().unwrap().users;
    assert_eq!(listed(), std::slice::from_ref(&user));
    fixture.outside.sql("ALTER TABLE users ALTER COLUMN name TYPE varchar(200)");
    assert_eq!(listed(), [user]);
}
