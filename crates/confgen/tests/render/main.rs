//! What `render` makes of users, seen from outside.

mod golden;
mod properties;
mod templates;
mod users;
