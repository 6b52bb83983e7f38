//! What all our names but the extensions begin with.

use std::fmt;
use std::str::FromStr;

/// What the names of all objects and contexts begin with, but for those of the users themselves.
///
/// Two programs that write files for one Asterisk need two: templates of sections and contexts share one name space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prefix(String);

impl Prefix {
    /// The most bytes: `<prefix>-generation-<16 digits>` has 40 then, and `pjsip list aors` cuts names at 41.
    pub const MAX_BYTES: usize = 12;

    /// The prefix as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Prefix {
    /// `synergycall`.
    fn default() -> Self {
        Self("synergycall".to_owned())
    }
}

impl FromStr for Prefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Self, PrefixError> {
        let is_legal = text.len() <= Self::MAX_BYTES
            && text.starts_with(|first: char| first.is_ascii_lowercase())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        if is_legal { Ok(Self(text.to_owned())) } else { Err(PrefixError) }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text that is no [`Prefix`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a prefix has 1 to {} of a-z 0-9 and begins with a letter", Prefix::MAX_BYTES)]
pub struct PrefixError;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_a_short_word() {
        for text in ["", "1a", "a-b", "A", "a b", "a]", "abcdefghijklm", "é"] {
            assert_eq!(text.parse::<Prefix>(), Err(PrefixError), "{text}");
        }
        for text in ["a", "a1", "abcdefghijkl"] {
            assert_eq!(text.parse::<Prefix>().unwrap().to_string(), text);
        }
        assert_eq!(Prefix::default().as_str().parse(), Ok(Prefix::default()));
    }
}
