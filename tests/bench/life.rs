//! What the process takes: time to start, memory.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};
use std::{fs, thread};

use pbx_tests::{Portal, Settings};

use crate::effort::Effort;
use crate::report::{Must, Report, Row};
use crate::statistics::{median, milliseconds};

/// From the start of the process to the first `200` of `GET /users`.
pub(crate) fn start(settings: &Settings, effort: &Effort, report: &mut Report) {
    let times: Vec<f64> = (0..effort.starts).map(|_| first_answer(settings)).collect();
    report.add(Row {
        work: "start to the first `GET /users`, migrated database, p50".to_owned(),
        unit: "ms",
        figure: median(&times),
        floor: None,
        must: Must::AtMost(150.0),
    });
}

fn first_answer(settings: &Settings) -> f64 {
    let began = Instant::now();
    let mut portal = settings.start_unready();
    let address = portal.url().trim_start_matches("http://").to_owned();
    let mut stream = loop {
        match TcpStream::connect(&address) {
            Ok(stream) => break stream,
            Err(_) => thread::sleep(Duration::from_micros(200)),
        }
        assert!(portal.runs(), "the portal ended at its start:\n{}", portal.log());
    };
    let token = settings.token();
    write!(stream, "GET /users HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\r\n")
        .expect("a request");
    let mut answer = [0; 4096];
    let length = stream.read(&mut answer).expect("an answer");
    let time = milliseconds(began.elapsed());
    assert!(answer[..length].starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer[..length]));
    portal.stop();
    time
}

/// What the process holds now.
pub(crate) fn memory(portal: &Portal, report: &mut Report) {
    report.add(Row {
        work: "resident memory after all of it, 1000 users".to_owned(),
        unit: "MiB",
        figure: resident(portal),
        floor: None,
        must: Must::AtMost(25.0),
    });
}

pub(crate) fn resident(portal: &Portal) -> f64 {
    let status = fs::read_to_string(format!("/proc/{}/status", portal.id())).expect("the portal's status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("the resident memory");
    let kibibytes: u32 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    f64::from(kibibytes) / 1024.0
}

/// How many milliseconds of processor time a process and its children that ended took so far.
pub(crate) fn processor_time(process: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).expect("the process");
    // After the name, which may hold anything: user and system time, of itself and of its children.
    let fields = stat.rsplit_once(')').map(|(_, fields)| fields.split_whitespace().skip(11).take(4));
    let ticks = fields.expect("its times").filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>();
    // A tick is a hundredth of a second on every Linux.
    ticks * 10.0
}
