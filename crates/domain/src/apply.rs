use std::fmt;
use std::time::{Duration, SystemTime};

use crate::identity::identity;
use crate::{Extension, Revision};

identity! {
    /// The identity of one apply and of its audit record.
    ApplyId
}

/// How an apply ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ApplyOutcome {
    /// The files were replaced, and Asterisk was proven to run exactly them.
    Applied,
    /// Files and live state were already exactly this; nothing was written or reloaded.
    Unchanged,
    /// Nothing was changed, on disk or live.
    Refused,
    /// The old files are back and Asterisk was proven to run them.
    RolledBack,
    /// What Asterisk runs could not be proven. The old files are back on disk, or the detail says why not.
    RollbackFailed,
    /// The process ended in the middle; found at the next start or apply.
    Interrupted,
}

impl ApplyOutcome {
    /// The word for it in answers and audit records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Unchanged => "unchanged",
            Self::Refused => "refused",
            Self::RolledBack => "rolled_back",
            Self::RollbackFailed => "rollback_failed",
            Self::Interrupted => "interrupted",
        }
    }

    /// The outcome that this word names.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        let all =
            [Self::Applied, Self::Unchanged, Self::Refused, Self::RolledBack, Self::RollbackFailed, Self::Interrupted];
        all.into_iter().find(|outcome| outcome.as_str() == word)
    }
}

impl fmt::Display for ApplyOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What an apply changes against the pair of files last proven on its node. Each list ascends.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Extensions that had no user before.
    pub added: Vec<Extension>,
    /// Extensions that have no user any more.
    pub removed: Vec<Extension>,
    /// Extensions with another name, credential or owner, or with other options of all endpoints.
    pub changed: Vec<Extension>,
}

/// One include file of an apply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstalledFile {
    /// Its path.
    pub path: String,
    /// The SHA-256 of its content in lower-case hexadecimal.
    pub sha256: String,
    /// Its length in bytes.
    pub bytes: u64,
}

/// How long the steps of an apply took; a step that was not reached took no time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timings {
    /// Reading users and revision, and opening the audit record.
    pub snapshot: Duration,
    /// Making the text of both files.
    pub render: Duration,
    /// Writing and syncing both files, the old pair and the journal.
    pub install: Duration,
    /// Asterisk's reload, with retries while it was busy.
    pub reload: Duration,
    /// Reading the live state back, preflight included.
    pub verify: Duration,
    /// Removing the registrations of former owners.
    pub purge: Duration,
}

/// What is recorded of one apply. It holds no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApplyRecord {
    /// The identity of the apply.
    pub id: ApplyId,
    /// The node whose Asterisk it was for; not empty.
    pub node: String,
    /// Who asked for it: the name of the token, or nobody where no token is needed.
    pub actor: Option<String>,
    /// The id of the request that asked for it.
    pub request_id: String,
    /// The tenant's revision that it was made of.
    pub revision: Revision,
    /// How many users that revision has.
    pub users: usize,
    /// How it ended.
    pub outcome: ApplyOutcome,
    /// What went wrong and what to fix, where something did.
    pub detail: Option<String>,
    /// What the administrator should know although the apply did not fail.
    pub warnings: Vec<String>,
    /// What it changes.
    pub changes: Changes,
    /// The files as rendered.
    pub files: Vec<InstalledFile>,
    /// When it began.
    pub started_at: SystemTime,
    /// How long all of it took.
    pub duration: Duration,
    /// How long its steps took.
    pub timings: Timings,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_outcome_has_a_word() {
        for (outcome, word) in [
            (ApplyOutcome::Applied, "applied"),
            (ApplyOutcome::Unchanged, "unchanged"),
            (ApplyOutcome::Refused, "refused"),
            (ApplyOutcome::RolledBack, "rolled_back"),
            (ApplyOutcome::RollbackFailed, "rollback_failed"),
            (ApplyOutcome::Interrupted, "interrupted"),
        ] {
            assert_eq!((outcome.as_str(), outcome.to_string().as_str()), (word, word));
            assert_eq!(ApplyOutcome::from_word(word), Some(outcome));
        }
        assert_eq!(ApplyOutcome::from_word("Applied"), None);
    }
}
