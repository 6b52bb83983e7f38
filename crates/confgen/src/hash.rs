//! The first hexadecimal digits of a SHA-256, without an allocation.

use sha2::{Digest as _, Sha256};

/// Digits of a generation. As the name `synergycall-generation-<16 digits>` they take 39 characters: `pjsip list aors`
/// cuts names at 41.
const GENERATION_DIGITS: usize = 16;

/// The placeholder while a generation is not known.
pub(crate) const NO_GENERATION: &str = "0000000000000000";

/// The content hash that a file carries, in a comment and as something that can be read back live: that of a text with
/// [`NO_GENERATION`] in its place.
pub(crate) fn generation(text: &str) -> [u8; GENERATION_DIGITS] {
    digits(&Sha256::digest(text).into())
}

/// The first `N` hexadecimal digits of `digest`, an even number of at most 64.
pub(crate) fn digits<const N: usize>(digest: &[u8; 32]) -> [u8; N] {
    const { assert!(N.is_multiple_of(2) && N <= 64) };
    let mut digits = [0; N];
    // Only a buffer that is too short is an error.
    _ = base16ct::lower::encode(&digest[..N / 2], &mut digits);
    digits
}

/// Hexadecimal digits as text.
pub(crate) fn as_str(digits: &[u8]) -> &str {
    str::from_utf8(digits).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_digits_come_first() {
        let mut digest = [0; 32];
        digest[..2].copy_from_slice(&[0x01, 0xaf]);
        assert_eq!(as_str(&digits::<4>(&digest)), "01af");
    }
}
