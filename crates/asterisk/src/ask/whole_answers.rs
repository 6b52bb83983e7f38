//! Questions whose answers show whether they are whole.
//!
//! If the reader of an answer stalls for 100 ms, as on a busy machine, Asterisk drops the output of that time and
//! continues with the next lines. So an answer that is not whole says nothing about what Asterisk runs: it is asked for
//! again while there is time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::ask::cli::Cli;
use crate::ask::cli_error::CliError;
use crate::ask::pause::Pause;
use crate::ask::reload;

/// Why the live state is not known.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unread {
    /// Asterisk gave no answer.
    #[error(transparent)]
    Cli(#[from] CliError),
    /// The answer is none that can be relied on, however often it was asked for.
    #[error("the answer to `{command}` {reason}")]
    Listing {
        /// What Asterisk was asked.
        command: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Asterisk has booted and has no such command, as where PJSIP is not loaded.
    #[error("Asterisk has no command `{command}`: res_pjsip.so has to be loaded, by modules.conf and now by `{fix}`")]
    NoCommand {
        /// What Asterisk was asked.
        command: String,
        /// The command of a shell that loads the module.
        fix: String,
    },
}

/// How long a module may be away that somebody loads anew.
const PATIENCE: Duration = Duration::from_secs(2);

/// Asks every question until `read` has taken a whole answer to each. What stands beside a question says what it is about.
///
/// # Errors
///
/// Asterisk does not answer, gave no whole answer until `deadline`, or has booted and lacks a command.
pub(crate) fn ask_whole<T>(
    cli: &Cli,
    questions: Vec<(String, T)>,
    deadline: Instant,
    mut read: impl FnMut(&T, &str) -> Result<(), &'static str>,
) -> Result<(), Unread> {
    // How often each question had to be asked again, and why at last.
    let mut again = BTreeMap::new();
    let result = ask_until_whole(cli, questions, deadline, &mut read, &mut again);
    if !again.is_empty() {
        let each: Vec<_> =
            again.iter().map(|(question, (times, reason))| format!("`{question}` {times} times ({reason})")).collect();
        log::warn!("Asterisk's answer was not whole: {}", each.join(", "));
    }
    result
}

fn ask_until_whole<T>(
    cli: &Cli,
    questions: Vec<(String, T)>,
    deadline: Instant,
    read: &mut impl FnMut(&T, &str) -> Result<(), &'static str>,
    again: &mut BTreeMap<String, (u32, String)>,
) -> Result<(), Unread> {
    let mut pause = Pause::new();
    // While Asterisk boots, it lacks the commands of the modules that it has not loaded yet.
    let mut booted_since = None;
    // Each with what was wrong with its last answer.
    let mut open: Vec<_> = questions.into_iter().map(|(question, about)| (question, about, None)).collect();
    loop {
        // The first time all are asked, then those whose answers were not whole.
        let questions: Vec<String> = open.iter().map(|(question, ..)| question.clone()).collect();
        let mut left: Vec<(String, T, Unread)> = Vec::new();
        for ((question, about, before), answer) in open.into_iter().zip(cli.ask_all(&questions, deadline)) {
            let error = match answer {
                Ok(answer) => match read(&about, &answer) {
                    Ok(()) => continue,
                    Err(_) if answer.starts_with("No such command '") => {
                        let fix = cli.shown("module load res_pjsip.so");
                        Unread::NoCommand { command: question.clone(), fix }
                    }
                    Err(reason) => Unread::Listing { command: question.clone(), reason },
                },
                // The connection ended early: so does a listing of which the end was dropped.
                Err(error @ CliError::NoAnswer { .. }) => error.into(),
                // The deadline passed during a retry: report why it was asked again.
                Err(error @ CliError::TimedOut { .. }) if Instant::now() >= deadline => {
                    return Err(before.unwrap_or(error.into()));
                }
                Err(error) => return Err(error.into()),
            };
            let (times, reason) = again.entry(question.clone()).or_default();
            (*times, *reason) = (*times + 1, error.to_string());
            left.push((question, about, error));
        }
        if left.is_empty() {
            return Ok(());
        }
        let without = left.iter().position(|(.., error)| matches!(error, Unread::NoCommand { .. }));
        let is_final = booted_since.is_some_and(|since: Instant| without.is_some() && since.elapsed() > PATIENCE);
        if without.is_some() && booted_since.is_none() && reload::wait_ready(cli, deadline).is_ok() {
            booted_since = Some(Instant::now());
        }
        if is_final || !pause.before(deadline) {
            return Err(left.swap_remove(without.unwrap_or(0)).2);
        }
        open = left.into_iter().map(|(question, about, error)| (question, about, Some(error))).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ask::cli::tests::{cli, program};

    /// A program that answers `half` this often before it answers `whole`.
    fn halves(halves: u32) -> (tempfile::TempDir, Cli) {
        let lines = format!("cd ${{0%/*}}; echo >>asked; [ $(wc -l <asked) -gt {halves} ] && echo whole || echo half");
        let (directory, command) = program(&lines);
        (directory, cli(&command))
    }

    fn whole(answer: &str) -> Result<(), &'static str> {
        if answer.starts_with("whole") { Ok(()) } else { Err("is half") }
    }

    #[test]
    fn an_answer_that_is_not_whole_is_asked_for_again() {
        for count in 0..4 {
            let (_directory, cli) = halves(count);
            let deadline = Instant::now() + Duration::from_secs(30);
            ask_whole(&cli, vec![("a".to_owned(), ())], deadline, |(), answer| whole(answer)).unwrap();
        }
    }

    #[test]
    fn an_answer_that_is_never_whole_is_an_error_at_the_deadline() {
        let (_directory, cli) = halves(u32::MAX);
        let began = Instant::now();
        let error =
            ask_whole(&cli, vec![("a".to_owned(), ())], began + Duration::from_secs(2), |(), answer| whole(answer))
                .unwrap_err();
        assert_eq!(error.to_string(), "the answer to `a` is half");
        assert!(began.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn a_command_that_times_out_is_no_half_answer_unless_no_time_is_left() {
        for (timeout, deadline, said) in
            [(2, 30, "Asterisk did not answer `a` within"), (30, 2, "the answer to `a` is half")]
        {
            let lines = "[ \"$2\" = a ] || exit 0; cd ${0%/*}; [ -e once ] && exec sleep 100; >once; echo half";
            let (_directory, command) = program(lines);
            let cli = Cli::new(&command, Duration::from_secs(timeout)).unwrap();
            let deadline = Instant::now() + Duration::from_secs(deadline);
            let error = ask_whole(&cli, vec![("a".to_owned(), ())], deadline, |(), answer| whole(answer))
                .unwrap_err()
                .to_string();
            assert!(error.starts_with(said), "{error}");
        }
    }

    /// An Asterisk that boots, and then has the command after that many more questions.
    fn without_a_command(questions: u32) -> (tempfile::TempDir, Cli) {
        let (directory, command) = program(&format!(
            "cd ${{0%/*}}; if [ \"$2\" = 'core waitfullybooted' ]; then echo >>booted; echo Asterisk has fully booted.; exit; fi
             [ -e booted ] && echo >>asked; [ -e asked ] && [ $(wc -l <asked) -gt {questions} ] && echo whole && exit
             echo \"No such command '$2' (type 'core show help $2' for other possible commands)\""
        ));
        (directory, cli(&command))
    }

    #[test]
    fn a_command_that_is_not_there_yet_is_asked_for_again_and_one_that_stays_away_is_named() {
        let ask = |cli: &Cli, timeout| {
            let deadline = Instant::now() + Duration::from_secs(timeout);
            ask_whole(cli, vec![("a".to_owned(), ())], deadline, |(), answer| whole(answer))
        };
        for questions in [0, 5] {
            let (_directory, cli) = without_a_command(questions);
            ask(&cli, 30).unwrap();
        }
        let (directory, cli) = without_a_command(u32::MAX);
        let began = Instant::now();
        let error = ask(&cli, 60).unwrap_err().to_string();
        assert!(error.starts_with("Asterisk has no command `a`: res_pjsip.so has to be loaded"), "{error}");
        assert!(began.elapsed() > PATIENCE && began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
        let booted = std::fs::read_to_string(directory.path().join("booted")).unwrap();
        assert_eq!(booted.lines().count(), 1, "once it has booted it is not asked again whether");
    }
}
