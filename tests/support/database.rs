//! A private database for one test, in the cluster that the run of the tests started.

use std::io::{self, BufRead, BufReader, Write};
use std::ops::RangeInclusive;
use std::process::{self, Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::environment;
use crate::simple_query;
use crate::wait::until;

/// A database of its own, until the value is gone.
///
/// SQL goes over a connection of the tests' own (`simple_query`), long transactions and restores through `psql`: a driver
/// would be one more dependency and prove nothing more.
pub struct Database {
    server: String,
    name: String,
}

impl Database {
    /// Makes an empty database in the cluster of this run.
    pub fn create() -> Self {
        Self::create_in(&environment::postgres_url())
    }

    /// Makes an empty database in the cluster that `server` (the URL of a superuser's database) names.
    pub fn create_in(server: &str) -> Self {
        Self::create_encoded(server, "UTF8")
    }

    /// Makes an empty database of another encoding in the cluster of this run.
    pub fn create_in_encoding(encoding: &str) -> Self {
        Self::create_encoded(&environment::postgres_url(), encoding)
    }

    fn create_encoded(server: &str, encoding: &str) -> Self {
        let database = Self { server: server.to_owned(), name: new_name() };
        if server == environment::postgres_url() && encoding == "UTF8" && database.take_a_used_one() {
            return database;
        }
        run(server, &format!("CREATE DATABASE {} ENCODING '{encoding}' TEMPLATE template0", database.name))
            .unwrap_or_else(|error| panic!("cannot create a database for the test: {error}"));
        database
    }

    /// Gives this name to a database that another test has left, where there is one, and makes it as a new one is. Nobody
    /// who knew it finds it under the new name.
    fn take_a_used_one(&self) -> bool {
        let Some(used) = used().pop() else { return false };
        let rename = format!(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = '{used}'; \
             ALTER DATABASE {used} RENAME TO {}",
            self.name
        );
        if run(&self.server, &rename).is_err() {
            return false;
        }
        let is_emptied = self.try_sql(EMPTIED).is_ok();
        if !is_emptied {
            self.remove();
        }
        is_emptied
    }

    /// Leaves it to another test. To make a database takes 300 files, and to remove them makes each new file slow for a
    /// minute (ext4 looks for a number that was not in use lately): together a third of the processor time of all tests.
    fn leave(&self) -> bool {
        let is_of_this_run = self.server == environment::postgres_url();
        if is_of_this_run {
            used().push(self.name.clone());
        }
        is_of_this_run
    }

    fn remove(&self) -> bool {
        run(&self.server, &format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name)).is_ok()
    }

    /// The database's URL, as `DATABASE_URL` wants it.
    pub fn url(&self) -> String {
        with_database(&self.server, &self.name)
    }

    /// As [`Self::url`], for another role, as it is written in a URL.
    pub fn url_as(&self, role: &str) -> String {
        self.url().replacen("//postgres@", &format!("//{role}@"), 1)
    }

    /// The database of the same name in another cluster, which is a copy of this one's: a standby that was promoted.
    #[must_use]
    pub fn copy_in(&self, server: &str) -> Self {
        Self { server: server.to_owned(), name: self.name.clone() }
    }

    /// Lets the server read its configuration again, and waits until new connections go by it.
    pub fn reload_server(&self) {
        let loaded = || self.sql("SELECT pg_conf_load_time()");
        let before = loaded();
        self.sql("SELECT pg_reload_conf()");
        until("PostgreSQL to read its configuration", || (loaded() != before).then_some(()));
    }

    /// Runs SQL in one transaction and gives what it printed: a row per line, columns separated by `|`.
    ///
    /// # Panics
    /// When PostgreSQL refuses it.
    #[track_caller]
    pub fn sql(&self, sql: &str) -> String {
        self.try_sql(sql).unwrap_or_else(|error| panic!("{error}\nin {sql}"))
    }

    /// As [`Self::sql`], for SQL that may be refused.
    ///
    /// # Errors
    /// What PostgreSQL says, with the names of violated constraints.
    pub fn try_sql(&self, sql: &str) -> Result<String, String> {
        run(&self.url(), sql)
    }

    /// A dump of all that is in it.
    pub fn dump(&self) -> String {
        let mut command = Command::new("pg_dump");
        let output = command.args(["--no-password", "--dbname", &self.url()]).output();
        let output = output.unwrap_or_else(|error| panic!("cannot start pg_dump (package postgresql-client): {error}"));
        assert!(output.status.success(), "pg_dump failed: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("a dump in UTF-8")
    }

    /// Puts a dump in the place of all that is in it; every connection breaks, and nobody sees half of it.
    pub fn restore(&self, dump: &str) {
        let run = |sql: &str| run(&self.server, sql).unwrap_or_else(|error| panic!("cannot restore: {error}"));
        run(&format!("DROP DATABASE {} WITH (FORCE)", self.name));
        run(&format!("CREATE DATABASE {} ENCODING 'UTF8' TEMPLATE template0", self.name));
        let mut psql = psql(&self.url());
        let psql = psql.arg("--single-transaction").stdin(Stdio::piped()).stdout(Stdio::null());
        let mut psql = psql.spawn().unwrap_or_else(|error| missing(&error));
        psql.stdin.take().expect("psql's input").write_all(dump.as_bytes()).expect("the dump");
        assert!(psql.wait().is_ok_and(|status| status.success()), "the dump cannot be restored");
    }

    /// Runs SQL in a transaction that stays open, with the locks that it took.
    pub fn begin(&self, sql: &str) -> Transaction {
        let mut psql = psql(&self.url())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| missing(&error));
        let mut input = psql.stdin.take().expect("psql's input");
        writeln!(input, "BEGIN; {sql};\n\\echo begun").expect("psql's input");
        psql.stdin = Some(input);
        let mut lines = BufReader::new(psql.stdout.take().expect("psql's output")).lines();
        assert!(lines.any(|line| line.is_ok_and(|line| line == "begun")), "no transaction with {sql}");
        Transaction { psql }
    }

    /// Makes the server wait for a standby that is away: soon no commit ends, and nobody sees what it commits. With the
    /// value it waits no more.
    pub fn wait_for_standby(&self) -> WaitForStandby<'_> {
        self.sql("ALTER SYSTEM SET synchronous_standby_names = 'away'");
        self.reload_server();
        WaitForStandby(self)
    }

    /// Waits until so many connections wait for a lock.
    pub fn wait_for_waiting(&self, connections: usize) {
        let sql =
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
        until("connections to wait for a lock", || (self.sql(sql) == connections.to_string()).then_some(()));
    }
}

/// A server that waits for a standby. A database of it could not be dropped.
pub struct WaitForStandby<'a>(&'a Database);

impl Drop for WaitForStandby<'_> {
    fn drop(&mut self) {
        for sql in ["ALTER SYSTEM SET synchronous_standby_names = ''", "SELECT pg_reload_conf()"] {
            // A test that fails has said why.
            drop(self.0.try_sql(sql));
        }
    }
}

/// An open transaction, rolled back with the value.
pub struct Transaction {
    psql: Child,
}

impl Transaction {
    /// Commits it.
    pub fn commit(self) {
        self.commit_after("");
    }

    /// Runs more SQL in it, and commits it.
    pub fn commit_after(mut self, sql: &str) {
        let mut input = self.psql.stdin.take().expect("psql's input");
        writeln!(input, "{sql};\nCOMMIT;").expect("psql's input");
        drop(input);
        assert!(self.psql.wait().is_ok_and(|status| status.success()), "COMMIT failed");
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        // It may have ended with its server, or by a COMMIT.
        drop(self.psql.kill());
        drop(self.psql.wait());
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if self.leave() {
            return;
        }
        // A cluster that a test has stopped takes its databases along.
        let _gone_with_its_cluster = self.remove();
    }
}

/// SQL by hand that gives each of these numbers that is free to a user "Bulk".
pub fn bulk_users(numbers: RangeInclusive<u16>) -> String {
    let (first, last) = numbers.into_inner();
    format!(
        "WITH free AS (SELECT n, gen_random_uuid() AS id FROM generate_series({first}, {last}) n \
                       WHERE n NOT IN (SELECT number FROM extensions)), \
              made AS (INSERT INTO users (id, name, email) SELECT id, 'Bulk', 'bulk' || n || '@example.com' FROM free) \
         INSERT INTO extensions (number, user_id, realm, ha1) SELECT n, id, 'asterisk', md5(id::text) FROM free"
    )
}

/// Makes a database as a new one is. Fails where more was done to it than tests usually do: then it is dropped.
const EMPTIED: &str = "
    SET client_min_messages = warning;
    DO $$ BEGIN
      ASSERT (SELECT datacl IS NULL AND datconnlimit = -1 AND pg_encoding_to_char(encoding) = 'UTF8'
                     AND NOT EXISTS (SELECT FROM pg_db_role_setting WHERE setdatabase = pg_database.oid)
                     AND NOT EXISTS (SELECT FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname NOT IN ('public', 'information_schema'))
                     AND NOT EXISTS (SELECT FROM pg_extension WHERE extname <> 'plpgsql')
                     AND NOT EXISTS (SELECT FROM pg_event_trigger)
                FROM pg_database WHERE datname = current_database());
    END $$;
    DROP SCHEMA public CASCADE;
    CREATE SCHEMA public AUTHORIZATION pg_database_owner;
    GRANT USAGE ON SCHEMA public TO PUBLIC";

/// The databases that tests have left.
fn used() -> MutexGuard<'static, Vec<String>> {
    static USED: Mutex<Vec<String>> = Mutex::new(Vec::new());
    USED.lock().unwrap_or_else(PoisonError::into_inner)
}

fn new_name() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("test_{}_{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// `url` with another database in its path; what follows a `?` stays.
fn with_database(url: &str, name: &str) -> String {
    let (address, options) = url.split_once('?').map_or((url, None), |(address, options)| (address, Some(options)));
    let server = match address.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or(address, |slash| &address[..address.len() - rest.len() + slash]),
        None => panic!("PBX_TEST_POSTGRES is no URL: postgres://user@host:port/database is expected"),
    };
    options.map_or_else(|| format!("{server}/{name}"), |options| format!("{server}/{name}?{options}"))
}

/// Runs SQL in one transaction, and gives a line for each row. Of several hosts libpq finds the one that is asked for.
fn run(url: &str, sql: &str) -> Result<String, String> {
    if !url.contains(',') {
        return simple_query::run(url, sql);
    }
    let output = psql(url).args(["--command", sql]).output().unwrap_or_else(|error| missing(&error));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

fn psql(url: &str) -> Command {
    let mut command = Command::new("psql");
    command.args(["--no-psqlrc", "--no-password", "--quiet", "--tuples-only", "--no-align"]);
    // A private cluster trusts everybody who reaches it, so there is no password in the URL.
    command.args(["--set", "ON_ERROR_STOP=1", "--dbname", url]).env("PGCONNECT_TIMEOUT", "15");
    command
}

fn missing<T>(error: &io::Error) -> T {
    panic!("cannot start psql (package postgresql-client): {error}")
}
