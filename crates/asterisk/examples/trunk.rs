//! Makes the Asterisk of this host run a trunk, proven to its last option, or rolls back:
//!
//! ```sh
//! trunk PJSIP_INCLUDE DIALPLAN_INCLUDE STATE_DIRECTORY ASTERISK
//! ```
#![expect(clippy::print_stdout, reason = "a program reports to its user")]

use std::env;
use std::error::Error;
use std::time::{Duration, Instant};

use pbx_asterisk::{Cli, Deployment, IncludeFiles, Pair, name_by_digest};

const TRUNK: &str = "[carrier]\ntype=endpoint\ncontext=from-carrier\nallow=!all,alaw\naors=carrier\noutbound_auth=us\n\
    [carrier]\ntype=aor\ncontact=sip:192.0.2.1\n[us]\ntype=auth\nusername=493012345\npassword=secret\n\
    [carrier]\ntype=identify\nendpoint=carrier\nmatch=192.0.2.1\n";
const DIALPLAN: &str = "[from-carrier]\nexten => 493012345,1,Dial(PJSIP/1000,30)\n same => n,Hangup()\n";

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [endpoints, dialplan, state, asterisk] = &arguments[..] else {
        return Err("usage: trunk PJSIP_INCLUDE DIALPLAN_INCLUDE STATE_DIRECTORY ASTERISK".into());
    };
    let files = IncludeFiles { endpoints: endpoints.into(), dialplan: dialplan.into() };
    let deployment = Deployment::new(Cli::new(asterisk, Duration::from_secs(10))?, files, state).strict();
    let pair = Pair { endpoints: name_by_digest(TRUNK)?.into(), dialplan: DIALPLAN.into() };
    let deadline = Instant::now() + Duration::from_mins(1);
    let deployed = deployment.lock(deadline)?.deploy(&pair, "carrier", deadline)?;
    println!("Asterisk was proven to run it; new: {:?}", deployed.difference.added);
    Ok(())
}
