//! The database URL: checked by libpq itself, and given the deadlines that can be set nowhere
//! else. Whatever it says itself stays as it is, and wins.

use std::env;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use diesel::Connection as _;
use diesel::pg::PgConnection;
use percent_encoding::percent_decode_str;

use crate::error::DatabaseError;

/// A directory that is not there: libpq has read the whole URL by the time it misses its socket.
const NOWHERE: &str = "/nonexistent/pbx-portal";

/// A URL that libpq can read, and what of it has to be known here.
pub(crate) struct Conninfo {
    url: String,
    timeout: Duration,
    hosts: Vec<String>,
}

impl Conninfo {
    pub(crate) fn new(url: &str, timeout: Duration) -> Result<Self, DatabaseError> {
        check(url)?;
        Ok(Self { url: url.to_owned(), timeout, hosts: hosts(url) })
    }

    pub(crate) const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// What libpq is given: with the deadlines, and with a mark at the socket by which it is found. The mark is one of a
    /// thousand.
    pub(crate) fn marked(&self, number: u32) -> (String, u32) {
        let mark = u32::try_from(self.timeout.as_millis()).unwrap_or(u32::MAX / 2).saturating_add(number % 1000);
        (with_deadlines(&self.url, self.timeout, self.connect_timeout(), mark), mark)
    }

    /// How long a connection may take to be made, with all hosts but the last silent.
    pub(crate) fn opening_limit(&self) -> Duration {
        let others = u32::try_from(self.hosts.len() - 1).unwrap_or(u32::MAX).min(16);
        self.timeout + self.connect_timeout() * others
    }

    /// Whether the server may be reached over a Unix socket.
    pub(crate) fn may_be_local(&self) -> bool {
        self.hosts.iter().any(|host| is_socket(host))
    }

    /// What the server cannot say of the connection.
    #[expect(clippy::disallowed_methods, reason = "libpq reads these variables, too")]
    pub(crate) fn link(&self) -> Link {
        let given = |keyword, variable| given(&self.url, keyword).or_else(|| env::var(variable).ok());
        let verifies_certificate = match given("sslmode", "PGSSLMODE").as_deref() {
            Some("verify-ca" | "verify-full") => true,
            // With an authority, libpq verifies for this mode as well.
            Some("require") => given("sslrootcert", "PGSSLROOTCERT").is_some_and(|file| Path::new(&file).is_file()),
            _ => false,
        };
        Link { verifies_certificate, is_remote: !self.hosts.iter().any(|host| is_socket(host) || is_loopback(host)) }
    }

    /// For one host, so that each has its time within the timeout; libpq takes no less than two seconds.
    fn connect_timeout(&self) -> Duration {
        let hosts = u64::try_from(self.hosts.len()).unwrap_or(1).max(2);
        Duration::from_secs(self.timeout.as_secs().div_ceil(hosts).max(2))
    }
}

/// What the URL and libpq's environment say of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Link {
    /// Whether libpq verifies the server's certificate, and connects to no other
    /// ([PostgreSQL manual, 34.19.1](https://www.postgresql.org/docs/current/libpq-ssl.html#LIBQ-SSL-CERTIFICATES)).
    pub(crate) verifies_certificate: bool,
    /// Whether every host is another one than this.
    pub(crate) is_remote: bool,
}

/// Where a URL leads, as far as it says so: for people, and for the commands that are printed for
/// them.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Address {
    /// The role.
    pub role: Option<String>,
    /// The database.
    pub database: Option<String>,
    /// Whether PostgreSQL is reached over a Unix socket of this host alone.
    pub is_local: bool,
}

impl Address {
    /// The address of a URL, in either form that libpq reads. What of a name is no UTF-8 becomes U+FFFD.
    #[must_use]
    pub fn of(url: &str) -> Self {
        let parts = Url::of(url);
        let named = |keyword, of: fn(&Url<'_>) -> String| {
            let name = given(url, keyword).or_else(|| parts.as_ref().map(of)).filter(|name| !name.is_empty())?;
            Some(if parts.is_some() { percent_decode_str(&name).decode_utf8_lossy().into_owned() } else { name })
        };
        Self {
            role: named("user", |url| url.role.to_owned()),
            database: named("dbname", |url| url.database.to_owned()),
            is_local: hosts(url).iter().all(|host| is_socket(host)),
        }
    }
}

fn hosts(url: &str) -> Vec<String> {
    let hosts = given(url, "hostaddr").or_else(|| given(url, "host")).or_else(|| Some(Url::of(url)?.hosts.to_owned()));
    hosts.unwrap_or_default().split(',').map(str::to_owned).collect()
}

/// Whether a host, with or without a port, is the directory of a Unix socket, or none is named.
fn is_socket(host: &str) -> bool {
    host.is_empty() || host.starts_with(['/', '@', '%', ':']) && !host.starts_with("::")
}

/// Whether a host, with or without a port, is a name or an address of this one.
fn is_loopback(host: &str) -> bool {
    let address = host.parse().map(|address: SocketAddr| address.ip());
    let address = address.or_else(|_| host.trim_matches(['[', ']']).parse::<IpAddr>());
    address.is_ok_and(|address| address.is_loopback()) || host.split(':').next() == Some("localhost")
}

/// Whether libpq can read the URL, found out without a connection.
///
/// libpq's own message may repeat a part of the password, so it is not kept.
fn check(url: &str) -> Result<(), DatabaseError> {
    let probe = match Url::of(url) {
        Some(url) if !is_address(url.hosts, url.database) => return Err(DatabaseError::InvalidUrl),
        Some(url) => url.with_query(&[url.query, &format!("host={NOWHERE}&hostaddr=&port=1")]),
        None => format!("{url} host={NOWHERE} hostaddr='' port=1"),
    };
    // It quotes the whole probe where it cannot be read, so the directory alone would say nothing.
    let missed = format!("{NOWHERE}/.s.PGSQL.1\"");
    let ports = given(url, "port").unwrap_or_default();
    match PgConnection::establish(&probe) {
        Err(error) if error.to_string().contains(&missed) && ports.split(',').all(is_port) => Ok(()),
        _ => Err(DatabaseError::InvalidUrl),
    }
}

fn is_port(port: &str) -> bool {
    port.is_empty() || port.parse::<u16>().is_ok_and(|port| port > 0)
}

/// Whether this can be hosts with ports, and a database. A password with an unescaped `/` or `@` ends before it does for
/// libpq, which takes the rest for a port, a host or a database, and repeats it in its messages.
fn is_address(hosts: &str, database: &str) -> bool {
    let is_host = |host: &str| {
        let port = host.rsplit_once(']').map_or(host, |(_, port)| port).rsplit_once(':').map_or("", |(_, port)| port);
        is_port(port)
    };
    !hosts.contains('@') && !database.contains('@') && hosts.split(',').all(is_host)
}

/// The URL with limits to the time that a dead server or network can cost. They come first, so
/// that the URL's own parameters replace them; but for the mark, without which nobody could end a call in time.
fn with_deadlines(url: &str, timeout: Duration, connect_timeout: Duration, mark: u32) -> String {
    let seconds = timeout.as_secs().max(2);
    let parameters = [
        ("connect_timeout", connect_timeout.as_secs().to_string()),
        // An unanswered silence ends the connection, and so does unanswered data, by the mark.
        ("keepalives_idle", seconds.to_string()),
        ("keepalives_interval", "1".to_owned()),
        ("keepalives_count", "3".to_owned()),
        ("fallback_application_name", "pbx-portal".to_owned()),
    ];
    let parameters = parameters.map(|(key, value)| format!("{key}={value}"));
    // libpq sets it only beside keep-alives.
    let mark = ["keepalives=1".to_owned(), format!("tcp_user_timeout={mark}")];
    match Url::of(url) {
        Some(url) => url.with_query(&[&parameters.join("&"), url.query, &mark.join("&")]),
        None => format!("{} {url} {}", parameters.join(" "), mark.join(" ")),
    }
}

/// What the URL says for a keyword, the last time that it does.
fn given(url: &str, keyword: &str) -> Option<String> {
    let pairs = match Url::of(url) {
        Some(url) => {
            url.query.split('&').filter_map(|pair| pair.split_once('=')).map(|(k, v)| (k, v.to_owned())).collect()
        }
        None => pairs(url),
    };
    pairs.into_iter().rfind(|(name, _)| *name == keyword).map(|(_, value)| value)
}

/// The pairs of the form key=value, which libpq has checked. It allows for blanks around each `=`, quotes around a value,
/// and a backslash before any of its characters.
fn pairs(text: &str) -> Vec<(&str, String)> {
    let mut pairs = Vec::new();
    let mut rest = text;
    while let Some((name, after)) = rest.split_once('=') {
        let after = after.trim_start();
        let quoted = after.strip_prefix('\'');
        let mut chars = quoted.unwrap_or(after).chars();
        let mut value = String::new();
        while let Some(c) = chars.next() {
            match c {
                '\\' => value.extend(chars.next()),
                '\'' if quoted.is_some() => break,
                c if quoted.is_none() && c.is_whitespace() => break,
                c => value.push(c),
            }
        }
        pairs.push((name.trim(), value));
        rest = chars.as_str();
    }
    pairs
}

/// A URL, taken apart as libpq does.
struct Url<'a> {
    /// All before the query.
    base: &'a str,
    role: &'a str,
    /// With ports.
    hosts: &'a str,
    database: &'a str,
    query: &'a str,
}

impl<'a> Url<'a> {
    /// `None` for what is no URL but key=value.
    fn of(url: &'a str) -> Option<Self> {
        let rest = url.strip_prefix("postgresql://").or_else(|| url.strip_prefix("postgres://"))?;
        // A password may hold a question mark.
        let credentials = rest.find(['@', '/']).filter(|at| rest[*at..].starts_with('@')).map_or(0, |at| at + 1);
        let query = rest[credentials..].find('?').map(|at| credentials + at);
        let address = &rest[credentials..query.unwrap_or(rest.len())];
        let (hosts, database) = address.split_once('/').unwrap_or((address, ""));
        let base = &url[..url.len() - rest.len() + credentials + address.len()];
        let role = rest[..credentials].split([':', '@']).next().unwrap_or_default();
        Some(Self { base, role, hosts, database, query: query.map_or("", |at| &rest[at + 1..]) })
    }

    /// The URL with a query of these parts.
    fn with_query(&self, parts: &[&str]) -> String {
        let parts: Vec<_> =
            parts.iter().map(|part| part.trim_end_matches('&')).filter(|part| !part.is_empty()).collect();
        format!("{}?{}", self.base, parts.join("&"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "connect_timeout=3&keepalives_idle=5&keepalives_interval=1&keepalives_count=3\
                        &fallback_application_name=pbx-portal";
    const MARK: &str = "keepalives=1&tcp_user_timeout=5000";

    fn with_five_seconds(url: &str) -> String {
        with_deadlines(url, Duration::from_secs(5), Duration::from_secs(3), 5000)
    }

    #[test]
    fn the_url_is_kept_and_its_own_parameters_replace_ours_but_for_the_mark() {
        for (url, address, query) in [
            ("postgresql:///db", "postgresql:///db", ""),
            ("postgres://h?", "postgres://h", ""),
            (
                "postgresql://h1:1,h2/db?target_session_attrs=read-write&connect_timeout=9",
                "postgresql://h1:1,h2/db",
                "&target_session_attrs=read-write&connect_timeout=9",
            ),
            ("postgresql://u:a?b@h/db?sslmode=disable", "postgresql://u:a?b@h/db", "&sslmode=disable"),
            ("postgres://h?tcp_user_timeout=9", "postgres://h", "&tcp_user_timeout=9"),
        ] {
            assert_eq!(with_five_seconds(url), format!("{address}?{OURS}{query}&{MARK}"));
        }
        let [ours, mark] = [OURS, MARK].map(|ours| ours.replace('&', " "));
        assert_eq!(with_five_seconds("host=h password='a b?'"), format!("{ours} host=h password='a b?' {mark}"));
    }

    #[test]
    fn libpq_reads_what_is_made_of_each_form() {
        for url in [
            "postgresql:///db",
            "postgres://h?",
            "postgresql://u:a?b%40@h1:1,h2:2/db?target_session_attrs=read-write",
            "postgresql://[::1]:5433/db?sslmode=require&connect_timeout=9",
            "postgresql://%2Frun%2Fpostgresql/db?application_name=x&",
            "host=h1,h2 port=1,2 hostaddr=127.0.0.1,127.0.0.2 password='a b\\'c'",
            "",
        ] {
            assert!(check(url).is_ok(), "{url}");
            assert!(check(&with_five_seconds(url)).is_ok(), "{url}");
        }
    }

    #[test]
    fn a_url_that_libpq_cannot_read_is_refused_without_repeating_it() {
        for url in [
            "postgresql://u:s3%cret@h/db",
            "postgresql://h/db?colour=s3cret",
            "mysql://u:s3cret@h/db",
            "s3cret",
            // A part of each would be a port, a host or a database to libpq.
            "postgresql://u:s3/cret@h/db",
            "postgresql://u:12/cret@h/db",
            "postgresql://u:s3@cret@h/db",
            "postgresql://u:s3@cret@h:1/db?sslmode=require",
            // libpq repeats all of these.
            "postgresql://u:s3cret@[::1]5432/db",
            "postgresql://u:s3cret@[::1/db",
            "postgresql://u:s3cret@[]:5432/db?sslmode=require",
            "postgresql://u:s3cret@h1,[::1/db",
            // Found out at the connection alone.
            "postgresql://u:s3cret@h:99999/db",
            "postgresql://u:s3cret@h:0/db",
            "host=h port=s3cret",
        ] {
            let error = check(url).unwrap_err();
            assert!(matches!(error, DatabaseError::InvalidUrl), "{url}");
            assert!(!format!("{error} {error:?}").contains("cret"));
        }
    }

    #[test]
    fn hosts_and_the_mode_are_found_in_each_form() {
        let of = |url: &str| Conninfo::new(url, Duration::from_secs(5)).unwrap();
        for (url, local, hosts) in [
            ("postgresql:///db", true, 1),
            ("postgres://u@%2Frun/db", true, 1),
            ("postgres://u@:5433/db", true, 1),
            ("postgres://u:p@h1:1,h2:2,h3/db", false, 3),
            ("postgres:///db?host=/run", true, 1),
            ("postgres:///db?host=h1,h2", false, 2),
            ("dbname=x", true, 1),
            ("host='/run' dbname=x", true, 1),
            ("host=h1,h2 hostaddr=127.0.0.1,127.0.0.2", false, 2),
            ("host = h1,h2", false, 2),
            ("host=h password='a host=/run'", false, 1),
        ] {
            let conninfo = of(url);
            assert_eq!((conninfo.may_be_local(), conninfo.hosts.len()), (local, hosts), "{url}");
        }
        assert_eq!(of("postgres://h/db").opening_limit(), Duration::from_secs(5));
        assert_eq!(of("postgres://h1,h2,h3/db").opening_limit(), Duration::from_secs(9));
        for (url, verifies) in [
            ("postgres://h/db?sslmode=verify-full", true),
            ("postgres://h/db?sslmode=verify-full&sslmode=require", false),
            ("host=h sslmode=verify-ca", true),
            ("host=h sslmode = verify-full password=x", true),
            (r"host=h sslmode= 'verify-full' password=a\'", true),
            (r"password='a\' sslmode=verify-full' host=h", false),
            ("host=h", false),
            ("postgres://h/db?sslmode=require&sslrootcert=/nonexistent/ca.crt", false),
            ("postgres://h/db?sslmode=require&sslrootcert=Cargo.toml", true),
        ] {
            assert_eq!(of(url).link().verifies_certificate, verifies, "{url}");
        }
        for (url, is_remote) in [
            ("postgres://h/db", true),
            ("postgres:///db?host=/run", false),
            ("postgres://localhost:5433/db", false),
            ("postgres://127.0.0.1,h/db", false),
            ("postgres://localhost/db", false),
            ("postgres://[::1]:5433/db", false),
            ("postgres://[::1]/db", false),
            ("postgres://127.0.0.2:5433/db", false),
            ("host=h hostaddr=::1", false),
            ("host=h hostaddr=::10", true),
            ("postgres://:5433/db", false),
            ("postgres://localhost-pooler.example.com/db", true),
            ("postgres://127.0.0.1.example.com:5433/db", true),
        ] {
            assert_eq!(of(url).link().is_remote, is_remote, "{url}");
        }
    }
}
