use std::time::SystemTime;

use crate::identity::identity;
use crate::{DisplayName, Email, Extension, Ha1, Realm, Revision};

identity! {
    /// The identity of a user over REST.
    UserId
}

/// A user to be created: what the caller chooses. Extension and password are not theirs
/// to choose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewUser {
    /// What the called phone shows.
    pub name: DisplayName,
    /// The mail address, unique in the tenant without regard to case.
    pub email: Email,
    /// The user whose place this one takes: that user is deleted, and its extension goes to the new
    /// one.
    pub replaces: Option<UserId>,
}

/// A user: a person with an extension and the credential of a phone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The identity over REST.
    pub id: UserId,
    /// What the called phone shows.
    pub name: DisplayName,
    /// The mail address.
    pub email: Email,
    /// The number that is dialled.
    pub extension: Extension,
    /// The realm that [`User::ha1`] was made for.
    pub realm: Realm,
    /// The digest of the phone's password.
    pub ha1: Ha1,
    /// When the user was created.
    pub created_at: SystemTime,
    /// The tenant's revision when this user last changed: an order for people. Asterisk runs with this user as it is once an
    /// equal or higher revision of the same history was applied.
    pub revision: Revision,
}
