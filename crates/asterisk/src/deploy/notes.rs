//! What the caller keeps beside the proven pair.

use std::io;

use crate::deploy::deployment::{Deployment, LockedDeployment};
use crate::files::file::{self, FileError, StagedFile};
use crate::files::state_dir;

impl Deployment {
    /// The note of this name that [`LockedDeployment::write_note`] kept, without waiting for the lock.
    ///
    /// # Errors
    ///
    /// [`FileError`] when the state directory cannot be read.
    pub fn note(&self, name: &str) -> Result<Option<Vec<u8>>, FileError> {
        file::read(&self.state.note(name))
    }

    /// The names of all notes, in order.
    ///
    /// # Errors
    ///
    /// [`FileError`] when the state directory cannot be read.
    pub fn notes(&self) -> Result<Vec<String>, FileError> {
        self.state.notes()
    }

    /// Keeps a note under `name`, a part of a file name, without waiting for the lock. Every reader sees it whole; it
    /// survives the end of the process, and a power cut may take it.
    ///
    /// # Errors
    ///
    /// [`FileError`] when the state directory cannot be written.
    pub fn write_volatile_note(&self, name: &str, note: &[u8]) -> Result<(), FileError> {
        loop {
            match StagedFile::unsynced(&self.state.note(name), note, state_dir::MODE)?.rename() {
                // Whoever takes the lock removes what is staged, this too.
                Err(error) if error.error.kind() == io::ErrorKind::NotFound => {}
                renamed => return renamed.map(drop),
            }
        }
    }

    /// Removes the note of this name without waiting for the lock; a power cut may bring it back.
    ///
    /// # Errors
    ///
    /// [`FileError`] when the state directory cannot be written.
    pub fn remove_note(&self, name: &str) -> Result<(), FileError> {
        file::remove_unsynced(&self.state.note(name)).map(drop)
    }
}

impl LockedDeployment<'_> {
    /// Keeps a note under `name`, a part of a file name, durably.
    ///
    /// # Errors
    ///
    /// [`FileError`] when the state directory cannot be written.
    pub fn write_note(&self, name: &str, note: &[u8]) -> Result<(), FileError> {
        StagedFile::new(&self.deployment.state.note(name), note, state_dir::MODE)?.rename_durably()
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use crate::deploy::deployment::tests::{host, soon};

    #[test]
    fn a_note_is_kept_until_it_is_removed() {
        let (_directory, deployment) = host();
        deployment.lock(soon()).unwrap().write_note("a", b"\xffnote").unwrap();
        assert_eq!(deployment.note("a").unwrap().as_deref(), Some(b"\xffnote".as_slice()));
        assert_eq!(deployment.note("b").unwrap(), None);
        deployment.remove_note("a").unwrap();
        assert_eq!(deployment.note("a").unwrap(), None);
    }

    #[test]
    fn a_volatile_note_needs_no_lock() {
        let (_directory, deployment) = host();
        let locked = deployment.lock(soon()).unwrap();
        for text in [b"one", b"two"] {
            deployment.write_volatile_note("b", text).unwrap();
            assert_eq!(deployment.note("b").unwrap().as_deref(), Some(text.as_slice()));
        }
        locked.write_note("a", b"").unwrap();
        assert_eq!(deployment.notes().unwrap(), ["a", "b"]);
        deployment.remove_note("b").unwrap();
        deployment.remove_note("b").unwrap();
        assert_eq!(deployment.notes().unwrap(), ["a"]);
        std::fs::create_dir(deployment.state.note("c")).unwrap();
        assert!(
            deployment.write_volatile_note("c", b"").unwrap_err().to_string().contains("note-c cannot be replaced")
        );
    }

    #[test]
    fn a_volatile_note_is_written_while_others_take_the_lock() {
        let (_directory, deployment) = host();
        drop(deployment.lock(soon()).unwrap());
        thread::scope(|scope| {
            let locking = scope.spawn(|| (0..300).for_each(|_| drop(deployment.lock(soon()).unwrap())));
            while !locking.is_finished() {
                deployment.write_volatile_note("a", b"").unwrap();
            }
        });
    }
}
