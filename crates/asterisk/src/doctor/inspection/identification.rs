//! Whether Asterisk knows a phone by its user name.

use std::path::Path;
use std::time::Instant;

use crate::ask::cli::Cli;
use crate::ask::cli_error::CliError;
use crate::doctor::fault::Fault;
use crate::doctor::inspection::edit;
use crate::files::rights::quoted;
use crate::proof::diagnosis::PJSIP_CONF;
use crate::proof::own_sections::OwnSection;
use crate::text::identifies::{self, Match};
use crate::text::listing;

/// Whether a phone is taken for an endpoint of the administrator's before its user name is looked at; where that is for
/// some phones alone, a sentence says so.
pub(super) fn check(
    cli: &Cli,
    directory: &Path,
    settings: &str,
    sections: &[OwnSection],
    deadline: Instant,
) -> Result<Result<Vec<String>, Fault>, CliError> {
    if let Some(algorithms) = listing::setting(settings, "default_auth_algorithms_uas")
        && !algorithms.to_ascii_uppercase().split(',').any(|algorithm| algorithm.trim() == "MD5")
    {
        let edit = global(sections).map(|OwnSection { path, line, last_line, .. }| {
            let removal = format!("{line},{last_line}s/^[[:blank:]]*default_auth_algorithms_uas.*//");
            edit([(path.as_path(), removal)]) + " && "
        });
        return Ok(Err(Fault::new(
            format!("default_auth_algorithms_uas is {algorithms}, and the passwords of users are kept for MD5"),
            format!("{}systemctl restart asterisk", edit.unwrap_or_default()),
        )));
    }
    let order = listing::setting(settings, "endpoint_identifier_order").unwrap_or_default();
    let at = |name: &str| order.split(',').position(|of| of.trim() == name);
    let is_first = |name: &str| at(name).is_some_and(|other| at("username").is_none_or(|user| other < user));
    let identifies = if is_first("ip") { cli.ask("pjsip show identifies", deadline)? } else { String::new() };
    let (all, some): (Vec<_>, Vec<_>) = identifies::matches(&identifies).partition(Match::is_everybody);
    let taken = if let Some(found) = all.first() {
        format!("the identify {} takes each phone for the endpoint {}", found.identify, found.endpoint)
    } else if is_first("anonymous")
        && !cli.ask("pjsip show endpoint anonymous", deadline)?.starts_with("Unable to find")
    {
        "each phone is taken for the endpoint anonymous".to_owned()
    } else {
        let some = some.into_iter().filter(Match::is_private_network).map(|found| {
            let Match { identify, endpoint, network } = found;
            format!("the identify {identify} takes each phone at {network} for the endpoint {endpoint}")
        });
        return Ok(Ok(some.collect()));
    };
    Ok(Err(Fault::new(
        format!("{taken}, as endpoint_identifier_order is {order}"),
        format!("{} && systemctl restart asterisk", order_fix(directory, sections)),
    )))
}

/// The section of what counts for all endpoints.
fn global(sections: &[OwnSection]) -> Option<&OwnSection> {
    sections.iter().find(|section| section.kind.as_deref() == Some("global"))
}

/// The command that puts user names first.
fn order_fix(directory: &Path, sections: &[OwnSection]) -> String {
    const ORDER: &str = "endpoint_identifier_order=username,ip,anonymous";
    match global(sections) {
        Some(OwnSection { path, line, last_line, .. }) => edit([(
            path.as_path(),
            format!("{line},{last_line}s/^[[:blank:]]*endpoint_identifier_order.*//;{line}s/$/\\n{ORDER}/"),
        )]),
        None => format!("printf '\\n[global]\\ntype=global\\n{ORDER}\\n' >> {}", quoted(&directory.join(PJSIP_CONF))),
    }
}
