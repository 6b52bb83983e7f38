use std::time::{Duration, SystemTime};

use diesel::{dsl::now, prelude::*, upsert::excluded};
use pbx_domain::{ApplyId, ApplyOutcome, ApplyRecord, Extension, InstalledFile, Timings};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    error::DatabaseError,
    schema::apply_audit_log as log,
    session::Sessions,
    timestamp::from_system_time,
    users::{TENANT, UserList, read_list},
};

/// What a record says while its apply runs.
const RUNNING: &str = "running";

/// The records of applies, kept in the table `apply_audit_log`.
#[derive(Debug, Clone)]
pub struct ApplyLog {
    sessions: Sessions,
}

/// An apply that begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartedApply {
    /// The identity of the apply.
    pub id: ApplyId,
    /// The node whose Asterisk it is for; not empty.
    pub node: String,
    /// Who asked for it: the name of the token, or nobody where no token is needed.
    pub actor: Option<String>,
    /// The id of the request that asked for it.
    pub request_id: String,
    /// When it began.
    pub started_at: SystemTime,
}

impl ApplyLog {
    pub(crate) fn new(sessions: Sessions) -> Self {
        Self { sessions }
    }

    /// Reads everybody and opens the apply's record, `running`, with the revision and the number
    /// of users that were read: one transaction, and one statement that reads, so one snapshot.
    ///
    /// # Errors
    ///
    /// [`DatabaseError`]; after [`DatabaseError::Unavailable`] the record may exist.
    pub fn begin(&self, started: &StartedApply) -> Result<UserList, DatabaseError> {
        self.sessions.transaction(|connection| {
            let list = read_list(connection)?;
            diesel::insert_into(log::table)
                .values((
                    log::id.eq(started.id.as_uuid()),
                    log::tenant.eq(TENANT),
                    log::node.eq(&started.node),
                    log::revision.eq(list.revision.get()),
                    log::outcome.eq(RUNNING),
                    log::actor.eq(&started.actor),
                    log::request_id.eq(&started.request_id),
                    log::users.eq(count(list.users.len())),
                    log::started_at.eq(from_system_time(started.started_at)),
                ))
                .execute(connection)?;
            Ok(list)
        })
    }

    /// Closes a record, or writes all of it where it is missing. What was recorded of the same
    /// apply before is replaced, so this may be repeated.
    ///
    /// # Errors
    ///
    /// [`DatabaseError`]
    pub fn finish(&self, record: &ApplyRecord) -> Result<(), DatabaseError> {
        let finished_at = from_system_time(record.started_at + record.duration);
        self.sessions.repeatable(|connection| {
            diesel::insert_into(log::table)
                .values((
                    log::id.eq(record.id.as_uuid()),
                    log::tenant.eq(TENANT),
                    log::node.eq(&record.node),
                    log::revision.eq(record.revision.get()),
                    log::outcome.eq(record.outcome.as_str()),
                    log::actor.eq(&record.actor),
                    log::request_id.eq(&record.request_id),
                    log::users.eq(count(record.users)),
                    log::added.eq(numbers(&record.changes.added)),
                    log::removed.eq(numbers(&record.changes.removed)),
                    log::changed.eq(numbers(&record.changes.changed)),
                    log::files.eq(record.files.iter().map(file).collect::<Value>()),
                    log::timings.eq(timings(&record.timings)),
                    log::warnings.eq(&record.warnings),
                    log::detail.eq(&record.detail),
                    log::started_at.eq(from_system_time(record.started_at)),
                    log::finished_at.eq(finished_at),
                    log::duration_ms.eq(milliseconds(record.duration)),
                ))
                .on_conflict(log::id)
                .do_update()
                .set((
                    log::node.eq(excluded(log::node)),
                    log::revision.eq(excluded(log::revision)),
                    log::outcome.eq(excluded(log::outcome)),
                    log::actor.eq(excluded(log::actor)),
                    log::request_id.eq(excluded(log::request_id)),
                    log::users.eq(excluded(log::users)),
                    log::added.eq(excluded(log::added)),
                    log::removed.eq(excluded(log::removed)),
                    log::changed.eq(excluded(log::changed)),
                    log::files.eq(excluded(log::files)),
                    log::timings.eq(excluded(log::timings)),
                    log::warnings.eq(excluded(log::warnings)),
                    log::detail.eq(excluded(log::detail)),
                    log::started_at.eq(excluded(log::started_at)),
                    log::finished_at.eq(excluded(log::finished_at)),
                    log::duration_ms.eq(excluded(log::duration_ms)),
                ))
                .execute(connection)?;
            Ok(())
        })
    }

    /// Closes the records that `node` left `running`, as `interrupted`, and says which.
    ///
    /// Only whoever holds the node's turn to apply may call this: a record that is `running` then
    /// is one of a process that is gone.
    ///
    /// # Errors
    ///
    /// [`DatabaseError`]
    pub fn interrupt_running(&self, node: &str) -> Result<Vec<ApplyId>, DatabaseError> {
        self.sessions.transaction(|connection| {
            let running = log::table.filter(log::node.eq(node)).filter(log::outcome.eq(RUNNING));
            let ids: Vec<Uuid> = diesel::update(running)
                .set((
                    log::outcome.eq(ApplyOutcome::Interrupted.as_str()),
                    log::finished_at.eq(now),
                    log::detail.eq("the process ended before the apply did"),
                ))
                .returning(log::id)
                .get_results(connection)?;
            Ok(ids.into_iter().map(ApplyId::from).collect())
        })
    }
}

fn count(users: usize) -> i32 {
    i32::try_from(users).unwrap_or(i32::MAX)
}

fn numbers(extensions: &[Extension]) -> Vec<i32> {
    extensions.iter().map(|extension| i32::from(extension.get())).collect()
}

fn file(file: &InstalledFile) -> Value {
    json!({ "path": file.path, "sha256": file.sha256, "bytes": file.bytes })
}

/// In milliseconds, to the microsecond.
fn timings(timings: &Timings) -> Value {
    json!({
        "snapshot": milliseconds(timings.snapshot),
        "render": milliseconds(timings.render),
        "install": milliseconds(timings.install),
        "reload": milliseconds(timings.reload),
        "verify": milliseconds(timings.verify),
        "purge": milliseconds(timings.purge),
    })
}

fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}
