//! `pbx-portal check` on a system that was right and is broken in one way: it says so, what it prints as the fix is run
//! as it is printed, and then it finds nothing, an apply works, and a phone calls another.
#![expect(clippy::disallowed_methods, reason = "the tests break files and run commands as an administrator would")]
#![expect(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test that fails says so at once")]

mod admin;
mod asterisk;
mod connection;
mod database;
mod files;
mod host;
mod phones;
mod report;
mod tables;
