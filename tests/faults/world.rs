//! A portal beside a real Asterisk that runs one user, whose phone is registered, and a second user who waits for the
//! apply under test.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::{fs, thread};

use pbx_tests::{Asterisk, Database, MisbehavingAsterisk, Phone, Portal, Response, Settings};
use serde_json::Value;

use crate::faults::matrix::{Files, Live, Row};

pub(crate) struct World {
    pub(crate) portal: Portal,
    /// Whose number was live before, and stays.
    pub(crate) bystander: Phone,
    pub(crate) stand_in: MisbehavingAsterisk,
    pub(crate) asterisk: Asterisk,
    pub(crate) database: Database,
    pub(crate) old: State,
    /// Numbers that the administrator has taken.
    pub(crate) admins_numbers: &'static [&'static str],
}

/// What is on disk, and what Asterisk runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) disk: Disk,
    pub(crate) running: Running,
}

impl State {
    pub(crate) fn of(asterisk: &Asterisk) -> Self {
        Self { disk: Disk::of(asterisk), running: Running::of(asterisk) }
    }
}

/// Both include files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Disk {
    pub(crate) endpoints: String,
    pub(crate) dialplan: String,
}

/// What Asterisk runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Running {
    /// Every endpoint with the auth it names.
    pub(crate) endpoints: BTreeMap<String, String>,
    /// The extensions that can be called.
    pub(crate) extens: BTreeSet<String>,
    /// The marker among the aors, and the one in the dialplan.
    pub(crate) generation: (String, String),
}

/// Both ways to ask Asterisk: over its control socket, and by the command.
pub(crate) const BOTH_WAYS: [fn() -> World; 2] = [World::new, World::by_command];
/// The same, for what never comes.
pub(crate) const BOTH_WAYS_IMPATIENT: [fn() -> World; 2] = [World::impatient, World::impatient_by_command];

impl World {
    /// In which nothing is late, however busy the machine.
    pub(crate) fn new() -> Self {
        Self::with(Database::create(), Asterisk::start_new(), |settings| settings)
    }

    /// In which Asterisk is asked by the command alone, as behind `docker exec`.
    pub(crate) fn by_command() -> Self {
        Self::build(Database::create(), Asterisk::start_new(), MisbehavingAsterisk::ask_by_command, |settings| settings)
    }

    /// For what never comes: three seconds for each command to Asterisk from now on, and fifteen for an apply.
    pub(crate) fn impatient() -> Self {
        Self::new().with_patience(3, 15)
    }

    /// As [`Self::impatient`], by the command alone.
    pub(crate) fn impatient_by_command() -> Self {
        Self::by_command().with_patience(3, 15)
    }

    /// With so many seconds for each command to Asterisk from now on, and for an apply.
    pub(crate) fn with_patience(mut self, command: u32, apply: u32) -> Self {
        self.portal = self.portal.settings().clone().with_patience(command, apply).start();
        self
    }

    pub(crate) fn with(database: Database, asterisk: Asterisk, adjust: impl FnOnce(Settings) -> Settings) -> Self {
        Self::build(database, asterisk, |_| (), adjust)
    }

    /// Without the stand-in: the calls of the real program are what counts.
    pub(crate) fn beside(asterisk: Asterisk) -> Self {
        let command = asterisk.command();
        Self::with(Database::create(), asterisk, |settings| settings.with("PBX_PORTAL__ASTERISK__COMMAND", &command))
    }

    pub(crate) fn with_state_dir(path: &Path) -> Self {
        let path = path.to_str().unwrap();
        Self::with(Database::create(), Asterisk::start_new(), |settings| settings.with("PBX_PORTAL__STATE_DIR", path))
    }

    /// Asked in this way from the start: a portal that knows the control socket goes on using it.
    pub(crate) fn build(
        database: Database,
        asterisk: Asterisk,
        way: impl FnOnce(&MisbehavingAsterisk),
        adjust: impl FnOnce(Settings) -> Settings,
    ) -> Self {
        let stand_in = MisbehavingAsterisk::before(&asterisk);
        way(&stand_in);
        let settings =
            Settings::new(&database.url(), &asterisk).with("PBX_PORTAL__ASTERISK__COMMAND", &stand_in.command());
        let portal = adjust(settings).start();
        let bystander = create(&portal, "bystander");
        assert_eq!(portal.http().post_empty("/apply").expect(200).json["outcome"], "applied");
        let bystander = Phone::of(&asterisk, &bystander);
        assert_eq!(bystander.register(), 200);
        let old = State::of(&asterisk);
        create(&portal, "newcomer");
        Self { portal, bystander, stand_in, asterisk, database, old, admins_numbers: &[] }
    }

    /// Applies, and compares everything that can be seen with `row`.
    #[track_caller]
    pub(crate) fn apply(&self, row: Row) -> Response {
        let answer = self.portal.http().post_empty("/apply");
        self.check(row, &answer);
        answer
    }

    /// Applies, and does something while Asterisk has yet to answer `command`.
    pub(crate) fn apply_and_meanwhile(&self, command: &str, meanwhile: impl FnOnce()) -> Response {
        let held = self.stand_in.hold_next(command);
        thread::scope(|scope| {
            let apply = scope.spawn(|| self.portal.http().post_empty("/apply"));
            held.wait();
            meanwhile();
            drop(held);
            apply.join().unwrap()
        })
    }

    /// Applies, and kills the portal while Asterisk has yet to answer `command`, after something else.
    pub(crate) fn killed_at(&mut self, command: &str, meanwhile: impl FnOnce(&Self)) {
        let held = self.stand_in.hold_next(command);
        let http = self.portal.http().clone();
        let apply = thread::spawn(move || http.try_post_empty("/apply"));
        held.wait();
        meanwhile(self);
        self.portal.kill();
        drop(held);
        assert!(apply.join().unwrap().is_none(), "it was killed");
    }

    /// As [`Self::apply`], for a fault that was dealt with in the meantime.
    #[track_caller]
    pub(crate) fn check(&self, row: Row, answer: &Response) {
        self.check_all_but_record(row, answer, || self.extensions());
        self.check_record(row, answer);
    }

    /// As [`Self::check`], for a database that lacks the record, and may have other users by now than the apply had.
    #[track_caller]
    pub(crate) fn check_all_but_record(&self, row: Row, answer: &Response, users: impl FnOnce() -> BTreeSet<String>) {
        let fault = row.fault;
        assert_eq!(answer.status, row.status, "{fault}: {}", answer.text);
        let code = answer.json["type"].as_str().unwrap_or_default();
        assert_eq!(code.trim_start_matches("urn:pbx-portal:"), row.code, "{fault}: {}", answer.text);
        assert!(!answer.text.contains("os error"), "the words of a library: {}", answer.text);
        assert!(!answer.text.contains("endpoint_options"), "there are none: {}", answer.text);
        let record = record(answer);
        assert_eq!((&record["outcome"], &record["actor"]), (&row.outcome.into(), &"test".into()), "{fault}");
        match row.disk {
            Files::Old => assert!(Disk::of(&self.asterisk) == self.old.disk, "{fault}: the old pair is not on disk"),
            Files::New => self.check_new_on_disk(answer),
            Files::Stuck => assert!(Disk::of(&self.asterisk) != self.old.disk, "{fault}: the old pair is on disk"),
            Files::Gone => {}
        }
        match row.live {
            Live::Old => assert_eq!(Running::of(&self.asterisk), self.old.running, "{fault}"),
            Live::New => self.check_are_live(&users()),
            Live::Down | Live::Hung | Live::NotOurs | Live::Stuck => {}
        }
        if matches!(row.disk, Files::Old | Files::New) {
            self.check_no_stale_files();
        }
        if matches!(row.live, Live::Old | Live::New) {
            self.check_bystander();
        }
    }

    /// The old pair is on disk and live.
    #[track_caller]
    pub(crate) fn check_old(&self) {
        assert!(Disk::of(&self.asterisk) == self.old.disk, "the old pair is not on disk");
        assert_eq!(Running::of(&self.asterisk), self.old.running);
        self.check_bystander();
    }

    /// The fault is gone: the next apply is proven, and all is as if there had been none.
    #[track_caller]
    pub(crate) fn recovers(&self) -> Response {
        self.stand_in.behave();
        let answer = self.portal.http().post_empty("/apply").expect(200);
        let outcome = answer.string("/outcome");
        assert!(outcome == "applied" || outcome == "unchanged", "{outcome}");
        self.check_new_on_disk(&answer);
        self.check_new_is_live();
        self.check_no_stale_files();
        self.check_bystander();
        assert_eq!(self.database.sql("SELECT count(*) FROM apply_audit_log WHERE finished_at IS NULL"), "0");
        let users = self.portal.http().get("/users").expect(200);
        assert_eq!(users.json["apply_required"], false, "{}", users.text);
        answer
    }

    /// The files on disk are those of the answer.
    #[track_caller]
    pub(crate) fn check_new_on_disk(&self, answer: &Response) {
        let files = [self.asterisk.pjsip_include(), self.asterisk.dialplan_include()].map(|file| sha256(&file));
        let recorded = record(answer)["files"].as_array().unwrap().iter().map(|file| file["sha256"].as_str().unwrap());
        assert_eq!(recorded.collect::<Vec<_>>(), files);
    }

    /// Asterisk runs exactly the users that there are, of the generation that is on disk.
    #[track_caller]
    pub(crate) fn check_new_is_live(&self) {
        self.check_are_live(&self.extensions());
    }

    /// Asterisk runs exactly these users, of the generation that is on disk.
    #[track_caller]
    fn check_are_live(&self, users: &BTreeSet<String>) {
        let running = Running::of(&self.asterisk);
        assert_eq!(running.generation, Disk::of(&self.asterisk).generations());
        let mut ours = running.ours();
        ours.retain(|number| !self.admins_numbers.contains(&&**number));
        assert_eq!(ours, *users);
        assert_eq!(running.extens, *users);
        for (endpoint, auth) in running.endpoints.iter().filter(|(name, _)| users.contains(*name)) {
            assert!(auth.starts_with(&format!("{endpoint}-")), "{endpoint} has the auth {auth:?}");
        }
    }

    /// The phone that was registered before still is, and can register again.
    #[track_caller]
    pub(crate) fn check_bystander(&self) {
        assert!(self.has_contact("1000"), "the bystander's contact is lost");
        assert_eq!(self.bystander.register(), 200);
    }

    /// Whether a phone is registered at the extension.
    pub(crate) fn has_contact(&self, extension: &str) -> bool {
        has_contact(&self.asterisk, extension)
    }

    /// Nothing but the two files is in Asterisk's directories.
    #[track_caller]
    pub(crate) fn check_no_stale_files(&self) {
        for file in [self.asterisk.pjsip_include(), self.asterisk.dialplan_include()] {
            let mut names: Vec<_> =
                fs::read_dir(file.parent().unwrap()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            names.retain(|name| Some(&**name) != file.file_name());
            assert_eq!(names, Vec::<std::ffi::OsString>::new(), "stale files beside {}", file.display());
        }
    }

    /// The extensions of all users.
    pub(crate) fn extensions(&self) -> BTreeSet<String> {
        let users = self.portal.http().get("/users").expect(200);
        users.json["users"].as_array().unwrap().iter().map(|user| user["extension"].to_string()).collect()
    }

    /// A column of the audit record of this answer.
    #[track_caller]
    pub(crate) fn audit(&self, answer: &Response, column: &str) -> String {
        let id = answer.json.pointer("/apply/id").or_else(|| answer.json.pointer("/id"));
        let id = id.and_then(|id| id.as_str()).unwrap_or_else(|| panic!("no id of a record in {}", answer.text));
        self.database.sql(&format!("SELECT {column} FROM apply_audit_log WHERE id = '{id}'"))
    }

    /// How many records wait in the state directory for their database.
    pub(crate) fn waiting_records(&self) -> usize {
        let state = fs::read_dir(self.portal.settings().state_dir()).unwrap();
        state.filter(|file| file.as_ref().unwrap().file_name().to_string_lossy().starts_with("note-record-")).count()
    }

    /// The list, with the numbers of the users that count as applied.
    pub(crate) fn claims(&self) -> (Response, Vec<i64>) {
        let list = self.portal.http().get("/users").expect(200);
        let users = list.json["users"].as_array().unwrap().iter().filter(|user| user["applied"] == true);
        let applied = users.map(|user| user["extension"].as_i64().unwrap()).collect();
        (list, applied)
    }

    pub(crate) fn records(&self) -> usize {
        self.database.sql("SELECT count(*) FROM apply_audit_log").parse().unwrap()
    }

    #[track_caller]
    fn check_record(&self, row: Row, answer: &Response) {
        let record = record(answer);
        // There may be no record, and nobody to ask for it.
        if (row.code, row.outcome) == ("database-unavailable", "refused") {
            return;
        }
        let columns = "outcome, actor, request_id, node, finished_at IS NOT NULL, revision, users";
        let (id, revision, users) = (answer.header("x-request-id"), &record["revision"], &record["users"]);
        let expected = format!("{}|test|{id}|test-node|t|{revision}|{users}", row.outcome);
        assert_eq!(self.audit(answer, columns), expected, "{}", row.fault);
        if row.code != "database-unavailable" {
            let detail = answer.json["detail"].as_str().unwrap_or_default();
            assert_eq!(self.audit(answer, "detail"), detail, "{}", row.fault);
        }
        let whole = self.audit(answer, "apply_audit_log");
        let ha1 = self.database.sql("SELECT string_agg(ha1, '|') FROM extensions");
        assert!(ha1.split('|').all(|ha1| !whole.contains(ha1) && !answer.text.contains(ha1)), "a secret is disclosed");
    }
}

/// The record in an answer.
fn record(answer: &Response) -> &Value {
    if answer.status == 200 { &answer.json } else { &answer.json["apply"] }
}

impl Disk {
    pub(crate) fn of(asterisk: &Asterisk) -> Self {
        let text = |path: &Path| fs::read_to_string(path).unwrap_or_default();
        Self { endpoints: text(&asterisk.pjsip_include()), dialplan: text(&asterisk.dialplan_include()) }
    }

    /// The generation in the head of each file.
    pub(crate) fn generations(&self) -> (String, String) {
        (generation(&self.endpoints), generation(&self.dialplan))
    }
}

/// The generation in the head of a file.
pub(crate) fn generation(text: &str) -> String {
    text.lines().find_map(|line| line.strip_prefix("; generation ")).unwrap_or_default().to_owned()
}

impl Running {
    pub(crate) fn of(asterisk: &Asterisk) -> Self {
        let mut endpoints = BTreeMap::new();
        let mut last = None;
        for line in asterisk.rx("pjsip show endpoints").lines().map(str::trim) {
            if let Some(rest) = line.strip_prefix("Endpoint:  ").filter(|rest| !rest.starts_with('<')) {
                let name = rest.split(['/', ' ']).next().unwrap_or_default().to_owned();
                endpoints.insert(name.clone(), String::new());
                last = Some(name);
            } else if let Some(rest) = line.strip_prefix("InAuth:  ").filter(|rest| !rest.starts_with('<')) {
                let auth = rest.split(['/', ' ']).next().unwrap_or_default();
                if let Some(name) = &last {
                    endpoints.insert(name.clone(), auth.to_owned());
                }
            }
        }
        let dialplan = asterisk.rx("dialplan show synergycall-users");
        let extens = dialplan
            .lines()
            .filter_map(|line| line.trim().strip_prefix('\'')?.split_once('\''))
            .map(|(exten, _)| exten.to_owned())
            .collect();
        let aors = asterisk.rx("pjsip list aors like synergycall-generation");
        let meta = asterisk.rx("dialplan show generation@synergycall-ring");
        let after = |text: &str, word: &str| {
            let found: Vec<_> = text
                .split(word)
                .skip(1)
                .map(|rest| rest.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default())
                .collect();
            found.join("+")
        };
        let generation = (after(&aors, "synergycall-generation-"), after(&meta, "NoOp("));
        Self { endpoints, extens, generation }
    }

    /// The endpoints with a number that a user may have.
    fn ours(&self) -> BTreeSet<String> {
        self.endpoints.keys().filter(|name| name.len() == 4 && name.starts_with('1')).cloned().collect()
    }
}

/// Creates a user of that name.
pub(crate) fn create(portal: &Portal, name: &str) -> Response {
    portal.create_user(name, &format!("{name}@example.com"))
}

pub(crate) fn has_contact(asterisk: &Asterisk, extension: &str) -> bool {
    asterisk.rx("database show registrar/contact").contains(&format!("/registrar/contact/{extension};@"))
}

/// By the system's own program, without any code of ours.
pub(crate) fn sha256(path: &Path) -> String {
    let output = std::process::Command::new("sha256sum").arg(path).output().unwrap();
    String::from_utf8_lossy(&output.stdout).split(' ').next().unwrap_or_default().to_owned()
}
