use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::ask::cli_error::{CliError, EmptyCommand};
use crate::ask::running::{Running, text};
use crate::ask::socket::{Connection, ControlSocket};
use crate::ask::{poll, process};
use crate::text::listing;

/// The way to Asterisk's command line: a program that takes `-rx "command"`.
///
/// Each command is one process, started without a shell, with nothing in its environment but `PATH`, in a process
/// group of its own that is killed at the deadline: `asterisk -rx` waits for ever on an Asterisk that hangs.
///
/// Questions go over Asterisk's control socket where there is one on this host, which spares the processes: the answers
/// are the same. The command says where the socket is; where there is none that is surely that Asterisk's, the
/// command is used for questions too. A reload is always a command.
#[derive(Debug, Clone)]
pub struct Cli {
    words: Vec<String>,
    timeout: Duration,
    learnt: Arc<Mutex<Learnt>>,
}

/// What Asterisk was found to be.
#[derive(Debug, Default)]
struct Learnt {
    /// Where it reads its configuration.
    directory: Option<PathBuf>,
    socket: Option<Arc<ControlSocket>>,
    /// There was no control socket to be used; until then none is looked for.
    without_socket_until: Option<Instant>,
}

/// How many questions are asked side by side: without a control socket, each is a process.
const AT_ONCE: usize = 8;

/// How long until a control socket is looked for again where there was none: for an Asterisk in a container, behind
/// `docker exec`, there never is.
const WITHOUT_SOCKET: Duration = Duration::from_mins(1);

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
        if words.is_empty() { Err(EmptyCommand) } else { Ok(Self { words, timeout, learnt: Arc::default() }) }
    }

    /// The same question as a command of a shell.
    pub(crate) fn shown(&self, command: &str) -> String {
        format!("{} -rx '{command}'", self.words.join(" "))
    }

    /// The program that is started.
    #[must_use]
    pub fn program(&self) -> &str {
        &self.words[0]
    }

    /// The `asterisk.conf` that the program reads.
    pub(crate) fn config_file(&self) -> &Path {
        let is_named = self.words.windows(2).find(|words| words[0] == "-C");
        Path::new(is_named.map_or("/etc/asterisk/asterisk.conf", |words| &words[1]))
    }

    /// How long one command may take.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// What Asterisk prints to `command`, by a process of its own, at the latest at `deadline` or after
    /// [`Cli::timeout`].
    ///
    /// An answer does not prove that anything happened: Asterisk's exit status is 0 for nearly
    /// everything. Output that cannot be an answer is an error.
    ///
    /// # Errors
    ///
    /// [`CliError`] when the program cannot be started, does not reach Asterisk, does not end in
    /// time, prints nothing, or loses its connection; when this user may not run the command.
    pub(crate) fn run(&self, command: &str, deadline: Instant) -> Result<String, CliError> {
        let began = Instant::now();
        let running = Running::new(self, command, None, began);
        Running::to_their_ends(vec![running], deadline.min(began + self.timeout)).remove(0)
    }

    /// What Asterisk answers to one question.
    pub(crate) fn ask(&self, question: &str, deadline: Instant) -> Result<String, CliError> {
        self.ask_at_once(&[question.to_owned()], deadline).remove(0)
    }

    /// What Asterisk answers to each of `questions`. A few are asked side by side; the next ones only when an answer of
    /// theirs is taken.
    pub(crate) fn ask_all(
        &self,
        questions: &[String],
        deadline: Instant,
    ) -> impl Iterator<Item = Result<String, CliError>> {
        questions.chunks(AT_ONCE).flat_map(move |some| self.ask_at_once(some, deadline))
    }

    fn ask_at_once(&self, questions: &[String], deadline: Instant) -> Vec<Result<String, CliError>> {
        let began = Instant::now();
        let deadline = deadline.min(began + self.timeout);
        let socket = self.socket(deadline);
        let asked = questions.iter().map(|question| Running::new(self, question, socket.clone(), began)).collect();
        Running::to_their_ends(asked, deadline)
    }

    fn learnt(&self) -> MutexGuard<'_, Learnt> {
        self.learnt.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where Asterisk reads its configuration; asked once.
    pub(crate) fn config_directory(&self, deadline: Instant) -> Option<PathBuf> {
        if self.learnt().directory.is_none() {
            let settings = self.ask(SETTINGS, deadline).ok()?;
            self.learnt().directory = directory(&settings);
        }
        self.learnt().directory.clone()
    }

    /// The control socket, learnt by the command unless it is known.
    fn socket(&self, deadline: Instant) -> Option<Arc<ControlSocket>> {
        let is_without = |learnt: &Learnt| learnt.without_socket_until.is_some_and(|until| Instant::now() < until);
        let learnt = self.learnt();
        if learnt.socket.is_some() || is_without(&learnt) {
            return learnt.socket.clone();
        }
        drop(learnt);
        // If it does not answer, the question itself will report that.
        let settings = self.run(SETTINGS, deadline).ok()?;
        let socket = learn(&settings, deadline).map(Arc::new);
        let found = socket.as_ref().map(|socket| socket.path.display().to_string());
        log::debug!("questions go by {}", found.as_deref().unwrap_or("the command"));
        let without_socket_until = socket.is_none().then(|| Instant::now() + WITHOUT_SOCKET);
        *self.learnt() = Learnt { directory: directory(&settings), socket: socket.clone(), without_socket_until };
        socket
    }

    /// Learns anew where the socket is, before the next question.
    pub(crate) fn forget(&self, socket: &Arc<ControlSocket>, why: &str) {
        log::debug!("{}: {why}; asking by the command", socket.path.display());
        let mut learnt = self.learnt();
        learnt.socket = learnt.socket.take().filter(|known| known != socket);
    }

    #[expect(clippy::disallowed_methods, reason = "this is the one place that starts processes")]
    pub(crate) fn process(&self, command: &str) -> Command {
        let mut process = Command::new(&self.words[0]);
        process.args(&self.words[1..]).args(["-rx", command]).env_clear();
        if let Some(path) = env::var_os("PATH") {
            process.env("PATH", path);
        }
        process
    }
}

/// Asks where the control socket is, and whose; and where Asterisk's own files are.
pub(crate) const SETTINGS: &str = "core show settings";

fn directory(settings: &str) -> Option<PathBuf> {
    listing::setting(settings, "Configuration directory").map(PathBuf::from)
}

/// The control socket that `settings` name, if the Asterisk there is the one that named it.
fn learn(settings: &str, deadline: Instant) -> Option<ControlSocket> {
    /// Made by each Asterisk at each start.
    const IDENTITY: &str = "PBX UUID";
    let identity = listing::setting(settings, IDENTITY).filter(|identity| !identity.is_empty())?;
    let path = Path::new(listing::setting(settings, "Run/Sockets directory")?).join("asterisk.ctl");
    let mut connection = loop {
        match Connection::open(&path, None, SETTINGS) {
            Ok(connection) => break connection,
            Err(error) if process::is_for_now(&error) && Instant::now() < deadline => {
                poll::wait([], process::moment_before(deadline)).ok()?;
            }
            Err(_) => return None,
        }
    };
    while Instant::now() < deadline {
        if let Some(reply) = connection.proceed().ok()? {
            let is_the_same = listing::setting(&text(reply.answer), IDENTITY) == Some(identity);
            return is_the_same.then_some(ControlSocket { path, banner: reply.banner });
        }
        poll::wait([connection.source()], deadline).ok()?;
    }
    None
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
pub(crate) mod tests {
    use super::*;
    use crate::ask::running::without_client_messages;

    pub(crate) fn cli(command: &str) -> Cli {
        Cli::new(command, Duration::from_secs(30)).unwrap()
    }

    pub(crate) fn soon() -> Instant {
        Instant::now() + Duration::from_secs(30)
    }

    #[test]
    fn the_command_follows_the_words_as_one_argument() {
        let answer = cli("/bin/echo one  two").run("pjsip show endpoints; !id", soon()).unwrap();
        assert_eq!(answer, "one two -rx pjsip show endpoints; !id\n");
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let began = Instant::now();
        let error = cli("/nonexistent/asterisk").run("x", soon()).unwrap_err();
        assert!(began.elapsed() < Duration::from_secs(20), "it was waited for");
        assert!(matches!(error, CliError::CannotStart { .. }), "{error}");
        assert!(error.to_string().contains("/nonexistent/asterisk"));
    }

    #[test]
    fn silence_is_no_answer() {
        assert!(matches!(cli("/bin/true").run("x", soon()), Err(CliError::NoAnswer { .. })));
    }

    #[test]
    fn what_the_client_says_of_itself_is_no_answer() {
        let message = "No ethernet interface found for seeding global EID. You will have to set it manually.\n";
        assert_eq!(without_client_messages(&format!("{message}Asterisk 22.7.0\nmore\n")), "Asterisk 22.7.0\nmore\n");
        assert_eq!(without_client_messages(message), "");
        assert_eq!(without_client_messages("Asterisk 22.7.0"), "Asterisk 22.7.0");
        assert_eq!(without_client_messages("Asterisk 22.7.0\nmore\nAsterisk ending (0).\n"), "Asterisk 22.7.0\nmore\n");
        assert_eq!(without_client_messages("Asterisk ending (0).\n"), "");
        let printf = format!("/usr/bin/printf {}", message.replace(' ', "\\040").replace('\n', "\\n"));
        assert!(matches!(cli(&printf).run("x", soon()), Err(CliError::NoAnswer { .. })));
    }

    /// A program that is these lines of shell, and how to call it.
    #[expect(clippy::disallowed_methods, reason = "the tests make programs that misbehave")]
    pub(crate) fn program(lines: &str) -> (tempfile::TempDir, String) {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("program");
        std::fs::write(&program, lines).unwrap();
        (directory, format!("/bin/sh {}", program.display()))
    }

    #[test]
    fn a_failing_program_is_quoted() {
        for (lines, end) in
            [("echo no; echo why >&2; exit 3", "exit status: 3: \"no why\""), ("kill -9 $$", "signal: 9 (SIGKILL)")]
        {
            let (_directory, command) = program(lines);
            let error = cli(&command).run("x", soon()).unwrap_err().to_string();
            assert_eq!(error, format!("`x` failed: {end}"));
        }
    }

    #[test]
    fn of_many_questions_a_few_are_asked_at_once() {
        let (directory, command) = program("echo \"$2\" >>${0%/*}/asked; echo yes");
        let cli = cli(&command);
        let questions: Vec<_> = (0..50).map(|number| number.to_string()).collect();
        assert_eq!(cli.ask_all(&questions, soon()).next().unwrap().unwrap(), "yes\n");
        let asked = std::fs::read_to_string(directory.path().join("asked")).unwrap();
        assert_eq!(asked.lines().filter(|question| *question != SETTINGS).count(), AT_ONCE);
    }

    #[test]
    fn endless_output_is_cut_off() {
        for flood in ["exec yes", "echo; exec yes >&2"] {
            let (_directory, command) = program(flood);
            let flooded = cli(&command).run("x", soon()).unwrap_err().to_string();
            assert_eq!(flooded, "`x` failed: its output does not end", "{flood}");
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
        let error = Cli::new(&command, Duration::from_secs(2)).unwrap().run("x", soon()).unwrap_err();
        assert!(matches!(error, CliError::TimedOut { .. }), "{error}");
        assert!(cpu_time() - before < 10, "it was waited for with a busy loop");
        let child = std::fs::read_to_string(directory.path().join("pid")).unwrap();
        let gone = || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.trim()));
            stat.map_or(true, |stat| stat.contains(") Z "))
        };
        assert!((0..1000).any(|_| gone() || {
            std::thread::sleep(Duration::from_millis(10));
            false
        }));
    }

    #[test]
    fn an_excerpt_is_one_short_line() {
        assert_eq!(excerpt(" a\nb\t\u{1b}[0m "), "a b ?[0m");
        assert_eq!(excerpt(&"é".repeat(400)).chars().count(), 301);
    }

    #[test]
    fn a_question_is_shown_as_a_command_of_a_shell() {
        assert_eq!(cli("asterisk  -C x.conf").shown("core show x"), "asterisk -C x.conf -rx 'core show x'");
    }

    #[test]
    fn the_file_behind_c_is_the_one_that_the_program_reads() {
        assert_eq!(cli("docker exec pbx asterisk -C /srv/x.conf -q").config_file(), Path::new("/srv/x.conf"));
        assert_eq!(cli("asterisk -C").config_file(), Path::new("/etc/asterisk/asterisk.conf"));
    }

    #[test]
    fn a_program_is_waited_for_until_it_has_ended_and_all_output_is_closed() {
        for (lines, output) in
            [("echo yes; exec >&- 2>&-; sleep 0.2", "yes\n"), ("{ sleep 0.2; echo yes; } 2>&- &", "yes\n")]
        {
            let (_directory, command) = program(lines);
            assert_eq!(cli(&command).run("x", soon()).unwrap(), output, "{lines}");
        }
    }
}
