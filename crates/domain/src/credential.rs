use std::fmt;
use std::str::FromStr;

use md5::{Digest as _, Md5};

use crate::Extension;

/// The alphabet of passwords: 32 characters, so that five random bits pick one without bias, and
/// none that is read as another (`l`, `o`, `0` and `1` are left out, and capitals with them).
const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

/// The password that a user's phone registers with: 28 characters, 140 bits from the operating
/// system's generator.
///
/// It is shown once, to the caller that created the user; what is kept is its [`Ha1`]. `Debug` shows
/// nothing of it.
#[derive(Clone)]
pub struct SipPassword(String);

impl SipPassword {
    const CHARACTERS: usize = 28;

    /// A new password.
    ///
    /// # Errors
    ///
    /// [`NoRandomness`] when the operating system gives no random bytes.
    pub fn generate() -> Result<Self, NoRandomness> {
        let mut bytes = [0; Self::CHARACTERS];
        getrandom::fill(&mut bytes).map_err(|_| NoRandomness)?;
        Ok(Self(bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect()))
    }

    /// The password in clear, to hand it to its owner.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SipPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SipPassword(…)")
    }
}

/// The operating system's random number generator failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gives no random bytes")]
pub struct NoRandomness;

/// The protection domain of SIP's digest authentication
/// ([RFC 7616, section 3.3](https://www.rfc-editor.org/rfc/rfc7616#section-3.3)): Asterisk's
/// `default_realm`, `asterisk` unless the administrator changed it.
///
/// 1 to 79 printable ASCII characters other than `"`, `\` and `;`, so that it fits in a SIP
/// header and in an Asterisk file as it is; no blank at either end, and no colon, which separates
/// the parts of an [`Ha1`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Realm(String);

impl Realm {
    /// The realm.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Asterisk's own default, `asterisk`.
impl Default for Realm {
    fn default() -> Self {
        Self("asterisk".to_owned())
    }
}

impl FromStr for Realm {
    type Err = InvalidRealm;

    fn from_str(realm: &str) -> Result<Self, InvalidRealm> {
        let legal = |c: char| (c.is_ascii_graphic() || c == ' ') && !matches!(c, '"' | '\\' | ';' | ':');
        if (1..=79).contains(&realm.len()) && realm.trim() == realm && realm.chars().all(legal) {
            Ok(Self(realm.to_owned()))
        } else {
            Err(InvalidRealm)
        }
    }
}

impl fmt::Display for Realm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text that is no [`Realm`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to 79 printable ASCII characters without \", \\, ; and :, and no blank at either end")]
pub struct InvalidRealm;

/// The digest that SIP authentication needs of a password: MD5 of `username:realm:password`
/// ([RFC 7616, section 3.4.2](https://www.rfc-editor.org/rfc/rfc7616#section-3.4.2)) in lower-case
/// hexadecimal, the only form in which Asterisk accepts it.
///
/// Within its realm it serves as well as the password itself, so it is a secret too: `Debug`
/// shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Ha1(String);

impl Ha1 {
    /// The digest for the phone of `extension`, whose SIP user name is the extension itself.
    #[must_use]
    pub fn of(extension: Extension, realm: &Realm, password: &SipPassword) -> Self {
        let digest = Md5::digest(format!("{extension}:{realm}:{}", password.reveal()));
        Self(base16ct::lower::encode_string(&digest))
    }

    /// The 32 hexadecimal digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Ha1 {
    type Err = InvalidHa1;

    fn from_str(digits: &str) -> Result<Self, InvalidHa1> {
        if digits.len() == 32 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            Ok(Self(digits.to_owned()))
        } else {
            Err(InvalidHa1)
        }
    }
}

impl fmt::Debug for Ha1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ha1(…)")
    }
}

/// A text that is no [`Ha1`]; the text is not repeated, it may be a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be 32 lower-case hexadecimal digits")]
pub struct InvalidHa1;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn passwords_are_long_legible_and_never_the_same() {
        let passwords: HashSet<_> = (0..500).map(|_| SipPassword::generate().unwrap().reveal().to_owned()).collect();
        assert_eq!(passwords.len(), 500);
        assert!(passwords.iter().all(|p| p.len() == 28 && p.bytes().all(|b| ALPHABET.contains(&b))));
        let used: HashSet<_> = passwords.iter().flat_map(|p| p.bytes()).collect();
        assert_eq!(used.len(), ALPHABET.len(), "14 000 characters show each of the 32");
    }

    #[test]
    fn the_alphabet_has_no_repeats_and_no_look_alikes() {
        assert_eq!(ALPHABET.iter().collect::<HashSet<_>>().len(), 32);
        assert!(!ALPHABET.iter().any(|b| b"0O1Il|o".contains(b)));
    }

    #[test]
    fn ha1_is_md5_of_user_realm_and_password() {
        let password = SipPassword("secret".to_owned());
        let ha1 = Ha1::of(Extension::FIRST, &Realm::default(), &password);
        assert_eq!(ha1.as_str(), "4e2bd218061da1563c0e0f1e2276b5b5");
        assert_eq!(ha1.as_str().parse(), Ok(ha1));
    }

    #[test]
    fn debug_shows_no_secret() {
        let password = SipPassword::generate().unwrap();
        let ha1 = Ha1::of(Extension::FIRST, &Realm::default(), &password);
        let shown = format!("{password:?} {ha1:?} {:#?}", (&password, &ha1));
        assert!(!shown.contains(password.reveal()) && !shown.contains(ha1.as_str()), "{shown}");
        assert!(shown.starts_with("SipPassword(…) Ha1(…) "), "{shown}");
    }

    #[test]
    fn ha1_must_be_lower_case_hexadecimal() {
        for bad in [
            "",
            "5ebe2294ecd0e0f08eab7690d2a6ee6",
            "5EBE2294ecd0e0f08eab7690d2a6ee69",
            "zebe2294ecd0e0f08eab7690d2a6ee69",
        ] {
            assert_eq!(bad.parse::<Ha1>(), Err(InvalidHa1));
        }
    }

    #[test]
    fn a_realm_stands_in_a_header_and_in_a_file_as_it_is() {
        for good in ["asterisk", "pbx.example.com", "Two Words"] {
            let realm: Realm = good.parse().unwrap();
            assert_eq!((realm.as_str(), realm.to_string().as_str()), (good, good));
        }
        for bad in ["", " a", "a ", "a\"b", "a\\b", "a;b", "a:b", "a\nb", "é", &"a".repeat(80)] {
            assert_eq!(bad.parse::<Realm>(), Err(InvalidRealm), "{bad:?}");
        }
    }
}
