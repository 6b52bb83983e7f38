//! Asking Asterisk, over its control socket or by the command, and its reload.

pub(crate) mod asking;
pub(crate) mod cli;
pub(crate) mod cli_error;
pub(crate) mod process;
pub(crate) mod ready;
pub(crate) mod reload;
pub(crate) mod running;
pub(crate) mod socket;
