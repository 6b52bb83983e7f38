//! The settings as they are written, before anything is made of them: defaults, file and
//! environment laid over each other, where each value remembers its origin.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::path::Path;
use std::thread;

use config::{ConfigError, File, FileFormat, Map, Source as _, Value, ValueKind};

use super::environment::{DATABASE_URL, PREFIX};
use super::{Environment, SettingsError};

/// Every key and its default; those of `server.workers` and `node` are the host's.
pub(crate) const KEYS: &[(&str, &str)] = &[
    ("server.bind", "127.0.0.1:8000"),
    ("server.workers", ""),
    ("database.url", ""),
    ("database.pool_size", "8"),
    ("database.timeout_seconds", "5"),
    ("asterisk.command", "asterisk"),
    ("asterisk.pjsip_include", "/etc/asterisk/pjsip.d/synergycall/generated_endpoints.conf"),
    ("asterisk.dialplan_include", "/etc/asterisk/extensions.d/synergycall/generated_routing.conf"),
    ("asterisk.command_timeout_seconds", "10"),
    ("asterisk.apply_timeout_seconds", "60"),
    ("asterisk.endpoint_options", ""),
    ("asterisk.realm", "asterisk"),
    ("node", ""),
    ("state_dir", "/var/lib/pbx-portal"),
    ("auth.tokens", ""),
    ("auth.read_only_tokens", ""),
];

/// The keys whose values are secrets, which have no place in a file.
const SECRETS: &[&str] = &["database.url", "auth.tokens", "auth.read_only_tokens"];

/// The value of every key. Those of the file alone have no origin of their own.
pub(super) struct Written {
    values: BTreeMap<&'static str, Value>,
    file: String,
}

impl Written {
    /// The defaults below the file below the environment, as far as they can be read, and what is wrong with the rest.
    pub(super) fn read(file: Option<(&Path, &str)>, environment: &Environment) -> (Self, Vec<SettingsError>) {
        let (path, text) = file.unwrap_or((Path::new(""), ""));
        let values = KEYS.iter().map(|(key, _)| (*key, default(key))).collect();
        let (mut written, mut wrong) = (Self { values, file: path.display().to_string() }, Vec::new());
        match File::from_str(text, FileFormat::Toml).collect() {
            Ok(table) => written.add_table("", table, &mut wrong),
            Err(error) => wrong.push(not_toml(&written.file, &error)),
        }
        written.add_variables(environment, &mut wrong);
        (written, wrong)
    }

    /// Adds what a table of the file says; refuses what is no setting, no section, or a secret.
    fn add_table(&mut self, prefix: &str, table: Map<String, Value>, wrong: &mut Vec<SettingsError>) {
        // In an order, so that the same file gives the same messages.
        for (name, value) in table.into_iter().collect::<BTreeMap<_, _>>() {
            let key = format!("{prefix}{name}");
            let subject = format!("{key} ({})", self.file);
            if SECRETS.contains(&key.as_str()) {
                let fix = format!("remove it there and set {} in the environment", variable_of(&key));
                wrong.push(SettingsError::new(subject, "is a secret, which does not belong in a file", fix));
            } else if let Some(known) = self.values.get_mut(key.as_str()) {
                *known = value;
            } else if !KEYS.iter().any(|(known, _)| known.starts_with(&format!("{key}."))) {
                wrong.push(unknown(&subject));
            } else if let ValueKind::Table(table) = value.kind {
                self.add_table(&format!("{key}."), table, wrong);
            } else {
                let fix = format!("write its keys below [{key}]");
                wrong.push(SettingsError::new(subject, "is a section, not a setting", fix));
            }
        }
    }

    fn add_variables(&mut self, environment: &Environment, wrong: &mut Vec<SettingsError>) {
        for (variable, value) in environment.settings() {
            match KEYS.iter().find(|(key, _)| own_variable_of(key) == variable) {
                None => wrong.push(unknown_variable(variable)),
                // Of options, it says that there are none.
                Some((key, _)) if value.is_empty() && !SECRETS.contains(key) && *key != "asterisk.endpoint_options" => {
                    wrong.push(SettingsError::new(
                        variable,
                        "is empty",
                        format!("give it a value or unset it ({key})"),
                    ));
                }
                Some((key, _)) => self.set(key, variable, value),
            }
        }
        if let Some(url) = environment.get(DATABASE_URL) {
            let own = own_variable_of("database.url");
            if environment.get(&own).is_some_and(|own| own != url) {
                let problem = format!("is given twice and differently, as {DATABASE_URL} and as {own}");
                wrong.push(SettingsError::new("database.url", problem, "unset one of the two").of_key("database.url"));
            }
            self.set("database.url", DATABASE_URL, url);
        }
    }

    fn set(&mut self, key: &'static str, variable: &str, value: &str) {
        self.values.insert(key, Value::new(Some(&variable.to_owned()), value));
    }

    /// Forgets what is written for a key: its default stands, or what is read and can never be used where there is none.
    pub(super) fn reset(&mut self, key: &'static str) {
        let value = match key {
            // The host's name may be none that audit records take.
            "database.url" | "node" => Value::new(None, "unknown"),
            _ => default(key),
        };
        self.values.insert(key, value);
    }

    pub(super) fn get(&self, key: &str) -> &Value {
        &self.values[key]
    }

    /// An error about the value of a key, which says where that stands.
    pub(super) fn error(&self, key: &'static str, problem: &str, fix: &str) -> SettingsError {
        let origin = self.get(key).origin().unwrap_or(&self.file);
        SettingsError::new(format!("{key} ({origin})"), problem, fix).of_key(key)
    }
}

/// The default of a key; some are the host's.
fn default(key: &str) -> Value {
    let text = match key {
        "server.workers" => thread::available_parallelism().map_or(1, NonZero::get).min(256).to_string(),
        "node" => rustix::system::uname().nodename().to_string_lossy().into_owned(),
        _ => default_of(key).to_owned(),
    };
    Value::new(Some(&"its default".to_owned()), text)
}

/// The default of a key for which it is the same on every host.
pub(crate) fn default_of(key: &str) -> &'static str {
    KEYS.iter().find(|(known, _)| *known == key).map_or("", |(_, default)| default)
}

/// The environment variable of a key.
pub(crate) fn variable_of(key: &str) -> String {
    if key == "database.url" { DATABASE_URL.to_owned() } else { own_variable_of(key) }
}

/// The environment variable of a key by the rule for all settings.
fn own_variable_of(key: &str) -> String {
    format!("{PREFIX}{}", key.to_ascii_uppercase().replace('.', "__"))
}

fn unknown(subject: &str) -> SettingsError {
    let keys: Vec<_> = KEYS.iter().map(|(key, _)| *key).collect();
    SettingsError::new(subject, "is no setting", format!("remove it or write it as one of {}", keys.join(", ")))
}

fn unknown_variable(variable: &str) -> SettingsError {
    match variable_like(variable) {
        Some(meant) => SettingsError::new(variable, "is no setting", format!("write it as {meant}")),
        None => unknown(variable),
    }
}

/// The variable of a setting with the same letters.
pub(super) fn variable_like(variable: &str) -> Option<String> {
    let letters = |name: &str| name.replace('_', "").to_ascii_uppercase();
    let mut variables = KEYS.iter().map(|(key, _)| own_variable_of(key));
    variables.find(|meant| letters(meant) == letters(variable))
}

/// The parser's own text repeats the line between its first, which says where it is, and its last;
/// it may hold a secret.
fn not_toml(origin: &str, error: &ConfigError) -> SettingsError {
    let text = error.to_string();
    let place = text.lines().next().and_then(|line| line.strip_prefix("TOML parse error")).unwrap_or_default();
    let message = text.lines().last().unwrap_or_default();
    SettingsError::new(format!("settings file {origin}"), format!("is not TOML{place}: {message}"), "fix the line")
}
