//! A pooler between the portal and its database.

use pbx_tests::{Asterisk, Cluster, Database, PgBouncer, Portal, Settings, until};
use serde_json::json;

#[test]
fn through_pgbouncer_in_session_mode_all_works() {
    let (cluster, asterisk) = (Cluster::start_new(), Asterisk::start_new());
    let database = Database::create_in(&cluster.url());
    let mut bouncer = PgBouncer::start_new(&cluster, "session");
    let portal = portal(&cluster, &database, &bouncer, &asterisk);
    portal.create_user("Alice Example", "alice@example.com");
    let applied = portal.http().post_empty("/apply").expect(200);
    assert_eq!(applied.string("/outcome"), "applied");

    bouncer.restart();
    until("the portal to be back", || (portal.http().get("/users").status == 200).then_some(()));
    portal.create_user("Bob Example", "bob@example.com");
    portal.http().post_empty("/apply").expect(200);
    let list = portal.http().get("/users").expect(200).json;
    assert_eq!(list["apply_required"], false);
    assert_eq!(list["users"].as_array().unwrap().len(), 2);
}

/// Between two transactions another client's may run on the same session, and the session outlives its client.
#[test]
fn in_transaction_mode_the_portals_sessions_are_mixed() {
    let (cluster, asterisk) = (Cluster::start_new(), Asterisk::start_new());
    let database = Database::create_in(&cluster.url());
    let bouncer = PgBouncer::start_new(&cluster, "transaction");
    let portal = portal(&cluster, &database, &bouncer, &asterisk);
    let answers: Vec<u16> = (0..8)
        .map(|number| {
            let user = json!({"name": "Alice Example", "email": format!("alice{number}@example.com")});
            portal.http().get("/users");
            portal.http().post("/users", &user).status
        })
        .collect();
    let locks = database.sql("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'");
    let mixed = portal.log().contains("prepared statement");
    println!("{answers:?}, {locks} advisory locks left, prepared statements mixed up: {mixed}");
    assert!(mixed || locks != "0", "neither: docs/operations.md may allow transaction mode");
}

/// A pool of the portal's that is no larger than the pooler's: in session mode each of its connections is one.
fn portal(cluster: &Cluster, database: &Database, bouncer: &PgBouncer, asterisk: &Asterisk) -> Portal {
    let url = database.url().replace(&cluster.address(), &bouncer.address());
    Settings::new(&url, asterisk).with("PBX_PORTAL__DATABASE__POOL_SIZE", "2").start()
}
