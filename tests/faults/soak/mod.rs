//! A soak: random changes, applies and faults, round after round; after each, all is healed and held against each other.
//! A minute of one seed with the other tests; `make soak MINUTES=… SEED=…`, of any seed.
//!
//! The same seed makes the same choices again. When they meet what, only the machine decides.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a failing step fails the round")]
#![expect(clippy::print_stdout, reason = "it reports each round")]
#![expect(clippy::disallowed_methods, reason = "it does to files and processes what an administrator or a crash would")]

mod changes;
mod checks;
mod faults;
mod model;
mod observed;
mod plan;
mod random;
mod round;
mod world;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use std::{env, thread};

use crate::faults::soak::checks::Wrong;
use crate::faults::soak::plan::Plan;
use crate::faults::soak::round::{Attempt, Story};
use crate::faults::soak::world::World;

/// How many dumps are kept, of every second round.
const DUMPS: usize = 4;

/// Says where it failed, however it fails.
struct Place<'a> {
    seed: u64,
    round: u64,
    plan: &'a Plan,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            println!("\nSEED={} failed in round {}: {:?}", self.seed, self.round, self.plan);
        }
    }
}

/// What all rounds together had.
#[derive(Default)]
struct Totals {
    rounds: u64,
    changes: usize,
    faults: BTreeMap<String, usize>,
    applies: BTreeMap<String, usize>,
    most: [usize; 3],
}

fn number(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is no number: {text}")))
}

#[test]
fn nothing_is_ever_claimed_that_is_not_so() {
    let minutes = number("PBX_TEST_SOAK_MINUTES").unwrap_or(1);
    let seed = number("PBX_TEST_SOAK_SEED").unwrap_or(42);
    let first = number("PBX_TEST_SOAK_ROUND").unwrap_or(0);
    println!("SEED={seed}, {minutes} minutes");
    let (began, mut totals, mut world) = (Instant::now(), Totals::default(), World::new());
    for round in first.. {
        if began.elapsed() >= Duration::from_secs(minutes * 60) {
            break;
        }
        totals.play(&mut world, seed, round);
    }
    println!("{} rounds with {} changes in {:.0?}", totals.rounds, totals.changes, began.elapsed());
    println!("faults: {:?}", totals.faults);
    println!("applies: {:?}", totals.applies);
    println!("at most {} descriptors, {} threads, {} MiB", totals.most[0], totals.most[1], totals.most[2]);
}

impl Totals {
    fn play(&mut self, world: &mut World, seed: u64, round: u64) {
        let plan = &Plan::of(seed, round);
        let _place = Place { seed, round, plan };
        let began = Instant::now();
        if round.is_multiple_of(2) || world.dumps.is_empty() {
            let dump = world.shared.database.read().unwrap().dump();
            world.dumps.push((dump, world.users.clone()));
            if world.dumps.len() > DUMPS {
                world.dumps.remove(0);
            }
        }
        world.prepare(plan);
        let mut story = world.live_through(plan, round);
        let mut wrong = Wrong(std::mem::take(&mut story.wrong));
        world.check_settled(plan, &story, &mut wrong);
        world.restore(plan);
        world.check_healed(plan, &story, &mut wrong);
        self.count(world, plan, &story);
        println!(
            "{round:4} {:<16} {:2} changes {:4.1} s  {}",
            plan.fault.name(),
            story.events.len(),
            began.elapsed().as_secs_f64(),
            story.attempts.iter().map(Attempt::summary).collect::<Vec<_>>().join(", ")
        );
        let problems = wrong.0.join("\n- ");
        assert!(problems.is_empty(), "round {round}:\n- {problems}\n{}", story.told());
    }

    fn count(&mut self, world: &World, plan: &Plan, story: &Story) {
        self.rounds += 1;
        self.changes += story.events.len();
        *self.faults.entry(plan.fault.name()).or_default() += 1;
        for attempt in &story.attempts {
            *self.applies.entry(attempt.summary()).or_default() += 1;
        }
        for portal in &world.parts.portals {
            for (most, now) in self.most.iter_mut().zip(observed::usage(portal.id())) {
                *most = now.max(*most);
            }
        }
    }
}

impl Story {
    /// What happened, in order.
    fn told(&self) -> String {
        let start =
            self.events.iter().map(|event| event.began).chain(self.attempts.iter().map(|attempt| attempt.began));
        let Some(start) = start.min() else { return String::new() };
        let times = |began: Instant, ended: Instant| {
            format!("{:7.3}-{:7.3}", (began - start).as_secs_f64(), (ended - start).as_secs_f64())
        };
        let mut lines: Vec<_> = self
            .events
            .iter()
            .map(|event| {
                let doubt = if event.is_certain { "" } else { " (uncertain)" };
                format!("{} {}{doubt}", times(event.began, event.ended), event.what)
            })
            .chain(self.attempts.iter().map(|attempt| {
                let said = changes::said(attempt.answer.as_ref());
                format!("{} POST /apply: {said}", times(attempt.began, attempt.ended))
            }))
            .collect();
        if let Some(rewind) = &self.suffered.rewind {
            lines.push(format!(
                "{} the database is another one",
                times(rewind.began.max(start), rewind.ended.max(start))
            ));
        }
        lines.sort();
        lines.join("\n")
    }
}
