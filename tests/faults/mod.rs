//! Whatever happens during `POST /apply`: the answer is true, one whole pair of files is on disk, Asterisk runs it, the
//! phones stay registered, and the audit record says how it was.
//!
//! On a real Asterisk and a real PostgreSQL, with a program in front of the one that misbehaves on command.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test's helper that fails fails the test")]
#![expect(
    clippy::disallowed_methods,
    reason = "a test does to files and processes what an administrator or a crash would"
)]

mod callers;
mod calls;
mod clock;
mod conflicts;
mod database;
mod disk;
mod down;
mod drift;
mod hang;
mod histories;
mod kill;
mod lies;
mod matrix;
pub(crate) mod mounts;
mod not_ours;
mod plans;
mod processes;
mod purge;
mod queue;
mod soak;
mod socket;
mod strace;
pub(crate) mod world;
