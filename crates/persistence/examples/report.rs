//! Prints who has which extension in the database that `DATABASE_URL` names. It writes nothing.
#![expect(clippy::print_stdout, reason = "a program reports to its user")]
#![expect(clippy::disallowed_methods, reason = "a URL may hold a password, which no argument may")]

use std::{collections::BTreeMap, env, error::Error, time::Duration};

use pbx_domain::ExtensionRange;
use pbx_persistence::Database;

fn main() -> Result<(), Box<dyn Error>> {
    let url = env::var("DATABASE_URL")?;
    let database = Database::connect(&url, 1, Duration::from_secs(5))?;
    let pending = database.pending_migrations()?;
    if !pending.is_empty() {
        return Err(
            format!("the schema is old, run `pbx-portal migrate`: {} are not applied", pending.join(", ")).into()
        );
    }

    let list = database.users().list()?;
    let mut by_domain: BTreeMap<String, usize> = BTreeMap::new();
    for user in &list.users {
        println!("{} {} <{}>", user.extension, user.name, user.email);
        let key = user.email.key();
        let domain = key.rsplit_once('@').map_or("", |(_, domain)| domain);
        *by_domain.entry(domain.to_owned()).or_default() += 1;
    }
    for (domain, users) in by_domain {
        println!("{users} at {domain}");
    }
    match ExtensionRange::PORTAL.lowest_free(list.users.iter().map(|user| user.extension)) {
        Some(next) => println!("{} users at revision {}; the next one gets {next}", list.users.len(), list.revision),
        None => println!("{} users at revision {}; no extension is free", list.users.len(), list.revision),
    }
    Ok(())
}
