//! Asking Asterisk, over its control socket or by the command, and its reload.

pub(crate) mod cli;
pub(crate) mod cli_error;
pub(crate) mod pause;
pub(crate) mod poll;
pub(crate) mod process;
pub(crate) mod reload;
pub(crate) mod running;
pub(crate) mod socket;
pub(crate) mod whole_answers;

#[cfg(test)]
mod tests;
