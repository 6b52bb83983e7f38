#![doc = include_str!("../README.md")]
//!
//! # Invariants
//!
//! - Every transaction that changes users moves every tenant's [`Revision`](pbx_domain::Revision) by
//!   one; the row lock of that update orders all writers. A trigger does the same for hand-written
//!   SQL.
//! - Every statement that changes a user makes a new [`ChangeToken`], hand-written SQL included. So
//!   what was read with a token is still true where the token is still there, also after a restore
//!   or a failover that lost commits.
//! - Every writer changes the tenant's row before any other, so that writers wait for each other and
//!   do not deadlock. `UNIQUE` is the last guard of an extension.
//! - A change of users is decided by [`Roster`](pbx_domain::Roster) and written by one statement,
//!   which does nothing unless the token is still the one that the decision went by. So it happens at
//!   most once, however often it is sent: a lost connection costs no error while there is time. Changes
//!   that wait for each other in this process share a statement, and each fails alone.
//! - A rule of `pbx-domain` that SQL can say is a named constraint as well. A row that breaks a
//!   rule all the same is a [`DatabaseError::Failed`] that names the user.
//!
//! # Deadlines
//!
//! Every call ends within the timeout given to [`Database::connect`], whatever becomes of the server
//! and the network: libpq itself waits for ever for a server that fell silent while its host still
//! answers, so a thread of this crate shuts the socket down when a call is overdue. That needs the
//! system call `pidfd_getfd`; where a filter forbids that, the log says so once, and each call runs on
//! a thread of its own that may be given up. [`Database::migrate`] has five minutes.
//!
//! # Poolers
//!
//! `PgBouncer` works with `pool_mode = session`. Transaction and statement mode do not: settings of a
//! session, prepared statements and the lock of a migration belong to one connection.
//!
//! Deadlines, and what is set on the server for them: [libpq's parameters][libpq] and
//! [`statement_timeout`][client].
//!
//! [libpq]: https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS
//! [client]: https://www.postgresql.org/docs/current/runtime-config-client.html#GUC-STATEMENT-TIMEOUT
//!
//! # Threads
//!
//! All public types are `Send` and `Sync`, and a [`Database`] is cheap to clone. Every call blocks; in an asynchronous
//! program, with tokio:
//!
//! ```no_run
//! use pbx_persistence::{Database, DatabaseError, UserList};
//!
//! async fn list(database: Database) -> Result<UserList, DatabaseError> {
//!     let list = tokio::task::spawn_blocking(move || database.users().list());
//!     list.await.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()))
//! }
//! ```
//!
//! Dropping the future does not end the call, which ends at its timeout.

#![warn(missing_debug_implementations)]

mod apply_history;
mod apply_log;
mod apply_row;
mod change;
mod conninfo;
mod database;
mod error;
mod inspection;
mod list;
mod migrations;
mod own_thread;
mod schema;
mod session;
mod socket;
mod timestamp;
mod user_row;
mod users;
mod watchdog;
mod writer;

pub use apply_history::{LoggedApply, Waiting};
pub use apply_log::{ApplyLog, StartedApply};
pub use conninfo::Address;
pub use database::Database;
pub use error::{CreateUserError, DatabaseError, ErrorDetail};
pub use inspection::{DatabaseInspection, Protection, ReadOnly};
pub use list::{ChangeToken, UserList};
pub use users::UserRepository;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_public_may_go_to_other_threads() {
        fn check<T: Send + Sync + 'static>() {}
        check::<Database>();
        check::<UserRepository>();
        check::<ApplyLog>();
        check::<UserList>();
        check::<LoggedApply>();
        check::<Waiting>();
        check::<CreateUserError>();
    }
}
