use std::time::{Duration, SystemTime};

use diesel::{
    dsl::now,
    pg::{Pg, data_types::PgTimestamp},
    prelude::*,
    query_builder::{AstPass, QueryFragment},
    sql_types::{Nullable, Text, Timestamptz, Uuid as SqlUuid},
};
use pbx_domain::{ApplyId, ApplyOutcome, ApplyRecord, Extension, InstalledFile, Timings};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    error::DatabaseError,
    list::{self, ListQuery, ListSql, UserList},
    query::prepared,
    schema::apply_audit_log as log,
    session::Sessions,
    timestamp::from_system_time,
    users::TENANT,
};

/// What a record says while its apply runs.
pub(crate) const RUNNING: &str = "running";

/// The records of applies, kept in the table `apply_audit_log`.
#[derive(Debug, Clone)]
pub struct ApplyLog {
    pub(crate) sessions: Sessions,
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

    /// Reads all users and opens the apply's record, `running`, with the revision and the number of users that were read:
    /// one statement, so one snapshot and one round trip.
    ///
    /// # Errors
    ///
    /// [`DatabaseError`]; after [`DatabaseError::Unavailable`] the record may exist.
    pub fn begin(&self, started: &StartedApply) -> Result<UserList, DatabaseError> {
        let started = Begin {
            id: started.id.as_uuid(),
            started: started.clone(),
            started_at: from_system_time(started.started_at),
        };
        self.sessions.repeatable(move |connection| list::from_rows(started.clone().load(connection)?))
    }

    /// Closes the record of an apply that [`begin`](Self::begin) opened. It may be repeated: the last time counts.
    ///
    /// `false` when this database does not have the record: it is another database, or was restored to a time before the
    /// apply. Nothing is written then.
    ///
    /// # Errors
    ///
    /// [`DatabaseError`]
    pub fn finish(&self, record: &ApplyRecord) -> Result<bool, DatabaseError> {
        let (id, ending) = (record.id.as_uuid(), ending(record));
        self.sessions.repeatable(move |connection| {
            let closed = diesel::update(log::table.find(id)).set(&ending).execute(connection)?;
            Ok(closed > 0)
        })
    }

    /// Records an attempt that ended before [`begin`](Self::begin) was reached. It may be repeated.
    ///
    /// # Errors
    ///
    /// [`DatabaseError`]
    pub fn record(&self, record: &ApplyRecord) -> Result<(), DatabaseError> {
        let (record, ending) = (record.clone(), ending(record));
        self.sessions.repeatable(move |connection| {
            diesel::insert_into(log::table)
                .values((
                    log::id.eq(record.id.as_uuid()),
                    log::tenant.eq(TENANT),
                    log::node.eq(&record.node),
                    log::revision.eq(record.revision.get()),
                    log::actor.eq(&record.actor),
                    log::request_id.eq(&record.request_id),
                    log::users.eq(count(record.users)),
                    log::started_at.eq(from_system_time(record.started_at)),
                    &ending,
                ))
                .on_conflict(log::id)
                .do_nothing()
                .execute(connection)?;
            Ok(())
        })
    }

    /// Closes the records that `node` left `running`, but for those in `except`, as `interrupted`, and returns which.
    ///
    /// Only the holder of the node's lock may call this: a record that is `running` then is one of a process that is gone.
    ///
    /// # Errors
    ///
    /// [`DatabaseError`]
    pub fn interrupt_running(&self, node: &str, except: &[ApplyId]) -> Result<Vec<ApplyId>, DatabaseError> {
        let except: Vec<Uuid> = except.iter().map(|id| id.as_uuid()).collect();
        let node = node.to_owned();
        self.sessions.repeatable(move |connection| {
            let running =
                log::table.filter(log::node.eq(&node)).filter(log::outcome.eq(RUNNING)).filter(log::id.ne_all(&except));
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

/// Opens a record and reads the users, in one statement.
#[derive(Clone)]
struct Begin {
    id: Uuid,
    started: StartedApply,
    started_at: PgTimestamp,
}

prepared!(Begin, ListSql);

impl QueryFragment<Pg> for Begin {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(
            "WITH opened AS ( \
             INSERT INTO apply_audit_log (tenant, outcome, revision, users, id, node, actor, request_id, started_at) \
             SELECT name, 'running', revision, (SELECT count(*) FROM users WHERE users.tenant = tenants.name), ",
        );
        out.push_bind_param::<SqlUuid, _>(&self.id)?;
        out.push_sql(", ");
        out.push_bind_param::<Text, _>(&self.started.node)?;
        out.push_sql(", ");
        out.push_bind_param::<Nullable<Text>, _>(&self.started.actor)?;
        out.push_sql(", ");
        out.push_bind_param::<Text, _>(&self.started.request_id)?;
        out.push_sql(", ");
        out.push_bind_param::<Timestamptz, _>(&self.started_at)?;
        // The record is there already when the answer to the first attempt was lost.
        out.push_sql(
            " FROM tenants WHERE name = 'default' \
             ON CONFLICT (id) DO UPDATE SET revision = excluded.revision, users = excluded.users) ",
        );
        ListQuery::ALL.walk_ast(out)
    }
}

/// What only the end of an apply knows.
#[derive(AsChangeset, Insertable)]
#[diesel(table_name = log, treat_none_as_null = true)]
struct Ending {
    outcome: &'static str,
    added: Vec<i32>,
    removed: Vec<i32>,
    changed: Vec<i32>,
    files: Value,
    timings: Value,
    warnings: Vec<String>,
    detail: Option<String>,
    finished_at: PgTimestamp,
    duration_ms: f64,
}

fn ending(record: &ApplyRecord) -> Ending {
    Ending {
        outcome: record.outcome.as_str(),
        added: numbers(&record.changes.added),
        removed: numbers(&record.changes.removed),
        changed: numbers(&record.changes.changed),
        files: record.files.iter().map(file).collect(),
        timings: timings(&record.timings),
        warnings: record.warnings.clone(),
        detail: record.detail.clone(),
        finished_at: from_system_time(record.started_at + record.duration),
        duration_ms: milliseconds(record.duration),
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
