//! Asterisk's own database, where it keeps who is registered.

use std::path::PathBuf;
use std::time::Instant;

use crate::ask::cli::Cli;
use crate::ask::whole_answers::Unread;
use crate::deploy::purge;
use crate::doctor::fault::Fault;
use crate::doctor::inspection::unreachable_fault;
use crate::files::rights::{READ, SEARCH, WRITE, Who, quoted};
use crate::text::listing;

/// Whether Asterisk may write it, and the journal beside it. Where somebody once ran it as root, that may be root's: a phone
/// then registers, and cannot be called.
pub(super) fn check_rights(settings: &str, asterisk: &Who) -> Result<(), Fault> {
    let file = listing::setting(settings, "ASTDB").map(|path| PathBuf::from(format!("{path}.sqlite3")));
    let paths = file.iter().flat_map(|file| [(file.parent(), WRITE | SEARCH), (Some(file.as_path()), READ | WRITE)]);
    let paths = paths.filter_map(|(path, bits)| path.filter(|path| !asterisk.may(path, bits)).map(quoted));
    let closed = paths.collect::<Vec<_>>().join(" ");
    if closed.is_empty() {
        return Ok(());
    }
    let (user, group) = (asterisk.user(), asterisk.group());
    Err(Fault::new(
        format!("Asterisk, which runs as {user}, may not write {closed}, where it keeps who is registered"),
        format!("chown {user}:{group} {closed} && chmod u+rwX {closed} && systemctl restart asterisk"),
    ))
}

/// Whether Asterisk says who is registered, and lets this user write that somebody is not any more.
pub(super) fn ask(cli: &Cli, deadline: Instant) -> Result<(), Fault> {
    let contacts = purge::read(cli, deadline.min(Instant::now() + cli.timeout()));
    let asked = contacts.and_then(|_| Ok(cli.ask("database query \"SELECT 1\"", deadline)?));
    asked.map(drop).map_err(|error| match error {
        Unread::Cli(error) => unreachable_fault(cli, &error, deadline),
        Unread::Listing { ref command, .. } => Fault::new(error.to_string(), cli.shown(command)),
    })
}
