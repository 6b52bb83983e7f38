//! What the tests use: a private PostgreSQL, a private real Asterisk, SIP phones that nobody here wrote, the real
//! program, and a stand-in for `asterisk` that misbehaves on command.
//!
//! Nothing here knows a crate of ours: it drives programs, databases and sockets, as an administrator would. Everything
//! private lies in a directory of its own below the system's temporary directory and goes with the value that made it, or,
//! where the next test takes it over, with the run.
#![expect(
    clippy::disallowed_methods,
    reason = "a test harness starts programs, writes files and reads its environment"
)]
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a harness that fails says so at once"
)]
#![expect(clippy::must_use_candidate, reason = "a test may act for the effect alone")]

pub mod asterisk;
mod asterisk_files;
pub mod cluster;
pub mod database;
mod environment;
mod hostile;
pub mod http;
mod link;
pub mod misbehaving;
mod misbehaving_socket;
pub mod patroni;
pub mod pgbouncer;
pub mod phone;
pub mod portal;
mod ports;
mod program;
pub mod proxy;
mod simple_query;
mod sipp;
mod tls;
pub mod wait;

pub use asterisk::Asterisk;
pub use cluster::Cluster;
pub use database::{Database, Transaction, bulk_users};
pub use hostile::HostileCall;
pub use http::{Http, Response};
pub use misbehaving::{Behaviour, Held, MisbehavingAsterisk};
pub use misbehaving_socket::SocketFault;
pub use patroni::Patroni;
pub use pgbouncer::PgBouncer;
pub use phone::{AnsweringPhone, Lamp, Phone};
pub use portal::{Finished, Portal, Settings};
pub use ports::Ports;
pub use program::write_script;
pub use proxy::Proxy;
pub use tls::Certificates;
pub use wait::until;
