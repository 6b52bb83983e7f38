//! The first hexadecimal digits of a SHA-256.

use sha2::{Digest as _, Sha256};

/// Digits of a generation. As the name `synergycall-generation-<16 digits>` they take 39 characters: `pjsip list aors`
/// cuts names at 41.
const GENERATION_DIGITS: usize = 16;

/// The placeholder while a generation is not known.
pub(crate) const NO_GENERATION: &str = "0000000000000000";

/// The content hash that a file carries, in a comment and as something that can be read back live: that of a text with
/// [`NO_GENERATION`] in its place.
pub(crate) fn generation(text: &str) -> String {
    digits(Sha256::new_with_prefix(text), GENERATION_DIGITS)
}

/// The first `count` hexadecimal digits, an even number of at most 64.
pub(crate) fn digits(hashed: Sha256, count: usize) -> String {
    base16ct::lower::encode_string(&hashed.finalize()[..count / 2])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_digits_come_first() {
        // FIPS 180-2, appendix B.1.
        assert_eq!(digits(Sha256::new_with_prefix("abc"), 8), "ba7816bf");
    }
}
