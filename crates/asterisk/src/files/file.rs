//! Replacing a file so that every reader, and every crash, sees the old content or the new.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use tempfile::{Builder, TempPath};

/// More than any file of ours holds: ten thousands of users.
const MOST_OF_OURS: usize = 16 << 20;
/// More than any file that an administrator writes.
pub(crate) const MOST_OF_OTHERS: usize = 4 << 20;

/// The end of a staged file's name: with the dot that it begins with, no `*.conf` matches it.
const STAGED: &str = ".staged";

/// What went wrong with which file.
#[derive(Debug, thiserror::Error)]
#[error("{} cannot be {action}: {}{}", .path.display(), said(.error), fix(.path, .error))]
#[non_exhaustive]
pub struct FileError {
    /// The file or directory.
    pub path: PathBuf,
    /// What was to be done with it: `written`, `read` …
    pub action: &'static str,
    /// What the system said.
    pub error: io::Error,
}

impl FileError {
    pub(crate) fn new(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self { path, action, error }
    }
}

/// What the system said, without the number that Rust adds (`(os error 13)`).
pub(crate) fn said(error: &io::Error) -> String {
    let mut text = error.to_string();
    text.truncate(text.find(" (os error ").unwrap_or(text.len()));
    text
}

fn fix(path: &Path, error: &io::Error) -> String {
    let directory = if path.is_dir() { path } else { path.parent().unwrap_or(path) }.display();
    match error.kind() {
        // Not EACCES: what nobody may do.
        _ if error.raw_os_error() == Some(Errno::PERM.raw_os_error()) => {
            format!(
                "; where `lsattr -d {0} {directory}` shows an i or an a: chattr -ia {0} {directory}",
                path.display()
            )
        }
        io::ErrorKind::ResourceBusy => {
            format!("; it is mounted by itself: umount {}, and mount the directory instead", path.display())
        }
        io::ErrorKind::NotFound => {
            format!("; create the directory {directory} and let this program's user write in it")
        }
        io::ErrorKind::PermissionDenied => format!("; let this program's user write in {directory}"),
        io::ErrorKind::ReadOnlyFilesystem => format!(
            "; {directory} is read-only for this program: mount its file system read-write, or name it in \
             ReadWritePaths= of the systemd unit"
        ),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => format!("; free space below {directory}"),
        _ => String::new(),
    }
}

/// New content beside its target, whole and synced; one rename away from being it. Dropped, it
/// leaves nothing.
#[derive(Debug)]
pub(crate) struct StagedFile {
    staged: TempPath,
    target: PathBuf,
}

impl StagedFile {
    pub(crate) fn new(target: &Path, content: &[u8], mode: u32) -> Result<Self, FileError> {
        Self::write(target, content, mode, File::sync_all)
    }

    /// As [`Self::new`], whole for every reader; a power cut may take it.
    pub(crate) fn unsynced(target: &Path, content: &[u8], mode: u32) -> Result<Self, FileError> {
        Self::write(target, content, mode, |_| Ok(()))
    }

    fn write(target: &Path, content: &[u8], mode: u32, sync: fn(&File) -> io::Result<()>) -> Result<Self, FileError> {
        let write = || {
            if content.len() > MOST_OF_OURS {
                return Err(too_large(MOST_OF_OURS));
            }
            let staged = Builder::new().prefix(&staged_prefix(target)).suffix(STAGED).tempfile_in(directory(target))?;
            let mut file = staged.as_file();
            file.set_permissions(Permissions::from_mode(mode))?;
            file.write_all(content)?;
            sync(file)?;
            Ok(Self { staged: staged.into_temp_path(), target: target.to_owned() })
        };
        write().map_err(FileError::new(target, "written"))
    }

    /// Renames it over its target, which is returned. The directory is not synced: [`sync_directory`].
    pub(crate) fn rename(self) -> Result<PathBuf, FileError> {
        if let Err(error) = self.be_younger() {
            log::warn!("{} may be taken for the file that it replaces: {error}", self.target.display());
        }
        match self.staged.persist(&self.target) {
            Ok(()) => Ok(self.target),
            Err(error) => Err(FileError::new(&self.target, "replaced")(error.error)),
        }
    }

    /// Gives it the group of its target, by which Asterisk reads that, where no setgid directory hands one on. If it cannot,
    /// the proof shows whether Asterisk reads the file.
    pub(crate) fn keep_group(&self) {
        let hands_on = |directory: fs::Metadata| directory.mode() & Mode::SGID.bits() != 0;
        if let Ok(there) = fs::metadata(&self.target)
            && !fs::metadata(directory(&self.target)).is_ok_and(hands_on)
        {
            _ = chown(&self.staged, None, Some(there.gid()));
        }
    }

    /// Gives it a later time than its target has. Asterisk reads a file that is included by its name only if its time or
    /// its size is another, and a pair and the pair to roll back to are staged within one tick of the kernel's clock.
    fn be_younger(&self) -> io::Result<()> {
        let Ok(there) = fs::metadata(&self.target).and_then(|there| there.modified()) else { return Ok(()) };
        // Some file systems keep whole seconds.
        let later = there.checked_add(Duration::from_secs(1)).ok_or(io::ErrorKind::InvalidData)?;
        let staged = OpenOptions::new().write(true).open(&self.staged)?;
        let now = staged.metadata()?.modified()?;
        staged.set_modified(if now > there { now } else { later })
    }

    /// As [`Self::rename`], unless the target is this already: one that cannot be replaced need not be restored.
    pub(crate) fn restore(self) -> Result<(), FileError> {
        let is_there = read(&self.target).is_ok_and(|there| there.is_some_and(|there| self.holds(&there)));
        if is_there { Ok(()) } else { self.rename().map(drop) }
    }

    fn holds(&self, content: &[u8]) -> bool {
        read(&self.staged).is_ok_and(|staged| staged.as_deref() == Some(content))
    }

    /// Renames it over its target, where it survives a power cut.
    pub(crate) fn rename_durably(self) -> Result<(), FileError> {
        sync_directory(&self.rename()?)
    }
}

/// Removes `target` and says whether it was there; a power cut may bring it back.
pub(crate) fn remove_unsynced(target: &Path) -> Result<bool, FileError> {
    match fs::remove_file(target) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(FileError::new(target, "removed")(error)),
    }
}

/// Removes `target`, durably; it need not be there.
pub(crate) fn remove(target: &Path) -> Result<(), FileError> {
    if remove_unsynced(target)? { sync_directory(target) } else { Ok(()) }
}

/// The content of `path`, or `None` where there is no such file.
pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>, FileError> {
    read_at_most(path, MOST_OF_OURS)
}

/// As [`read`]; a larger file is an error.
pub(crate) fn read_at_most(path: &Path, most: usize) -> Result<Option<Vec<u8>>, FileError> {
    let read = || {
        let file = regular(OpenOptions::new().read(true), path)?;
        let length = usize::try_from(file.metadata()?.len()).unwrap_or(most).min(most);
        // One byte more, so that the end is seen without growing.
        let mut content = Vec::with_capacity(length + 1);
        file.take(most as u64 + 1).read_to_end(&mut content)?;
        if content.len() > most { Err(too_large(most)) } else { Ok(content) }
    };
    match read() {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(FileError::new(path, "read")(error)),
    }
}

/// Opens a regular file: no FIFO, device or directory in its place keeps us waiting or never ends.
pub(crate) fn regular(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    let nothing_else = || io::Error::other("it is no regular file; move it away");
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let opened = options.custom_flags(flags.bits().cast_signed()).open(path);
    // A FIFO that nobody reads cannot be opened for writing, nor can a directory.
    let is_strange = |error: &io::Error| matches!(Errno::from_io_error(error), Some(Errno::NXIO | Errno::ISDIR));
    let file = opened.map_err(|error| if is_strange(&error) { nothing_else() } else { error })?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(nothing_else()) }
}

fn too_large(most: usize) -> io::Error {
    io::Error::other(format!("it holds more than {} MiB; move it away", most >> 20))
}

/// Makes the renames and removals in the directory of `target` survive a power cut.
pub(crate) fn sync_directory(target: &Path) -> Result<(), FileError> {
    let directory = directory(target);
    let opened = OpenOptions::new().read(true).custom_flags(OFlags::DIRECTORY.bits().cast_signed()).open(directory);
    opened.and_then(|opened| opened.sync_all()).map_err(FileError::new(directory, "synced"))
}

/// The names in a directory, which need not be there.
pub(crate) fn names(directory: &Path) -> Result<Vec<String>, FileError> {
    let read = || -> io::Result<Vec<String>> {
        let names = fs::read_dir(directory)?.map(|entry| entry.map(|entry| entry.file_name().into_string().ok()));
        names.filter_map(Result::transpose).collect()
    };
    match read() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        names => names.map_err(FileError::new(directory, "read")),
    }
}

/// Removes what a killed process left staged for `target`.
pub(crate) fn remove_stale_temp_files(target: &Path) -> Result<(), FileError> {
    remove_staged(directory(target), &staged_prefix(target))
}

/// Removes what a killed process left staged, of files whose staged names begin with this.
pub(crate) fn remove_staged(directory: &Path, prefix: &str) -> Result<(), FileError> {
    let is_staged = |name: &str| name.starts_with(prefix) && name.ends_with(STAGED);
    for path in names(directory)?.iter().filter(|name| is_staged(name)).map(|name| directory.join(name)) {
        // Whatever else has such a name is somebody else's.
        if !fs::symlink_metadata(&path).is_ok_and(|found| found.is_file()) {
            continue;
        }
        log::info!("removing {}, which an interrupted apply left", path.display());
        // A note is also written without the lock, and may be in its place by now.
        remove_unsynced(&path)?;
    }
    Ok(())
}

fn directory(target: &Path) -> &Path {
    match target.parent() {
        Some(directory) if directory != Path::new("") => directory,
        _ => Path::new("."),
    }
}

fn staged_prefix(target: &Path) -> String {
    format!(".{}.", target.file_name().unwrap_or_default().to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replace(target: &Path, content: &[u8], mode: u32) -> Result<(), FileError> {
        StagedFile::new(target, content, mode)?.rename_durably()
    }

    #[test]
    fn the_group_of_a_file_is_kept_unless_its_directory_hands_on_another() {
        let directory = tempfile::tempdir().unwrap();
        let own = directory.path().metadata().unwrap().gid();
        // Only root may give a file to any group.
        let group = if fs::metadata("/proc/self").unwrap().uid() == 0 { 65_534 } else { own };
        let target = directory.path().join("a.conf");
        let group_of_new = |mode| {
            fs::set_permissions(directory.path(), Permissions::from_mode(mode)).unwrap();
            replace(&target, b"", 0o640).unwrap();
            chown(&target, None, Some(group)).unwrap();
            let staged = StagedFile::new(&target, b"x", 0o640).unwrap();
            staged.keep_group();
            staged.rename().unwrap().metadata().unwrap().gid()
        };
        assert_eq!((group_of_new(0o755), group_of_new(0o2755)), (group, own));
    }

    #[test]
    fn a_file_is_replaced_with_its_mode_and_leaves_no_temporary_file() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("a.conf");
        replace(&target, b"one", 0o640).unwrap();
        replace(&target, b"two", 0o640).unwrap();
        assert_eq!(read(&target).unwrap().unwrap(), b"two");
        assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o7777, 0o640);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_is_younger_than_the_one_that_it_replaces() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("a.conf");
        let modified = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
        let (hour, second) = (Duration::from_hours(1), Duration::from_secs(1));
        replace(&target, b"one", 0o640).unwrap();
        // A file of long ago, one that was staged together with it, and one of a clock that was ahead.
        for case in 0..3 {
            let staged = StagedFile::new(&target, b"two", 0o640).unwrap();
            let now = modified(&staged.staged);
            let (there, then) = [(now - hour, now), (now, now + second), (now + hour, now + hour + second)][case];
            File::options().write(true).open(&target).unwrap().set_modified(there).unwrap();
            staged.rename().unwrap();
            assert_eq!(modified(&target), then);
        }
    }

    #[test]
    fn a_file_that_is_there_already_is_not_restored() {
        use std::os::unix::fs::MetadataExt as _;
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("a.conf");
        replace(&target, b"one", 0o640).unwrap();
        let inode = || fs::metadata(&target).unwrap().ino();
        let before = inode();
        for (content, stays) in [(b"one", true), (b"two", false)] {
            StagedFile::new(&target, content, 0o640).unwrap().restore().unwrap();
            assert_eq!((read(&target).unwrap().as_deref(), inode() == before), (Some(content.as_slice()), stays));
        }
    }

    #[test]
    fn what_is_staged_and_not_renamed_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        drop(StagedFile::new(&directory.path().join("a.conf"), b"x", 0o640).unwrap());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn stale_temporary_files_are_removed_and_no_others() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("a.conf");
        let staged = StagedFile::new(&target, b"x", 0o640).unwrap();
        let stale = staged.staged.keep().unwrap();
        assert!(stale.file_name().unwrap().to_str().unwrap().starts_with(".a.conf."));
        replace(&directory.path().join(".b.conf.x.staged"), b"", 0o600).unwrap();
        fs::create_dir(directory.path().join(".a.conf.x.staged")).unwrap();
        remove_stale_temp_files(&target).unwrap();
        assert!(!stale.exists());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
    }

    #[test]
    fn what_is_not_there_is_nothing_and_what_is_something_else_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("a.conf");
        replace(&target, b"one", 0o640).unwrap();
        let (below_a_file, elsewhere) = (target.join("b.conf"), Path::new("/nonexistent/a.conf"));
        assert!(read(directory.path()).is_err() && remove(directory.path()).is_err());
        assert!(remove_stale_temp_files(&below_a_file).is_err() && sync_directory(elsewhere).is_err());
        for _ in 0..2 {
            remove(&target).unwrap();
            assert_eq!(read(&target).unwrap(), None);
            remove_stale_temp_files(elsewhere).unwrap();
        }
    }

    #[test]
    fn what_would_block_or_flood_is_refused_at_once() {
        use rustix::fs::{CWD, FileType, Mode, mknodat};
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        mknodat(CWD, at("fifo"), FileType::Fifo, Mode::RWXU, 0).unwrap();
        File::create(at("sparse")).unwrap().set_len(3 << 30).unwrap();
        std::os::unix::fs::symlink("fifo", at("link")).unwrap();
        for (name, what) in [
            ("fifo", "no regular file; move it away"),
            ("link", "no regular file; move it away"),
            (".", "no regular file; move it away"),
            ("sparse", "more than 16 MiB; move it away"),
        ] {
            let error = read(&at(name)).unwrap_err();
            assert!(error.path == at(name) && error.to_string().contains(what), "{error}");
        }
        assert!(read(Path::new("/dev/zero")).is_err());
        for name in ["fifo", "."] {
            let lock = regular(OpenOptions::new().append(true), &at(name)).unwrap_err();
            assert!(lock.to_string().contains("no regular file"), "{lock}");
        }
        let most = vec![b'x'; MOST_OF_OURS];
        replace(&at("most"), &most, 0o600).unwrap();
        assert_eq!(read(&at("most")).unwrap().unwrap().len(), MOST_OF_OURS);
        assert!(replace(&at("more"), &[most, vec![0]].concat(), 0o600).is_err() && !at("more").exists());
    }

    #[test]
    fn a_name_alone_lies_in_the_working_directory() {
        assert_eq!(directory(Path::new("a.conf")), Path::new("."));
    }

    #[test]
    fn an_error_names_the_file_and_the_fix() {
        use io::ErrorKind::{NotFound, Other, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
        for (kind, fix) in [
            (NotFound, "; create the directory /nonexistent and"),
            (PermissionDenied, "; let this program's user write in /nonexistent"),
            (ReadOnlyFilesystem, "; /nonexistent is read-only for this program: mount"),
            (StorageFull, "; free space below /nonexistent"),
            (QuotaExceeded, "; free space below /nonexistent"),
            (Other, ""),
        ] {
            let error = FileError::new(Path::new("/nonexistent/a.conf"), "written")(kind.into()).to_string();
            let told = format!("/nonexistent/a.conf cannot be written: {}{fix}", io::Error::from(kind));
            assert!(error.starts_with(&told), "{error}");
        }
        for (code, fix) in [
            (Errno::PERM, "chattr -ia /nonexistent/a.conf /nonexistent"),
            (Errno::BUSY, "umount /nonexistent/a.conf, and"),
        ] {
            let error = io::Error::from_raw_os_error(code.raw_os_error());
            let error = FileError::new(Path::new("/nonexistent/a.conf"), "replaced")(error).to_string();
            assert!(error.contains(fix), "{error}");
        }
    }
}
