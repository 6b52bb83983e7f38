//! What this node's Asterisk was last proven to run.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::PathBuf,
    str::FromStr,
    sync::{PoisonError, RwLock},
};

use pbx_asterisk::Deployment;
use pbx_domain::{ApplyId, Revision};

/// The apply that this node's Asterisk was last proven to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proven {
    /// Its identity.
    pub id: ApplyId,
    /// The revision it was made of.
    pub revision: Revision,
}

/// The tag under which a deployment remembers it.
impl std::fmt::Display for Proven {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.id, self.revision)
    }
}

impl FromStr for Proven {
    type Err = ();

    fn from_str(tag: &str) -> Result<Self, ()> {
        let (id, revision) = tag.split_once(' ').ok_or(())?;
        Ok(Self { id: id.parse().map_err(drop)?, revision: Revision::new(revision.parse().map_err(drop)?) })
    }
}

/// Reads it again only when the file in which it is kept was replaced, by this process or another.
pub(super) struct ProvenCache {
    path: PathBuf,
    last: RwLock<Option<(Stamp, Option<Proven>)>>,
}

/// A file that was replaced has another one.
type Stamp = Option<(u64, i64, i64, u64)>;

impl ProvenCache {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, last: RwLock::default() }
    }

    pub(super) fn proven(&self, deployment: &Deployment) -> Option<Proven> {
        let stamp = self.stamp();
        if let Some((last, proven)) = *self.last.read().unwrap_or_else(PoisonError::into_inner)
            && last == stamp
        {
            return proven;
        }
        let proven = match deployment.proven_tag() {
            Ok(tag) => tag.and_then(|tag| tag.parse().ok()),
            Err(error) => {
                log::error!("what was last applied is not known: {error}");
                None
            }
        };
        *self.last.write().unwrap_or_else(PoisonError::into_inner) = Some((stamp, proven));
        proven
    }

    fn stamp(&self) -> Stamp {
        match fs::metadata(&self.path) {
            Ok(file) => Some((file.ino(), file.mtime(), file.mtime_nsec(), file.size())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                log::error!("{} cannot be looked at: {error}", self.path.display());
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_read_as_it_was_written() {
        let proven = Proven { id: ApplyId::generate(), revision: Revision::new(42) };
        assert_eq!(proven.to_string().parse(), Ok(proven));
        for wrong in ["", "x 1", "42", &format!("{} x", proven.id)] {
            assert_eq!(wrong.parse::<Proven>(), Err(()));
        }
    }
}
