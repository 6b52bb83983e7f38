//! Beyond one machine: several portals on one database, and a database that survives its server. `make ha`.
//!
//! The state is PostgreSQL's, so the portal scales and survives as PostgreSQL does; nothing here is configured but
//! `DATABASE_URL`.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a failing step fails its test")]
#![expect(clippy::print_stdout, reason = "it prints what it measures")]

mod failover;
mod load;
mod pooler;

use std::thread;
use std::time::{Duration, Instant};

use pbx_tests::{Asterisk, Database, Portal, Settings};

use crate::load::{Load, Plan};

#[test]
fn two_nodes_create_and_apply_at_once_and_each_reports_its_own_state() {
    let database = Database::create();
    let asterisks = [Asterisk::start_new(), Asterisk::start_new()];
    let nodes = ["one", "two"];
    let portals: Vec<Portal> = nodes
        .iter()
        .zip(&asterisks)
        .map(|(node, asterisk)| Settings::new(&database.url(), asterisk).with("PBX_PORTAL__NODE", node).start())
        .collect();

    let load = Load::start(&portals, Plan { name: "user", clients: 4, creates: 100, pause: Duration::ZERO });
    let began = Instant::now();
    let mut applies = Vec::new();
    thread::scope(|scope| {
        let applying: Vec<_> = portals
            .iter()
            .map(|portal| {
                let load = &load;
                scope.spawn(move || {
                    let mut times = Vec::new();
                    while times.is_empty() || load.runs() {
                        let began = Instant::now();
                        let answer = portal.http().post_empty("/apply").expect(200);
                        assert!(["applied", "unchanged"].contains(&answer.string("/outcome").as_str()));
                        times.push(began.elapsed());
                    }
                    times
                })
            })
            .collect();
        applies.extend(applying.into_iter().map(|node| node.join().unwrap()));
    });
    let created = load.join().acknowledged;
    let took = began.elapsed();
    println!("{} creates at two portals in {took:.1?}, applies meanwhile: {:?}", created.len(), applies);
    assert_eq!(created.len(), 800, "every create was answered with 201");

    let answer = portals[0].http().get("/users").expect(200);
    let extensions: Vec<i64> =
        answer.json["users"].as_array().unwrap().iter().map(|user| user["extension"].as_i64().unwrap()).collect();
    assert_eq!(extensions, (1000..1800).collect::<Vec<_>>(), "no gap and no duplicate");

    // The users of both are in both Asterisks, once each had its apply.
    for (portal, asterisk) in portals.iter().zip(&asterisks) {
        portal.http().post_empty("/apply").expect(200);
        assert!(asterisk.rx("pjsip show endpoints").contains("Objects found: 800"));
    }
    // A change that one applies still waits at the other.
    portals[1].create_user("late", "late@example.com");
    portals[0].http().post_empty("/apply").expect(200);
    let required = |portal: &Portal| portal.http().get("/users").expect(200).json["apply_required"].as_bool().unwrap();
    assert_eq!([required(&portals[0]), required(&portals[1])], [false, true]);
    assert!(asterisks[1].rx("pjsip show endpoints").contains("Objects found: 800"));
    portals[1].http().post_empty("/apply").expect(200);
    assert_eq!([required(&portals[0]), required(&portals[1])], [false, false]);
    let records =
        database.sql("SELECT count(DISTINCT node), count(*) FILTER (WHERE outcome = 'running') FROM apply_audit_log");
    assert_eq!(records, "2|0", "records of both nodes, none of them open");
}
