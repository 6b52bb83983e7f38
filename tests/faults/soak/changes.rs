//! The changes of a round, one after the other, and what was answered.

use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use pbx_tests::Response;
use serde_json::json;

use crate::faults::soak::model::{Effect, Event};
use crate::faults::soak::observed::{Row, Users};
use crate::faults::soak::plan::{Change, Plan, PlannedChange, Sql};
use crate::faults::soak::world::{BYSTANDER, Shared};

const NAMES: [&str; 8] = [
    "Alice Example",
    r#"Alice "Al"; <Ops> \ 😀"#,
    r"ends with a backslash \",
    "#include /etc/passwd",
    "[1000](synergycall-endpoint)",
    "${EXTEN}${SHELL(id)}",
    ";-- block",
    "שלום עולם",
];

/// Everything that was changed in a round, and the passwords that were shown.
#[derive(Default)]
pub(crate) struct Changes {
    events: Mutex<Vec<Event>>,
    passwords: Mutex<Vec<(String, String)>>,
    wrong: Mutex<Vec<String>>,
}

/// What became of a request.
enum Came {
    Acknowledged,
    Refused,
    Unknown,
}

impl Changes {
    /// Makes the changes of the plan.
    pub(crate) fn make(&self, shared: &Shared, plan: &Plan, round: u64, start: &Users) {
        let mut view = start.clone();
        for (number, change) in plan.changes.iter().enumerate() {
            thread::sleep(change.pause);
            let now = shared.users();
            // With nothing uncertain, who gets which number is certain, too.
            let is_sure = now.is_ok()
                && !plan.fault.rewinds()
                && self.events.lock().unwrap().iter().all(|event| event.is_certain);
            view = now.unwrap_or(view);
            let name = NAMES[change.pick % NAMES.len()];
            let email = format!("r{round}n{number}@example.com");
            let picked = pick(&view, change.pick).cloned();
            let sure = is_sure.then_some(&view);
            match (change.what, picked) {
                (Change::Create, Some(row)) if is_many(&view) => self.delete(shared, change, &row, is_sure),
                (Change::Create, _) => self.create(shared, change, (name, &email), None, sure),
                (Change::Replace, Some(row)) => self.create(shared, change, (name, &email), Some(&row), sure),
                (Change::Delete, Some(row)) => self.delete(shared, change, &row, is_sure),
                (Change::Sql(sql), Some(row)) => self.by_hand(shared, sql, change.pick, (name, &email), &row, &view),
                (_, None) => {}
            }
        }
    }

    pub(crate) fn into_parts(self) -> (Vec<Event>, Vec<(String, String)>, Vec<String>) {
        let mut events = self.events.into_inner().unwrap();
        events.sort_by_key(|event| event.began);
        (events, self.passwords.into_inner().unwrap(), self.wrong.into_inner().unwrap())
    }

    fn wrong(&self, what: String) {
        self.wrong.lock().unwrap().push(what);
    }

    fn add(&self, what: String, began: Instant, is_certain: bool, effects: Vec<Effect>) {
        self.events.lock().unwrap().push(Event { what, began, ended: Instant::now(), is_certain, effects });
    }

    fn create(
        &self,
        shared: &Shared,
        change: &PlannedChange,
        (name, email): (&str, &str),
        replaced: Option<&Row>,
        view: Option<&Users>,
    ) {
        let mut body = json!({ "name": name, "email": email });
        if let Some(row) = replaced {
            body["replaces"] = row.id.clone().into();
        }
        let what = format!("POST /users {body}");
        let began = Instant::now();
        let http = shared.http(change.portal);
        let json = [("content-type", "application/json")];
        let answer = http.try_request("POST", "/users", &json, body.to_string().as_bytes());
        let mut effects: Vec<Effect> = replaced.map(gone).into_iter().collect();
        let what = format!("{what}: {}", said(answer.as_ref()));
        match (came(answer.as_ref()), answer) {
            (Came::Acknowledged, Some(answer)) => {
                let row = Row {
                    id: answer.string("/id"),
                    name: name.to_owned(),
                    email: email.to_owned(),
                    extension: u16::try_from(answer.number("/extension")).unwrap(),
                    realm: "asterisk".to_owned(),
                    ha1: String::new(),
                };
                if let Some(view) = view {
                    let taken = |number: &u16| view.values().all(|row| row.extension != *number);
                    let expected = replaced.map_or_else(|| (1000..2000).find(taken), |row| Some(row.extension));
                    if expected != Some(row.extension) {
                        self.wrong(format!("{what}: {expected:?} was expected"));
                    }
                }
                if answer.json["applied"] != false {
                    self.wrong(format!("{what}: a new user is applied"));
                }
                self.passwords.lock().unwrap().push((row.id.clone(), answer.string("/sip_password")));
                effects.push(Effect::There(row));
                self.add(what, began, true, effects);
            }
            (Came::Unknown, _) => {
                effects.push(Effect::Unknown { email: email.to_owned() });
                self.add(what, began, false, effects);
            }
            (_, answer) => {
                // Somebody else may have deleted whom it replaces only where the database lost or got something unseen.
                let is_gone = answer.is_some_and(|answer| answer.status == 404);
                if view.is_some() || !is_gone {
                    self.wrong(what);
                }
            }
        }
    }

    fn delete(&self, shared: &Shared, change: &PlannedChange, row: &Row, is_sure: bool) {
        let began = Instant::now();
        let answer = shared.http(change.portal).try_request("DELETE", &format!("/users/{}", row.id), &[], &[]);
        let what = format!("DELETE {row:?}: {}", said(answer.as_ref()));
        match (came(answer.as_ref()), answer.map(|answer| answer.status)) {
            (Came::Acknowledged, _) => self.add(what, began, true, vec![gone(row)]),
            (Came::Unknown, _) => self.add(what, began, false, vec![gone(row)]),
            (Came::Refused, Some(404)) if !is_sure => {}
            _ => self.wrong(what),
        }
    }

    fn by_hand(&self, shared: &Shared, sql: Sql, number: usize, (name, email): (&str, &str), row: &Row, view: &Users) {
        let rename = format!("UPDATE users SET name = '{name} {number}' WHERE id = '{}'", row.id);
        let renamed = Row { name: format!("{name} {number}"), ..row.clone() };
        let taken = |number: &u16| view.values().any(|row| row.extension == *number);
        let Some(free) = (1100..2000).rev().find(|number| !taken(number)) else { return };
        let moved = |to: u16| format!("UPDATE extensions SET number = {to} WHERE user_id = '{}'", row.id);
        let (text, effects) = match sql {
            Sql::Rename => (rename, vec![Effect::There(renamed)]),
            Sql::RenameWithRevisionPutBack => {
                (format!("{rename}; UPDATE tenants SET revision = revision - 1"), vec![Effect::There(renamed)])
            }
            Sql::Move => (moved(free), vec![gone(row), Effect::There(Row { extension: free, ..row.clone() })]),
            Sql::Swap => {
                let Some(other) = pick(view, number / 7).filter(|other| other.id != row.id) else { return };
                let back = format!("UPDATE extensions SET number = {} WHERE user_id = '{}'", row.extension, other.id);
                let text = format!("{}; {back}; {}", moved(free), moved(other.extension));
                let there = |row: &Row, extension| Effect::There(Row { extension, ..row.clone() });
                (text, vec![there(row, other.extension), there(other, row.extension)])
            }
            Sql::NewCredential => {
                let ha1 = format!("{number:032x}");
                let text = format!("UPDATE extensions SET ha1 = '{ha1}' WHERE user_id = '{}'", row.id);
                (text, vec![Effect::There(Row { ha1, ..row.clone() })])
            }
            Sql::Insert => {
                let id = format!("00000000-0000-4000-8000-{number:012x}");
                let ha1 = format!("{number:032x}");
                let text = format!(
                    "INSERT INTO users (id, name, email) VALUES ('{id}', '{name}', '{email}');
                     INSERT INTO extensions (number, user_id, realm, ha1) VALUES ({free}, '{id}', 'asterisk', '{ha1}')"
                );
                let (name, email, realm) = (name.to_owned(), email.to_owned(), "asterisk".to_owned());
                (text, vec![Effect::There(Row { id, name, email, extension: free, realm, ha1 })])
            }
            Sql::Delete => (format!("DELETE FROM users WHERE id = '{}'", row.id), vec![gone(row)]),
            Sql::RevisionAlone => ("UPDATE tenants SET revision = revision + 7".to_owned(), Vec::new()),
        };
        let began = Instant::now();
        let result = shared.database.read().unwrap().try_sql(&format!("BEGIN; {text}; COMMIT"));
        match result {
            Ok(_) => self.add(text, began, true, effects),
            // A rule of the database's, which the view was too old to know of.
            Err(error) if error.contains("violates") => {}
            Err(error) => self.add(format!("{text}: {error}"), began, false, effects),
        }
    }

    /// Makes or removes many users by hand.
    pub(crate) fn bulk(&self, shared: &Shared, sql: &str) {
        let is_bulk = |row: &&Row| row.email.starts_with("bulk");
        let before = shared.users().unwrap();
        let began = Instant::now();
        shared.database.read().unwrap().sql(sql);
        let after = shared.users().unwrap();
        let mut effects: Vec<Effect> = before.values().filter(is_bulk).map(gone).collect();
        effects.extend(after.values().filter(is_bulk).cloned().map(Effect::There));
        self.add(sql.to_owned(), began, true, effects);
    }
}

fn gone(row: &Row) -> Effect {
    Effect::Gone { id: row.id.clone(), extension: row.extension }
}

/// One of those who may go.
fn pick(users: &Users, number: usize) -> Option<&Row> {
    let all: Vec<&Row> =
        users.values().filter(|row| row.email != BYSTANDER && !row.email.starts_with("bulk")).collect();
    (!all.is_empty()).then(|| all[number % all.len()])
}

/// Below the numbers that `Changes::bulk` takes, however many rounds there are.
fn is_many(users: &Users) -> bool {
    const MANY: usize = 150;
    users.values().filter(|row| !row.email.starts_with("bulk")).count() >= MANY
}

fn came(answer: Option<&Response>) -> Came {
    match answer.map(|answer| answer.status) {
        Some(201 | 204) => Came::Acknowledged,
        // A database without its tables, in the middle of a restore, is answered 500.
        None | Some(500 | 503) => Came::Unknown,
        Some(_) => Came::Refused,
    }
}

/// The answer, without the password that one shows.
pub(crate) fn said(answer: Option<&Response>) -> String {
    match answer {
        None => "no answer".to_owned(),
        Some(answer) if answer.status == 201 => format!("201 {} {}", answer.string("/id"), answer.number("/extension")),
        Some(answer) => format!("{} {}", answer.status, answer.text.trim_end()),
    }
}
