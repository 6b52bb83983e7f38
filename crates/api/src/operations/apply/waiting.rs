//! Audit records that wait in the state directory for the database that they were opened in.

use std::time::{Duration, SystemTime};

use pbx_asterisk::{Deployment, FileError, LockedDeployment};
use pbx_domain::{
    ApplyId, ApplyOutcome, ApplyRecord, Changes, DatabaseId, Extension, InstalledFile, Revision, Timings,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// For how many days a record waits for its database.
pub(super) const DAYS: u64 = 30;
/// How many records wait at most.
const MOST: usize = 50;
/// How the names of their notes begin; the id of the apply follows.
const NAME: &str = "record-";

/// A record that could not be closed yet.
#[derive(Debug, PartialEq)]
pub(super) struct Waiting {
    pub(super) record: ApplyRecord,
    /// The database that it was opened in.
    pub(super) database: DatabaseId,
    /// Whether that database was seen not to have it any more.
    pub(super) is_lost: bool,
}

/// All of them, the oldest first. Those that waited too long, that are too many, or that this program did not write go, each
/// with a line in the log.
pub(super) fn all(locked: &LockedDeployment<'_>, deployment: &Deployment) -> Result<Vec<Waiting>, FileError> {
    let mut all = Vec::new();
    for name in deployment.notes()?.iter().filter(|name| name.starts_with(NAME)) {
        let Some(note) = deployment.note(name)? else { continue };
        if let Some(waiting) = serde_json::from_slice::<Note>(&note).ok().and_then(Note::waiting) {
            all.push(waiting);
        } else {
            log::error!("the note {name} in the state directory was not written by this program: it is dropped");
            locked.remove_note(name)?;
        }
    }
    all.sort_by_key(|waiting| waiting.record.started_at);
    let surplus = all.len().saturating_sub(MOST);
    let mut left = Vec::new();
    for (n, waiting) in all.into_iter().enumerate() {
        let ApplyRecord { id, outcome, started_at, .. } = &waiting.record;
        let age = SystemTime::now().duration_since(*started_at).unwrap_or_default();
        if n < surplus || age > Duration::from_hours(24 * DAYS) {
            log::error!(
                "the record of apply {id}, {outcome}, is dropped: the database that it was opened in never took it"
            );
            remove(locked, *id)?;
        } else {
            left.push(waiting);
        }
    }
    Ok(left)
}

/// Keeps a record for the database that it was opened in.
pub(super) fn keep(
    locked: &LockedDeployment<'_>,
    record: &ApplyRecord,
    database: DatabaseId,
    is_lost: bool,
) -> Result<(), FileError> {
    let note = serde_json::to_vec(&Note::of(record, database, is_lost)).unwrap_or_default();
    locked.write_note(&format!("{NAME}{}", record.id), &note)
}

/// Forgets the record of this apply.
pub(super) fn remove(locked: &LockedDeployment<'_>, id: ApplyId) -> Result<(), FileError> {
    locked.remove_note(&format!("{NAME}{id}"))
}

#[derive(Serialize, Deserialize)]
struct Note {
    database: Uuid,
    is_lost: bool,
    id: Uuid,
    node: String,
    actor: Option<String>,
    request_id: String,
    revision: i64,
    users: usize,
    outcome: String,
    detail: Option<String>,
    warnings: Vec<String>,
    added: Vec<u16>,
    removed: Vec<u16>,
    changed: Vec<u16>,
    files: Vec<(String, String, u64)>,
    started_at: Duration,
    duration: Duration,
    timings: [Duration; 6],
}

impl Note {
    fn of(record: &ApplyRecord, database: DatabaseId, is_lost: bool) -> Self {
        let numbers = |extensions: &[Extension]| extensions.iter().map(|extension| extension.get()).collect();
        let Timings { snapshot, render, install, reload, verify, purge } = record.timings;
        Self {
            database: database.as_uuid(),
            is_lost,
            id: record.id.as_uuid(),
            node: record.node.clone(),
            actor: record.actor.clone(),
            request_id: record.request_id.clone(),
            revision: record.revision.get(),
            users: record.users,
            outcome: record.outcome.as_str().to_owned(),
            detail: record.detail.clone(),
            warnings: record.warnings.clone(),
            added: numbers(&record.changes.added),
            removed: numbers(&record.changes.removed),
            changed: numbers(&record.changes.changed),
            files: record.files.iter().map(|file| (file.path.clone(), file.sha256.clone(), file.bytes)).collect(),
            started_at: record.started_at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default(),
            duration: record.duration,
            timings: [snapshot, render, install, reload, verify, purge],
        }
    }

    /// What waits, unless the note was not written by this program.
    fn waiting(self) -> Option<Waiting> {
        let (database, is_lost) = (self.database.into(), self.is_lost);
        Some(Waiting { record: self.record()?, database, is_lost })
    }

    fn record(self) -> Option<ApplyRecord> {
        let extensions = |numbers: Vec<u16>| {
            numbers.into_iter().map(|number| Extension::new(number).ok()).collect::<Option<Vec<_>>>()
        };
        let [snapshot, render, install, reload, verify, purge] = self.timings;
        Some(ApplyRecord {
            id: self.id.into(),
            node: self.node,
            actor: self.actor,
            request_id: self.request_id,
            revision: Revision::new(self.revision),
            users: self.users,
            outcome: ApplyOutcome::from_word(&self.outcome)?,
            detail: self.detail,
            warnings: self.warnings,
            changes: Changes {
                added: extensions(self.added)?,
                removed: extensions(self.removed)?,
                changed: extensions(self.changed)?,
            },
            files: self.files.into_iter().map(|(path, sha256, bytes)| InstalledFile { path, sha256, bytes }).collect(),
            started_at: SystemTime::UNIX_EPOCH.checked_add(self.started_at)?,
            duration: self.duration,
            timings: Timings { snapshot, render, install, reload, verify, purge },
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use pbx_asterisk::{Cli, IncludeFiles};

    use super::*;

    fn record() -> ApplyRecord {
        ApplyRecord {
            id: ApplyId::generate(),
            node: "pbx".to_owned(),
            actor: Some("ops".to_owned()),
            request_id: "r".to_owned(),
            revision: Revision::new(7),
            users: 2,
            outcome: ApplyOutcome::RolledBack,
            detail: Some("d".to_owned()),
            warnings: vec!["w".to_owned()],
            changes: Changes { added: vec![Extension::FIRST], removed: vec![], changed: vec![Extension::LAST] },
            files: vec![InstalledFile { path: "/p".to_owned(), sha256: "0".to_owned(), bytes: 3 }],
            started_at: SystemTime::UNIX_EPOCH + Duration::from_micros(1_700_000_000_123_456),
            duration: Duration::from_millis(5),
            timings: Timings { reload: Duration::from_millis(3), ..Timings::default() },
        }
    }

    #[test]
    fn the_oldest_go_and_what_nobody_wrote() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let files = IncludeFiles { endpoints: at("p.conf"), dialplan: at("e.conf") };
        let cli = Cli::new("/nonexistent/asterisk", Duration::from_secs(1)).unwrap();
        let deployment = Deployment::new(cli, files, at("state"));
        let locked = deployment.lock(Instant::now()).unwrap();
        let hours = |hours| SystemTime::now() - Duration::from_hours(hours);
        let kept = |started_at| {
            let record = ApplyRecord { id: ApplyId::generate(), started_at, ..record() };
            keep(&locked, &record, DatabaseId::generate(), false).unwrap();
            record.id
        };
        let old = kept(hours(24 * DAYS + 1));
        let lasting = kept(hours(24 * DAYS - 1));
        locked.write_note("record-x", b"{}").unwrap();
        let left = |deployment| all(&locked, deployment).unwrap().into_iter().map(|waiting| waiting.record.id);
        assert_eq!(left(&deployment).collect::<Vec<_>>(), [lasting], "not {old}");
        assert_eq!(deployment.notes().unwrap(), [format!("record-{lasting}")]);
        let newer: Vec<_> = (0..MOST).rev().map(|n| kept(hours(n as u64))).collect();
        assert_eq!(left(&deployment).collect::<Vec<_>>(), newer);
        assert_eq!(deployment.notes().unwrap().len(), MOST);
        // A clock that was wrong is no reason to drop anything.
        let ahead = kept(SystemTime::now() + Duration::from_hours(24 * 3650));
        assert_eq!(left(&deployment).next_back(), Some(ahead));
    }

    #[test]
    fn a_record_survives_the_note() {
        let (record, database) = (record(), DatabaseId::generate());
        let text = serde_json::to_string(&Note::of(&record, database, true)).unwrap();
        assert_eq!(read(&text), Some(Waiting { record, database, is_lost: true }));

        for (true_part, false_part) in [
            (r#""secs":1700000000"#, r#""secs":18446744073709551615"#),
            (r#""rolled_back""#, r#""live""#),
            ("[1000]", "[2000]"),
            (r#""users":2"#, r#""users":-2"#),
        ] {
            let doctored = text.replace(true_part, false_part);
            assert_ne!(doctored, text);
            assert_eq!(read(&doctored), None, "{false_part}");
        }
        for end in 0..text.len() {
            assert_eq!(read(&text[..end]), None, "{end}");
        }
    }

    fn read(text: &str) -> Option<Waiting> {
        serde_json::from_str::<Note>(text).ok().and_then(Note::waiting)
    }
}
