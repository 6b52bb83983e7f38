//! Audit records that wait in the state directory for the database that they were opened in: how they are kept there.
//! [`super::audit`] closes them.

use std::time::{Duration, SystemTime};

use pbx_asterisk::{Deployment, FileError, LockedDeployment};
use pbx_domain::{ApplyId, ApplyRecord, DatabaseId};
use pbx_persistence::ApplyLog;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

/// For how many days a record waits for its database.
pub(super) const DAYS: u64 = 30;
/// How many records wait at most.
const MOST: usize = 50;
/// The same for records of which it is not known whether they were opened: a statement that hangs in PostgreSQL, as one that
/// waits for a standby, may open one hours later. Each is one more question, with the lock.
const DAYS_UNOPENED: u64 = 1;
const MOST_UNOPENED: usize = 10;
/// How the names of their notes begin; the id of the apply follows.
const NAME: &str = "record-";

/// A record that could not be closed yet.
#[derive(Debug, PartialEq)]
pub(super) struct WaitingRecord {
    pub(super) record: ApplyRecord,
    /// The database that it was opened in; `None` where it is not known whether it was opened.
    pub(super) database: Option<DatabaseId>,
    /// Whether that database was seen not to have it any more.
    pub(super) is_lost: bool,
}

/// All of them: first those that may never have been opened; in each group, the oldest first. Drops what this program did
/// not write, what waited too long and what is too many; each with a line in the log, unless it may never have been opened.
/// For the holder of the lock alone.
pub(super) fn all(deployment: &Deployment) -> Result<Vec<WaitingRecord>, FileError> {
    let mut all = Vec::new();
    for name in deployment.notes()?.iter().filter(|name| name.starts_with(NAME)) {
        let note = match deployment.note(name) {
            Ok(Some(note)) => note,
            Ok(None) => continue,
            // Not this program's, which writes files. No reason to apply nothing.
            Err(error) => {
                log::error!("{error}");
                continue;
            }
        };
        if let Some(waiting) = read(&note) {
            all.push(waiting);
        } else {
            log::error!("the note {name} in the state directory was not written by this program: it is dropped");
            drop_note(deployment, name);
        }
    }
    all.sort_by_key(|waiting| waiting.record.started_at);
    let (known, unopened): (Vec<_>, Vec<_>) = all.into_iter().partition(|waiting| waiting.database.is_some());
    let mut left = Vec::new();
    for (waiting, most, days) in [(unopened, MOST_UNOPENED, DAYS_UNOPENED), (known, MOST, DAYS)] {
        let surplus = waiting.len().saturating_sub(most);
        for (n, waiting) in waiting.into_iter().enumerate() {
            let ApplyRecord { id, outcome, started_at, .. } = &waiting.record;
            let age = SystemTime::now().duration_since(*started_at).unwrap_or_default();
            if n >= surplus && age <= Duration::from_hours(24 * days) {
                left.push(waiting);
                continue;
            }
            if waiting.database.is_some() {
                log::error!(
                    "the record of apply {id}, {outcome}, is dropped: the database that it was opened in never took it"
                );
            }
            drop_note(deployment, &name_of(*id));
        }
    }
    Ok(left)
}

/// Keeps a record for the database that it was opened in.
pub(super) fn keep(
    locked: &LockedDeployment<'_>,
    record: &ApplyRecord,
    database: Option<DatabaseId>,
    is_lost: bool,
) -> Result<(), FileError> {
    locked.write_note(&name_of(record.id), &written(record, database, is_lost))
}

/// Forgets the record of this apply.
pub(super) fn remove(deployment: &Deployment, id: ApplyId) -> Result<(), FileError> {
    deployment.remove_note(&name_of(id))
}

fn name_of(id: ApplyId) -> String {
    format!("{NAME}{id}")
}

/// That it stays is no reason to apply nothing.
fn drop_note(deployment: &Deployment, name: &str) {
    if let Err(error) = deployment.remove_note(name) {
        log::error!("{error}");
    }
}

/// What waits, as the state directory keeps it.
#[derive(Serialize, Deserialize)]
struct Note {
    database: Option<Uuid>,
    is_lost: bool,
    record: Value,
}

fn written(record: &ApplyRecord, database: Option<DatabaseId>, is_lost: bool) -> Vec<u8> {
    let note = Note { database: database.map(DatabaseId::as_uuid), is_lost, record: ApplyLog::to_json(record) };
    serde_json::to_vec(&note).unwrap_or_default()
}

/// What waits, unless the note was not written by this program.
fn read(note: &[u8]) -> Option<WaitingRecord> {
    let Note { database, is_lost, record } = serde_json::from_slice(note).ok()?;
    Some(WaitingRecord { record: ApplyLog::from_json(record).ok()?, database: database.map(DatabaseId::from), is_lost })
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use pbx_domain::{ApplyOutcome, Changes, Extension, InstalledFile, Revision, Timings};

    use super::*;
    use crate::operations::apply::claim::tests::host;

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
        let (_directory, deployment) = host();
        let locked = deployment.lock(Instant::now()).unwrap();
        let hours = |hours| SystemTime::now() - Duration::from_hours(hours);
        let kept_of = |database, started_at| {
            let record = ApplyRecord { id: ApplyId::generate(), started_at, ..record() };
            keep(&locked, &record, database, false).unwrap();
            record.id
        };
        let kept = |started_at| kept_of(Some(DatabaseId::generate()), started_at);
        let old = kept(hours(24 * DAYS + 1));
        kept_of(None, hours(24 * DAYS_UNOPENED + 1));
        let lasting = kept(hours(24 * DAYS - 1));
        locked.write_note("record-x", b"{}").unwrap();
        let left = |deployment| all(deployment).unwrap().into_iter().map(|waiting| waiting.record.id);
        assert_eq!(left(&deployment).collect::<Vec<_>>(), [lasting], "not {old}");
        assert_eq!(deployment.notes().unwrap(), [format!("record-{lasting}")]);
        // In a long outage, applies that never began displace nothing that is known.
        let unopened: Vec<_> = (0..MOST).map(|_| kept_of(None, SystemTime::now())).collect();
        assert!(left(&deployment).eq(unopened.into_iter().skip(MOST - MOST_UNOPENED).chain([lasting])));
        deployment.notes().unwrap().iter().for_each(|name| deployment.remove_note(name).unwrap());
        let newer: Vec<_> = (0..MOST).rev().map(|n| kept(hours(n as u64))).collect();
        assert_eq!(left(&deployment).collect::<Vec<_>>(), newer);
        assert_eq!(deployment.notes().unwrap().len(), MOST);
        // A clock that was wrong is no reason to drop anything.
        let ahead = kept(SystemTime::now() + Duration::from_hours(24 * 3650));
        assert_eq!(left(&deployment).next_back(), Some(ahead));
    }

    #[test]
    fn a_record_survives_the_note() {
        let (record, database) = (record(), Some(DatabaseId::generate()));
        // The clock of the host may be wrong.
        let early = ApplyRecord { started_at: SystemTime::UNIX_EPOCH - Duration::from_mins(1), ..record.clone() };
        let kept = read(&written(&early, database, false)).map(|waiting| waiting.record);
        assert_eq!(kept, Some(early));
        let text = String::from_utf8(written(&record, database, true)).unwrap();
        assert_eq!(read(text.as_bytes()), Some(WaitingRecord { record, database, is_lost: true }));

        for (true_part, false_part) in [
            (r#""started_at":1700000000123456"#, r#""started_at":9223372036854775808"#),
            (r#""rolled_back""#, r#""live""#),
            ("[1000]", "[2000]"),
            (r#""users":2"#, r#""users":-2"#),
        ] {
            let doctored = text.replace(true_part, false_part);
            assert_ne!(doctored, text);
            assert_eq!(read(doctored.as_bytes()), None, "{false_part}");
        }
        for end in 0..text.len() {
            assert_eq!(read(&text.as_bytes()[..end]), None, "{end}");
        }
    }
}
