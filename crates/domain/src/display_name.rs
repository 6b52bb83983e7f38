use std::fmt;
use std::str::FromStr;

/// The name that the called phone shows: 1 to 79 bytes of UTF-8 on one line.
///
/// Blanks at both ends are trimmed; everything else arrives at the phone exactly as it is.
/// 79 bytes is what Asterisk 22 keeps of a caller's name (`char cid_name[80]`); a longer one
/// would be cut in the middle of a character.
///
/// Refused, before anything is trimmed: control characters (U+0000-001F, U+007F-009F), the line
/// separators U+2028 and U+2029, and the bidirectional controls U+202A-202E and U+2066-2069,
/// with which a name could pass for another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DisplayName(String);

impl DisplayName {
    /// The most bytes of UTF-8 that a name may have.
    pub const MAX_BYTES: usize = 79;

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DisplayName {
    type Err = InvalidDisplayName;

    fn from_str(name: &str) -> Result<Self, InvalidDisplayName> {
        if let Some(bad) = name.chars().find(|c| is_forbidden(*c)) {
            return Err(InvalidDisplayName::ForbiddenCharacter(bad));
        }
        let name = name.trim();
        match name.len() {
            0 => Err(InvalidDisplayName::Empty),
            1..=Self::MAX_BYTES => Ok(Self(name.to_owned())),
            bytes => Err(InvalidDisplayName::TooLong { bytes }),
        }
    }
}

fn is_forbidden(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

impl fmt::Display for DisplayName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text is no [`DisplayName`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidDisplayName {
    /// Nothing, or nothing but blanks.
    #[error("must not be empty or blank")]
    Empty,
    /// A control character, a line separator or a bidirectional control.
    #[error(
        "must not contain U+{:04X}: control characters, line separators and bidirectional controls are refused",
        u32::from(*.0)
    )]
    ForbiddenCharacter(char),
    /// More than [`DisplayName::MAX_BYTES`].
    #[error("must have at most {} bytes of UTF-8, has {bytes}", DisplayName::MAX_BYTES)]
    TooLong {
        /// The length after trimming.
        bytes: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_at_both_ends_are_trimmed_and_nothing_else_changes() {
        for (given, kept) in [
            ("  Alice  ", "Alice"),
            ("\u{3000}李\u{a0}雷\u{2003}", "李\u{a0}雷"),
            (r#""Al" \; #include ${EXTEN} [x] => 😀"#, r#""Al" \; #include ${EXTEN} [x] => 😀"#),
            ("\u{200f}שלום", "\u{200f}שלום"),
        ] {
            let name: DisplayName = given.parse().unwrap();
            assert_eq!((name.as_str(), name.to_string().as_str()), (kept, kept));
        }
    }

    #[test]
    fn a_forbidden_character_is_refused_even_where_trimming_would_remove_it() {
        let forbidden = ('\0'..='\u{1f}')
            .chain('\u{7f}'..='\u{9f}')
            .chain('\u{2028}'..='\u{2029}')
            .chain('\u{202a}'..='\u{202e}')
            .chain('\u{2066}'..='\u{2069}');
        for c in forbidden {
            for text in [format!("a{c}b"), format!("{c}ab"), format!("ab{c}"), c.to_string()] {
                assert_eq!(text.parse::<DisplayName>(), Err(InvalidDisplayName::ForbiddenCharacter(c)), "{text:?}");
            }
        }
    }

    #[test]
    fn the_neighbours_of_forbidden_characters_are_legal() {
        for c in ['~', '\u{a1}', '\u{2027}', '\u{202f}', '\u{2065}', '\u{206a}', '\u{feff}'] {
            assert!(format!("a{c}b").parse::<DisplayName>().is_ok(), "{c:?}");
        }
    }

    #[test]
    fn the_limit_is_79_bytes_after_trimming() {
        assert!(format!(" {} ", "a".repeat(79)).parse::<DisplayName>().is_ok());
        assert!(format!("{}a", "é".repeat(39)).parse::<DisplayName>().is_ok());
        assert_eq!("é".repeat(40).parse::<DisplayName>(), Err(InvalidDisplayName::TooLong { bytes: 80 }));
        for blank in ["", " ", "\u{a0}\u{3000} "] {
            assert_eq!(blank.parse::<DisplayName>(), Err(InvalidDisplayName::Empty));
        }
    }

    #[test]
    fn a_message_names_the_character_and_does_not_print_it() {
        assert!(InvalidDisplayName::ForbiddenCharacter('\n').to_string().starts_with("must not contain U+000A"));
    }
}
