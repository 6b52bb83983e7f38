//! Whether Asterisk knows a phone by its user name.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use crate::ask::cli::Cli;
use crate::ask::cli_error::CliError;
use crate::doctor::fault::Fault;
use crate::doctor::inspection::{OwnPjsip, edit};
use crate::proof::own_sections::OwnSection;
use crate::text::expected::Expected;
use crate::text::identifies::{self, IDENTIFIERS, Match};
use crate::text::listing;

const RESTART: &str = "systemctl restart asterisk";

/// Whether a phone is taken for an endpoint of the administrator's before its user name is looked at, or changes the
/// dialplan when it registers; where phones are taken for one that may not be users', a sentence says so.
pub(super) fn check(
    cli: &Cli,
    own: &OwnPjsip<'_>,
    settings: &str,
    expected: &Expected,
    deadline: Instant,
) -> Result<Result<Vec<String>, Fault>, CliError> {
    if let Some(fault) = bad_global(own, settings, expected) {
        return Ok(Err(fault));
    }
    let order = listing::setting(settings, "endpoint_identifier_order").unwrap_or_default();
    let at = |name: &str| order.split(',').position(|of| of.trim() == name);
    let is_first = |name: &str| at(name).is_some_and(|other| at("username").is_none_or(|user| other < user));
    let is_asked = IDENTIFIERS.iter().any(|(_, identifier)| is_first(identifier));
    let identifies = if is_asked { cli.ask("pjsip show identifies", deadline)? } else { String::new() };
    let found: Vec<_> = identifies::matches(&identifies).filter(|found| is_first(found.identifier)).collect();
    let taken = if let Some(all) = identifies::everybody(&found) {
        let names = |name: fn(&Match<'_>) -> String| all.iter().map(name).collect::<BTreeSet<_>>();
        let joined = |names: BTreeSet<String>| names.into_iter().collect::<Vec<_>>().join(" and ");
        let endpoints = joined(names(|of| of.endpoint.to_owned()));
        format!(
            "each phone is taken for the endpoint {endpoints} (identify {})",
            joined(names(|of| of.identify.to_owned()))
        )
    } else if is_first("anonymous")
        && !cli.ask("pjsip show endpoint anonymous", deadline)?.starts_with("Unable to find")
    {
        "each phone is taken for the endpoint anonymous".to_owned()
    } else {
        return Ok(Ok(notes(&found)));
    };
    Ok(Err(Fault::new(
        format!("{taken}, as endpoint_identifier_order is {order}"),
        format!("{} && {RESTART}", order_fix(own)),
    )))
}

/// A sentence for each identify that may take phones of users for its endpoint.
fn notes(found: &[Match<'_>]) -> Vec<String> {
    let mut all = BTreeMap::<_, Vec<_>>::new();
    for Match { identify, endpoint, identifier, criterion } in found.iter().filter(|found| found.may_be_users()) {
        all.entry((identify, endpoint, identifier)).or_default().push(*criterion);
    }
    let note = |((identify, endpoint, identifier), criteria): ((&&str, &&str, &&str), Vec<&str>)| {
        let whose = match *identifier {
            "header" => "with the header",
            "request_uri" => "with a request URI like",
            _ => "at",
        };
        let criteria = criteria.join(", ");
        format!(
            "a phone {whose} {criteria} is taken for the endpoint {endpoint} (identify {identify}), and not for a user"
        )
    };
    all.into_iter().map(note).collect()
}

/// A setting for all endpoints with which phones do not get through, whoever they are taken for.
fn bad_global(own: &OwnPjsip<'_>, settings: &str, expected: &Expected) -> Option<Fault> {
    const NAME: &str = "regcontext";
    let said = listing::setting(settings, NAME).unwrap_or_default();
    let context = said.split('&').find(|context| expected.contexts.contains_key(*context))?;
    let edit = edit(globals(own).map(|OwnSection { path, line, last_line, .. }| {
        (path.as_path(), format!("{line},{last_line}s/^[[:blank:]]*{NAME}[[:blank:]]*=.*//I"))
    }));
    Some(Fault::new(
        format!(
            "{NAME} is {context}: where a phone registers there, it takes calls, and where it unregisters, the user has none"
        ),
        if edit.is_empty() { RESTART.to_owned() } else { format!("{edit} && {RESTART}") },
    ))
}

/// The sections of what counts for all endpoints.
fn globals<'a>(own: &OwnPjsip<'a>) -> impl Iterator<Item = &'a OwnSection> {
    own.sections.iter().filter(|section| section.kind.as_deref() == Some("global"))
}

/// The command that puts user names first.
fn order_fix(own: &OwnPjsip<'_>) -> String {
    const ORDER: &str = "endpoint_identifier_order=username,ip,anonymous";
    match globals(own).find(|section| !section.is_template) {
        Some(OwnSection { path, line, last_line, .. }) => edit([(
            path.as_path(),
            format!("{line},{last_line}s/^[[:blank:]]*endpoint_identifier_order.*//;{line}s/$/\\n{ORDER}/"),
        )]),
        None => own.append(&format!("[global]\\ntype=global\\n{ORDER}")),
    }
}
