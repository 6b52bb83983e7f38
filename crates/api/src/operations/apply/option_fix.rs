//! What the options of endpoints have to do with a configuration that Asterisk did not take.

use std::time::{Duration, Instant};

use pbx_asterisk::{Cause, Deployment, Failure};
use pbx_confgen::EndpointOptions;

/// How long Asterisk has to say which options it knows.
const LIMIT: Duration = Duration::from_secs(5);

/// A sentence of what to fix, where the options may be to blame: Asterisk refuses an endpoint for each option that it
/// does not know, and for each value.
pub(super) fn fix(deployment: &Deployment, options: &EndpointOptions, failure: &Failure) -> Option<String> {
    if options.is_empty() || !failure.fixes.is_empty() || !matches!(failure.cause, Cause::NotProven(_)) {
        return None;
    }
    let names = options.iter().map(|(name, _)| name);
    let unknown = deployment.unknown_endpoint_options(names, Instant::now() + LIMIT);
    if unknown.is_empty() {
        let all: Vec<_> = options.iter().map(|(name, value)| format!("{name}={value}")).collect();
        return Some(format!(
            "if Asterisk's log says \"Error parsing\", it names the value of asterisk.endpoint_options ({}) that it refused",
            all.join(" ")
        ));
    }
    Some(format!("Asterisk knows no endpoint option {}: correct asterisk.endpoint_options", unknown.join(", ")))
}
