//! A network between the portal and PostgreSQL: slow, silent, and cut between any two packets.

use std::thread;
use std::time::Duration;

use pbx_domain::{CreateRefusal, UserId};
use pbx_persistence::{CreateUserError, Database, DatabaseError};
use pbx_tests::{Cluster, Proxy};

use crate::persistence::{Fixture, TIMEOUT, create, in_time};

/// A cluster of its own, and a database in it.
fn cluster() -> (Cluster, Fixture) {
    let cluster = Cluster::start_new();
    let fixture = Fixture::in_cluster(&cluster);
    (cluster, fixture)
}

/// The database behind a network, with a timeout of its own.
fn behind(cluster: &Cluster, fixture: &Fixture, pool_size: u32, timeout: Duration) -> (Proxy, Database) {
    let proxy = Proxy::to(&cluster.address());
    let database = Database::connect(&proxy.through(&fixture.outside.url()), pool_size, timeout).unwrap();
    (proxy, database)
}

#[track_caller]
fn assert_unavailable<T: std::fmt::Debug>(result: &Result<T, DatabaseError>) {
    assert!(matches!(result, Err(DatabaseError::Unavailable(_))), "{result:?}");
}

#[test]
fn eight_times_all_connections_fall_silent_and_each_next_request_works() {
    let (cluster, fixture) = cluster();
    let (proxy, database) = behind(&cluster, &fixture, 8, TIMEOUT);
    for round in 0..8 {
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| database.users().list().unwrap());
            }
        });
        proxy.silence_open_connections();
        assert_unavailable(&in_time(|| {
            if round % 2 == 0 {
                return database.users().list().map(drop);
            }
            match create(&database, 100 + round) {
                Err(CreateUserError::Database(error)) => Err(error),
                other => panic!("{other:?}"),
            }
        }));
        assert_eq!(usize::from(create(&database, round).unwrap().extension.get()), 1000 + round);
    }
}

#[test]
fn a_network_that_falls_silent_at_any_packet_costs_at_most_the_timeout() {
    let (cluster, fixture) = cluster();
    for packets in 0..14 {
        let (proxy, database) = behind(&cluster, &fixture, 1, TIMEOUT);
        proxy.silence_after(packets);
        drop(in_time(|| database.users().list()));
        proxy.heal();
        // The pool may be opening a connection that ends with the silence: that costs a timeout more.
        let listed = database.users().list().or_else(|_| database.users().list());
        listed.unwrap_or_else(|error| panic!("{packets}: {error:?}"));
    }
}

#[test]
fn a_silence_after_the_login_ends_whatever_the_url_says_of_silence() {
    let (cluster, fixture) = cluster();
    for packets in 2..7 {
        let proxy = Proxy::to(&cluster.address());
        let url = format!("{}?tcp_user_timeout=60000&keepalives=0", proxy.through(&fixture.outside.url()));
        let database = Database::connect(&url, 1, TIMEOUT).unwrap();
        proxy.silence_after(packets);
        drop(database.users().list());
        proxy.heal();
        let listed = database.users().list().or_else(|_| database.users().list());
        listed.unwrap_or_else(|error| panic!("{packets}: {error:?}"));
    }
}

#[test]
fn a_network_that_swallows_everything_costs_at_most_the_timeout() {
    let (cluster, fixture) = cluster();
    let (proxy, database) = behind(&cluster, &fixture, 2, TIMEOUT);
    proxy.swallow_new_connections(true);
    for _ in 0..3 {
        assert_unavailable(&in_time(|| database.users().list()));
    }
    proxy.heal();
    assert_eq!(create(&database, 1).unwrap().extension.get(), 1000);
}

#[test]
fn a_first_host_that_is_silent_leaves_time_for_the_second() {
    let (cluster, fixture) = cluster();
    let (proxy, _) = behind(&cluster, &fixture, 1, TIMEOUT);
    proxy.swallow_new_connections(true);
    let url = fixture.outside.url();
    let (head, name) = url.rsplit_once('/').unwrap();
    let (user, server) = head.rsplit_once('@').unwrap();
    let silent = proxy.through(server);
    let url = format!("{user}@{silent},{server}/{name}");
    let database = Database::connect(&url, 2, Duration::from_secs(5)).unwrap();
    assert_eq!(create(&database, 1).unwrap().extension.get(), 1000);
    // libpq gives a host two seconds at least: who begins, or looks around, waits for as long.
    let connect = || Database::connect(&url, 2, Duration::from_secs(1)).unwrap();
    assert_eq!(connect().migrate().unwrap(), [""; 0]);
    let database = connect();
    assert!(database.inspect().is_ok());
    assert_eq!(create(&database, 2).unwrap().extension.get(), 1001);
}

#[test]
fn a_server_that_is_stopped_costs_each_call_at_most_the_timeout() {
    let cluster = Cluster::start_new();
    let outside = pbx_tests::Database::create_in(&cluster.url());
    let database = Database::connect(&outside.url(), 2, TIMEOUT).unwrap();
    database.migrate().unwrap();
    create(&database, 1).unwrap();
    cluster.freeze();
    assert_unavailable(&in_time(|| database.users().list()));
    assert_unavailable(&in_time(|| database.inspect()));
    assert_unavailable(&in_time(|| database.migrate()));
    assert_unavailable(&in_time(|| database.users().delete(UserId::generate())));
    cluster.thaw();
    let user = (2..20).find_map(|number| create(&database, number).ok()).unwrap();
    assert!(user.extension.get() <= 1002, "{user:?}");
}

#[test]
fn a_cut_between_any_two_packets_loses_and_doubles_nothing() {
    let (cluster, fixture) = cluster();
    let (proxy, database) = behind(&cluster, &fixture, 4, Duration::from_secs(20));
    let mut number = 0;
    for packets in 0..6 {
        for delete in [false, true] {
            let victim = create(&database, 5000).unwrap();
            proxy.cut_after(packets);
            if delete {
                database.users().delete(victim.id).unwrap();
            } else {
                let user = create(&database, number).unwrap();
                assert!(fixture.inside.users().list().unwrap().users.contains(&user), "{packets}: {user:?}");
                number += 1;
            }
            proxy.heal();
            let left = database.users().delete(victim.id).unwrap();
            assert_eq!(left, !delete, "{packets}");
        }
    }
    let extensions = fixture.extensions();
    assert_eq!(extensions.len(), number, "{extensions:?}");
}

#[test]
fn each_call_is_one_round_trip() {
    let (cluster, fixture) = cluster();
    let (proxy, database) = behind(&cluster, &fixture, 1, Duration::from_secs(20));
    let users: Vec<_> = (0..4).map(|number| create(&database, number).unwrap()).collect();
    // Each statement is prepared where a connection has its first.
    database.users().delete(users[3].id).unwrap();
    let list = database.users().list().unwrap();
    let calls: [(&str, &dyn Fn()); 5] = [
        ("create", &|| drop(create(&database, 10).unwrap())),
        ("delete", &|| assert!(database.users().delete(users[0].id).unwrap())),
        ("list after a change", &|| assert!(database.users().list_unless(list.token).unwrap().is_some())),
        ("list", &|| drop(database.users().list().unwrap())),
        ("a refused create", &|| {
            assert!(matches!(create(&database, 1), Err(CreateUserError::Refused(CreateRefusal::EmailTaken { .. }))));
        }),
    ];
    for (name, call) in calls {
        let before = proxy.requests();
        call();
        assert_eq!(proxy.requests() - before, 1, "{name}");
    }
}

#[test]
fn changes_that_wait_share_a_statement() {
    let (cluster, fixture) = cluster();
    let (proxy, database) = behind(&cluster, &fixture, 8, Duration::from_secs(20));
    create(&database, 1000).unwrap();
    proxy.set_round_trip(Duration::from_millis(100));
    thread::scope(|scope| {
        for number in 0..32 {
            let database = &database;
            scope.spawn(move || create(database, number).unwrap());
        }
    });
    assert!(fixture.revision() < 10, "{}", fixture.revision());
    assert_eq!(fixture.extensions(), (1000..1033).collect::<Vec<_>>());
}
