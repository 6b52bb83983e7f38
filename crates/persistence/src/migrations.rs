//! The migrations: which are missing, and how they are made.

use std::time::Duration;

use diesel::connection::SimpleConnection as _;
use diesel::dsl::sql;
use diesel::migration::{Migration, MigrationConnection as _, MigrationSource};
use diesel::pg::{Pg, PgConnection};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Text};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use crate::error::DatabaseError;
use crate::session::Abort;

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations");

/// The key of the advisory lock that lets one process migrate at a time: "pbxmigr" in ASCII.
const LOCK: i64 = 0x70_6278_6D69_6772;

/// How long migrations may take, with the wait for another process that migrates.
pub(crate) const LIMIT: Duration = Duration::from_mins(5);

/// Makes those that are missing, after any other process that does so, and returns their names.
pub(crate) fn migrate(connection: &mut PgConnection) -> Result<Vec<String>, Abort> {
    // The regular expressions of the migrations have backslashes, which a database may read as escapes.
    connection
        .batch_execute("SET statement_timeout = 0; SET lock_timeout = '60s'; SET standard_conforming_strings = on")?;
    diesel::sql_query("SELECT pg_advisory_lock($1)").bind::<BigInt, _>(LOCK).execute(connection)?;
    let (pending, _) = compare(connection)?;
    if !pending.is_empty() {
        connection.setup()?;
    }
    pending
        .into_iter()
        .map(|migration| {
            let name = migration.name().to_string();
            match connection.run_migration(&*migration) {
                Ok(_) => Ok(name),
                Err(cause) => Err(DatabaseError::failed(format!("migration {name}: {cause}")).into()),
            }
        })
        .collect()
}

type Migrations = Vec<Box<dyn Migration<Pg>>>;

/// The migrations that were not applied yet, in their order, and the versions that were applied and are not ours. No
/// migration would make a database fit that cannot hold every name.
pub(crate) fn compare(connection: &mut PgConnection) -> Result<(Migrations, Vec<String>), Abort> {
    // In SQL_ASCII, PostgreSQL keeps the bytes that it is given.
    let found: String = diesel::select(sql::<Text>("current_setting('server_encoding')")).get_result(connection)?;
    if !["UTF8", "SQL_ASCII"].contains(&&*found) {
        return Err(DatabaseError::WrongEncoding { found }.into());
    }
    // Diesel's own question would create the table in which it keeps the answer.
    let is_empty = diesel::select(sql::<Bool>("to_regclass('__diesel_schema_migrations') IS NULL"));
    let mut unknown: Vec<String> = if is_empty.get_result(connection)? {
        Vec::new()
    } else {
        sql::<Text>("SELECT version FROM __diesel_schema_migrations ORDER BY version").load(connection)?
    };
    let mut pending = MIGRATIONS.migrations().map_err(DatabaseError::failed)?;
    pending.retain(|migration| {
        let version = migration.name().version().to_string();
        let applied = unknown.iter().position(|applied| *applied == version);
        applied.map(|applied| unknown.remove(applied)).is_none()
    });
    pending.sort_by_key(|migration| migration.name().version().as_owned());
    Ok((pending, unknown))
}
