//! HTTP around the operations: who may connect and ask, what a request and its response are made of.

pub(crate) mod access;
pub(crate) mod apply_response;
pub(crate) mod auth;
pub(crate) mod body;
pub(crate) mod clients;
pub(crate) mod connection;
pub mod logging;
pub(crate) mod problem;
pub(crate) mod query;
pub(crate) mod request_id;
mod web_pages;
pub(crate) mod work;

/// Whether this is 1 to 64 of `A-Z a-z 0-9 . _ -`: a name that a line of the log and a header take as it is.
pub(crate) fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}
