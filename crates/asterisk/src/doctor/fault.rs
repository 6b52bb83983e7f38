/// What keeps an apply from working or phones from calling, and the command or edit that fixes it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fault {
    /// What is wrong.
    pub what: String,
    /// The command for a root shell that fixes it.
    pub fix: String,
}

impl Fault {
    /// A fault and its fix.
    #[must_use]
    pub fn new(what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { what: what.into(), fix: fix.into() }
    }
}
