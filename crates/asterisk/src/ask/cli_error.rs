use std::io;
use std::time::Duration;

use crate::files::file::said;

/// A command without a word in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("names no program; it must be the program that reaches Asterisk, such as `asterisk`")]
pub struct EmptyCommand;

/// Why a command brought no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CliError {
    /// The program is not there or may not be run.
    #[error("`{program}` cannot be started: {}", said(.error))]
    CannotStart {
        /// The first word of the command.
        program: String,
        /// What the system said.
        error: io::Error,
    },
    /// The program runs, and finds no Asterisk to talk to.
    #[error("Asterisk is not running, or its socket may not be used: {words}")]
    NotRunning {
        /// What the program said.
        words: String,
    },
    /// Asterisk's `cli_permissions.conf` keeps this user from it: nothing was done.
    #[error("Asterisk does not let this user run `{command}`: cli_permissions.conf has to permit it")]
    Denied {
        /// What Asterisk was asked.
        command: String,
    },
    /// The program ended with an error of its own, could not be waited for, or said more than any answer has.
    #[error("`{command}` failed: {reason}")]
    Failed {
        /// What Asterisk was asked.
        command: String,
        /// Such as `exit status: 1`, and what it said.
        reason: String,
    },
    /// Asterisk hangs; whether it did what it was asked is not known.
    #[error("Asterisk did not answer `{command}` within {:.1} s", .after.as_secs_f64())]
    TimedOut {
        /// What Asterisk was asked.
        command: String,
        /// How long it was waited for.
        after: Duration,
    },
    /// The connection ended without an answer, as when Asterisk dies in the middle.
    #[error("Asterisk gave no answer to `{command}`{}", quoted(.words))]
    NoAnswer {
        /// What Asterisk was asked.
        command: String,
        /// What came instead of an answer.
        words: String,
    },
}

/// What was said, if anything was.
pub(crate) fn quoted(words: &str) -> String {
    if words.is_empty() { String::new() } else { format!(": {words:?}") }
}
