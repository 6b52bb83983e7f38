//! Whether Asterisk runs a pair that was installed, after a reload. What is live is compared in [`crate::proof::live`].

use std::cell::{Cell, OnceCell};
use std::time::Instant;

use crate::ask::pause::Pause;
use crate::ask::reload::{self, ReloadError};
use crate::deploy::deployment::{Deployment, LockedDeployment};
use crate::deploy::error::Cause;
use crate::deploy::transaction::{Change, Former, StepTimes, timed};
use crate::files::file::FileError;
use crate::files::stamps::Touched;
use crate::proof::diagnosis;
use crate::proof::live::{Foreign, Live};
use crate::text::expected::Expected;
use crate::text::modules::{self, Modules};
use crate::text::pair::Pair;

const IN_DOUBT: &str = "somebody may have loaded others, and nothing shows that it read these again";

impl LockedDeployment<'_> {
    /// The modules whose file changes, where Asterisk surely runs what is on disk.
    pub(super) fn modules_to_reload(&self, change: Change<'_>, on_disk: &Pair) -> Result<Modules, FileError> {
        let is_proven = self.proven.as_ref().is_some_and(|record| record.pair == *on_disk);
        let is_live = is_proven && !self.deployment.state.is_unproven()?;
        let modules = modules::modules_of_change(on_disk, change.pair);
        Ok(if is_live && change.touched.is_read_by(modules) { modules } else { modules::BOTH })
    }

    /// Which files somebody touched since the last proof: verification goes by names, and he may have loaded other settings
    /// under them, whether or not he put the file back.
    pub(super) fn touched(&self) -> Result<Touched, FileError> {
        let Deployment { files, state, .. } = self.deployment;
        if self.proven.is_some() { state.touched(files) } else { Ok(Touched::default()) }
    }

    /// Reloads and verifies; both modules where one was not enough.
    pub(super) fn reload_and_verify(
        &self,
        change: Change<'_>,
        modules: &Cell<Modules>,
        times: &mut StepTimes,
    ) -> Result<Foreign, Cause> {
        let Change { wanted, before, deadline, .. } = change;
        let cli = &self.deployment.cli;
        loop {
            let reloaded = timed(&mut times.reload, || reload::reload(cli, modules.get(), deadline));
            // Without an answer to the reload, what is live decides. Only a clear refusal ends it here.
            let unanswered = match reloaded {
                Ok(()) => None,
                Err(error @ ReloadError::Cli(_)) => Some(error),
                Err(error) => return Err(Cause::Reload(error)),
            };
            if let Some(error) = &unanswered {
                log::warn!("{error}; reading back what Asterisk runs");
            }
            let until = deadline.max(Instant::now() + cli.timeout() / 2);
            let verified = timed(&mut times.verify, || self.deployment.verify(wanted, before, until));
            return match (unanswered, verified) {
                (None, Err(Cause::NotProven(mismatch))) if modules.get() != modules::BOTH => {
                    // A rollback, too, reloads both.
                    modules.set(modules::BOTH);
                    if Instant::now() >= reload::last_try(cli, deadline) {
                        return Err(Cause::NotProven(mismatch));
                    }
                    log::warn!("Asterisk did not run the file that stays the same ({mismatch}): reloading both");
                    continue;
                }
                (None, Ok(_)) if self.is_not_taken(modules.get(), wanted, before) => Err(Cause::NotTaken),
                (None, verified) => verified,
                // Files that were touched look the same whether or not it reloaded.
                (Some(error), Ok(_)) if change.touched.is_any() => Err(Cause::Reload(error)),
                (Some(error), verified) => verified.map_err(|_| Cause::Reload(error)),
            };
        }
    }

    /// Whether Asterisk cannot read the files, although it runs what they say: it would look the same had a module refused its
    /// file, and so its configuration decides.
    fn is_not_taken(&self, modules: Modules, wanted: &Expected, before: &Expected) -> bool {
        let is_unseen = (modules.contains(&modules::PJSIP) && wanted.looks_like(before))
            || (modules.contains(&modules::DIALPLAN) && wanted.contexts == before.contexts);
        is_unseen && !self.fixes(&Cause::NotTaken, wanted).is_empty()
    }

    /// What to fix, looked for while the files that Asterisk did not take are still there.
    pub(super) fn fixes(&self, cause: &Cause, wanted: &Expected) -> Vec<String> {
        let Deployment { cli, files, .. } = self.deployment;
        let (answer, mismatch) = match cause {
            Cause::NotProven(mismatch) => ("", Some(&**mismatch)),
            Cause::Reload(ReloadError::Rejected(answer)) => (answer.as_str(), None),
            Cause::NotTaken => ("", None),
            _ => return Vec::new(),
        };
        let load = |module| {
            format!("Asterisk does not run {module}: load it ({})", cli.shown(&format!("module load {module}")))
        };
        let others = diagnosis::fixes(cli, files, wanted, mismatch, Instant::now() + cli.timeout());
        reload::unloaded(answer).map(load).chain(others).collect()
    }

    /// Whether Asterisk runs the former pair, which is restored on disk; why not.
    pub(super) fn verify_former(
        &self,
        modules: Modules,
        former: &Former,
        wanted: &Expected,
        cause: &Cause,
    ) -> Result<(), String> {
        use ReloadError::{Busy, NotBegun, Rejected};
        let Deployment { cli, state, files, .. } = self.deployment;
        let reloaded = reload::reload(cli, modules, Instant::now() + cli.timeout() * 2);
        let is_reloaded = reloaded.is_ok();
        match (reloaded, cause) {
            (_, Cause::NotTaken) => return Err("nothing shows that it read them".to_owned()),
            // The reload ran, or none of ours ever began: what is live now stays so.
            (Ok(()) | Err(Rejected(_)), _)
            | (Err(Busy | NotBegun(_)), Cause::Reload(Busy | NotBegun(_)) | Cause::File(_)) => {}
            (Err(error), _) => return Err(error.to_string()),
        }
        let Some(expected) = &former.expected else {
            return Err("the former files are none that can be proven".to_owned());
        };
        match self.deployment.verify(expected, wanted, Instant::now() + cli.timeout()) {
            Ok(_) => {
                // It says that it reloads, too, where the administrator's files keep it from reading ours.
                let is_read = || is_reloaded && self.fixes(&Cause::NotTaken, expected).is_empty();
                if (former.is_in_doubt || former.is_touched) && !is_read() {
                    return if former.is_in_doubt { Err(IN_DOUBT.to_owned()) } else { Ok(()) };
                }
                state.keep_stamps_of(files, modules);
                Ok(())
            }
            Err(Cause::NotProven(mismatch)) => Err(mismatch.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }
}

impl Deployment {
    /// What is live besides `wanted`, if all of that is, and nothing that only `former` had.
    ///
    /// A difference is believed when it is read twice, or when no time is left: Asterisk may have dropped a line that it does
    /// not count.
    pub(crate) fn verify(&self, wanted: &Expected, former: &Expected, deadline: Instant) -> Result<Foreign, Cause> {
        let admin = OnceCell::new();
        let is_admins =
            |name: &str| admin.get_or_init(|| diagnosis::admin_endpoints(&self.cli, &self.files)).contains(name);
        let (mut pause, mut before) = (Pause::new(), None);
        loop {
            let live = Live::read(&self.cli, wanted, former, deadline)?;
            match live.compare(wanted, former, is_admins) {
                Ok(foreign) => return Ok(foreign),
                Err(mismatch) if before.as_ref() == Some(&mismatch) || !pause.before(deadline) => {
                    return Err(Cause::NotProven(mismatch));
                }
                Err(mismatch) => before = Some(mismatch),
            }
        }
    }
}
