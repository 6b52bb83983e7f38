//! What this node's Asterisk was last proven to run.

use std::{
    str::FromStr,
    sync::{PoisonError, RwLock},
};

use pbx_asterisk::{ClaimStamp, Deployment, FileError};
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

/// Reads it again only when it was replaced, by this process or another.
#[derive(Default)]
pub(super) struct ProvenCache {
    last: RwLock<Option<(ClaimStamp, Option<Proven>)>>,
}

impl ProvenCache {
    pub(super) fn proven(&self, deployment: &Deployment) -> Option<Proven> {
        let read = || {
            let stamp = deployment.proven_stamp()?;
            if let Some((last, proven)) = *self.last.read().unwrap_or_else(PoisonError::into_inner)
                && last == stamp
            {
                return Ok(proven);
            }
            let proven = deployment.proven()?.and_then(|proven| proven.tag.parse().ok());
            *self.last.write().unwrap_or_else(PoisonError::into_inner) = Some((stamp, proven));
            Ok(proven)
        };
        read().unwrap_or_else(|error: FileError| {
            log::error!("nothing counts as applied: {error}");
            None
        })
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
