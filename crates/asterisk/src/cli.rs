use std::{
    io,
    process::Command,
    time::{Duration, Instant},
};

use crate::process::{self, Unfinished};

/// The way to Asterisk's command line: a program that takes `-rx "command"`.
///
/// Each command is one process, started without a shell, in a process group of its own that is
/// killed at the deadline: `asterisk -rx` waits for ever on an Asterisk that hangs.
#[derive(Debug, Clone)]
pub struct Cli {
    words: Vec<String>,
    timeout: Duration,
    hidden: Vec<String>,
}

impl Cli {
    /// Commands run as `command -rx "…"`, each for at most `timeout`.
    ///
    /// `command` is split at blanks into the program and its leading arguments
    /// (`asterisk -C /srv/pbx/asterisk.conf`); there is no quoting.
    ///
    /// # Errors
    ///
    /// [`EmptyCommand`] when there is no word in `command`.
    pub fn new(command: &str, timeout: Duration) -> Result<Self, EmptyCommand> {
        let words: Vec<_> = command.split_whitespace().map(str::to_owned).collect();
        if words.is_empty() { Err(EmptyCommand) } else { Ok(Self { words, timeout, hidden: Vec::new() }) }
    }

    /// Keeps these variables of our environment from the processes: those that hold secrets.
    #[must_use]
    pub fn hiding(mut self, variables: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.hidden.extend(variables.into_iter().map(Into::into));
        self
    }

    /// The same question as a command of a shell.
    pub(crate) fn shown(&self, command: &str) -> String {
        format!("{} -rx '{command}'", self.words.join(" "))
    }

    /// How long one command may take.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// What Asterisk prints to `command`, at the latest at `deadline` or after [`Cli::timeout`].
    ///
    /// An answer is no proof that anything happened: Asterisk's exit status is 0 for nearly
    /// everything. What cannot be an answer is an error.
    ///
    /// # Errors
    ///
    /// [`CliError`] when the program cannot be started, does not reach Asterisk, does not end in
    /// time, prints nothing, or loses its connection.
    pub(crate) fn run(&self, command: &str, deadline: Instant) -> Result<String, CliError> {
        let began = Instant::now();
        let deadline = deadline.min(began + self.timeout);
        let output = process::run(self.process(command), deadline).map_err(|unfinished| match unfinished {
            Unfinished::CannotStart(error) => CliError::CannotStart { program: self.words[0].clone(), error },
            Unfinished::TimedOut => CliError::TimedOut { command: command.to_owned(), after: began.elapsed() },
            Unfinished::TooMuchOutput => CliError::TooMuchOutput { command: command.to_owned() },
            Unfinished::Lost(error) => CliError::Lost { command: command.to_owned(), error },
        })?;
        let mut answer = String::from_utf8(output.stdout)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
        answer.drain(..answer.len() - without_own_words(&answer).len());
        log::debug!("asterisk -rx {command:?}: {} bytes in {:?}", answer.len(), began.elapsed());
        if !output.status.success() {
            let words = format!("{} {}", answer.trim(), String::from_utf8_lossy(&output.stderr).trim());
            let words = excerpt(&words);
            return Err(if words.contains("Unable to connect to remote asterisk") {
                CliError::NotRunning { words }
            } else {
                CliError::Failed { command: command.to_owned(), status: process::describe(output.status), words }
            });
        }
        if answer.trim().is_empty() || answer.lines().any(|line| line.starts_with("read() failed:")) {
            return Err(CliError::NoAnswer { command: command.to_owned(), words: excerpt(&answer) });
        }
        Ok(answer)
    }

    #[expect(clippy::disallowed_methods, reason = "this is the one place that starts processes")]
    fn process(&self, command: &str) -> Command {
        let mut process = Command::new(&self.words[0]);
        process.args(&self.words[1..]).args(["-rx", command]);
        for variable in &self.hidden {
            process.env_remove(variable);
        }
        process
    }
}

/// Without what the client says of itself before it connects, on a host that has no IPv4 address on
/// an ethernet interface.
fn without_own_words(mut output: &str) -> &str {
    while let Some((line, rest)) = output.split_once('\n')
        && line.ends_with("for seeding global EID. You will have to set it manually.")
    {
        output = rest;
    }
    output
}

/// The beginning of what a program said, on one line: it goes into errors and logs.
pub(crate) fn excerpt(words: &str) -> String {
    const MOST: usize = 300;
    let line = words.split_whitespace().collect::<Vec<_>>().join(" ").replace(|c: char| c.is_control(), "?");
    match line.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// A command without a word in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("names no program; it must be the program that reaches Asterisk, such as `asterisk`")]
pub struct EmptyCommand;

/// Why a command brought no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CliError {
    /// The program is not there or may not be run.
    #[error("`{program}` cannot be started: {error}")]
    CannotStart {
        /// The first word of the command.
        program: String,
        /// What the system said.
        error: io::Error,
    },
    /// The program runs, and finds no Asterisk to talk to.
    #[error("Asterisk is not running, or its socket may not be used: {words}")]
    NotRunning {
        /// What the program said.
        words: String,
    },
    /// The program ended with an error of its own.
    #[error("`{command}` failed with {status}: {words}")]
    Failed {
        /// What Asterisk was asked.
        command: String,
        /// How the program ended.
        status: String,
        /// What it said.
        words: String,
    },
    /// Asterisk hangs; whether it did what it was asked is not known.
    #[error("Asterisk did not answer `{command}` within {:.1} s", .after.as_secs_f64())]
    TimedOut {
        /// What Asterisk was asked.
        command: String,
        /// How long it was waited for.
        after: Duration,
    },
    /// The connection ended without an answer, as when Asterisk dies in the middle.
    #[error("Asterisk gave no answer to `{command}`: {words:?}")]
    NoAnswer {
        /// What Asterisk was asked.
        command: String,
        /// What came instead of an answer.
        words: String,
    },
    /// More output than any answer has.
    #[error("the output of `{command}` does not end")]
    TooMuchOutput {
        /// What Asterisk was asked.
        command: String,
    },
    /// The process got lost.
    #[error("the process of `{command}` was lost: {error}")]
    Lost {
        /// What Asterisk was asked.
        command: String,
        /// What the system said.
        error: io::Error,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cli(command: &str) -> Cli {
        Cli::new(command, Duration::from_millis(300)).unwrap()
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(30)
    }

    #[test]
    fn the_command_follows_the_words_as_one_argument() {
        let answer = cli("/bin/echo one  two").run("pjsip show endpoints; !id", soon()).unwrap();
        assert_eq!(answer, "one two -rx pjsip show endpoints; !id\n");
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let error = cli("/nonexistent/asterisk").run("x", soon()).unwrap_err();
        assert!(matches!(error, CliError::CannotStart { .. }), "{error}");
        assert!(error.to_string().contains("/nonexistent/asterisk"));
    }

    #[test]
    fn silence_is_no_answer() {
        assert!(matches!(cli("/bin/true").run("x", soon()), Err(CliError::NoAnswer { .. })));
    }

    #[test]
    fn what_the_client_says_of_itself_is_no_answer() {
        let own = "No ethernet interface found for seeding global EID. You will have to set it manually.\n";
        assert_eq!(without_own_words(&format!("{own}Asterisk 22.7.0\nmore\n")), "Asterisk 22.7.0\nmore\n");
        assert_eq!(without_own_words(own), "");
        assert_eq!(without_own_words("Asterisk 22.7.0"), "Asterisk 22.7.0");
        let printf = format!("/usr/bin/printf {}", own.replace(' ', "\\040").replace('\n', "\\n"));
        assert!(matches!(cli(&printf).run("x", soon()), Err(CliError::NoAnswer { .. })));
    }

    /// A program that is these lines of shell, and how to call it.
    #[expect(clippy::disallowed_methods, reason = "the tests make programs that misbehave")]
    fn program(lines: &str) -> (tempfile::TempDir, String) {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("program");
        std::fs::write(&program, lines).unwrap();
        (directory, format!("/bin/sh {}", program.display()))
    }

    #[test]
    fn a_failing_program_is_quoted() {
        for (lines, end) in
            [("echo no; echo why >&2; exit 3", "exit status 3: no why"), ("kill -9 $$", "killed by signal 9: ")]
        {
            let (_directory, command) = program(lines);
            let error = cli(&command).run("x", soon()).unwrap_err().to_string();
            assert_eq!(error, format!("`x` failed with {end}"));
        }
    }

    #[test]
    fn endless_output_is_cut_off() {
        for flood in ["exec yes", "echo; exec yes >&2"] {
            let (_directory, command) = program(flood);
            let flooded = Cli::new(&command, Duration::from_secs(30)).unwrap().run("x", soon());
            assert!(matches!(flooded, Err(CliError::TooMuchOutput { .. })), "{flood}");
        }
    }

    /// What this thread used of a processor so far, in hundredths of a second.
    fn cpu_time() -> u32 {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        // After the name of the program, in parentheses, `utime` and `stime` are the 12th and 13th field.
        let fields = stat.rsplit_once(')').unwrap().1.split_whitespace();
        fields.skip(11).take(2).map(|ticks| ticks.parse::<u32>().unwrap()).sum()
    }

    #[test]
    fn a_program_that_hangs_is_killed_with_all_that_it_started() {
        let (directory, command) = program("sleep 100 & echo $! > ${0%/*}/pid; wait");
        let before = cpu_time();
        let error = Cli::new(&command, Duration::from_secs(1)).unwrap().run("x", soon()).unwrap_err();
        assert!(matches!(error, CliError::TimedOut { .. }), "{error}");
        assert!(cpu_time() - before < 10, "it was waited for with a busy loop");
        let child = std::fs::read_to_string(directory.path().join("pid")).unwrap();
        let gone = || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.trim()));
            stat.map_or(true, |stat| stat.contains(") Z "))
        };
        assert!((0..100).any(|_| gone() || {
            std::thread::sleep(Duration::from_millis(10));
            false
        }));
    }

    #[test]
    fn an_excerpt_is_one_short_line() {
        assert_eq!(excerpt(" a\nb\t\u{1b}[0m "), "a b ?[0m");
        assert_eq!(excerpt(&"é".repeat(400)).chars().count(), 301);
    }
}
