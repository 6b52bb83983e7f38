use std::fmt;
use std::str::FromStr;

use email_address::{EmailAddress, Options};

/// A mail address: an addr-spec of [RFC 5322, section 3.4.1](https://www.rfc-editor.org/rfc/rfc5322#section-3.4.1)
/// of at most 254 bytes, without a display name.
///
/// The case is kept as it was written; [`Email::key`] is what makes two addresses the same.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Email(String);

impl Email {
    /// The most bytes that an address may have
    /// ([RFC 3696, erratum 1690](https://www.rfc-editor.org/errata/eid1690)).
    pub const MAX_BYTES: usize = 254;

    /// The address as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The address in lower case: two addresses with one key are the same address.
    #[must_use]
    pub fn key(&self) -> String {
        self.0.to_ascii_lowercase()
    }
}

impl FromStr for Email {
    type Err = InvalidEmail;

    fn from_str(address: &str) -> Result<Self, InvalidEmail> {
        if address.len() > Self::MAX_BYTES {
            return Err(InvalidEmail::TooLong { bytes: address.len() });
        }
        if !address.is_ascii() {
            return Err(InvalidEmail::NotAscii);
        }
        // The library accepts the folding white space and comments' leavings of RFC 5322;
        // a stored address is one line of printable characters.
        if address.contains(|c: char| c.is_ascii_control()) {
            return Err(InvalidEmail::NotAnAddress);
        }
        EmailAddress::parse_with_options(address, Options::default().without_display_text())
            .map(|_| Self(address.to_owned()))
            .map_err(|_| InvalidEmail::NotAnAddress)
    }
}

impl fmt::Display for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text is no [`Email`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidEmail {
    /// Not `local-part@domain`.
    #[error("must be a mail address such as alice@example.com")]
    NotAnAddress,
    /// A character outside ASCII, which an RFC 5322 address cannot have.
    #[error("must be ASCII; write an internationalised domain in its xn-- form")]
    NotAscii,
    /// More than [`Email::MAX_BYTES`].
    #[error("must have at most {} bytes, has {bytes}", Email::MAX_BYTES)]
    TooLong {
        /// The length as given.
        bytes: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_accepted_as_written() {
        for address in [
            "alice@example.com",
            "Alice.O'Neil+pbx@Example.COM",
            "a@localhost",
            "\"a b\"@example.com",
            "a@[127.0.0.1]",
            "a@xn--bcher-kva.example",
        ] {
            let email: Email = address.parse().unwrap();
            assert_eq!((email.as_str(), email.to_string().as_str()), (address, address));
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            " ",
            "alice",
            "alice@",
            "@example.com",
            "a@b@c",
            "a b@example.com",
            "a@exa mple.com",
            " a@example.com",
            "a@example.com ",
            "Alice <a@example.com>",
            "a@example.com\n",
            "a\0@example.com",
            "a..b@example.com",
            ".a@example.com",
            "a@-example.com",
            "a@example..com",
        ] {
            assert_eq!(text.parse::<Email>(), Err(InvalidEmail::NotAnAddress), "{text:?}");
        }
        assert_eq!("josé@example.com".parse::<Email>(), Err(InvalidEmail::NotAscii));
    }

    #[test]
    fn the_limit_is_254_bytes() {
        let local = "l".repeat(64);
        let domain = |bytes: usize| ["d".repeat(61), "d".repeat(61), "d".repeat(61), "d".repeat(bytes - 186)].join(".");
        assert!(format!("{local}@{}", domain(189)).parse::<Email>().is_ok());
        assert_eq!(format!("{local}@{}", domain(190)).parse::<Email>(), Err(InvalidEmail::TooLong { bytes: 255 }));
    }

    #[test]
    fn case_makes_no_difference_to_the_key() {
        let [a, b] = ["Alice@Example.COM", "alice@example.com"].map(|text| text.parse::<Email>().unwrap());
        assert_ne!(a, b);
        assert_eq!([a.key(), b.key()], ["alice@example.com", "alice@example.com"]);
    }
}
