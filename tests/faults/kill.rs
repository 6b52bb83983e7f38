//! `kill -9` in the middle of an apply: what lies on disk at the next start is the old pair or the new one, whole.

use std::path::PathBuf;
use std::time::Instant;
use std::{env, fs, thread};

use pbx_tests::Asterisk;

use crate::faults::matrix;
use crate::faults::strace::{Fault, Strace};
use crate::faults::world::{Disk, World, create, sha256};

/// A world whose portal is killed over and over.
struct Mortal {
    world: World,
    rounds: usize,
    /// How the rounds ended: with the old pair, with the new one.
    old: usize,
    new: usize,
}

impl Mortal {
    fn new() -> Self {
        let mut mortal = Self { world: World::beside(Asterisk::start_new()), rounds: 0, old: 0, new: 0 };
        mortal.restart();
        mortal.proven_apply();
        mortal
    }

    fn directories(&self) -> Vec<PathBuf> {
        let asterisk = &self.world.asterisk;
        let files = [asterisk.pjsip_include(), asterisk.dialplan_include()];
        let mut all: Vec<_> = files.iter().map(|file| file.parent().unwrap().to_owned()).collect();
        all.push(self.world.portal.settings().state_dir());
        all
    }

    fn pair(&self) -> [String; 2] {
        [sha256(&self.world.asterisk.pjsip_include()), sha256(&self.world.asterisk.dialplan_include())]
    }

    fn restart(&mut self) {
        self.world.portal = self.world.portal.settings().start();
    }

    fn proven_apply(&self) {
        let answer = self.world.portal.http().post_empty("/apply").expect(200);
        assert!(answer.json["outcome"] == "applied" || answer.json["outcome"] == "unchanged", "{}", answer.text);
        self.world.check_new_on_disk(&answer);
        self.world.check_new_is_live();
    }

    /// The number 1001 goes to somebody else: an apply has everything to do that an apply may have to do.
    fn change(&mut self) {
        self.rounds += 1;
        let users = self.world.portal.http().get("/users").expect(200);
        let id = users.string("/users/1/id");
        self.world.portal.http().delete(&format!("/users/{id}")).expect(204);
        create(&self.world.portal, &format!("owner{}", self.rounds));
    }

    /// Changes something, applies between `before` and `killer`, which ends the portal, and checks what is left. The
    /// killer can ask whether the apply has been answered.
    fn round<T>(
        &mut self,
        moment: &str,
        before: impl FnOnce(&World) -> T,
        killer: impl FnOnce(&mut World, T, &dyn Fn() -> bool),
    ) {
        self.change();
        let http = self.world.portal.http().clone();
        let plan = http.post_empty("/apply?dry_run=true").expect(200);
        let planned = [plan.string("/files/0/sha256"), plan.string("/files/1/sha256")];
        let (old, records) = (self.pair(), self.world.records());
        let prepared = before(&self.world);
        let apply = thread::spawn(move || http.try_post_empty("/apply"));
        killer(&mut self.world, prepared, &|| apply.is_finished());
        let answered = apply.join().unwrap().is_some();
        self.world.portal.kill();

        self.restart();
        let pair = self.pair();
        assert!(pair == old || pair == planned, "{moment}: the pair on disk is neither the old nor the new one");
        self.old += usize::from(pair == old);
        self.new += usize::from(pair == planned);
        self.world.check_no_stale_files();
        let mut state: Vec<_> = fs::read_dir(self.world.portal.settings().state_dir())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        state.sort();
        // Asterisk may run the new pair where the old one had to be restored, so nothing counts as applied then.
        let is_doubtful = state.iter().any(|name| name == "unproven");
        state.retain(|name| name != "unproven");
        assert_eq!(state, ["lock", "note-last", "proven", "verified"], "{moment}: stale files in the state directory");
        let list = self.world.portal.http().get("/users").expect(200);
        let claims = list.json["users"].as_array().unwrap().iter().any(|user| user["applied"] == true);
        assert!(!is_doubtful || (pair == old && !claims), "{moment}: users count as applied, and nobody knows");
        let outcome = self.world.database.sql("SELECT outcome FROM apply_audit_log ORDER BY started_at DESC LIMIT 1");
        let recorded = self.world.records() - records;
        assert!(recorded <= 1, "{moment}");
        let truth = ["interrupted", "applied"];
        assert!(recorded == 0 || truth.contains(&&*outcome), "{moment}: the record says {outcome}");
        assert!(
            recorded == 0 || outcome != "applied" || pair == planned,
            "{moment}: recorded as applied, and the old pair is on disk"
        );
        assert!(!answered || pair == planned, "{moment}: answered, and the old pair is on disk");
        assert!(self.world.has_contact("1000"), "{moment}: the bystander's contact is lost");
        // All rounds together may take longer than a registration lasts.
        if self.rounds.is_multiple_of(10) {
            assert_eq!(self.world.bystander.register(), 200, "{moment}");
        }
        self.proven_apply();
    }

    fn end(self) {
        self.world.check_bystander();
        assert_eq!(self.world.asterisk.complaints(), Vec::<String>::new());
    }
}

#[test]
fn a_kill_at_every_file_system_call_of_an_apply_leaves_one_whole_pair() {
    let mut mortal = Mortal::new();
    let directories = mortal.directories();
    mortal.change();
    // As in every round, so that the calls are the same.
    mortal.world.portal.http().post_empty("/apply?dry_run=true").expect(200);
    let strace = Strace::attach(mortal.world.portal.id(), mortal.world.asterisk.home(), None);
    mortal.world.portal.http().post_empty("/apply").expect(200);
    let calls = strace.detach(&directories);
    let made = |name: &str| calls.iter().filter(|call| call.name.starts_with(name)).count();
    // Both files new and old, the journal, the record of the pair with and without pending purges.
    assert!(made("openat") >= 7 && made("write") >= 7 && made("fsync") >= 11 && made("rename") >= 5, "{calls:#?}");
    mortal.restart();
    mortal.proven_apply();

    for call in &calls {
        let mut was_last = false;
        for _ in 0..8 {
            let attach = |world: &World| Strace::attach(world.portal.id(), world.asterisk.home(), Some(Fault::Stop));
            mortal.round(&call.what, attach, |_, strace, answered| {
                was_last = strace.kill_after(call, &directories, answered);
            });
            if was_last {
                break;
            }
        }
        assert!(was_last, "never killed at {call:?}");
    }
    println!(
        "killed at each of {} calls: {} times the old pair, {} times the new one",
        calls.len(),
        mortal.old,
        mortal.new
    );
    assert!(mortal.old >= 10 && mortal.new >= 2, "{} old, {} new", mortal.old, mortal.new);
    mortal.end();
}

#[test]
fn a_kill_at_any_moment_of_an_apply_leaves_one_whole_pair() {
    let kills = env::var("PBX_TEST_KILLS").map_or(25, |count| count.parse().unwrap());
    let mut mortal = Mortal::new();
    mortal.change();
    let began = Instant::now();
    mortal.world.portal.http().post_empty("/apply").expect(200);
    let whole = began.elapsed();
    let mut random = std::process::id();
    for kill in 0..kills {
        // A linear congruential generator: the moments differ, and how exactly does not matter.
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let moment = whole.mul_f64(f64::from(random >> 8) / f64::from(1 << 24) * 1.1);
        mortal.round(
            &format!("kill {kill} after {moment:?} of {whole:?}"),
            |_| (),
            |world, (), _| {
                thread::sleep(moment);
                world.portal.kill();
            },
        );
    }
    println!("killed at {kills} moments: {} times the old pair, {} times the new one", mortal.old, mortal.new);
    mortal.end();
}

#[test]
fn a_start_that_finds_no_database_puts_the_old_pair_back_all_the_same() {
    let mut world = World::new();
    world.killed_at("module reload*", |_| ());
    // As a kill between the two renames leaves it: Asterisk may start with it before PostgreSQL is back.
    fs::write(world.asterisk.dialplan_include(), &world.old.disk.dialplan).unwrap();

    let settings = world.portal.settings().clone();
    let nowhere = settings.clone().with("DATABASE_URL", "postgresql://127.0.0.1:1/nowhere");
    let failed = nowhere.with("PBX_PORTAL__DATABASE__TIMEOUT_SECONDS", "1").run(&["serve"]);
    assert_eq!(failed.status.code(), Some(1), "{}", failed.stderr);
    assert!(Disk::of(&world.asterisk) == world.old.disk, "{}", failed.stderr);

    world.portal = settings.start();
    assert_eq!(world.database.sql("SELECT count(*) FROM apply_audit_log WHERE outcome = 'interrupted'"), "1");
    world.recovers();
}

#[test]
fn an_apply_ends_proven_before_a_portal_that_is_asked_to_stop() {
    let mut world = World::new();
    let answer = world.apply_and_meanwhile("module reload*", || world.portal.terminate());
    assert!(world.portal.wait().success());
    world.portal = world.portal.settings().start();
    world.check(matrix::TERMINATED, &answer);
    assert_eq!(world.recovers().json["outcome"], "unchanged");
}
