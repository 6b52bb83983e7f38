//! What Asterisk runs, compared with what it must run; and why it does not.

pub(crate) mod admin_sections;
pub(crate) mod config_lines;
pub(crate) mod config_tree;
pub(crate) mod diagnosis;
pub(crate) mod live;
pub(crate) mod mismatch;
pub(crate) mod obstacles;
mod patterns;

#[cfg(test)]
mod tests;
