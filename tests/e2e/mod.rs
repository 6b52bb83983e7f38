//! From `POST /users` to the answered call: the real program, a real PostgreSQL, a real Asterisk, real phones.

mod baresip;
mod calling_out;
mod contexts;
mod encryption;
mod options;
mod two_users;

use pbx_tests::{Asterisk, Database, Portal, Settings};

fn portal(database: &Database, asterisk: &Asterisk) -> Portal {
    Settings::new(&database.url(), asterisk).start()
}
