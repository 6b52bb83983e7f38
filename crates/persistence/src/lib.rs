#![doc = include_str!("../README.md")]
//!
//! # Invariants
//!
//! - Every committed change of a user moves its tenant's [`Revision`](pbx_domain::Revision) by
//!   one, in the same transaction; the row lock of that update orders all writers. A trigger does
//!   the same for hand-written SQL.
//! - Every statement that changes a user makes a new [`ChangeToken`], hand-written SQL included. So
//!   what was read with a token is still true where the token is still there, also after a restore
//!   or a failover that lost commits.
//! - Every writer locks the tenant's row before any other, so that writers wait for each other and
//!   do not deadlock. `UNIQUE` is the last guard of an extension.
//! - A rule of `pbx-domain` that SQL can say is a named constraint as well. A row that breaks a
//!   rule all the same is a [`DatabaseError::Failed`] that names the user.
//! - Nothing is retried that might have been committed. Whatever surely was not is tried again
//!   when a pooled connection turns out to be dead, so that a restart or a failover of PostgreSQL
//!   costs no error.
//!
//! # Deadlines
//!
//! Getting a connection takes at most the timeout given to [`Database::connect`], and so does one
//! statement on a server that is alive, or a host that is gone (`tcp_user_timeout`). A server
//! that is *frozen* (stopped, or starved, while its host still answers) cannot be told from a
//! slow one by libpq, whose calls have no time limit: who must answer in time sets a deadline of
//! their own around the call, and gives up waiting for the thread.
//!
//! Deadlines, and what is set on the server for them: [libpq's parameters][libpq] and
//! [`statement_timeout`][client].
//!
//! [libpq]: https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS
//! [client]: https://www.postgresql.org/docs/current/runtime-config-client.html#GUC-STATEMENT-TIMEOUT
//!
//! # Example
//!
//! `examples/report.rs`, which a test runs against a real PostgreSQL:
//!
#![doc = "```no_run"]
#![doc = include_str!("../examples/report.rs")]
#![doc = "```"]
#![warn(missing_debug_implementations)]

mod apply_log;
mod change;
mod conninfo;
mod database;
mod error;
mod list;
mod own_thread;
mod query;
mod row;
mod schema;
mod session;
mod socket;
mod timestamp;
mod users;
mod watchdog;
mod writer;

pub use apply_log::{ApplyLog, StartedApply};
pub use database::Database;
pub use error::{CreateUserError, DatabaseError, DeleteUserError, ErrorDetail};
pub use list::{ChangeToken, UserList};
pub use users::{Standing, UserRepository};

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
        check::<CreateUserError>();
        check::<DeleteUserError>();
    }
}
