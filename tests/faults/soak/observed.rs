//! What is there, read with nothing of the portal's: rows, files, what Asterisk runs, processes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::SystemTime;

use pbx_confgen::Renderer;
use pbx_domain::{Extension, Revision, User};
use pbx_tests::{Asterisk, Database};
use serde_json::Value;

use crate::faults::world::{Running, generation};

/// A user as the database has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) email: String,
    pub(crate) extension: u16,
    pub(crate) realm: String,
    pub(crate) ha1: String,
}

impl Row {
    /// Whether it is what was promised; a digest that is not known is left out.
    pub(crate) fn is(&self, promised: &Self) -> bool {
        let ha1 = if promised.ha1.is_empty() { self.ha1.clone() } else { promised.ha1.clone() };
        *self == Self { ha1, ..promised.clone() }
    }
}

pub(crate) type Users = BTreeMap<String, Row>;

/// The users of this moment, by SQL.
pub(crate) fn users(database: &Database) -> Result<Users, String> {
    let json = database.try_sql(
        "SELECT coalesce(json_agg(json_build_object('id', u.id, 'name', u.name, 'email', u.email, 'extension', e.number,
             'realm', e.realm, 'ha1', e.ha1)), '[]')
         FROM users u JOIN extensions e ON e.user_id = u.id",
    )?;
    let rows: Value = serde_json::from_str(&json).map_err(|error| format!("{error} in {json}"))?;
    let text = |row: &Value, column: &str| row[column].as_str().unwrap().to_owned();
    let rows = rows.as_array().unwrap().iter().map(|row| Row {
        id: text(row, "id"),
        name: text(row, "name"),
        email: text(row, "email"),
        extension: u16::try_from(row["extension"].as_u64().unwrap()).unwrap(),
        realm: text(row, "realm"),
        ha1: text(row, "ha1"),
    });
    Ok(rows.map(|row| (row.id.clone(), row)).collect())
}

/// Both include files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) endpoints: String,
    pub(crate) routing: String,
}

impl Pair {
    /// What these users make of the files.
    pub(crate) fn of(users: &Users) -> Self {
        let users: Vec<User> = users
            .values()
            .map(|row| User {
                id: row.id.parse().unwrap(),
                name: row.name.parse().unwrap(),
                email: row.email.parse().unwrap(),
                extension: Extension::new(row.extension).unwrap(),
                realm: row.realm.parse().unwrap(),
                ha1: row.ha1.parse().unwrap(),
                created_at: SystemTime::UNIX_EPOCH,
                revision: Revision::default(),
            })
            .collect();
        let rendering = Renderer::default().render(&users).unwrap();
        Self { endpoints: rendering.endpoints, routing: rendering.routing }
    }

    /// What is on disk; empty where there is no file.
    pub(crate) fn on_disk(asterisk: &Asterisk) -> Self {
        let text = |path: &Path| String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned();
        Self { endpoints: text(&asterisk.pjsip_include()), routing: text(&asterisk.dialplan_include()) }
    }

    /// The auth of each user, whose name is a digest of all settings.
    pub(crate) fn auths(&self) -> BTreeMap<u16, String> {
        let sections = self.endpoints.lines().filter_map(|line| line.strip_prefix('[')?.split_once(']'));
        let auths = sections.filter_map(|(name, _)| Some((name.split_once('-')?.0.parse().ok()?, name.to_owned())));
        auths.collect()
    }

    /// The numbers that can be dialled.
    pub(crate) fn extens(&self) -> BTreeSet<u16> {
        let lines = self.routing.lines().filter_map(|line| line.strip_prefix("exten => "));
        lines.filter_map(|line| line.split_once(",1,")?.0.parse().ok()).collect()
    }

    pub(crate) fn sha256(&self) -> [String; 2] {
        [&self.endpoints, &self.routing].map(|text| sha256(text))
    }

    fn generations(&self) -> (String, String) {
        (generation(&self.endpoints), generation(&self.routing))
    }
}

fn sha256(text: &str) -> String {
    digest("sha256sum", text)
}

pub(crate) fn md5(text: &str) -> String {
    digest("md5sum", text)
}

/// By the system's own program.
fn digest(program: &str, text: &str) -> String {
    let mut program = Command::new(program);
    let mut program = program.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    program.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = program.wait_with_output().unwrap();
    String::from_utf8_lossy(&output.stdout).split(' ').next().unwrap_or_default().to_owned()
}

/// What Asterisk runs of ours.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Live {
    auths: BTreeMap<u16, String>,
    extens: BTreeSet<u16>,
    generations: (String, String),
}

impl Live {
    pub(crate) fn of(asterisk: &Asterisk) -> Self {
        let Running { endpoints, extens, generation } = Running::of(asterisk);
        let auths = endpoints.into_iter().filter_map(|(name, auth)| Some((name.parse().ok()?, auth)));
        let extens = extens.into_iter().filter_map(|exten| exten.parse().ok());
        Self { auths: auths.collect(), extens: extens.collect(), generations: generation }
    }

    /// What it has to be where this pair is live.
    pub(crate) fn of_pair(pair: &Pair) -> Self {
        Self { auths: pair.auths(), extens: pair.extens(), generations: pair.generations() }
    }
}

/// The numbers at which a phone is registered.
pub(crate) fn contacts(asterisk: &Asterisk) -> BTreeSet<u16> {
    let listing = asterisk.rx("database show registrar/contact");
    let keys = listing.lines().filter_map(|line| line.trim().strip_prefix("/registrar/contact/")?.split_once(';'));
    keys.filter_map(|(extension, _)| extension.parse().ok()).collect()
}

/// All processes that this one started, directly or not.
pub(crate) fn descendants(process: u32) -> Vec<u32> {
    let mut all = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let id: Option<u32> = entry.file_name().to_str().and_then(|name| name.parse().ok());
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let parent: Option<u32> =
            stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse().ok());
        if let (Some(id), Some(parent)) = (id, parent) {
            all.push((id, parent));
        }
    }
    let mut found = vec![process];
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        found.extend(all.iter().filter(|(_, its)| *its == parent).map(|(id, _)| *id));
        next += 1;
    }
    found.split_off(1)
}

/// How many descriptors and threads a process has, and how many MiB of memory.
pub(crate) fn usage(process: u32) -> [usize; 3] {
    let count = |what: &str| fs::read_dir(format!("/proc/{process}/{what}")).map_or(0, Iterator::count);
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse().ok());
    [count("fd"), count("task"), memory.unwrap_or(0_usize) / 1024]
}
