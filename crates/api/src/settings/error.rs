/// A setting that is wrong, and how to fix it. Shows no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{subject} {problem}; {fix}")]
pub struct SettingsError {
    /// The key whose value is wrong, where it is one.
    pub(crate) key: Option<&'static str>,
    /// The key, the variable or the file at fault.
    pub(crate) subject: String,
    /// What is wrong with it.
    pub(crate) problem: String,
    /// What fixes it.
    pub(crate) fix: String,
}

impl SettingsError {
    pub(super) fn new(subject: impl Into<String>, problem: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { key: None, subject: subject.into(), problem: problem.into(), fix: fix.into() }
    }

    pub(super) fn of_key(self, key: &'static str) -> Self {
        Self { key: Some(key), ..self }
    }
}
