//! Why PostgreSQL cannot be used, and the command that fixes it: on this host, or on PostgreSQL's.

use std::net::IpAddr;
use std::{fs, io};

use pbx_asterisk::Fault;
use pbx_persistence::{DatabaseError, ReadOnly};

use super::database_names::{Names, THERE, identifier, in_url, is_plain, quoted};
use super::service::RESTART;
use crate::settings::Environment;

/// No command makes up for what is lost.
pub(super) const RESTORE: &str =
    "restore the database from a backup (Backup and restore in operations.md), or rename back what was renamed";
/// Where the certificate of the authority that signed PostgreSQL's belongs.
const AUTHORITY: &str = "/etc/pbx-portal/database-ca.crt";
/// The variables that may have the URL, to `sed -E`.
const VARIABLE: &str = "DATABASE_URL|PBX_PORTAL__DATABASE__URL";
const RELOAD: &str = "systemctl reload postgresql";

/// How it ends what is said of a statement that waited in vain.
const LOCKED: &str = " has it locked";

/// The tables, as a change names them.
const TABLES: [&str; 4] = ["tenants", "users", "extensions", "apply_audit_log"];

pub(super) fn fault(error: &DatabaseError, names: &Names<'_>) -> Fault {
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
pub(super) fn refused(error: &DatabaseError, names: &Names<'_>) -> Fault {
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

/// PostgreSQL runs and lets the role in, so that something in the database is wrong.
fn answered(words: &str, names: &Names<'_>) -> String {
    let has = |part: &str| words.contains(part);
    let is_lost = ["relation ", "column "].iter().any(|what| has(what)) && has("does not exist");
    if let Some(fix) = fix_user(words, names) {
        fix
    } else if has("permission denied for") {
        grant(names, &[], &[])
    } else if has("row-level security") {
        let off = TABLES.into_iter().chain(["__diesel_schema_migrations"]).map(|table| {
            format!("ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY; ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")
        });
        names.in_database(&off.collect::<Vec<_>>().join("; "))
    } else if has(" has no user, ") || has(" has no extension, ") {
        // With an extension its digest goes, and only the phone has the password.
        let removal = names.in_database(
            "DELETE FROM extensions WHERE NOT EXISTS (SELECT FROM users WHERE id = user_id); \
             DELETE FROM users WHERE NOT EXISTS (SELECT FROM extensions WHERE user_id = id)",
        );
        format!("{RESTORE}; without one, what is left of them goes: {removal}")
    } else if has("is a partitioned table") {
        format!("{RESTORE}   # to ordinary tables")
    } else if is_lost || has("restore the database from a backup") || has("ON CONFLICT specification") {
        RESTORE.to_owned()
    } else {
        let table = TABLES.into_iter().find(|table| has(&format!(" of {table}: "))).unwrap_or("*");
        names.in_database(&format!("\\d {table}")) + "   # what of it refuses that?"
    }
}

/// Fixes or deletes a user that breaks a rule, as in `user 01a2…: the email must be …`. No other number, realm or digest
/// fits the password that a phone has.
fn fix_user(words: &str, names: &Names<'_>) -> Option<String> {
    let (id, rule) = words.split_once(": user ")?.1.split_once(": the ")?;
    let (column, _) = rule.split_once(' ').filter(|_| is_plain(id))?;
    let value = match column {
        "name" => "Another Name".to_owned(),
        "email" => format!("{id}@example.com"),
        _ => {
            let delete = names.in_database(&format!("DELETE FROM users WHERE id = '{id}'"));
            return Some(delete + "   # then create the user anew, with another password");
        }
    };
    let update = names.in_database(&format!("UPDATE users SET {column} = '{value}' WHERE id = '{id}'"));
    Some(format!("{update}   # or another {column}, or delete the user: DELETE /users/{id}"))
}

/// Whether somebody keeps all changes waiting.
pub(super) fn is_locked(error: &DatabaseError) -> bool {
    words(error).ends_with(LOCKED)
}

/// The command that ends what a statement waited for in vain, where it did.
fn end_wait(words: &str, names: &Names<'_>) -> Option<String> {
    if !words.ends_with(LOCKED) && !words.contains("canceling statement due to") {
        return None;
    }
    let process = || words.split_once("process ")?.1.split_once(" of PostgreSQL ")?.0.parse::<u32>().ok();
    let prepared = || Some(words.split_once("the prepared transaction ")?.1.rsplit_once(" (role ")?.0);
    Some(if let Some(process) = process() {
        names.sql(&[&format!("SELECT pg_terminate_backend({process})")])
            + "   # or let who opened that transaction end it"
    } else if let Some(prepared) = prepared().filter(|name| is_plain(name)) {
        let rollback = names.in_database(&format!("ROLLBACK PREPARED '{prepared}'"));
        rollback + "   # or COMMIT PREPARED, if its other parts are committed"
    } else if prepared().is_some() {
        names.in_database("SELECT * FROM pg_prepared_xacts") + "   # then ROLLBACK PREPARED with its gid"
    } else {
        let open = "SELECT pid, usename, application_name, state, query FROM pg_stat_activity WHERE xact_start < now() ORDER BY xact_start";
        names.in_database(open) + "   # which of them has it locked? Then check again"
    })
}

/// The command that gives the role its rights on the schema and its tables, and what it has to own.
pub(super) fn grant(names: &Names<'_>, missing: &[String], not_owned: &[String]) -> String {
    let ((role, database), schema) = (names.in_sql(), identifier(&names.schema));
    // A search_path may lead past the schema.
    let is_lost = missing.iter().any(|right| right.starts_with("USAGE on schema "));
    let path = is_lost.then(|| format!("ALTER ROLE {role} IN DATABASE {database} SET search_path TO {schema}"));
    let own = not_owned.iter().map(|object| format!("ALTER {object} OWNER TO {role}"));
    let grants = ["SCHEMA", "ALL TABLES IN SCHEMA"].map(|what| format!("GRANT ALL ON {what} {schema} TO {role}"));
    names.in_database(&own.chain(grants).chain(path).collect::<Vec<_>>().join("; "))
}

/// The command that makes the database take changes again, or the way to the server that does.
pub(super) fn writable(names: &Names<'_>, read_only: ReadOnly) -> String {
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

fn another_encoding(names: &Names<'_>) -> String {
    let (_, database) = names.in_sql();
    let old = identifier(&format!("{}_old", names.database));
    names.sql(&[&format!("ALTER DATABASE {database} RENAME TO {old}"), &names.create_database()])
}

fn correct_url() -> String {
    format!("correct DATABASE_URL in {}, then: {RESTART}", Environment::SERVICE_FILE)
}

/// By the words of libpq and PostgreSQL; PostgreSQL answers in its own language before a session has another, and is not
/// understood then.
fn fix(words: &str, names: &Names<'_>) -> String {
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
fn let_in(words: &str, names: &Names<'_>) -> String {
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
        let fix = fix("FATAL:  Peer authentication failed for user \"x\"", &Names::of("postgresql://x@/pbx_portal"));
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
            let fix = fix(words, &Names::of(url));
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
            let fix = fix(&words, &Names::of(url));
            assert!(fix.contains(part), "{words}: {fix}");
        }
    }

    #[test]
    fn who_keeps_all_waiting_is_ended_or_looked_for() {
        let names = Names::of("postgresql:///pbx_portal");
        for (words, part) in [
            (
                "UPDATE of tenants: process 7 of PostgreSQL (psql, role a) has it locked",
                "'SELECT pg_terminate_backend(7)'",
            ),
            ("users: the prepared transaction x-1 (role a) has it locked", r"'ROLLBACK PREPARED '\''x-1'\'''"),
            ("users: the prepared transaction o'b (role a) has it locked", "'SELECT * FROM pg_prepared_xacts'"),
            ("UPDATE of tenants: another transaction has it locked", "FROM pg_stat_activity"),
            ("canceling statement due to statement timeout", "FROM pg_stat_activity"),
        ] {
            assert!(end_wait(words, &names).is_some_and(|fix| fix.contains(part)), "{words}");
        }
        assert_eq!(end_wait("timeout expired", &names), None);
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
