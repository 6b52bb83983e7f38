use std::thread;
use std::time::{Duration, Instant};

use pbx_domain::UserId;
use pbx_persistence::{CreateUserError, Database, DatabaseError};
use pbx_tests::{Cluster, until};

use crate::persistence::{Fixture, TIMEOUT, chain, create, in_time};

/// A cluster of its own with a migrated database of four users, and four connections in the pool.
fn cluster() -> (Cluster, pbx_tests::Database, Database) {
    let cluster = Cluster::start_new();
    let outside = pbx_tests::Database::create_in(&cluster.url());
    let database = Database::connect(&outside.url(), 4, TIMEOUT).unwrap();
    database.migrate().unwrap();
    (0..4).for_each(|number| drop(create(&database, number).unwrap()));
    until("four connections", || {
        thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(|| database.users().list()))));
        (outside.sql(CONNECTIONS) == "4").then_some(())
    });
    (cluster, outside, database)
}

const CONNECTIONS: &str = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pbx-portal'";

fn list_error(database: &Database) -> Option<DatabaseError> {
    database.users().list().err()
}

/// Every operation, and whether it says that the database is unavailable.
fn all_unavailable(database: &Database) -> bool {
    let is_unavailable = |error: DatabaseError| matches!(error, DatabaseError::Unavailable(_));
    let create = match create(database, 99) {
        Err(CreateUserError::Database(error)) => is_unavailable(error),
        _ => false,
    };
    create
        && database.users().delete(UserId::generate()).is_err_and(is_unavailable)
        && database.users().list().is_err_and(is_unavailable)
        && database.apply_log().interrupt_running("pbx", &[]).is_err_and(is_unavailable)
        && database.migrate().is_err_and(is_unavailable)
        && database.inspect().is_err_and(is_unavailable)
}

#[test]
fn a_stopped_server_is_unavailable_and_back_by_itself() {
    let (mut cluster, _outside, database) = cluster();
    cluster.stop();
    let error = list_error(&database).unwrap();
    assert_eq!(error.to_string(), "the database is unavailable");
    assert!(chain(&error).contains("Connection refused"), "{}", chain(&error));
    assert!(all_unavailable(&database));

    cluster.start();
    assert_eq!(create(&database, 4).unwrap().extension.get(), 1004);
}

#[test]
fn a_restart_between_two_calls_costs_no_error() {
    let (mut cluster, _outside, database) = cluster();
    for round in 0..4 {
        cluster.stop();
        cluster.start();
        // The pool still holds four dead connections.
        match round {
            0 => assert_eq!(create(&database, 4).unwrap().extension.get(), 1004),
            1 => assert_eq!(database.users().list().unwrap().users.len(), 5),
            2 => assert!(database.migrate().unwrap().is_empty()),
            _ => assert!(!database.users().delete(UserId::generate()).unwrap()),
        }
    }
}

#[test]
fn a_restart_costs_no_error_on_a_connection_that_was_never_used() {
    let (mut cluster, outside, _) = cluster();
    cluster.stop();
    let database = Database::connect(&outside.url(), 1, TIMEOUT).unwrap();
    // This call is given up; the pool continues until it has the connection.
    assert!(list_error(&database).is_some());
    cluster.start();
    until("a connection that waits for its first use", || {
        (outside.try_sql(CONNECTIONS).as_deref() == Ok("1")).then_some(())
    });
    cluster.stop();
    cluster.start();
    assert_eq!(database.users().list().unwrap().users.len(), 4);
}

#[test]
fn a_restart_under_load_loses_no_acknowledged_user_and_gives_none_twice() {
    let (mut cluster, _outside, database) = cluster();
    let (created, failed) = thread::scope(|scope| {
        let creators: Vec<_> = (0..8)
            .map(|creator| {
                let database = &database;
                scope.spawn(move || {
                    let results = (0..60).map(|number| create(database, 1000 + creator * 60 + number));
                    results.partition::<Vec<_>, _>(Result::is_ok)
                })
            })
            .collect();
        until("the load", || (database.users().list().ok()?.users.len() > 10).then_some(()));
        cluster.stop();
        cluster.start();
        creators.into_iter().map(|creator| creator.join().unwrap()).fold((vec![], vec![]), |mut all, (ok, failed)| {
            all.0.extend(ok);
            all.1.extend(failed);
            all
        })
    });
    for error in failed.into_iter().map(Result::unwrap_err) {
        assert!(matches!(error, CreateUserError::Database(DatabaseError::Unavailable(_))), "{}", chain(&error));
    }
    let users = database.users().list().unwrap().users;
    for user in created.into_iter().map(Result::unwrap) {
        assert!(users.contains(&user), "{user:?} was acknowledged");
    }
    let numbers: Vec<u16> = users.iter().map(|user| user.extension.get()).collect();
    assert!(numbers.iter().copied().eq((1000..).take(numbers.len())), "{numbers:?}");
}

/// Lets the server end a creator's connection: in its statement, or at its commit. Gives how often a create was tried.
fn end_connections(fixture: &Fixture, trigger: &str, times: u32) -> impl Fn() -> String {
    fixture.outside.sql(&format!(
        "CREATE SEQUENCE tries; \
         CREATE FUNCTION end_connection() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             IF nextval('tries') <= {times} THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF; RETURN NULL; END $$; \
         CREATE {trigger} FOR EACH ROW EXECUTE FUNCTION end_connection()"
    ));
    || fixture.outside.sql("SELECT last_value FROM tries")
}

#[test]
fn a_connection_that_ends_before_commit_is_replaced_and_the_create_done_once() {
    let fixture = Fixture::new();
    fixture.create(0);
    let tries = end_connections(&fixture, "TRIGGER ending AFTER INSERT ON users", 1);
    assert_eq!(fixture.create(1).extension.get(), 1001);
    assert_eq!((tries(), fixture.revision()), ("2".to_owned(), 2));
}

#[test]
fn a_connection_that_ends_at_the_commit_is_replaced_and_the_create_done_once() {
    let fixture = Fixture::new();
    fixture.create(0);
    let at_commit = "CONSTRAINT TRIGGER ending AFTER INSERT ON users DEFERRABLE INITIALLY DEFERRED";
    let tries = end_connections(&fixture, at_commit, 1);
    assert_eq!(fixture.create(1).extension.get(), 1001);
    assert_eq!((tries(), fixture.extensions()), ("2".to_owned(), vec![1000, 1001]));
}

#[test]
fn a_new_connection_that_ends_too_is_the_end_of_it() {
    let fixture = Fixture::new();
    fixture.create(0);
    let tries = end_connections(&fixture, "TRIGGER ending AFTER INSERT ON users", 100);
    let error = create(&fixture.inside, 1).unwrap_err();
    assert!(matches!(error, CreateUserError::Database(DatabaseError::Unavailable(_))), "{}", chain(&error));
    assert_eq!(tries(), "2");
}

#[test]
fn a_server_that_became_a_standby_is_left() {
    let (_cluster, outside, database) = cluster();
    let name = outside.sql("SELECT current_database()");
    outside.sql(&format!("ALTER DATABASE {name} SET default_transaction_read_only = on"));
    outside.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'pbx-portal'");
    let error = create(&database, 4).unwrap_err();
    assert!(matches!(error, CreateUserError::Database(DatabaseError::Unavailable(_))), "{}", chain(&error));
    outside.sql(&format!(
        "SET transaction_read_only = off; ALTER DATABASE {name} SET default_transaction_read_only = off"
    ));
    assert_eq!(create(&database, 4).unwrap().extension.get(), 1004);
}

#[test]
fn a_lock_that_somebody_holds_costs_the_timeout() {
    let (_cluster, outside, database) = cluster();
    let lock = outside.begin("SELECT FROM tenants FOR UPDATE");
    let begun = Instant::now();
    let error = in_time(|| create(&database, 4)).unwrap_err();
    assert!(matches!(error, CreateUserError::Database(DatabaseError::Unavailable(_))), "{}", chain(&error));
    assert!(begun.elapsed() >= TIMEOUT * 9 / 10, "{:?}", begun.elapsed());
    assert_eq!(database.users().list().unwrap().users.len(), 4, "readers do not wait");
    lock.commit();
    assert_eq!(create(&database, 4).unwrap().extension.get(), 1004);
}

#[test]
fn a_lock_is_waited_for_whatever_the_database_says_of_locks() {
    let (_cluster, outside, _) = cluster();
    let name = outside.sql("SELECT quote_ident(current_database())");
    outside.sql(&format!("ALTER DATABASE {name} SET lock_timeout = '50ms'"));
    let database = Database::connect(&outside.url(), 2, TIMEOUT).unwrap();
    let lock = outside.begin("SELECT FROM tenants FOR UPDATE");
    thread::scope(|scope| {
        let created = scope.spawn(|| create(&database, 4));
        thread::sleep(Duration::from_millis(200));
        lock.commit();
        assert_eq!(created.join().unwrap().unwrap().extension.get(), 1004);
    });
}

#[test]
fn a_user_that_somebody_holds_keeps_no_other_change_waiting_for_long() {
    let (_cluster, outside, _) = cluster();
    // A quarter of its timeout is what the user is waited for; the rest is for a busy machine.
    let database = Database::connect(&outside.url(), 4, 5 * TIMEOUT).unwrap();
    let users = database.users().list().unwrap().users;
    let held = outside.begin(&format!("SELECT FROM users WHERE id = '{}' FOR UPDATE", users[1].id));
    let tenant = outside.begin("SELECT FROM tenants FOR UPDATE");
    thread::scope(|scope| {
        // The first one waits for the tenant, so that the others make one batch.
        let first = scope.spawn(|| create(&database, 4));
        outside.wait_for_waiting(1);
        let deleted = scope.spawn(|| database.users().delete(users[1].id));
        let others: Vec<_> = (5..9)
            .map(|number| {
                scope.spawn({
                    let database = &database;
                    move || create(database, number)
                })
            })
            .collect();
        thread::sleep(Duration::from_millis(200));
        tenant.commit();
        let mut numbers: Vec<_> =
            others.into_iter().chain([first]).map(|create| create.join().unwrap().unwrap().extension.get()).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, [1004, 1005, 1006, 1007, 1008]);
        let error = deleted.join().unwrap().unwrap_err();
        assert!(matches!(error, DatabaseError::Unavailable(_)), "{error:?}");
    });
    held.commit();
    database.users().delete(users[1].id).unwrap();
}

#[test]
fn a_user_whom_a_trigger_keeps_is_not_deleted_without_a_word() {
    let (_cluster, outside, database) = cluster();
    outside.sql(
        "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; \
         CREATE TRIGGER keep BEFORE DELETE ON users FOR EACH ROW EXECUTE FUNCTION keep()",
    );
    let users = database.users().list().unwrap().users;
    for _ in 0..2 {
        let error = database.users().delete(users[1].id).unwrap_err();
        assert!(matches!(error, DatabaseError::Failed(_)), "{error:?}");
    }
    assert_eq!(database.users().list().unwrap().users, users);
}

#[test]
fn users_whom_a_policy_may_hide_are_no_shorter_list() {
    let (_cluster, outside, _) = cluster();
    let role = format!("policed_{}", std::process::id());
    outside.sql(&format!("CREATE ROLE {role} LOGIN; GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}"));
    let database = Database::connect(&outside.url_as(&role), 2, TIMEOUT).unwrap();
    let users = database.users().list().unwrap().users;
    for table in ["users", "extensions"] {
        outside.sql(&format!("ALTER TABLE {table} ENABLE ROW LEVEL SECURITY"));
        assert!(matches!(list_error(&database), Some(DatabaseError::Failed(_))), "{table}");
        let error = database.users().delete(users[1].id).unwrap_err();
        assert!(matches!(error, DatabaseError::Failed(_)), "{error:?}");
        outside.sql(&format!("ALTER TABLE {table} DISABLE ROW LEVEL SECURITY"));
        assert_eq!(database.users().list().unwrap().users, users);
    }
}

#[test]
fn a_host_that_is_gone_costs_at_most_the_timeout() {
    // TEST-NET-1 (RFC 5737) is nobody's: nothing answers, or the network says so at once.
    let database = Database::connect("postgresql://192.0.2.1/pbx", 2, TIMEOUT).unwrap();
    assert!(matches!(in_time(|| list_error(&database)), Some(DatabaseError::Unavailable(_))));
}

#[test]
fn the_first_host_that_takes_writes_is_used() {
    let (_cluster, outside, _) = cluster();
    let url = outside.url();
    let (port, name) = url.rsplit_once(':').and_then(|(_, rest)| rest.split_once('/')).unwrap();
    for url in [
        format!("postgresql://postgres@127.0.0.1:1,127.0.0.1:{port}/{name}?target_session_attrs=read-write"),
        format!("host=127.0.0.1,127.0.0.1 port=1,{port} user=postgres dbname={name} target_session_attrs=read-write"),
    ] {
        let database = Database::connect(&url, 2, TIMEOUT).unwrap();
        assert_eq!(database.users().list().unwrap().users.len(), 4);
    }
}
