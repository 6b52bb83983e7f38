//! Files on disk: staged, renamed and synced, with the records and the journal that outlive a crash.

pub(crate) mod file;
pub(crate) mod include_files;
pub(crate) mod record;
pub(crate) mod rights;
pub(crate) mod stamps;
pub(crate) mod state_dir;
