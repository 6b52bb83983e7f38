use std::time::SystemTime;

use diesel::dsl::{exists, now};
use diesel::pg::{Pg, PgConnection};
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{Array, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use pbx_domain::{ApplyId, ApplyOutcome, ApplyRecord};
use serde_json::Value;
use uuid::Uuid;

use crate::apply_row::{ApplyRow, RUNNING};
use crate::error::DatabaseError;
use crate::list::{self, ListQuery, ListSql, UserList};
use crate::schema::apply_audit_log as log;
use crate::session::Sessions;
use crate::timestamp::Timestamp;

/// Why a record was still open: which of them it was, nobody can tell.
const NOBODY_CLOSED_IT: &str =
    "nobody closed it: its process was killed, PostgreSQL opened it late, or was restored to a moment in mid-apply";

/// What opens a record: the values of its columns from `id` on go between the pieces.
pub(crate) const OPEN: [&str; 2] = [
    "INSERT INTO apply_audit_log (tenant, outcome, revision, users, id, node, actor, request_id, started_at) \
     SELECT name, 'running', revision, (SELECT count(*) FROM users WHERE users.tenant = tenants.name), ",
    // It is there already when the answer to the first attempt was lost.
    " FROM tenants WHERE name = 'default' \
     ON CONFLICT (id) DO UPDATE SET revision = excluded.revision, users = excluded.users",
];

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
    /// Reads all users and opens the apply's record, `running`, with the revision and the number of users that were read:
    /// one statement, so one snapshot and one round trip. Other records of the node that are `running`, but for those in
    /// `except`, become `interrupted`: only the holder of the node's lock may call this.
    ///
    /// # Errors
    ///
    /// [`DatabaseError`]; after [`DatabaseError::Unavailable`] the record may exist.
    pub fn begin(&self, started: &StartedApply, except: &[ApplyId]) -> Result<UserList, DatabaseError> {
        let id = started.id.as_uuid();
        let except = except.iter().map(|id| id.as_uuid()).chain([id]).collect();
        let started = Begin { id, started: started.clone(), started_at: Timestamp(started.started_at), except };
        self.sessions.repeatable(move |connection| list::from_rows(started.clone().load(connection)?))
    }

    /// Closes the record of an apply that [`begin`](Self::begin) opened, which keeps the revision and the number of users
    /// that were read then. It may be repeated: the last time counts.
    ///
    /// `false` when this database does not have the record: it is another database, or was restored to a time before the
    /// apply. Nothing is written then.
    ///
    /// # Errors
    ///
    /// [`DatabaseError`]
    pub fn finish(&self, record: &ApplyRecord) -> Result<bool, DatabaseError> {
        let (id, row) = (record.id.as_uuid(), ApplyRow::of(record));
        self.sessions.repeatable(move |connection| {
            let closed = diesel::update(log::table.find(id)).set(&row).execute(connection)?;
            Ok(closed > 0)
        })
    }

    /// Records an attempt that ended before [`begin`](Self::begin) was reached. It may be repeated.
    ///
    /// # Errors
    ///
    /// [`DatabaseError`]
    pub fn record(&self, record: &ApplyRecord) -> Result<(), DatabaseError> {
        let row = ApplyRow::of(record);
        self.sessions.repeatable(move |connection| {
            diesel::insert_into(log::table).values(&row).on_conflict(log::id).do_nothing().execute(connection)?;
            Ok(())
        })
    }

    /// Whether this database has the record of an apply.
    ///
    /// # Errors
    ///
    /// [`DatabaseError`]
    pub fn has(&self, id: ApplyId) -> Result<bool, DatabaseError> {
        let record = log::table.find(id.as_uuid());
        self.sessions.repeatable(move |connection| Ok(diesel::select(exists(record)).get_result(connection)?))
    }

    /// A record as JSON, to be kept where no database takes it yet; in whole microseconds, as the database has it.
    #[must_use]
    pub fn to_json(record: &ApplyRecord) -> Value {
        serde_json::to_value(ApplyRow::of(record)).unwrap_or_default()
    }

    /// The record that [`to_json`](Self::to_json) made JSON of.
    ///
    /// # Errors
    ///
    /// [`DatabaseError::Failed`] for what is no record.
    pub fn from_json(json: Value) -> Result<ApplyRecord, DatabaseError> {
        let row: ApplyRow = serde_json::from_value(json).map_err(DatabaseError::failed)?;
        row.into_record()
    }

    /// Closes the records that `node` left `running`, but for those in `except`, as `interrupted`, and returns which;
    /// the log names them, too.
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
                    log::detail.eq(NOBODY_CLOSED_IT),
                ))
                .returning(log::id)
                .get_results(connection)?;
            for id in &ids {
                ::log::warn!("the apply {id} counts as interrupted: {NOBODY_CLOSED_IT}");
            }
            Ok(ids.into_iter().map(ApplyId::from).collect())
        })
    }
}

/// Opens a record and reads the users, in one statement.
#[derive(Clone, QueryId)]
struct Begin {
    id: Uuid,
    started: StartedApply,
    started_at: Timestamp,
    /// The records that stay as they are, its own among them.
    except: Vec<Uuid>,
}

impl Query for Begin {
    type SqlType = ListSql;
}

impl RunQueryDsl<PgConnection> for Begin {}

impl QueryFragment<Pg> for Begin {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("WITH opened AS (");
        out.push_sql(OPEN[0]);
        out.push_bind_param::<SqlUuid, _>(&self.id)?;
        out.push_sql(", ");
        out.push_bind_param::<Text, _>(&self.started.node)?;
        out.push_sql(", ");
        out.push_bind_param::<Nullable<Text>, _>(&self.started.actor)?;
        out.push_sql(", ");
        out.push_bind_param::<Text, _>(&self.started.request_id)?;
        out.push_sql(", ");
        out.push_bind_param::<Timestamptz, _>(&self.started_at)?;
        out.push_sql(OPEN[1]);
        // What else is running, nobody will close.
        out.push_sql(
            "), others AS (UPDATE apply_audit_log SET outcome = 'interrupted', finished_at = now(), detail = '",
        );
        out.push_sql(NOBODY_CLOSED_IT);
        out.push_sql("' WHERE outcome = 'running' AND node = ");
        out.push_bind_param::<Text, _>(&self.started.node)?;
        out.push_sql(" AND id <> ALL(");
        out.push_bind_param::<Array<SqlUuid>, _>(&self.except)?;
        out.push_sql(")) ");
        ListQuery::ALL.walk_ast(out)
    }
}
