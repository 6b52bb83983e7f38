use std::fmt;
use std::str::FromStr;

/// The number that is dialled to reach a user. The portal's are 1000 to 1999; those of an [`ExtensionRange`] of another
/// program's are whatever that holds.
///
/// It is also the name of the user's PJSIP endpoint and aor, and the SIP user name of its phone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Extension(u16);

impl Extension {
    /// The portal's lowest extension, 1000.
    pub const FIRST: Self = Self(1000);
    /// The portal's highest extension, 1999.
    pub const LAST: Self = Self(1999);

    /// The portal's extension with this number; [`ExtensionRange::extension`] gives those of other ranges.
    ///
    /// # Errors
    ///
    /// [`InvalidExtension`] when the number is not one of 1000-1999.
    pub fn new(number: impl TryInto<u16>) -> Result<Self, InvalidExtension> {
        ExtensionRange::PORTAL.extension(number)
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

/// Reads one of the portal's: four digits and nothing else, as they are dialled.
impl FromStr for Extension {
    type Err = InvalidExtension;

    fn from_str(digits: &str) -> Result<Self, InvalidExtension> {
        ExtensionRange::PORTAL.parse(digits)
    }
}

/// A number that is no extension of the range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a number from {} to {}", range.first, range.last)]
pub struct InvalidExtension {
    range: ExtensionRange,
}

/// An unbroken range of extensions, out of which users get theirs.
///
/// ```
/// use pbx_domain::ExtensionRange;
///
/// let doors = ExtensionRange::new(200, 299)?;
/// let taken = [doors.extension(200)?, doors.parse("202")?];
/// assert_eq!(doors.lowest_free(taken), Some(doors.extension(201)?));
/// assert!(doors.extension(300).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExtensionRange {
    first: Extension,
    last: Extension,
}

impl ExtensionRange {
    /// The portal's, 1000 to 1999.
    pub const PORTAL: Self = Self { first: Extension::FIRST, last: Extension::LAST };

    /// The range from `first` to `last`, both included.
    ///
    /// # Errors
    ///
    /// [`InvalidRange`] when it is empty, or begins with 0: a leading zero would be lost.
    pub const fn new(first: u16, last: u16) -> Result<Self, InvalidRange> {
        if first == 0 || last < first {
            return Err(InvalidRange);
        }
        Ok(Self { first: Extension(first), last: Extension(last) })
    }

    /// The lowest extension of the range.
    #[must_use]
    pub const fn first(self) -> Extension {
        self.first
    }

    /// The highest extension of the range.
    #[must_use]
    pub const fn last(self) -> Extension {
        self.last
    }

    /// Whether this extension is one of the range.
    #[must_use]
    pub fn contains(self, extension: Extension) -> bool {
        (self.first..=self.last).contains(&extension)
    }

    /// The extension of this range with this number.
    ///
    /// # Errors
    ///
    /// [`InvalidExtension`] when the range does not hold the number.
    pub fn extension(self, number: impl TryInto<u16>) -> Result<Extension, InvalidExtension> {
        let extension = number.try_into().ok().map(Extension).filter(|extension| self.contains(*extension));
        extension.ok_or(InvalidExtension { range: self })
    }

    /// The extension of this range that is written with these digits, as they are dialled: no sign, no leading zero.
    ///
    /// # Errors
    ///
    /// [`InvalidExtension`] when the text is none of them.
    pub fn parse(self, digits: &str) -> Result<Extension, InvalidExtension> {
        let is_dialled = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
        let number = if is_dialled { digits.parse::<u16>().unwrap_or_default() } else { 0 };
        self.extension(number)
    }

    /// The lowest extension of this range that is not in `taken`, or `None` when all are. Who gets it, and who gets another's,
    /// is decided by [`Roster`](crate::Roster).
    ///
    /// `taken` may come in any order, hold a number twice and hold numbers outside the range.
    /// The cost is one pass over `taken` and one over a flag for each number of the range.
    ///
    /// ```
    /// use pbx_domain::{Extension, ExtensionRange};
    ///
    /// assert_eq!(ExtensionRange::PORTAL.lowest_free([]), Some(Extension::FIRST));
    /// assert_eq!(ExtensionRange::new(7, 7)?.lowest_free([ExtensionRange::new(7, 7)?.extension(7).unwrap()]), None);
    /// # Ok::<(), pbx_domain::InvalidRange>(())
    /// ```
    #[must_use]
    pub fn lowest_free(self, taken: impl IntoIterator<Item = Extension>) -> Option<Extension> {
        let at = |extension: Extension| usize::from(extension.get() - self.first.get());
        let mut is_taken = vec![false; at(self.last) + 1];
        for extension in taken.into_iter().filter(|extension| self.contains(*extension)) {
            is_taken[at(extension)] = true;
        }
        (self.first.get()..=self.last.get()).zip(is_taken).find(|(_, is_taken)| !is_taken).map(|(n, _)| Extension(n))
    }
}

/// Two numbers that are no range of extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a range of extensions begins with 1 or more, and ends with that or more")]
pub struct InvalidRange;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const INVALID: Result<Extension, InvalidExtension> = Err(InvalidExtension { range: ExtensionRange::PORTAL });

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
            assert_eq!(Extension::new(bad), INVALID, "{bad}");
        }
        assert_eq!(Extension::new(1000), Ok(Extension::FIRST));
        assert_eq!(Extension::new(1999_i64), Ok(Extension::LAST));
    }

    #[test]
    fn an_extension_is_read_as_it_is_dialled() {
        assert_eq!("1000".parse(), Ok(Extension::FIRST));
        for bad in ["", "999", "2000", "+1000", "01000", " 1000", "１０００"] {
            assert_eq!(bad.parse(), INVALID, "{bad}");
        }
    }

    #[test]
    fn there_is_no_empty_range_and_none_from_zero() {
        for (first, last) in [(1999, 1000), (0, 9), (0, 0)] {
            assert_eq!(ExtensionRange::new(first, last), Err(InvalidRange));
        }
    }

    #[test]
    fn a_range_holds_its_numbers_alone_and_says_so() {
        let doors = ExtensionRange::new(90, 110).unwrap();
        assert_eq!(doors.extension(90).unwrap().get(), 90);
        for bad in ["89", "111", "090", "+90", "", "x", "99999999"] {
            assert_eq!(doors.parse(bad).unwrap_err().to_string(), "must be a number from 90 to 110", "{bad}");
        }
        assert!(doors.contains(doors.last()) && !doors.contains(Extension::FIRST));
        let taken = (90..=109).map(|number| doors.extension(number).unwrap()).chain([Extension::FIRST]);
        assert_eq!(doors.lowest_free(taken), Some(doors.last()));
        let largest = ExtensionRange::new(1, u16::MAX).unwrap();
        assert_eq!(largest.lowest_free([]).map(Extension::get), Some(1));
    }

    #[test]
    fn each_single_hole_in_a_full_range_is_found() {
        for hole in 1000..=1999 {
            let taken = extensions((1000..=1999).filter(|n| *n != hole));
            assert_eq!(ExtensionRange::PORTAL.lowest_free(taken).map(Extension::get), Some(hole));
        }
    }

    #[test]
    fn a_full_range_has_no_free_extension() {
        assert_eq!(ExtensionRange::PORTAL.lowest_free(extensions(1000..=1999)), None);
    }

    proptest! {
        /// Prefixes (`dense`), sparse sets, both ends of the range, in any order and with repeats.
        #[test]
        fn it_agrees_with_the_naive_model(
            (first, last) in (1000_u16..=1999).prop_flat_map(|first| (Just(first), first..=1999)), dense in 0_u16..=1000,
            sparse in prop::collection::vec(1000_u16..=1999, 0..1200),
        ) {
            let mut taken = sparse;
            taken.extend((first..=1999).take(usize::from(dense)));
            let set = taken.iter().copied().collect();
            let range = ExtensionRange::new(first, last).unwrap();
            prop_assert_eq!(range.lowest_free(extensions(taken)).map(Extension::get), naive(first, last, &set));
        }
    }
}
