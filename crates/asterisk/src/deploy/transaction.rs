//! One deployment from beginning to end: the new pair is verified, or the former one restored and verified.

use std::{
    cell::Cell,
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    ask::{
        asking::{Pause, Unread},
        reload::{self, ReloadError},
    },
    deploy::{
        deployment::{Deployment, LockedDeployment},
        error::{Aftermath, Cause},
        installed::{End, RolledBack, StagedDeployment, Verified},
        unproven::{self, ProvenText},
    },
    files::{file::FileError, record::Record, state_dir::StagedRecord},
    proof::{
        contacts::{Contacts, FormerOwners},
        diagnosis::{self, OwnEndpoints},
        live::{Foreign, Live},
    },
    text::{
        expected::{Difference, Expected, UnreadablePair},
        modules::{self, Modules},
        pair::Pair,
    },
};

/// How long the steps of a deployment took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StepTimes {
    /// Staging, journal and renames.
    pub install: Duration,
    /// The reload, with its retries.
    pub reload: Duration,
    /// Preflight and read-back.
    pub verify: Duration,
    /// Removing the contacts of former owners.
    pub purge: Duration,
}

/// Asterisk was proven to run the pair.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Deployed {
    /// Whether files were replaced and Asterisk reloaded; otherwise Asterisk ran the pair already.
    pub is_changed: bool,
    /// What was live and is not of the pair.
    pub foreign: Foreign,
    /// Aors that may still have a former owner's contact; the next deployment tries again.
    pub unpurged: BTreeSet<String>,
    /// What it changed against the pair last proven.
    pub difference: Difference,
    /// How long the steps took.
    pub times: StepTimes,
    pub(crate) proven: ProvenText,
}

/// A deployment that failed.
#[derive(Debug, thiserror::Error)]
#[error("{cause}")]
#[non_exhaustive]
pub struct Failure {
    /// Why.
    pub cause: Cause,
    /// What to fix, one sentence each, where it could be found out.
    pub fixes: Vec<String>,
    /// The state that it left.
    pub aftermath: Aftermath,
    /// What it would have changed against the pair last proven.
    pub difference: Difference,
    /// How long the steps took.
    pub times: StepTimes,
}

/// What is known of a deployment before it ends, however it does.
#[derive(Default)]
struct Progress {
    difference: Difference,
    kept: BTreeSet<String>,
    former: Pair,
    times: StepTimes,
}

/// The rest of [`Deployed`].
struct Success {
    is_changed: bool,
    foreign: Foreign,
    unpurged: BTreeSet<String>,
}

/// The rest of [`Failure`].
struct Failed {
    cause: Cause,
    fixes: Vec<String>,
    aftermath: Aftermath,
}

/// A bare cause means that nothing was changed.
impl From<Cause> for Failed {
    fn from(cause: Cause) -> Self {
        Self { cause, fixes: Vec::new(), aftermath: Aftermath::Untouched }
    }
}

impl From<UnreadablePair> for Failed {
    fn from(error: UnreadablePair) -> Self {
        Cause::from(error).into()
    }
}

impl From<FileError> for Failed {
    fn from(error: FileError) -> Self {
        Cause::from(error).into()
    }
}

/// Adds to `time` how long `step` takes.
fn timed<T>(time: &mut Duration, step: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let result = step();
    *time += began.elapsed();
    result
}

/// The pair to roll back to, and what must be live then, if its text can be read.
struct Former {
    pair: Pair,
    expected: Option<Arc<Expected>>,
}

impl LockedDeployment<'_> {
    /// The pair last proven, or else the one on disk.
    fn former(&self, on_disk: &Pair) -> Former {
        let pair = self.proven().map_or(on_disk, |record| &record.pair);
        let read = self.expected(pair);
        let expected = read.inspect_err(|error| log::warn!("the files on disk are not of a deployment: {error}")).ok();
        Former { pair: pair.clone(), expected }
    }

    /// Makes Asterisk run `pair` and verifies it; or rolls back: restores the former pair and verifies that.
    ///
    /// `tag`, one line, is remembered with the pair once it is proven; a pair that was the proven one already keeps its
    /// tag. Steps: preflight; nothing to do when the files are these already and the live state proves it; both files,
    /// the former pair, the journal and the records staged, so that all that follows are renames; both files renamed;
    /// reload; proof; contacts of former owners purged. After `deadline` only the verification of what was installed and
    /// the rollback still run.
    ///
    /// # Errors
    ///
    /// [`Failure`] with the cause and the state that it left.
    pub fn deploy(&mut self, pair: &Pair, tag: &str, deadline: Instant) -> Result<Deployed, Box<Failure>> {
        let mut progress = Progress::default();
        let result = self.transact(pair, tag, deadline, &mut progress);
        let Progress { difference, kept, former, times } = progress;
        match result {
            Ok(Success { is_changed, mut foreign, unpurged }) => {
                let Deployment { cli, files, .. } = self.deployment;
                let deadline = Instant::now() + cli.timeout();
                foreign.added = diagnosis::added_sections(cli, files, &pair.endpoints, deadline);
                let endpoints = Pair { endpoints: pair.endpoints.clone(), dialplan: Vec::new() };
                let proven = ProvenText { endpoints, former, trust: self.deployment.trust, kept };
                Ok(Deployed { is_changed, foreign, unpurged, difference, times, proven })
            }
            Err(Failed { cause, fixes, aftermath }) => {
                Err(Box::new(Failure { cause, fixes, aftermath, difference, times }))
            }
        }
    }

    #[expect(clippy::result_large_err, reason = "one of each deployment, which takes milliseconds")]
    fn transact(
        &mut self,
        pair: &Pair,
        tag: &str,
        deadline: Instant,
        progress: &mut Progress,
    ) -> Result<Success, Failed> {
        let files = &self.deployment.files;
        let wanted = self.expected(pair)?;
        let on_disk = files.read()?;
        let former = self.former(&on_disk);
        let before = former.expected.as_deref().unwrap_or(&NOTHING);
        progress.difference = wanted.difference(if self.proven().is_some() { before } else { &NOTHING });
        progress.kept = wanted.kept_names(before);
        progress.former.endpoints.clone_from(&former.pair.endpoints);
        if self.deployment.trust.is_strict {
            let unproven = unproven::of_pair(pair, &progress.former, self.deployment.trust, &progress.kept)?;
            if !unproven.is_empty() {
                return Err(Cause::Unproven(unproven).into());
            }
        }
        let times = &mut progress.times;

        let new_aors = wanted.new_aors(before);
        let is_on_disk = on_disk == *pair;
        let (contacts, ready) =
            timed(&mut times.verify, || self.preflight(&new_aors, is_on_disk.then_some((&*wanted, before)), deadline))?;
        let mut former_owners = FormerOwners { aors: self.pending_purges(), contacts };
        former_owners.aors.extend(wanted.aors_of_former_owners(before));
        if let Some(foreign) = ready {
            let unpurged = timed(&mut times.purge, || self.remember(pair, tag, &former_owners, deadline))?;
            return Ok(Success { is_changed: false, foreign, unpurged });
        }

        let modules = self.modules_to_reload(pair, &on_disk)?;
        let began = Instant::now();
        let (staged, purged) = self.stage(pair, &former.pair, modules, tag, former_owners.all_aors())?;
        let installed = staged.install(self.deployment);
        times.install = began.elapsed();

        // A rollback reloads what was reloaded before it.
        let modules = Cell::new(modules);
        let end = installed.verify(
            || self.reload_and_verify(&modules, &wanted, before, deadline, times),
            |cause| self.fixes(cause, &wanted),
            |cause| self.verify_former(modules.get(), &former, &wanted, cause),
        );
        match end {
            End::Verified(Verified { foreign, record, .. }) => {
                self.set_proven(record);
                let unpurged = timed(&mut times.purge, || self.purge_stale_contacts(&former_owners, purged, deadline));
                Ok(Success { is_changed: true, foreign, unpurged })
            }
            End::RolledBack(RolledBack { cause, fixes, aftermath, .. }) => Err(Failed { cause, fixes, aftermath }),
        }
    }

    /// If the files on disk are these already, a read-back that verifies them is the whole preflight, and its result is
    /// returned. Otherwise: Asterisk answers and has booted; returned are the contacts that are registered at the aors
    /// to come.
    fn preflight(
        &self,
        new_aors: &BTreeSet<String>,
        on_disk: Option<(&Expected, &Expected)>,
        deadline: Instant,
    ) -> Result<(Contacts, Option<Foreign>), Cause> {
        let cli = &self.deployment.cli;
        if let Some((wanted, before)) = on_disk {
            match self.deployment.verify(wanted, before, deadline) {
                Ok(foreign) => return Ok((Contacts::default(), Some(foreign))),
                Err(Cause::NotProven(mismatch)) => log::warn!("Asterisk does not run the files on disk: {mismatch}"),
                Err(Cause::Unread(Unread::Cli(error))) => return Err(Cause::Unavailable(error.into())),
                Err(error) => return Err(error),
            }
            // The last proof could not be repeated. Whatever comes of this deployment, that proof counts no more.
            self.deployment.state.mark_unproven()?;
        }
        reload::wait_ready(cli, deadline).map_err(Cause::Unavailable)?;
        let contacts = if new_aors.is_empty() { Contacts::default() } else { Contacts::read(cli, deadline)? };
        Ok((contacts.of(new_aors), None))
    }

    /// The pair was proven without a deployment: record it, and retry pending purges.
    fn remember(
        &mut self,
        pair: &Pair,
        tag: &str,
        former: &FormerOwners,
        deadline: Instant,
    ) -> Result<BTreeSet<String>, FileError> {
        let pending_purges = former.all_aors();
        let record = |tag: &str, unpurged| Record { tag: tag.to_owned(), unpurged, pair: pair.clone() };
        let path = self.deployment.state.proven();
        let tag = match self.proven() {
            Some(record) if record.pair == *pair => record.tag.clone(),
            _ => {
                self.set_proven(StagedRecord::new(path.clone(), record(tag, pending_purges.clone()))?.commit()?);
                tag.to_owned()
            }
        };
        self.deployment.state.mark_proven();
        if pending_purges.is_empty() {
            return Ok(pending_purges);
        }
        // All is proven and recorded: a purge that cannot be recorded is made once more.
        let purged = StagedRecord::new(path, record(&tag, BTreeSet::new()));
        let purged = purged.inspect_err(|error| log::warn!("{error}: the next deployment will purge once more")).ok();
        Ok(self.purge_stale_contacts(former, purged, deadline))
    }

    /// The aors that former deployments left a contact at.
    fn pending_purges(&self) -> BTreeSet<String> {
        self.proven().map(|record| record.unpurged.clone()).unwrap_or_default()
    }

    /// Purges the contacts of former owners, records that it is done, and returns the aors not purged.
    fn purge_stale_contacts(
        &mut self,
        former: &FormerOwners,
        purged: Option<StagedRecord>,
        deadline: Instant,
    ) -> BTreeSet<String> {
        let pending_purges = former.all_aors();
        if pending_purges.is_empty() {
            return pending_purges;
        }
        let left = match former.purge(&self.deployment.cli, deadline) {
            Ok(left) => left,
            Err(error) => {
                log::warn!("contacts of former owners may be left: {error}");
                return pending_purges;
            }
        };
        if left.is_empty() {
            match purged.map(StagedRecord::commit).transpose() {
                Ok(Some(record)) => self.set_proven(record),
                Ok(None) => {}
                Err(error) => log::warn!("{error}: the next deployment will purge once more"),
            }
        }
        left
    }

    /// Writes everything that needs space to disk before anything is touched.
    fn stage(
        &self,
        pair: &Pair,
        former: &Pair,
        modules: Modules,
        tag: &str,
        pending_purges: BTreeSet<String>,
    ) -> Result<(StagedDeployment, Option<StagedRecord>), FileError> {
        let Deployment { files, state, .. } = self.deployment;
        let record = |unpurged| Record { tag: tag.to_owned(), unpurged, pair: pair.clone() };
        let no_pending_purges = (!pending_purges.is_empty()).then(BTreeSet::new);
        let purged = no_pending_purges.map(|none| StagedRecord::new(state.proven(), record(none))).transpose()?;
        let staged = StagedDeployment {
            new: files.stage(pair, modules)?,
            old: files.stage(former, modules)?,
            proven: StagedRecord::new(state.proven(), record(pending_purges))?,
            unproven: state.stage_unproven()?,
        };
        let journal = Record { tag: tag.to_owned(), unpurged: BTreeSet::new(), pair: former.clone() };
        StagedRecord::new(state.journal(), journal)?.commit_durably()?;
        Ok((staged, purged))
    }

    /// The modules whose file changes, where Asterisk surely runs what is on disk.
    fn modules_to_reload(&self, pair: &Pair, on_disk: &Pair) -> Result<Modules, FileError> {
        let is_live = self.proven().is_some_and(|record| record.pair == *on_disk);
        let is_claimed = is_live && !self.deployment.state.is_unproven()?;
        Ok(if is_claimed { modules::modules_of_change(on_disk, pair) } else { modules::BOTH })
    }

    fn reload_and_verify(
        &self,
        modules: &Cell<Modules>,
        wanted: &Expected,
        before: &Expected,
        deadline: Instant,
        times: &mut StepTimes,
    ) -> Result<Foreign, Cause> {
        let cli = &self.deployment.cli;
        loop {
            let reloaded = timed(&mut times.reload, || reload::reload(cli, modules.get(), deadline));
            // Without an answer to the reload, what is live decides. Only a clear refusal ends it here.
            let unanswered = match reloaded {
                Ok(()) => None,
                Err(error @ ReloadError::Cli(_)) => Some(error),
                Err(error) => return Err(Cause::Reload(error)),
            };
            if let Some(error) = &unanswered {
                log::warn!("{error}; reading back what Asterisk runs");
            }
            let until = deadline.max(Instant::now() + cli.timeout() / 2);
            let verified = timed(&mut times.verify, || self.deployment.verify(wanted, before, until));
            return match (unanswered, verified) {
                (None, Err(Cause::NotProven(mismatch))) if modules.get() != modules::BOTH => {
                    log::warn!("Asterisk did not run the file that stays the same ({mismatch}): reloading both");
                    modules.set(modules::BOTH);
                    continue;
                }
                (None, verified) => verified,
                (Some(error), verified) => verified.map_err(|_| Cause::Reload(error)),
            };
        }
    }

    /// What to fix, looked for while the files that Asterisk did not take are still there.
    fn fixes(&self, cause: &Cause, wanted: &Expected) -> Vec<String> {
        let Deployment { cli, files, .. } = self.deployment;
        let mismatch = match cause {
            Cause::NotProven(mismatch) => Some(mismatch),
            Cause::Reload(ReloadError::Rejected(_)) => None,
            _ => return Vec::new(),
        };
        diagnosis::fixes(cli, files, wanted, mismatch, Instant::now() + cli.timeout())
    }

    /// Whether Asterisk runs the former pair, which is restored on disk; why not.
    fn verify_former(&self, modules: Modules, former: &Former, wanted: &Expected, cause: &Cause) -> Result<(), String> {
        use ReloadError::{Busy, NotBegun, Rejected};
        let cli = &self.deployment.cli;
        match (reload::reload(cli, modules, Instant::now() + cli.timeout() * 2), cause) {
            // The reload ran, or none of ours ever began: what is live now stays so.
            (Ok(()) | Err(Rejected(_)), _)
            | (Err(Busy | NotBegun(_)), Cause::Reload(Busy | NotBegun(_)) | Cause::File(_)) => {}
            (Err(error), _) => return Err(error.to_string()),
        }
        let Some(expected) = &former.expected else {
            return Err("the former files are none that can be proven".to_owned());
        };
        match self.deployment.verify(expected, wanted, Instant::now() + cli.timeout()) {
            Ok(_) => Ok(()),
            Err(Cause::NotProven(mismatch)) => Err(mismatch.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }
}

impl Deployment {
    /// What is live besides `wanted`, if all of that is, and nothing that only `former` had.
    ///
    /// A difference is believed when it is read twice: Asterisk may have dropped a line that it does not count.
    pub(crate) fn verify(&self, wanted: &Expected, former: &Expected, deadline: Instant) -> Result<Foreign, Cause> {
        let own = OwnEndpoints::new(&self.cli, &self.files);
        let (mut pause, mut before) = (Pause::new(), None);
        loop {
            let live = Live::read(&self.cli, wanted, former, deadline)?;
            match live.compare(wanted, former, |name| own.contain(name)).proven() {
                Ok(foreign) => return Ok(foreign),
                Err(mismatch) if before.as_ref() == Some(&mismatch) || !pause.before(deadline) => {
                    return Err(Cause::NotProven(mismatch));
                }
                Err(mismatch) => before = Some(mismatch),
            }
        }
    }
}

/// What is to be live of no files at all.
static NOTHING: Expected = Expected::NOTHING;
