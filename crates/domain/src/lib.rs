#![doc = include_str!("../README.md")]
#![warn(missing_debug_implementations)]

mod apply;
mod credential;
mod display_name;
mod email;
mod extension;
mod identity;
mod revision;
mod roster;
mod user;

pub use apply::{ApplyId, ApplyOutcome, ApplyRecord, Changes, InstalledFile, Timings};
pub use credential::{Ha1, InvalidHa1, InvalidRealm, NoRandomness, Realm, SipPassword};
pub use display_name::{DisplayName, InvalidDisplayName};
pub use email::{Email, InvalidEmail};
pub use extension::{Extension, ExtensionRange, InvalidExtension, InvalidRange};
pub use identity::InvalidId;
pub use revision::{DatabaseId, Revision};
pub use roster::{CreateRefusal, Roster};
pub use user::{NewUser, User, UserId};
