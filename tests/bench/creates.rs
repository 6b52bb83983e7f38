//! `POST /users`, from the first user to the thousandth, by one client and by many.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use pbx_tests::{Asterisk, Database, Portal, Settings};

use crate::effort::Effort;
use crate::floor::{self, pgbench};
use crate::report::{Must, Report, Row};
use crate::statistics::{median, milliseconds, percentile};
use crate::wire::Wire;

/// How many users there can be.
pub(crate) const FULL: usize = 1000;
pub(crate) const CLIENTS: usize = 32;

/// The median latency of each hundred of creates.
#[derive(Default)]
pub(crate) struct Curve {
    pub(crate) portal: Vec<f64>,
    pub(crate) floor: Vec<f64>,
}

/// What `POST /users` takes for a user that a number tells apart from others.
pub(crate) fn body(number: usize) -> String {
    format!(r#"{{"name": "Alice Example", "email": "alice{number}@example.com"}}"#)
}

/// One client fills the tenant, hundred by hundred, alternating with the floor on a database of its own. Gives the curve,
/// and how long a thousand took.
pub(crate) fn by_one(asterisk: &Asterisk, effort: &Effort, report: &mut Report) -> (Curve, f64) {
    let (mut portal, mut raw) = (vec![Vec::new(); 10], vec![Vec::new(); 10]);
    for _ in 0..effort.rounds {
        let (database, other) = (Database::create(), migrated(asterisk));
        let server = Settings::new(&database.url(), asterisk).start();
        let mut wire = Wire::new(&server);
        for (hundred, (portal, raw)) in portal.iter_mut().zip(&mut raw).enumerate() {
            raw.extend(pgbench(&other, floor::CREATE, hundred * 100, 100));
            for number in 0..100 {
                portal.push(wire.post("/users", &body(hundred * 100 + number)).expect(201).milliseconds);
            }
        }
    }
    let all = portal.concat();
    report.add(Row {
        work: "`POST /users`, one client, p50".to_owned(),
        unit: "ms",
        figure: median(&all),
        floor: Some(("five statements by pgbench", median(&raw.concat()))),
        must: Must::TimesFloor(0.9),
    });
    let curve = Curve {
        portal: portal.iter().map(|hundred| median(hundred)).collect(),
        floor: raw.iter().map(|hundred| median(hundred)).collect(),
    };
    report.add(Row {
        work: "… the last hundred of a thousand, p50".to_owned(),
        unit: "ms",
        figure: curve.portal[9],
        floor: Some(("the first hundred", curve.portal[0])),
        must: Must::TimesFloor(1.15),
    });
    let rounds = u32::try_from(effort.rounds).expect("few rounds");
    (curve, all.iter().sum::<f64>() / f64::from(rounds))
}

/// Many clients fill the tenant at once. Gives the last portal, full, on its database.
pub(crate) fn by_many(asterisk: &Asterisk, effort: &Effort, alone: f64, report: &mut Report) -> (Portal, Database) {
    let (mut walls, mut floors, mut latencies) = (Vec::new(), Vec::new(), Vec::new());
    let mut last = None;
    for _ in 0..effort.rounds {
        drop(last.take());
        floors.push(pgbench(&migrated(asterisk), floor::CREATE, 0, FULL).iter().sum());
        let database = Database::create();
        let portal = Settings::new(&database.url(), asterisk).start();
        let (wall, round) = fill(&portal);
        walls.push(wall);
        latencies.extend(round);
        last = Some((portal, database));
    }
    report.add(Row {
        work: format!("1000 creates by {CLIENTS} clients, empty to full"),
        unit: "ms",
        figure: median(&walls),
        floor: Some(("five statements each on one connection", median(&floors))),
        must: Must::AtMost(500.0),
    });
    report.add(Row {
        work: "… against one client".to_owned(),
        unit: "ms",
        figure: median(&walls),
        floor: Some(("1000 creates by one client", alone)),
        must: Must::TimesFloor(0.6),
    });
    report.add(Row {
        work: "… p99 of a create".to_owned(),
        unit: "ms",
        figure: percentile(&latencies, 99),
        floor: None,
        must: Must::AtMost(60.0),
    });
    last.expect("at least one round")
}

/// How long it took to fill an empty tenant, and how long each create did. Any answer but `201` ends the run.
pub(crate) fn fill(portal: &Portal) -> (f64, Vec<f64>) {
    let next = AtomicUsize::new(0);
    let latencies = Mutex::new(Vec::with_capacity(FULL));
    let mut wires: Vec<Wire> = (0..CLIENTS).map(|_| Wire::new(portal)).collect();
    let began = Instant::now();
    thread::scope(|scope| {
        for wire in &mut wires {
            scope.spawn(|| {
                let mut own = Vec::new();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= FULL {
                        break;
                    }
                    own.push(wire.post("/users", &body(number)).expect(201).milliseconds);
                }
                latencies.lock().expect("no client failed").extend(own);
            });
        }
    });
    (milliseconds(began.elapsed()), latencies.into_inner().expect("no client failed"))
}

/// An empty database with our tables.
fn migrated(asterisk: &Asterisk) -> Database {
    let database = Database::create();
    let migration = Settings::new(&database.url(), asterisk).run(&["migrate"]);
    assert!(migration.status.success(), "{}", migration.stderr);
    database
}
