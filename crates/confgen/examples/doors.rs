//! Another program's own phones in an Asterisk, beside those of the portal: numbers 200 to 299, names and a context of
//! their own; deployed with pbx-asterisk, and proven.
//!
//! ```sh
//! doors PJSIP_INCLUDE DIALPLAN_INCLUDE STATE_DIRECTORY ASTERISK
//! ```
#![expect(clippy::print_stdout, reason = "a program reports to its user")]

use std::env;
use std::error::Error;
use std::time::{Duration, Instant, SystemTime};

use pbx_asterisk::{Cli, Deployment, IncludeFiles, Pair, name_by_digest};
use pbx_confgen::{EndpointOptions, Renderer};
use pbx_domain::{ExtensionRange, Ha1, Realm, Revision, SipPassword, User, UserId};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [endpoints, dialplan, state, asterisk] = &arguments[..] else {
        return Err("usage: doors PJSIP_INCLUDE DIALPLAN_INCLUDE STATE_DIRECTORY ASTERISK".into());
    };
    let numbers = ExtensionRange::new(200, 299)?;
    let extension = numbers.lowest_free([]).ok_or("every number is taken")?;
    let (realm, password) = (Realm::default(), SipPassword::generate()?);
    let door = User {
        id: UserId::generate(),
        name: "Front door".parse()?,
        email: "caretaker@example.com".parse()?,
        extension,
        ha1: Ha1::of(extension, &realm, &password),
        realm,
        created_at: SystemTime::now(),
        revision: Revision::default(),
    };
    let renderer = Renderer::new(&"doors".parse()?, &EndpointOptions::new(["language=de"])?);
    let renderer = renderer.in_context(&"from-doors".parse()?)?.with_range(numbers);
    let rendering = renderer.render(&[door])?;

    let pair = Pair { endpoints: name_by_digest(&rendering.endpoints)?.into(), dialplan: rendering.routing.into() };
    let files = IncludeFiles { endpoints: endpoints.into(), dialplan: dialplan.into() };
    let cli = Cli::new(asterisk, Duration::from_secs(10))?;
    let deployment = Deployment::new(cli, files, state).strict();
    let deadline = Instant::now() + Duration::from_mins(1);
    let deployed = deployment.lock(deadline)?.deploy(&pair, "doors", deadline)?;
    println!("Asterisk was proven to run it; new: {:?}", deployed.difference.added);
    Ok(())
}
