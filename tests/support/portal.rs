//! The real program, started with settings of its own.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io::Read;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread;

use serde_json::json;
use tempfile::TempDir;

use crate::asterisk::Asterisk;
use crate::environment;
use crate::http::{Http, Response};
use crate::ports::Ports;
use crate::program::{Program, Signal};
use crate::wait::until;

/// How a portal is started. Clones share the state directory: two portals of the same settings are two processes of
/// one node.
#[derive(Clone)]
pub struct Settings {
    environment: BTreeMap<String, String>,
    token: String,
    directory: Arc<TempDir>,
}

/// How a command of the portal ended.
#[derive(Debug)]
pub struct Finished {
    /// Its exit status.
    pub status: ExitStatus,
    /// What it printed.
    pub stdout: String,
    /// What it logged.
    pub stderr: String,
}

impl Settings {
    /// Settings for a portal on the database at `database_url` and beside `asterisk`, which gives everything all the
    /// time that a busy machine may need.
    pub fn new(database_url: &str, asterisk: &Asterisk) -> Self {
        let directory = tempfile::Builder::new().prefix("portal-").tempdir().expect("a directory for the portal");
        let state = directory.path().join("state");
        // As the package makes it: `check` refuses one that is open to everybody.
        DirBuilder::new().mode(0o750).create(&state).expect("the state directory");
        let path = |path: &Path| path.to_string_lossy().into_owned();
        let token = random_token();
        let tokens = format!("test:{token}");
        let mut settings = Self { environment: BTreeMap::new(), token, directory: Arc::new(directory) };
        for (name, value) in [
            ("DATABASE_URL", database_url.to_owned()),
            ("PBX_PORTAL__ASTERISK__APPLY_TIMEOUT_SECONDS", "100".to_owned()),
            ("PBX_PORTAL__ASTERISK__COMMAND", asterisk.command()),
            ("PBX_PORTAL__ASTERISK__COMMAND_TIMEOUT_SECONDS", "30".to_owned()),
            ("PBX_PORTAL__ASTERISK__DIALPLAN_INCLUDE", path(&asterisk.dialplan_include())),
            ("PBX_PORTAL__ASTERISK__PJSIP_INCLUDE", path(&asterisk.pjsip_include())),
            ("PBX_PORTAL__AUTH__TOKENS", tokens),
            ("PBX_PORTAL__DATABASE__TIMEOUT_SECONDS", "30".to_owned()),
            ("PBX_PORTAL__NODE", "test-node".to_owned()),
            ("PBX_PORTAL__STATE_DIR", path(&state)),
            ("RUST_BACKTRACE", "1".to_owned()),
            ("RUST_LOG", "info".to_owned()),
        ] {
            settings.environment.insert(name.to_owned(), value);
        }
        settings
    }

    /// The same, with one variable of the environment set.
    #[must_use]
    pub fn with(mut self, variable: &str, value: &str) -> Self {
        self.environment.insert(variable.to_owned(), value.to_owned());
        self
    }

    /// The same, with one variable of the environment left out.
    #[must_use]
    pub fn without(mut self, variable: &str) -> Self {
        self.environment.remove(variable);
        self
    }

    /// The same, with so many seconds for a command to Asterisk and for an apply.
    #[must_use]
    pub fn with_patience(self, command: u32, apply: u32) -> Self {
        self.with("PBX_PORTAL__ASTERISK__COMMAND_TIMEOUT_SECONDS", &command.to_string())
            .with("PBX_PORTAL__ASTERISK__APPLY_TIMEOUT_SECONDS", &apply.to_string())
    }

    /// The token that the portal knows under the name `test`.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The state directory.
    pub fn state_dir(&self) -> PathBuf {
        PathBuf::from(&self.environment["PBX_PORTAL__STATE_DIR"])
    }

    /// The working directory of the program: empty, unless a test puts something there.
    pub fn working_directory(&self) -> &Path {
        self.directory.path()
    }

    /// Starts `serve`, on a free port unless `PBX_PORTAL__SERVER__BIND` says which, and waits until it answers.
    pub fn start(&self) -> Portal {
        let mut portal = self.start_unready();
        portal.wait_until_ready();
        portal
    }

    /// As [`Self::start`], without waiting.
    pub fn start_unready(&self) -> Portal {
        let settings = self.clone();
        let mut command = settings.command(&["serve"]);
        let ports = Ports::reserve();
        let free = || format!("127.0.0.1:{}", ports.first());
        let bind = self.environment.get("PBX_PORTAL__SERVER__BIND").cloned().unwrap_or_else(free);
        command.env("PBX_PORTAL__SERVER__BIND", &bind);
        let log = tempfile::Builder::new().prefix("log-").tempfile_in(self.directory.path());
        let (log_file, log) = log.and_then(|log| log.keep().map_err(|error| error.error)).expect("the portal's log");
        command.stdout(log_file.try_clone().expect("the portal's log")).stderr(log_file);
        let url = format!("http://{bind}");
        let http = Http::new(&url, Some(&self.token));
        Portal { program: Program::start(command), url, http, log, settings, _ports: ports }
    }

    /// Runs any command of the program to its end (`migrate`, `check`, `openapi`, or a `serve` that has to fail).
    pub fn run(&self, arguments: &[&str]) -> Finished {
        let (stdout, stderr) = (self.directory.path().join("stdout"), self.directory.path().join("stderr"));
        let mut command = self.command(arguments);
        // A port that nobody has, where neither a variable nor a file says which.
        if !self.environment.contains_key("PBX_PORTAL__SERVER__BIND") && !arguments.contains(&"--config") {
            command.env("PBX_PORTAL__SERVER__BIND", "127.0.0.1:0");
        }
        command.stdout(File::create(&stdout).expect("a file for its output"));
        command.stderr(File::create(&stderr).expect("a file for its log"));
        let status = Program::start(command).wait();
        let text = |path: &Path| fs::read_to_string(path).expect("output in UTF-8");
        Finished { status, stdout: text(&stdout), stderr: text(&stderr) }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(environment::portal_program());
        // No variable of this machine is read.
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.envs(&self.environment).current_dir(self.directory.path()).args(arguments).stdin(Stdio::null());
        command
    }
}

/// A running portal, killed with the value.
pub struct Portal {
    program: Program,
    url: String,
    http: Http,
    log: PathBuf,
    settings: Settings,
    _ports: Ports,
}

impl Portal {
    /// Waits until it answers.
    pub fn wait_until_ready(&mut self) {
        until("the portal to answer", || {
            if let Some(status) = self.program.ended() {
                panic!("the portal ended at its start ({status}):\n{}", self.log());
            }
            self.http.answers("/openapi.json").then_some(())
        });
    }

    /// Where it listens: `http://127.0.0.1:…`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        self.program.ended().is_none()
    }

    /// Speaks to it, with a token that it knows.
    pub fn http(&self) -> &Http {
        &self.http
    }

    /// Creates a user.
    #[track_caller]
    pub fn create_user(&self, name: &str, email: &str) -> Response {
        self.http.post("/users", &json!({ "name": name, "email": email })).expect(201)
    }

    /// What it was started with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.program.id()
    }

    /// What it wrote to standard output and standard error so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).expect("a log in UTF-8")
    }

    /// Asks it to stop (SIGTERM), and waits until it logs that it stops.
    pub fn terminate(&self) {
        self.program.signal(Signal::TERM);
        until("the portal to say that it stops", || self.log().contains("stopping: ").then_some(()));
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        self.program.wait()
    }

    /// Stops it as systemd would.
    pub fn stop(&mut self) -> ExitStatus {
        self.program.signal(Signal::TERM);
        self.wait()
    }

    /// Kills it as a power cut would.
    pub fn kill(&mut self) {
        self.program.kill();
    }

    /// Stops it and starts it again with the same settings.
    #[must_use]
    pub fn restart(mut self) -> Self {
        let status = self.stop();
        assert!(status.success(), "the portal stopped with {status}:\n{}", self.log());
        self.settings.start()
    }
}

impl Drop for Portal {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("The portal's log:\n{}", fs::read_to_string(&self.log).unwrap_or_default());
        }
    }
}

/// No token is in the code, and no two tests share one.
fn random_token() -> String {
    let mut bytes = [0; 24];
    File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut bytes)).expect("random bytes");
    bytes.iter().fold(String::new(), |token, byte| token + &format!("{byte:02x}"))
}
