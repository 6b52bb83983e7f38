use std::{
    fs::{self, File, TryLockError},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use crate::{
    file::{self, FileError, StagedFile},
    record::Record,
};

/// Only for this program: what lies here holds credentials.
const MODE: u32 = 0o600;

/// The directory in which is kept what must outlive a crash.
///
/// `lock` orders all applies of the host; `proven` is the pair that Asterisk was last proven to
/// run; `journal` is there while the include files may be others, and holds the pair to put back;
/// `note` is the caller's.
#[derive(Debug, Clone)]
pub(crate) struct StateDir(PathBuf);

/// The host-wide lock, held until it is dropped or the process ends.
#[derive(Debug)]
pub(crate) struct HostLock(#[expect(dead_code, reason = "the lock lives as long as the open file")] File);

impl StateDir {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// Takes the lock, or gives `None` when it was not free until `deadline`.
    pub(crate) fn lock(&self, deadline: Instant) -> Result<Option<HostLock>, FileError> {
        let path = self.0.join("lock");
        let open = || File::options().create(true).append(true).open(&path);
        let file = match open() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::DirBuilder::new().mode(0o750).create(&self.0).map_err(FileError::new(&self.0, "created"))?;
                open()
            }
            opened => opened,
        }
        .map_err(FileError::new(&path, "opened"))?;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Some(HostLock(file))),
                Err(TryLockError::WouldBlock) if Instant::now() >= deadline => return Ok(None),
                Err(TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(5)),
                Err(TryLockError::Error(error)) => return Err(FileError::new(&path, "locked")(error)),
            }
        }
    }

    /// Where the last proven pair is kept.
    pub(crate) fn proven(&self) -> PathBuf {
        self.0.join("proven")
    }

    /// Where the pair to put back is kept while the include files may be others.
    pub(crate) fn journal(&self) -> PathBuf {
        self.0.join("journal")
    }

    /// Forgets the pair to put back, now that the include files are one pair again. A journal that
    /// stays does no harm: the next turn finds it to be of that pair, or another one proven since.
    pub(crate) fn close_journal(&self) {
        if let Err(error) = file::remove(&self.journal()) {
            log::warn!("{error}");
        }
    }

    /// Where the caller's note is kept.
    pub(crate) fn note(&self) -> PathBuf {
        self.0.join("note")
    }

    pub(crate) fn remove_stale_temp_files(&self) -> Result<(), FileError> {
        [self.proven(), self.journal(), self.note()].iter().try_for_each(|path| file::remove_stale_temp_files(path))
    }
}

/// The record at `path`; a damaged one is an error, since acting without it could lose what it
/// protects.
pub(crate) fn read_record(path: &Path) -> Result<Option<Record>, FileError> {
    match file::read(path)? {
        None => Ok(None),
        Some(text) => Record::read(&text)
            .map(Some)
            .ok_or_else(|| FileError::new(path, "read")(io::Error::other("it is damaged; move it away and apply"))),
    }
}

/// A record beside its place, whole and synced: committing it needs no space.
#[derive(Debug)]
pub(crate) struct StagedRecord {
    staged: StagedFile,
    path: PathBuf,
    record: Record,
}

impl StagedRecord {
    pub(crate) fn new(path: PathBuf, record: Record) -> Result<Self, FileError> {
        Ok(Self { staged: StagedFile::new(&path, &record.write(), MODE)?, path, record })
    }

    /// Puts the record in its place. There it counts, so that a directory which cannot be synced is told and is no
    /// error: after a power cut the former record may be there again, and claims less.
    pub(crate) fn commit(self) -> Result<Record, FileError> {
        self.staged.rename()?;
        if let Err(error) = file::sync_directory(&self.path) {
            log::warn!("{error}");
        }
        Ok(self.record)
    }

    /// Puts the record in its place, where it survives a power cut.
    pub(crate) fn commit_durably(self) -> Result<(), FileError> {
        self.staged.rename()?;
        file::sync_directory(&self.path)
    }
}

pub(crate) fn write_note(path: &Path, note: &[u8]) -> Result<(), FileError> {
    file::replace(path, note, MODE)
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
        write_note(&path, b"half a rec").unwrap();
        assert!(read_record(&path).unwrap_err().to_string().contains("proven cannot be read: it is damaged"));
    }
}
