use std::{
    env, io, mem,
    process::Command,
    time::{Duration, Instant},
};

use crate::{
    cli_error::{CliError, EmptyCommand},
    process::{self, Output, Process, Unfinished},
    ready,
};

/// The way to Asterisk's command line: a program that takes `-rx "command"`.
///
/// Each command is one process, started without a shell, with nothing in its environment but `PATH`, in a process
/// group of its own that is killed at the deadline: `asterisk -rx` waits for ever on an Asterisk that hangs.
#[derive(Debug, Clone)]
pub struct Cli {
    words: Vec<String>,
    timeout: Duration,
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
        if words.is_empty() { Err(EmptyCommand) } else { Ok(Self { words, timeout }) }
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
        Running::to_their_ends(vec![Running::new(self, command)], deadline.min(Instant::now() + self.timeout))
            .pop()
            .unwrap_or_else(|| Err(CliError::NoAnswer { command: command.to_owned(), words: String::new() }))
    }

    /// What Asterisk answers to each of `questions`, which are asked side by side.
    pub(crate) fn ask_all(&self, questions: &[String], deadline: Instant) -> Vec<Result<String, CliError>> {
        let asked = questions.iter().map(|question| Running::new(self, question)).collect();
        Running::to_their_ends(asked, deadline.min(Instant::now() + self.timeout))
    }

    #[expect(clippy::disallowed_methods, reason = "this is the one place that starts processes")]
    fn process(&self, command: &str) -> Command {
        let mut process = Command::new(&self.words[0]);
        process.args(&self.words[1..]).args(["-rx", command]).env_clear();
        if let Some(path) = env::var_os("PATH") {
            process.env("PATH", path);
        }
        process
    }
}

/// A command on its way.
struct Running<'a> {
    cli: &'a Cli,
    command: &'a str,
    began: Instant,
    stage: Stage,
}

enum Stage {
    /// There is no process for it yet: none was tried, or the system had none to give.
    Waiting(Option<io::Error>),
    Process(Process),
    Ended(Result<String, CliError>),
}

impl<'a> Running<'a> {
    fn new(cli: &'a Cli, command: &'a str) -> Self {
        Self { cli, command, began: Instant::now(), stage: Stage::Waiting(None) }
    }

    /// Their answers, in their order, at the latest at `deadline`.
    fn to_their_ends(mut all: Vec<Self>, deadline: Instant) -> Vec<Result<String, CliError>> {
        loop {
            let mut is_waiting = false;
            for one in &mut all {
                one.proceed();
                is_waiting |= matches!(one.stage, Stage::Waiting(_));
            }
            let sources: Vec<_> = all.iter().filter_map(Self::process).flat_map(Process::sources).collect();
            let is_over = sources.is_empty() && !is_waiting;
            if is_over || Instant::now() >= deadline {
                break;
            }
            let until = if is_waiting { process::moment_before(deadline) } else { deadline };
            if let Err(error) = ready::wait(sources, until) {
                log::warn!("waiting for Asterisk's answers: {error}");
                break;
            }
        }
        all.into_iter().map(Self::end).collect()
    }

    fn process(&self) -> Option<&Process> {
        match &self.stage {
            Stage::Process(process) => Some(process),
            _ => None,
        }
    }

    /// Does what can be done without waiting.
    fn proceed(&mut self) {
        if let Stage::Waiting(_) = self.stage {
            self.stage = match Process::start(self.cli.process(self.command)) {
                Ok(process) => Stage::Process(process),
                Err(error) if process::is_for_now(&error) => Stage::Waiting(Some(error)),
                Err(error) => Stage::Ended(Err(self.cannot_start(error))),
            };
        }
        if let Stage::Process(process) = &mut self.stage {
            let ended = match process.proceed() {
                Ok(None) => return,
                Ok(Some(output)) => answer(self.command, output),
                Err(Unfinished::TooMuchOutput) => Err(CliError::TooMuchOutput { command: self.command.to_owned() }),
                Err(Unfinished::Lost(error)) => Err(CliError::Lost { command: self.command.to_owned(), error }),
            };
            if let Ok(answer) = &ended {
                log::debug!("asterisk -rx {:?}: {} bytes in {:?}", self.command, answer.len(), self.began.elapsed());
            }
            self.stage = Stage::Ended(ended);
        }
    }

    fn end(mut self) -> Result<String, CliError> {
        match mem::replace(&mut self.stage, Stage::Waiting(None)) {
            Stage::Ended(result) => result,
            Stage::Waiting(Some(error)) => Err(self.cannot_start(error)),
            // Dropped, the process is killed.
            Stage::Waiting(None) | Stage::Process(_) => {
                Err(CliError::TimedOut { command: self.command.to_owned(), after: self.began.elapsed() })
            }
        }
    }

    fn cannot_start(&self, error: io::Error) -> CliError {
        CliError::CannotStart { program: self.cli.words[0].clone(), error }
    }
}

/// What a program that has ended said, if that can be an answer.
fn answer(command: &str, output: Output) -> Result<String, CliError> {
    let mut answer = text(output.stdout);
    answer.drain(..answer.len() - without_own_words(&answer).len());
    if !output.status.success() {
        let words = format!("{} {}", answer.trim(), text(output.stderr).trim());
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

/// With one `?` for each byte that is no UTF-8: listings have columns, which are counted in bytes.
fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| {
        let chunks = error.as_bytes().utf8_chunks();
        chunks.fold(String::new(), |text, chunk| text + chunk.valid() + &"?".repeat(chunk.invalid().len()))
    })
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
