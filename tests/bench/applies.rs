//! `POST /apply`, against the reload that it cannot do without.

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use pbx_tests::{Asterisk, Database, Portal, misbehaving};
use serde_json::Value;

use crate::effort::Effort;
use crate::report::{Must, Report, Row, short};
use crate::statistics::{median, milliseconds};
use crate::wire::Wire;

/// The steps of an apply, as its answer names them.
pub(crate) const STEPS: [&str; 6] = ["snapshot", "render", "install", "reload", "verify", "purge"];

const RELOAD: &str = "module reload res_pjsip.so pbx_config.so";

/// Applies of one size: medians, in milliseconds.
pub(crate) struct Size {
    pub(crate) users: usize,
    pub(crate) apply: f64,
    pub(crate) steps: [f64; STEPS.len()],
    pub(crate) reload: f64,
}

/// One portal, its Asterisk and its database.
pub(crate) struct Bench<'a> {
    pub(crate) asterisk: &'a mut Asterisk,
    pub(crate) database: &'a Database,
    pub(crate) wire: Wire,
}

impl<'a> Bench<'a> {
    pub(crate) fn new(asterisk: &'a mut Asterisk, database: &'a Database, portal: &Portal) -> Self {
        Self { asterisk, database, wire: Wire::new(portal) }
    }

    /// The rows for a thousand users.
    pub(crate) fn thousand(&mut self, effort: &Effort, report: &mut Report) -> Size {
        self.asterisk.restart();
        let all = self.series(1000, effort.applies, Self::change_all);
        report.add(row("everything changed, 1000 users", all.apply, ("the bare reload", all.reload), 1.5));
        self.asterisk.restart();
        let one = self.series(1000, effort.applies, Self::change_one);
        report.add(row("one user changed among 1000", one.apply, ("the bare reload", one.reload), 1.5));
        self.asterisk.restart();
        let (nothing, listing) = self.unchanged(effort.applies * 2);
        report.add(row("nothing changed, 1000 users", nothing, ("one `pjsip show endpoints`", listing), 2.0));
        all
    }

    /// Everything changed, with fewer and fewer users.
    pub(crate) fn smaller(&mut self, effort: &Effort, report: &mut Report) -> Vec<Size> {
        let mut sizes = Vec::new();
        for users in [750, 500, 250, 100, 10, 0] {
            self.database.sql(&format!(
                "DELETE FROM users WHERE id IN (SELECT user_id FROM extensions WHERE number >= {})",
                1000 + users
            ));
            self.asterisk.restart();
            let applies = if users == 100 { effort.applies } else { effort.applies_of_a_size };
            let size = self.series(users, applies, if users == 0 { Self::change_files } else { Self::change_all });
            println!("    {users} users: apply {:.1} ms, bare reload {:.1} ms", size.apply, size.reload);
            if users == 100 {
                report.add(Row {
                    work: "`POST /apply`, everything changed, 100 users, p50".to_owned(),
                    unit: "ms",
                    figure: size.apply,
                    floor: Some(("the bare reload", size.reload)),
                    must: Must::AtMost(60.0),
                });
            }
            sizes.push(size);
        }
        sizes
    }

    /// Changes, applies, and then reloads two pairs of files by hand that differ as much.
    fn series(&mut self, users: usize, times: usize, change: fn(&mut Self)) -> Size {
        // The first one finds the users of the former series.
        self.applied(users);
        let (mut applies, mut reloads, mut steps) = (Vec::new(), Vec::new(), vec![Vec::new(); STEPS.len()]);
        for _ in 0..times {
            let former = self.files();
            change(self);
            let (time, answer) = self.applied(users);
            assert!(answer["outcome"] == "applied", "{answer}");
            applies.push(time);
            for (name, steps) in STEPS.iter().zip(&mut steps) {
                steps.push(answer["timings_ms"][name].as_f64().expect("a timing"));
            }
            let current = self.files();
            for files in [former, current] {
                for (path, text) in files {
                    fs::write(path, text).expect("the include file");
                }
                reloads.push(self.asked(RELOAD, misbehaving::RELOADED));
            }
        }
        let mut medians = [0.0; STEPS.len()];
        for (median_of, samples) in medians.iter_mut().zip(&steps) {
            *median_of = median(samples);
        }
        let words: Vec<String> =
            STEPS.iter().zip(medians).map(|(name, time)| format!("{name} {}", short(time))).collect();
        println!("    {users} users: {}", words.join(", "));
        Size { users, apply: median(&applies), steps: medians, reload: median(&reloads) }
    }

    fn unchanged(&mut self, times: usize) -> (f64, f64) {
        self.applied(1000);
        let (mut applies, mut listings) = (Vec::new(), Vec::new());
        for _ in 0..times {
            listings.push(self.asked("pjsip show endpoints", "Objects found: 1000"));
            let (time, answer) = self.applied(1000);
            assert!(answer["outcome"] == "unchanged", "{answer}");
            applies.push(time);
        }
        (median(&applies), median(&listings))
    }

    /// An apply, and how long it took.
    pub(crate) fn applied(&mut self, users: usize) -> (f64, Value) {
        let reply = self.wire.apply().expect(200);
        let answer: Value = serde_json::from_slice(reply.body).expect("JSON");
        assert!(answer["users"] == users, "{answer}");
        (reply.milliseconds, answer)
    }

    /// How long one command of Asterisk's takes, its process included.
    fn asked(&self, command: &str, expected: &str) -> f64 {
        let began = Instant::now();
        let answer = self.asterisk.rx(command);
        let time = milliseconds(began.elapsed());
        assert!(answer.contains(expected), "{answer}");
        time
    }

    fn files(&self) -> [(PathBuf, Vec<u8>); 2] {
        [self.asterisk.pjsip_include(), self.asterisk.dialplan_include()].map(|path| {
            let text = fs::read(&path).expect("the include file");
            (path, text)
        })
    }

    /// Every user has another name and another credential.
    fn change_all(&mut self) {
        self.database
            .sql("UPDATE users SET name = 'Alice ' || revision; UPDATE extensions SET ha1 = md5(ha1 || number)");
    }

    fn change_one(&mut self) {
        self.database.sql(
            "UPDATE users SET name = 'Alice ' || revision
              WHERE id = (SELECT user_id FROM extensions WHERE number = 1500)",
        );
    }

    /// Without a user there is nothing to change but the files themselves.
    fn change_files(&mut self) {
        for (path, text) in self.files() {
            fs::write(path, [text.as_slice(), b"; changed\n"].concat()).expect("the include file");
        }
    }
}

fn row(what: &str, figure: f64, floor: (&'static str, f64), most: f64) -> Row {
    let work = format!("`POST /apply`, {what}, p50");
    Row { work, unit: "ms", figure, floor: Some(floor), must: Must::TimesFloor(most) }
}
