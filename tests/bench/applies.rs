//! `POST /apply`, against the reload that it cannot do without.

use std::fs;

use pbx_tests::{Asterisk, Database, Portal};
use serde_json::Value;

use crate::effort::Effort;
use crate::report::{Must, Report, Row, short};
use crate::statistics::median;
use crate::wire::Wire;
use crate::{creates, life, reference};

/// The steps of an apply, as its answer names them.
pub(crate) const STEPS: [&str; 6] = ["snapshot", "render", "install", "reload", "verify", "purge"];

/// Applies of one size: medians, in milliseconds.
pub(crate) struct Size {
    pub(crate) users: usize,
    pub(crate) apply: f64,
    pub(crate) steps: [f64; STEPS.len()],
    pub(crate) reload: f64,
    without_proof: f64,
    /// Of the portal and its children.
    cpu: f64,
}

/// One portal, its Asterisk and its database.
pub(crate) struct Bench<'a> {
    pub(crate) asterisk: &'a mut Asterisk,
    pub(crate) database: &'a Database,
    portal: u32,
    pub(crate) wire: Wire,
}

impl<'a> Bench<'a> {
    pub(crate) fn new(asterisk: &'a mut Asterisk, database: &'a Database, portal: &Portal) -> Self {
        Self { asterisk, database, portal: portal.id(), wire: Wire::new(portal) }
    }

    /// The rows for a thousand users.
    pub(crate) fn thousand(&mut self, effort: &Effort, report: &mut Report) -> Size {
        self.asterisk.restart();
        let all = self.series(1000, effort.applies, Self::nothing, Self::change_all);
        report.add(row("everything changed, 1000 users", all.apply, ("the bare reload", all.reload), 1.5));
        self.one_changed(1000, effort, report, 1.0);
        self.asterisk.restart();
        let last = self.series(1000, effort.applies, Self::remove_last, Self::add_last);
        report.add(row("the 1000th user added", last.apply, ("the bare reload", last.reload), 1.15));
        self.unchanged(1000, effort, report, None);
        all
    }

    /// Everything changed, with fewer and fewer users; and the other rows for a hundred.
    pub(crate) fn smaller(&mut self, effort: &Effort, report: &mut Report) -> Vec<Size> {
        let mut sizes = Vec::new();
        for users in [750, 500, 250, 100, 10, 0] {
            self.database.sql(&format!(
                "DELETE FROM users WHERE id IN (SELECT user_id FROM extensions WHERE number >= {})",
                1000 + users
            ));
            self.asterisk.restart();
            let applies = if users == 100 { effort.applies } else { effort.applies_of_a_size };
            let change = if users == 0 { Self::change_files } else { Self::change_all };
            let size = self.series(users, applies, Self::nothing, change);
            println!("    {users} users: apply {:.1} ms, bare reload {:.1} ms", size.apply, size.reload);
            if users == 100 {
                let what = "everything changed, 100 users";
                let floor = Some(("the bare reload", size.reload));
                report.add(Row { floor, must: Must::AtMost(60.0), ..row(what, size.apply, ("", 0.0), 0.0) });
                self.one_changed(100, effort, report, 1.5);
                self.unchanged(100, effort, report, Some(5.0));
                self.planned(effort, report);
            }
            sizes.push(size);
        }
        sizes
    }

    /// One user with another name, which leaves the numbers as they are.
    fn one_changed(&mut self, users: usize, effort: &Effort, report: &mut Report, most: f64) {
        self.asterisk.restart();
        let one = self.series(users, effort.applies, Self::nothing, Self::change_one);
        let what = format!("one user changed among {users}");
        report.add(row(&what, one.apply, ("the bare reload of both files", one.reload), most));
        report.add(row(&format!("… {what}"), one.apply, ("the design without a proof", one.without_proof), 1.2));
        if users == 1000 {
            let work = "… processor time of the portal and its children".to_owned();
            report.add(Row { work, unit: "ms", figure: one.cpu, floor: None, must: Must::AtMost(25.0) });
        }
    }

    /// Changes, applies, and then installs two pairs of files by hand that differ as much, in two ways.
    fn series(&mut self, users: usize, times: usize, prepare: fn(&mut Self), change: fn(&mut Self)) -> Size {
        let (mut applies, mut reloads, mut others) = (Vec::new(), Vec::new(), Vec::new());
        let mut steps = vec![Vec::new(); STEPS.len()];
        let mut cpu = 0.0;
        for _ in 0..times {
            // What was written by hand is installed again, of both files.
            self.applied(users);
            prepare(self);
            let former = reference::files(self.asterisk);
            change(self);
            let before = life::processor_time(self.portal);
            let (time, answer) = self.applied(users);
            cpu += life::processor_time(self.portal) - before;
            assert!(answer["outcome"] == "applied", "{answer}");
            applies.push(time);
            for (name, steps) in STEPS.iter().zip(&mut steps) {
                steps.push(answer["timings_ms"][name].as_f64().expect("a timing"));
            }
            let current = reference::files(self.asterisk);
            reloads.extend([&former, &current].map(|files| reference::reload(self.asterisk, files)));
            others.extend([&former, &current].map(|files| reference::without_proof(self.asterisk, files)));
        }
        let mut medians = [0.0; STEPS.len()];
        for (median_of, samples) in medians.iter_mut().zip(&steps) {
            *median_of = median(samples);
        }
        let words: Vec<String> =
            STEPS.iter().zip(medians).map(|(name, time)| format!("{name} {}", short(time))).collect();
        println!("    {users} users: {}", words.join(", "));
        let cpu = cpu / f64::from(u32::try_from(times).expect("a few"));
        let (apply, reload, without_proof) = (median(&applies), median(&reloads), median(&others));
        Size { users, apply, steps: medians, reload, without_proof, cpu }
    }

    fn unchanged(&mut self, users: usize, effort: &Effort, report: &mut Report, most: Option<f64>) {
        self.asterisk.restart();
        self.applied(users);
        let (mut applies, mut listings) = (Vec::new(), Vec::new());
        for _ in 0..effort.applies * 2 {
            listings.push(reference::listing(self.asterisk, users));
            let (time, answer) = self.applied(users);
            assert!(answer["outcome"] == "unchanged", "{answer}");
            applies.push(time);
        }
        let floor = ("one `pjsip show endpoints` over the socket", median(&listings));
        let row = row(&format!("nothing changed, {users} users"), median(&applies), floor, 1.3);
        report.add(Row { must: most.map_or(row.must, Must::AtMost), ..row });
    }

    /// Dry runs.
    fn planned(&mut self, effort: &Effort, report: &mut Report) {
        let times: Vec<f64> = (0..effort.applies * 2)
            .map(|_| self.wire.post("/apply?dry_run=true", "").expect(200).milliseconds)
            .collect();
        let work = "`POST /apply?dry_run=true`, 100 users, p50".to_owned();
        report.add(Row { work, unit: "ms", figure: median(&times), floor: None, must: Must::AtMost(6.0) });
    }

    /// An apply, and how long it took.
    pub(crate) fn applied(&mut self, users: usize) -> (f64, Value) {
        let reply = self.wire.apply().expect(200);
        let answer: Value = serde_json::from_slice(reply.body).expect("JSON");
        assert!(answer["users"] == users, "{answer}");
        (reply.milliseconds, answer)
    }

    #[expect(clippy::unused_self, reason = "it stands where others prepare something")]
    fn nothing(&mut self) {}

    fn remove_last(&mut self) {
        self.database.sql("DELETE FROM users WHERE id = (SELECT user_id FROM extensions WHERE number = 1999)");
        self.applied(999);
    }

    fn add_last(&mut self) {
        self.wire.post("/users", &creates::body(20 * creates::FULL)).expect(201);
    }

    /// Every user has another name and another credential.
    fn change_all(&mut self) {
        self.database
            .sql("UPDATE users SET name = 'Alice ' || revision; UPDATE extensions SET ha1 = md5(ha1 || number)");
    }

    fn change_one(&mut self) {
        self.database.sql(
            "UPDATE users SET name = 'Alice ' || revision
              WHERE id = (SELECT user_id FROM extensions WHERE number = 1050)",
        );
    }

    /// Without a user there is nothing to change but the files themselves.
    fn change_files(&mut self) {
        for (path, text) in reference::files(self.asterisk) {
            fs::write(path, [text.as_slice(), b"; changed\n"].concat()).expect("the include file");
        }
    }
}

fn row(what: &str, figure: f64, floor: (&'static str, f64), most: f64) -> Row {
    let work = format!("`POST /apply`, {what}, p50");
    Row { work, unit: "ms", figure, floor: Some(floor), must: Must::TimesFloor(most) }
}
