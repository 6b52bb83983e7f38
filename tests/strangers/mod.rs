//! Strangers: clients without a token, who are slow, many or speak no HTTP. Whatever they do, the service keeps its
//! memory, descriptors and threads within limits, answers clients with a token, and ends on SIGTERM.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails says so at once")]
#![expect(clippy::disallowed_methods, reason = "a test reads its environment")]

mod clients;
mod crowd;
mod malformed;
mod malformed_requests;
mod slow;
mod watch;

use std::env;

use pbx_tests::{Asterisk, Database, Portal, Settings};

/// A portal with a user in it, whose Asterisk does not run.
struct Service {
    portal: Portal,
    _database: Database,
    _asterisk: Asterisk,
}

impl Service {
    fn start() -> Self {
        Self::start_with(|settings| settings)
    }

    fn start_with(change: impl FnOnce(Settings) -> Settings) -> Self {
        let (database, asterisk) = (Database::create(), Asterisk::configured());
        let portal = change(Settings::new(&database.url(), &asterisk)).start();
        portal.create_user("A", "a@example.com");
        // What is made at the first request is there.
        for path in ["/users", "/openapi.json", "/docs/swagger-ui-bundle.js"] {
            portal.http().get(path).expect(200);
        }
        Self { portal, _database: database, _asterisk: asterisk }
    }
}

/// How many, unless the environment says so.
fn number(variable: &str, default: usize) -> usize {
    env::var(variable).map_or(default, |value| value.parse().expect("a number"))
}
