//! Why PostgreSQL cannot be used, and the command that fixes it: on this host, or on PostgreSQL's. What it refuses to a role that
//! it lets in is in [`database_answers`](super::database_answers).

use std::net::IpAddr;
use std::{fs, io};

use pbx_asterisk::Fault;
use pbx_persistence::{DatabaseError, ReadOnly};

use super::database_answers::{LOCKED, answered, end_wait};
use super::database_names::{DatabaseNames, THERE, identifier, in_url, is_plain, quoted};
use super::service::RESTART;
use crate::settings::Environment;

/// Where the certificate of the authority that signed PostgreSQL's belongs.
const AUTHORITY: &str = "/etc/pbx-portal/database-ca.crt";
/// The variables that may have the URL, to `sed -E`.
const VARIABLE: &str = "DATABASE_URL|PBX_PORTAL__DATABASE__URL";
const RELOAD: &str = "systemctl reload postgresql";

pub(super) fn fault(error: &DatabaseError, names: &DatabaseNames<'_>) -> Fault {
    let words = words(error);
    let fix = match error {
        _ if let Some(fix) = end_wait(&words, names) => fix,
        DatabaseError::WrongEncoding { .. } => another_encoding(names),
        DatabaseError::InvalidUrl => correct_url(),
        DatabaseError::Unavailable(_) => fix(&words, names),
        DatabaseError::Failed(_) => answered(&words, names),
    };
    Fault::new(words, fix)
}

/// A change that PostgreSQL refuses although the role has the rights.
pub(super) fn refused(error: &DatabaseError, names: &DatabaseNames<'_>) -> Fault {
    let words = words(error);
    if !matches!(error, DatabaseError::Failed(_)) {
        // It answered everything that is not committed.
        let is_silent = words.contains("did not answer within");
        let what = "PostgreSQL commits nothing, as where synchronous_standby_names names a standby that is away";
        let reset = names.sql(&["ALTER SYSTEM SET synchronous_standby_names = ''", "SELECT pg_reload_conf()"]);
        return if is_silent { Fault::new(what, reset + "   # or start the standby") } else { fault(error, names) };
    }
    let fix = if let Some(fix) = end_wait(&words, names) {
        fix
    } else if words.contains("No space left") {
        names.sql(&["SHOW data_directory"]) + "   # free space on its file system"
    } else {
        answered(&words, names)
    };
    Fault::new(format!("PostgreSQL refuses a change: {words}"), fix)
}

/// Whether somebody keeps all changes waiting.
pub(super) fn is_locked(error: &DatabaseError) -> bool {
    words(error).ends_with(LOCKED)
}

/// The command that makes the database take changes again, or the way to the server that does.
pub(super) fn writable(names: &DatabaseNames<'_>, read_only: ReadOnly) -> String {
    if read_only == ReadOnly::Standby {
        return primary();
    }
    let (role, database) = names.in_sql();
    let reset = "RESET default_transaction_read_only";
    names.sql(&[
        "SET default_transaction_read_only = off",
        &format!("ALTER DATABASE {database} {reset}"),
        &format!("ALTER ROLE {role} {reset}"),
        &format!("ALTER ROLE {role} IN DATABASE {database} {reset}"),
        &format!("ALTER SYSTEM {reset}"),
        "SELECT pg_reload_conf()",
    ])
}

fn primary() -> String {
    format!("write the primary's address: {}", correct_url())
}

fn another_encoding(names: &DatabaseNames<'_>) -> String {
    let (_, database) = names.in_sql();
    let old = identifier(&format!("{}_old", names.database));
    names.sql(&[&format!("ALTER DATABASE {database} RENAME TO {old}"), &names.create_database()])
}

fn correct_url() -> String {
    format!("correct DATABASE_URL in {}, then: {RESTART}", Environment::SERVICE_FILE)
}

/// By the words of libpq and PostgreSQL; PostgreSQL answers in its own language before a session has another, and is not
/// understood then.
fn fix(words: &str, names: &DatabaseNames<'_>) -> String {
    let (role, database) = names.in_sql();
    let has = |part: &str| words.contains(part);
    let is_missing = |what: &str| has(&format!("{what} \"")) && has("does not exist");
    let env = Environment::SERVICE_FILE;
    if has("too many connections for role") {
        names.sql(&[&format!("ALTER ROLE {role} CONNECTION LIMIT -1")])
    } else if has("too many connections for database") {
        names.sql(&[&format!("ALTER DATABASE {database} CONNECTION LIMIT -1")])
    } else if has("is not currently accepting connections") {
        names.sql(&[&format!("ALTER DATABASE {database} ALLOW_CONNECTIONS true")])
    } else if has("permission denied for database") {
        names.in_database(&format!("GRANT CONNECT ON DATABASE {database} TO {role}"))
    } else if has("not permitted to log in") {
        names.in_database(&format!("ALTER ROLE {role} LOGIN"))
    } else if has("Peer authentication failed") {
        let database = in_url(&names.database);
        format!("sed -Ei \"s#^({VARIABLE})=.*#\\1='postgresql:///{database}'#\" {env} && {RESTART}")
    } else if has("password authentication failed") || is_missing("role") && !names.are_ours() {
        // With passwords, PostgreSQL does not say which of the two it is.
        let make = names.sql(&[
            &format!("CREATE ROLE {role} LOGIN"),
            // PostgreSQL 13 and older servers that were upgraded would keep it in a form that `scram-sha-256` refuses.
            "SET password_encryption = 'scram-sha-256'",
            &format!("\\password {role}"),
            &format!("ALTER ROLE {role} VALID UNTIL $$infinity$$"),
        ]);
        make + "   # the password of DATABASE_URL; that the role exists is no harm"
    } else if has("no password supplied") {
        let role = in_url(&names.role);
        format!("write {role}:PASSWORD@ before the host of DATABASE_URL in {env}, then: {RESTART}")
    } else if has("no pg_hba.conf entry") || has("pg_hba.conf rejects") {
        let_in(words, names)
    } else if is_missing("root certificate file")
        || has("could not read root certificate file")
        || has("certificate verify failed")
    {
        trust(words, names.url)
    } else if has("does not match host name") {
        let by_hand = || format!("write a name that PostgreSQL's certificate is for as the host: {}", correct_url());
        rename(words).unwrap_or_else(by_hand)
    } else if has("server does not support SSL") {
        format!("{} && {RELOAD}", names.sql(&["ALTER SYSTEM SET ssl = on"]))
    } else if has("could not translate host name") {
        format!("write PostgreSQL's address and that name into /etc/hosts, or {}", correct_url())
    } else if is_missing("database") && !names.are_ours() {
        names.sql(&[&names.create_database()])
    } else if is_missing("database") || is_missing("role") {
        "sh /usr/share/doc/pbx-portal/examples/postgresql/create.sh".to_owned()
    } else if has("connection slots are reserved") || has("too many clients already") {
        // Where no slot is left, the superuser does not get in either.
        let list = names.there("ps -u postgres -o pid,etime,args");
        list + "   # end some of them (kill PID), or raise max_connections and restart PostgreSQL"
    } else if has("Hot standby mode is disabled") {
        primary()
    } else if ["starting up", "shutting down", "in recovery mode", "not yet accepting connections"]
        .iter()
        .any(|what| has(&format!("the database system is {what}")))
    {
        names.there("pg_isready")
            + "   # wait until it accepts connections; if it stays down: systemctl start postgresql"
    } else if names.is_local || has("127.0.0.1") || has("::1") {
        "systemctl restart postgresql".to_owned()
    } else if has("Connection refused") {
        let listen = "ALTER SYSTEM SET listen_addresses = '*'";
        names.there(&format!("psql -c \"{listen}\"; systemctl restart postgresql   # if the port is right"))
    } else {
        format!("start PostgreSQL there, open its port to this host, or {}", correct_url())
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
        format!("s|sslrootcert=[^&' ]*|sslrootcert={AUTHORITY}|")
    } else {
        let and = if url.contains("://") { "\\&" } else { " " };
        format!("s|sslmode=|sslrootcert={AUTHORITY}{and}sslmode=|")
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
    Some(format!("sed -Ei '/^({VARIABLE})=/{{{edit}}}' {} && {RESTART}", Environment::SERVICE_FILE))
}

/// A line of `pg_hba.conf`, before whatever else says something of this role.
fn let_in(words: &str, names: &DatabaseNames<'_>) -> String {
    let (role, database) = names.in_sql();
    let address = quoted_after(words, "host ").and_then(|address| address.parse::<IpAddr>().ok());
    let is_encrypted = ["SSL encryption", "SSL on"].iter().any(|part| words.contains(part));
    let (line, more) = match address {
        None => (format!("local {database} {role} peer"), ""),
        Some(address) => {
            let bits = if address.is_ipv4() { 32 } else { 128 };
            let kind = if address.is_loopback() { "host" } else { "hostssl" };
            if !is_encrypted && kind == "hostssl" && names.url.contains("sslmode=disable") {
                let env = Environment::SERVICE_FILE;
                return format!("sed -i 's/sslmode=disable/sslmode=require/' {env} && {RESTART}");
            }
            let more = if is_encrypted || kind == "host" { "" } else { "psql -c 'ALTER SYSTEM SET ssl = on' && " };
            (format!("{kind} {database} {role} {address}/{bits} scram-sha-256"), more)
        }
    };
    let more = if more.is_empty() { String::new() } else { format!("runuser -u postgres -- {more}") };
    let there = if names.is_local { "" } else { THERE };
    // A backslash before another character means that one to sed.
    let insert = quoted(&format!("1i {}", line.replace('\\', r"\\")));
    format!("{there}cd / && sed -i {insert} \"$(runuser -u postgres -- psql -tAc 'SHOW hba_file')\" && {more}{RELOAD}")
}

/// What stands in quotes behind a phrase.
fn quoted_after<'words>(words: &'words str, phrase: &str) -> Option<&'words str> {
    words.split_once(phrase)?.1.strip_prefix('"')?.split_once('"').map(|(quoted, _)| quoted)
}

/// The whole chain: a person who may run this may see it, and no link of it names the password.
fn words(error: &DatabaseError) -> String {
    let words = format!("{:#}", anyhow::Error::new(error.clone()));
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the test edits a file as an administrator's shell would")]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn the_url_is_replaced_in_either_variable() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let fix =
            fix("FATAL:  Peer authentication failed for user \"x\"", &DatabaseNames::of("postgresql://x@/pbx_portal"));
        let (edit, _) = fix.split_once(" && ").unwrap();
        let edit = edit.replace(Environment::SERVICE_FILE, file.path().to_str().unwrap());
        for variable in ["DATABASE_URL", "PBX_PORTAL__DATABASE__URL"] {
            fs::write(file.path(), format!("RUST_LOG=info\n{variable}='postgresql://x@/pbx_portal'\n")).unwrap();
            assert!(Command::new("bash").args(["-c", &edit]).status().unwrap().success());
            let edited = fs::read_to_string(file.path()).unwrap();
            assert_eq!(edited, format!("RUST_LOG=info\n{variable}='postgresql:///pbx_portal'\n"));
        }
    }

    #[test]
    fn the_words_decide_the_fix() {
        let (own, other) = ("postgresql:///pbx_portal", "postgresql://me@db.example.com/mine");
        let odd = "postgresql://o%27b%5C%22@db.example.com/a%20b";
        for (words, url, part) in [
            ("FATAL:  database \"pbx_portal\" does not exist", own, "postgresql/create.sh"),
            ("FATAL:  role \"pbx-portal\" does not exist", own, "postgresql/create.sh"),
            ("FATAL:  role \"me\" does not exist", other, "CREATE ROLE \"me\" LOGIN"),
            ("could not translate host name \"db.example.com\" to address", other, "into /etc/hosts"),
            ("connection to server at \"db.example.com\" failed: Connection refused", other, "listen_addresses"),
            ("fe_sendauth: no password supplied", other, "write me:PASSWORD@"),
            ("FATAL:  Peer authentication failed for user \"x\"", own, "='postgresql:///pbx_portal'#"),
            ("FATAL:  password authentication failed\nFATAL:  no pg_hba.conf entry for", other, "CREATE ROLE"),
            (
                "no pg_hba.conf entry for host \"192.0.2.9\", user \"x\", SSL encryption",
                odd,
                r#"sed -i '1i hostssl "a b" "o'\''b\\""" 192.0.2.9/32 scram-sha-256' "$(runuser"#,
            ),
            ("FATAL:  Peer authentication failed for user \"x\"", odd, "='postgresql:///a%20b'#"),
            ("timeout expired", other, "start PostgreSQL there"),
            (
                "FATAL:  remaining connection slots are reserved for roles with the SUPERUSER attribute",
                own,
                "max_connections",
            ),
            ("FATAL:  sorry, too many clients already", other, "runuser -u postgres -- ps -u postgres"),
            ("FATAL:  the database system is starting up", own, "runuser -u postgres -- pg_isready"),
            ("FATAL:  the database system is shutting down", other, "runuser -u postgres -- pg_isready"),
            ("FATAL:  the database system is in recovery mode", own, "runuser -u postgres -- pg_isready"),
            (
                "FATAL: the database system is not yet accepting connections DETAIL: Consistent recovery state has not",
                own,
                "pg_isready",
            ),
            (
                "FATAL: the database system is not accepting connections DETAIL: Hot standby mode is disabled.",
                own,
                "write the primary's address: correct DATABASE_URL",
            ),
            ("connection to server on socket \"/run/x\" failed: No such file", own, "systemctl restart postgresql"),
            (
                "connection to server at \"localhost\" (127.0.0.1) failed: timeout expired",
                other,
                "systemctl restart postgresql",
            ),
            (
                "connection to server at \"localhost\" (::1) failed: timeout expired",
                other,
                "systemctl restart postgresql",
            ),
        ] {
            let fix = fix(words, &DatabaseNames::of(url));
            assert!(fix.contains(part), "{words}: {fix}");
        }
    }

    #[test]
    fn who_is_not_let_in_gets_a_line_for_what_was_tried() {
        const TRIED: &str = "no pg_hba.conf entry for host \"192.0.2.9\", user \"me\", database \"mine\", ";
        let (other, plain) =
            ("postgresql://me@db.example.com/mine", "postgresql://me@db.example.com/mine?sslmode=disable");
        for (words, url, part) in [
            (format!("{TRIED}no encryption"), plain, "sed -i 's/sslmode=disable/sslmode=require/'"),
            (format!("{TRIED}no encryption"), other, "ALTER SYSTEM SET ssl = on' && systemctl reload"),
            (format!("{TRIED}SSL encryption"), plain, "hba_file')\" && systemctl reload"),
            (TRIED.replace("192.0.2.9", "127.0.0.1") + "no encryption", plain, "hba_file')\" && systemctl reload"),
            (TRIED.replace("192.0.2.9", "2001:db8::9") + "SSL encryption", other, "2001:db8::9/128 scram-sha-256"),
        ] {
            let fix = fix(&words, &DatabaseNames::of(url));
            assert!(fix.contains(part), "{words}: {fix}");
        }
    }

    #[test]
    fn an_authority_that_the_service_cannot_see_is_copied_to_where_it_can() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let seen = file.path().to_str().unwrap();
        for (path, from) in [("/root/ca.crt", "/root/ca.crt"), ("/nowhere/ca.crt", "ca.crt"), (seen, "ca.crt")] {
            let fix = trust(
                &format!("root certificate file \"{path}\" does not exist"),
                "postgresql://h/d?sslmode=verify-full",
            );
            assert!(fix.starts_with(&format!("install -o root -g pbx-portal -m 0640 {from} ")), "{fix}");
        }
    }
}
