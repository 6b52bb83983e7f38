//! A wall clock that steps, or that is nowhere near the truth: nothing is decided by it, and no duration is of it.

use std::fs;
use std::path::Path;

use pbx_tests::{Asterisk, Database, Response, Settings};

use crate::faults::database::apply_and_meanwhile;
use crate::faults::world::{World, create};

/// Debian's `libfaketime`: the program's wall clock is what a file says. Its other clocks are left alone.
const LIBRARY: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib64/faketime/libfaketimeMT.so.1",
];

/// The clock of the portal is what the file says.
pub(crate) fn with_clock(settings: Settings, clock: &Path, time: &str) -> Settings {
    let library = LIBRARY.into_iter().find(|path| Path::new(path).exists());
    let library = library.unwrap_or_else(|| panic!("libfaketime is missing: install the package libfaketime"));
    fs::write(clock, time).unwrap();
    settings
        .with("LD_PRELOAD", library)
        .with("FAKETIME_TIMESTAMP_FILE", clock.to_str().unwrap())
        .with("FAKETIME_NO_CACHE", "1")
        .with("FAKETIME_DONT_FAKE_MONOTONIC", "1")
}

#[track_caller]
fn took_no_absurd_time(world: &World, answer: &Response) {
    let answered = if answer.status == 200 { &answer.json } else { &answer.json["apply"] };
    let duration = answered["duration_ms"].as_f64().unwrap();
    assert!(duration > 0.0 && duration < 600_000.0, "{duration} ms: {}", answer.text);
    for (step, time) in answered["timings_ms"].as_object().unwrap() {
        assert!((0.0..600_000.0).contains(&time.as_f64().unwrap()), "{step}: {}", answer.text);
    }
    let recorded: f64 = world.audit(answer, "duration_ms").parse().unwrap();
    assert!(recorded < 600_000.0, "{recorded} ms");
    assert_eq!(world.audit(answer, "finished_at >= started_at"), "t");
}

#[test]
fn a_clock_that_steps_in_mid_apply_lands_in_no_duration() {
    let directory = tempfile::tempdir().unwrap();
    let clock = directory.path().join("clock");
    let world = World::with(Database::create(), Asterisk::start_new(), |settings| with_clock(settings, &clock, "+0"));
    for (n, time) in ["+10y", "-20y", "+0"].into_iter().enumerate() {
        create(&world.portal, &format!("user{n}"));
        let answer = apply_and_meanwhile(&world, || fs::write(&clock, time).unwrap()).expect(200);
        took_no_absurd_time(&world, &answer);
        assert_eq!(world.claims().0.json["apply_required"], false);
    }
    world.recovers();
}
