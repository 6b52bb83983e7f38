//! Puts a pair of include files into a running Asterisk, and proves that it took them or puts the
//! former pair back.
//!
//! `asterisk -rx 'module reload …'` exits with 0 and says "reloaded successfully" also when
//! Asterisk dropped every object of the files. So nothing that Asterisk says about a reload counts
//! here: what must be live is read from the text of the files ([`Expected`]), what is live is read
//! back from Asterisk, and only when both are the same is a deployment [`Deployed`].
//!
//! The two files are any two that the administrator's `pjsip.conf` and `extensions.conf` include;
//! the crate knows nothing of what is in them beyond endpoints, auths, aors, contexts and
//! extensions. It needs Asterisk's command line and nothing else: no AMI, no ARI, no database.
//!
//! ```no_run
//! use std::time::{Duration, Instant};
//!
//! use pbx_asterisk::{Cli, Deployment, IncludeFiles, Pair};
//!
//! let deployment = Deployment::new(
//!     Cli::new("asterisk", Duration::from_secs(10))?,
//!     IncludeFiles {
//!         endpoints: "/etc/asterisk/pjsip.d/door/doors.conf".into(),
//!         dialplan: "/etc/asterisk/extensions.d/door/doors.conf".into(),
//!     },
//!     "/var/lib/door".into(),
//! );
//! let pair = Pair {
//!     endpoints: "[door]\ntype=endpoint\ncontext=doors\naors=door\n[door]\ntype=aor\n".into(),
//!     dialplan: "[doors]\nexten => open,1,Dial(PJSIP/door,20)\n".into(),
//! };
//! let deadline = Instant::now() + Duration::from_secs(60);
//! match deployment.turn(deadline)?.deploy(&pair, "first", deadline) {
//!     Ok(deployed) if deployed.is_changed => println!("Asterisk was proven to run the doors"),
//!     Ok(_) => println!("it did already"),
//!     Err(failure) => println!("{failure}; now: {:?}; {}", failure.aftermath, failure.mends.join("; ")),
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What survives what
//!
//! Everything that needs space is written and synced before anything is touched, both files and
//! the former pair beside their places, journal and records in the state directory; all that
//! follows are renames, the way back included. A process that is killed at any moment leaves the
//! journal, and the next [`Deployment::turn`] puts one whole pair on disk before it does anything
//! else. Nothing beside the two files ever has a name that `*.conf` matches.
//!
//! Sources: Asterisk's documentation of [PJSIP configuration][pjsip] and of its [command
//! line][cli]; what a real Asterisk 22 was seen to do is told where the code depends on it.
//!
//! [pjsip]: https://docs.asterisk.org/Configuration/Channel-Drivers/SIP/Configuring-res_pjsip/PJSIP-Configuration-Sections-and-Relationships/
//! [cli]: https://docs.asterisk.org/Operation/Asterisk-Command-Line-Interface/

mod cli;
mod config_text;
mod contacts;
mod deployment;
mod diagnosis;
mod dialplan_file;
#[cfg(test)]
mod doctored;
mod error;
mod expected;
mod file;
#[cfg(fuzzing)]
pub mod fuzzing;
mod include_files;
mod inspection;
mod listing;
mod live;
mod mismatch;
mod pair;
mod pjsip_file;
mod process;
mod record;
mod reload;
mod state_dir;
mod transaction;

pub use cli::{Cli, CliError, EmptyCommand};
pub use config_text::Unreadable;
pub use deployment::{Deployment, Turn};
pub use error::{Aftermath, Cause, TurnError};
pub use expected::{Context, Difference, Endpoint, Expected, Step, UnreadablePair};
pub use file::FileError;
pub use inspection::{Include, Inspection};
pub use listing::Unlisted;
// For the benchmark alone.
#[doc(hidden)]
pub use listing::endpoints as listed_endpoints;
pub use live::{Foreign, Unread};
pub use mismatch::Mismatch;
pub use pair::{IncludeFiles, Pair};
pub use record::sha256_hex;
pub use reload::ReloadError;
pub use transaction::{Deployed, Failure, StepTimes};
