//! How fast it is, held against what it cannot do without: `make bench`.
//!
//! Every figure is a median and stands beside a floor that was measured in the same run, alternating: a machine's speed
//! drifts, and a figure alone says nothing. PostgreSQL is durable here (fsync), Asterisk and the program are the real
//! ones.
#![expect(clippy::disallowed_methods, reason = "it runs programs and writes what came of them")]
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "it is there to show something, or to say why it cannot"
)]

mod applies;
mod chart;
mod creates;
mod distance;
mod effort;
mod floor;
mod library;
mod life;
mod listing;
mod reference;
mod report;
mod static_server;
mod statistics;
mod wire;

use std::path::{Path, PathBuf};
use std::time::Instant;
use std::{env, fs, thread};

use pbx_tests::{Asterisk, Database, until};
use serde_json::json;

use crate::effort::Effort;
use crate::report::Report;

fn main() {
    let began = Instant::now();
    let quick = env::args().nth(1).is_some_and(|effort| effort == "quick");
    let effort = if quick { Effort::QUICK } else { Effort::FULL };
    let say = |what: &str| println!("{:4} s  {what}", began.elapsed().as_secs());
    let mut report = Report::default();

    say("Rendering and reading back");
    library::rendering(&mut report);
    library::reading_back(&mut report);

    let mut asterisk = Asterisk::start_new();
    let machine = machine(&asterisk);
    println!("    {machine}");

    say("Creating users, one client");
    let (curve, alone) = creates::by_one(&asterisk, &effort, &mut report);
    say("Creating users, 32 clients");
    let (portal, database) = creates::by_many(&asterisk, &effort, alone, &mut report);

    say("Working with a distant PostgreSQL");
    let distance = distance::all(&asterisk, &effort, &mut report);

    println!("    the portal holds {:.1} MiB", life::resident(&portal));
    say("Listing 1000 users");
    // A list compares its users with what was applied.
    applies::Bench::new(&mut asterisk, &database, &portal).applied(creates::FULL);
    listing::after_a_change(&portal, &database, &effort, &mut report);
    listing::unchanged(&portal, &effort, &mut report);

    println!("    the portal holds {:.1} MiB", life::resident(&portal));
    say("Applying 1000 users");
    let mut bench = applies::Bench::new(&mut asterisk, &database, &portal);
    let thousand = bench.thousand(&effort, &mut report);
    say("Applying fewer users");
    let mut sizes = bench.smaller(&effort, &mut report);
    sizes.reverse();
    sizes.push(thousand);

    say("Memory and start");
    let mut wire = wire::Wire::new(&portal);
    for number in 0..creates::FULL {
        wire.post("/users", &creates::body(number)).expect(201);
    }
    bench.applied(creates::FULL);
    wire.get("/users").expect(200);
    life::memory(&portal, &mut report);
    let settings = portal.settings().clone();
    drop(portal);
    life::start(&settings, &effort, &mut report);

    let table = report.table();
    println!("\n{table}");
    let output = output_directory();
    let json = json!({"machine": machine, "effort": if quick { "quick" } else { "full" }, "rows": report.json()});
    write(&output.join("report.json"), &format!("{json:#}\n"));
    write(&output.join("report.md"), &format!("{machine}\n\n{table}"));
    // A quick run shows what a chart would look like, and leaves those of the documentation alone.
    let charts = if quick { output } else { Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs") };
    write(&charts.join("apply.svg"), &chart::applies(&sizes, &machine));
    let hundreds: Vec<String> = (1..=10).map(|hundred| format!("…{}", hundred * 100)).collect();
    let lines = [("POST /users", &*curve.portal), ("five statements sent raw (pgbench)", &*curve.floor)];
    let title = "POST /users, one client: median milliseconds by number of users";
    write(&charts.join("creates.svg"), &chart::lines(title, &machine, &hundreds, &lines));
    let title = "One request, 100 users: median milliseconds by round trip to PostgreSQL";
    write(
        &charts.join("distance.svg"),
        &chart::lines(title, &machine, &distance::Distance::places(), &distance.lines()),
    );
    say(if report.is_reached() { "Every row is reached" } else { "Not every row is reached" });
}

/// On what all of it was measured.
fn machine(asterisk: &Asterisk) -> String {
    let version = until("Asterisk's version", || {
        Some(asterisk.rx("core show version")).filter(|answer| answer.starts_with("Asterisk "))
    });
    let asterisk = version.split([' ', '~', '-', '+']).take(2).collect::<Vec<_>>().join(" ");
    let postgresql = Database::create().sql("SHOW server_version");
    let fsync = Database::create().sql("SHOW fsync");
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let cores = thread::available_parallelism().map_or(0, std::num::NonZero::get);
    format!(
        "{cores} cores, load {} at the beginning, PostgreSQL {} (fsync {fsync}), {asterisk}",
        load.split(' ').next().unwrap_or_default(),
        postgresql.split(' ').next().unwrap_or_default(),
    )
}

/// `target/bench`.
fn output_directory() -> PathBuf {
    let own = env::current_exe().expect("the own path");
    let directory = own.ancestors().nth(3).expect("target/release/examples/bench").join("bench");
    fs::create_dir_all(&directory).expect("a directory for the report");
    directory
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
    println!("        written: {}", path.display());
}
