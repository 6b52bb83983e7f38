//! The context that phones call in.

use std::fmt;
use std::str::FromStr;

/// The name of a context of the dialplan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context(String);

impl Context {
    /// The most bytes: Asterisk cuts longer names.
    pub const MAX_BYTES: usize = 79;

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Context {
    type Err = ContextError;

    fn from_str(text: &str) -> Result<Self, ContextError> {
        let is_legal = (1..=Self::MAX_BYTES).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
            && !["general", "globals"].iter().any(|taken| taken.eq_ignore_ascii_case(text));
        if is_legal { Ok(Self(text.to_owned())) } else { Err(ContextError) }
    }
}

impl fmt::Display for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text that is no [`Context`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a context has 1 to {} of A-Z a-z 0-9 - _ and is neither general, nor globals, nor one that the files define besides",
    Context::MAX_BYTES
)]
pub struct ContextError;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_is_a_word_that_means_nothing_else() {
        let long = "a".repeat(80);
        for text in ["", "a b", "a]", "general", "Globals", "é", "a;b", &long] {
            assert_eq!(text.parse::<Context>(), Err(ContextError), "{text}");
        }
        assert_eq!("from-office_2".parse::<Context>().unwrap().to_string(), "from-office_2");
    }
}
