//! Both include files into their places, or neither.

use std::{fs, io, path::Path};

use crate::{
    file::{self, FileError, Staged},
    pair::{IncludeFiles, Pair},
};

/// Readable to Asterisk through the group that a setgid directory gives, to nobody else: the
/// endpoints file holds credentials.
const MODE: u32 = 0o640;

/// What stands for a file that is not there yet: Asterisk needs the target of an `#include` to
/// exist, or it loads nothing at all.
const NOTHING_YET: &[u8] = b"; Nothing was applied yet.\n";

/// A pair beside its targets, whole and synced.
#[derive(Debug)]
pub(crate) struct StagedPair {
    endpoints: Staged,
    dialplan: Staged,
}

impl IncludeFiles {
    /// What is on disk now; a file that is not there is empty but for a comment.
    pub(crate) fn read(&self) -> Result<Pair, FileError> {
        let content = |path| Ok(file::read(path)?.unwrap_or_else(|| NOTHING_YET.to_vec()));
        Ok(Pair { endpoints: content(&self.endpoints)?, dialplan: content(&self.dialplan)? })
    }

    /// Writes `pair` beside the targets, which stay as they are.
    pub(crate) fn stage(&self, pair: &Pair) -> Result<StagedPair, FileError> {
        for path in [&self.endpoints, &self.dialplan] {
            refuse_all_but_files(path)?;
        }
        Ok(StagedPair {
            endpoints: Staged::new(&self.endpoints, &pair.endpoints, MODE)?,
            dialplan: Staged::new(&self.dialplan, &pair.dialplan, MODE)?,
        })
    }

    /// Renames both files into place, durably.
    pub(crate) fn install(&self, staged: StagedPair) -> Result<(), FileError> {
        staged.endpoints.rename()?;
        staged.dialplan.rename()?;
        file::sync_directory(&self.endpoints)?;
        if self.endpoints.parent() != self.dialplan.parent() {
            file::sync_directory(&self.dialplan)?;
        }
        Ok(())
    }

    /// Removes what a killed process left staged.
    pub(crate) fn remove_litter(&self) -> Result<(), FileError> {
        file::remove_litter(&self.endpoints)?;
        file::remove_litter(&self.dialplan)
    }
}

/// A rename would replace an administrator's symbolic link with our file.
fn refuse_all_but_files(path: &Path) -> Result<(), FileError> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_file() => Ok(()),
        Ok(_) => {
            let error = io::Error::other("it is no regular file (a symbolic link or a directory); move it away");
            Err(FileError::new(path, "replaced")(error))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(FileError::new(path, "replaced")(error)),
    }
}
