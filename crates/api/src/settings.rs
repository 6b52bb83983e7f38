//! The settings in two steps: as written in a file and the environment, then ready to use.

mod environment;
mod error;
#[cfg(test)]
mod tests;
mod values;
mod written;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fmt, fs};

use pbx_asterisk::Cli;
use pbx_confgen::EndpointOptions;
use pbx_domain::Realm;

pub use self::environment::Environment;
pub(crate) use self::environment::is_variable;
pub use self::error::SettingsError;
pub(crate) use self::values::options_of;
use self::written::Written;
pub(crate) use self::written::{default_of, variable_of};
use crate::http::auth::Tokens;

/// The settings that name the include files.
pub(crate) const PJSIP_INCLUDE: &str = "asterisk.pjsip_include";
pub(crate) const DIALPLAN_INCLUDE: &str = "asterisk.dialplan_include";

/// Where the settings file is looked for when `--config` names none.
pub const DEFAULT_FILE: &str = "/etc/pbx-portal/config.toml";

/// Everything that the administrator decides, validated; `Debug` shows no secret.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where the service listens.
    pub(crate) bind: SocketAddr,
    /// How many threads answer requests.
    pub(crate) workers: usize,
    /// The database.
    pub(crate) database: DatabaseSettings,
    /// Asterisk.
    pub(crate) asterisk: AsteriskSettings,
    /// Whose applies these are, in audit records, and whose proofs count.
    pub(crate) node: String,
    /// Where the lock, the journal and the last proven pair lie.
    pub(crate) state_dir: PathBuf,
    /// Who may use the API.
    pub(crate) tokens: Tokens,
}

/// How PostgreSQL is reached.
#[derive(Debug, Clone)]
pub(crate) struct DatabaseSettings {
    /// The URL, which holds a password.
    pub(crate) url: DatabaseUrl,
    /// The most connections at once.
    pub(crate) pool_size: u32,
    /// How long a call may take, waiting for a connection included.
    pub(crate) timeout: Duration,
}

/// How Asterisk is reached, and what it reads.
#[derive(Debug, Clone)]
pub(crate) struct AsteriskSettings {
    /// The way to Asterisk's command line.
    pub(crate) cli: Cli,
    /// The include file that `pjsip.conf` includes.
    pub(crate) pjsip_include: PathBuf,
    /// The include file that `extensions.conf` includes.
    pub(crate) dialplan_include: PathBuf,
    /// How long one command may take.
    pub(crate) command_timeout: Duration,
    /// How long an apply may take, waiting for the lock included.
    pub(crate) apply_timeout: Duration,
    /// Options of every endpoint besides ours.
    pub(crate) endpoint_options: EndpointOptions,
    /// The realm of new users' credentials.
    pub(crate) realm: Realm,
}

/// The URL of the database; `Debug` shows nothing of it.
#[derive(Clone)]
pub(crate) struct DatabaseUrl(String);

impl DatabaseUrl {
    /// The URL with its password, to connect.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DatabaseUrl(…)")
    }
}

impl Settings {
    /// Reads the settings file, `file` or else [`DEFAULT_FILE`] if there is one, and adds the
    /// environment.
    ///
    /// # Errors
    ///
    /// The first setting that is wrong, with what to fix.
    pub fn read(file: Option<&Path>, environment: &Environment) -> Result<Self, SettingsError> {
        Self::survey(file, environment).into_settings()
    }

    /// As [`Self::read`], with the default for every setting that is wrong.
    #[must_use]
    pub fn survey(file: Option<&Path>, environment: &Environment) -> Survey {
        let path = file.unwrap_or(Path::new(DEFAULT_FILE));
        match fs::read_to_string(path) {
            Ok(text) => Survey::of(Some((path, &text)), environment),
            Err(error) if file.is_none() && error.kind() == std::io::ErrorKind::NotFound => {
                Survey::of(None, environment)
            }
            Err(error) => {
                let mut survey = Survey::of(None, environment);
                let fix = "give a TOML file in UTF-8 that the service's user may read";
                let (subject, problem) =
                    (format!("settings file {}", path.display()), format!("cannot be read: {error}"));
                survey.wrong.insert(0, SettingsError::new(subject, problem, fix));
                survey
            }
        }
    }

    fn of(written: &Written) -> Result<Self, SettingsError> {
        let apply_timeout = written.seconds("asterisk.apply_timeout_seconds", 1..=3600)?;
        // One command is only a part of an apply.
        let command_timeout = written.seconds("asterisk.command_timeout_seconds", 1..=600)?.min(apply_timeout);
        Ok(Self {
            bind: written.address("server.bind")?,
            workers: written.number("server.workers", 1..=256)?,
            database: DatabaseSettings {
                url: DatabaseUrl(written.database_url()?),
                pool_size: written.number("database.pool_size", 1..=1000)?,
                timeout: written.seconds("database.timeout_seconds", 1..=300)?,
            },
            asterisk: AsteriskSettings {
                cli: written.cli("asterisk.command", command_timeout)?,
                pjsip_include: written.include_file(PJSIP_INCLUDE)?,
                dialplan_include: written.include_file(DIALPLAN_INCLUDE)?,
                command_timeout,
                apply_timeout,
                endpoint_options: written.endpoint_options("asterisk.endpoint_options")?,
                realm: written.realm("asterisk.realm")?,
            },
            node: written.node("node")?,
            state_dir: written.path("state_dir")?,
            tokens: written.tokens("auth.tokens", "auth.read_only_tokens")?,
        })
    }

    /// How long a stopping service waits for running requests: an apply, and its rollback.
    pub(crate) fn shutdown_timeout(&self) -> Duration {
        self.asterisk.apply_timeout * 2 + self.asterisk.command_timeout
    }

    fn refuse_contradictions(&self, written: &Written) -> Result<(), SettingsError> {
        let asterisk = &self.asterisk;
        let files = ["asterisk.pjsip_include", "asterisk.dialplan_include"];
        let [pjsip, dialplan, state_dir] =
            [&asterisk.pjsip_include, &asterisk.dialplan_include, &self.state_dir].map(|path| real(path));
        if pjsip.starts_with(&dialplan) || dialplan.starts_with(&pjsip) {
            return Err(written.error(
                files[1],
                "is the same file as asterisk.pjsip_include, or one lies inside the other",
                "give each include file a path of its own",
            ));
        }
        for (key, path) in files.into_iter().zip([pjsip, dialplan]) {
            if path.starts_with(&state_dir) || state_dir.starts_with(&path) {
                return Err(written.error(
                    key,
                    "lies inside state_dir",
                    "Asterisk reads the include file and must not read state_dir: keep them apart",
                ));
            }
        }
        if self.tokens.is_empty() && !self.bind.ip().to_canonical().is_loopback() {
            return Err(written.error(
                "auth.tokens",
                &format!("is empty, but server.bind is {}, which others can reach", self.bind),
                "set PBX_PORTAL__AUTH__TOKENS=name:token in the environment, or bind to 127.0.0.1",
            ));
        }
        Ok(())
    }
}

/// The path without symbolic links, as far as it exists: two paths may name one file.
fn real(path: &Path) -> PathBuf {
    let real = |there: &Path| Some(there.canonicalize().ok()?.join(path.strip_prefix(there).ok()?));
    path.ancestors().find_map(real).unwrap_or_else(|| path.to_owned())
}

/// The settings as far as they can be read.
#[derive(Debug, Clone)]
pub struct Survey {
    /// Each that is wrong has its default; `database.url` and `node`, which have none of use, are `unknown`.
    pub(crate) settings: Settings,
    /// What is wrong, in the order in which it was found.
    pub(crate) wrong: Vec<SettingsError>,
}

impl Survey {
    fn of(file: Option<(&Path, &str)>, environment: &Environment) -> Self {
        let (mut written, mut wrong) = Written::read(file, environment);
        let settings = loop {
            match Settings::of(&written) {
                Ok(settings) => break settings,
                Err(error) => {
                    if let Some(key) = error.key {
                        written.reset(key);
                    }
                    wrong.push(error);
                }
            }
        };
        wrong.extend(settings.refuse_contradictions(&written).err());
        Self { settings, wrong }
    }

    fn into_settings(self) -> Result<Settings, SettingsError> {
        self.wrong.into_iter().next().map_or(Ok(self.settings), Err)
    }
}
