//! The first digits of a hash, without an allocation.

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
