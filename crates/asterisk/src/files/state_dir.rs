use std::fs::{self, File, TryLockError};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{io, thread};

use crate::files::file::{self, FileError, StagedFile};
use crate::files::record::Record;

/// How the names of notes begin.
const NOTE: &str = "note-";

/// Only for this program: these files hold credentials.
pub(crate) const MODE: u32 = 0o600;

/// The directory that holds what must outlive a crash.
///
/// | file | holds |
/// |---|---|
/// | `lock` | nothing; the process that deploys on this host holds its lock |
/// | `proven` | the pair that Asterisk was last proven to run |
/// | `journal` | the pair to restore, while the include files may be other ones |
/// | `unproven` | nothing; while it exists, nobody knows whether Asterisk runs the proven pair |
/// | `verified` | inode, size and time of both include files, as they were verified last |
/// | `note-…` | what the caller keeps |
#[derive(Debug, Clone)]
pub(crate) struct StateDir(PathBuf);

/// The host-wide lock, held until it is dropped or the process ends.
#[derive(Debug)]
pub(crate) struct HostLock(File);

impl Drop for HostLock {
    fn drop(&mut self) {
        // Closing the file would not do where a child that another thread has just forked still has it open.
        if let Err(error) = self.0.unlock() {
            log::warn!("the host-wide lock is not given back: {error}");
        }
    }
}

impl StateDir {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self(path)
    }

    fn open_lock(&self, path: &Path) -> Result<File, FileError> {
        let open = || file::regular(File::options().create(true).append(true), path);
        match open() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::DirBuilder::new().mode(0o750).create(&self.0).map_err(FileError::new(&self.0, "created"))?;
                open()
            }
            opened => opened,
        }
        .map_err(FileError::new(path, "opened"))
    }

    /// Takes the lock, or gives `None` when it was not free until `deadline`.
    pub(crate) fn lock(&self, deadline: Instant) -> Result<Option<HostLock>, FileError> {
        let path = self.0.join("lock");
        let file = self.open_lock(&path)?;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Some(HostLock(file))),
                Err(TryLockError::WouldBlock) if Instant::now() >= deadline => return Ok(None),
                Err(TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(5)),
                Err(TryLockError::Error(error)) => return Err(FileError::new(&path, "locked")(error)),
            }
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Where the last proven pair is kept.
    pub(crate) fn proven(&self) -> PathBuf {
        self.0.join("proven")
    }

    /// Where the pair to roll back to is kept while the include files may be others.
    pub(crate) fn journal(&self) -> PathBuf {
        self.0.join("journal")
    }

    /// Removes the pair to restore, now that the include files are one pair again. A journal that
    /// stays does no harm: the next lock restores that pair, unless another one was proven since.
    pub(crate) fn close_journal(&self) {
        if let Err(error) = file::remove(&self.journal()) {
            log::warn!("{error}");
        }
    }

    pub(crate) fn unproven(&self) -> PathBuf {
        self.0.join("unproven")
    }

    /// From now on nobody may rely on the proven pair, until the next proof.
    pub(crate) fn mark_unproven(&self) -> Result<(), FileError> {
        self.stage_unproven()?.rename().map(drop)
    }

    /// The mark of [`Self::mark_unproven`], one rename away: a full disk cannot prevent it then.
    pub(crate) fn stage_unproven(&self) -> Result<StagedFile, FileError> {
        // It holds nothing that could be lost.
        StagedFile::unsynced(&self.unproven(), b"", MODE)
    }

    /// Allows to rely on the proven pair again. A mark that stays does no harm: less is claimed than is true.
    pub(crate) fn mark_proven(&self) {
        if let Err(error) = file::remove(&self.unproven()) {
            log::warn!("{error}: nothing counts as applied until the next apply");
        }
    }

    /// What changes whenever [`Self::claim`] may give another result.
    pub(crate) fn claim_stamp(&self) -> Result<ClaimStamp, FileError> {
        Ok(ClaimStamp {
            proven: stamp(&self.proven())?,
            unproven: stamp(&self.unproven())?,
            is_interrupted: self.is_interrupted()?,
        })
    }

    /// Whether a process was killed in mid-deployment, and nobody has recovered from it yet: another process of this host may
    /// be here to be asked.
    fn is_interrupted(&self) -> Result<bool, FileError> {
        if stamp(&self.journal())?.is_none() {
            return Ok(false);
        }
        let path = self.0.join("lock");
        let file = self.open_lock(&path)?;
        // Shared: of two who ask at once, neither takes the other for a deployment.
        match file.try_lock_shared() {
            Ok(()) => {
                drop(HostLock(file));
                Ok(true)
            }
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(FileError::new(&path, "locked")(error)),
        }
    }

    /// Whether nobody knows if Asterisk runs the proven pair.
    pub(crate) fn is_unproven(&self) -> Result<bool, FileError> {
        Ok(stamp(&self.unproven())?.is_some())
    }

    /// The record of the proven pair, unless nobody knew at this stamp whether Asterisk still ran it.
    pub(crate) fn claim(&self, stamp: &ClaimStamp) -> Result<Option<Record>, FileError> {
        if stamp.unproven.is_some() {
            return Ok(None);
        }
        let Some(proven) = read_record(&self.proven())? else { return Ok(None) };
        // Interrupted, it may be claimed only where another pair than the one to restore was proven since.
        let is_claimed =
            !stamp.is_interrupted || read_record(&self.journal())?.is_some_and(|journal| journal.pair != proven.pair);
        Ok(is_claimed.then_some(proven))
    }

    /// Where the stamps of the include files are kept.
    pub(crate) fn verified(&self) -> PathBuf {
        self.0.join("verified")
    }

    /// Where a note of the caller is kept.
    pub(crate) fn note(&self, name: &str) -> PathBuf {
        self.0.join(format!("{NOTE}{name}"))
    }

    /// The names of all notes, in order.
    pub(crate) fn notes(&self) -> Result<Vec<String>, FileError> {
        let names = file::names(&self.0)?;
        let mut notes: Vec<_> = names.iter().filter_map(|name| name.strip_prefix(NOTE)).map(str::to_owned).collect();
        notes.sort_unstable();
        Ok(notes)
    }

    /// Removes what a killed process left half-written: with the lock, as all but volatile notes are written with it.
    pub(crate) fn remove_stale_temp_files(&self) -> Result<(), FileError> {
        file::remove_staged(&self.0, ".")
    }
}

/// Identifies one state of what is known to be live: inode, times and size of the files that say so, each of which is
/// replaced and never written in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClaimStamp {
    proven: FileStamp,
    unproven: FileStamp,
    is_interrupted: bool,
}

impl ClaimStamp {
    /// Whether nothing was ever proven here, and nothing is in doubt.
    #[must_use]
    pub const fn is_blank(&self) -> bool {
        self.proven.is_none() && self.unproven.is_none() && !self.is_interrupted
    }
}

/// Inode, modification time and size of a file, if there is one.
type FileStamp = Option<(u64, i64, i64, u64)>;

fn stamp(path: &Path) -> Result<FileStamp, FileError> {
    Ok(metadata(path)?.map(|file| (file.ino(), file.mtime(), file.mtime_nsec(), file.size())))
}

pub(crate) fn metadata(path: &Path) -> Result<Option<fs::Metadata>, FileError> {
    match fs::symlink_metadata(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(FileError::new(path, "read")(error)),
    }
}

/// The record at `path`; a damaged one is an error, since acting without it could lose what it
/// protects.
pub(crate) fn read_record(path: &Path) -> Result<Option<Record>, FileError> {
    match file::read(path)? {
        None => Ok(None),
        Some(text) => Record::read(&text).map(Some).ok_or_else(|| {
            let damaged = io::Error::new(io::ErrorKind::InvalidData, "it is damaged; move it away and apply");
            FileError::new(path, "read")(damaged)
        }),
    }
}

/// A record beside its place, whole and synced: committing it needs no space.
#[derive(Debug)]
pub(crate) struct StagedRecord {
    staged: StagedFile,
    record: Record,
}

impl StagedRecord {
    pub(crate) fn new(path: &Path, record: Record) -> Result<Self, FileError> {
        Ok(Self { staged: StagedFile::new(path, &record.write(), MODE)?, record })
    }

    /// Renames the record into place. The rename is the commit point: a directory that cannot be synced is logged and is
    /// no error. After a power cut the former record may be there again, which claims less.
    pub(crate) fn commit(self) -> Result<Record, FileError> {
        let path = self.staged.rename()?;
        if let Err(error) = file::sync_directory(&path) {
            log::warn!("{error}");
        }
        Ok(self.record)
    }

    /// Renames the record into place, where it survives a power cut.
    pub(crate) fn commit_durably(self) -> Result<(), FileError> {
        self.staged.rename_durably()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_is_one_and_is_waited_for_until_the_deadline() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDir::new(directory.path().join("state"));
        let soon = || Instant::now() + Duration::from_millis(30);
        let first = state.lock(soon()).unwrap().unwrap();
        assert!(state.lock(soon()).unwrap().is_none());
        thread::scope(|scope| {
            let waiting = scope.spawn(|| state.lock(Instant::now() + Duration::from_secs(30)).unwrap().is_some());
            thread::sleep(Duration::from_millis(20));
            drop(first);
            assert!(waiting.join().unwrap());
        });
    }

    #[test]
    fn a_lock_is_free_again_though_a_child_still_has_it_open() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDir::new(directory.path().join("state"));
        let lock = state.lock(Instant::now()).unwrap().unwrap();
        let of_a_child = lock.0.try_clone().unwrap();
        drop(lock);
        assert!(state.lock(Instant::now()).unwrap().is_some());
        drop(of_a_child);
    }

    #[test]
    fn of_many_who_ask_whether_a_deployment_was_interrupted_none_takes_another_for_one() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDir::new(directory.path().join("state"));
        let lock = state.lock(Instant::now()).unwrap().unwrap();
        StagedFile::new(&state.journal(), b"", MODE).unwrap().rename().unwrap();
        assert!(!state.is_interrupted().unwrap(), "the one that has the lock deploys");
        drop(lock);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..500).for_each(|_| assert!(state.is_interrupted().unwrap())));
            }
        });
        assert!(state.lock(Instant::now()).unwrap().is_some());
    }

    #[test]
    fn a_lock_that_cannot_be_opened_is_named() {
        let directory = tempfile::tempdir().unwrap();
        fs::DirBuilder::new().create(directory.path().join("lock")).unwrap();
        let error = StateDir::new(directory.path().to_owned()).lock(Instant::now()).unwrap_err().to_string();
        assert!(error.contains("/lock cannot be opened: "), "{error}");
    }

    #[test]
    fn a_damaged_record_is_an_error_that_names_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("proven");
        assert_eq!(read_record(&path).unwrap(), None);
        StagedFile::new(&path, b"half a rec", MODE).unwrap().rename().unwrap();
        assert!(read_record(&path).unwrap_err().to_string().contains("proven cannot be read: it is damaged"));
    }

    #[test]
    fn where_the_state_cannot_be_seen_nothing_is_known_of_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let state = StateDir::new(file.path().to_owned());
        assert!(state.claim_stamp().is_err() && state.is_unproven().is_err());
    }

    #[test]
    fn the_stamp_of_a_new_host_alone_is_blank() {
        let blank = ClaimStamp { proven: None, unproven: None, is_interrupted: false };
        assert!(blank.is_blank());
        let there = Some((1, 2, 3, 4));
        for stamp in [
            ClaimStamp { proven: there, ..blank },
            ClaimStamp { unproven: there, ..blank },
            ClaimStamp { is_interrupted: true, ..blank },
        ] {
            assert!(!stamp.is_blank(), "{stamp:?}");
        }
    }
}
