use crate::ask::reload::ReloadError;
use crate::ask::whole_answers::Unread;
use crate::deploy::uncovered::Uncovered;
use crate::files::file::FileError;
use crate::proof::mismatch::{Mismatch, Names};
use crate::text::expected::UnreadablePair;

/// Why the host's lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another apply held the host's lock all the time.
    #[error("another apply is running; apply again when it is done")]
    Busy,
    /// The state directory cannot be used.
    #[error(transparent)]
    State(#[from] FileError),
}

/// Why a pair is not what Asterisk runs now.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// Asterisk did not answer before anything was touched.
    #[error(transparent)]
    Unavailable(ReloadError),
    /// The pair is not one that could be proven.
    #[error(transparent)]
    Unprovable(#[from] UnreadablePair),
    /// The deployment is strict, and no proof covers these options.
    #[error("cannot be proven, as no listing shows them and no name is their digest (`name_by_digest`): {}", shown(.0))]
    Uncovered(Vec<Uncovered>),
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// Asterisk did not reload.
    #[error(transparent)]
    Reload(ReloadError),
    /// Asterisk did not say what it runs.
    #[error("what Asterisk runs could not be read: {0}")]
    Unread(Unread),
    /// Asterisk runs something else.
    #[error("Asterisk does not run what was installed: {0}")]
    NotProven(Box<Mismatch>),
    /// Asterisk runs the pair, as it did before, and its configuration keeps it from reading the files: after its next start
    /// it would run something else, and it may keep settings that no listing shows.
    #[error("what Asterisk runs is what it ran before, and its configuration keeps it from reading what was installed")]
    NotTaken,
    /// This program failed in the middle of a proof; its log has the reason.
    #[error("the proof failed for a fault of this program, which is in its log")]
    Panicked,
}

fn shown(uncovered: &[Uncovered]) -> String {
    Names(&uncovered.iter().map(ToString::to_string).collect::<Vec<_>>()).to_string()
}

/// By hand, so that it is no source as well: the message has it already.
impl From<Unread> for Cause {
    fn from(error: Unread) -> Self {
        Self::Unread(error)
    }
}

/// The state that a failed deployment left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Aftermath {
    /// Nothing was changed, on disk or live.
    Untouched,
    /// The former pair is back on disk, and Asterisk was proven to run it.
    RolledBack,
    /// The former pair is back on disk; what Asterisk runs could not be proven.
    NotProven {
        /// Why not.
        reason: String,
    },
    /// The former pair could not be restored; it is safe in the state directory, and the next
    /// [`Deployment::lock`](crate::Deployment::lock) tries again.
    NotRestored {
        /// Why not.
        reason: String,
    },
}
