//! One attempt, from taking the lock to the response.

use std::thread;
use std::time::{Duration, Instant, SystemTime};

use actix_web::web;
use pbx_asterisk::{Difference, Drift, LockError, LockedDeployment, Pair, UnreadablePair};
use pbx_confgen::RenderError;
use pbx_domain::{ApplyId, ApplyOutcome, ApplyRecord, Changes, DatabaseId, InstalledFile, Revision, Timings};
use pbx_persistence::{DatabaseError, StartedApply, UserList};
use sha2::{Digest as _, Sha256};

use super::audit::AuditError;
use super::claim::Tag;
use super::not_ours::{NotOurs, not_ours};
use super::plan::{self, Review};
use super::verdict;
use crate::http::apply_response::{ApplyResponse, LiveResponse, OutcomeResponse};
use crate::http::problem::{Code, Problem};
use crate::http::request_id::RequestId;
use crate::{AppState, Settings};

pub(super) struct Attempt {
    pub(super) state: web::Data<AppState>,
    pub(super) actor: Option<String>,
    pub(super) request_id: String,
    pub(super) review: Review,
    pub(super) started_at: SystemTime,
    /// The same moment on a clock that never steps.
    pub(super) began: Instant,
    pub(super) deadline: Instant,
}

impl Attempt {
    /// The whole apply: everything from the snapshot to the closed record.
    pub(super) fn apply(self) -> Result<ApplyResponse, Problem> {
        let applier = &self.state.applier;
        let mut locked = match applier.deployment.lock(self.deadline) {
            Ok(locked) => locked,
            Err(error) => return self.without_lock(error),
        };
        let began = Instant::now();
        let id = ApplyId::generate();
        let started = StartedApply {
            id,
            node: self.state.settings.node.clone(),
            actor: self.actor.clone(),
            request_id: self.request_id.clone(),
            started_at: self.started_at,
        };
        let list = match applier.audit.begin(&locked, &started) {
            Ok(list) => list,
            Err(error) => return Err(self.not_begun(id, error, Some(&locked))),
        };
        let mut record = self.record(id, list.revision, list.users.len());
        record.timings.snapshot = began.elapsed();

        let outcome = self.deploy(&mut locked, &list, began - self.began, &mut record);
        record.duration = self.began.elapsed();
        let code = outcome.err();
        let level = if code.is_none() { log::Level::Info } else { log::Level::Error };
        log::log!(
            level,
            "apply {id}: {} at revision {} with {} users in {} ms{}",
            record.outcome,
            record.revision,
            record.users,
            record.duration.as_millis(),
            record.detail.as_deref().map(|detail| format!(": {detail}")).unwrap_or_default()
        );
        let answer = ApplyResponse::from(&record);
        if let Err(error) = applier.audit.finish(&record, list.database, &locked) {
            return Err(Problem::from(error).with_apply(answer));
        }
        match code {
            None => Ok(answer),
            Some(code) => Err(Problem::new(code, record.detail.unwrap_or_default()).with_apply(answer)),
        }
    }

    /// The problem of an apply that could not read the users, whose record may be open.
    fn not_begun(&self, id: ApplyId, error: AuditError, locked: Option<&LockedDeployment<'_>>) -> Problem {
        let mut record = self.record(id, Revision::default(), 0);
        let is_silent = matches!(error, AuditError::Database(DatabaseError::Unavailable(_)));
        // As after SQL that disabled a rule.
        let is_unreadable = matches!(error, AuditError::Database(DatabaseError::Failed(_)));
        let mut problem = Problem::from(error);
        if is_silent {
            problem.document.detail.push_str(" Nothing was changed.");
        }
        let unreadable = "The users could not be read; the portal's log has the reason. Nothing was changed.";
        record.detail = Some(if is_unreadable { unreadable.to_owned() } else { problem.document.detail.clone() });
        record.duration = self.began.elapsed();
        self.state.applier.audit.remember(&record);
        if let Some(locked) = locked {
            self.state.applier.audit.refuse(&record, is_silent, locked);
        }
        problem.with_apply(ApplyResponse::from(&record))
    }

    /// Renders, deploys, and writes into the record how it went; the code where it failed.
    fn deploy(
        &self,
        locked: &mut LockedDeployment<'_>,
        list: &UserList,
        waited: Duration,
        record: &mut ApplyRecord,
    ) -> Result<(), Code> {
        let pair = self.render(list, record).map_err(|error| {
            log::error!("apply {}: {error}", record.id);
            record.detail = Some(format!("The users cannot be rendered: {error}. Nothing was changed."));
            Code::Internal
        })?;
        if let Some((code, detail)) = self.objection(locked, &pair, list.database) {
            record.changes = planned_changes(locked, &pair).unwrap_or_default();
            record.detail = Some(detail);
            return Err(code);
        }
        let tag = Tag {
            id: record.id,
            revision: record.revision,
            database: Some(list.database),
            node: Some(record.node.clone()),
        };
        let result = locked.deploy(&pair, &tag.to_string(), self.deadline);
        let (difference, times) = match &result {
            Ok(deployed) => (&deployed.difference, deployed.times),
            Err(failure) => (&failure.difference, failure.times),
        };
        record.changes = changes(difference);
        record.timings.install = times.install;
        record.timings.reload = times.reload;
        record.timings.verify = times.verify;
        record.timings.purge = times.purge;
        match result {
            Ok(deployed) => {
                record.outcome = if deployed.is_changed { ApplyOutcome::Applied } else { ApplyOutcome::Unchanged };
                record.warnings = verdict::warnings(&deployed.foreign, &list.users);
                record.warnings.extend(verdict::unpurged(&deployed.unpurged));
                // The same pair may be of a later revision by now, of another database, or proven on another node.
                let last = locked.last_proven().and_then(|(last, _)| last.parse::<Tag>().ok());
                let is_current = last.is_some_and(|last| Tag { id: tag.id, ..last } == tag);
                if !is_current && let Err(error) = locked.retag(&tag.to_string()) {
                    // The pair is live and proven all the same.
                    log::warn!("apply {}: {error}", record.id);
                    record.warnings.push(format!("applied_revision could not be moved to {}: {error}", tag.revision));
                }
                Ok(())
            }
            Err(failure) => {
                let Settings { asterisk, .. } = &self.state.settings;
                let fix = verdict::options_fix(&self.state.applier.deployment, &asterisk.endpoint_options, &failure);
                let (outcome, code, detail) =
                    verdict::of_failure(&failure, fix.as_deref(), waited, asterisk.command_timeout);
                record.outcome = outcome;
                record.detail = Some(detail);
                Err(code)
            }
        }
    }

    /// Why the plan is refused: it would replace a file of the administrator's, is not the reviewed one, or has to be reviewed
    /// first.
    fn objection(&self, locked: &LockedDeployment<'_>, pair: &Pair, database: DatabaseId) -> Option<(Code, String)> {
        let others = not_ours(&self.state.settings, &self.state.applier.deployment);
        if !others.is_empty() {
            let each = others.iter().map(|file| format!("{file}; to fix: {}", file.fix()));
            let each = each.collect::<Vec<_>>().join(". ");
            return Some((Code::InstallFailed, format!("{each}. Nothing was changed, on disk or live.")));
        }
        // Nobody asks for the digests of both pairs where nothing was reviewed.
        if self.review.is_given() {
            let plan = plan::etag(last_pair(locked), pair);
            return self.review.objection(&plan).map(|detail| (Code::PlanChanged, detail.to_owned()));
        }
        let losses = self.losses(locked, pair, database)?;
        Some((
            Code::OtherDatabase,
            format!(
                "{losses}. If this is the wrong database, correct DATABASE_URL and restart the portal. If it is meant, look \
                 at POST /apply?dry_run=true, and apply with its ETag in If-Match. Nothing was changed."
            ),
        ))
    }

    /// What becomes of the users in Asterisk, where `pair` is another database's.
    fn losses(&self, locked: &LockedDeployment<'_>, pair: &Pair, database: DatabaseId) -> Option<String> {
        let (tag, last) = locked.last_proven()?;
        let tag: Tag = tag.parse().ok()?;
        tag.losses_to_another_database(database, &self.state.database.apply_log(), last, pair)
    }

    /// What an apply would do, and whether all is still as last applied, with the entity tag of the plan. Leaves no trace.
    pub(super) fn plan(self) -> Result<(ApplyResponse, String), Problem> {
        let deployment = &self.state.applier.deployment;
        let locked = deployment.lock(self.deadline).map_err(no_lock)?;
        let request_id = RequestId::current();
        let drift = || {
            let began = Instant::now();
            let drift = || deployment.drift(self.deadline);
            (request_id.map_or_else(drift, |id| id.sync_scope(drift)), began.elapsed())
        };
        // PostgreSQL and Asterisk are asked side by side: neither answer depends on the other.
        let (planned, drift) = thread::scope(|scope| {
            let drift = scope.spawn(drift);
            (self.planned(&locked), drift.join())
        });
        let (list, mut record, plan) = planned?;
        let (Drift { problems, foreign, unpurged, .. }, took) =
            drift.map_err(|_| Problem::internal(anyhow::anyhow!("the look at what Asterisk runs ended in a panic")))?;
        record.warnings.extend(verdict::warnings(&foreign, &list.users));
        record.warnings.extend(verdict::unpurged(&unpurged));
        record.timings.verify = took;
        record.duration = self.began.elapsed();
        let answer = ApplyResponse {
            id: None,
            outcome: OutcomeResponse::Planned,
            live: Some(LiveResponse { matches: problems.is_empty(), problems }),
            ..ApplyResponse::from(&record)
        };
        Ok((answer, plan))
    }

    /// The users of this moment, what an apply of them would change, and the entity tag of that plan.
    fn planned(&self, locked: &LockedDeployment<'_>) -> Result<(UserList, ApplyRecord, String), Problem> {
        let began = Instant::now();
        let list = self.state.database.users().list()?;
        let mut record = self.record(ApplyId::generate(), list.revision, list.users.len());
        record.timings.snapshot = began.elapsed();
        let pair = self.render(&list, &mut record).map_err(|error| {
            let detail = format!("The users cannot be rendered: {error}.");
            Problem::new(Code::Internal, detail).caused_by(error)
        })?;
        let plan = plan::etag(last_pair(locked), &pair);
        if let Some(detail) = self.review.objection(&plan) {
            return Err(Problem::new(Code::PlanChanged, detail));
        }
        record.changes = planned_changes(locked, &pair).map_err(Problem::internal)?;
        if let Some(losses) = self.losses(locked, &pair, list.database) {
            record.warnings.push(format!("{losses}; an apply needs If-Match with this answer's ETag"));
        }
        let refused = |file: &NotOurs<'_>| format!("{file}; an apply is refused; to fix: {}", file.fix());
        record.warnings.extend(not_ours(&self.state.settings, &self.state.applier.deployment).iter().map(refused));
        Ok((list, record, plan))
    }

    /// Records an attempt that did not get the lock.
    pub(super) fn without_lock(self, error: LockError) -> Result<ApplyResponse, Problem> {
        let audit = &self.state.applier.audit;
        let problem = no_lock(error);
        let id = ApplyId::generate();
        let list = self.state.database.users().list().map_err(|error| self.not_begun(id, error.into(), None))?;
        let mut record = self.record(id, list.revision, list.users.len());
        record.detail = Some(problem.document.detail.clone());
        record.duration = self.began.elapsed();
        let answer = ApplyResponse::from(&record);
        match audit.record(&record) {
            Ok(()) => Err(problem.with_apply(answer)),
            Err(error) => Err(Problem::from(error).with_apply(answer)),
        }
    }

    /// The record of an attempt that has changed nothing yet.
    fn record(&self, id: ApplyId, revision: Revision, users: usize) -> ApplyRecord {
        ApplyRecord {
            id,
            node: self.state.settings.node.clone(),
            actor: self.actor.clone(),
            request_id: self.request_id.clone(),
            revision,
            users,
            outcome: ApplyOutcome::Refused,
            detail: None,
            warnings: Vec::new(),
            changes: Changes::default(),
            files: Vec::new(),
            started_at: self.started_at,
            duration: Duration::ZERO,
            timings: Timings::default(),
        }
    }

    fn render(&self, list: &UserList, record: &mut ApplyRecord) -> Result<Pair, RenderError> {
        let began = Instant::now();
        let pair = super::rendered(&self.state.applier.renderer, &list.users)?;
        record.timings.render = began.elapsed();
        let Settings { asterisk, .. } = &self.state.settings;
        record.files = [(&asterisk.pjsip_include, &pair.endpoints), (&asterisk.dialplan_include, &pair.dialplan)]
            .map(|(path, content)| InstalledFile {
                path: path.display().to_string(),
                sha256: base16ct::lower::encode_string(&Sha256::digest(content)),
                bytes: content.len() as u64,
            })
            .into();
        Ok(pair)
    }
}

/// The problem of a caller that does not get the lock.
pub(super) fn no_lock(error: LockError) -> Problem {
    match error {
        LockError::Busy => Problem::new(
            Code::ApplyBusy,
            "Other applies took all the time that this one had; apply again when they are done. Nothing was changed.",
        ),
        error @ LockError::State(_) => {
            Problem::new(Code::InstallFailed, format!("{error}. Nothing was changed.")).caused_by(error)
        }
    }
}

fn last_pair<'a>(locked: &'a LockedDeployment<'_>) -> Option<&'a Pair> {
    locked.last_proven().map(|(_, pair)| pair)
}

/// What this pair changes against the pair last proven.
fn planned_changes(locked: &LockedDeployment<'_>, pair: &Pair) -> Result<Changes, UnreadablePair> {
    let last = last_pair(locked);
    if last == Some(pair) {
        return Ok(Changes::default());
    }
    let (former, wanted) = plan::expected(last, pair)?;
    Ok(changes(&wanted.difference(&former)))
}

fn changes(difference: &Difference) -> Changes {
    let extensions = |names: &[String]| names.iter().filter_map(|name| name.parse().ok()).collect();
    Changes {
        added: extensions(&difference.added),
        removed: extensions(&difference.removed),
        changed: extensions(&difference.changed),
    }
}
