//! The include files from the first rename to the end. There are two ends, and both are here.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::deploy::deployment::Deployment;
use crate::deploy::error::{Aftermath, Cause};
use crate::deploy::transaction::{StepTimes, timed};
use crate::files::file::{FileError, StagedFile};
use crate::files::include_files::StagedPair;
use crate::files::record::Record;
use crate::files::stamps::Stamps;
use crate::files::state_dir::StagedRecord;
use crate::proof::live::Foreign;
use crate::proof::mismatch::Mismatch;

/// The new pair, the former one and the records of either end, all on disk beside their places.
#[derive(Debug)]
pub(crate) struct StagedDeployment {
    pub(crate) new: StagedPair,
    pub(crate) old: StagedPair,
    pub(crate) proven: StagedRecord,
    /// Set by a rollback until it is proven.
    pub(crate) unproven: StagedFile,
}

/// Why and how a deployment failed.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) cause: Cause,
    pub(crate) fixes: Vec<String>,
    pub(crate) aftermath: Aftermath,
}

/// A bare cause means that nothing was changed.
impl<T: Into<Cause>> From<T> for Failed {
    fn from(cause: T) -> Self {
        Self { cause: cause.into(), fixes: Vec::new(), aftermath: Aftermath::Untouched }
    }
}

/// How it ended. It is no `Result`, so that no `?` returns early between the renames and an end.
#[derive(Debug)]
pub(crate) enum End {
    Verified(Foreign, Record),
    RolledBack(Failed),
}

impl StagedDeployment {
    /// Renames the new files into place and ends it in one of two ways: the state directory says that Asterisk was
    /// proven to run the new pair, or the former pair was restored, as far as that was possible.
    ///
    /// `verify` says whether Asterisk runs the new pair. Where it does not, `fixes` says what to fix while the new files
    /// are still there, and `verify_former` whether Asterisk runs the former pair, once it is restored. A panic in any of
    /// them is a failure like others.
    pub(crate) fn install(
        self,
        deployment: &Deployment,
        times: &mut StepTimes,
        verify: impl FnOnce(&mut StepTimes) -> Result<Foreign, Cause>,
        fixes: impl FnOnce(&Cause) -> Vec<String>,
        verify_former: impl FnOnce(&Cause) -> Result<(), String>,
    ) -> End {
        let Self { new, old, proven, unproven } = self;
        let Deployment { files, state, .. } = deployment;
        let renamed = timed(&mut times.install, || -> Result<Stamps, FileError> {
            new.rename()?;
            // At once: what somebody writes from here on shows.
            let stamps = Stamps::of(files)?;
            files.sync()?;
            Ok(stamps)
        });
        let verified = renamed.map_err(Cause::from).and_then(|stamps| {
            let foreign = caught(|| verify(times)).unwrap_or(Err(Cause::Panicked))?;
            // Others may give a new file attributes, as SELinux does.
            let now = Stamps::of(files)?;
            if now.is_rewritten_since(&stamps) {
                return Err(Cause::NotProven(Box::new(Mismatch::of_files())));
            }
            state.keep_stamps(&now);
            Ok(foreign)
        });
        match verified.and_then(|foreign| Ok((foreign, proven.commit()?))) {
            Ok((foreign, record)) => {
                drop(old);
                state.mark_proven();
                state.close_journal();
                End::Verified(foreign, record)
            }
            Err(cause) => {
                let fixes = caught(|| fixes(&cause)).unwrap_or_default();
                let aftermath = roll_back(deployment, old, unproven, || verify_former(&cause));
                End::RolledBack(Failed { cause, fixes, aftermath })
            }
        }
    }
}

/// Restores the former pair. Until it is verified, nothing counts as proven.
fn roll_back(
    deployment: &Deployment,
    old: StagedPair,
    unproven: StagedFile,
    verify_former: impl FnOnce() -> Result<(), String>,
) -> Aftermath {
    let Deployment { files, state, .. } = deployment;
    if let Err(error) = unproven.rename() {
        log::error!("{error}: the former users count as applied although Asterisk may not run them");
    }
    if let Err(error) = old.restore() {
        return Aftermath::NotRestored { reason: error.to_string() };
    }
    match files.sync() {
        Ok(()) => state.close_journal(),
        Err(error) => log::warn!("{error}: the next apply syncs the former files again"),
    }
    match caught(verify_former).unwrap_or_else(|| Err(Cause::Panicked.to_string())) {
        Ok(()) => {
            state.mark_proven();
            Aftermath::RolledBack
        }
        Err(reason) => Aftermath::NotProven { reason },
    }
}

/// `None` after a panic, which its hook has put into the log.
fn caught<T>(step: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(step)).ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::deploy::deployment::tests::{host, pair, soon};
    use crate::text::modules::BOTH;

    #[test]
    fn a_panic_between_the_renames_and_the_end_is_rolled_back() {
        let (_directory, deployment) = host();
        drop(deployment.lock(soon()).unwrap());
        let stage = |name: &str| deployment.files.stage(&pair(name), BOTH).unwrap();
        stage("old").rename().unwrap();
        for proof_panics in [true, false] {
            let record = Record { tag: "t".to_owned(), unpurged: BTreeSet::new(), pair: pair("new") };
            let staged = StagedDeployment {
                new: stage("new"),
                old: stage("old"),
                proven: StagedRecord::new(&deployment.state.proven(), record).unwrap(),
                unproven: deployment.state.stage_unproven().unwrap(),
            };
            let mut installed = None;
            let end = staged.install(
                &deployment,
                &mut StepTimes::default(),
                |_| {
                    installed = Some(deployment.files.read().unwrap());
                    if proof_panics { panic!("in the proof") } else { Err(Cause::Panicked) }
                },
                |_| panic!("while looking for what to fix"),
                |_| panic!("in the proof of the former pair"),
            );
            assert_eq!(installed, Some(pair("new")));
            let End::RolledBack(Failed { cause, aftermath, .. }) = end else { panic!("verified") };
            assert!(matches!(cause, Cause::Panicked) && matches!(aftermath, Aftermath::NotProven { .. }));
            assert_eq!(deployment.files.read().unwrap(), pair("old"));
            assert_eq!(deployment.proven().unwrap(), None);
        }
    }
}
