//! What an interrupted deployment left behind, and what a start makes of it.

use std::io;
use std::time::Instant;

use crate::deploy::deployment::{Deployment, LockedDeployment};
use crate::deploy::error::LockError;
use crate::files::file::{self, FileError};
use crate::files::state_dir;
use crate::text::expected::Expected;
use crate::text::modules::BOTH;

impl LockedDeployment<'_> {
    /// After this the disk holds one whole pair, whatever a killed process left there.
    pub(crate) fn restore_from_journal(&self) -> Result<(), FileError> {
        let Deployment { files, state, .. } = self.deployment;
        if let Some(journal) = state_dir::read_record(&state.journal())? {
            // The journal holds the pair that was proven before. So another one was proven since.
            if self.proven.as_ref().is_some_and(|proven| proven.pair != journal.pair) {
                log::warn!("the deployment {:?} was interrupted after its proof: its files stay", journal.tag);
                state.mark_proven();
            } else {
                log::warn!("the deployment {:?} was interrupted: the former files are restored", journal.tag);
                // Asterisk may have reloaded the new files before the process ended.
                state.mark_unproven()?;
                if files.read()? != journal.pair {
                    files.stage(&journal.pair, BOTH)?.restore()?;
                }
                files.sync()?;
            }
            file::remove(&state.journal())?;
        }
        Ok(())
    }
}

impl Deployment {
    /// Whether an interrupted deployment left a pair that is still to be restored. From a damaged journal nothing can be.
    #[must_use]
    pub fn has_pair_to_restore(&self) -> bool {
        match state_dir::read_record(&self.state.journal()) {
            Ok(journal) => journal.is_some(),
            // What may not be read now may be read later.
            Err(error) => !matches!(error.error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::Other),
        }
    }

    /// Whether nothing is claimed until the next proof, whatever can be read by then.
    #[must_use]
    pub fn is_in_doubt(&self) -> bool {
        matches!(self.state.is_unproven(), Ok(true))
    }

    /// What a program does once, at its start: recovers from an interrupted deployment, and claims nothing where the
    /// files on disk are not the proven pair, as in a state directory that was copied from another host, or where they
    /// define something and nothing was ever proven. Asks Asterisk for nothing.
    ///
    /// # Errors
    ///
    /// As [`Self::lock`], and where an include file cannot be read: then nothing is claimed either. [`LockError::Busy`]
    /// means that another process deploys right now.
    pub fn recover(&self, deadline: Instant) -> Result<LockedDeployment<'_>, LockError> {
        // Nobody knows whether Asterisk runs the proven pair where the files, or what a crash left, cannot be read.
        let mark_in_doubt = || {
            if let Err(error) = self.state.mark_unproven() {
                log::error!("{error}");
            }
        };
        let locked = self.lock(deadline).inspect_err(|error| {
            if matches!(error, LockError::State(_)) {
                mark_in_doubt();
            }
        })?;
        let on_disk = self.files.read().inspect_err(|_| mark_in_doubt())?;
        let is_known = match locked.proven.as_ref() {
            Some(proven) => proven.pair == on_disk,
            None => Expected::read(&on_disk).is_ok_and(|expected| expected == Expected::default()),
        };
        if !is_known {
            log::warn!(
                "the include files are not those last applied here: nothing counts as applied until the next apply"
            );
            self.state.mark_unproven()?;
        }
        Ok(locked)
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the tests write what a killed process would have left")]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;
    use std::{fs, mem};

    use super::*;
    use crate::deploy::deployment::ProvenPair;
    use crate::deploy::deployment::tests::{host, pair, soon};
    use crate::files::record::Record;
    use crate::files::state_dir::StagedRecord;

    /// As a deployment of `new` over `old` that was killed leaves it, of a caller whose tags are all the same.
    fn interrupted(deployment: &Deployment, is_proven: bool) {
        drop(deployment.lock(soon()).unwrap());
        interrupted_while_locked(deployment, is_proven);
    }

    fn interrupted_while_locked(deployment: &Deployment, is_proven: bool) {
        let record = |name| Record { tag: "second".to_owned(), unpurged: BTreeSet::new(), pair: pair(name) };
        let proven = record(if is_proven { "new" } else { "old" });
        StagedRecord::new(&deployment.state.proven(), proven).unwrap().commit().unwrap();
        StagedRecord::new(&deployment.state.journal(), record("old")).unwrap().commit().unwrap();
        deployment.files.stage(&pair("new"), BOTH).unwrap().rename().unwrap();
        // What it had staged besides.
        mem::forget(deployment.files.stage(&pair("old"), BOTH).unwrap());
        mem::forget(StagedRecord::new(&deployment.state.proven(), record("new")).unwrap());
    }

    #[test]
    fn an_interrupted_deployment_is_rolled_back_unless_it_had_been_proven() {
        for (is_proven, stays) in [(false, "old"), (true, "new")] {
            let (directory, deployment) = host();
            interrupted(&deployment, is_proven);
            assert!(deployment.has_pair_to_restore());
            drop(deployment.lock(soon()).unwrap());
            assert!(!deployment.has_pair_to_restore());
            assert_eq!(deployment.files.read().unwrap(), pair(stays));
            let left = |path: &Path| fs::read_dir(path).unwrap().count();
            // Both files and the state directory; the lock, the proven pair, and the mark that nobody relies on it.
            let state = if is_proven { 2 } else { 3 };
            assert_eq!((left(directory.path()), left(&directory.path().join("state"))), (3, state));
        }
    }

    #[test]
    fn with_a_damaged_journal_nothing_is_touched() {
        let (_directory, deployment) = host();
        interrupted(&deployment, false);
        let journal = fs::read(deployment.state.journal()).unwrap();
        for end in 0..journal.len() {
            fs::write(deployment.state.journal(), &journal[..end]).unwrap();
            let refused = deployment.lock(soon()).unwrap_err().to_string();
            assert!(refused.contains("journal cannot be read: it is damaged"), "{refused}");
        }
        assert_eq!(deployment.files.read().unwrap(), pair("new"));
    }

    #[test]
    fn the_tag_is_that_of_the_pair_last_proven() {
        let (_directory, deployment) = host();
        assert_eq!(deployment.lock(soon()).unwrap().last_proven(), None);
        assert_eq!(deployment.proven().unwrap(), None);
        interrupted(&deployment, true);
        let mut locked = deployment.lock(soon()).unwrap();
        assert_eq!(locked.last_proven(), Some(("second", &pair("new"))));
        locked.retag("third").unwrap();
        assert_eq!(deployment.proven().unwrap().unwrap(), ProvenPair { tag: "third".to_owned(), pair: pair("new") });
        fs::write(deployment.state.proven(), "pbx-asterisk record 1\ntag fourth\n").unwrap();
        assert!(deployment.proven().unwrap_err().to_string().contains("proven cannot be read: it is damaged"));
    }

    #[test]
    fn an_interrupted_deployment_leaves_nothing_to_claim_unless_it_had_been_proven() {
        for is_proven in [false, true] {
            let (_directory, deployment) = host();
            let deploying = deployment.state.lock(soon()).unwrap();
            interrupted_while_locked(&deployment, is_proven);
            assert!(deployment.proven().unwrap().is_some(), "it may still be restored");
            let before = deployment.proven_stamp().unwrap();
            drop(deploying);
            // As another process of the host sees it, before and after somebody recovers.
            assert_ne!(deployment.proven_stamp().unwrap(), before);
            assert_eq!(deployment.proven().unwrap().is_some(), is_proven);
            drop(deployment.lock(soon()).unwrap());
            assert_eq!(deployment.proven().unwrap().is_some(), is_proven);
            assert!(deployment.lock(soon()).unwrap().last_proven().is_some());
        }
    }

    #[test]
    fn a_start_with_other_files_than_the_proven_pair_claims_nothing() {
        let (_directory, deployment) = host();
        interrupted(&deployment, true);
        drop(deployment.recover(soon()).unwrap());
        assert!(deployment.proven().unwrap().is_some());
        fs::write(&deployment.files.dialplan, "; edited by hand").unwrap();
        drop(deployment.lock(soon()).unwrap());
        assert!(deployment.proven().unwrap().is_some(), "a file may be edited without a reload");
        assert!(!deployment.is_in_doubt());
        drop(deployment.recover(soon()).unwrap());
        assert_eq!(deployment.proven().unwrap(), None);
        assert!(deployment.is_in_doubt());
    }

    #[test]
    fn a_start_with_what_cannot_be_read_claims_nothing() {
        for journal_is_damaged in [true, false] {
            let (_directory, deployment) = host();
            interrupted(&deployment, true);
            drop(deployment.recover(soon()).unwrap());
            assert!(deployment.proven().unwrap().is_some());
            let damaged =
                if journal_is_damaged { deployment.state.journal() } else { deployment.files.dialplan.clone() };
            fs::remove_file(&damaged).ok();
            fs::create_dir(&damaged).unwrap();
            assert!(deployment.recover(soon()).unwrap_err().to_string().contains("cannot be read"));
            assert_eq!((deployment.proven().unwrap(), deployment.has_pair_to_restore()), (None, false));
        }
    }

    #[test]
    fn a_start_with_files_and_without_a_proof_is_in_doubt() {
        for (endpoints, is_blank) in [("", true), ("; empty\n", true), ("[1]\ntype=endpoint\n", false), ("?", false)] {
            let (_directory, deployment) = host();
            assert!(deployment.proven_stamp().unwrap().is_blank());
            fs::write(&deployment.files.endpoints, endpoints).unwrap();
            drop(deployment.recover(soon()).unwrap());
            assert_eq!(deployment.proven_stamp().unwrap().is_blank(), is_blank, "{endpoints:?}");
            assert_eq!(deployment.proven().unwrap(), None);
        }
    }
}
