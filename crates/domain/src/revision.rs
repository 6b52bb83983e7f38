use std::fmt;

use crate::identity::identity;

identity! {
    /// The identity of a portal's database, made together with its tables. A restored dump keeps it.
    DatabaseId
}

/// The counter of a tenant's committed changes: every transaction that changes a user moves it.
///
/// It is an order for people within one history of one database. After a restore, or a failover that
/// lost commits, the same revision may belong to other users, so no decision goes by it. `0` is the
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
