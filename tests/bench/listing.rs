//! `GET /users` with a thousand users.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Command, Stdio};

use pbx_tests::{Database, Portal};
use serde_json::Value;
use tempfile::TempDir;

use crate::creates;
use crate::effort::Effort;
use crate::floor::{self, pgbench};
use crate::report::{Must, Report, Row};
use crate::static_server::StaticServer;
use crate::statistics::median;
use crate::wire::Wire;

const CONNECTIONS: u32 = 16;

/// The first list after a change, alternating with the same join fetched by `pgbench`.
pub(crate) fn after_a_change(portal: &Portal, database: &Database, effort: &Effort, report: &mut Report) {
    let (mut lists, mut raw) = (Vec::new(), Vec::new());
    let mut wire = Wire::new(portal);
    for batch in 0..10 {
        raw.extend(pgbench(database, floor::LIST, 0, effort.requests / 10));
        for number in 0..effort.requests / 10 {
            let list: Value = serde_json::from_slice(wire.get("/users").expect(200).body).expect("JSON");
            let id = list["users"][number]["id"].as_str().expect("an id").to_owned();
            wire.delete(&format!("/users/{id}")).expect(204);
            wire.post("/users", &creates::body(creates::FULL + batch * 100 + number)).expect(201);
            lists.push(wire.get("/users").expect(200).milliseconds);
        }
    }
    report.add(Row {
        work: "`GET /users`, 1000 users, first after a change, p50".to_owned(),
        unit: "ms",
        figure: median(&lists),
        floor: Some(("the raw join by pgbench", median(&raw))),
        must: Must::TimesFloor(1.5),
    });
}

/// The list that has not changed, alternating with a static body.
pub(crate) fn unchanged(portal: &Portal, effort: &Effort, report: &mut Report) {
    let mut wire = Wire::new(portal);
    let size = wire.get("/users").expect(200).body.len();
    let server = StaticServer::start(size);
    let mut floor = Wire::to(&server.url, "");
    let (mut lists, mut statics) = (Vec::new(), Vec::new());
    for _ in 0..10 {
        for _ in 0..effort.requests {
            statics.push(floor.get("/").expect(200).milliseconds);
        }
        for _ in 0..effort.requests {
            lists.push(wire.get("/users").expect(200).milliseconds);
        }
    }
    report.add(Row {
        work: "`GET /users`, 1000 users, unchanged, p50".to_owned(),
        unit: "ms",
        figure: median(&lists),
        floor: Some(("a static body", median(&statics))),
        must: Must::TimesFloor(2.0),
    });
    let (mut lists, mut statics) = (Vec::new(), Vec::new());
    for _ in 0..effort.loads {
        statics.push(requests_per_second(&format!("{}/", server.url), "", effort.load));
        lists.push(requests_per_second(&format!("{}/users", portal.url()), portal.settings().token(), effort.load));
    }
    report.add(Row {
        work: format!("… {CONNECTIONS} connections (wrk)"),
        unit: "requests/s",
        figure: median(&lists),
        floor: Some(("a static body", median(&statics))),
        must: Must::PartOfFloor(0.5),
    });
}

/// The load that `wrk` reaches; the token goes by a file.
fn requests_per_second(url: &str, token: &str, seconds: u32) -> f64 {
    let directory = TempDir::new().expect("a directory for wrk");
    let script = directory.path().join("token.lua");
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&script).expect("wrk's script");
    write!(file, "wrk.headers['Authorization'] = 'Bearer {token}'").expect("wrk's script");
    let mut command = Command::new("wrk");
    command.args(["--threads=1", &format!("--connections={CONNECTIONS}"), &format!("--duration={seconds}s")]);
    command.arg("--script").arg(&script).arg(url).stdin(Stdio::null());
    let output = command.output().expect("wrk (package wrk)");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && !text.contains("Non-2xx"), "wrk: {text}");
    let rate = text.lines().find_map(|line| line.strip_prefix("Requests/sec:")?.trim().parse().ok());
    rate.unwrap_or_else(|| panic!("wrk reported no rate: {text}"))
}
