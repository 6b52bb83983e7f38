//! The records of applies, as they are read again.

use std::time::Duration;

use diesel::{pg::data_types::PgTimestamp, prelude::*};
use pbx_domain::{ApplyOutcome, ApplyRecord, Changes, Extension, InstalledFile, Revision, Timings, User};
use serde_json::Value;
use uuid::Uuid;

use crate::{
    apply_log::{ApplyLog, RUNNING, StartedApply},
    error::{DatabaseError, ErrorDetail},
    list,
    schema::apply_audit_log as log,
    session::Abort,
    timestamp::to_system_time,
    users::{TENANT, no_tenant},
};

/// An apply as it stands in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoggedApply {
    /// It has no end yet: it runs, or its process is gone and nobody has applied on that node since.
    Running {
        /// What was known when it began.
        apply: StartedApply,
        /// The tenant's revision that it was made of.
        revision: Revision,
        /// How many users that revision had.
        users: usize,
    },
    /// It has ended. Of one that was interrupted, the duration is the time until that was found out.
    Ended(Box<ApplyRecord>),
}

impl LoggedApply {
    /// The node whose Asterisk it is for.
    #[must_use]
    pub fn node(&self) -> &str {
        match self {
            Self::Running { apply, .. } => &apply.node,
            Self::Ended(record) => &record.node,
        }
    }
}

/// What the users of now have that the last apply of a node that was proven did not bring.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Waiting {
    /// The last apply of the node after which Asterisk was proven to run its users; `None` where there was none.
    pub since: Option<ApplyRecord>,
    /// The users that were created or changed after it, by extension.
    pub users: Vec<User>,
    /// The tenant's revision of now.
    pub revision: Revision,
}

impl Waiting {
    /// Whether anything changed since; that may be a delete alone, which leaves no user.
    #[must_use]
    pub fn is_any(&self) -> bool {
        match &self.since {
            Some(apply) => apply.revision != self.revision,
            None => !self.users.is_empty(),
        }
    }
}

impl ApplyLog {
    /// The last `most` applies of all nodes, the latest first.
    ///
    /// # Errors
    ///
    /// [`DatabaseError`]; [`DatabaseError::Failed`] also for a record that breaks a rule of `pbx-domain`.
    pub fn recent(&self, most: u32) -> Result<Vec<LoggedApply>, DatabaseError> {
        self.read(None, most)
    }

    /// The last `most` applies of one node, the latest first.
    ///
    /// # Errors
    ///
    /// As [`Self::recent`].
    pub fn recent_of(&self, node: &str, most: u32) -> Result<Vec<LoggedApply>, DatabaseError> {
        self.read(Some(node), most)
    }

    fn read(&self, node: Option<&str>, most: u32) -> Result<Vec<LoggedApply>, DatabaseError> {
        let node = node.map(str::to_owned);
        self.sessions.repeatable(move |connection| {
            let mut query = log::table.filter(log::tenant.eq(TENANT)).into_boxed();
            if let Some(node) = &node {
                query = query.filter(log::node.eq(node));
            }
            let latest = query.order((log::started_at.desc(), log::id.desc())).limit(i64::from(most));
            let rows: Vec<Row> = latest.load(connection)?;
            rows.into_iter().map(Row::into_apply).collect()
        })
    }

    /// Which users wait for an apply of this node, and since which.
    ///
    /// It goes by the revisions of this database, so it is for people: after a restore or a failover they mean
    /// something else, and only the node itself knows what its Asterisk runs (`applied` of the portal's `GET /users`).
    ///
    /// # Errors
    ///
    /// As [`Self::recent`].
    pub fn waiting(&self, node: &str) -> Result<Waiting, DatabaseError> {
        let node = node.to_owned();
        self.sessions.repeatable(move |connection| {
            let proven = [ApplyOutcome::Applied, ApplyOutcome::Unchanged].map(ApplyOutcome::as_str);
            let row: Option<Row> = log::table
                .filter(log::tenant.eq(TENANT))
                .filter(log::node.eq(&node))
                .filter(log::outcome.eq_any(proven))
                .order((log::started_at.desc(), log::id.desc()))
                .first(connection)
                .optional()?;
            let since = row.map(Row::into_record).transpose()?;
            let list = list::read(connection, None)?.ok_or(diesel::NotFound).map_err(no_tenant)?;
            let mut users = list.users;
            users.retain(|user| since.as_ref().is_none_or(|apply| user.revision > apply.revision));
            Ok(Waiting { since, users, revision: list.revision })
        })
    }
}

/// All columns, in the order of the table.
#[derive(Queryable)]
struct Row {
    id: Uuid,
    _tenant: String,
    node: String,
    revision: i64,
    outcome: String,
    actor: Option<String>,
    request_id: String,
    users: i32,
    added: Vec<i32>,
    removed: Vec<i32>,
    changed: Vec<i32>,
    files: Value,
    timings: Value,
    warnings: Vec<String>,
    detail: Option<String>,
    started_at: PgTimestamp,
    finished_at: Option<PgTimestamp>,
    duration_ms: Option<f64>,
}

impl Row {
    fn into_apply(self) -> Result<LoggedApply, Abort<DatabaseError>> {
        if self.outcome != RUNNING {
            return self.into_record().map(Box::new).map(LoggedApply::Ended);
        }
        let revision = Revision::new(self.revision);
        let users = usize::try_from(self.users).unwrap_or_default();
        let apply = StartedApply {
            id: self.id.into(),
            node: self.node,
            actor: self.actor,
            request_id: self.request_id,
            started_at: to_system_time(self.started_at),
        };
        Ok(LoggedApply::Running { apply, revision, users })
    }

    fn into_record(self) -> Result<ApplyRecord, Abort<DatabaseError>> {
        let id = self.id;
        let broken = |what: &str| {
            let detail = ErrorDetail::new(format!("the record of the apply {id} breaks a rule: {what}"));
            Abort::Reason(DatabaseError::Failed(detail))
        };
        let outcome = ApplyOutcome::from_word(&self.outcome).ok_or_else(|| broken("outcome"))?;
        let numbers = |numbers: Vec<i32>, what: &str| -> Result<Vec<Extension>, _> {
            numbers.into_iter().map(Extension::new).collect::<Result<_, _>>().map_err(|_| broken(what))
        };
        let files: Option<Vec<InstalledFile>> = self.files.as_array().into_iter().flatten().map(file).collect();
        let started_at = to_system_time(self.started_at);
        let until_found = || to_system_time(self.finished_at?).duration_since(started_at).ok();
        let duration = self.duration_ms.and_then(duration).or_else(until_found).unwrap_or_default();
        Ok(ApplyRecord {
            id: id.into(),
            node: self.node,
            actor: self.actor,
            request_id: self.request_id,
            revision: Revision::new(self.revision),
            users: usize::try_from(self.users).map_err(|_| broken("users"))?,
            outcome,
            detail: self.detail,
            warnings: self.warnings,
            changes: Changes {
                added: numbers(self.added, "added")?,
                removed: numbers(self.removed, "removed")?,
                changed: numbers(self.changed, "changed")?,
            },
            files: files.ok_or_else(|| broken("files"))?,
            started_at,
            duration,
            timings: timings(&self.timings),
        })
    }
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
    let step = |name: &str| value[name].as_f64().and_then(duration).unwrap_or_default();
    Timings {
        snapshot: step("snapshot"),
        render: step("render"),
        install: step("install"),
        reload: step("reload"),
        verify: step("verify"),
        purge: step("purge"),
    }
}

fn duration(milliseconds: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(milliseconds / 1e3).ok()
}
