//! A program that a test started, and that ends with the test.

use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

pub(crate) use rustix::process::Signal;
use rustix::process::{Pid, kill_process};

use crate::wait::until;

/// Writes a script that can be started at once. Another process writes it: a file that this one had open for writing may
/// still be open in a child that another thread has just forked, and cannot be executed then.
pub fn write_script(path: &Path, script: &str) {
    let mut install = Command::new("install");
    install.args(["-m", "755", "/dev/stdin"]).arg(path).stdin(Stdio::piped());
    let mut install = install.spawn().expect("install");
    install.stdin.take().expect("its input").write_all(script.as_bytes()).expect("a script");
    assert!(install.wait().is_ok_and(|status| status.success()), "{} is not written", path.display());
}

pub(crate) struct Program {
    name: String,
    child: Child,
}

impl Program {
    pub(crate) fn start(mut command: Command) -> Self {
        let name = command.get_program().to_string_lossy().into_owned();
        let child = command.spawn().unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        Self { name, child }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal. The process is our own child and not waited for yet, so its number cannot be anybody else's.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal)
            .unwrap_or_else(|error| panic!("cannot signal {}: {error}", self.name));
    }

    /// How it ended, or `None` while it runs.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap_or_else(|error| panic!("cannot wait for {}: {error}", self.name))
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let what = format!("{} to end", self.name);
        until(&what, || self.ended())
    }

    /// Kills it (SIGKILL), as a power cut would.
    pub(crate) fn kill(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            // Nothing can be done about a failure here, and a process that is gone is what was wanted.
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
    }
}
