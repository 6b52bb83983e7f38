//! Commands on their way to Asterisk and back, each over the control socket or by a process, all on one thread.

use std::os::fd::BorrowedFd;
use std::process::Output;
use std::sync::Arc;
use std::time::Instant;
use std::{io, mem};

use rustix::event::PollFlags;

use crate::ask::cli::{Cli, excerpt};
use crate::ask::cli_error::{CliError, quoted};
use crate::ask::poll;
use crate::ask::process::{self, Process, Unfinished};
use crate::ask::socket::{Connection, ControlSocket};
use crate::files::file::said;

/// A command on its way.
pub(crate) struct Running<'a> {
    cli: &'a Cli,
    command: &'a str,
    began: Instant,
    /// Where it is asked, unless by a process.
    socket: Option<Arc<ControlSocket>>,
    stage: Stage,
}

enum Stage {
    /// It did not begin yet, or the system had no process or connection to give.
    Waiting(Option<io::Error>),
    Process(Process),
    Connection(Connection),
    Ended(Result<String, CliError>),
}

impl<'a> Running<'a> {
    pub(crate) fn new(cli: &'a Cli, command: &'a str, socket: Option<Arc<ControlSocket>>, began: Instant) -> Self {
        Self { cli, command, began, socket, stage: Stage::Waiting(None) }
    }

    /// Their answers, in their order, at the latest at `deadline`.
    pub(crate) fn to_their_ends(mut all: Vec<Self>, deadline: Instant) -> Vec<Result<String, CliError>> {
        loop {
            for one in &mut all {
                one.proceed();
            }
            let is_waiting = all.iter().any(|one| matches!(one.stage, Stage::Waiting(_)));
            let sources: Vec<_> = all.iter().flat_map(Self::sources).collect();
            let is_over = sources.is_empty() && !is_waiting;
            if is_over || Instant::now() >= deadline {
                break;
            }
            // What waits for a free process has no descriptor that could wake us.
            let until = if is_waiting { process::moment_before(deadline) } else { deadline };
            if let Err(error) = poll::wait(sources, until) {
                log::warn!("waiting for Asterisk's answers: {error}");
                break;
            }
        }
        all.into_iter().map(Self::end).collect()
    }

    fn sources(&self) -> Vec<(BorrowedFd<'_>, PollFlags)> {
        match &self.stage {
            Stage::Process(process) => process.sources().collect(),
            Stage::Connection(connection) => vec![connection.source()],
            Stage::Waiting(_) | Stage::Ended(_) => Vec::new(),
        }
    }

    /// Does what can be done without waiting.
    fn proceed(&mut self) {
        if let Stage::Waiting(_) = self.stage {
            self.stage = self.begin();
        }
        let command = self.command;
        let proceeded = match &mut self.stage {
            Stage::Waiting(_) | Stage::Ended(_) => return,
            Stage::Process(process) => process.proceed().map(|ended| ended.map(|output| answer(command, output))),
            Stage::Connection(connection) => {
                connection.proceed().map(|ended| ended.map(|reply| permitted(command, text(reply.answer))))
            }
        };
        let command = command.to_owned();
        let ended = match proceeded {
            Ok(None) => return,
            Ok(Some(answer)) => answer,
            // Asterisk was restarted, say, and has another banner: it heard nothing of the command.
            Err(Unfinished::NotAsked(why)) => {
                self.by_process(&why);
                return self.proceed();
            }
            Err(Unfinished::Broken(error)) => Err(CliError::NoAnswer { command, words: said(&error) }),
            Err(Unfinished::Failed(reason)) => Err(CliError::Failed { command, reason }),
        };
        if let Ok(answer) = &ended {
            log::debug!("{:?}: {} bytes in {:?}", self.command, answer.len(), self.began.elapsed());
        }
        self.stage = Stage::Ended(ended);
    }

    fn begin(&mut self) -> Stage {
        if let Some(socket) = &self.socket {
            match Connection::open(&socket.path, Some(&socket.banner), self.command) {
                Ok(connection) => return Stage::Connection(connection),
                Err(error) if process::is_for_now(&error) => return Stage::Waiting(None),
                Err(error) => self.by_process(&error.to_string()),
            }
        }
        match Process::start(self.cli.process(self.command)) {
            Ok(process) => Stage::Process(process),
            Err(error) if process::is_for_now(&error) => Stage::Waiting(Some(error)),
            Err(error) => Stage::Ended(Err(self.cannot_start(error))),
        }
    }

    fn by_process(&mut self, why: &str) {
        if let Some(socket) = self.socket.take() {
            self.cli.forget(&socket, why);
        }
        self.stage = Stage::Waiting(None);
    }

    fn end(mut self) -> Result<String, CliError> {
        match mem::replace(&mut self.stage, Stage::Waiting(None)) {
            Stage::Ended(result) => result,
            Stage::Waiting(Some(error)) => Err(self.cannot_start(error)),
            // Dropped, a process is killed and a connection closed.
            Stage::Waiting(None) | Stage::Process(_) | Stage::Connection(_) => {
                Err(CliError::TimedOut { command: self.command.to_owned(), after: self.began.elapsed() })
            }
        }
    }

    fn cannot_start(&self, error: io::Error) -> CliError {
        CliError::CannotStart { program: self.cli.program().to_owned(), error }
    }
}

/// What a program that has ended said, if that can be an answer.
fn answer(command: &str, output: Output) -> Result<String, CliError> {
    let answer = text(output.stdout);
    let answer = without_client_messages(&answer);
    if !output.status.success() {
        let words = format!("{} {}", answer.trim(), text(output.stderr).trim());
        let words = excerpt(&words);
        return Err(if words.contains("Unable to connect to remote asterisk") {
            CliError::NotRunning { words }
        } else {
            let reason = format!("{}{}", output.status, quoted(&words));
            CliError::Failed { command: command.to_owned(), reason }
        });
    }
    if answer.lines().any(|line| line.starts_with("read() failed:")) {
        return Err(CliError::NoAnswer { command: command.to_owned(), words: excerpt(answer) });
    }
    permitted(command, answer.to_owned())
}

/// The answer, unless there is none, or `cli_permissions.conf` denies it. What callers send stands in listings alone.
fn permitted(command: &str, answer: String) -> Result<String, CliError> {
    let command = || command.to_owned();
    let Some(last) = answer.trim_end().lines().next_back() else {
        return Err(CliError::NoAnswer { command: command(), words: String::new() });
    };
    if last.starts_with("You don't have permissions to run '") && !answer.contains("\n=====") {
        return Err(CliError::Denied { command: command() });
    }
    Ok(answer)
}

/// With one `?` for each byte that is no UTF-8: listings have columns, which are counted in bytes.
pub(crate) fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| {
        let chunks = error.as_bytes().utf8_chunks();
        chunks.fold(String::new(), |text, chunk| text + chunk.valid() + &"?".repeat(chunk.invalid().len()))
    })
}

/// Without what the client says of itself: before it connects, on a host that has no IPv4 address on an ethernet
/// interface; and at its end, where asterisk.conf has `debug`.
pub(crate) fn without_client_messages(mut output: &str) -> &str {
    while let Some((line, rest)) = output.split_once('\n')
        && line.ends_with("for seeding global EID. You will have to set it manually.")
    {
        output = rest;
    }
    let end = output.trim_end().rfind('\n').map_or(0, |line| line + 1);
    if output[end..].starts_with("Asterisk ending (") { &output[..end] } else { output }
}
