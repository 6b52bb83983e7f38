//! The floors that PostgreSQL sets: statements sent by `pgbench`, prepared, on one connection.

use std::fs;
use std::process::{Command, Stdio};

use pbx_tests::Database;
use tempfile::TempDir;

/// A creation by one who knows the free number already, statement by statement.
pub(crate) const CREATE: &str = r"\set n :n + 1
BEGIN ISOLATION LEVEL READ COMMITTED;
UPDATE tenants SET revision = tenants.revision + 1 WHERE name = 'default' RETURNING revision;
INSERT INTO users (id, tenant, name, email, revision) VALUES (lpad(to_hex(:n::bigint), 32, '0')::uuid, 'default', 'Alice Example', 'alice' || :n::text || '@example.com', :n) RETURNING created_at;
INSERT INTO extensions (tenant, number, user_id, realm, ha1, revision) VALUES ('default', 999 + :n, lpad(to_hex(:n::bigint), 32, '0')::uuid, 'asterisk', md5(:n::text), :n);
COMMIT;
";

/// One round trip.
pub(crate) const NOTHING: &str = "SELECT 1;\n";

/// What `GET /users` reads.
pub(crate) const LIST: &str = "\
SELECT tenants.revision, users.id, users.name, users.email, extensions.number, extensions.realm, extensions.ha1,
       users.created_at, users.revision, extensions.revision
  FROM tenants LEFT JOIN (users JOIN extensions ON extensions.user_id = users.id) ON users.tenant = tenants.name
 WHERE tenants.name = 'default';
";

/// Runs `script` so many times on one connection, and gives how many milliseconds each took. The script's `n` begins
/// with `n`.
pub(crate) fn pgbench(database: &Database, script: &str, n: usize, times: usize) -> Vec<f64> {
    pgbench_at(&database.url(), script, n, times)
}

/// As [`pgbench`], wherever the database is.
pub(crate) fn pgbench_at(url: &str, script: &str, n: usize, times: usize) -> Vec<f64> {
    let directory = TempDir::new().expect("a directory for pgbench");
    let file = directory.path().join("script.sql");
    fs::write(&file, script).expect("pgbench's script");
    let mut command = Command::new("pgbench");
    command.args(["--no-vacuum", "--protocol=prepared", "--client=1", "--log", "--log-prefix=times"]);
    command.arg(format!("--define=n={n}")).arg(format!("--transactions={times}")).arg("--file").arg(&file);
    command.arg(url).current_dir(directory.path()).stdin(Stdio::null());
    let output = command.output().expect("pgbench (package postgresql)");
    assert!(output.status.success(), "pgbench failed: {}", String::from_utf8_lossy(&output.stderr));
    let entries = fs::read_dir(directory.path()).expect("pgbench's directory").flatten();
    let log = entries.map(|entry| entry.path()).find(|path| path.extension().is_none_or(|end| end != "sql"));
    let log = fs::read_to_string(log.expect("pgbench's log")).expect("pgbench's log");
    let times_of = |line: &str| line.split(' ').nth(2).and_then(|time| time.parse::<f64>().ok());
    let samples: Vec<f64> = log.lines().filter_map(times_of).map(|microseconds| microseconds / 1000.0).collect();
    assert!(samples.len() == times, "{times} runs expected in pgbench's log, {} are there", samples.len());
    samples
}
