//! The first digits of a hash, without an allocation.

/// The first `N` hexadecimal digits of `digest`.
pub(crate) fn digits<const N: usize>(digest: &[u8; 32]) -> [u8; N] {
    std::array::from_fn(|at| {
        let byte = digest[at / 2];
        let digit = if at % 2 == 0 { byte >> 4 } else { byte & 15 };
        b"0123456789abcdef"[usize::from(digit)]
    })
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
        digest[..3].copy_from_slice(&[0x01, 0xaf, 0x9c]);
        assert_eq!(as_str(&digits::<5>(&digest)), "01af9");
    }
}
