//! Which options of endpoints Asterisk knows.

use std::time::Instant;

use crate::ask::cli::Cli;

/// An option that every Asterisk knows: where it does not say so, its documentation is missing, and says nothing about any option.
const KNOWN: &str = "context";

/// Those of the options that Asterisk does not know.
pub(crate) fn unknown<'a>(cli: &Cli, options: impl IntoIterator<Item = &'a str>, deadline: Instant) -> Vec<&'a str> {
    let is_unknown = |option: &str| {
        let is_word = option.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        let answer = is_word.then(|| cli.run(&format!("config show help res_pjsip endpoint {option}"), deadline));
        let says = format!("No option {option} found for res_pjsip:endpoint");
        answer.is_none_or(|answer| answer.is_ok_and(|answer| answer.trim() == says))
    };
    let unknown: Vec<_> = options.into_iter().filter(|option| is_unknown(option)).collect();
    if unknown.is_empty() || is_unknown(KNOWN) { Vec::new() } else { unknown }
}
