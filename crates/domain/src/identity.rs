/// Makes a type of a UUID ([RFC 9562](https://www.rfc-editor.org/rfc/rfc9562)), so that one kind of
/// identity cannot be taken for another.
macro_rules! identity {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(uuid::Uuid);

        impl $name {
            /// A new identity, a UUID of version 7: later ones sort after earlier ones, as long as the clock is not set back.
            #[must_use]
            pub fn generate() -> Self {
                Self(uuid::Uuid::now_v7())
            }

            /// The UUID.
            #[must_use]
            pub const fn as_uuid(self) -> uuid::Uuid {
                self.0
            }
        }

        impl From<uuid::Uuid> for $name {
            fn from(id: uuid::Uuid) -> Self {
                Self(id)
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::InvalidId;

            fn from_str(text: &str) -> Result<Self, $crate::InvalidId> {
                text.parse().map(Self).map_err(|_| $crate::InvalidId)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

pub(crate) use identity;

/// A text that is no identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a UUID")]
pub struct InvalidId;

#[cfg(test)]
mod tests {
    use crate::UserId;

    #[test]
    fn each_identity_is_a_new_one_of_version_7() {
        let [one, other] = [(); 2].map(|()| UserId::generate().as_uuid());
        assert_eq!((one.get_version_num(), other.get_version_num()), (7, 7));
        assert!(one < other, "{one} and {other}");
    }
}
