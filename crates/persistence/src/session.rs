//! Connections, and how an operation runs on one.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use diesel::{
    Connection as _,
    connection::SimpleConnection as _,
    pg::PgConnection,
    r2d2::{ManageConnection, NopErrorHandler, Pool, PooledConnection, R2D2Connection as _},
    result::{ConnectionError, DatabaseErrorKind, Error as SqlError},
};

use crate::{
    conninfo,
    error::{DatabaseError, ErrorDetail},
};

/// A connection and what the pool must know of it.
pub(crate) struct Session {
    connection: PgConnection,
    /// Whoever began later cannot know whether it has died since.
    opened: Instant,
    /// Is to be closed rather than pooled.
    broken: bool,
}

/// Opens connections and discards the broken ones; the pool's part that knows PostgreSQL.
struct Manager {
    conninfo: String,
    setup: String,
    failure: LastFailure,
}

/// Why the last attempt to connect failed, until one succeeds: the pool tells only the first of
/// several that wait.
#[derive(Clone, Default)]
struct LastFailure(Arc<Mutex<Option<String>>>);

impl LastFailure {
    fn set(&self, failure: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = failure;
    }

    fn get(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ManageConnection for Manager {
    type Connection = Session;
    type Error = ConnectionError;

    fn connect(&self) -> Result<Session, ConnectionError> {
        let connection = PgConnection::establish(&self.conninfo).and_then(|mut connection| {
            connection.batch_execute(&self.setup).map_err(ConnectionError::CouldntSetupConfiguration)?;
            Ok(connection)
        });
        self.failure.set(connection.as_ref().err().map(ToString::to_string));
        connection.map(|connection| Session { connection, opened: Instant::now(), broken: false })
    }

    /// Never asked: a dead connection shows at its first statement, for nothing.
    fn is_valid(&self, _: &mut Session) -> Result<(), ConnectionError> {
        Ok(())
    }

    fn has_broken(&self, session: &mut Session) -> bool {
        session.broken || session.connection.is_broken() || std::thread::panicking()
    }
}

/// Why an operation ends early: PostgreSQL's reason, or its own.
#[derive(Debug)]
pub(crate) enum Abort<E> {
    Sql(SqlError),
    Reason(E),
}

impl<E> From<SqlError> for Abort<E> {
    fn from(error: SqlError) -> Self {
        Self::Sql(error)
    }
}

/// The pool, and the ways of running something on one of its connections.
#[derive(Clone)]
pub(crate) struct Sessions {
    pool: Pool<Manager>,
    failure: LastFailure,
    timeout: Duration,
}

/// The URL may hold a password.
impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").finish_non_exhaustive()
    }
}

impl Sessions {
    pub(crate) fn new(url: &str, pool_size: u32, timeout: Duration) -> Result<Self, DatabaseError> {
        conninfo::check(url)?;
        let failure = LastFailure::default();
        let manager = Manager {
            conninfo: conninfo::with_deadlines(url, timeout),
            setup: setup(timeout),
            failure: failure.clone(),
        };
        let pool = Pool::builder()
            .max_size(pool_size)
            .min_idle(Some(0))
            .connection_timeout(timeout)
            .test_on_check_out(false)
            .error_handler(Box::new(NopErrorHandler))
            .build_unchecked(manager);
        Ok(Self { pool, failure, timeout })
    }

    /// Runs `operation` in a transaction, on a living connection. The isolation level is said, as
    /// a role or a database may have another default: who waited for a row lock has to read what
    /// its last holder wrote.
    ///
    /// Until COMMIT is sent nothing can have been committed: a connection that was pooled and
    /// turns out to be dead by then is replaced, and `operation` runs again. When the answer to
    /// COMMIT is lost the result is unknown, which is [`DatabaseError::Unavailable`].
    pub(crate) fn transaction<T, E: From<DatabaseError>>(
        &self,
        mut operation: impl FnMut(&mut PgConnection) -> Result<T, Abort<E>>,
    ) -> Result<T, E> {
        self.run(|connection| {
            let mut committing = false;
            let result = connection.build_transaction().read_committed().run(|connection| {
                let value = operation(connection)?;
                committing = true;
                Ok(value)
            });
            (result, !committing)
        })
    }

    /// Runs `operation`, which may be run twice without harm, on a living connection and without
    /// a transaction around it.
    pub(crate) fn repeatable<T, E: From<DatabaseError>>(
        &self,
        mut operation: impl FnMut(&mut PgConnection) -> Result<T, Abort<E>>,
    ) -> Result<T, E> {
        self.run(|connection| (operation(connection), true))
    }

    /// Runs `operation` once on a connection of its own, which is closed afterwards: settings and
    /// locks of the session end with it.
    pub(crate) fn dedicated<T>(
        &self,
        operation: impl FnOnce(&mut PgConnection) -> Result<T, Abort<DatabaseError>>,
    ) -> Result<T, DatabaseError> {
        let begun = Instant::now();
        loop {
            let mut session = self.checkout(begun)?;
            session.broken = true;
            if session.opened >= begun || session.connection.ping().is_ok() {
                return operation(&mut session.connection).map_err(|abort| match abort {
                    Abort::Reason(reason) => reason,
                    Abort::Sql(error) if is_lost(&error) => DatabaseError::Unavailable(ErrorDetail::new(error)),
                    Abort::Sql(error) => DatabaseError::Failed(ErrorDetail::new(error)),
                });
            }
        }
    }

    /// A connection of the pool, waiting no longer than the timeout, counted from `begun`.
    fn checkout(&self, begun: Instant) -> Result<PooledConnection<Manager>, DatabaseError> {
        self.pool.get_timeout(self.timeout.saturating_sub(begun.elapsed())).map_err(|_| {
            let reason = self.failure.get().unwrap_or_else(|| "all connections of the pool are in use".to_owned());
            DatabaseError::Unavailable(ErrorDetail::new(format!("no connection within {:?}: {reason}", self.timeout)))
        })
    }

    /// `attempt` says, beside its result, whether it surely committed nothing.
    fn run<T, E: From<DatabaseError>>(
        &self,
        mut attempt: impl FnMut(&mut PgConnection) -> (Result<T, Abort<E>>, bool),
    ) -> Result<T, E> {
        let begun = Instant::now();
        loop {
            let mut session = self.checkout(begun)?;
            let pooled = session.opened < begun;
            let sent = Instant::now();
            let (result, is_repeatable) = attempt(&mut session.connection);
            match result {
                Ok(value) => return Ok(value),
                Err(Abort::Reason(reason)) => return Err(reason),
                Err(Abort::Sql(error)) if is_lost(&error) => {
                    session.broken = true;
                    if !pooled || !is_repeatable || begun.elapsed() >= self.timeout {
                        return Err(DatabaseError::Unavailable(ErrorDetail::new(error)).into());
                    }
                    log::debug!("a pooled connection to PostgreSQL was dead, taking another: {error}");
                }
                // Diesel does not tell a cancelled statement from other errors, time does.
                Err(Abort::Sql(error)) if sent.elapsed() >= self.timeout => {
                    return Err(DatabaseError::Unavailable(ErrorDetail::new(error)).into());
                }
                Err(Abort::Sql(error)) => return Err(DatabaseError::Failed(ErrorDetail::new(error)).into()),
            }
        }
    }
}

/// What every session begins with, in one round trip.
///
/// A portal that hangs within a transaction must not hold its locks against the others for ever.
fn setup(timeout: Duration) -> String {
    let milliseconds = timeout.as_millis().max(1);
    format!(
        "SET statement_timeout = {milliseconds}; \
         SET idle_in_transaction_session_timeout = {milliseconds}"
    )
}

/// Whether the connection is of no more use: closed, or to a server that is a standby by now.
fn is_lost(error: &SqlError) -> bool {
    match error {
        SqlError::DatabaseError(kind, _) => matches!(
            kind,
            DatabaseErrorKind::ClosedConnection
                | DatabaseErrorKind::UnableToSendCommand
                | DatabaseErrorKind::ReadOnlyTransaction
        ),
        SqlError::RollbackErrorOnCommit { commit_error, rollback_error } => {
            is_lost(commit_error) || is_lost(rollback_error)
        }
        SqlError::BrokenTransactionManager => true,
        _ => false,
    }
}
