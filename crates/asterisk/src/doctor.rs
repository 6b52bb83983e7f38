//! What a deployment would meet, found out without one.

pub(crate) mod fault;
pub(crate) mod inspection;
pub(crate) mod rehearsal;
pub(crate) mod sip;
