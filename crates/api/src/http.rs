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
pub(crate) mod work;
