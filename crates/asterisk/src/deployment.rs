use std::{path::PathBuf, time::Instant};

use crate::{
    cli::Cli,
    error::LockError,
    expected::{Difference, Expected, UnreadablePair},
    file::{self, FileError},
    live::Live,
    pair::{IncludeFiles, Pair},
    record::Record,
    state_dir::{self, HostLock, StagedRecord, StateDir},
};

/// One Asterisk's two include files, and the way they are replaced: as one transaction, one at a
/// time on the host.
#[derive(Debug, Clone)]
pub struct Deployment {
    pub(crate) cli: Cli,
    pub(crate) files: IncludeFiles,
    pub(crate) state: StateDir,
}

impl Deployment {
    /// A deployment of `files` into the Asterisk behind `cli`. `state_dir` holds the lock and
    /// what must outlive a crash; it is made when it is missing and its parent is there.
    #[must_use]
    pub fn new(cli: Cli, files: IncludeFiles, state_dir: impl Into<PathBuf>) -> Self {
        Self { cli, files, state: StateDir::new(state_dir.into()) }
    }

    /// Waits for the host's lock until `deadline`. What an interrupted deployment left is put in
    /// order before anything else: the disk then holds one whole pair.
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
        if let Some(journal) = state_dir::read_record(&self.state.journal())? {
            // The journal holds the pair that was proven before, so another one was proven since.
            if proven.as_ref().is_some_and(|proven| proven.pair != journal.pair) {
                log::warn!("the deployment {:?} was interrupted after its proof: its files stay", journal.tag);
            } else {
                log::warn!("the deployment {:?} was interrupted: the former files are put back", journal.tag);
                if self.files.read()? != journal.pair {
                    self.files.stage(&journal.pair)?.rename()?;
                }
                self.files.sync()?;
            }
            file::remove(&self.state.journal())?;
        }
        Ok(LockedDeployment { deployment: self, proven, _lock: lock })
    }

    /// The tag of the pair that Asterisk was last proven to run, without waiting for a turn.
    ///
    /// # Errors
    ///
    /// [`FileError`] when the state directory cannot be read.
    pub fn proven_tag(&self) -> Result<Option<String>, FileError> {
        Ok(state_dir::read_record(&self.state.proven())?.map(|record| record.tag))
    }

    /// What differs between the pair last proven and both the disk and what Asterisk runs, and what
    /// could not be read until `deadline`, one sentence each; nothing where all is as it was proven.
    /// Changes nothing, and waits for no turn: during a deployment it tells of what lies between.
    #[must_use]
    pub fn drift(&self, deadline: Instant) -> Vec<String> {
        let Self { cli, files, state } = self;
        let mut problems = Vec::new();
        let proven = match state_dir::read_record(&state.proven()) {
            Ok(proven) => proven,
            Err(error) => return vec![error.to_string()],
        };
        let expected = if let Some(Record { pair, .. }) = &proven {
            for (path, proven) in [(&files.endpoints, &pair.endpoints), (&files.dialplan, &pair.dialplan)] {
                match file::read(path) {
                    Ok(Some(content)) if content == *proven => {}
                    Ok(Some(_)) => problems.push(format!("{} was changed since it was applied", path.display())),
                    Ok(None) => problems.push(format!("{} is gone", path.display())),
                    Err(error) => problems.push(error.to_string()),
                }
            }
            Expected::read(pair)
        } else {
            match files.read() {
                Ok(pair) if Expected::read(&pair) == Ok(Expected::default()) => {}
                Ok(_) => problems.push("the include files hold what was never applied on this node".to_owned()),
                Err(error) => problems.push(error.to_string()),
            }
            Ok(Expected::default())
        };
        let mismatch = expected.map_err(|error| error.to_string()).and_then(|expected| {
            let live = Live::read(cli, &expected, &Expected::default(), deadline).map_err(|error| error.to_string())?;
            Ok(live.compare(&expected, &Expected::default(), |_| false).mismatch)
        });
        match mismatch {
            Ok(mismatch) if mismatch.is_none() => {}
            Ok(mismatch) => problems.push(format!("Asterisk does not run what was applied: {mismatch}")),
            Err(error) => problems.push(error),
        }
        problems
    }

    /// The file whose replacement tells that another pair was proven.
    #[must_use]
    pub fn proven_path(&self) -> PathBuf {
        self.state.proven()
    }
}

/// The host's lock, and what may be done under it.
#[derive(Debug)]
pub struct LockedDeployment<'a> {
    pub(crate) deployment: &'a Deployment,
    pub(crate) proven: Option<Record>,
    _lock: HostLock,
}

impl LockedDeployment<'_> {
    /// The tag of the pair last proven.
    #[must_use]
    pub fn proven_tag(&self) -> Option<&str> {
        self.proven.as_ref().map(|record| record.tag.as_str())
    }

    /// What `pair` changes against the pair last proven; against none, or one that cannot be read, all of it is new.
    ///
    /// # Errors
    ///
    /// [`UnreadablePair`] when `pair` cannot be read.
    pub fn difference(&self, pair: &Pair) -> Result<Difference, UnreadablePair> {
        let former = self.proven.as_ref().and_then(|record| Expected::read(&record.pair).ok());
        Ok(Expected::read(pair)?.difference(&former.unwrap_or_default()))
    }

    /// Remembers another `tag` with the pair last proven.
    ///
    /// # Errors
    ///
    /// [`FileError`] when the state directory cannot be written.
    pub fn retag(&mut self, tag: &str) -> Result<(), FileError> {
        if let Some(record) = &self.proven {
            let record = Record { tag: tag.to_owned(), ..record.clone() };
            self.proven = Some(StagedRecord::new(self.deployment.state.proven(), record)?.commit()?);
        }
        Ok(())
    }

    /// Keeps `note` for whoever has the next turn, durably.
    ///
    /// # Errors
    ///
    /// [`FileError`] when the state directory cannot be written.
    pub fn write_note(&self, note: &[u8]) -> Result<(), FileError> {
        state_dir::write_note(&self.deployment.state.note(), note)
    }

    /// The note that was kept.
    ///
    /// # Errors
    ///
    /// [`FileError`] when the state directory cannot be read.
    pub fn note(&self) -> Result<Option<Vec<u8>>, FileError> {
        file::read(&self.deployment.state.note())
    }

    /// Forgets the note.
    ///
    /// # Errors
    ///
    /// [`FileError`] when the state directory cannot be written.
    pub fn remove_note(&self) -> Result<(), FileError> {
        file::remove(&self.deployment.state.note())
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the tests write what a killed process would have left")]
mod tests {
    use std::{collections::BTreeSet, fs, mem, path::Path, time::Duration};

    use super::*;
    use crate::pair::Pair;

    fn pair(name: &str) -> Pair {
        Pair { endpoints: name.into(), dialplan: format!("; {name}").into() }
    }

    /// A host on which nothing was deployed yet; its Asterisk is asked nothing.
    fn host() -> (tempfile::TempDir, Deployment) {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let files = IncludeFiles { endpoints: at("p.conf"), dialplan: at("e.conf") };
        let cli = Cli::new("/nonexistent/asterisk", Duration::from_secs(1)).unwrap();
        let state = at("state");
        (directory, Deployment::new(cli, files, state))
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    /// As a deployment of `new` over `old` that was killed leaves it, of a caller whose tags are all the same.
    fn interrupted(deployment: &Deployment, is_proven: bool) {
        drop(deployment.lock(soon()).unwrap());
        let record = |name| Record { tag: "second".to_owned(), unpurged: BTreeSet::new(), pair: pair(name) };
        let proven = record(if is_proven { "new" } else { "old" });
        StagedRecord::new(deployment.state.proven(), proven).unwrap().commit().unwrap();
        StagedRecord::new(deployment.state.journal(), record("old")).unwrap().commit().unwrap();
        deployment.files.stage(&pair("new")).unwrap().rename().unwrap();
        // What it had staged besides.
        mem::forget(deployment.files.stage(&pair("old")).unwrap());
        mem::forget(StagedRecord::new(deployment.state.proven(), record("new")).unwrap());
    }

    #[test]
    fn an_interrupted_deployment_is_undone_unless_it_had_been_proven() {
        for (is_proven, stays) in [(false, "old"), (true, "new")] {
            let (directory, deployment) = host();
            interrupted(&deployment, is_proven);
            drop(deployment.lock(soon()).unwrap());
            assert_eq!(deployment.files.read().unwrap(), pair(stays));
            let left = |path: &Path| fs::read_dir(path).unwrap().count();
            // Both files and the state directory; the lock and the record of what is proven.
            assert_eq!((left(directory.path()), left(&directory.path().join("state"))), (3, 2));
        }
    }

    #[test]
    fn a_damaged_journal_is_no_leave_to_touch_anything() {
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
        assert_eq!(deployment.lock(soon()).unwrap().proven_tag(), None);
        assert_eq!(deployment.proven_tag().unwrap(), None);
        interrupted(&deployment, true);
        let mut turn = deployment.lock(soon()).unwrap();
        assert_eq!(turn.proven_tag(), Some("second"));
        turn.retag("third").unwrap();
        assert_eq!((turn.proven_tag(), deployment.proven_tag().unwrap().as_deref()), (Some("third"), Some("third")));
        fs::write(deployment.proven_path(), "pbx-asterisk record 1\ntag fourth\n").unwrap();
        assert!(deployment.proven_tag().unwrap_err().to_string().contains("proven cannot be read: it is damaged"));
    }

    #[test]
    fn against_a_pair_that_cannot_be_read_everything_is_new() {
        let (_directory, deployment) = host();
        interrupted(&deployment, true);
        let turn = deployment.lock(soon()).unwrap();
        let pair = Pair { endpoints: b"[1]\ntype=endpoint\n".into(), dialplan: Vec::new() };
        assert_eq!(turn.difference(&pair).unwrap().added, ["1"]);
        assert!(turn.difference(&self::pair("x")).is_err());
    }

    #[test]
    fn a_note_is_kept_until_it_is_removed() {
        let (_directory, deployment) = host();
        deployment.lock(soon()).unwrap().write_note(b"\xffnote").unwrap();
        let turn = deployment.lock(soon()).unwrap();
        assert_eq!(turn.note().unwrap().as_deref(), Some(b"\xffnote".as_slice()));
        turn.remove_note().unwrap();
        assert_eq!(turn.note().unwrap(), None);
    }
}
