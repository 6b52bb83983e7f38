//! Asterisk's reload: the one command, its answers, and the retries that some of them need.
//!
//! That a module says "reloaded successfully" means that its reload function ran, and nothing
//! about what it made of the files: [`crate::proof::live`] is the proof.

use std::time::{Duration, Instant};

use crate::ask::cli::{Cli, excerpt};
use crate::ask::cli_error::CliError;
use crate::ask::pause::Pause;
use crate::text::modules::{BOTH, Modules};

/// Blocks until Asterisk is booted, so its answer in time says that it is neither down nor hung.
const READY: &str = "core waitfullybooted";

/// The time that another reload must have: one that is cut off at once would leave open whether it began.
const LEAST: Duration = Duration::from_secs(1);

/// Why Asterisk did not reload.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReloadError {
    /// Other reloads were under way all the time; ours never began.
    #[error("Asterisk was busy with other reloads; apply again when they are done")]
    Busy,
    /// A module did not say that it reloaded.
    #[error("Asterisk did not reload: {0}")]
    Rejected(String),
    /// The command could not be started, or is denied to this user: nothing was reloaded.
    #[error(transparent)]
    NotBegun(CliError),
    /// There was no answer; whether it reloaded is not known.
    #[error(transparent)]
    Cli(#[from] CliError),
}

#[derive(Debug, PartialEq, Eq)]
enum Response {
    Reloaded,
    Busy,
    Booting,
    NotInitialized(&'static str),
    Rejected,
}

/// Waits until Asterisk has fully booted.
pub(crate) fn wait_ready(cli: &Cli, deadline: Instant) -> Result<(), ReloadError> {
    let answer = cli.ask(READY, deadline)?;
    let is_ready = answer.lines().any(|line| line.trim() == "Asterisk has fully booted.");
    if is_ready { Ok(()) } else { Err(ReloadError::Rejected(excerpt(&answer))) }
}

/// Until when another reload may begin.
pub(crate) fn last_try(cli: &Cli, deadline: Instant) -> Instant {
    deadline.checked_sub(LEAST.min(cli.timeout())).unwrap_or(deadline)
}

/// Reloads `modules`; waits for other reloads and for Asterisk's boot to end, until `deadline`.
pub(crate) fn reload(cli: &Cli, modules: Modules, deadline: Instant) -> Result<(), ReloadError> {
    let command = format!("module reload {}", modules.join(" "));
    let mut pause = Pause::new();
    let (mut loaded, mut began) = (false, false);
    loop {
        let answer = match cli.run(&command, deadline) {
            Err(error @ (CliError::CannotStart { .. } | CliError::Denied { .. })) if !began => {
                return Err(ReloadError::NotBegun(error));
            }
            answer => answer?,
        };
        let response = classify(&answer, modules);
        began |= response != Response::Busy;
        match response {
            Response::Reloaded => return Ok(()),
            Response::NotInitialized(module) if !loaded => {
                log::warn!("{module} was not initialized, as after a start without its files: loading it");
                cli.run(&format!("module load {module}"), deadline)?;
                loaded = true;
                continue;
            }
            Response::Booting => wait_ready(cli, deadline)?,
            Response::Busy => log::debug!("Asterisk is busy with another reload"),
            Response::NotInitialized(_) | Response::Rejected => return Err(ReloadError::Rejected(excerpt(&answer))),
        }
        if !pause.before(last_try(cli, deadline)) {
            return Err(ReloadError::Busy);
        }
    }
}

/// Reads the answer by whole lines: only the success line of each module is success. Whatever does not speak of a module is
/// the client's own, which reads asterisk.conf too and says what it finds wrong there.
fn classify(answer: &str, modules: Modules) -> Response {
    let lines: Vec<_> = answer.lines().map(str::trim).filter(|line| line.contains("odule")).collect();
    let expected: Vec<_> = modules.iter().map(|module| format!("Module '{module}' reloaded successfully.")).collect();
    if lines.len() == expected.len() && expected.iter().all(|line| lines.contains(&line.as_str())) {
        return Response::Reloaded;
    }
    if lines.iter().any(|line| line.starts_with("A module reload request is already in progress")) {
        return Response::Busy;
    }
    if lines.iter().any(|line| line.contains("cannot reload a module yet; request queued")) {
        return Response::Booting;
    }
    let uninitialized = |module: &&str| {
        let start = format!("The module '{module}' was not properly initialized.");
        lines.iter().any(|line| line.starts_with(&start))
    };
    match modules.iter().copied().find(|module| uninitialized(module)) {
        Some(module) => Response::NotInitialized(module),
        None => Response::Rejected,
    }
}

/// The modules that are not loaded at all, by an answer or an excerpt of one.
pub(crate) fn unloaded(answer: &str) -> impl Iterator<Item = &'static str> {
    BOTH.iter().copied().filter(move |module| answer.contains(&format!("No such module '{module}'")))
}

#[cfg(fuzzing)]
pub(crate) fn is_success(answer: &str) -> bool {
    classify(answer, crate::text::modules::BOTH) == Response::Reloaded
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::text::modules::modules_of_change;
    use crate::text::pair::Pair;

    #[test]
    fn only_the_success_line_of_each_module_is_success() {
        let ok = "Module 'res_pjsip.so' reloaded successfully.\nModule 'pbx_config.so' reloaded successfully.\n";
        assert_eq!(classify(ok, BOTH), Response::Reloaded);
        for answer in [
            "",
            "Module 'res_pjsip.so' reloaded successfully.\n",
            "Module 'res_pjsip.so' reloaded successfully.\nModule 'res_pjsip.so' reloaded successfully.\n",
            "Module 'res_pjsip.so' reloaded successfully.\nThe module 'pbx_config.so' reported a reload failure\n",
            "Module 'res_pjsip.so' reloaded successfully.\nNo such module 'pbx_config.so'\n",
            "No such command 'module reload' (type 'core show help module reload' for other possible commands)\n",
            "Module 'res_pjsip.so' reloaded successfully.Module 'pbx_config.so' reloaded successfully.",
        ] {
            assert_eq!(classify(answer, BOTH), Response::Rejected, "{answer}");
        }
    }

    #[test]
    fn what_the_client_says_of_asterisk_conf_is_no_part_of_the_answer() {
        let answer = "No '=' (equal sign) in line 15 of /etc/asterisk/asterisk.conf\nModule 'res_pjsip.so' reloaded successfully.\n\
                      Module 'pbx_config.so' reloaded successfully.\n";
        assert_eq!(classify(answer, BOTH), Response::Reloaded);
    }

    #[test]
    fn answers_that_ask_for_patience_are_distinguished() {
        assert_eq!(
            classify("A module reload request is already in progress; please be patient\n", BOTH),
            Response::Busy
        );
        let mixed = "Module 'res_pjsip.so' reloaded successfully.\nA module reload request is already in progress; please be patient\n";
        assert_eq!(classify(mixed, BOTH), Response::Busy);
        assert_eq!(classify("Asterisk cannot reload a module yet; request queued\n", BOTH), Response::Booting);
        let answer = "Module 'res_pjsip.so' reloaded successfully.\nThe module 'pbx_config.so' was not properly initialized. Before reloading the module, you must run \"module load pbx_config.so\" and fix whatever is preventing the module from being initialized.\n";
        assert_eq!(classify(answer, BOTH), Response::NotInitialized("pbx_config.so"));
    }

    #[test]
    fn only_the_modules_of_a_change_are_reloaded_and_each_has_its_success() {
        let pair = |endpoints: &str, dialplan: &str| Pair { endpoints: endpoints.into(), dialplan: dialplan.into() };
        let of = |new| modules_of_change(&pair("a", "b"), &new);
        assert_eq!(of(pair("x", "b")), ["res_pjsip.so"]);
        assert_eq!(of(pair("a", "x")), ["pbx_config.so"]);
        // Nothing changed, and something is to be reloaded: nobody knows what.
        assert_eq!((of(pair("x", "x")), of(pair("a", "b"))), (BOTH, BOTH));
        let pjsip = "Module 'res_pjsip.so' reloaded successfully.\n";
        assert_eq!(classify(pjsip, &BOTH[..1]), Response::Reloaded);
        assert_eq!(classify(pjsip, &BOTH[1..]), Response::Rejected);
    }

    #[test]
    fn a_module_that_is_not_loaded_is_named() {
        let answer = "Module 'res_pjsip.so' reloaded successfully.\nNo such module 'pbx_config.so'\n";
        // As it is kept, in one line, too.
        for answer in [answer, &excerpt(answer)] {
            assert_eq!(unloaded(answer).collect::<Vec<_>>(), ["pbx_config.so"]);
        }
        let both = "No such module 'res_pjsip.so'\nNo such module 'pbx_config.so'\n";
        assert_eq!(unloaded(both).collect::<Vec<_>>(), BOTH);
        for answer in ["", "No such module 'app_dial.so'", "The module 'pbx_config.so' was not properly initialized."] {
            assert_eq!(unloaded(answer).count(), 0, "{answer}");
        }
    }

    const PJSIP: &str = "module reload res_pjsip.so";
    const LOAD: &str = "module load res_pjsip.so";
    const BUSY: &str = "A module reload request is already in progress; please be patient";
    const QUEUED: &str = "Asterisk cannot reload a module yet; request queued";
    const UNINITIALIZED: &str = "The module 'res_pjsip.so' was not properly initialized.";

    /// Reloads an Asterisk that gives these answers one after the other, and whose program is gone then; with what it was
    /// asked.
    #[expect(clippy::disallowed_methods, reason = "the tests make programs that misbehave")]
    fn reloaded(answers: &[&str]) -> (Result<(), ReloadError>, Vec<String>) {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        for (answer, number) in answers.iter().zip(1..) {
            std::fs::write(at(&format!("{number}")), answer).unwrap();
        }
        let lines =
            "cd ${0%/*}; echo \"$2\" >>asked; count=$(wc -l <asked); [ -e $((count + 1)) ] || rm sh; cat $count";
        std::fs::write(at("program"), lines).unwrap();
        std::os::unix::fs::symlink("/bin/sh", at("sh")).unwrap();
        let command = format!("{} {}", at("sh").display(), at("program").display());
        let cli = Cli::new(&command, Duration::from_secs(30)).unwrap();
        // Looks for a control socket.
        _ = cli.ask("x", Instant::now() + Duration::from_secs(30));
        let result = reload(&cli, &BOTH[..1], Instant::now() + Duration::from_secs(30));
        let asked = std::fs::read_to_string(at("asked")).unwrap();
        (result, asked.lines().skip(2).map(str::to_owned).collect())
    }

    #[test]
    fn a_reload_is_tried_until_it_is_done() {
        let booted = "Asterisk has fully booted.";
        for (answers, asked) in [
            (["settings", "x", BUSY, BUSY, RELOADED[0]].as_slice(), [PJSIP; 3].as_slice()),
            (&["settings", "x", QUEUED, booted, RELOADED[0]], &[PJSIP, READY, PJSIP]),
            (&["settings", "x", UNINITIALIZED, "Loaded", RELOADED[0]], &[PJSIP, LOAD, PJSIP]),
        ] {
            let (result, questions) = reloaded(answers);
            assert!(result.is_ok(), "{result:?}");
            assert_eq!(questions, asked);
        }
    }

    #[test]
    fn a_reload_that_is_refused_is_not_tried_again() {
        for (answers, asked) in [
            (["settings", "x", "No such module 'res_pjsip.so'", RELOADED[0]].as_slice(), [PJSIP].as_slice()),
            (&["settings", "x", QUEUED, "Asterisk is shutting down.", RELOADED[0]], &[PJSIP, READY]),
            (&["settings", "x", UNINITIALIZED, "Unable", UNINITIALIZED, RELOADED[0]], &[PJSIP, LOAD, PJSIP]),
        ] {
            let (result, questions) = reloaded(answers);
            assert!(matches!(result, Err(ReloadError::Rejected(_))), "{result:?}");
            assert_eq!(questions, asked);
        }
    }

    #[test]
    fn a_reload_that_is_denied_never_began() {
        let (result, asked) = reloaded(&["settings", "x", "You don't have permissions to run 'module reload' command"]);
        assert!(matches!(result, Err(ReloadError::NotBegun(CliError::Denied { .. }))), "{result:?}");
        assert_eq!(asked, [PJSIP]);
    }

    #[test]
    fn where_the_program_is_gone_it_is_known_whether_a_reload_began() {
        for (answers, began) in [
            (["settings", "x", BUSY].as_slice(), false),
            (&["settings", "x", QUEUED, "Asterisk has fully booted."], true),
        ] {
            let (result, _) = reloaded(answers);
            let error = result.unwrap_err();
            assert_eq!(matches!(error, ReloadError::Cli(CliError::CannotStart { .. })), began, "{error:?}");
            assert_eq!(matches!(error, ReloadError::NotBegun(_)), !began, "{error:?}");
        }
    }

    #[test]
    fn other_reloads_are_waited_for_until_the_deadline() {
        let cli = Cli::new(&format!("/bin/echo {BUSY}"), Duration::from_secs(30)).unwrap();
        let began = Instant::now();
        let busy = reload(&cli, &BOTH[..1], began + Duration::from_secs(2));
        assert!(matches!(busy, Err(ReloadError::Busy)), "{busy:?}");
        assert!(began.elapsed() < Duration::from_secs(20));
    }

    const RELOADED: [&str; 2] =
        ["Module 'res_pjsip.so' reloaded successfully.", "Module 'pbx_config.so' reloaded successfully."];

    proptest! {
        /// Any lines that Asterisk may say, one of them cut: only both successes and nothing else are success.
        #[test]
        fn no_other_lines_are_success(
            lines in prop::collection::vec(prop::sample::select(vec![
                RELOADED[0],
                RELOADED[1],
                "A module reload request is already in progress; please be patient",
                "Asterisk cannot reload a module yet; request queued",
                "The module 'pbx_config.so' was not properly initialized.",
                "The module 'pbx_config.so' reported a reload failure",
                "No such module 'res_pjsip.so'",
                "",
            ]), 0..4),
            cut in prop::option::of(any::<prop::sample::Index>()),
        ) {
            let mut answer = lines.join("\n");
            if let Some(at) = cut.filter(|_| !answer.is_empty()) {
                answer.truncate(at.index(answer.len()));
            }
            let said: Vec<_> = answer.lines().filter(|line| line.contains("odule")).collect();
            let is_success = said == RELOADED || said == [RELOADED[1], RELOADED[0]];
            prop_assert_eq!(classify(&answer, BOTH) == Response::Reloaded, is_success, "{}", answer);
        }
    }
}
