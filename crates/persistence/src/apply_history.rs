//! The records of applies, as they are read again.

use diesel::prelude::*;
use pbx_domain::{ApplyOutcome, ApplyRecord, Revision, User};

use crate::apply_log::{ApplyLog, StartedApply};
use crate::apply_row::ApplyRow;
use crate::error::DatabaseError;
use crate::list;
use crate::schema::apply_audit_log as log;
use crate::users::TENANT;

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
    /// The last `most` applies of one node, or of all, the latest first.
    ///
    /// # Errors
    ///
    /// [`DatabaseError`]; [`DatabaseError::Failed`] also for a record that breaks a rule of `pbx-domain`.
    pub fn recent(&self, node: Option<&str>, most: u32) -> Result<Vec<LoggedApply>, DatabaseError> {
        let node = node.map(str::to_owned);
        self.sessions.repeatable(move |connection| {
            let mut query = log::table.filter(log::tenant.eq(TENANT)).into_boxed();
            if let Some(node) = &node {
                query = query.filter(log::node.eq(node));
            }
            let latest = query.order((log::started_at.desc(), log::id.desc())).limit(i64::from(most));
            let rows: Vec<ApplyRow> = latest.load(connection)?;
            Ok(rows.into_iter().map(ApplyRow::into_apply).collect::<Result<_, _>>()?)
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
            let row: Option<ApplyRow> = log::table
                .filter(log::tenant.eq(TENANT))
                .filter(log::node.eq(&node))
                .filter(log::outcome.eq_any(proven))
                .order((log::started_at.desc(), log::id.desc()))
                .first(connection)
                .optional()?;
            let since = row.map(ApplyRow::into_record).transpose()?;
            let list = list::read(connection)?;
            let mut users = list.users;
            users.retain(|user| since.as_ref().is_none_or(|apply| user.revision > apply.revision));
            Ok(Waiting { since, users, revision: list.revision })
        })
    }
}
