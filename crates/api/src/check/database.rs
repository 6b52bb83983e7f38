//! PostgreSQL: whether it answers, is up to date, and lets the service read and write.

use std::{fmt, io};

use pbx_asterisk::Fault;
use pbx_domain::User;
use pbx_persistence::{ConnectionFault, Database, DatabaseError, Inspection, Protection};

use super::{report::Report, service};
use crate::settings::Survey;

/// Asks the database, and gives the users where it has them.
pub(super) fn check(survey: &Survey, report: &mut Report<impl io::Write>) -> Option<Vec<User>> {
    const POINT: &str = "database";
    if !survey.knows("database.url") {
        return None;
    }
    let settings = &survey.settings.database;
    let url = settings.url.reveal();
    let found = Database::connect(url, 1, settings.timeout).and_then(|database| Ok((database.inspect()?, database)));
    let (inspection, database) = match found {
        Ok(found) => found,
        Err(error) => {
            report.fault(POINT, &fault(&error, url));
            return None;
        }
    };
    report.good(POINT, format_args!("PostgreSQL {} answers", inspection.server_version));
    tell_protection(&inspection.protection, report);
    let Inspection { pending, unknown, missing_rights, .. } = inspection;
    // Without its rights, what was applied may not be known.
    if !missing_rights.is_empty() {
        let what = format!("the role lacks {}", missing_rights.join(", "));
        report.fault("tables", &Fault::new(what, Names::of(url).grant()));
        return None;
    }
    if !unknown.is_empty() {
        let what = format!("{} are of a newer portal, whose database this is", unknown.join(", "));
        report.fault("migrations", &Fault::new(what, "apt-get install --only-upgrade pbx-portal"));
        return None;
    }
    if !pending.is_empty() {
        let what = format!("{} are not applied", pending.join(", "));
        report.fault("migrations", &Fault::new(what, service::command("migrate")));
        return None;
    }
    report.good("migrations", "all are applied");
    let users = database.users().list();
    match &users {
        Ok(_) => report.good("tables", "they can be read and written"),
        Err(error) => report.fault("tables", &fault(error, url)),
    }
    users.ok().map(|list| list.users)
}

/// Says how what is secret crosses the network: the digests of the phones, and the proof of the database password.
fn tell_protection(protection: &Protection, report: &mut Report<impl io::Write>) {
    const POINT: &str = "database connection";
    const VERIFY: &str = "sslmode=verify-full&sslrootcert=FILE in DATABASE_URL makes libpq verify it";
    match protection {
        Protection::Local => report.good(POINT, "it does not leave this host"),
        Protection::Tls { version, is_verified: true } => {
            report.good(POINT, format_args!("{version}, with the server's certificate verified"));
        }
        Protection::Tls { version, is_verified: false } => {
            report.note(POINT, format_args!("{version}, and the server's certificate is not verified; {VERIFY}"));
        }
        _ => report.note(
            POINT,
            format_args!("the phones' digests cross the network in clear text; let PostgreSQL use TLS: {VERIFY}"),
        ),
    }
}

fn fault(error: &DatabaseError, url: &str) -> Fault {
    let names = Names::of(url);
    let Names { database, role, is_local } = &names;
    let words = words(error);
    let has = |part: &str| words.contains(part);
    let correct = "correct DATABASE_URL in /etc/pbx-portal/env, then: systemctl try-restart pbx-portal";
    let fix = match (error, error.connection_fault()) {
        (DatabaseError::WrongEncoding { .. }, _) => format!(
            "cd / && runuser -u postgres -- psql -c 'ALTER DATABASE \"{database}\" RENAME TO \"{database}_old\"' && runuser -u \
             postgres -- createdb --owner={role} --encoding=UTF8 --template=template0 {database}"
        ),
        (DatabaseError::InvalidUrl, _) => correct.to_owned(),
        _ if has("permission denied for schema") => {
            names.in_database(&format!("GRANT ALL ON SCHEMA public TO \"{role}\""))
        }
        _ if has("permission denied for") => names.grant(),
        (_, Some(ConnectionFault::AuthorityUnreadable)) => {
            "install -m 0644 CA.crt at the path that sslrootcert of DATABASE_URL names, where the service's user may \
             read it"
                .to_owned()
        }
        (_, Some(ConnectionFault::CertificateNotTrusted)) => {
            "put the certificate of the authority that signed PostgreSQL's into the file that sslrootcert of \
             DATABASE_URL names; if it expired, renew it there"
                .to_owned()
        }
        (_, Some(ConnectionFault::NameMismatch)) => {
            format!("write the name that PostgreSQL's certificate is for as the host: {correct}")
        }
        (_, Some(ConnectionFault::NoTls)) => {
            "on the host of PostgreSQL: ssl = on in postgresql.conf, then: systemctl reload postgresql".to_owned()
        }
        (_, Some(ConnectionFault::RefusedByHba)) => format!(
            "on the host of PostgreSQL, a line in pg_hba.conf such as: hostssl {database} {role} ADDRESS/32 \
             scram-sha-256, then: systemctl reload postgresql"
        ),
        _ if has("does not exist") && *is_local => {
            "sh /usr/share/doc/pbx-portal/examples/postgresql/create.sh".to_owned()
        }
        _ if has("does not exist") => {
            "psql -f /usr/share/doc/pbx-portal/examples/postgresql/remote.sql, connected as a superuser there"
                .to_owned()
        }
        _ if has("Operation not permitted") => {
            "systemctl edit pbx-portal, and write: [Service] IPAddressAllow=ADDRESS of \
                                                PostgreSQL; then: systemctl try-restart pbx-portal"
                .to_owned()
        }
        (_, Some(ConnectionFault::WrongPassword | ConnectionFault::UnknownHost)) => correct.to_owned(),
        _ if *is_local || has("127.0.0.1") || has("::1") => "systemctl restart postgresql".to_owned(),
        _ => format!("start PostgreSQL there, open its port to this host, or {correct}"),
    };
    Fault::new(words, fix)
}

/// The whole chain: a person who may run this may see it, and no link of it names the password.
fn words(error: &DatabaseError) -> String {
    let mut words = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        words = format!("{words}: {}", error.to_string().split_whitespace().collect::<Vec<_>>().join(" "));
        source = error.source();
    }
    words
}

/// What a URL says of database and role, for the commands that are printed; the service's own where it says nothing.
struct Names {
    database: String,
    role: String,
    is_local: bool,
}

impl Names {
    fn of(url: &str) -> Self {
        let url = url.split_once("://").map_or(url, |(_, rest)| rest);
        let (address, query) = url.split_once('?').unwrap_or((url, ""));
        let (authority, database) = address.split_once('/').unwrap_or((address, ""));
        let (credentials, host) = authority.rsplit_once('@').unwrap_or(("", authority));
        let role = credentials.split(':').next().unwrap_or_default();
        let plain = |name: &str, default: &str| {
            let is_plain = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
            if is_plain { name.to_owned() } else { default.to_owned() }
        };
        Self {
            database: plain(database, "pbx_portal"),
            role: plain(role, "pbx-portal"),
            is_local: host.is_empty()
                && !query.split('&').any(|part| part.starts_with("host=") && !part.contains(['/', '%'])),
        }
    }
}

impl Names {
    /// The command that runs a statement in the database, as its superuser.
    fn in_database(&self, sql: &str) -> String {
        format!("cd / && runuser -u postgres -- psql -d {} -c '{sql}'", self.database)
    }

    /// The command that gives the role its rights.
    fn grant(&self) -> String {
        self.in_database(&format!("GRANT ALL ON ALL TABLES IN SCHEMA public TO \"{}\"", self.role))
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{} ({})", self.role, self.database, if self.is_local { "local" } else { "remote" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_for_commands_are_those_of_the_url() {
        for (url, names) in [
            ("postgresql:///pbx_portal", "pbx-portal@pbx_portal (local)"),
            ("postgresql://me:pa%2Fss@db.example.com/mine?sslmode=verify-full", "me@mine (remote)"),
            ("postgres://postgres@/test?host=/tmp/x", "postgres@test (local)"),
            ("host=db password='x y'", "pbx-portal@pbx_portal (remote)"),
        ] {
            assert_eq!(format!("{:?}", Names::of(url)), names);
        }
    }
}
