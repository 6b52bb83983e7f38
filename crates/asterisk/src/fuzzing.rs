//! The readers of what Asterisk says and of what the state directory keeps, for the fuzz targets.
//! cargo-fuzz alone sets `fuzzing`: no other build has this module.

use crate::{
    ask::reload,
    files::record::{Record, signature},
    proof::live::Live,
    text::{expected::Expected, listing},
};

/// Whether these answers prove `wanted`, of which `former` may have been live before: what is said
/// of all endpoints, of the markers, and of each context.
#[must_use]
pub fn is_proven(
    wanted: &Expected,
    former: &Expected,
    endpoints: &str,
    markers: &str,
    contexts: &[(String, String)],
) -> bool {
    Live::of(endpoints, markers, contexts).is_ok_and(|live| live.compare(wanted, former, |_| false).proven().is_ok())
}

/// Whether this answer says that every module was reloaded.
#[must_use]
pub fn is_reloaded(answer: &str) -> bool {
    reload::is_success(answer)
}

/// Reads the answers that prove nothing: how many contacts, files and modules there are.
#[must_use]
pub fn counts(answer: &str) -> [usize; 3] {
    let contacts = listing::contacts(answer).map_or(0, |contacts| contacts.len());
    [contacts, listing::config_files(answer).count(), listing::running_modules(answer).len()]
}

/// These bytes as a record of the state directory is signed: no mutation finds a digest.
#[must_use]
pub fn signed(bytes: &[u8]) -> Vec<u8> {
    [bytes, signature(bytes).as_bytes()].concat()
}

/// A record of the state directory as it would be written again, unless it is damaged.
#[must_use]
pub fn rewritten_record(bytes: &[u8]) -> Option<Vec<u8>> {
    Record::read(bytes).map(|record| record.write())
}
