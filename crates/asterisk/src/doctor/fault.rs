use std::path::Path;

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

/// A path as a word of a shell's command.
pub(crate) fn quoted(path: &Path) -> String {
    let path = path.display().to_string();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:,@".contains(c);
    if path.chars().all(is_plain) { path } else { format!("'{}'", path.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_word_of_a_shell() {
        assert_eq!(quoted(Path::new("/etc/asterisk/pjsip.d/a_b-1.conf")), "/etc/asterisk/pjsip.d/a_b-1.conf");
        assert_eq!(quoted(Path::new("/my pbx/it's")), r"'/my pbx/it'\''s'");
    }
}
