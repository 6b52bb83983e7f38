//! Strangers: clients without a token, who are slow, many or speak no HTTP. Whatever they do, the service keeps its
//! memory, descriptors and threads within limits, answers clients with a token, and ends on SIGTERM.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails says so at once")]
#![expect(clippy::disallowed_methods, reason = "a test reads its environment")]

mod crowd;
mod malformed;
mod malformed_requests;
mod slow;
mod stranger;
mod watch;

use std::env;

use pbx_tests::Settings;

use crate::service::Service;

/// A service with a user, in which what is made at the first request is there. It has as many threads on any machine.
fn warm(change: impl FnOnce(Settings) -> Settings) -> Service {
    let service = Service::start_with(|settings| change(settings.with("PBX_PORTAL__SERVER__WORKERS", "4")));
    service.portal.create_user("A", "a@example.com");
    for path in ["/users", "/openapi.json", "/docs/swagger-ui-bundle.js"] {
        service.portal.http().get(path).expect(200);
    }
    service
}

/// How many, unless the environment says so.
fn number(variable: &str, default: usize) -> usize {
    env::var(variable).map_or(default, |value| value.parse().expect("a number"))
}
