//! The apply that ended last on this node, kept in the state directory: whatever becomes of PostgreSQL, it is known.

use std::time::SystemTime;

use jiff::Timestamp;
use pbx_asterisk::{Deployment, FileError};
use pbx_domain::{ApplyId, ApplyOutcome};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::http::apply_response::OutcomeResponse;
use crate::http::body::rfc3339;

/// The note that holds it.
const NAME: &str = "last";

/// The apply that ended last on this node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = LastApply)]
pub(crate) struct LastApplyResponse {
    /// The id of its audit record.
    pub id: Uuid,
    /// How it ended.
    pub outcome: OutcomeResponse,
    /// When it ended, or was found to have ended before its time.
    #[schema(format = DateTime, example = "2026-11-20T12:45:00.254656Z")]
    pub finished_at: String,
}

/// How it is kept.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    /// The state directory may be a copy of another node's.
    node: String,
    last: LastApplyResponse,
}

impl LastApplyResponse {
    pub(super) fn new(id: ApplyId, outcome: ApplyOutcome, finished_at: SystemTime) -> Self {
        Self { id: id.as_uuid(), outcome: outcome.into(), finished_at: rfc3339(finished_at) }
    }

    /// Keeps it. Without the lock, as some applies never get it.
    pub(super) fn keep(&self, deployment: &Deployment, node: &str) -> Result<(), FileError> {
        let kept = deployment.write_volatile_note(NAME, &self.note(node));
        kept.inspect_err(|error| log::warn!("after a restart the list will show an older apply as the last: {error}"))
    }

    /// The one that was kept. What cannot be read is none.
    pub(super) fn kept(deployment: &Deployment, node: &str) -> Option<Self> {
        let note = deployment.note(NAME);
        Self::read(&note.inspect_err(|error| log::warn!("the last apply is not known: {error}")).ok()??, node)
    }

    pub(super) fn finished(&self) -> Option<Timestamp> {
        self.finished_at.parse().ok()
    }

    fn note(&self, node: &str) -> Vec<u8> {
        serde_json::to_vec(&Kept { node: node.to_owned(), last: self.clone() }).unwrap_or_default()
    }

    /// What a note says, unless it was not written by this program, or by another node.
    fn read(note: &[u8], own: &str) -> Option<Self> {
        let Kept { node, last } = serde_json::from_slice(note).ok()?;
        (node == own && last.finished().is_some()).then_some(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_that_is_cut_or_changed_is_none() {
        let last = LastApplyResponse {
            id: Uuid::nil(),
            outcome: OutcomeResponse::RolledBack,
            finished_at: "2026-11-20T12:45:00.254656Z".to_owned(),
        };
        let text = String::from_utf8(last.note("pbx1")).unwrap();
        let read = |note: &[u8]| LastApplyResponse::read(note, "pbx1");
        assert_eq!(read(text.as_bytes()), Some(last));
        for end in 0..text.len() {
            assert_eq!(read(&text.as_bytes()[..end]), None, "{end}");
        }
        for (part, other) in
            [("pbx1", "pbx2"), ("rolled_back", "live"), ("2026-", "x"), ("\"id\"", "\"it\""), ("0000-", "000-")]
        {
            assert_eq!(read(text.replace(part, other).as_bytes()), None, "{other}");
        }
    }
}
