use std::{fmt, io, path::Path};

/// A setting that is wrong, and how to fix it. Shows no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct SettingsError {
    /// The key whose value is wrong, where it is one.
    key: Option<&'static str>,
    subject: String,
    problem: String,
    fix: String,
}

impl SettingsError {
    /// What is wrong, without what fixes it.
    #[must_use]
    pub fn problem(&self) -> String {
        format!("{} {}", self.subject, self.problem)
    }

    /// What fixes it.
    #[must_use]
    pub fn fix(&self) -> &str {
        &self.fix
    }

    /// The key whose value is wrong, where it is one.
    #[must_use]
    pub fn key(&self) -> Option<&'static str> {
        self.key
    }

    pub(crate) fn is_missing(&self) -> bool {
        self.problem == "is missing"
    }

    pub(crate) fn of_key(self, key: &'static str) -> Self {
        Self { key: Some(key), ..self }
    }

    /// `subject` is the key, the variable or the file at fault.
    pub(crate) fn new(subject: impl Into<String>, problem: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { key: None, subject: subject.into(), problem: problem.into(), fix: fix.into() }
    }

    pub(crate) fn unreadable(path: &Path, error: &io::Error) -> Self {
        Self::new(
            format!("settings file {}", path.display()),
            format!("cannot be read: {error}"),
            "give a TOML file in UTF-8 that the service's user may read",
        )
    }
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}; {}", self.subject, self.problem, self.fix)
    }
}
