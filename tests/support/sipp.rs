//! One run of `sipp`, the SIP phone that nobody here wrote.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::ports::Ports;
use crate::program::Program;

/// Longer than any talk of a test; whatever is left over ends by then.
const LIMIT: Duration = Duration::from_mins(10);

/// What stands between the fields of a line. A field of the first line that holds it, no secret, goes into the scenario itself.
const SEPARATOR: char = ';';

/// A scenario file of `tests/sipp`.
#[derive(Clone, Copy)]
pub(crate) struct Scenario {
    name: &'static str,
    text: &'static str,
}

macro_rules! scenario {
    ($constant:ident, $name:literal) => {
        pub(crate) const $constant: Scenario =
            Scenario { name: $name, text: include_str!(concat!("../sipp/", $name, ".xml")) };
    };
}
scenario!(REGISTER, "register");
scenario!(ANSWER, "answer");
scenario!(BUSY, "busy");
scenario!(MOVED, "moved");
scenario!(RING, "ring");
scenario!(CALL, "call");
scenario!(MESSAGE, "message");
scenario!(SUBSCRIBE, "subscribe");

/// What one run is to do.
pub(crate) struct Run<'a> {
    pub(crate) scenario: Scenario,
    /// What happens with calls that come from outside meanwhile.
    pub(crate) incoming: Option<Scenario>,
    /// The address that it speaks from.
    pub(crate) address: &'a str,
    /// Asterisk's port.
    pub(crate) server: u16,
    /// What is injected into the scenario: secrets go this way, never by an argument.
    pub(crate) fields: &'a [String],
    /// What is injected into the following calls, which alternate between these and `fields`.
    pub(crate) more: &'a [Vec<String>],
    /// How many calls of the scenario there are to be, and how many a second.
    pub(crate) calls: (u32, u32),
    /// The length of the scenario's pause.
    pub(crate) pause: Duration,
}

/// A running `sipp`.
pub(crate) struct Sipp {
    name: &'static str,
    program: Program,
    directory: TempDir,
    _ports: Ports,
}

/// A SIP message as it went over the wire.
pub(crate) struct Message {
    pub(crate) received: bool,
    pub(crate) text: String,
}

impl Sipp {
    pub(crate) fn start(run: &Run<'_>, ports: Ports) -> Self {
        let directory = tempfile::Builder::new().prefix("sip-").tempdir().expect("a directory for sipp");
        let file = |name: &str| directory.path().join(name);
        let scenario_file = |scenario: Scenario| {
            let path = file(&format!("{}.xml", scenario.name));
            let fields = run.fields.iter().enumerate().filter(|(_, field)| field.contains(SEPARATOR));
            let text =
                fields.fold(scenario.text.to_owned(), |text, (at, field)| text.replace(&format!("[field{at}]"), field));
            fs::write(&path, text).expect("the scenario");
            path
        };
        let mut injected =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(file("fields.csv")).expect("the fields");
        let line = |fields: &[String]| {
            let fields = fields.iter().map(|field| if field.contains(SEPARATOR) { "" } else { field });
            fields.collect::<Vec<_>>().join(&SEPARATOR.to_string())
        };
        writeln!(injected, "SEQUENTIAL\n{}", line(run.fields)).expect("the fields");
        for fields in run.more {
            writeln!(injected, "{}", line(fields)).expect("the fields");
        }
        // What the caller says for as long as the call lasts: a second of silence, over and over.
        fs::write(file("silence.ulaw"), [0xff; 8000]).expect("the caller's audio");

        let mut command = Command::new("sipp");
        command.arg("-sf").arg(scenario_file(run.scenario)).arg("-inf").arg(file("fields.csv"));
        if let Some(incoming) = run.incoming {
            command.arg("-oocsf").arg(scenario_file(incoming)).arg("-rtp_echo");
        }
        command.arg("-m").arg(run.calls.0.to_string()).arg("-r").arg(run.calls.1.to_string());
        command.args(["-i", run.address, "-mi", run.address, "-nostdin", "-skip_rlimit"]);
        for (option, behind) in [("-p", 0), ("-mp", 2), ("-cp", 8)] {
            command.arg(option).arg((ports.first() + behind).to_string());
        }
        command.arg("-d").arg(run.pause.as_millis().to_string());
        command.arg("-timeout").arg((run.pause + LIMIT).as_secs().to_string()).arg("-timeout_error");
        command.args(["-recv_timeout", "120000", "-max_retrans", "10"]);
        command.arg("-trace_msg").arg("-message_file").arg(file("messages"));
        command.arg("-trace_err").arg("-error_file").arg(file("errors"));
        command.arg(format!("127.0.0.1:{}", run.server)).current_dir(directory.path());
        let screen = File::create(file("screen")).expect("sipp's screen");
        command.stdin(Stdio::null()).stdout(screen.try_clone().expect("sipp's screen")).stderr(screen);
        command.env("TERM", "dumb");
        Self { name: run.scenario.name, program: Program::start(command), directory, _ports: ports }
    }

    /// Whether it has ended.
    pub(crate) fn ended(&mut self) -> bool {
        self.program.ended().is_some()
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) {
        self.program.wait();
    }

    /// Every message that went over the wire so far.
    pub(crate) fn messages(&self) -> Vec<Message> {
        let trace = fs::read(self.file("messages")).unwrap_or_default();
        parse(&String::from_utf8_lossy(&trace))
    }

    /// The final answer (200 and up) to the request that `CSeq` names, if it came.
    pub(crate) fn answer_to(&self, cseq: &str) -> Option<u16> {
        self.messages().iter().rev().filter(|message| message.received).find_map(|message| {
            let code = message.text.strip_prefix("SIP/2.0 ")?.split(' ').next()?.parse().ok()?;
            (code >= 200 && message.header("CSeq") == Some(cseq)).then_some(code)
        })
    }

    /// How many calls had a response of this code to the request that `CSeq` names. A busy machine repeats messages.
    pub(crate) fn answers(&self, code: u16, cseq: &str) -> usize {
        let start = format!("SIP/2.0 {code} ");
        let is_one = |message: &&Message| {
            message.received && message.text.starts_with(&start) && message.header("CSeq") == Some(cseq)
        };
        let messages = self.messages();
        let calls: BTreeSet<_> = messages.iter().filter(is_one).filter_map(|one| one.header("Call-ID")).collect();
        calls.len()
    }

    /// What it had to say, for a panic.
    pub(crate) fn report(&self) -> String {
        let text = |name| {
            let bytes = fs::read(self.file(name)).unwrap_or_default();
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let tail = text.lines().rev().take(40).collect::<Vec<_>>();
            tail.into_iter().rev().collect::<Vec<_>>().join("\n")
        };
        format!("sipp's {} scenario said:\n{}\n{}", self.name, text("errors"), text("screen"))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

impl Message {
    /// A header's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
    }
}

/// `sipp`'s trace: a line of dashes and the time, a line that says which way, an empty line, the message.
fn parse(trace: &str) -> Vec<Message> {
    let mut messages: Vec<Message> = Vec::new();
    let mut expected_direction = false;
    for line in trace.lines() {
        if line.starts_with("-----------") {
            expected_direction = true;
        } else if expected_direction {
            messages.push(Message { received: line.contains("message received"), text: String::new() });
            expected_direction = false;
        } else if let Some(message) = messages.last_mut()
            && !(message.text.is_empty() && line.is_empty())
        {
            message.text.push_str(line);
            message.text.push('\n');
        }
    }
    messages
}
