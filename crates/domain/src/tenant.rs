use std::fmt;

/// The counter of a tenant's committed changes: every transaction that changes a user moves it.
///
/// Two snapshots with the same revision hold the same users; a higher one is newer. `0` is the
/// revision of a tenant that never had a user.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(i64);

impl Revision {
    /// The revision with this number, as PostgreSQL's `bigint` holds it.
    #[must_use]
    pub const fn new(number: i64) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> i64 {
        self.0
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_is_its_number() {
        let revision = Revision::new(42);
        assert_eq!((revision.get(), revision.to_string().as_str()), (42, "42"));
        assert!(Revision::default() < revision);
    }
}
