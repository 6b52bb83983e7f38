//! One attempt, from its locked to its answer.

use std::time::{Duration, Instant, SystemTime};

use pbx_asterisk::{Difference, LockError, LockedDeployment, Pair};
use pbx_domain::{ApplyId, ApplyOutcome, ApplyRecord, Changes, InstalledFile, Timings};
use pbx_persistence::{StartedApply, UserList};
use sha2::{Digest as _, Sha256};

use super::{Applier, Inner, Proven, options, verdict};
use crate::{
    apply_response::{ApplyResponse, LiveResponse, OutcomeResponse},
    problem::{Code, Problem},
};

pub(super) struct Attempt {
    pub(super) applier: Applier,
    pub(super) actor: Option<String>,
    pub(super) request_id: String,
    pub(super) started_at: SystemTime,
    pub(super) deadline: Instant,
}

impl Attempt {
    /// The whole apply: everything from the snapshot to the closed record.
    pub(super) fn apply(self) -> Result<ApplyResponse, Problem> {
        let inner = &*self.applier.0;
        let mut locked = match inner.deployment.lock(self.deadline) {
            Ok(locked) => locked,
            Err(error) => return self.without_lock(error),
        };
        let began = Instant::now();
        inner.audit.close_open_records(&locked, &inner.deployment)?;
        let id = ApplyId::generate();
        let list = inner.audit.begin(StartedApply {
            id,
            node: inner.node.clone(),
            actor: self.actor.clone(),
            request_id: self.request_id.clone(),
            started_at: self.started_at,
        });
        // Whether the record was opened is not known where the database fell silent.
        let list = list.inspect_err(|_| inner.audit.close_later(&inner.deployment))?;
        let mut record = self.record(id, &list);
        record.timings.snapshot = began.elapsed();

        let outcome = self.deploy(&mut locked, &list, &mut record);
        record.duration = self.started_at.elapsed().unwrap_or_default();
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
        if let Err(error) = inner.audit.finish(&record) {
            inner.audit.finish_later(&record, &locked, &inner.deployment);
            return Err(Problem::from(error).with_apply(answer));
        }
        match code {
            None => Ok(answer),
            Some(code) => Err(Problem::new(code, record.detail.unwrap_or_default()).with_apply(answer)),
        }
    }

    /// Renders, deploys, and writes into the record how it went; the code where it failed.
    fn deploy(&self, locked: &mut LockedDeployment<'_>, list: &UserList, record: &mut ApplyRecord) -> Result<(), Code> {
        let inner = &*self.applier.0;
        let pair = self.render(list, record).map_err(|error| refuse(record, Code::Internal, &error))?;
        let proven = Proven { id: record.id, revision: record.revision };
        let result = locked.deploy(&pair, &proven.to_string(), self.deadline);
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
                record.warnings = verdict::warnings(&deployed);
                // The same pair may be of a later revision, or of a database that was restored.
                let former: Option<Proven> = locked.last_proven().and_then(|(tag, _)| tag.parse().ok());
                let is_current = former.is_some_and(|former| {
                    former == proven
                        || (former.revision == proven.revision && inner.audit.knows(former.id).unwrap_or_default())
                });
                if !is_current {
                    locked
                        .retag(&proven.to_string())
                        .map_err(|error| refuse(record, Code::InstallFailed, &error.into()))?;
                }
                Ok(())
            }
            Err(failure) => {
                let (outcome, code, mut detail) = verdict::of_failure(&failure);
                if let Some(fix) = options::fix(&inner.deployment, &inner.endpoint_options, &failure) {
                    detail = format!("{detail} To fix: {fix}.");
                }
                record.outcome = outcome;
                record.detail = Some(detail);
                Err(code)
            }
        }
    }

    /// What an apply would do, and whether all is still as last applied. Leaves no trace.
    pub(super) fn plan(self) -> Result<ApplyResponse, Problem> {
        let inner = &*self.applier.0;
        let locked = inner.deployment.lock(self.deadline).map_err(no_lock)?;
        let began = Instant::now();
        let list = inner.audit.list()?;
        let mut record = self.record(ApplyId::generate(), &list);
        record.timings.snapshot = began.elapsed();
        let pair = self.render(&list, &mut record).map_err(Problem::internal)?;
        record.changes = changes(&locked.difference(&pair).map_err(Problem::internal)?);
        let began = Instant::now();
        let problems = inner.deployment.drift(self.deadline);
        record.timings.verify = began.elapsed();
        record.duration = self.started_at.elapsed().unwrap_or_default();
        Ok(ApplyResponse {
            id: None,
            outcome: OutcomeResponse::Planned,
            live: Some(LiveResponse { matches: problems.is_empty(), problems }),
            ..ApplyResponse::from(&record)
        })
    }

    /// Records an attempt that got no locked.
    pub(super) fn without_lock(self, error: LockError) -> Result<ApplyResponse, Problem> {
        let Inner { audit, .. } = &*self.applier.0;
        let problem = no_lock(error);
        let list = audit.list()?;
        let mut record = self.record(ApplyId::generate(), &list);
        record.detail = Some(problem.detail().to_owned());
        record.duration = self.started_at.elapsed().unwrap_or_default();
        audit.finish(&record)?;
        Err(problem.with_apply(ApplyResponse::from(&record)))
    }

    /// The record of an attempt that has changed nothing yet.
    fn record(&self, id: ApplyId, list: &UserList) -> ApplyRecord {
        ApplyRecord {
            id,
            node: self.applier.0.node.clone(),
            actor: self.actor.clone(),
            request_id: self.request_id.clone(),
            revision: list.revision,
            users: list.users.len(),
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

    fn render(&self, list: &UserList, record: &mut ApplyRecord) -> anyhow::Result<Pair> {
        let began = Instant::now();
        let rendering = self.applier.0.renderer.render(&list.users)?;
        record.timings.render = began.elapsed();
        let pair = Pair { endpoints: rendering.endpoints.into(), dialplan: rendering.routing.into() };
        let files = &self.applier.0.files;
        record.files = [(&files.endpoints, &pair.endpoints), (&files.dialplan, &pair.dialplan)]
            .map(|(path, content)| InstalledFile {
                path: path.display().to_string(),
                sha256: base16ct::lower::encode_string(&Sha256::digest(content)),
                bytes: content.len() as u64,
            })
            .into();
        Ok(pair)
    }
}

/// What is said to whoever gets no locked.
pub(super) fn no_lock(error: LockError) -> Problem {
    match error {
        LockError::Busy => Problem::new(
            Code::ApplyBusy,
            "Other applies took all the time that this one had; apply again when they are done. Nothing was changed.",
        ),
        error => Problem::new(Code::InstallFailed, format!("{error}. Nothing was changed.")).caused_by(error),
    }
}

/// Notes a failure that changed nothing.
fn refuse(record: &mut ApplyRecord, code: Code, error: &anyhow::Error) -> Code {
    log::error!("apply {}: {error:#}", record.id);
    record.outcome = ApplyOutcome::Refused;
    record.detail = Some(match code {
        Code::Internal => "The portal failed; its log has the reason. Nothing was changed.".to_owned(),
        _ => format!("{error}. Nothing was changed."),
    });
    code
}

fn changes(difference: &Difference) -> Changes {
    let extensions = |names: &[String]| names.iter().filter_map(|name| name.parse().ok()).collect();
    Changes {
        added: extensions(&difference.added),
        removed: extensions(&difference.removed),
        changed: extensions(&difference.changed),
    }
}
