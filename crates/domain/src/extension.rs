use std::{fmt, str::FromStr};

/// The number that is dialled to reach a user: 1000 to 1999.
///
/// It is also the name of the user's PJSIP endpoint and aor, and the SIP user name of its phone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Extension(u16);

impl Extension {
    /// The lowest extension, 1000.
    pub const FIRST: Self = Self(1000);
    /// The highest extension, 1999.
    pub const LAST: Self = Self(1999);

    /// The extension with this number.
    ///
    /// # Errors
    ///
    /// [`InvalidExtension`] when the number is not one of 1000-1999.
    pub fn new(number: impl TryInto<u16>) -> Result<Self, InvalidExtension> {
        number.try_into().ok().map(Self).filter(|e| (Self::FIRST..=Self::LAST).contains(e)).ok_or(InvalidExtension)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl fmt::Display for Extension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Reads four digits and nothing else, as they are dialled.
impl FromStr for Extension {
    type Err = InvalidExtension;

    fn from_str(digits: &str) -> Result<Self, InvalidExtension> {
        let is_dialled = digits.len() == 4 && digits.bytes().all(|byte| byte.is_ascii_digit());
        if is_dialled { Self::new(digits.parse::<u16>().unwrap_or_default()) } else { Err(InvalidExtension) }
    }
}

/// A number that is no extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a number from {} to {}", Extension::FIRST, Extension::LAST)]
pub struct InvalidExtension;

/// An unbroken range of extensions, out of which users get theirs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExtensionRange {
    first: Extension,
    last: Extension,
}

impl ExtensionRange {
    /// Every extension there is, 1000 to 1999.
    pub const ALL: Self = Self { first: Extension::FIRST, last: Extension::LAST };

    /// The range from `first` to `last`, both included; empty when `last` is the lower.
    #[must_use]
    pub const fn new(first: Extension, last: Extension) -> Self {
        Self { first, last }
    }

    /// The lowest extension of this range that is not in `taken`, or `None` when all are.
    ///
    /// `taken` may come in any order, hold a number twice and hold numbers outside the range.
    /// The cost is one pass over `taken` and one over at most a thousand flags.
    ///
    /// ```
    /// use pbx_domain::{Extension, ExtensionRange};
    ///
    /// assert_eq!(ExtensionRange::ALL.lowest_free([]), Some(Extension::FIRST));
    /// assert_eq!(ExtensionRange::new(Extension::FIRST, Extension::FIRST).lowest_free([Extension::FIRST]), None);
    /// ```
    #[must_use]
    pub fn lowest_free(self, taken: impl IntoIterator<Item = Extension>) -> Option<Extension> {
        let first = self.first.get();
        let mut is_taken = [false; (Extension::LAST.0 - Extension::FIRST.0) as usize + 1];
        for extension in taken {
            is_taken[usize::from(extension.get() - Extension::FIRST.get())] = true;
        }
        (first..=self.last.get()).find(|number| !is_taken[usize::from(number - Extension::FIRST.get())]).map(Extension)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn extensions(numbers: impl IntoIterator<Item = u16>) -> Vec<Extension> {
        numbers.into_iter().map(|n| Extension::new(n).unwrap()).collect()
    }

    /// The allocator as one would say it: the smallest number of the range that is not taken.
    fn naive(first: u16, last: u16, taken: &BTreeSet<u16>) -> Option<u16> {
        (first..=last).filter(|n| !taken.contains(n)).min()
    }

    #[test]
    fn only_1000_to_1999_are_extensions() {
        for bad in [0_i64, 999, 2000, 65_535, 66_536, -1000] {
            assert_eq!(Extension::new(bad), Err(InvalidExtension), "{bad}");
        }
        assert_eq!(Extension::new(1000), Ok(Extension::FIRST));
        assert_eq!(Extension::new(1999_i64), Ok(Extension::LAST));
    }

    #[test]
    fn an_extension_is_read_as_it_is_dialled() {
        assert_eq!("1000".parse(), Ok(Extension::FIRST));
        for bad in ["", "999", "2000", "+1000", "01000", " 1000", "１０００"] {
            assert_eq!(bad.parse::<Extension>(), Err(InvalidExtension), "{bad}");
        }
    }

    #[test]
    fn an_empty_range_has_no_free_extension() {
        assert_eq!(ExtensionRange::new(Extension::LAST, Extension::FIRST).lowest_free([]), None);
    }

    #[test]
    fn each_single_hole_in_a_full_range_is_found() {
        for hole in 1000..=1999 {
            let taken = extensions((1000..=1999).filter(|n| *n != hole));
            assert_eq!(ExtensionRange::ALL.lowest_free(taken).map(Extension::get), Some(hole));
        }
    }

    #[test]
    fn a_full_range_has_no_free_extension() {
        assert_eq!(ExtensionRange::ALL.lowest_free(extensions(1000..=1999)), None);
    }

    proptest! {
        /// Prefixes (`dense`), sparse sets, both ends of the range, in any order and with repeats.
        #[test]
        fn it_agrees_with_the_naive_model(
            first in 1000_u16..=1999, last in 1000_u16..=1999, dense in 0_u16..=1000,
            sparse in prop::collection::vec(1000_u16..=1999, 0..1200),
        ) {
            let mut taken = sparse;
            taken.extend((first..=1999).take(usize::from(dense)));
            let set = taken.iter().copied().collect();
            let range = ExtensionRange::new(Extension::new(first).unwrap(), Extension::new(last).unwrap());
            prop_assert_eq!(range.lowest_free(extensions(taken)).map(Extension::get), naive(first, last, &set));
        }

        #[test]
        fn any_subset_of_a_short_range(bits in 0_u32..1 << 16) {
            let taken = (0..16_u16).filter(|i| bits >> i & 1 == 1).map(|i| 1000 + i).collect::<BTreeSet<_>>();
            let range = ExtensionRange::new(Extension::FIRST, Extension::new(1015).unwrap());
            prop_assert_eq!(range.lowest_free(extensions(taken.clone())).map(Extension::get), naive(1000, 1015, &taken));
        }
    }
}
