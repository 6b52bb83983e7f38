use std::{fmt, io, path::Path};

/// A setting that is wrong, and how to fix it. Shows no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct SettingsError {
    subject: String,
    problem: String,
    fix: String,
}

impl SettingsError {
    /// `subject` is the key, the variable or the file at fault.
    pub(crate) fn new(subject: impl Into<String>, problem: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { subject: subject.into(), problem: problem.into(), fix: fix.into() }
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
