//! All tests that `make test` runs on real parts, in one program, so that its threads are busy until the last of them.

mod docs_page;
mod doctor;
mod e2e;
mod examples;
mod faults;
mod http;
mod include_files;
mod layers;
mod names;
mod persistence;
mod recipes;
mod schemathesis;
mod service;
mod strangers;
#[path = "support/tests.rs"]
mod support;
