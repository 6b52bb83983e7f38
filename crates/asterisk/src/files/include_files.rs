//! Both include files into their places, or neither.

use std::path::Path;
use std::{fs, io};

use crate::files::file::{self, FileError, StagedFile};
use crate::text::modules::{self, Modules};
use crate::text::pair::{IncludeFiles, Pair};

/// Readable to Asterisk through the group that a setgid directory gives, to nobody else: the
/// endpoints file holds credentials.
const MODE: u32 = 0o640;

/// The content of a file that is not there yet: Asterisk needs the target of an `#include` to
/// exist, or it loads nothing at all.
const NOTHING_YET: &[u8] = b"; Nothing was applied yet.\n";

/// A pair beside its targets, whole and synced; without a file that stays as it is.
#[derive(Debug)]
pub(crate) struct StagedPair(Vec<StagedFile>);

impl StagedPair {
    /// Renames both files into place. That they survive a power cut there is up to [`IncludeFiles::sync`].
    pub(crate) fn rename(self) -> Result<(), FileError> {
        self.0.into_iter().try_for_each(|file| file.rename().map(drop))
    }

    /// As [`Self::rename`], for the files that are others by now.
    pub(crate) fn restore(self) -> Result<(), FileError> {
        self.0.into_iter().try_for_each(StagedFile::restore)
    }
}

impl IncludeFiles {
    /// What is on disk now; a file that is not there is empty but for a comment.
    pub(crate) fn read(&self) -> Result<Pair, FileError> {
        let content = |path| Ok(file::read(path)?.unwrap_or_else(|| NOTHING_YET.to_vec()));
        Ok(Pair { endpoints: content(&self.endpoints)?, dialplan: content(&self.dialplan)? })
    }

    /// Writes `pair` beside the targets, which stay as they are: the files that `modules` read.
    pub(crate) fn stage(&self, pair: &Pair, modules: Modules) -> Result<StagedPair, FileError> {
        for path in [&self.endpoints, &self.dialplan] {
            refuse_all_but_files(path)?;
        }
        let both =
            [(modules::PJSIP, &self.endpoints, &pair.endpoints), (modules::DIALPLAN, &self.dialplan, &pair.dialplan)];
        let some = both.into_iter().filter(|(module, ..)| modules.contains(module));
        some.map(|(_, path, content)| StagedFile::new(path, content, MODE).inspect(StagedFile::keep_group))
            .collect::<Result<_, _>>()
            .map(StagedPair)
    }

    /// Makes what was renamed into place survive a power cut.
    pub(crate) fn sync(&self) -> Result<(), FileError> {
        file::sync_directory(&self.endpoints)?;
        file::sync_directory(&self.dialplan)
    }

    /// Removes what a killed process left staged.
    pub(crate) fn remove_stale_temp_files(&self) -> Result<(), FileError> {
        file::remove_stale_temp_files(&self.endpoints)?;
        file::remove_stale_temp_files(&self.dialplan)
    }
}

/// A rename would replace an administrator's symbolic link with our file. What cannot be looked at cannot be staged.
fn refuse_all_but_files(path: &Path) -> Result<(), FileError> {
    if fs::symlink_metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
        let error = io::Error::other("it is no regular file (a symbolic link or a directory); move it away");
        return Err(FileError::new(path, "replaced")(error));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_symbolic_link_or_a_directory_in_a_files_place_stays() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let pair = Pair { endpoints: b"new".into(), dialplan: b"new".into() };
        symlink("elsewhere", at("link")).unwrap();
        for (endpoints, dialplan) in [("link", "e.conf"), ("p.conf", "link"), (".", "e.conf")] {
            let files = IncludeFiles { endpoints: at(endpoints), dialplan: at(dialplan) };
            let refused = files.stage(&pair, modules::BOTH).unwrap_err().to_string();
            assert!(refused.contains("cannot be replaced: it is no regular file"), "{refused}");
        }
        let files = IncludeFiles { endpoints: at("p.conf"), dialplan: at("e.conf") };
        assert_eq!(files.read().unwrap().dialplan, NOTHING_YET);
        for _ in 0..2 {
            files.stage(&pair, modules::BOTH).unwrap().rename().unwrap();
            files.sync().unwrap();
            assert_eq!(files.read().unwrap(), pair);
        }
    }

    #[test]
    fn a_directory_that_is_gone_cannot_be_synced() {
        let there = tempfile::tempdir().unwrap();
        let [there, gone] = [there.path(), Path::new("/nonexistent")].map(|directory| directory.join("a.conf"));
        for (endpoints, dialplan) in [(&there, &gone), (&gone, &there)] {
            let files = IncludeFiles { endpoints: endpoints.clone(), dialplan: dialplan.clone() };
            assert!(files.sync().unwrap_err().to_string().contains("/nonexistent cannot be synced"));
        }
    }
}
