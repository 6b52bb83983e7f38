use std::time::Duration;

use diesel::connection::SimpleConnection as _;
use diesel::pg::PgConnection;

use crate::apply_log::ApplyLog;
use crate::conninfo::{Conninfo, Link};
use crate::error::DatabaseError;
use crate::inspection::{self, DatabaseInspection};
use crate::migrations;
use crate::session::Sessions;
use crate::users::UserRepository;

/// The portal's PostgreSQL database: a pool of connections that is shared by its clones.
#[derive(Debug, Clone)]
pub struct Database {
    sessions: Sessions,
    users: UserRepository,
    link: Link,
}

impl Database {
    /// A database at `url`, with at most `pool_size` connections at a time.
    ///
    /// Nothing is connected yet, so this does not wait for a server. `url` is anything that libpq
    /// takes ([PostgreSQL manual, 34.1.1](https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING)),
    /// several hosts and `target_session_attrs` included; its own `connect_timeout`, intervals of
    /// keep-alives and `application_name` take precedence over the portal's. `keepalives` and `tcp_user_timeout` are ours.
    ///
    /// `timeout` bounds every call, whatever becomes of the server. A `pool_size` of 0 is taken for
    /// 1, and a `timeout` below a millisecond for a millisecond.
    ///
    /// # Errors
    ///
    /// [`DatabaseError::InvalidUrl`] when libpq cannot read `url`.
    pub fn connect(url: &str, pool_size: u32, timeout: Duration) -> Result<Self, DatabaseError> {
        let conninfo = Conninfo::new(url, timeout.max(Duration::from_millis(1)))?;
        let link = conninfo.link();
        let sessions = Sessions::new(conninfo, pool_size.max(1));
        Ok(Self { users: UserRepository::new(sessions.clone()), sessions, link })
    }

    /// The users.
    #[must_use]
    pub fn users(&self) -> UserRepository {
        self.users.clone()
    }

    /// The records of applies.
    #[must_use]
    pub fn apply_log(&self) -> ApplyLog {
        ApplyLog { sessions: self.sessions.clone() }
    }

    /// Brings the database up to date, each migration in a transaction, and gives the names of
    /// those that were applied.
    ///
    /// Several processes may do so at once: they wait for each other, a minute at most. A
    /// database that is up to date is not written to, so that a role without the right to create
    /// tables is good enough for it.
    ///
    /// # Errors
    ///
    /// [`DatabaseError`], with the migration's name in its chain where one failed.
    pub fn migrate(&self) -> Result<Vec<String>, DatabaseError> {
        self.sessions.dedicated(migrations::LIMIT, migrations::migrate)
    }

    /// What an administrator wants to know before the portal uses the database: how the connection is protected, which
    /// migrations are missing or are of a newer portal, which rights the role lacks. Writes nothing.
    ///
    /// # Errors
    ///
    /// [`DatabaseError`].
    pub fn inspect(&self) -> Result<DatabaseInspection, DatabaseError> {
        let link = self.link;
        self.sessions.open()?;
        let inspected = self.sessions.repeatable(move |connection| inspection::inspect(connection, link));
        inspected.map_err(|error| self.with_holder(error))
    }

    /// Creates a user and deletes it, opens an apply's record and closes it, rolls all of it back, and commits a message, in
    /// one round trip: triggers, policies of row-level security or a full disk may refuse what the role has the rights for,
    /// somebody's open transaction may hold the rows, and a commit may wait for a standby that is away. Nobody else sees any of it, but that logical decoding shows the
    /// message `rehearsal`.
    ///
    /// # Errors
    ///
    /// [`DatabaseError`]; [`DatabaseError::Failed`] where PostgreSQL refuses it, [`DatabaseError::Unavailable`] where it
    /// does not commit in time.
    pub fn rehearse_change(&self) -> Result<(), DatabaseError> {
        let timeout = self.sessions.timeout();
        let rehearsal =
            move |connection: &mut PgConnection| Ok(connection.batch_execute(&inspection::rehearsal(timeout / 2))?);
        self.sessions.dedicated(timeout, rehearsal).map_err(|error| self.with_holder(error))
    }

    /// The error, and who kept the statement waiting where it waited in vain.
    fn with_holder(&self, error: DatabaseError) -> DatabaseError {
        let (DatabaseError::Unavailable(cause) | DatabaseError::Failed(cause)) = &error else { return error };
        let cause = cause.to_string();
        if !cause.contains("canceling statement due to") {
            return error;
        }
        let Ok(Some(holder)) = self.sessions.dedicated(self.sessions.timeout(), inspection::holder) else {
            return error;
        };
        let words = format!("{cause}: {holder} has it locked");
        match error {
            DatabaseError::Failed(_) => DatabaseError::failed(words),
            _ => DatabaseError::unavailable(words),
        }
    }
}
