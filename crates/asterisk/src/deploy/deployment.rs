use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::ask::cli::Cli;
use crate::deploy::error::LockError;
use crate::files::file::FileError;
use crate::files::record::Record;
use crate::files::state_dir::{self, ClaimStamp, HostLock, StagedRecord, StateDir};
use crate::text::expected::{Expected, UnreadablePair};
use crate::text::pair::{IncludeFiles, Pair};

/// One Asterisk's two include files, and the way they are replaced: as one transaction, one at a
/// time on the host.
#[derive(Debug, Clone)]
pub struct Deployment {
    pub(crate) cli: Cli,
    pub(crate) files: IncludeFiles,
    pub(crate) state: StateDir,
    /// Whether what can be asked for is, and what cannot be proven is refused.
    pub(crate) is_strict: bool,
    pub(crate) last_read: LastRead,
}

/// The pair read last, with what it makes live: the next apply mostly finds the proven pair here.
pub(crate) type LastRead = Arc<Mutex<Option<(Pair, Arc<Expected>)>>>;

impl Deployment {
    /// A deployment of `files` into the Asterisk behind `cli`. `state_dir` holds the lock and
    /// what must outlive a crash; it is made when it is missing and its parent is there.
    #[must_use]
    pub fn new(cli: Cli, files: IncludeFiles, state_dir: impl Into<PathBuf>) -> Self {
        Self { cli, files, state: StateDir::new(state_dir.into()), is_strict: false, last_read: LastRead::default() }
    }

    /// Waits for the host's lock until `deadline`. It then recovers from an interrupted deployment: the disk holds one
    /// whole pair before anything else happens.
    ///
    /// # Errors
    ///
    /// [`LockError::Busy`] when others had the lock all the time, [`LockError::State`] when a
    /// file cannot be used.
    pub fn lock(&self, deadline: Instant) -> Result<LockedDeployment<'_>, LockError> {
        let lock = self.state.lock(deadline)?.ok_or(LockError::Busy)?;
        self.state.remove_stale_temp_files()?;
        self.files.remove_stale_temp_files()?;
        let proven = state_dir::read_record(&self.state.proven())?;
        let locked = LockedDeployment { deployment: self, proven, _lock: lock };
        locked.restore_from_journal()?;
        Ok(locked)
    }

    /// What is in the place of each include file that was never verified there on this host: somebody else may have written
    /// it. The next deployment replaces it.
    ///
    /// # Errors
    ///
    /// [`FileError`] when one of the files cannot be read, is no regular file or is larger than any of ours.
    pub fn never_verified(&self) -> Result<Vec<(&Path, Vec<u8>)>, FileError> {
        // A rollback of the first deployment verifies what somebody else wrote.
        let is_proven = state_dir::metadata(&self.state.proven())?.is_some();
        let were_verified = self.state.were_verified(&self.files).map(|was_verified| was_verified && is_proven);
        if were_verified == [true; 2] {
            return Ok(Vec::new());
        }
        let Pair { endpoints, dialplan } = self.files.read()?;
        let both = [(&*self.files.endpoints, endpoints), (&*self.files.dialplan, dialplan)];
        let both = both.into_iter().zip(were_verified);
        Ok(both.filter(|(_, was_verified)| !was_verified).map(|(file, _)| file).collect())
    }

    /// What must be live of a pair for this deployment.
    pub(crate) fn expected(&self, pair: &Pair) -> Result<Arc<Expected>, UnreadablePair> {
        let mut last = self.last_read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, expected)) = last.as_ref().filter(|(of, _)| of == pair) {
            return Ok(Arc::clone(expected));
        }
        let expected = Arc::new(Expected::read_for(pair, self.is_strict)?);
        *last = Some((pair.clone(), Arc::clone(&expected)));
        Ok(expected)
    }

    /// The pair that Asterisk was last proven to run, without waiting for the lock.
    ///
    /// `None` before the first proof, and wherever nobody knows whether Asterisk still runs that pair: after a rollback that
    /// could not be proven, after a proof that could not be repeated, after an interrupted deployment, and where
    /// [`Self::recover`] found other files. The next proof ends that.
    ///
    /// # Errors
    ///
    /// [`FileError`] when the state directory cannot be read.
    pub fn proven(&self) -> Result<Option<ProvenPair>, FileError> {
        self.proven_by(&self.proven_stamp()?)
    }

    /// As [`Self::proven`], by what `stamp` says of the moment when it was taken: an answer that is kept belongs to its stamp,
    /// even where a deployment ran meanwhile and was rolled back, which brings the stamp back.
    ///
    /// # Errors
    ///
    /// [`FileError`] when the state directory cannot be read.
    pub fn proven_by(&self, stamp: &ClaimStamp) -> Result<Option<ProvenPair>, FileError> {
        Ok(self.state.claim(stamp)?.map(|Record { tag, pair, .. }| ProvenPair { tag, pair }))
    }

    /// The pair that Asterisk was last proven to run, whether or not it surely still does: what the next deployment changes
    /// is said against it.
    ///
    /// # Errors
    ///
    /// [`FileError`] when the state directory cannot be read.
    pub fn last_proven(&self) -> Result<Option<ProvenPair>, FileError> {
        let proven = state_dir::read_record(&self.state.proven())?;
        Ok(proven.map(|Record { tag, pair, .. }| ProvenPair { tag, pair }))
    }

    /// What changes whenever [`Self::proven`] may give another result: a few calls of the system instead of reading
    /// the whole pair.
    ///
    /// # Errors
    ///
    /// [`FileError`] when the state directory cannot be read.
    pub fn proven_stamp(&self) -> Result<ClaimStamp, FileError> {
        self.state.claim_stamp()
    }
}

/// A pair that Asterisk was proven to run.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProvenPair {
    /// What the caller stored with it.
    pub tag: String,
    /// The content of both files.
    pub pair: Pair,
}

/// The host's lock, and what may be done under it.
#[derive(Debug)]
pub struct LockedDeployment<'a> {
    pub(crate) deployment: &'a Deployment,
    /// The record of the pair last proven.
    pub(crate) proven: Option<Record>,
    _lock: HostLock,
}

impl LockedDeployment<'_> {
    /// The tag and the content of the pair last proven, whether or not Asterisk surely still runs it
    /// ([`Deployment::proven`]): what the next deployment changes is said against it.
    #[must_use]
    pub fn last_proven(&self) -> Option<(&str, &Pair)> {
        self.proven.as_ref().map(|record| (record.tag.as_str(), &record.pair))
    }

    /// Replaces the record of the pair last proven.
    pub(crate) fn keep(&mut self, record: Record) -> Result<(), FileError> {
        self.proven = Some(StagedRecord::new(&self.deployment.state.proven(), record)?.commit()?);
        Ok(())
    }

    /// Remembers another `tag` with the pair last proven.
    ///
    /// # Errors
    ///
    /// [`FileError`] when the state directory cannot be written.
    pub fn retag(&mut self, tag: &str) -> Result<(), FileError> {
        match &self.proven {
            Some(record) => self.keep(Record { tag: tag.to_owned(), ..record.clone() }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use super::*;
    use crate::text::pair::Pair;

    pub(crate) fn pair(name: &str) -> Pair {
        Pair { endpoints: name.into(), dialplan: format!("; {name}").into() }
    }

    /// A host on which nothing was deployed yet; its Asterisk is asked nothing.
    pub(crate) fn host() -> (tempfile::TempDir, Deployment) {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let files = IncludeFiles { endpoints: at("p.conf"), dialplan: at("e.conf") };
        let cli = Cli::new("/nonexistent/asterisk", Duration::from_secs(1)).unwrap();
        let state = at("state");
        (directory, Deployment::new(cli, files, state))
    }

    pub(crate) fn soon() -> Instant {
        Instant::now() + Duration::from_mins(1)
    }

    #[test]
    fn the_pair_read_last_is_not_read_again() {
        let (_directory, deployment) = host();
        let read = |of: &Deployment, name| {
            of.expected(&Pair { endpoints: format!("; {name}").into(), ..Pair::default() }).unwrap()
        };
        let one = read(&deployment, "one");
        assert!(Arc::ptr_eq(&one, &read(&deployment, "one")));
        assert!(!Arc::ptr_eq(&one, &read(&deployment.clone().strict(), "one")));
        read(&deployment, "other");
        assert!(!Arc::ptr_eq(&one, &read(&deployment, "one")));
    }
}
