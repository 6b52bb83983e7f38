//! Names that are digests: an object that is live under such a name is live with exactly these settings.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use crate::text::config_text::Unreadable;
use crate::text::expected::{UnreadablePair, read_file};
use crate::text::sections::{Section, sections};

/// How many hexadecimal digits of a SHA-256 end such a name, behind a `-`.
const DIGITS: usize = 12;

/// What names an object in another's options, and the kind of what it names.
pub(crate) const REFERENCES: [(&str, &str); 3] = [("auth", "auth"), ("outbound_auth", "auth"), ("aors", "aor")];

/// Gives the auths, identifies and aors of a file names that are digests, so that a deployment proves all their settings
/// and those of the endpoints that name them: `carrier` becomes `carrier-<12 hexadecimal digits>`, and the options that
/// name it change along.
///
/// Asterisk keeps a former object under the same name when it does not like a new setting, and no listing shows most
/// settings. Under a new name there is no former one: the object is live as it is written, or missing.
///
/// An aor without a `contact` keeps its name, as phones register by it; so does whatever the dialplan or another file
/// may name: endpoints and registrations. It may be applied again: a digest replaces the former one. Nothing but those
/// names changes, comments included.
///
/// ```
/// let text = "[carrier]\ntype=endpoint\ncontext=from-carrier\noutbound_auth=us\n[us]\ntype=auth\nusername=49301\n";
/// let named = pbx_asterisk::name_by_digest(text)?;
/// assert!(named.contains("\noutbound_auth=us-") && named.contains("\n[us-"));
/// assert_eq!(pbx_asterisk::name_by_digest(&named)?, named);
/// assert_ne!(pbx_asterisk::name_by_digest(&text.replace("from-carrier", "internal"))?, named);
/// # Ok::<(), pbx_asterisk::UnreadablePair>(())
/// ```
///
/// # Errors
///
/// [`UnreadablePair`] where Asterisk might read the text otherwise than we do.
pub fn name_by_digest(endpoints: &str) -> Result<String, UnreadablePair> {
    read_file("endpoints", endpoints.as_bytes(), named)
}

fn named(text: &str) -> Result<String, Unreadable> {
    let sections = sections(text)?;
    let file = File::new(&sections);
    let mut names: BTreeMap<(&str, &str), String> = BTreeMap::new();
    let mut headers: BTreeMap<usize, String> = BTreeMap::new();
    for section in sections.iter().filter(|section| may_be_renamed(section)) {
        let name = format!("{}-{}", base(section.name), file.digest(section));
        headers.insert(section.line, name.clone());
        names.insert((section.kind(), section.name), name);
    }
    let mut result = String::with_capacity(text.len() * 2);
    for (number, line) in (1..).zip(text.split_inclusive('\n')) {
        if let Some(name) = headers.get(&number) {
            let (before, after) = line.split_once(']').unwrap_or((line, ""));
            let indent = before.split('[').next().unwrap_or_default();
            _ = write!(result, "{indent}[{name}]{after}");
            continue;
        }
        let reference = line.split_once('=').and_then(|(key, value)| {
            let kind = REFERENCES.iter().find(|(of, _)| of.eq_ignore_ascii_case(key.trim()))?.1;
            Some((key, kind, value))
        });
        let Some((key, kind, value)) = reference else {
            result.push_str(line);
            continue;
        };
        // A value ends where a comment begins, and is a list.
        let (value, comment) = value.split_at(value.find(';').unwrap_or(value.len()));
        let renamed = value.split(',').map(|part| {
            let name = part.trim_start_matches('>').trim();
            names.get(&(kind, name)).map_or_else(|| part.to_owned(), |new| part.replacen(name, new, 1))
        });
        _ = write!(result, "{key}={}{comment}", renamed.collect::<Vec<_>>().join(","));
    }
    Ok(result)
}

/// The objects of a file, and which endpoints name which.
pub(crate) struct File<'a> {
    sections: &'a [Section<'a>],
    named_by: BTreeMap<(&'a str, &'a str), BTreeSet<usize>>,
}

impl<'a> File<'a> {
    pub(crate) fn new(sections: &'a [Section<'a>]) -> Self {
        let mut named_by = BTreeMap::<_, BTreeSet<usize>>::new();
        let endpoints = sections.iter().enumerate().filter(|(_, section)| section.kind() == "endpoint");
        for (at, endpoint) in endpoints {
            for (key, kind) in REFERENCES {
                for name in endpoint.names(key) {
                    named_by.entry((kind, name)).or_default().insert(at);
                }
            }
        }
        Self { sections, named_by }
    }

    /// Whether the name of this object is the digest of its settings.
    pub(crate) fn is_named_by_digest(&self, section: &Section<'_>) -> bool {
        digits(section.name).is_some_and(|digits| digits == self.digest(section))
    }

    /// A digest of the settings of an object and of all endpoints that name it.
    fn digest(&self, section: &Section<'_>) -> String {
        let mut text = format!("{} {}\n", section.kind(), base(section.name));
        describe(section, &mut text);
        for at in self.named_by.get(&(section.kind(), section.name)).into_iter().flatten() {
            if let Some(endpoint) = self.sections.get(*at) {
                _ = writeln!(text, "endpoint {}", endpoint.name);
                describe(endpoint, &mut text);
            }
        }
        let mut digest = base16ct::lower::encode_string(&Sha256::digest(text));
        digest.truncate(DIGITS);
        digest
    }
}

/// Whether nobody but this file names it: a phone registers by the name of an aor.
fn may_be_renamed(section: &Section<'_>) -> bool {
    match section.kind() {
        "auth" | "identify" => true,
        "aor" => section.names("contact").next().is_some(),
        _ => false,
    }
}

/// Its settings, in which names have no digests.
fn describe(section: &Section<'_>, text: &mut String) {
    for (key, value) in &section.settings {
        let key = key.to_ascii_lowercase();
        if REFERENCES.iter().any(|(of, _)| *of == key) {
            let names: Vec<_> = value.split(',').map(|name| base(name.trim())).collect();
            _ = writeln!(text, "{key}={}", names.join(","));
        } else {
            _ = writeln!(text, "{key}={value}");
        }
    }
}

/// The digits that end a name of this form.
fn digits(name: &str) -> Option<&str> {
    let (_, digits) = name.rsplit_once('-')?;
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    (digits.len() == DIGITS && digits.bytes().all(is_digit)).then_some(digits)
}

/// The name without them.
fn base(name: &str) -> &str {
    if digits(name).is_some() { &name[..name.len() - DIGITS - 1] } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRUNK: &str = "[t](!)\ntype=endpoint\nallow=!all,alaw\n; carrier\n[carrier](t) ; ours\ncontext = from-carrier\n\
        aors = carrier , spare; two\nOutbound_Auth => us\n[us]\ntype=auth\nusername=1\n[carrier]\ntype=aor\n\
        contact=sip:192.0.2.1\n[spare]\ntype=aor\nmax_contacts=1\n[carrier]\ntype=identify\nendpoint=carrier\n\
        match=192.0.2.1\n[carrier]\ntype=registration\noutbound_auth=us\n";

    fn names(text: &str) -> Vec<String> {
        sections(text).unwrap().iter().map(|section| format!("{} {}", section.kind(), section.name)).collect()
    }

    #[test]
    fn every_name_that_is_ours_to_choose_is_a_digest() {
        let named = named(TRUNK).unwrap();
        let sections = sections(&named).unwrap();
        let file = File::new(&sections);
        let proven: Vec<_> = sections.iter().filter(|section| file.is_named_by_digest(section)).collect();
        assert_eq!(proven.iter().map(|section| base(section.name)).collect::<Vec<_>>(), ["us", "carrier", "carrier"]);
        let plain = names(TRUNK);
        let kept: Vec<_> = names(&named).into_iter().filter(|name| plain.contains(name)).collect();
        assert_eq!(kept, ["endpoint carrier", "aor spare", "registration carrier"]);
        let [us, aor] = [0, 1].map(|at| proven[at].name);
        assert!(named.contains(&format!("\nOutbound_Auth => {us}\n[{us}]\n")), "{named}");
        assert!(named.contains(&format!("\noutbound_auth={us}\n")), "{named}");
        assert!(named.contains(&format!("\naors = {aor} , spare; two\n")), "{named}");
        assert!(named.contains("\n; carrier\n[carrier](t) ; ours\n"), "{named}");
    }

    #[test]
    fn a_digest_has_its_digits_and_nothing_else() {
        assert_eq!(digits("a-b-0123456789ab"), Some("0123456789ab"));
        for other in ["0123456789ab", "a-0123456789a", "a-0123456789abc", "a-0123456789aB", "a-0123456789ag"] {
            assert_eq!(digits(other), None, "{other}");
        }
    }

    /// The digests of an endpoint say what it names without theirs, or none could be found.
    #[test]
    fn what_names_an_object_is_described_without_its_digest() {
        let described = |text: &str| {
            let mut said = String::new();
            describe(&sections(text).unwrap()[0], &mut said);
            said
        };
        let named = "[a]\ntype=endpoint\naors = x-0123456789ab , y\ncontext=c-0123456789ab\n";
        assert_eq!(described(named), "type=endpoint\naors=x,y\ncontext=c-0123456789ab\n");
    }

    #[test]
    fn any_other_setting_gives_another_name_and_the_same_ones_the_same() {
        let once = named(TRUNK).unwrap();
        assert_eq!(named(&once).unwrap(), once);
        // What names an object, and what the object itself says.
        for (from, to, changed) in [
            ("alaw", "ulaw", ["auth us", "aor carrier"].as_slice()),
            ("from-carrier", "internal", &["auth us", "aor carrier"]),
            ("username=1", "username=2", &["auth us"]),
            ("contact=sip", "contact=sips", &["aor carrier"]),
            ("match=192", "match=193", &["identify carrier"]),
            ("max_contacts=1", "max_contacts=2", &[]),
        ] {
            let other = names(&named(&TRUNK.replace(from, to)).unwrap());
            let gone = names(&once).into_iter().filter(|name| !other.contains(name));
            assert_eq!(gone.map(|name| base(&name).to_owned()).collect::<Vec<_>>(), changed, "{to}");
        }
        // A digest of other settings is none.
        let stale = once.replace("from-carrier", "internal");
        let sections = sections(&stale).unwrap();
        let file = File::new(&sections);
        let still: Vec<_> = sections.iter().filter(|section| file.is_named_by_digest(section)).collect();
        assert_eq!(still.iter().map(|section| section.kind()).collect::<Vec<_>>(), ["identify"]);
    }
}
