//! The four operations.

pub(crate) mod apply;
pub(crate) mod listing;
pub(crate) mod new_user;
pub(crate) mod users;
