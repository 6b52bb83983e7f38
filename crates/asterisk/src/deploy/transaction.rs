//! One deployment from beginning to end: the new pair is verified, or the former one restored and verified.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::ask::reload;
use crate::ask::whole_answers::Unread;
use crate::deploy::deployment::{Deployment, LockedDeployment};
use crate::deploy::error::{Aftermath, Cause};
use crate::deploy::install_or_roll_back::{End, Failed, StagedDeployment};
use crate::deploy::purge::{self, Contacts, FormerOwners, Leaving};
use crate::deploy::uncovered::ProvenText;
use crate::files::file::FileError;
use crate::files::record::Record;
use crate::files::stamps::Touched;
use crate::files::state_dir::StagedRecord;
use crate::proof::diagnosis;
use crate::proof::live::Foreign;
use crate::proof::mismatch::Mismatch;
use crate::text::expected::{Difference, Expected};
use crate::text::modules::{self, Modules};
use crate::text::pair::Pair;

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

/// Adds to `time` how long `step` takes.
pub(super) fn timed<T>(time: &mut Duration, step: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let result = step();
    *time += began.elapsed();
    result
}

/// What is to be deployed until when, and over what.
#[derive(Clone, Copy)]
pub(super) struct Change<'a> {
    pub(super) pair: &'a Pair,
    tag: &'a str,
    pub(super) wanted: &'a Expected,
    /// What must be live of the former pair; nothing where its text cannot be read.
    pub(super) before: &'a Expected,
    /// What somebody did to the files of the former pair.
    pub(super) touched: Touched,
    pub(super) deadline: Instant,
}

impl Change<'_> {
    fn record(self, unpurged: BTreeSet<String>) -> Record {
        Record { tag: self.tag.to_owned(), unpurged, pair: self.pair.clone() }
    }

    /// The aors of the numbers that get another owner.
    fn owners_to_come(self) -> BTreeSet<String> {
        let Self { wanted, before, .. } = self;
        before.aors_of_former_owners(wanted).difference(&wanted.new_aors(before)).cloned().collect()
    }
}

/// The pair to roll back to, and what must be live then, if its text can be read.
pub(super) struct Former {
    pair: Pair,
    pub(super) expected: Option<Arc<Expected>>,
    /// Whether somebody surely wrote the files meanwhile, so that he may have loaded others.
    pub(super) is_in_doubt: bool,
    /// Whether somebody touched them at all.
    pub(super) is_touched: bool,
}

impl LockedDeployment<'_> {
    /// The pair last proven, or else the one on disk.
    fn former(&self, on_disk: &Pair, touched: Touched) -> Result<Former, FileError> {
        let pair = self.proven.as_ref().map_or(on_disk, |record| &record.pair);
        let read = self.deployment.expected(pair);
        let expected = read.inspect_err(|error| log::warn!("the former pair cannot be proven: {error}")).ok();
        let is_in_doubt = pair != on_disk || touched.is_rewritten || self.deployment.state.is_unproven()?;
        Ok(Former { pair: pair.clone(), expected, is_in_doubt, is_touched: touched.is_any() })
    }

    /// Makes Asterisk run `pair` and verifies it; or rolls back: restores the former pair and verifies that.
    ///
    /// `tag`, one line, is remembered with the pair once it is proven; a pair that was the proven one already keeps its
    /// tag. Steps: preflight; nothing to do when the files are these already and the live state proves it; both files,
    /// the former pair, the journal and the records staged, so that all that follows are renames; both files renamed;
    /// reload; proof; contacts of former owners purged. After `deadline` only the verification of what was installed, the
    /// rollback with the removal of who registered before it, and the look at the administrator's files still run.
    ///
    /// # Errors
    ///
    /// [`Failure`] with the cause and the state that it left.
    pub fn deploy(&mut self, pair: &Pair, tag: &str, deadline: Instant) -> Result<Deployed, Box<Failure>> {
        let mut deployed = Deployed {
            is_changed: false,
            foreign: Foreign::default(),
            unpurged: BTreeSet::new(),
            difference: Difference::default(),
            times: StepTimes::default(),
            proven: ProvenText {
                endpoints: Pair { endpoints: pair.endpoints.clone(), dialplan: Vec::new() },
                former: Pair::default(),
                is_strict: self.deployment.is_strict,
            },
        };
        match self.transact(pair, tag, deadline, &mut deployed) {
            Ok(()) => {
                let Deployment { cli, files, .. } = self.deployment;
                let deadline = Instant::now() + cli.timeout();
                diagnosis::look_into_admin_files(cli, files, &pair.endpoints, deadline, &mut deployed.foreign);
                Ok(deployed)
            }
            Err(Failed { cause, fixes, aftermath }) => {
                let Deployed { difference, times, .. } = deployed;
                Err(Box::new(Failure { cause, fixes, aftermath, difference, times }))
            }
        }
    }

    /// Fills in what becomes known of the deployment, also of one that fails.
    #[expect(clippy::result_large_err, reason = "one of each deployment, which takes milliseconds")]
    fn transact(&mut self, pair: &Pair, tag: &str, deadline: Instant, deployed: &mut Deployed) -> Result<(), Failed> {
        let on_disk = self.deployment.files.read()?;
        let touched = self.touched()?;
        let former = self.former(&on_disk, touched)?;
        // Read after the former pair: only the pair read last is remembered, and the next apply asks for this one.
        let wanted = self.deployment.expected(pair)?;
        let nothing = Expected::default();
        let before = former.expected.as_deref().unwrap_or(&nothing);
        deployed.difference = wanted.difference(if self.proven.is_some() { before } else { &nothing });
        deployed.proven.former.endpoints.clone_from(&former.pair.endpoints);
        deployed.proven.refuse_if_strict()?;
        let times = &mut deployed.times;
        let change = Change { pair, tag, wanted: &wanted, before, touched, deadline };
        let mut leaving = self.leaving(change, &on_disk, &former.pair);
        if on_disk == *pair {
            match timed(&mut times.verify, || self.is_live(change))? {
                Ok(foreign) if !touched.is_any() => {
                    deployed.foreign = foreign;
                    deployed.unpurged = timed(&mut times.purge, || self.remember(change, &leaving.former_owners))?;
                    return Ok(());
                }
                Ok(_) => log::warn!(
                    "the include files were touched since they were verified: they have to be installed and reloaded again"
                ),
                Err(mismatch) => {
                    leaving.others.extend(&mismatch.others_aors - &wanted.aors_of_former_owners(before));
                    leaving.former_owners.aors.extend(mismatch.others_aors);
                }
            }
        }
        self.purge_later(&leaving.others)?;
        self.replace(change, &on_disk, &former, leaving, deployed)
    }

    /// Replaces the files, reloads, verifies and purges; or rolls back.
    #[expect(clippy::result_large_err, reason = "one of each deployment, which takes milliseconds")]
    fn replace(
        &mut self,
        change: Change<'_>,
        on_disk: &Pair,
        former: &Former,
        mut leaving: Leaving,
        deployed: &mut Deployed,
    ) -> Result<(), Failed> {
        let Change { wanted, before, deadline, .. } = change;
        let (times, former_owners) = (&mut deployed.times, &mut leaving.former_owners);
        let (new_aors, aors_to_change) = (wanted.new_aors(before), change.owners_to_come());
        let registered = timed(&mut times.verify, || self.contacts(&(&new_aors | &aors_to_change), deadline))?;
        former_owners.contacts.extend(registered.iter().filter(|(aor, ..)| new_aors.contains(aor)).cloned());
        // Where nobody knows what Asterisk runs, a number to come may still be another owner's, whose phone registers until
        // the reload.
        if self.deployment.state.is_unproven()? {
            former_owners.aors.extend(new_aors);
        }

        let modules = self.modules_to_reload(change, on_disk)?;
        let stage = || self.stage(change, &former.pair, modules, former_owners.all_aors(), &aors_to_change);
        let (staged, purged) = timed(&mut times.install, stage)?;
        // A rollback reloads what was reloaded before it.
        let modules = Cell::new(modules);
        let end = staged.install(
            self.deployment,
            times,
            |times| self.reload_and_verify(change, &modules, times),
            |cause| self.fixes(cause, wanted),
            |cause| self.verify_former(modules.get(), former, wanted, cause),
        );
        let (foreign, record) = match end {
            End::Verified(foreign, record) => (foreign, record),
            End::RolledBack(failed) => {
                if failed.aftermath == Aftermath::RolledBack {
                    self.remove_who_came(&aors_to_change, &registered, leaving);
                }
                return Err(failed);
            }
        };
        deployed.is_changed = true;
        deployed.foreign = foreign;
        self.proven = Some(record);
        deployed.unpurged = timed(&mut times.purge, || self.purge_stale_contacts(former_owners, purged, deadline));
        Ok(())
    }

    /// What is live besides, if Asterisk runs the pair already, which is on disk.
    fn is_live(
        &self,
        Change { wanted, before, deadline, .. }: Change<'_>,
    ) -> Result<Result<Foreign, Box<Mismatch>>, Cause> {
        let mismatch = match self.deployment.verify(wanted, before, deadline) {
            Ok(foreign) => return Ok(Ok(foreign)),
            Err(Cause::NotProven(mismatch)) => mismatch,
            Err(Cause::Unread(Unread::Cli(error))) => return Err(Cause::Unavailable(error.into())),
            Err(error) => return Err(error),
        };
        log::warn!("Asterisk does not run the files on disk: {mismatch}");
        // The last proof could not be repeated. Whatever comes of this deployment, that proof counts no more.
        self.deployment.state.mark_unproven()?;
        Ok(Err(mismatch))
    }

    /// Once Asterisk answers and has booted: the contacts that are registered at these aors.
    fn contacts(&self, aors: &BTreeSet<String>, deadline: Instant) -> Result<Contacts, Cause> {
        let cli = &self.deployment.cli;
        reload::wait_ready(cli, deadline).map_err(Cause::Unavailable)?;
        let mut registered = if aors.is_empty() { Contacts::new() } else { purge::read(cli, deadline)? };
        registered.retain(|(aor, ..)| aors.contains(aor));
        Ok(registered)
    }

    /// The pair was proven without a deployment: record it, and retry pending purges.
    fn remember(&mut self, change: Change<'_>, former: &FormerOwners) -> Result<BTreeSet<String>, FileError> {
        let pending_purges = former.all_aors();
        let mut purged = change.record(BTreeSet::new());
        match self.proven.as_ref() {
            Some(record) if record.pair == *change.pair => purged.tag.clone_from(&record.tag),
            _ => {
                self.keep(change.record(pending_purges.clone()))?;
                self.deployment.state.keep_stamps_of(&self.deployment.files, modules::BOTH);
            }
        }
        self.deployment.state.mark_proven();
        if pending_purges.is_empty() {
            return Ok(pending_purges);
        }
        // All is proven and recorded: a purge that cannot be recorded is made once more.
        let purged = StagedRecord::new(&self.deployment.state.proven(), purged);
        let purged = purged.inspect_err(|error| log::warn!("{error}: the next deployment will purge once more")).ok();
        Ok(self.purge_stale_contacts(former, purged, change.deadline))
    }

    /// Writes everything that needs space to disk before anything is touched.
    fn stage(
        &mut self,
        change: Change<'_>,
        former: &Pair,
        modules: Modules,
        pending_purges: BTreeSet<String>,
        owners_to_come: &BTreeSet<String>,
    ) -> Result<(StagedDeployment, Option<StagedRecord>), FileError> {
        let Deployment { files, state, .. } = self.deployment;
        let stage_record = |unpurged| StagedRecord::new(&state.proven(), change.record(unpurged));
        let purged = (!pending_purges.is_empty()).then(|| stage_record(BTreeSet::new())).transpose()?;
        let staged = StagedDeployment {
            new: files.stage(change.pair, modules)?,
            old: files.stage(former, modules)?,
            proven: stage_record(pending_purges)?,
            unproven: state.stage_unproven()?,
        };
        let journal = Record { tag: change.tag.to_owned(), unpurged: BTreeSet::new(), pair: former.clone() };
        let journal = StagedRecord::new(&state.journal(), journal)?;
        // Whoever gets a number may register as soon as the new pair is live, proven or not.
        self.purge_later(owners_to_come)?;
        // It makes that record durable, too: both are in one directory.
        journal.commit_durably()?;
        Ok((staged, purged))
    }
}
