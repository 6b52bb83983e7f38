//! What `POST /apply` answers, and what a problem says of an apply.

use std::time::Duration;

use pbx_domain::{ApplyOutcome, ApplyRecord, Extension, InstalledFile};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::http::body::rfc3339;

/// One apply.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Apply)]
pub(crate) struct ApplyResponse {
    /// The id of the audit record; null for a dry run, which leaves none.
    #[schema(required = true)]
    pub id: Option<Uuid>,
    /// How it ended.
    pub outcome: OutcomeResponse,
    /// The revision it was made of.
    #[schema(minimum = 0, example = 42)]
    pub revision: i64,
    /// How many users that revision has.
    #[schema(minimum = 0, example = 100)]
    pub users: usize,
    /// What it changes against the pair of files in the state directory, which was proven last.
    pub changes: ChangesResponse,
    /// What the administrator should know although the apply did not fail.
    pub warnings: Vec<String>,
    /// The files as rendered.
    pub files: Vec<FileResponse>,
    /// Who asked for it: the name of the token; null where no token is needed.
    #[schema(example = "ops", required = true)]
    pub actor: Option<String>,
    /// When it began.
    #[schema(format = DateTime, example = "2026-11-20T12:45:00.123456Z")]
    pub started_at: String,
    /// How long all of it took, in milliseconds.
    #[schema(minimum = 0, example = 131.2)]
    pub duration_ms: f64,
    /// How long its steps took.
    pub timings_ms: TimingsResponse,
    /// What a dry run finds in place.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub live: Option<LiveResponse>,
}

/// How an apply ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ApplyOutcome)]
pub(crate) enum OutcomeResponse {
    /// A dry run: nothing was written or reloaded.
    Planned,
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

impl From<ApplyOutcome> for OutcomeResponse {
    fn from(outcome: ApplyOutcome) -> Self {
        match outcome {
            ApplyOutcome::Applied => Self::Applied,
            ApplyOutcome::Unchanged => Self::Unchanged,
            ApplyOutcome::Refused => Self::Refused,
            ApplyOutcome::RolledBack => Self::RolledBack,
            ApplyOutcome::Interrupted => Self::Interrupted,
            ApplyOutcome::RollbackFailed => Self::RollbackFailed,
        }
    }
}

/// What an apply changes.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Changes)]
pub(crate) struct ChangesResponse {
    /// Extensions that had no user before.
    #[schema(example = json!([1000, 1001]))]
    pub added: Vec<u16>,
    /// Extensions that have no user any more.
    pub removed: Vec<u16>,
    /// Extensions with another name, credential or owner, or with other options of all endpoints.
    pub changed: Vec<u16>,
}

/// One include file.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = IncludeFile)]
pub(crate) struct FileResponse {
    /// Its path.
    #[schema(example = "/etc/asterisk/pjsip.d/synergycall/generated_endpoints.conf")]
    pub path: String,
    /// The SHA-256 of its content.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    pub sha256: String,
    /// Its length.
    #[schema(minimum = 0)]
    pub bytes: u64,
}

/// How long the steps of an apply took, in milliseconds; those of a dry run overlap. 0 for a step that was not reached.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Timings)]
pub(crate) struct TimingsResponse {
    /// Reading users and revision.
    pub snapshot: f64,
    /// Making the text of both files.
    pub render: f64,
    /// Writing both files and what a rollback needs.
    pub install: f64,
    /// Asterisk's reload, with retries while it was busy.
    pub reload: f64,
    /// Reading the live state back.
    pub verify: f64,
    /// Removing the registrations of former owners.
    pub purge: f64,
}

/// What a dry run finds: whether files and Asterisk still are what was last proven on this node.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Live)]
pub(crate) struct LiveResponse {
    /// Whether they are.
    pub matches: bool,
    /// In what they differ.
    pub problems: Vec<String>,
}

impl From<&ApplyRecord> for ApplyResponse {
    fn from(record: &ApplyRecord) -> Self {
        let numbers = |extensions: &[Extension]| extensions.iter().map(|extension| extension.get()).collect();
        let file = |InstalledFile { path, sha256, bytes }: &InstalledFile| FileResponse {
            path: path.clone(),
            sha256: sha256.clone(),
            bytes: *bytes,
        };
        let ApplyRecord { changes, timings, .. } = record;
        Self {
            id: Some(record.id.as_uuid()),
            outcome: record.outcome.into(),
            revision: record.revision.get(),
            users: record.users,
            changes: ChangesResponse {
                added: numbers(&changes.added),
                removed: numbers(&changes.removed),
                changed: numbers(&changes.changed),
            },
            warnings: record.warnings.clone(),
            files: record.files.iter().map(file).collect(),
            actor: record.actor.clone(),
            started_at: rfc3339(record.started_at),
            duration_ms: milliseconds(record.duration),
            timings_ms: TimingsResponse {
                snapshot: milliseconds(timings.snapshot),
                render: milliseconds(timings.render),
                install: milliseconds(timings.install),
                reload: milliseconds(timings.reload),
                verify: milliseconds(timings.verify),
                purge: milliseconds(timings.purge),
            },
            live: None,
        }
    }
}

/// To the microsecond.
fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

/// An example for the description of the API.
pub(crate) fn example() -> Value {
    let file = |path: &str, digit: &str, bytes: u64| json!({"path": path, "sha256": digit.repeat(64), "bytes": bytes});
    json!({
        "id": "01a1f927-2ff0-7467-8631-f8436b69a64f", "outcome": "applied", "revision": 42, "users": 100,
        "changes": {"added": [1000, 1001], "removed": [], "changed": []}, "warnings": [],
        "files": [
            file("/etc/asterisk/pjsip.d/synergycall/generated_endpoints.conf", "0", 34_567),
            file("/etc/asterisk/extensions.d/synergycall/generated_routing.conf", "1", 4_567),
        ],
        "actor": "ops", "started_at": "2026-11-20T12:45:00.123456Z", "duration_ms": 131.2,
        "timings_ms": {"snapshot": 2.1, "render": 1.4, "install": 3.2, "reload": 70.9, "verify": 53.6, "purge": 0.0},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_milliseconds_to_the_microsecond() {
        let shown =
            [0, 999_499, 1_234_567, 2_000_000_000].map(|nanoseconds| milliseconds(Duration::from_nanos(nanoseconds)));
        assert_eq!(serde_json::to_string(&shown).unwrap(), "[0.0,0.999,1.235,2000.0]");
    }
}
