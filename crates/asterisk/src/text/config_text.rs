//! A strict reader of the part of Asterisk's configuration language that include files need.
//!
//! Asterisk itself forgives nearly everything: it drops what it does not understand and says
//! "reloaded successfully". So a file that is to be proven must be one that can be read without
//! guessing.

/// One line with something on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Line<'a> {
    /// `[name]`, `[name](!)` or `[name](template,…)`.
    Section { name: &'a str, options: &'a str },
    /// `key = value` or `key => value`.
    Setting { key: &'a str, value: &'a str },
}

/// The lines of `text` that say something, with their numbers, counted from 1.
pub(crate) fn lines(text: &str) -> impl Iterator<Item = Result<(usize, Line<'_>), Unreadable>> {
    text.lines().enumerate().filter_map(|(index, line)| match without_comment(line).map(str::trim) {
        Some("") => None,
        said => Some(match said.and_then(read) {
            Some(read) => Ok((index + 1, read)),
            None => Err(Unreadable { line: index + 1, reason: Reason::NotALine }),
        }),
    })
}

/// `None` for what Asterisk skips, cuts, or takes for the beginning or the end of a comment of many lines.
fn without_comment(line: &str) -> Option<&str> {
    /// Asterisk skips a longer one.
    const LONGEST: usize = 8190;
    if line.len() > LONGEST || line.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t') {
        return None;
    }
    // A semicolon right behind a backslash begins no comment, whatever precedes the backslash.
    let bytes = line.as_bytes();
    let is_comment = |at: &usize| bytes[*at] == b';' && (*at == 0 || bytes[at - 1] != b'\\');
    let Some(at) = (0..bytes.len()).find(is_comment) else { return Some(line) };
    // `;--` begins a comment of many lines and `--;` ends one; `;---` is a comment of one line.
    let is_block = line[at..].starts_with(";--") && !line[at..].starts_with(";---");
    (!is_block && !line[..at].ends_with("--")).then_some(&line[..at])
}

fn read(line: &str) -> Option<Line<'_>> {
    if let Some(header) = line.strip_prefix('[') {
        let (name, options) = header.split_once(']')?;
        // Behind a blank, Asterisk would not see them.
        let options = match options {
            "" => "",
            options => options.strip_prefix('(')?.strip_suffix(')')?,
        };
        return (!name.is_empty()).then_some(Line::Section { name, options });
    }
    if line.starts_with('#') {
        return None;
    }
    let (key, value) = line.split_once('=')?;
    let key = key.trim();
    // `key => value` is the same setting. `key += value` adds to another one: whose, nobody can tell from this file.
    let value = value.strip_prefix('>').unwrap_or(value).trim();
    (!key.is_empty() && !key.ends_with('+')).then_some(Line::Setting { key, value })
}

/// A text that Asterisk might read in another way than we do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} {reason}")]
pub(crate) struct Unreadable {
    /// The number of the line, counted from 1.
    pub(crate) line: usize,
    pub(crate) reason: Reason,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Reason {
    #[error("is neither a section, nor a setting, nor a comment")]
    NotALine,
    #[error("is not UTF-8")]
    NotUtf8,
    #[error("stands before the first section")]
    NoSection,
    #[error("names the template {0:?}, which the file does not define before it")]
    UnknownTemplate(String),
    #[error(
        "begins an object of type {0:?}; only endpoint, auth, aor, identify and registration can be proven, others belong \
         into pjsip.conf itself"
    )]
    UnprovableType(String),
    #[error("defines {0} a second time")]
    Twice(String),
    #[error(
        "begins no context that can be proven: without template, of at most 79 bytes, without blanks and @ \" \\; \
         [general] and [globals] belong into extensions.conf itself"
    )]
    NotAContext,
    #[error(
        "is none of `exten => name,priority,application`, `same => …`, `include => …`, `ignorepat => …` and \
         `switch => …`, each with what it needs"
    )]
    NotAnExtension,
    #[error("identifies the endpoint {0:?}, which the file does not define")]
    StrangersIdentify(String),
    #[error("is a step of which Asterisk would list only the beginning")]
    TooLong,
    #[error(
        "has the name {name:?}, which Asterisk does not list whole: at most {longest} bytes without blanks and slashes \
         can be proven"
    )]
    Unlistable { name: String, longest: usize },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(text: &str) -> Line<'_> {
        lines(text).next().unwrap().unwrap().1
    }

    #[test]
    fn sections_and_settings_are_distinguished() {
        assert_eq!(only("[1000]"), Line::Section { name: "1000", options: "" });
        assert_eq!(only("[t](!,base)"), Line::Section { name: "t", options: "!,base" });
        assert_eq!(only(" same => n,Dial(a,30)"), Line::Setting { key: "same", value: "n,Dial(a,30)" });
        assert_eq!(only("auth=1000-a ; mine"), Line::Setting { key: "auth", value: "1000-a" });
    }

    #[test]
    fn an_escaped_semicolon_is_no_comment() {
        assert_eq!(
            only(r#"callerid="a\; b \\" <1> ; x"#),
            Line::Setting { key: "callerid", value: r#""a\; b \\" <1>"# }
        );
        assert_eq!(only(r"k=a\\;b ;c"), Line::Setting { key: "k", value: r"a\\;b" });
    }

    #[test]
    fn what_asterisk_would_drop_or_obey_unseen_is_an_error() {
        for bad in [
            "[",
            "[]",
            "[a",
            "[a](b",
            "[a] b",
            "[a] (!)",
            "no equals sign",
            "#include x.conf",
            "=x",
            "a+=b",
            "a=\0",
            "a=b\rc=d",
            ";-- a comment",
            "a=b ;-- and more --; [c]",
            "a=b --;",
        ] {
            assert_eq!(lines(bad).next(), Some(Err(Unreadable { line: 1, reason: Reason::NotALine })), "{bad:?}");
        }
        for good in ["a=b\r\n", "a=b ;--- not that kind", "a=b ; nor ;-- that"] {
            assert_eq!(only(good), Line::Setting { key: "a", value: "b" });
        }
    }

    #[test]
    fn a_line_that_asterisk_skips_for_its_length_is_an_error() {
        let line = |length: usize| format!("a={}", "b".repeat(length - 2));
        assert!(lines(&line(8190)).next().unwrap().is_ok());
        assert!(lines(&line(8191)).next().unwrap().is_err());
    }

    #[test]
    fn lines_are_counted_with_those_that_say_nothing() {
        let at: Vec<_> = lines("\n; c\n\na=b\n \nc=d").map(|line| line.unwrap().0).collect();
        assert_eq!(at, [4, 6]);
    }
}
