//! What a user is called, and what a phone calls itself: neither may mean anything to Asterisk, and a name reaches the
//! called phone's display as it was given.
#![expect(clippy::disallowed_methods, reason = "a test writes what the portal would, and starts phones")]
#![expect(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test that fails says so at once")]

mod call;
mod contact;
mod parser;
mod roll_call;
