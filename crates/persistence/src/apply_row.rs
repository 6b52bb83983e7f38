//! The record of an apply as its table has it, and as the domain knows it.

use std::time::Duration;

use diesel::prelude::*;
use pbx_domain::{ApplyOutcome, ApplyRecord, Changes, Extension, InstalledFile, Revision, Timings};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::apply_history::LoggedApply;
use crate::apply_log::StartedApply;
use crate::error::DatabaseError;
use crate::schema::apply_audit_log;
use crate::timestamp::Timestamp;
use crate::users::TENANT;

/// What a record says while its apply runs.
pub(crate) const RUNNING: &str = "running";

/// All columns, in the order of the table.
#[derive(Queryable, Insertable, AsChangeset, Serialize, Deserialize)]
#[diesel(table_name = apply_audit_log, treat_none_as_null = true)]
pub(crate) struct ApplyRow {
    id: Uuid,
    tenant: String,
    node: String,
    // What an apply read is known from its beginning: one that was refused then may not know it.
    #[diesel(skip_update)]
    revision: i64,
    outcome: String,
    actor: Option<String>,
    request_id: String,
    #[diesel(skip_update)]
    users: i32,
    added: Vec<i32>,
    removed: Vec<i32>,
    changed: Vec<i32>,
    files: Value,
    timings: Value,
    warnings: Vec<String>,
    detail: Option<String>,
    started_at: Timestamp,
    finished_at: Option<Timestamp>,
    duration_ms: Option<f64>,
}

impl ApplyRow {
    pub(crate) fn of(record: &ApplyRecord) -> Self {
        let numbers = |extensions: &[Extension]| extensions.iter().map(|number| number.get().into()).collect();
        let file = |file: &InstalledFile| json!({ "path": file.path, "sha256": file.sha256, "bytes": file.bytes });
        let step = |(name, took): (&str, &mut Duration)| (name.to_owned(), json!(milliseconds(*took)));
        Self {
            id: record.id.as_uuid(),
            tenant: TENANT.to_owned(),
            node: record.node.clone(),
            revision: record.revision.get(),
            outcome: record.outcome.as_str().to_owned(),
            actor: record.actor.clone(),
            request_id: record.request_id.clone(),
            users: i32::try_from(record.users).unwrap_or(i32::MAX),
            added: numbers(&record.changes.added),
            removed: numbers(&record.changes.removed),
            changed: numbers(&record.changes.changed),
            files: record.files.iter().map(file).collect(),
            timings: Value::Object(steps(&mut record.timings.clone()).map(step).into_iter().collect()),
            warnings: record.warnings.iter().map(|warning| storable(warning)).collect(),
            detail: record.detail.as_deref().map(storable),
            started_at: Timestamp(record.started_at),
            finished_at: Some(Timestamp(record.started_at + record.duration)),
            duration_ms: Some(milliseconds(record.duration)),
        }
    }

    pub(crate) fn into_apply(self) -> Result<LoggedApply, DatabaseError> {
        if self.outcome != RUNNING {
            return self.into_record().map(Box::new).map(LoggedApply::Ended);
        }
        let apply = StartedApply {
            id: self.id.into(),
            node: self.node,
            actor: self.actor,
            request_id: self.request_id,
            started_at: self.started_at.0,
        };
        let users = usize::try_from(self.users).unwrap_or_default();
        Ok(LoggedApply::Running { apply, revision: Revision::new(self.revision), users })
    }

    /// The record of an apply that has ended, or which rule it breaks.
    pub(crate) fn into_record(self) -> Result<ApplyRecord, DatabaseError> {
        let id = self.id;
        let broken = |what: &str| DatabaseError::failed(format!("the record of the apply {id} breaks a rule: {what}"));
        let numbers = |numbers: Vec<i32>, what: &str| -> Result<Vec<Extension>, _> {
            numbers.into_iter().map(Extension::new).collect::<Result<_, _>>().map_err(|_| broken(what))
        };
        let files: Option<Vec<InstalledFile>> = self.files.as_array().into_iter().flatten().map(file).collect();
        let started_at = self.started_at.0;
        let until_found = || self.finished_at?.0.duration_since(started_at).ok();
        Ok(ApplyRecord {
            id: id.into(),
            node: self.node,
            actor: self.actor,
            request_id: self.request_id,
            revision: Revision::new(self.revision),
            users: usize::try_from(self.users).map_err(|_| broken("users"))?,
            outcome: ApplyOutcome::from_word(&self.outcome).ok_or_else(|| broken("outcome"))?,
            detail: self.detail,
            warnings: self.warnings,
            changes: Changes {
                added: numbers(self.added, "added")?,
                removed: numbers(self.removed, "removed")?,
                changed: numbers(self.changed, "changed")?,
            },
            files: files.ok_or_else(|| broken("files"))?,
            started_at,
            duration: self.duration_ms.and_then(duration).or_else(until_found).unwrap_or_default(),
            timings: timings(&self.timings),
        })
    }
}

/// PostgreSQL stores no NUL, and words may quote a file of the administrator's.
fn storable(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

fn file(value: &Value) -> Option<InstalledFile> {
    Some(InstalledFile {
        path: value["path"].as_str()?.to_owned(),
        sha256: value["sha256"].as_str()?.to_owned(),
        bytes: value["bytes"].as_u64()?,
    })
}

/// A step that the record does not name took no time.
fn timings(value: &Value) -> Timings {
    let mut timings = Timings::default();
    for (name, took) in steps(&mut timings) {
        *took = value[name].as_f64().and_then(duration).unwrap_or_default();
    }
    timings
}

/// The steps by their names in the column `timings`.
fn steps(timings: &mut Timings) -> [(&'static str, &mut Duration); 6] {
    let Timings { snapshot, render, install, reload, verify, purge } = timings;
    [
        ("snapshot", snapshot),
        ("render", render),
        ("install", install),
        ("reload", reload),
        ("verify", verify),
        ("purge", purge),
    ]
}

/// To the microsecond.
fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

fn duration(milliseconds: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(milliseconds / 1e3).ok()
}
