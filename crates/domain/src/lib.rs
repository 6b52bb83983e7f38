//! The rules of the PBX control portal: what a user, an extension and a SIP credential are, and
//! which extension comes next.
//!
//! Every type proves its rule when it is made, so a value that exists is a value that is legal:
//! code that takes a [`DisplayName`] need not look at it again. The crate knows no database, no
//! Asterisk syntax, no HTTP and no file; the one thing it asks of the system is randomness, for
//! [`SipPassword::generate`].
//!
//! ```
//! use pbx_domain::{DisplayName, Extension, ExtensionRange, Ha1, Realm, SipPassword};
//!
//! let name: DisplayName = "  Zoë \"Zee\" O'Neil ".parse()?;
//! assert_eq!(name.as_str(), "Zoë \"Zee\" O'Neil");
//!
//! let taken = [Extension::new(1000)?, Extension::new(1002)?];
//! let extension = ExtensionRange::ALL.lowest_free(taken).expect("998 are free");
//! assert_eq!(extension.get(), 1001);
//!
//! let password = SipPassword::generate()?;
//! let ha1 = Ha1::of(extension, &Realm::default(), &password);
//! assert_eq!(ha1.as_str().len(), 32);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod apply;
mod credential;
mod display_name;
mod email;
mod extension;
mod identity;
mod tenant;
mod user;

pub use apply::{ApplyId, ApplyOutcome, ApplyRecord, Changes, InstalledFile, Timings};
pub use credential::{Ha1, InvalidHa1, InvalidRealm, NoRandomness, Realm, SipPassword};
pub use display_name::{DisplayName, InvalidDisplayName};
pub use email::{Email, InvalidEmail};
pub use extension::{Extension, ExtensionRange, InvalidExtension};
pub use tenant::Revision;
pub use user::{NewUser, User, UserId};
