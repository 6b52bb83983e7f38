//! An audit record that the database could not take yet, as it waits in the state directory.

use std::time::{Duration, SystemTime};

use pbx_domain::{ApplyOutcome, ApplyRecord, Changes, Extension, InstalledFile, Revision, Timings};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

#[derive(Serialize, Deserialize)]
pub(super) struct Note {
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

impl From<&ApplyRecord> for Note {
    fn from(record: &ApplyRecord) -> Self {
        let numbers = |extensions: &[Extension]| extensions.iter().map(|extension| extension.get()).collect();
        let Timings { snapshot, render, install, reload, verify, purge } = record.timings;
        Self {
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
}

impl Note {
    /// The record, unless the note was not written by this program.
    pub(super) fn record(self) -> Option<ApplyRecord> {
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
    use pbx_domain::ApplyId;

    use super::*;

    #[test]
    fn a_record_survives_the_note() {
        let record = ApplyRecord {
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
        };
        let text = serde_json::to_string(&Note::from(&record)).unwrap();
        assert_eq!(read(&text), Some(record));

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

    fn read(text: &str) -> Option<ApplyRecord> {
        serde_json::from_str::<Note>(text).ok().and_then(Note::record)
    }
}
