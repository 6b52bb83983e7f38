use std::collections::BTreeMap;
use std::env;
use std::ffi::{OsStr, OsString};

use super::{SettingsError, written};

/// What the names of the settings' variables begin with.
pub(super) const PREFIX: &str = "PBX_PORTAL__";
/// The variable that every PostgreSQL program knows; another name of `database.url`.
pub(super) const DATABASE_URL: &str = "DATABASE_URL";
/// What else the program reads: the log's filter, and where systemd leads standard error.
const OTHERS: [&str; 2] = ["RUST_LOG", "JOURNAL_STREAM"];

/// The environment variables that concern the portal. `Debug` is not there on purpose: they hold
/// secrets.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// The file from which systemd gives the service its secrets.
    pub(crate) const SERVICE_FILE: &str = "/etc/pbx-portal/env";

    /// The process's environment.
    ///
    /// # Errors
    ///
    /// A variable of ours that is not UTF-8.
    pub fn of_process() -> Result<Self, SettingsError> {
        Self::of(env::vars_os())
    }

    /// The variables among these that concern the portal.
    pub(super) fn of<T: Into<OsString>>(variables: impl IntoIterator<Item = (T, T)>) -> Result<Self, SettingsError> {
        let mut ours = BTreeMap::new();
        for (name, value) in variables {
            let Some(name) =
                name.into().to_str().filter(|name| is_variable(name) || OTHERS.contains(name)).map(str::to_owned)
            else {
                continue;
            };
            let Some(value) = OsStr::to_str(&value.into()).map(str::to_owned) else {
                return Err(SettingsError::new(name, "is not UTF-8", "write it in UTF-8"));
            };
            ours.insert(name, value);
        }
        Ok(Self(ours))
    }

    /// A variable that is set to something. An empty one counts as not set.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The variables of single settings, and those that were meant to be.
    pub(super) fn settings(&self) -> impl Iterator<Item = (&str, &str)> {
        let all = self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        all.filter(|(name, _)| *name != DATABASE_URL && !OTHERS.contains(name))
    }
}

/// Whether a variable is one of a setting, or was meant to be: no setting is lost for want of an underscore.
pub(crate) fn is_variable(name: &str) -> bool {
    name == DATABASE_URL || name.starts_with(PREFIX) || written::variable_like(name).is_some()
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt as _;

    use super::*;

    #[test]
    fn a_variable_that_is_not_utf8_is_refused_by_name() {
        let variable = (OsString::from("PBX_PORTAL__NODE"), OsString::from_vec(vec![0xff]));
        assert!(Environment::of([variable]).err().unwrap().to_string().starts_with("PBX_PORTAL__NODE is not UTF-8"));
        let other = (OsString::from("OTHER"), OsString::from_vec(vec![0xff]));
        assert!(Environment::of([other]).is_ok());
    }
}
