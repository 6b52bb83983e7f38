//! The program: its server, the doctor, what it says to systemd, and the description of its API.

pub mod check;
pub(crate) mod docs;
pub mod openapi;
pub mod server;
pub(crate) mod systemd;
