//! A program in the place of `asterisk` that hands every command to the real one, and misbehaves on command. It plays on
//! both ways of asking: its own control socket runs the same program for each question that a rule is about.

use std::fs;
use std::path::PathBuf;

use crate::asterisk::Asterisk;
use crate::misbehaving_socket::{SocketFault, SocketServer};
use crate::program::write_script;
use crate::wait::until;

/// What becomes of a command.
#[derive(Debug, Clone)]
pub enum Behaviour {
    /// Nothing ever happens.
    Hang,
    /// Nothing ever happens, and a process of its own is what hangs: killing one of them is not enough.
    HangWithChild,
    /// The real one does it, and then nothing is heard.
    HangAfterwards,
    /// Nothing is done and nothing printed; it ends well.
    Silence,
    /// The real one does it, and the first half of its output is printed.
    Half,
    /// The real one does it, and the reader of its output stalls at first.
    Stall,
    /// Ten megabytes are printed.
    Flood,
    /// Nothing is done; this is printed, and it ends well.
    Say(String),
    /// Nothing is done; it ends with this status and a word on standard error.
    Exit(u8),
    /// The real one does it, this many milliseconds later.
    Delay(u32),
    /// A line of shell is run, then the real one does it.
    Before(String),
    /// The real one does it and is heard in the end, after a line of shell was run.
    After(String),
}

/// What Asterisk says when another reload runs.
pub const BUSY: &str = "A module reload request is already in progress; please be patient\n";
/// What Asterisk says while it boots.
pub const QUEUED: &str = "Asterisk cannot reload a module yet; request queued\n";
/// What Asterisk says when both modules were reloaded.
pub const RELOADED: &str =
    "Module 'res_pjsip.so' reloaded successfully.\nModule 'pbx_config.so' reloaded successfully.\n";

/// A command that waits at the stand-in until the value goes; then the real one does it.
pub struct Held {
    rule: PathBuf,
}

impl Held {
    /// Waits until the command has come.
    pub fn wait(&self) {
        until("the command that is held", || self.rule.join("reached").exists().then_some(()));
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Without its rule nothing is held any more.
        drop(fs::write(self.rule.join("released"), ""));
    }
}

/// A stand-in for `asterisk`. What it does can change while a portal uses it.
pub struct MisbehavingAsterisk {
    directory: PathBuf,
    socket: SocketServer,
}

impl MisbehavingAsterisk {
    /// One that behaves, in front of a real one.
    pub fn before(asterisk: &Asterisk) -> Self {
        let directory = asterisk.home().join("stand-in");
        fs::create_dir_all(directory.join("rules")).expect("the stand-in's directory");
        let script = SCRIPT.replace("@REAL@", &asterisk.command());
        let program = directory.join("asterisk");
        write_script(&program, &script);
        // Its own copy: a test may take the program away.
        write_script(&directory.join("served"), &script);
        let socket = SocketServer::start(&directory, &asterisk.home().join("run/asterisk.ctl"));
        let stand_in = Self { directory, socket };
        stand_in.behave();
        stand_in
    }

    /// Names a directory without a control socket from now on, as behind `docker exec`: all is asked by the command.
    pub fn ask_by_command(&self) {
        fs::write(self.directory.join("by-command"), "").expect("the stand-in's way");
    }

    /// Ends [`Self::ask_by_command`].
    pub fn ask_by_socket(&self) {
        // It may never have been asked by the command.
        drop(fs::remove_file(self.directory.join("by-command")));
    }

    /// From now on, the control socket itself misbehaves.
    pub fn socket(&self, fault: SocketFault) {
        self.socket.misbehave(fault);
    }

    /// How many connections the control socket has had so far.
    pub fn asked_by_socket(&self) -> usize {
        self.socket.asked()
    }

    /// What the portal takes as `asterisk.command`.
    pub fn command(&self) -> String {
        self.directory.join("asterisk").to_string_lossy().into_owned()
    }

    /// From now on, misbehaves at every command that `pattern` matches: a whole command, or its start and a `*`.
    /// Rules are tried in the order they were given.
    pub fn on(&self, pattern: &str, behaviour: &Behaviour) {
        self.rule(pattern, behaviour.written(), None);
    }

    /// As [`Self::on`], for the next `times` such commands.
    pub fn on_next(&self, times: u32, pattern: &str, behaviour: &Behaviour) {
        self.rule(pattern, behaviour.written(), Some(times));
    }

    /// Holds the next such command.
    pub fn hold_next(&self, pattern: &str) -> Held {
        Held { rule: self.rule(pattern, ("hold", String::new()), Some(1)) }
    }

    /// Forgets every rule.
    pub fn behave(&self) {
        let rules = self.directory.join("rules");
        for rule in fs::read_dir(&rules).expect("the rules").flatten() {
            fs::remove_dir_all(rule.path()).expect("a rule to go");
        }
    }

    /// How many commands it was given so far that begin so.
    pub fn count(&self, start: &str) -> usize {
        self.commands().iter().filter(|command| command.starts_with(start)).count()
    }

    /// The commands it was given so far, in order (what followed `-rx`).
    pub fn commands(&self) -> Vec<String> {
        let log = fs::read_to_string(self.directory.join("commands")).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }

    fn rule(&self, pattern: &str, (word, argument): (&str, String), times: Option<u32>) -> PathBuf {
        let rules = self.directory.join("rules");
        let number = fs::read_dir(&rules).expect("the rules").count();
        // Written beside and renamed, so that a running portal never meets half a rule.
        let draft = self.directory.join("draft");
        fs::create_dir(&draft).expect("a rule");
        let write = |name: &str, text: &str| fs::write(draft.join(name), text).expect("a rule");
        write("pattern", pattern);
        write("behaviour", word);
        write("argument", &argument);
        if let Some(times) = times {
            write("times", &times.to_string());
        }
        let rule = rules.join(format!("{number:03}"));
        fs::rename(draft, &rule).expect("a rule");
        rule
    }
}

impl Behaviour {
    fn written(&self) -> (&'static str, String) {
        match self {
            Self::Hang => ("hang", String::new()),
            Self::HangWithChild => ("hang-with-child", String::new()),
            Self::HangAfterwards => ("hang-afterwards", String::new()),
            Self::Silence => ("silence", String::new()),
            Self::Half => ("half", String::new()),
            Self::Stall => ("stall", String::new()),
            Self::Flood => ("flood", String::new()),
            Self::Say(text) => ("say", text.clone()),
            Self::Exit(status) => ("exit", status.to_string()),
            Self::Delay(milliseconds) => ("delay", format!("{}.{:03}", milliseconds / 1000, milliseconds % 1000)),
            Self::Before(line) => ("before", line.clone()),
            Self::After(line) => ("after", line.clone()),
        }
    }
}

/// `sleep 300` where something hangs for ever: a test that loses it leaves nothing for good.
const SCRIPT: &str = r#"#!/bin/bash
set -u
here=${0%/*}
real=(@REAL@)
command=${!#}
printf '%s\n' "$command" >>"$here/commands"

shopt -s nullglob
for rule in "$here"/rules/*; do
  # The quotes are left out on purpose: it is a pattern.
  # shellcheck disable=SC2053
  [[ $command == $(<"$rule/pattern") ]] || continue
  if [[ -e $rule/times ]]; then
    exec {lock}<"$rule"
    flock "$lock"
    times=$(<"$rule/times")
    ((times > 0)) || continue
    echo $((times - 1)) >"$rule/times"
    exec {lock}<&-
  fi
  case $(<"$rule/behaviour") in
    hold)
      : >"$rule/reached"
      while [[ -e $rule/reached && ! -e $rule/released ]]; do sleep 0.02; done
      ;;
    hang) exec sleep 300 ;;
    hang-with-child)
      sleep 300 &
      wait
      ;;
    hang-afterwards)
      "${real[@]}" "$@" >/dev/null 2>&1
      exec sleep 300
      ;;
    silence) exit 0 ;;
    half)
      output=$("${real[@]}" "$@" 2>&1)
      printf '%s' "${output:0:${#output}/2}"
      exit 0
      ;;
    stall)
      "${real[@]}" "$@" | {
        # From when there is something to read: on a busy machine, that takes a while.
        IFS= read -r first
        sleep 1
        printf '%s\n' "$first"
        cat
      }
      exit "${PIPESTATUS[0]}"
      ;;
    flood) yes 'A line that nobody asked for and that does not end.' | head -c 10000000; exit 0 ;;
    say)
      cat "$rule/argument"
      exit 0
      ;;
    exit)
      echo 'asterisk: cannot continue' >&2
      exit "$(<"$rule/argument")"
      ;;
    delay) sleep "$(<"$rule/argument")" ;;
    before) eval "$(<"$rule/argument")" >&2 ;;
    after)
      output=$("${real[@]}" "$@"; echo "status $?")
      eval "$(<"$rule/argument")" >&2
      printf '%s' "${output%status *}"
      exit "${output##*status }"
      ;;
  esac
  break
done
if [[ $command == 'core show settings' ]]; then
  directory=$here
  if [[ -e $here/by-command ]]; then directory=$here/nothing; fi
  "${real[@]}" "$@" | sed "s|^\(  Run/Sockets directory: *\).*|\1$directory|"
  exit "${PIPESTATUS[0]}"
fi
exec "${real[@]}" "$@"
"#;
