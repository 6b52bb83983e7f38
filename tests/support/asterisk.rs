//! A private real Asterisk: rootless, in a directory of its own, on a free port of 127.0.0.1.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::asterisk_files::{self as files, Installation};
use crate::environment;
use crate::ports::Ports;
use crate::program::{Program, Signal};
use crate::wait::until;

/// `sun_path` of a Unix socket.
const SOCKET_PATH_LIMIT: usize = 107;

/// A running Asterisk, gone with the value. It boots in about 0.3 s.
pub struct Asterisk {
    daemon: Option<Program>,
    ports: Ports,
    words: Vec<String>,
    user: Option<u32>,
    directory: TempDir,
}

impl Asterisk {
    /// Starts one, with both include files there and empty but for a comment, and waits until it has fully booted.
    pub fn start_new() -> Self {
        let mut asterisk = Self::configured();
        asterisk.start();
        asterisk
    }

    /// Sets one up without starting it.
    pub fn configured() -> Self {
        let directory = tempfile::Builder::new().prefix("ast-").tempdir().expect("a directory for Asterisk");
        let home = directory.path();
        // Another user's portal reaches its include files and its socket through here.
        fs::set_permissions(home, fs::Permissions::from_mode(0o755)).expect("the directory's mode");
        assert!(
            home.join("run/asterisk.ctl").as_os_str().len() <= SOCKET_PATH_LIMIT,
            "{} is too long for a Unix socket: set TMPDIR to a shorter path",
            home.display()
        );
        // `asterisk.command` is split at blanks, which the path of a clone may hold: it is reached through a link.
        let root = environment::asterisk_root();
        let root = if root == Path::new("/") {
            root
        } else {
            let link = home.join("root");
            symlink(root.canonicalize().expect("the Asterisk that PBX_TEST_ASTERISK names"), &link).expect("a link");
            link
        };
        let installation = Installation::find(&root);
        for name in ["run", "log", "db", "spool"] {
            fs::create_dir(home.join(name)).expect("Asterisk's directories");
        }
        let ports = Ports::reserve();
        for (path, text) in files::files(home, &installation, ports.first()) {
            let path = home.join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("Asterisk's directories");
            fs::write(path, text).expect("Asterisk's configuration");
        }
        let mut words = installation.program;
        words.extend(["-C".to_owned(), home.join("etc/asterisk.conf").to_string_lossy().into_owned()]);
        assert!(!words.concat().contains(' '), "a blank in {words:?}: set TMPDIR to a path without");
        Self { daemon: None, ports, words, user: None, directory }
    }

    /// Gives all of it to a user and the group of the same number, as whom it runs from its next start on. Only root
    /// can.
    pub fn run_as(&mut self, user: u32) {
        // A clone below /root is closed to everybody else: that user gets a copy.
        let root = self.home().join("root");
        if let Ok(installed) = fs::read_link(&root) {
            fs::remove_file(&root).expect("the link to Asterisk");
            let status = Command::new("cp").arg("-a").args([&installed, &root]).status();
            assert!(status.is_ok_and(|status| status.success()), "a copy of {}", installed.display());
        }
        let status = Command::new("chown").arg("-R").arg(format!("{user}:{user}")).arg(self.home()).status();
        assert!(status.is_ok_and(|status| status.success()), "chown of {}", self.home().display());
        self.user = Some(user);
    }

    /// Starts the daemon and waits until it has fully booted.
    pub fn start(&mut self) {
        self.start_booting();
        self.wait_until_booted();
    }

    /// Starts the daemon and waits for nothing.
    pub fn start_booting(&mut self) {
        let console = File::create(self.home().join("log/console")).expect("Asterisk's console");
        let mut command = self.client(&["-f"]);
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        command.stdout(console.try_clone().expect("Asterisk's console")).stderr(console);
        self.daemon = Some(Program::start(command));
    }

    /// Waits for [`Self::start_booting`] to come to its end.
    pub fn wait_until_booted(&mut self) {
        until("the private Asterisk to boot", || {
            let daemon = self.daemon.as_mut().expect("Asterisk was started");
            if let Some(status) = daemon.ended() {
                let console = fs::read_to_string(self.home().join("log/console")).unwrap_or_default();
                panic!("Asterisk ended at its start ({status}):\n{console}{}", self.log());
            }
            // For a moment after it has booted it does not know `core show …` yet.
            let is_booted = self.rx("core waitfullybooted").contains("fully booted");
            (is_booted && self.rx("core show version").starts_with("Asterisk ")).then_some(())
        });
    }

    /// Stops the daemon as an administrator would.
    pub fn stop(&mut self) {
        let mut daemon = self.daemon.take().expect("Asterisk runs");
        daemon.signal(Signal::TERM);
        daemon.wait();
    }

    /// Kills the daemon; its socket stays behind.
    pub fn kill(&mut self) {
        self.daemon.take().expect("Asterisk runs").kill();
    }

    /// Stops it and starts it again.
    pub fn restart(&mut self) {
        self.stop();
        self.start();
    }

    /// Freezes the daemon (SIGSTOP): its socket takes connections, and nothing answers.
    pub fn freeze(&self) {
        self.daemon.as_ref().expect("Asterisk runs").signal(Signal::STOP);
    }

    /// Ends [`Self::freeze`].
    pub fn thaw(&self) {
        self.daemon.as_ref().expect("Asterisk runs").signal(Signal::CONT);
    }

    /// The daemon's process id.
    pub fn id(&self) -> u32 {
        self.daemon.as_ref().expect("Asterisk runs").id()
    }

    /// What the portal takes as `asterisk.command`: words separated by blanks.
    pub fn command(&self) -> String {
        self.words.join(" ")
    }

    /// Runs one command of Asterisk's CLI and gives what it printed: what `asterisk -rx` does, without the 8 ms of CPU that
    /// it takes to load.
    pub fn rx(&self, command: &str) -> String {
        let Ok(mut socket) = UnixStream::connect(self.home().join("run/asterisk.ctl")) else {
            return "Unable to connect to Asterisk".to_owned();
        };
        let mut answer = Vec::new();
        // In one piece, as Asterisk takes what the first read gives.
        let question = format!("cli quit after {command}\0");
        let _ended_meanwhile = socket.write_all(question.as_bytes()).and_then(|()| socket.read_to_end(&mut answer));
        // The first line is Asterisk's banner, and byte 127 begins what it tells every console.
        let answer = String::from_utf8_lossy(&answer);
        answer.split_inclusive('\n').skip(1).filter(|line| !line.starts_with('\x7f')).collect()
    }

    /// Its SIP port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.ports.first()
    }

    /// The directory of all of it.
    pub fn home(&self) -> &Path {
        self.directory.path()
    }

    /// Its directory of configuration.
    pub fn etc(&self) -> PathBuf {
        self.home().join("etc")
    }

    /// The include file of endpoints, for `asterisk.pjsip_include`.
    pub fn pjsip_include(&self) -> PathBuf {
        self.home().join(files::PJSIP_INCLUDE)
    }

    /// The include file of the dialplan, for `asterisk.dialplan_include`.
    pub fn dialplan_include(&self) -> PathBuf {
        self.home().join(files::DIALPLAN_INCLUDE)
    }

    /// Adds lines to the end of one of the administrator's files (`pjsip.conf`, `extensions.conf`).
    pub fn append(&self, file: &str, lines: &str) {
        let path = self.etc().join(file);
        let text = fs::read_to_string(&path).expect("the administrator's file");
        fs::write(path, format!("{text}{lines}\n")).expect("the administrator's file");
    }

    /// Takes the `#include` of our file out of one of the administrator's files (`pjsip.conf`, `extensions.conf`).
    pub fn remove_include(&self, file: &str) {
        let path = self.etc().join(file);
        let text = fs::read_to_string(&path).expect("the administrator's file");
        let ours = [files::PJSIP_INCLUDE_LINE, files::DIALPLAN_INCLUDE_LINE];
        let kept: Vec<&str> = text.lines().filter(|line| !ours.contains(line)).collect();
        assert!(kept.len() < text.lines().count(), "no #include of ours in {file}");
        fs::write(path, kept.join("\n") + "\n").expect("the administrator's file");
    }

    /// The whole log: notices, warnings and errors, of every start.
    pub fn log(&self) -> String {
        let bytes = fs::read(self.home().join("log/full")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The log's warnings and errors, but for those that say how busy the machine is, and for what another test's Asterisk
    /// says to a question after a phone, whose port it has by now.
    pub fn complaints(&self) -> Vec<String> {
        let log = self.log();
        let complaints = log.lines().filter(|line| line.contains("] WARNING") || line.contains("] ERROR"));
        let others = ["high water mark", "No SIP outbound authenticator registered"];
        complaints.filter(|line| !others.iter().any(|other| line.contains(other))).map(str::to_owned).collect()
    }

    fn client(&self, arguments: &[&str]) -> Command {
        let (program, leading) = self.words.split_first().expect("a program");
        let mut command = Command::new(program);
        command.args(leading).args(arguments).stdin(Stdio::null()).env("LC_ALL", "C.UTF-8");
        command
    }
}
