//! PostgreSQL: whether it answers, is up to date, and lets the service read and write.

use std::{fmt, io, sync::mpsc, thread, time::Duration};

use pbx_asterisk::Fault;
use pbx_domain::User;
use pbx_persistence::{Database, DatabaseError};

use super::{report::Report, service};
use crate::{Settings, settings::Survey};

/// Asks the database, and gives the users where it has them.
pub(super) fn check(survey: &Survey, report: &mut Report<impl io::Write>) -> Option<Vec<User>> {
    const POINT: &str = "database";
    if !survey.knows("database.url") {
        return None;
    }
    let settings = &survey.settings;
    let pending = match ask(settings, Database::pending_migrations) {
        Ok(pending) => pending,
        Err(fault) => {
            report.fault(POINT, &fault);
            return None;
        }
    };
    report.good(POINT, "it answers");
    if !pending.is_empty() {
        let what = format!("{} are not applied", pending.join(", "));
        report.fault("migrations", &Fault::new(what, service::command("migrate")));
        return None;
    }
    report.good("migrations", "all are applied");
    let users = ask(settings, |database| database.users().list());
    report.point("tables", users.as_ref().map(|_| "they can be read").map_err(Clone::clone));
    users.ok().map(|list| list.users)
}

/// Asks on a thread of its own, as libpq waits for ever for a server that is stopped.
fn ask<T: Send + 'static>(
    settings: &Settings,
    question: impl FnOnce(&Database) -> Result<T, DatabaseError> + Send + 'static,
) -> Result<T, Fault> {
    let limit = settings.database.timeout + Duration::from_secs(1);
    let (send, receive) = mpsc::sync_channel(1);
    let database = settings.database.clone();
    thread::spawn(move || {
        let answer = Database::connect(database.url.reveal(), 1, database.timeout).and_then(|found| question(&found));
        send.send(answer)
    });
    if let Ok(answer) = receive.recv_timeout(limit) {
        answer.map_err(|error| fault(&error, settings.database.url.reveal()))
    } else {
        let what = format!("it does not answer within {} s", limit.as_secs());
        Err(Fault::new(what, "systemctl restart postgresql"))
    }
}

fn fault(error: &DatabaseError, url: &str) -> Fault {
    let Names { database, role, is_local } = Names::of(url);
    let words = words(error);
    let in_database = |sql: &str| format!("cd / && runuser -u postgres -- psql -d {database} -c '{sql}'");
    let has = |part: &str| words.contains(part);
    let correct = "correct DATABASE_URL in /etc/pbx-portal/env, then: systemctl try-restart pbx-portal";
    let fix = match error {
        DatabaseError::WrongEncoding { .. } => format!(
            "cd / && runuser -u postgres -- psql -c 'ALTER DATABASE \"{database}\" RENAME TO \"{database}_old\"' && runuser -u \
             postgres -- createdb --owner={role} --encoding=UTF8 --template=template0 {database}"
        ),
        DatabaseError::InvalidUrl => correct.to_owned(),
        _ if has("permission denied for schema") => in_database(&format!("GRANT ALL ON SCHEMA public TO \"{role}\"")),
        _ if has("permission denied for") => {
            in_database(&format!("GRANT ALL ON ALL TABLES IN SCHEMA public TO \"{role}\""))
        }
        _ if has("does not exist") && is_local => {
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
        _ if has("authentication failed") || has("no password supplied") || has("could not translate host name") => {
            correct.to_owned()
        }
        _ if is_local || has("127.0.0.1") || has("::1") => "systemctl restart postgresql".to_owned(),
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
