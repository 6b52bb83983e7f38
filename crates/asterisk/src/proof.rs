//! What Asterisk runs, compared with what it must run; and why it does not.

pub(crate) mod config_tree;
pub(crate) mod contacts;
pub(crate) mod diagnosis;
#[cfg(test)]
pub(crate) mod doctored;
pub(crate) mod live;
pub(crate) mod mismatch;
