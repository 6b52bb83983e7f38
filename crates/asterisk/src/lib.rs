#![doc = include_str!("../README.md")]
//!
//! # What is proven
//!
//! - Every endpoint is live, with the auths, outbound auths, aors and identifies that the file gives it.
//! - Every aor and auth that no endpoint names is live under its name, and so is every auth that a registration names.
//! - Every registration is live with each of its options.
//! - Every context holds the extensions of the file, each with exactly its hint, priorities, labels and
//!   applications, and its `include`, `ignorepat` and `switch` lines.
//! - Nothing is live that only the former pair had.
//!
//! No listing shows the other options of endpoints, auths, aors and identifies; and Asterisk keeps a former object under the
//! same name when it does not like a new option. So they are proven by names: where the name of an object is a digest of its
//! settings, and of those of the endpoints that name it, there is no former object under that name, and what is live is what
//! was written. [`name_by_digest`] gives such names.
//!
#![doc = include_str!("proofs.md")]
//!
//! What remains is in [`Deployed::uncovered`], and [`Deployment::strict`] refuses it.
//!
//! A file that holds more than that, such as a transport, `[globals]` or an `#include` of its own, is refused
//! before anything is touched: [`Cause::Unprovable`] names the line. The form of the files: [PJSIP
//! configuration][pjsip], [Contexts, Extensions, and Priorities][dialplan] and [Comments][comments] in
//! Asterisk's documentation.
//!
//! Not proven either is what a section of the administrator's adds to one of ours, which [`Foreign::added`] names.
//!
//! # What an answer of Asterisk's is worth
//!
//! Asterisk drops what it would print while the reader of an answer stalls. So an answer that is not whole is asked for
//! again until the deadline, and a difference is believed when it is read twice alike, or when no time is left; the log
//! says how often. Of a call, Asterisk prints what the caller sent, line breaks included: only lines that stand where the
//! grammar of the listing has them count, and nothing in the block of a channel does.
//!
//! # What survives what
//!
//! Everything that needs space is written and synced before anything is touched; all that follows are renames, a rollback
//! included. A process that is killed at any moment leaves a journal, and the next [`Deployment::lock`] puts one whole pair on
//! disk before it does anything else. Nothing beside the two files ever has a name that `*.conf` matches.
//!
//! What a real Asterisk 22 was seen to do, besides what the documentation of its [command line][cli] says, is
//! written where the code depends on it.
//!
//! # Threads
//!
//! Every call that asks Asterisk or touches a file blocks; none starts a thread. All public types are `Send` and `Sync`, and a [`Deployment`] is
//! cheap to clone. In an asynchronous program, with tokio:
//!
//! ```no_run
//! use std::time::{Duration, Instant};
//!
//! use pbx_asterisk::{Deployed, Deployment, Pair};
//!
//! async fn deploy(deployment: Deployment, pair: Pair) -> Result<Deployed, Box<dyn std::error::Error + Send + Sync>> {
//!     let blocking = move || {
//!         let deadline = Instant::now() + Duration::from_secs(30);
//!         Ok(deployment.lock(deadline)?.deploy(&pair, "trunks", deadline)?)
//!     };
//!     tokio::task::spawn_blocking(blocking).await?
//! }
//! ```
//!
//! Dropping the future does not end the deployment, which runs to one of its ends.
//!
//! [pjsip]: https://docs.asterisk.org/Configuration/Channel-Drivers/SIP/Configuring-res_pjsip/PJSIP-Configuration-Sections-and-Relationships/
//! [dialplan]: https://docs.asterisk.org/Configuration/Dialplan/Contexts-Extensions-and-Priorities/
//! [comments]: https://docs.asterisk.org/Fundamentals/Asterisk-Configuration/Asterisk-Configuration-Files/Config-File-Format/
//! [cli]: https://docs.asterisk.org/Operation/Asterisk-Command-Line-Interface/

#![warn(missing_debug_implementations)]

mod ask;
mod deploy;
mod doctor;
mod files;
#[cfg(fuzzing)]
pub mod fuzzing;
mod proof;
mod text;

pub use ask::cli::Cli;
pub use ask::cli_error::{CliError, EmptyCommand};
pub use ask::reload::ReloadError;
pub use ask::whole_answers::Unread;
pub use deploy::deployment::{Deployment, LockedDeployment, ProvenPair};
pub use deploy::drift::Drift;
pub use deploy::error::{Aftermath, Cause, LockError};
pub use deploy::transaction::{Deployed, Failure, StepTimes};
pub use deploy::uncovered::Uncovered;
pub use doctor::fault::Fault;
pub use doctor::inspection::{Inspection, Transports};
pub use doctor::rehearsal::Rehearsal;
pub use files::file::FileError;
pub use files::state_dir::ClaimStamp;
pub use proof::admin_sections::AdminSection;
pub use proof::live::Foreign;
pub use proof::mismatch::Mismatch;
pub use text::digest_names::name_by_digest;
pub use text::expected::{Difference, Expected, UnreadablePair};
// For the benchmark alone, and for nobody else: it may change in any version.
#[doc(hidden)]
pub use text::listing::endpoints as listed_endpoints;
pub use text::pair::{IncludeFiles, Pair};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_public_may_go_to_other_threads() {
        fn check<T: Send + Sync>() {}
        check::<Deployment>();
        check::<LockedDeployment<'_>>();
        check::<Deployed>();
        check::<Uncovered>();
        check::<Cli>();
        check::<Cause>();
        check::<Failure>();
        check::<LockError>();
        check::<FileError>();
        check::<Inspection>();
        check::<Expected>();
        check::<UnreadablePair>();
    }
}
