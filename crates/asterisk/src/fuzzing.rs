//! The readers of what Asterisk says, of the administrator's files and of what the state directory keeps, for the fuzz
//! targets.
//! cargo-fuzz alone sets `fuzzing`: no other build has this module.

use crate::ask::reload;
use crate::files::record::{Record, signature};
use crate::proof::config_lines;
use crate::proof::live::Live;
use crate::text::expected::Expected;
use crate::text::{exten, identifies, listing};

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
    Live::of(endpoints, markers, contexts).is_ok_and(|live| live.compare(wanted, former, |_| false).is_ok())
}

/// Whether this answer says that every module was reloaded.
#[must_use]
pub fn is_reloaded(answer: &str) -> bool {
    reload::is_success(answer)
}

/// Reads the answers that prove nothing: how many contacts, files and modules there are, and how many matches of identifies
/// that may take phones of users.
#[must_use]
pub fn counts(answer: &str) -> [usize; 4] {
    let contacts = listing::contacts(answer).map_or(0, |contacts| contacts.len());
    let of_users = identifies::matches(answer).filter(identifies::Match::may_be_users).count();
    [contacts, listing::config_files(answer).count(), listing::running_modules(answer).len(), of_users]
}

/// Reads a file of the administrator's as Asterisk does: its lines without comments, and the patterns that it includes.
#[must_use]
pub fn admin_lines(text: &str) -> (Vec<String>, Vec<String>) {
    let lines = config_lines::lines(text.as_bytes());
    let included = lines.iter().filter_map(|line| config_lines::included(line));
    let patterns = included.map(|(pattern, _)| pattern.to_owned()).collect();
    for line in &lines {
        _ = (config_lines::options(line).count(), config_lines::unclosed(line), config_lines::setting(line));
    }
    (lines, patterns)
}

/// Whether an extension, which may be a pattern, takes calls to a number.
#[must_use]
pub fn takes(exten: &str, number: &str) -> bool {
    exten::takes(exten, number)
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
