//! `pbx-persistence` on a real PostgreSQL, with a database of its own for every test.
#![expect(clippy::unwrap_used, reason = "a test's helper that fails fails the test")]

mod apply_log;
mod constraints;
mod inspection;
mod migrations;
mod network;
mod outages;
mod revision;
mod token;
mod users;

use std::error::Error;
use std::time::{Duration, Instant};

use pbx_domain::{NewUser, Realm, SipPassword, User};
use pbx_persistence::{CreateUserError, Database};

/// A migrated database, and what the portal makes of it.
struct Fixture {
    outside: pbx_tests::Database,
    inside: Database,
}

impl Fixture {
    fn new() -> Self {
        Self::of_encoding("UTF8")
    }

    fn of_encoding(encoding: &str) -> Self {
        Self::of(pbx_tests::Database::create_in_encoding(encoding))
    }

    /// In a cluster of its own, which is reached over TCP.
    fn in_cluster(cluster: &pbx_tests::Cluster) -> Self {
        Self::of(pbx_tests::Database::create_in(&cluster.url()))
    }

    fn of(outside: pbx_tests::Database) -> Self {
        let inside = connect(&outside.url());
        inside.migrate().unwrap();
        Self { outside, inside }
    }

    /// The first row that is inserted is the victim of a deadlock, as PostgreSQL reports it; the sequence `tries` counts.
    fn deadlocks_once(&self, table: &str) {
        self.outside.sql(&format!(
            "CREATE SEQUENCE tries; \
             CREATE FUNCTION deadlock() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
                 IF nextval('tries') = 1 THEN RAISE EXCEPTION 'deadlock detected' USING ERRCODE = '40P01'; END IF; \
                 RETURN NULL; END $$; \
             CREATE TRIGGER deadlocked AFTER INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION deadlock()"
        ));
    }

    /// Creates the user `u<number>`.
    fn create(&self, number: usize) -> User {
        create(&self.inside, number).unwrap()
    }

    /// The extensions that users have.
    fn extensions(&self) -> Vec<u16> {
        self.inside.users().list().unwrap().users.iter().map(|user| user.extension.get()).collect()
    }

    fn revision(&self) -> i64 {
        self.inside.users().list().unwrap().revision.get()
    }
}

/// What a call may take in tests of a database that does not answer.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Makes a call that has to end by itself after [`TIMEOUT`], to which a busy machine may add. Left alone, the pool waits for
/// 30 s, the system for 130 s, and libpq for ever.
#[track_caller]
fn in_time<T>(call: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let result = call();
    assert!(begun.elapsed() < 5 * TIMEOUT, "{:?}", begun.elapsed());
    result
}

fn connect(url: &str) -> Database {
    Database::connect(url, 8, Duration::from_secs(20)).unwrap()
}

fn create(database: &Database, number: usize) -> Result<User, CreateUserError> {
    database.users().create(&new_user(number), &Realm::default(), &SipPassword::generate().unwrap())
}

fn new_user(number: usize) -> NewUser {
    NewUser {
        name: format!("User {number}").parse().unwrap(),
        email: format!("u{number}@example.com").parse().unwrap(),
        replaces: None,
    }
}

/// An error and all that lies behind it.
fn chain(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error: &&dyn Error| (*error).source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
