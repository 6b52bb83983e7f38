use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use crate::{
    ask::cli::Cli,
    deploy::{error::LockError, uncovered::Trust},
    files::{
        file::{self, FileError},
        record::Record,
        state_dir::{self, ClaimStamp, HostLock, StagedRecord, StateDir},
    },
    text::{
        expected::{Difference, Expected, UnreadablePair},
        modules::BOTH,
        pair::{IncludeFiles, Pair},
    },
};

/// One Asterisk's two include files, and the way they are replaced: as one transaction, one at a
/// time on the host.
#[derive(Debug, Clone)]
pub struct Deployment {
    pub(crate) cli: Cli,
    pub(crate) files: IncludeFiles,
    pub(crate) state: StateDir,
    pub(crate) trust: Trust,
    pub(crate) known: Known,
}

/// The two pairs read last, and what they make live: most applies have the proven pair's from the one before.
pub(crate) type Known = Arc<Mutex<Vec<(Pair, Arc<Expected>)>>>;

impl Deployment {
    /// A deployment of `files` into the Asterisk behind `cli`. `state_dir` holds the lock and
    /// what must outlive a crash; it is made when it is missing and its parent is there.
    #[must_use]
    pub fn new(cli: Cli, files: IncludeFiles, state_dir: impl Into<PathBuf>) -> Self {
        Self { cli, files, state: StateDir::new(state_dir.into()), trust: Trust::default(), known: Known::default() }
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
        let mut locked = LockedDeployment { deployment: self, proven, _lock: lock };
        if let Some(journal) = state_dir::read_record(&self.state.journal())? {
            // The journal holds the pair that was proven before. So another one was proven since.
            if locked.proven.as_ref().is_some_and(|proven| proven.pair != journal.pair) {
                log::warn!("the deployment {:?} was interrupted after its proof: its files stay", journal.tag);
                self.state.mark_proven();
            } else {
                log::warn!("the deployment {:?} was interrupted: the former files are restored", journal.tag);
                // Asterisk may have reloaded the new files before the process ended.
                self.state.mark_unproven()?;
                if self.files.read()? != journal.pair {
                    self.files.stage(&journal.pair, BOTH)?.restore()?;
                }
                self.files.sync()?;
                locked.purge_later(&journal.unpurged);
            }
            file::remove(&self.state.journal())?;
        }
        Ok(locked)
    }

    /// What must be live of a pair for this deployment.
    pub(crate) fn expected(&self, pair: &Pair) -> Result<Arc<Expected>, UnreadablePair> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let found = known.iter().position(|(of, _)| of == pair).map(|at| known.remove(at));
        let (pair, expected) = match found {
            Some(found) => found,
            None => (pair.clone(), Arc::new(Expected::read_for(pair, self.trust.is_strict)?)),
        };
        known.truncate(1);
        known.insert(0, (pair, Arc::clone(&expected)));
        Ok(expected)
    }

    /// What a program does once, at its start: recovers from an interrupted deployment, and claims nothing where the
    /// files on disk are not the proven pair, as in a state directory that was copied from another host, or where they
    /// define something and nothing was ever proven. Asks Asterisk for nothing.
    ///
    /// # Errors
    ///
    /// As [`Self::lock`]. [`LockError::Busy`] means that another process deploys right now.
    pub fn recover(&self, deadline: Instant) -> Result<LockedDeployment<'_>, LockError> {
        let locked = self.lock(deadline)?;
        let on_disk = self.files.read()?;
        let is_known = match &locked.proven {
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
        Ok(self.state.claim()?.map(|Record { tag, pair, .. }| ProvenPair { tag, pair }))
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
    proven: Option<Record>,
    _lock: HostLock,
}

impl LockedDeployment<'_> {
    /// The tag and the content of the pair last proven, whether or not Asterisk surely still runs it
    /// ([`Deployment::proven`]): what the next deployment changes is said against it.
    #[must_use]
    pub fn last_proven(&self) -> Option<(&str, &Pair)> {
        self.proven.as_ref().map(|record| (record.tag.as_str(), &record.pair))
    }

    /// The record of the pair last proven.
    pub(crate) fn proven(&self) -> Option<&Record> {
        self.proven.as_ref()
    }

    pub(crate) fn set_proven(&mut self, record: Record) {
        self.proven = Some(record);
    }

    /// Remembers that the contacts of these aors may be others' than their owners' in the pair last proven.
    pub(crate) fn purge_later(&mut self, aors: &BTreeSet<String>) {
        let Some(record) = self.proven.as_ref().filter(|record| !aors.is_subset(&record.unpurged)) else { return };
        let mut record = record.clone();
        record.unpurged.extend(aors.iter().cloned());
        match StagedRecord::new(&self.deployment.state.proven(), record).and_then(StagedRecord::commit) {
            Ok(record) => self.set_proven(record),
            Err(error) => log::warn!("contacts of former owners may be left: {error}"),
        }
    }

    /// What the pair last proven makes live; nothing without one, and where it cannot be read.
    fn proven_expected(&self) -> Arc<Expected> {
        let expected = self.proven.as_ref().and_then(|proven| self.deployment.expected(&proven.pair).ok());
        expected.unwrap_or_default()
    }

    /// What `pair` changes against the pair last proven; against none, or one that cannot be read, all of it is new.
    ///
    /// # Errors
    ///
    /// [`UnreadablePair`] when `pair` cannot be read.
    pub fn difference(&self, pair: &Pair) -> Result<Difference, UnreadablePair> {
        Ok(self.deployment.expected(pair)?.difference(&self.proven_expected()))
    }

    /// The endpoints of the pair last proven whose owners `pair` takes the number from: they are no more in it, or ask
    /// for another credential there. None where the proven pair cannot be read.
    ///
    /// # Errors
    ///
    /// [`UnreadablePair`] when `pair` cannot be read.
    pub fn former_owners(&self, pair: &Pair) -> Result<Vec<String>, UnreadablePair> {
        let now = self.deployment.expected(pair)?;
        Ok(now.former_owners(&self.proven_expected()).map(str::to_owned).collect())
    }

    /// Remembers another `tag` with the pair last proven.
    ///
    /// # Errors
    ///
    /// [`FileError`] when the state directory cannot be written.
    pub fn retag(&mut self, tag: &str) -> Result<(), FileError> {
        if let Some(record) = &self.proven {
            let record = Record { tag: tag.to_owned(), ..record.clone() };
            let record = StagedRecord::new(&self.deployment.state.proven(), record)?.commit()?;
            self.set_proven(record);
        }
        Ok(())
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the tests write what a killed process would have left")]
pub(super) mod tests {
    use std::{fs, mem, path::Path, time::Duration};

    use super::*;
    use crate::text::pair::Pair;

    fn pair(name: &str) -> Pair {
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
        Instant::now() + Duration::from_secs(10)
    }

    /// As a deployment of `new` over `old` that was killed leaves it, of a caller whose tags are all the same.
    fn interrupted(deployment: &Deployment, is_proven: bool) {
        drop(deployment.lock(soon()).unwrap());
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
    fn the_two_pairs_read_last_are_not_read_again() {
        let (_directory, deployment) = host();
        let read =
            |name| deployment.expected(&Pair { endpoints: format!("; {name}").into(), ..Pair::default() }).unwrap();
        let (one, other) = (read("one"), read("other"));
        assert!(Arc::ptr_eq(&one, &read("one")) && Arc::ptr_eq(&other, &read("other")));
        read("third");
        assert!(Arc::ptr_eq(&other, &read("other")) && !Arc::ptr_eq(&one, &read("one")));
        let strict = deployment.clone().strict();
        assert!(!Arc::ptr_eq(
            &read("one"),
            &strict.expected(&Pair { endpoints: "; one".into(), ..Pair::default() }).unwrap()
        ));
    }

    #[test]
    fn an_interrupted_deployment_is_rolled_back_unless_it_had_been_proven() {
        for (is_proven, stays) in [(false, "old"), (true, "new")] {
            let (directory, deployment) = host();
            interrupted(&deployment, is_proven);
            drop(deployment.lock(soon()).unwrap());
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
            interrupted(&deployment, is_proven);
            let before = deployment.proven_stamp().unwrap();
            drop(deployment.lock(soon()).unwrap());
            assert_eq!(deployment.proven().unwrap().is_some(), is_proven);
            assert_eq!(deployment.proven_stamp().unwrap() == before, is_proven);
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
        drop(deployment.recover(soon()).unwrap());
        assert_eq!(deployment.proven().unwrap(), None);
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

    #[test]
    fn former_owners_are_those_whose_number_is_nobodys_or_asks_for_another_credential() {
        let user = |number: u16, auth: &str, digest: &str| {
            format!("[{number}]\ntype=endpoint\nauth={auth}\n[{auth}]\ntype=auth\npassword_digest=MD5:{digest}\n")
        };
        let pair = |text: String| Pair { endpoints: text.into(), dialplan: Vec::new() };
        let (_directory, deployment) = host();
        let mut locked = deployment.lock(soon()).unwrap();
        let now = pair(user(1, "1-b", "x") + &user(2, "2-b", "y") + &user(4, "4-a", "x"));
        assert_eq!(locked.former_owners(&now).unwrap(), Vec::<String>::new(), "nothing was proven");
        let former = pair(user(1, "1-a", "x") + &user(2, "2-a", "x") + &user(3, "3-a", "x"));
        locked.set_proven(Record { tag: String::new(), unpurged: BTreeSet::new(), pair: former });
        assert_eq!(locked.former_owners(&now).unwrap(), ["2", "3"]);
    }

    #[test]
    fn against_a_pair_that_cannot_be_read_everything_is_new() {
        let (_directory, deployment) = host();
        interrupted(&deployment, true);
        let locked = deployment.lock(soon()).unwrap();
        let pair = Pair { endpoints: b"[1]\ntype=endpoint\n".into(), dialplan: Vec::new() };
        assert_eq!(locked.difference(&pair).unwrap().added, ["1"]);
        assert!(locked.difference(&self::pair("x")).is_err());
    }
}
