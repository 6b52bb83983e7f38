//! Renders one of the two include files, `endpoints` or `routing`, of users that come as JSON on standard input:
//!
//! ```json
//! [{"extension": 1000, "name": "Alice", "email": "alice@example.com", "ha1": "4e2bd218061da1563c0e0f1e2276b5b5"}]
//! ```
#![expect(clippy::print_stdout, reason = "a program reports to its user")]

use std::error::Error;
use std::time::SystemTime;
use std::{env, io};

use pbx_domain::{Extension, Realm, Revision, User, UserId};
use serde_json::Value;

fn main() -> Result<(), Box<dyn Error>> {
    let users: Vec<Value> = serde_json::from_reader(io::stdin())?;
    let users = (1..).zip(&users).map(|(number, json)| user(json).map_err(|error| format!("user {number}: {error}")));
    let users = users.collect::<Result<Vec<_>, _>>()?;
    let rendering = pbx_confgen::Renderer::default().render(&users)?;
    match env::args().nth(1).as_deref() {
        Some("endpoints") => print!("{}", rendering.endpoints),
        Some("routing") => print!("{}", rendering.routing),
        _ => return Err("usage: render endpoints|routing <users.json".into()),
    }
    Ok(())
}

fn user(json: &Value) -> Result<User, Box<dyn Error>> {
    let text = |key: &str| json[key].as_str().ok_or(format!("{key:?} is missing"));
    Ok(User {
        extension: Extension::new(json["extension"].as_u64().ok_or("\"extension\" is no number")?)?,
        name: text("name")?.parse()?,
        ha1: text("ha1")?.parse()?,
        realm: Realm::default(),
        email: text("email")?.parse()?,
        // Neither file shows these.
        id: UserId::generate(),
        created_at: SystemTime::UNIX_EPOCH,
        revision: Revision::default(),
    })
}
