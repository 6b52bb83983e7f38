//! What an administrator wants to know of a database before the portal uses it.

use std::fmt;
use std::time::Duration;

use diesel::dsl::sql;
use diesel::pg::PgConnection;
use diesel::prelude::*;
use diesel::sql_types::{Bool, Nullable, Text};

use crate::apply_log::OPEN;
use crate::conninfo::Link;
use crate::migrations;
use crate::session::Abort;

/// A database as the portal finds it, by [`Database::inspect`](crate::Database::inspect).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DatabaseInspection {
    /// PostgreSQL's version, such as `15.8`.
    pub server_version: String,
    /// How the connection is protected.
    pub protection: Protection,
    /// The schema of the tables, or the one in which a migration would make them.
    pub schema: String,
    /// The migrations that [`Database::migrate`](crate::Database::migrate) would apply.
    pub pending: Vec<String>,
    /// The versions of migrations that were applied and that this program does not know: the database is one of a newer
    /// portal.
    pub unknown: Vec<String>,
    /// The rights that the role needs and does not have, as in `INSERT on users`.
    pub missing_rights: Vec<String>,
    /// What a pending migration may change and the role does not own, as SQL names it: `TABLE users`.
    pub not_owned: Vec<String>,
    /// The tables that are gone although no migration is pending, as after a restore that failed in part.
    pub missing_tables: Vec<String>,
    /// The keys and triggers of the tables that are gone, as after a restore that ended before it made them.
    pub missing_rules: Vec<String>,
    /// Why nothing can be written, where that is so.
    pub read_only: Option<ReadOnly>,
}

/// Why a database takes no changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReadOnly {
    /// The server is a standby.
    Standby,
    /// `default_transaction_read_only` is on, for the database, the role or the server.
    Setting,
}

/// How a connection to PostgreSQL is protected. Behind a pooler on another host than PostgreSQL, this is the pooler's
/// connection.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Protection {
    /// It does not leave the host: a Unix socket, or a loopback address.
    Local,
    /// TLS.
    Tls {
        /// Its version, such as `TLSv1.3`.
        version: String,
        /// Whether libpq verifies the server's certificate (`sslmode=verify-full`): without that, somebody in between may
        /// read everything.
        is_verified: bool,
    },
    /// A program on PostgreSQL's own host stands between, such as a pooler: PostgreSQL sees its connection alone.
    Unknown,
    /// Clear text over a network: anybody who listens gets the phones' digests.
    ClearText,
}

impl Protection {
    /// Whether nobody in between can read what is sent.
    #[must_use]
    pub fn is_safe(&self) -> bool {
        matches!(self, Self::Local | Self::Tls { is_verified: true, .. })
    }
}

impl fmt::Display for Protection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => f.write_str("it does not leave this host"),
            Self::Tls { version, is_verified: true } => write!(f, "{version}, with the server's certificate verified"),
            Self::Tls { version, .. } => write!(f, "{version}, and the server's certificate is not verified"),
            Self::Unknown => f.write_str(
                "DATABASE_URL names another host, and PostgreSQL sees a connection of its own: how the connection to the pooler \
                 or proxy in between is protected is not known",
            ),
            Self::ClearText => f.write_str("the phones' digests cross the network in clear text"),
        }
    }
}

/// The schema that the session sees, and the one of the tables, which it does not see without a right on it.
const SCHEMAS: &str = "SELECT current_schema()::text, coalesce(current_schema(), (\
     SELECT nspname FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace WHERE relname = 'apply_audit_log' \
     ORDER BY nspname <> 'public' LIMIT 1), 'public')::text";

/// What the portal does with which table; the first migration makes some.
const RIGHTS: &str = "SELECT 'CREATE on schema ' || current_schema() WHERE to_regclass('__diesel_schema_migrations') IS NULL \
     AND NOT has_schema_privilege(current_schema(), 'CREATE') UNION ALL SELECT needed.right || ' on ' || needed.table FROM (VALUES \
     ('tenants', 'SELECT'), ('tenants', 'UPDATE'), ('users', 'SELECT'), ('users', 'INSERT'), ('users', 'DELETE'), \
     ('extensions', 'SELECT'), ('extensions', 'INSERT'), ('extensions', 'DELETE'), ('apply_audit_log', 'SELECT'), \
     ('apply_audit_log', 'INSERT'), ('apply_audit_log', 'UPDATE'), ('__diesel_schema_migrations', 'SELECT') \
     ) AS needed (\"table\", \"right\") WHERE CASE WHEN to_regclass(needed.table) IS NOT NULL \
     THEN NOT has_table_privilege(needed.table, needed.right) ELSE false END";

const MISSING_TABLES: &str = "SELECT name FROM unnest(ARRAY['tenants', 'users', 'extensions', 'apply_audit_log']) AS name \
     WHERE to_regclass(name) IS NULL";

/// What `pg_restore` makes after the data, but for indexes that only make something faster. Two users with one number or one
/// address are kept out by keys; records are opened by theirs. Rules of single rows come with the tables.
const MISSING_RULES: &str = "SELECT name FROM unnest(ARRAY['tenants_pkey', 'users_pkey', 'users_tenant_key', 'users_email_key', \
     'users_tenant_fkey', 'users_extension_fkey', 'users_lock', 'users_revision', 'users_truncated', 'users_token', \
     'extensions_pkey', 'extensions_user_key', 'extensions_user_fkey', 'extensions_lock', 'extensions_revision', \
     'extensions_truncated', 'extensions_token', 'apply_audit_log_pkey']) AS name WHERE name NOT IN (\
     SELECT conname FROM pg_constraint WHERE conrelid IN \
     ('tenants'::regclass, 'users'::regclass, 'extensions'::regclass, 'apply_audit_log'::regclass) UNION ALL \
     SELECT tgname FROM pg_trigger WHERE tgrelid IN ('users'::regclass, 'extensions'::regclass) UNION ALL \
     SELECT relname FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid WHERE indrelid = 'users'::regclass)";

/// A migration alters tables and replaces functions, which their owner alone may, and makes new ones.
const NOT_OWNED: &str = "SELECT object FROM (\
     SELECT 'TABLE ' || relname, relowner FROM pg_class WHERE relnamespace = quote_ident(current_schema())::regnamespace \
     AND relname IN ('tenants', 'users', 'extensions', 'apply_audit_log', '__diesel_schema_migrations') UNION ALL \
     SELECT 'FUNCTION ' || oid::regprocedure, proowner FROM pg_proc WHERE pronamespace = quote_ident(current_schema())::regnamespace \
     AND proname LIKE 'pbx\\_%') AS found (object, owner) WHERE NOT pg_has_role(owner, 'USAGE') ORDER BY object";

/// What a create, a delete and an apply's record do, in their order: the right, its table, and a statement that changes a
/// row of it. Ids of users are no digests, so this one is nobody's. The digest shows whether the number is the one that was
/// sent.
const REHEARSAL: [(&str, &str, &[&str]); 7] = [
    (
        "UPDATE",
        "tenants",
        &["UPDATE tenants SET revision = revision + 1, moved_by = pg_current_xact_id(), \
         token = set_config('pbx_portal.token', gen_random_uuid()::text, true)::uuid WHERE name = 'default'"],
    ),
    (
        "INSERT",
        "users",
        &["INSERT INTO users (tenant, id, name, email, revision) \
         VALUES ('default', md5('rehearsal')::uuid, 'A Rehearsal', 'User@' || gen_random_uuid() || '.invalid', 0) \
         RETURNING CASE WHEN name = 'A Rehearsal' AND email ~ '^User@[0-9a-f-]{36}[.]invalid$' THEN 1 \
         ELSE ('a trigger changed it: ' || name || ', ' || email)::integer END"],
    ),
    (
        "INSERT",
        "extensions",
        &["INSERT INTO extensions (tenant, user_id, number, realm, ha1, revision) \
         SELECT 'default', md5('rehearsal')::uuid, number, 'Rehearsal', md5(number::text), 0 \
         FROM (SELECT number FROM generate_series(1000, 1999) AS number \
         EXCEPT SELECT number FROM extensions WHERE tenant = 'default' LIMIT 1) AS free \
         RETURNING CASE WHEN realm = 'Rehearsal' AND ha1 = md5(number::text) THEN 1 \
         ELSE ('a trigger changed it: ' || number)::integer END"],
    ),
    ("DELETE", "extensions", &["DELETE FROM extensions WHERE tenant = 'default' AND user_id = md5('rehearsal')::uuid"]),
    ("DELETE", "users", &["DELETE FROM users WHERE tenant = 'default' AND id = md5('rehearsal')::uuid"]),
    ("INSERT", "apply_audit_log", &[OPEN[0], "md5('rehearsal')::uuid, 'rehearsal', NULL, 'rehearsal', now()", OPEN[1]]),
    (
        "UPDATE",
        "apply_audit_log",
        &["UPDATE apply_audit_log SET tenant = 'default', node = 'rehearsal', outcome = 'applied', actor = NULL, \
         request_id = 'rehearsal', added = '{}', removed = '{}', changed = '{}', files = '[]', timings = '{}', warnings = '{}', \
         detail = NULL, started_at = now(), finished_at = now(), duration_ms = 0 \
         WHERE id = md5('rehearsal')::uuid"],
    ),
];

/// Who keeps changes waiting, and waits for nothing himself; the oldest first. Mostly it is somebody's open transaction: one
/// that has written, or one that has only read while somebody else waits to change the table, behind whom all others
/// queue. A prepared transaction has no process: PostgreSQL counts it as process 0 there.
const HOLDER: &str = "WITH RECURSIVE locks AS (SELECT pid, granted, mode, virtualtransaction FROM pg_locks \
     WHERE database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND relation IN ( \
     SELECT to_regclass(name) FROM unnest(ARRAY['tenants', 'users', 'extensions', 'apply_audit_log', \
     '__diesel_schema_migrations']) AS name)), \
     found AS (SELECT pid FROM locks WHERE NOT granted OR mode NOT IN ('AccessShareLock', 'ShareUpdateExclusiveLock') \
     UNION SELECT unnest(pg_blocking_pids(pid)) FROM found) \
     SELECT who FROM (SELECT format('process %s of PostgreSQL (%s, role %s)', \
     pid, coalesce(nullif(application_name, ''), '?'), coalesce(usename, backend_type)), xact_start \
     FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND pid IN (SELECT pid FROM found) \
     AND NOT EXISTS (SELECT FROM pg_locks AS waits WHERE waits.pid = pg_stat_activity.pid AND NOT granted) \
     UNION ALL SELECT format('the prepared transaction %s (role %s)', gid, owner), prepared \
     FROM pg_prepared_xacts WHERE database = current_database() AND EXISTS (SELECT FROM found WHERE coalesce(pid, 0) = 0) \
     AND EXISTS (SELECT FROM locks JOIN pg_locks AS own USING (virtualtransaction) \
     WHERE locks.pid IS NULL AND own.pid IS NULL AND own.transactionid = transaction)) AS holders (who, since) \
     ORDER BY since, who LIMIT 1";

/// Who keeps changes waiting, if anybody does.
pub(crate) fn holder(connection: &mut PgConnection) -> Result<Option<String>, Abort> {
    Ok(sql::<Text>(HOLDER).get_result(connection).optional()?)
}

/// All of it in one round trip, so that the tenant's row is not locked while packets travel. Where all numbers are taken, the
/// user gets none. A trigger that returns nothing keeps a row as it is without an error; a trigger's own words may
/// not say where it is, and it may be deferred to the end. What is rolled back waits for no standby, so a message that nobody
/// has to read is committed.
pub(crate) fn rehearsal(lock_timeout: Duration) -> String {
    let steps: Vec<_> = REHEARSAL
        .iter()
        .map(|(right, table, sql)| format!("['{right}', '{table}', $step${}$step$]", sql.concat()))
        .collect();
    format!(
        "BEGIN; \
         SET LOCAL lock_timeout = {}; \
         DO $$ DECLARE \
             step text[]; \
             changed bigint; \
         BEGIN \
             FOREACH step SLICE 1 IN ARRAY ARRAY[{}] LOOP \
                 BEGIN \
                     EXECUTE step[3]; \
                     GET DIAGNOSTICS changed = ROW_COUNT; \
                 EXCEPTION \
                     WHEN lock_not_available THEN \
                         RAISE EXCEPTION '% of %: % has it locked', step[1], step[2], coalesce(({HOLDER}), 'another transaction'); \
                     WHEN OTHERS THEN \
                         RAISE EXCEPTION '% of %: %', step[1], step[2], SQLERRM; \
                 END; \
                 IF changed = 0 AND NOT (step[2] = 'extensions' AND (SELECT count(*) FROM extensions \
                     WHERE tenant = 'default' AND number BETWEEN 1000 AND 1999) = 1000) THEN \
                     RAISE EXCEPTION '% of %: no row was changed', step[1], step[2]; \
                 END IF; \
             END LOOP; \
             SET CONSTRAINTS ALL IMMEDIATE; \
         END $$; \
         ROLLBACK; \
         SELECT pg_logical_emit_message(true, 'pbx_portal', 'rehearsal')",
        lock_timeout.as_millis().max(1),
        steps.join(", ")
    )
}

pub(crate) fn inspect(connection: &mut PgConnection, link: Link) -> Result<DatabaseInspection, Abort> {
    let (seen, schema): (Option<String>, String) = sql::<(Nullable<Text>, Text)>(SCHEMAS).get_result(connection)?;
    let mut missing_rights: Vec<String> = sql::<Text>(RIGHTS).load(connection)?;
    missing_rights.extend(seen.is_none().then(|| format!("USAGE on schema {schema}")));
    // What was applied may not be read then.
    let may_read = !missing_rights.iter().any(|right| right.ends_with("__diesel_schema_migrations"));
    let (pending, unknown) = if may_read { migrations::compare(connection)? } else { Default::default() };
    let not_owned = if pending.is_empty() { Vec::new() } else { sql::<Text>(NOT_OWNED).load(connection)? };
    let missing_tables =
        if may_read && pending.is_empty() { sql::<Text>(MISSING_TABLES).load(connection)? } else { Vec::new() };
    let may_have_rules = may_read && pending.is_empty() && missing_tables.is_empty();
    let missing_rules = if may_have_rules { sql::<Text>(MISSING_RULES).load(connection)? } else { Vec::new() };
    let server = sql::<(Text, Bool, Bool, Bool)>(
        "SELECT current_setting('server_version'), pg_is_in_recovery(), \
         current_setting('default_transaction_read_only')::boolean, \
         coalesce(inet_server_addr() <<= inet '127.0.0.0/8' OR inet_server_addr() = inet '::1', true)",
    );
    let (server_version, is_standby, is_read_only, is_local): (String, bool, bool, bool) =
        server.get_result(connection)?;
    let read_only = match (is_standby, is_read_only) {
        (true, _) => Some(ReadOnly::Standby),
        (false, true) => Some(ReadOnly::Setting),
        (false, false) => None,
    };
    let tls = sql::<Text>("SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid() AND ssl");
    let tls = tls.get_result(connection).optional()?;
    Ok(DatabaseInspection {
        server_version,
        protection: protection(is_local, link, tls),
        schema,
        pending: pending.iter().map(|migration| migration.name().to_string()).collect(),
        unknown,
        missing_rights,
        not_owned,
        missing_tables,
        missing_rules,
        read_only,
    })
}

/// By the version of TLS that PostgreSQL names, if any.
fn protection(is_local: bool, link: Link, tls: Option<String>) -> Protection {
    match tls {
        // Whoever is at the other end has shown a certificate.
        tls if is_local && link.is_remote && link.verifies_certificate => {
            Protection::Tls { version: tls.unwrap_or_else(|| "TLS".to_owned()), is_verified: true }
        }
        _ if is_local && link.is_remote => Protection::Unknown,
        _ if is_local => Protection::Local,
        Some(version) => Protection::Tls { version, is_verified: link.verifies_certificate },
        None => Protection::ClearText,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_as_safe_as_both_its_ends_say() {
        let link = |verifies_certificate| Link { verifies_certificate, is_remote: true };
        let tls = |version: &str, is_verified| Protection::Tls { version: version.to_owned(), is_verified };
        let new = || Some("TLSv1.3".to_owned());
        assert_eq!(protection(false, link(false), None), Protection::ClearText);
        assert_eq!(protection(false, link(false), new()), tls("TLSv1.3", false));
        assert_eq!(protection(false, link(true), new()), tls("TLSv1.3", true));
        assert_eq!(protection(true, link(true), None), tls("TLS", true));
        assert_eq!(protection(true, link(false), None), Protection::Unknown);
        assert_eq!(protection(true, Link { is_remote: false, ..link(true) }, None), Protection::Local);
    }
}
