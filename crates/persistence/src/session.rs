//! Connections, and how an operation runs on one.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{fmt, io};

use diesel::Connection as _;
use diesel::connection::SimpleConnection as _;
use diesel::pg::PgConnection;
use diesel::r2d2::{ManageConnection, NopErrorHandler, Pool, PooledConnection, R2D2Connection};
use diesel::result::{ConnectionError, DatabaseErrorKind, Error as SqlError};

use crate::conninfo::Conninfo;
use crate::error::{DatabaseError, words};
use crate::own_thread;
use crate::socket::{self, Before, Socket};
use crate::watchdog::{self, Target};

/// How often an operation is tried that PostgreSQL refused for a reason that may pass: a deadlock, say.
const TRIES: u32 = 3;

/// A connection and what the pool must know of it.
pub(crate) struct Session {
    /// `None` where a call of it got no answer.
    connection: Option<PgConnection>,
    /// `None` where it could not be found.
    socket: Option<Socket>,
    /// A connection that was opened before the present operation may be dead by now, so its loss is no error yet.
    opened: Instant,
    /// When the server answered last.
    answered: Instant,
    /// Is to be closed rather than pooled.
    broken: bool,
}

/// Opens connections and discards the broken ones; the pool's part that knows PostgreSQL.
struct Manager {
    conninfo: Conninfo,
    setup: String,
    failure: LastFailure,
}

/// Why the last attempt to connect failed, until one succeeds: the pool reports it only to the first of
/// several callers that wait.
type LastFailure = Arc<Mutex<Option<String>>>;

/// Connections over Unix sockets are opened one at a time: they carry no mark that says which call opened them.
static LOCAL: Mutex<()> = Mutex::new(());
static MARK: AtomicU32 = AtomicU32::new(0);

impl Manager {
    fn open(&self) -> Result<Session, ConnectionError> {
        let mark = MARK.fetch_add(1, Ordering::Relaxed);
        let (url, mark) = self.conninfo.marked(mark);
        let setup = self.setup.clone();
        let establish = move || {
            let mut connection = PgConnection::establish(&url)?;
            connection.batch_execute(&setup).map_err(ConnectionError::CouldntSetupConfiguration)?;
            Ok(connection)
        };
        let limit = self.conninfo.opening_limit();
        let begun = Instant::now();
        let deadline = begun + limit;
        let silent = || ConnectionError::BadConnection(format!("PostgreSQL did not answer within {limit:?}"));
        let refused = |error: io::Error| ConnectionError::BadConnection(format!("no thread to watch it: {error}"));
        let (connection, socket) = if socket::can_be_found() {
            let _alone = self.conninfo.may_be_local().then(|| lock(&LOCAL));
            let before = Arc::new(Before::now(mark, self.conninfo.may_be_local()));
            let watch = watchdog::watch(deadline, Target::Opening(Arc::clone(&before))).map_err(refused)?;
            let connection = establish();
            if watch.was_overdue() {
                return Err(connection.err().unwrap_or_else(silent));
            }
            (connection?, before.find().ok().flatten())
        } else {
            (own_thread::run(deadline, establish).map_err(refused)?.ok_or_else(silent)??, None)
        };
        let opened = Instant::now();
        Ok(Session { connection: Some(connection), socket, opened, answered: begun, broken: false })
    }
}

impl ManageConnection for Manager {
    type Connection = Session;
    type Error = ConnectionError;

    fn connect(&self) -> Result<Session, ConnectionError> {
        let session = self.open();
        *lock(&self.failure) = session.as_ref().err().map(ToString::to_string);
        session
    }

    /// Never asked: a dead connection shows at its first statement, for nothing.
    fn is_valid(&self, _: &mut Session) -> Result<(), ConnectionError> {
        Ok(())
    }

    fn has_broken(&self, session: &mut Session) -> bool {
        session.broken || session.connection.as_mut().is_none_or(R2D2Connection::is_broken) || std::thread::panicking()
    }
}

/// Why an operation ends early: PostgreSQL's reason, or its own.
#[derive(Debug)]
pub(crate) enum Abort {
    Sql(SqlError),
    Reason(DatabaseError),
}

impl From<SqlError> for Abort {
    fn from(error: SqlError) -> Self {
        Self::Sql(error)
    }
}

impl From<DatabaseError> for Abort {
    fn from(reason: DatabaseError) -> Self {
        Self::Reason(reason)
    }
}

/// The pool, and the ways of running something on one of its connections.
#[derive(Clone)]
pub(crate) struct Sessions {
    pool: Pool<Manager>,
    failure: LastFailure,
    timeout: Duration,
    /// How long a new connection may take.
    opening_limit: Duration,
    /// When the last call was begun that nobody answered: connections that did not answer since are not trusted.
    silence: Arc<Mutex<Option<Instant>>>,
}

/// The URL may hold a password.
impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").finish_non_exhaustive()
    }
}

impl Sessions {
    pub(crate) fn new(conninfo: Conninfo, pool_size: u32) -> Self {
        let (failure, timeout, opening_limit) = (LastFailure::default(), conninfo.timeout(), conninfo.opening_limit());
        let manager = Manager { conninfo, setup: setup(timeout), failure: failure.clone() };
        let pool = Pool::builder()
            .max_size(pool_size)
            .min_idle(Some(0))
            .connection_timeout(timeout)
            .test_on_check_out(false)
            .error_handler(Box::new(NopErrorHandler))
            .build_unchecked(manager);
        Self { pool, failure, timeout, opening_limit, silence: Arc::default() }
    }

    /// How long one operation may take.
    pub(crate) const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Runs `operation`, which may be run twice without harm, on a living connection: each of its statements is a
    /// transaction of its own.
    ///
    /// If a pooled connection proves to be dead, it is replaced, and `operation` runs again. If a new one is lost as well,
    /// the result is unknown, which is [`DatabaseError::Unavailable`].
    pub(crate) fn repeatable<T: Send + 'static>(
        &self,
        operation: impl Fn(&mut PgConnection) -> Result<T, Abort> + Send + Sync + 'static,
    ) -> Result<T, DatabaseError> {
        self.repeatable_since(Instant::now(), operation)
    }

    /// As [`Sessions::repeatable`], with a timeout that runs already.
    pub(crate) fn repeatable_since<T: Send + 'static>(
        &self,
        begun: Instant,
        operation: impl Fn(&mut PgConnection) -> Result<T, Abort> + Send + Sync + 'static,
    ) -> Result<T, DatabaseError> {
        let operation = Arc::new(operation);
        for tried in 1.. {
            let mut session = self.checkout(begun, self.timeout)?;
            let pooled = session.opened < begun;
            let sent = Instant::now();
            let call = Arc::clone(&operation);
            let error = match self.call(&mut session, begun + self.timeout, move |connection| call(connection))? {
                Ok(value) => return Ok(value),
                Err(Abort::Reason(reason)) => return Err(reason),
                Err(Abort::Sql(error)) => error,
            };
            let is_late = begun.elapsed() >= self.timeout;
            if is_lost(&error) {
                session.broken = true;
                if !pooled || is_late {
                    return Err(DatabaseError::unavailable(error));
                }
                log::debug!("a pooled connection to PostgreSQL was dead, taking another: {}", words(&error));
            } else if is_late || sent.elapsed() >= statement_timeout(self.timeout) {
                // Diesel reports a cancelled statement as an unknown error, so the elapsed time decides.
                return Err(DatabaseError::unavailable(error));
            } else if may_pass(&error) && (pooled || tried < TRIES) {
                // The session may hold a statement that was prepared for another schema.
                session.broken = pooled;
                log::debug!("PostgreSQL refused, trying again: {}", words(&error));
            } else {
                return Err(DatabaseError::failed(error));
            }
        }
        Err(DatabaseError::unavailable("tried too often"))
    }

    /// Waits until the pool has a connection, for as long as one may take to be made.
    pub(crate) fn open(&self) -> Result<(), DatabaseError> {
        self.checkout(Instant::now(), self.opening_limit).map(drop)
    }

    /// Runs `operation` once on a connection of its own, which is closed afterwards: settings and
    /// locks of the session end with it. It may take longer than other operations: `limit`, beside the time until there
    /// is a connection.
    pub(crate) fn dedicated<T: Send + 'static>(
        &self,
        limit: Duration,
        operation: impl FnOnce(&mut PgConnection) -> Result<T, Abort> + Send + 'static,
    ) -> Result<T, DatabaseError> {
        let begun = Instant::now();
        loop {
            let mut session = self.checkout(begun, self.opening_limit)?;
            session.broken = true;
            let answered = Instant::now() + self.timeout;
            if session.opened < begun && self.call(&mut session, answered, PgConnection::ping)?.is_err() {
                continue;
            }
            return self.call(&mut session, Instant::now() + limit, operation)?.map_err(|abort| match abort {
                Abort::Reason(reason) => reason,
                Abort::Sql(error) if is_lost(&error) => DatabaseError::unavailable(error),
                Abort::Sql(error) => DatabaseError::failed(error),
            });
        }
    }

    /// Calls `operation`, until the deadline and no longer. A connection that does not answer is closed.
    fn call<T: Send + 'static>(
        &self,
        session: &mut Session,
        deadline: Instant,
        operation: impl FnOnce(&mut PgConnection) -> T + Send + 'static,
    ) -> Result<T, DatabaseError> {
        let sent = Instant::now();
        let mut connection = session.connection.take().ok_or_else(|| self.silent(sent))?;
        let (result, connection) = if let Some(socket) = &session.socket {
            let watch = watchdog::watch(deadline, Target::Open(socket.clone())).map_err(|error| no_thread(&error))?;
            let result = operation(&mut connection);
            if watch.was_overdue() {
                return Err(self.silent(sent));
            }
            (result, connection)
        } else {
            let call = move || (operation(&mut connection), connection);
            own_thread::run(deadline, call).map_err(|error| no_thread(&error))?.ok_or_else(|| self.silent(sent))?
        };
        session.connection = Some(connection);
        // When it was sent: since then the server may have fallen silent again.
        session.answered = sent;
        Ok(result)
    }

    /// A connection of the pool, waiting no longer than `limit`, counted from `begun`.
    ///
    /// When that is over, there is none, although the pool would give an idle one at once: the watchdog would end the call
    /// while PostgreSQL may do what it was sent, and take the server for silent.
    fn checkout(&self, begun: Instant, limit: Duration) -> Result<PooledConnection<Manager>, DatabaseError> {
        loop {
            let left = limit.saturating_sub(begun.elapsed());
            if left.is_zero() {
                return Err(DatabaseError::unavailable("no time is left: this statement was not sent"));
            }
            let session = self.pool.get_timeout(left);
            let mut session = session.map_err(|_| {
                let without = match self.pool.state().connections {
                    0 => "none could be opened in that time: the server, or a name server, does not answer",
                    _ => "all connections of the pool are in use",
                };
                let reason = lock(&self.failure).clone().unwrap_or_else(|| without.to_owned());
                DatabaseError::unavailable(format!("no connection within {limit:?}: {reason}"))
            })?;
            let silence = *lock(&self.silence);
            if silence.is_none_or(|silence| session.answered > silence) {
                return Ok(session);
            }
            session.broken = true;
        }
    }

    /// The error of a call that got no response. A server that is silent on one connection is probably silent on the
    /// others, and each would cost another caller the whole timeout: so those older than this are replaced, too.
    fn silent(&self, sent: Instant) -> DatabaseError {
        let mut silence = lock(&self.silence);
        *silence = (*silence).max(Some(sent));
        DatabaseError::unavailable(format!(
            "PostgreSQL did not answer within {:?}, so the connection was closed",
            self.timeout
        ))
    }
}

pub(crate) fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn no_thread(error: &io::Error) -> DatabaseError {
    DatabaseError::unavailable(format!(
        "no thread can be started that would end the call in time: {error}; nothing was sent"
    ))
}

/// The server cancels a statement a little before this side gives up: waiting for a lock that somebody holds then costs
/// an error and not the connection.
fn statement_timeout(timeout: Duration) -> Duration {
    timeout * 9 / 10
}

/// What every session begins with, in one round trip. Who waits for a lock waits as long as for a statement.
///
/// Each statement is a transaction of its own at READ COMMITTED, whatever default the role or the database has: after
/// waiting for a row lock it has to read what the last holder committed. Where a policy of row-level security may hide users,
/// PostgreSQL refuses to read them, instead of listing some
/// ([PostgreSQL manual, `row_security`](https://www.postgresql.org/docs/current/runtime-config-client.html#GUC-ROW-SECURITY)).
fn setup(timeout: Duration) -> String {
    let milliseconds = statement_timeout(timeout).as_millis().max(1);
    format!(
        "SET statement_timeout = {milliseconds}; \
         SET idle_in_transaction_session_timeout = {milliseconds}; \
         SET lock_timeout = 0; \
         SET default_transaction_isolation = 'read committed'; \
         SET row_security = off"
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
        SqlError::BrokenTransactionManager => true,
        _ => false,
    }
}

/// Whether the same statement may succeed next time. Diesel reports a deadlock as an unknown error.
fn may_pass(error: &SqlError) -> bool {
    let SqlError::DatabaseError(kind, _) = error else { return false };
    matches!(kind, DatabaseErrorKind::SerializationFailure | DatabaseErrorKind::Unknown)
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[test]
    fn nothing_is_sent_when_no_time_is_left() {
        let timeout = Duration::from_millis(1);
        let sessions = Sessions::new(Conninfo::new("host=/nonexistent", timeout).unwrap(), 1);
        let begun = Instant::now();
        std::thread::sleep(timeout);
        let error = sessions.repeatable_since::<()>(begun, |_| Ok(())).unwrap_err();
        assert!(error.source().unwrap().to_string().contains("was not sent"), "{error:?}");
    }

    #[test]
    fn a_server_that_does_not_answer_is_no_busy_pool() {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("host=127.0.0.1 port={}", silent.local_addr().unwrap().port());
        let sessions = Sessions::new(Conninfo::new(&url, Duration::from_mins(1)).unwrap(), 1);
        let error = sessions.checkout(Instant::now(), Duration::from_millis(1)).err().unwrap();
        let words = error.source().unwrap().to_string();
        assert!(
            words.contains("within 1ms: ") && words.contains("name server") && !words.contains("in use"),
            "{words}"
        );
    }
}
