use std::fmt;

use crate::hex;

/// The content hash that both files of a [`Rendering`](crate::Rendering) carry: 16 hexadecimal
/// digits of the SHA-256 over all of their text but the hash itself.
///
/// Whoever finds it live knows which rendering Asterisk read. It stands in the name
/// `synergycall-generation-<16 digits>`, 39 characters: `pjsip list aors` cuts names at 41.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Generation([u8; Self::DIGITS]);

impl Generation {
    /// How many hexadecimal digits it has.
    pub const DIGITS: usize = 16;

    /// What stands in its place while it is not known.
    pub(crate) const NONE: Self = Self([b'0'; Self::DIGITS]);

    pub(crate) fn of(digest: &[u8; 32]) -> Self {
        Self(hex::digits(digest))
    }

    /// The digits, in lower case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        hex::as_str(&self.0)
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Generation({self})")
    }
}
