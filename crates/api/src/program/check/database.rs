//! PostgreSQL: whether it answers, is up to date, and lets the service read and write.

use pbx_asterisk::Fault;
use pbx_persistence::{Database, DatabaseInspection, Protection, ReadOnly, UserList};

use super::database_answers::{self, RESTORE};
use super::database_fix::{self, fault};
use super::database_names::DatabaseNames;
use super::report::Report;
use super::service;
use crate::settings::Survey;

/// Asks the database, and gives it with the users where it has them.
pub(super) fn check(survey: &Survey, report: &mut Report<'_>) -> Option<(Database, UserList)> {
    const POINT: &str = "database";
    const CONNECTION: &str = "database connection";
    const VERIFY: &str = "sslmode=verify-full&sslrootcert=FILE in DATABASE_URL makes libpq verify it";
    if survey.wrong.iter().any(|error| error.key == Some("database.url")) {
        return None;
    }
    let settings = &survey.settings.database;
    let mut names = DatabaseNames::of(settings.url.reveal());
    let found =
        Database::connect(names.url, 1, settings.timeout).and_then(|database| Ok((database.inspect()?, database)));
    let (inspection, database) = match found {
        Ok(found) => found,
        Err(error) => {
            report.fault(POINT, &fault(&error, &names));
            return None;
        }
    };
    report.good(POINT, format_args!("PostgreSQL {} answers", inspection.server_version));
    // What is secret crosses the network: the digests of the phones, and the proof of the database password.
    match &inspection.protection {
        safe if safe.is_safe() => report.good(CONNECTION, safe),
        tls @ Protection::Tls { .. } => report.note(CONNECTION, format_args!("{tls}; {VERIFY}")),
        other => report.note(CONNECTION, format_args!("{other}; let who answers there use TLS: {VERIFY}")),
    }
    let DatabaseInspection { schema, pending, unknown, missing_rights, not_owned, read_only, .. } = inspection;
    let DatabaseInspection { missing_tables, missing_rules, .. } = inspection;
    names.schema = schema;
    if let Some(read_only) = read_only {
        let what = match read_only {
            ReadOnly::Standby => "it is a standby, which takes no changes",
            _ => "default_transaction_read_only is on, so that it takes no changes",
        };
        report.fault(POINT, &Fault::new(what, database_fix::writable(&names, read_only)));
    }
    let listed = |names: &[String]| names.join(", ");
    let gone = |names: &[String]| {
        let are = if names.len() == 1 { "is" } else { "are" };
        format!("{} {are} gone, as after a restore that failed in part", listed(names))
    };
    let wrong = if !missing_tables.is_empty() {
        Some(("tables", gone(&missing_tables), RESTORE.to_owned()))
    } else if !missing_rights.is_empty() {
        // Without its rights, what was applied may not be known.
        let what = format!("the role lacks {}", listed(&missing_rights));
        Some(("tables", what, database_answers::grant(&names, &missing_rights, &not_owned)))
    } else if !unknown.is_empty() {
        let what = format!("{} are of a newer portal, whose database this is", listed(&unknown));
        Some(("migrations", what, "apt-get install -y ./pbx-portal_*.deb   # the newer package".to_owned()))
    } else if !not_owned.is_empty() {
        let what = format!("{} are not applied, and the role does not own {}", listed(&pending), listed(&not_owned));
        Some(("migrations", what, database_answers::grant(&names, &[], &not_owned)))
    } else if !pending.is_empty() {
        Some(("migrations", format!("{} are not applied", listed(&pending)), service::command("migrate")))
    } else {
        None
    };
    if let Some((point, what, fix)) = wrong {
        report.fault(point, &Fault::new(what, fix));
        return None;
    }
    report.good("migrations", "all are applied");
    let users = database.users().list();
    let changed = if read_only.is_none() { database.rehearse_change() } else { Ok(()) };
    // Where somebody has locked a whole table, it cannot be read either, and the change says who that is.
    let unread = users.as_ref().err().filter(|_| !changed.as_ref().is_err_and(database_fix::is_locked));
    match (unread, changed) {
        (Some(error), _) => report.fault("tables", &fault(error, &names)),
        // A change may be refused for want of them.
        (None, _) if !missing_rules.is_empty() => {
            report.fault("tables", &Fault::new(gone(&missing_rules), RESTORE));
        }
        (None, Err(error)) => report.fault("tables", &database_fix::refused(&error, &names)),
        (None, Ok(())) if read_only.is_some() => report.good("tables", "they can be read"),
        (None, Ok(())) => report.good("tables", "they can be read and written"),
    }
    users.ok().map(|users| (database, users))
}
