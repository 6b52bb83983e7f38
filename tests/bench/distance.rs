//! A PostgreSQL that is a network away: what one round trip more costs.

use std::time::Duration;

use pbx_tests::{Asterisk, Cluster, Database, Portal, Proxy, Settings};
use serde_json::Value;

use crate::creates::{self, CLIENTS, FULL};
use crate::effort::Effort;
use crate::floor;
use crate::report::{Must, Report, Row};
use crate::statistics::{median, percentile};
use crate::wire::Wire;

/// Round trips, in milliseconds.
const ROUND_TRIPS: [u32; 4] = [0, 1, 10, 30];
const WORKS: [&str; 4] =
    ["`POST /users`", "`DELETE /users/{id}`", "`GET /users`", "`GET /users`, first after a change"];
const USERS: usize = 100;

/// Medians by work and round trip.
#[derive(Default)]
pub(crate) struct Distance {
    works: [Vec<f64>; 4],
    applies: Vec<f64>,
    floor: Vec<f64>,
}

impl Distance {
    /// What stands below the chart.
    pub(crate) fn places() -> Vec<String> {
        ROUND_TRIPS.iter().map(|time| format!("{time} ms")).collect()
    }

    /// The lines of the chart.
    pub(crate) fn lines(&self) -> [(&'static str, &[f64]); 5] {
        let [create, delete, list, changed] = &self.works;
        [
            ("create", create),
            ("delete", delete),
            ("list", list),
            ("list after a change", changed),
            ("round trip", &self.floor),
        ]
    }
}

/// All rows.
pub(crate) fn all(asterisk: &Asterisk, effort: &Effort, report: &mut Report) -> Distance {
    let cluster = Cluster::start_new();
    let distance = alone(&cluster, asterisk, effort);
    for (index, (time, round_trip)) in ROUND_TRIPS.iter().zip(&distance.floor).enumerate().skip(2) {
        for (work, medians) in WORKS.iter().zip(&distance.works) {
            report.add(Row {
                work: format!("{work}, {USERS} users, PostgreSQL {time} ms away"),
                unit: "ms",
                figure: medians[index],
                floor: Some((
                    "one round trip, and 1.5 times what it takes without delay",
                    round_trip + 1.5 * medians[0],
                )),
                must: Must::TimesFloor(1.0),
            });
        }
        report.add(Row {
            work: format!("`POST /apply`, one of {USERS} changed, PostgreSQL {time} ms away"),
            unit: "ms",
            figure: distance.applies[index],
            floor: Some(("four round trips, and what it takes without delay", 4.0 * round_trip + distance.applies[0])),
            must: Must::TimesFloor(1.0),
        });
    }
    for (time, must) in [(10, Must::AtMost(1500.0)), (30, Must::AtMost(3000.0)), (100, Must::Succeed)] {
        let (_database, proxy, portal) = away(&cluster, asterisk);
        proxy.set_round_trip(Duration::from_millis(time));
        let (wall, latencies) = creates::fill(&portal);
        let work = format!("1000 creates by {CLIENTS} clients, PostgreSQL {time} ms away");
        report.add(Row { work, unit: "ms", figure: wall, floor: None, must });
        if time == 10 {
            let (work, figure) = ("… p99 of a create".to_owned(), percentile(&latencies, 99));
            report.add(Row { work, unit: "ms", figure, floor: None, must: Must::AtMost(150.0) });
        }
    }
    distance
}

/// One request after the other.
fn alone(cluster: &Cluster, asterisk: &Asterisk, effort: &Effort) -> Distance {
    let (database, proxy, portal) = away(cluster, asterisk);
    let away = proxy.through(&database.url());
    let mut wire = Wire::new(&portal);
    for number in 0..USERS {
        wire.post("/users", &creates::body(number)).expect(201);
    }
    wire.apply().expect(200);
    let mut distance = Distance::default();
    for time in ROUND_TRIPS {
        proxy.set_round_trip(Duration::from_millis(time.into()));
        let mut samples = [const { Vec::new() }; WORKS.len()];
        for number in 0..effort.requests / 5 {
            let body = creates::body(FULL + number);
            let reply = wire.post("/users", &body).expect(201);
            samples[0].push(reply.milliseconds);
            let user: Value = serde_json::from_slice(reply.body).expect("JSON");
            samples[3].push(wire.get("/users").expect(200).milliseconds);
            samples[2].push(wire.get("/users").expect(200).milliseconds);
            let path = format!("/users/{}", user["id"].as_str().expect("an id"));
            samples[1].push(wire.delete(&path).expect(204).milliseconds);
        }
        let mut applies = Vec::new();
        for _ in 0..effort.applies {
            database.sql("UPDATE users SET name = 'Alice ' || revision WHERE email = 'alice50@example.com'");
            applies.push(wire.apply().expect(200).milliseconds);
        }
        for (medians, samples) in distance.works.iter_mut().zip(&samples) {
            medians.push(median(samples));
        }
        distance.applies.push(median(&applies));
        distance.floor.push(median(&floor::pgbench_at(&away, floor::NOTHING, 0, 100)));
    }
    println!("    by round trip: {:.1?}, applies {:.1?}", distance.works, distance.applies);
    distance
}

/// A portal whose PostgreSQL is behind a network.
fn away(cluster: &Cluster, asterisk: &Asterisk) -> (Database, Proxy, Portal) {
    let database = Database::create_in(&cluster.url());
    let proxy = Proxy::to(&cluster.address());
    let portal = Settings::new(&proxy.through(&database.url()), asterisk).start();
    (database, proxy, portal)
}
