//! Makes the Asterisk of this host run two include files, or rolls back and says what to fix:
//!
//! ```sh
//! deploy NEW_ENDPOINTS PJSIP_INCLUDE NEW_DIALPLAN DIALPLAN_INCLUDE [STATE_DIRECTORY [ASTERISK]]
//! ```
#![expect(clippy::print_stdout, reason = "a program reports to its user")]

use std::error::Error;
use std::time::{Duration, Instant};
use std::{env, fs};

use pbx_asterisk::{Aftermath, Cli, Deployment, IncludeFiles, Pair};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [new_endpoints, endpoints, new_dialplan, dialplan, rest @ ..] = &arguments[..] else {
        return Err("usage: deploy NEW_ENDPOINTS PJSIP_INCLUDE NEW_DIALPLAN DIALPLAN_INCLUDE [STATE [ASTERISK]]".into());
    };
    let state = rest.first().map_or("/var/lib/deploy", String::as_str);
    let asterisk = rest.get(1).map_or("asterisk", String::as_str);

    let pair = Pair { endpoints: fs::read(new_endpoints)?, dialplan: fs::read(new_dialplan)? };
    let files = IncludeFiles { endpoints: endpoints.into(), dialplan: dialplan.into() };
    let deployment = Deployment::new(Cli::new(asterisk, Duration::from_secs(10))?, files, state);
    let deadline = Instant::now() + Duration::from_mins(1);
    match deployment.lock(deadline)?.deploy(&pair, new_endpoints, deadline) {
        Ok(deployed) if deployed.is_changed => {
            let change = &deployed.difference;
            println!(
                "Asterisk was proven to run it: {:?} added, {:?} changed, {:?} removed",
                change.added, change.changed, change.removed
            );
            Ok(())
        }
        Ok(_) => {
            println!("Asterisk was proven to run it already");
            Ok(())
        }
        Err(failure) => {
            let stands = match &failure.aftermath {
                Aftermath::Untouched => "nothing was changed".to_owned(),
                Aftermath::RolledBack => "the former files are back, and Asterisk was proven to run them".to_owned(),
                other => format!("the state now: {other:?}"),
            };
            let fixes = failure.fixes.iter().fold(String::new(), |fixes, fix| fixes + "; to fix: " + fix);
            Err(format!("{failure}; {stands}{fixes}").into())
        }
    }
}
