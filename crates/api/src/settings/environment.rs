use std::{
    collections::BTreeMap,
    env,
    ffi::{OsStr, OsString},
    path::Path,
};

use super::SettingsError;

/// What the names of the settings' variables begin with.
pub(super) const PREFIX: &str = "PBX_PORTAL__";
/// The variable that every PostgreSQL program knows; another name of `database.url`.
pub(super) const DATABASE_URL: &str = "DATABASE_URL";
/// The variable of `database.url` by the rule for all settings.
pub(super) const OWN_DATABASE_URL: &str = "PBX_PORTAL__DATABASE__URL";
const LOG_FILTER: &str = "RUST_LOG";
/// Where systemd leads standard error.
const JOURNAL_STREAM: &str = "JOURNAL_STREAM";

/// The environment variables that concern the portal. `Debug` is not there on purpose: they hold
/// secrets.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// The file from which systemd gives the service its secrets.
    pub const SERVICE_FILE: &str = "/etc/pbx-portal/env";

    /// The process's environment, and what the file `.env` of the working directory adds to it.
    ///
    /// # Errors
    ///
    /// A variable of ours that is not UTF-8, or a `.env` that cannot be understood.
    pub fn of_process() -> Result<Self, SettingsError> {
        let mut environment = Self::of(env::vars_os())?;
        environment.add_development_file(Path::new(".env"))?;
        Ok(environment)
    }

    /// The variables among these that concern the portal.
    ///
    /// # Errors
    ///
    /// A variable of ours that is not UTF-8.
    pub fn of<T: Into<OsString>>(variables: impl IntoIterator<Item = (T, T)>) -> Result<Self, SettingsError> {
        let mut ours = BTreeMap::new();
        for (name, value) in variables {
            let Some(name) = name.into().to_str().filter(|name| is_ours(name)).map(str::to_owned) else { continue };
            let Some(value) = OsStr::to_str(&value.into()).map(str::to_owned) else {
                return Err(SettingsError::new(name, "is not UTF-8", "write it in UTF-8"));
            };
            ours.insert(name, value);
        }
        Ok(Self(ours))
    }

    /// Adds what the file says and the environment does not. The messages repeat none of its
    /// lines, which may hold secrets.
    fn add_development_file(&mut self, path: &Path) -> Result<(), SettingsError> {
        let wrong =
            |problem: String| SettingsError::new("the file .env of the working directory", problem, "fix or remove it");
        if !path.exists() {
            return Ok(());
        }
        let variables = dotenvy::from_path_iter(path).map_err(|_| wrong("cannot be read".to_owned()))?;
        let mut added = BTreeMap::new();
        for (i, variable) in variables.enumerate() {
            let (name, value) = variable.map_err(|_| wrong(format!("has a wrong line after its variable {i}")))?;
            if is_ours(&name) {
                added.insert(name, value);
            }
        }
        // Two names of one setting: the real environment wins over either of the file.
        if [DATABASE_URL, OWN_DATABASE_URL].iter().any(|name| self.0.contains_key(*name)) {
            added.retain(|name, _| name != DATABASE_URL && name != OWN_DATABASE_URL);
        }
        for (name, value) in added {
            self.0.entry(name).or_insert(value);
        }
        Ok(())
    }

    /// The log filter of `RUST_LOG`.
    #[must_use]
    pub fn log_filter(&self) -> Option<&str> {
        self.get(LOG_FILTER)
    }

    /// What systemd says of the journal that reads our standard error.
    #[must_use]
    pub fn journal_stream(&self) -> Option<&str> {
        self.get(JOURNAL_STREAM)
    }

    /// A variable that is set to something. An empty one counts as not set.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The variables of single settings, with the part of their names behind the prefix.
    pub(super) fn settings(&self) -> impl Iterator<Item = (&str, &str, &str)> {
        self.0
            .iter()
            .filter_map(|(name, value)| name.strip_prefix(PREFIX).map(|rest| (name.as_str(), rest, value.as_str())))
    }
}

fn is_ours(name: &str) -> bool {
    name.starts_with(PREFIX) || [DATABASE_URL, LOG_FILTER, JOURNAL_STREAM].contains(&name)
}

#[cfg(test)]
mod tests {
    use std::{fs::File, io::Write as _, os::unix::ffi::OsStringExt as _};

    use super::*;

    fn with_file(environment: &[(&str, &str)], file: &str) -> Result<Environment, SettingsError> {
        let path = env::temp_dir().join(format!("pbx-portal-{}.env", uuid::Uuid::now_v7()));
        File::create_new(&path).unwrap().write_all(file.as_bytes()).unwrap();
        let mut environment = Environment::of(environment.iter().copied())?;
        let outcome = environment.add_development_file(&path);
        std::fs::remove_file(&path).unwrap();
        outcome.map(|()| environment)
    }

    #[test]
    fn the_real_environment_wins_over_the_development_file() {
        let file = "RUST_LOG=debug\n# a comment\nPBX_PORTAL__NODE='b'\nDATABASE_URL=postgresql:///b\nOTHER=x\n";
        let environment = with_file(&[("PBX_PORTAL__NODE", "a"), (OWN_DATABASE_URL, "postgresql:///a")], file).unwrap();
        assert_eq!(environment.get("PBX_PORTAL__NODE"), Some("a"));
        assert_eq!(environment.get(OWN_DATABASE_URL), Some("postgresql:///a"));
        assert_eq!(environment.get(DATABASE_URL), None);
        assert_eq!(environment.get("OTHER"), None);
        assert_eq!(environment.log_filter(), Some("debug"));
    }

    #[test]
    fn a_wrong_development_file_is_refused_without_its_secrets() {
        let error = with_file(&[], "A=1\nPBX_PORTAL__AUTH__TOKENS 'secret\n").err().unwrap().to_string();
        assert_eq!(
            error,
            "the file .env of the working directory has a wrong line after its variable 1; fix or remove it"
        );
    }

    #[test]
    fn a_variable_that_is_not_utf8_is_refused_by_name() {
        let variable = (OsString::from("PBX_PORTAL__NODE"), OsString::from_vec(vec![0xff]));
        assert!(Environment::of([variable]).err().unwrap().to_string().starts_with("PBX_PORTAL__NODE is not UTF-8"));
        let other = (OsString::from("OTHER"), OsString::from_vec(vec![0xff]));
        assert!(Environment::of([other]).is_ok());
    }
}
