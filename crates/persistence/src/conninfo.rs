//! The database URL: checked by libpq itself, and given the deadlines that can be set nowhere
//! else. Whatever it says itself stays as it is, and wins.

use std::time::Duration;

use diesel::{Connection as _, pg::PgConnection};

use crate::error::DatabaseError;

/// A directory that is not there: libpq has read the whole URL by the time it misses its socket.
const NOWHERE: &str = "/nonexistent/pbx-portal";

/// Whether libpq can read the URL, found out without a connection.
///
/// libpq's own message may repeat a part of the password, so it is not kept.
pub(crate) fn check(url: &str) -> Result<(), DatabaseError> {
    let probe = match query_start(url) {
        Some(Some(_)) => {
            format!("{url}{}host={NOWHERE}&hostaddr=&port=1", if url.ends_with(['?', '&']) { "" } else { "&" })
        }
        Some(None) => format!("{url}?host={NOWHERE}&hostaddr=&port=1"),
        None => format!("{url} host={NOWHERE} hostaddr='' port=1"),
    };
    match PgConnection::establish(&probe) {
        Err(error) if error.to_string().contains(NOWHERE) => Ok(()),
        _ => Err(DatabaseError::InvalidUrl),
    }
}

/// The URL with limits to the time that a dead server or network can cost. They come first, so
/// that the URL's own parameters replace them.
pub(crate) fn with_deadlines(url: &str, timeout: Duration) -> String {
    let seconds = timeout.as_secs().max(2);
    let parameters = [
        // Half, so that a second host gets its turn within the timeout.
        ("connect_timeout", seconds.div_ceil(2).max(2).to_string()),
        // Unanswered data, then an unanswered silence, ends the connection.
        ("tcp_user_timeout", timeout.as_millis().to_string()),
        ("keepalives_idle", seconds.to_string()),
        ("keepalives_interval", "1".to_owned()),
        ("keepalives_count", "3".to_owned()),
        ("fallback_application_name", "pbx-portal".to_owned()),
    ];
    let parameters =
        |separator: &str| parameters.each_ref().map(|(key, value)| format!("{key}={value}")).join(separator);
    match query_start(url) {
        Some(Some(start)) => match url.split_at(start) {
            (address, "") => format!("{address}{}", parameters("&")),
            (address, query) => format!("{address}{}&{query}", parameters("&")),
        },
        Some(None) => format!("{url}?{}", parameters("&")),
        None => format!("{} {url}", parameters(" ")),
    }
}

/// Where the query of a URL starts, if it has one; `None` for what is no URL but key=value.
#[expect(clippy::option_option, reason = "three kinds: no URL, no query, a query")]
fn query_start(url: &str) -> Option<Option<usize>> {
    let address = url.strip_prefix("postgresql://").or_else(|| url.strip_prefix("postgres://"))?;
    // As libpq does: a password may hold a question mark.
    let credentials = address.find(['@', '/']).filter(|at| address.as_bytes()[*at] == b'@').unwrap_or(0);
    let base = url.len() - address.len() + credentials;
    Some(url[base..].find('?').map(|question_mark| base + question_mark + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "connect_timeout=3&tcp_user_timeout=5000&keepalives_idle=5&keepalives_interval=1\
                        &keepalives_count=3&fallback_application_name=pbx-portal";

    fn with_five_seconds(url: &str) -> String {
        with_deadlines(url, Duration::from_secs(5))
    }

    #[test]
    fn the_url_is_kept_and_its_own_parameters_come_last() {
        for (url, address, query) in [
            ("postgresql:///db", "postgresql:///db", ""),
            ("postgres://h?", "postgres://h", ""),
            (
                "postgresql://h1:1,h2/db?target_session_attrs=read-write&connect_timeout=9",
                "postgresql://h1:1,h2/db",
                "&target_session_attrs=read-write&connect_timeout=9",
            ),
            ("postgresql://u:a?b@h/db?sslmode=disable", "postgresql://u:a?b@h/db", "&sslmode=disable"),
        ] {
            assert_eq!(with_five_seconds(url), format!("{address}?{OURS}{query}"));
        }
        let ours = OURS.replace('&', " ");
        assert_eq!(with_five_seconds("host=h password='a b?'"), format!("{ours} host=h password='a b?'"));
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
        for url in ["postgresql://u:s3%cret@h/db", "postgresql://h/db?colour=s3cret", "mysql://u:s3cret@h/db", "s3cret"]
        {
            let error = check(url).unwrap_err();
            assert!(matches!(error, DatabaseError::InvalidUrl), "{url}");
            assert!(!format!("{error} {error:?}").contains("cret"));
        }
    }
}
