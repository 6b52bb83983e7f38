//! What PostgreSQL refuses to a role that it lets in, and the command that fixes it.

use super::database_names::{DatabaseNames, identifier, is_plain};

/// No command makes up for what is lost.
pub(super) const RESTORE: &str =
    "restore the database from a backup (Backup and restore in operations.md), or rename back what was renamed";
/// How it ends what is said of a statement that waited in vain.
pub(super) const LOCKED: &str = " has it locked";

/// The tables, as a change names them.
const TABLES: [&str; 4] = ["tenants", "users", "extensions", "apply_audit_log"];

/// PostgreSQL runs and lets the role in, so that something in the database is wrong.
pub(super) fn answered(words: &str, names: &DatabaseNames<'_>) -> String {
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
fn fix_user(words: &str, names: &DatabaseNames<'_>) -> Option<String> {
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

/// The command that ends what a statement waited for in vain, where it did.
pub(super) fn end_wait(words: &str, names: &DatabaseNames<'_>) -> Option<String> {
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
pub(super) fn grant(names: &DatabaseNames<'_>, missing: &[String], not_owned: &[String]) -> String {
    let ((role, database), schema) = (names.in_sql(), identifier(&names.schema));
    // A search_path may lead past the schema.
    let is_lost = missing.iter().any(|right| right.starts_with("USAGE on schema "));
    let path = is_lost.then(|| format!("ALTER ROLE {role} IN DATABASE {database} SET search_path TO {schema}"));
    let own = not_owned.iter().map(|object| format!("ALTER {object} OWNER TO {role}"));
    let grants = ["SCHEMA", "ALL TABLES IN SCHEMA"].map(|what| format!("GRANT ALL ON {what} {schema} TO {role}"));
    names.in_database(&own.chain(grants).chain(path).collect::<Vec<_>>().join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_keeps_all_waiting_is_ended_or_looked_for() {
        let names = DatabaseNames::of("postgresql:///pbx_portal");
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
    fn what_a_restore_has_to_bring_back_is_said_to_be_restored() {
        let names = DatabaseNames::of("postgresql:///pbx_portal");
        for words in [
            "relation \"users\" does not exist",
            "the table tenants has no row \"default\": restore the database from a backup",
            "there is no unique or exclusion constraint matching the ON CONFLICT specification",
        ] {
            assert_eq!(answered(words, &names), RESTORE, "{words}");
        }
    }
}
