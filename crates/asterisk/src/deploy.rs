//! The transaction that uses all of it: the new pair is verified, or the former one restored and verified.

pub(crate) mod deployment;
pub(crate) mod drift;
pub(crate) mod endpoint_options;
pub(crate) mod error;
pub(crate) mod install_or_roll_back;
pub(crate) mod notes;
pub(crate) mod purge;
pub(crate) mod recovery;
pub(crate) mod transaction;
pub(crate) mod uncovered;
mod verification;

#[cfg(test)]
pub(crate) mod tests;
