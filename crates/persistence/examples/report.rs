//! Prints who has which extension, the last applies and what waits for the next one, from the database that
//! `DATABASE_URL` names. It writes nothing: a role that may only read will do.
#![expect(clippy::print_stdout, reason = "a program reports to its user")]
#![expect(clippy::disallowed_methods, reason = "a URL may hold a password, which no argument may")]

use std::collections::BTreeSet;
use std::env;
use std::error::Error;
use std::time::Duration;

use pbx_persistence::{Database, LoggedApply};

fn main() -> Result<(), Box<dyn Error>> {
    let database = Database::connect(&env::var("DATABASE_URL")?, 1, Duration::from_secs(5))?;
    let pending = database.inspect()?.pending;
    if !pending.is_empty() {
        return Err(format!("the schema is old, run `pbx-portal migrate`: {pending:?} are not applied").into());
    }
    let list = database.users().list()?;
    for user in &list.users {
        println!("{} {} <{}>", user.extension, user.name, user.email);
    }
    println!("{} users at revision {}", list.users.len(), list.revision);

    let applies = database.apply_log().recent(None, 100)?;
    for apply in &applies {
        match apply {
            LoggedApply::Running { apply, revision, .. } => println!("{}: revision {revision} is running", apply.node),
            LoggedApply::Ended(apply) => println!("{}: revision {} was {}", apply.node, apply.revision, apply.outcome),
        }
    }
    for node in applies.iter().map(LoggedApply::node).collect::<BTreeSet<_>>() {
        let waiting = database.apply_log().waiting(node)?;
        if waiting.is_any() {
            println!("{node}: {} new or changed users wait", waiting.users.len());
        }
    }
    Ok(())
}
