//! Why PostgreSQL cannot be used, and the command that fixes it: on this host, or on PostgreSQL's.

use std::{fmt, fs, io, net::IpAddr};

use pbx_asterisk::Fault;
use pbx_persistence::{ConnectionFault, DatabaseError};

use crate::settings::Environment;

/// Where the certificate of the authority that signed PostgreSQL's belongs.
const AUTHORITY: &str = "/etc/pbx-portal/database-ca.crt";
const RESTART: &str = "systemctl try-restart pbx-portal";
const RELOAD: &str = "systemctl reload postgresql";

pub(super) fn fault(error: &DatabaseError, url: &str) -> Fault {
    let words = words(error);
    let fix = fix(error, &words, url);
    Fault::new(words, fix)
}

/// The command that gives the role its rights on the schema and its tables.
pub(super) fn grant(url: &str) -> String {
    let names = Names::of(url);
    let role = &names.role;
    names.in_database(&format!(
        "GRANT ALL ON SCHEMA public TO \"{role}\"; GRANT ALL ON ALL TABLES IN SCHEMA public TO \"{role}\""
    ))
}

fn fix(error: &DatabaseError, words: &str, url: &str) -> String {
    let names = Names::of(url);
    let Names { database, role, is_local } = &names;
    let has = |part: &str| words.contains(part);
    let env = Environment::SERVICE_FILE;
    let correct = format!("correct DATABASE_URL in {env}, then: {RESTART}");
    match (error, error.connection_fault()) {
        (DatabaseError::WrongEncoding { .. }, _) => names.there(&format!(
            "psql -c 'ALTER DATABASE \"{database}\" RENAME TO \"{database}_old\"' && runuser -u postgres -- {}",
            names.create_database()
        )),
        (DatabaseError::InvalidUrl, _) => correct,
        _ if has("permission denied for database") => {
            names.in_database(&format!("GRANT CONNECT ON DATABASE \"{database}\" TO \"{role}\""))
        }
        _ if has("permission denied for") => grant(url),
        _ if has("not permitted to log in") => names.in_database(&format!("ALTER ROLE \"{role}\" LOGIN")),
        _ if has("Peer authentication failed") => {
            format!("sed -i \"s|^DATABASE_URL=.*|DATABASE_URL='postgresql:///{database}'|\" {env} && {RESTART}")
        }
        (_, Some(ConnectionFault::AuthorityUnreadable | ConnectionFault::CertificateNotTrusted)) => {
            trust(words, url)
        }
        (_, Some(ConnectionFault::NameMismatch)) => rename(words).unwrap_or_else(|| {
            format!("write a name that PostgreSQL's certificate is for as the host: {correct}")
        }),
        (_, Some(ConnectionFault::NoTls)) => {
            names.there(&format!("psql -c 'ALTER SYSTEM SET ssl = on' && {RELOAD}"))
        }
        (_, Some(ConnectionFault::RefusedByHba)) => let_in(words, url, &names),
        (_, Some(ConnectionFault::NoDatabase | ConnectionFault::NoRole)) if names.are_ours() => {
            "sh /usr/share/doc/pbx-portal/examples/postgresql/create.sh".to_owned()
        }
        (_, Some(ConnectionFault::NoDatabase)) => names.there(&names.create_database()),
        (_, Some(ConnectionFault::WrongPassword)) if has("no password supplied") => {
            format!("write {role}:PASSWORD@ before the host of DATABASE_URL in {env}, then: {RESTART}")
        }
        // With passwords, PostgreSQL does not say which of the two it is.
        (_, Some(ConnectionFault::WrongPassword | ConnectionFault::NoRole)) => names.there(&format!(
            "psql -c 'CREATE ROLE \"{role}\" LOGIN' -c '\\password \"{role}\"'   # the password of DATABASE_URL; that \
             the role exists is no harm"
        )),
        (_, Some(ConnectionFault::UnknownHost)) => {
            format!("write PostgreSQL's address and that name into /etc/hosts, or {correct}")
        }
        _ if has("Operation not permitted") => format!(
            "systemctl edit pbx-portal, and write: [Service] IPAddressAllow=ADDRESS of PostgreSQL; then: {RESTART}"
        ),
        _ if *is_local || has("127.0.0.1") || has("::1") => "systemctl restart postgresql".to_owned(),
        (_, Some(ConnectionFault::NotListening)) => names.there(
            "psql -c \"ALTER SYSTEM SET listen_addresses = '*'\"; systemctl restart postgresql   # if the port is right",
        ),
        _ => format!("start PostgreSQL there, open its port to this host, or {correct}"),
    }
}

/// Puts the authority's certificate where the service can read it, and names it in the URL.
fn trust(words: &str, url: &str) -> String {
    let named = quoted_after(words, "root certificate file ");
    // A directory that is hidden from the service looks like an empty one.
    let is_hidden = |path: &str| ["/root/", "/home/", "/run/user/"].iter().any(|hidden| path.starts_with(hidden));
    let unreadable = named.filter(|path| {
        is_hidden(path) || fs::File::open(path).is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
    });
    if unreadable == Some(AUTHORITY) {
        return format!("chown root:pbx-portal {AUTHORITY} && chmod 0640 {AUTHORITY} && {RESTART}");
    }
    let (from, comment) = unreadable
        .map_or(("ca.crt", "   # ca.crt: the certificate of the authority that signed PostgreSQL's"), |path| {
            (path, "")
        });
    let edit = if url.contains("sslrootcert=") {
        format!("s|sslrootcert=[^&']*|sslrootcert={AUTHORITY}|")
    } else {
        format!("s|sslmode=|sslrootcert={AUTHORITY}\\&sslmode=|")
    };
    format!(
        "install -o root -g pbx-portal -m 0640 {from} {AUTHORITY} && sed -i \"{edit}\" {} && {RESTART}{comment}",
        Environment::SERVICE_FILE
    )
}

/// Writes the name that the certificate is for in place of the host's. Where that was an address, it stays the one that
/// is asked.
fn rename(words: &str) -> Option<String> {
    let certified = quoted_after(words, "server certificate for ").filter(|name| is_plain(name))?;
    let host = quoted_after(words, "does not match host name ").filter(|name| is_plain(name))?;
    let address = match host.parse::<IpAddr>() {
        Ok(_) => format!("; s|[?]|?hostaddr={host}\\&|"),
        Err(_) => String::new(),
    };
    let edit = format!("s/([@,=]){}/\\1{certified}/{address}", host.replace('.', "[.]"));
    Some(format!("sed -Ei '/^DATABASE_URL=/{{{edit}}}' {} && {RESTART}", Environment::SERVICE_FILE))
}

/// A line of `pg_hba.conf`, before whatever else says something of this role.
fn let_in(words: &str, url: &str, names: &Names) -> String {
    let Names { database, role, .. } = names;
    let address = quoted_after(words, "host ").and_then(|address| address.parse::<IpAddr>().ok());
    let is_encrypted = ["SSL encryption", "SSL on"].iter().any(|part| words.contains(part));
    let (line, more) = match address {
        None => (format!("local {database} {role} peer"), ""),
        Some(address) => {
            let bits = if address.is_ipv4() { 32 } else { 128 };
            let kind = if address.is_loopback() { "host" } else { "hostssl" };
            if !is_encrypted && kind == "hostssl" && url.contains("sslmode=disable") {
                let env = Environment::SERVICE_FILE;
                return format!("sed -i 's/sslmode=disable/sslmode=require/' {env} && {RESTART}");
            }
            let more = if is_encrypted || kind == "host" { "" } else { "psql -c 'ALTER SYSTEM SET ssl = on' && " };
            (format!("{kind} {database} {role} {address}/{bits} scram-sha-256"), more)
        }
    };
    let more = if more.is_empty() { String::new() } else { format!("runuser -u postgres -- {more}") };
    let there = if names.is_local { "" } else { THERE };
    format!(
        "{there}cd / && sed -i '1i {line}' \"$(runuser -u postgres -- psql -tAc 'SHOW hba_file')\" && {more}{RELOAD}"
    )
}

/// What stands in quotes behind a phrase.
fn quoted_after<'words>(words: &'words str, phrase: &str) -> Option<&'words str> {
    words.split_once(phrase)?.1.strip_prefix('"')?.split_once('"').map(|(quoted, _)| quoted)
}

/// Whether a word needs no quoting for the shell, SQL or `sed`.
fn is_plain(word: &str) -> bool {
    !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "_-.:".contains(c))
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

/// Whose shell a command is for.
const THERE: &str = "on the host of PostgreSQL: ";

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
        let plain = |name: &str, default: &str| if is_plain(name) { name } else { default }.to_owned();
        Self {
            database: plain(database, "pbx_portal"),
            role: plain(role, "pbx-portal"),
            is_local: host.is_empty()
                && !query.split('&').any(|part| part.starts_with("host=") && !part.contains(['/', '%'])),
        }
    }

    /// Whether they are those that the package's script makes on this host.
    fn are_ours(&self) -> bool {
        self.is_local && self.database == "pbx_portal" && self.role == "pbx-portal"
    }

    /// A command for PostgreSQL's superuser.
    fn there(&self, command: &str) -> String {
        format!("{}cd / && runuser -u postgres -- {command}", if self.is_local { "" } else { THERE })
    }

    /// The command that runs a statement in the database, as its superuser.
    fn in_database(&self, sql: &str) -> String {
        self.there(&format!("psql -d {} -c '{sql}'", self.database))
    }

    fn create_database(&self) -> String {
        format!("createdb --owner={} --encoding=UTF8 --template=template0 {}", self.role, self.database)
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
