//! What a proof does not cover: the settings that no listing shows.

use std::collections::BTreeSet;
use std::fmt;

use crate::deploy::deployment::{Deployment, LastRead};
use crate::deploy::error::Cause;
use crate::deploy::transaction::Deployed;
use crate::text::config_text::Unreadable;
use crate::text::digest_names::{File, REFERENCES};
use crate::text::expected::{UnreadablePair, read_file};
use crate::text::pair::Pair;
use crate::text::sections::{Section, sections};

/// The options of one object that no proof covers: Asterisk may have kept former values of them.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Uncovered {
    /// The object with its kind: `endpoint carrier`.
    pub object: String,
    /// The options, in the order of the file; then those that the former file gave this object and this one does not.
    pub options: Vec<String>,
}

impl fmt::Display for Uncovered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.object, self.options.join(", "))
    }
}

/// How the options of a kind of object are proven.
struct Proof {
    kind: &'static str,
    /// The options that a listing of all objects shows.
    listed: &'static [&'static str],
    others: Others,
    /// An object without this option is refused, and Asterisk keeps the one of an earlier deployment.
    needed: Option<&'static str>,
}

/// How those are proven that no listing of all objects shows.
#[derive(PartialEq)]
enum Others {
    /// By the name of what the endpoint names, where that is a digest.
    ReferenceDigest,
    /// By the object's own name, where that is a digest.
    NameDigest,
    /// So, or by asking for the object, where a deployment is strict.
    NameDigestOrAsked,
    /// By asking for the object.
    Asked,
}

/// All kinds of objects that a file may define.
const PROOFS: [Proof; 5] = [
    Proof {
        kind: "endpoint",
        listed: &["type", "auth", "outbound_auth", "aors"],
        others: Others::ReferenceDigest,
        needed: None,
    },
    Proof { kind: "auth", listed: &["type"], others: Others::NameDigest, needed: Some("username") },
    Proof { kind: "aor", listed: &["type"], others: Others::NameDigestOrAsked, needed: None },
    Proof { kind: "identify", listed: &["type", "endpoint"], others: Others::NameDigest, needed: Some("match") },
    Proof { kind: "registration", listed: &["type"], others: Others::Asked, needed: None },
];

/// What is deployed, how, and over what. Pairs, as these show no credentials; the dialplan is proven as a whole, and left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProvenText {
    pub(crate) endpoints: Pair,
    pub(crate) former: Pair,
    /// What can be asked for is, and what no proof covers is refused.
    pub(crate) is_strict: bool,
}

impl ProvenText {
    fn uncovered(&self) -> Result<Vec<Uncovered>, UnreadablePair> {
        let former = str::from_utf8(&self.former.endpoints).unwrap_or_default();
        read_file("endpoints", &self.endpoints.endpoints, |text| uncovered(text, former, self.is_strict))
    }

    pub(crate) fn refuse_if_strict(&self) -> Result<(), Cause> {
        let uncovered = if self.is_strict { self.uncovered()? } else { Vec::new() };
        if uncovered.is_empty() { Ok(()) } else { Err(Cause::Uncovered(uncovered)) }
    }
}

impl Deployed {
    /// The options that the proof does not cover, by object: Asterisk may run former values of them, as it does when it
    /// did not like a new one. None after a deployment that is [strict](Deployment::strict).
    ///
    /// Computed when it is asked for, from the text of the files alone.
    #[must_use]
    pub fn uncovered(&self) -> Vec<Uncovered> {
        self.proven.uncovered().unwrap_or_default()
    }
}

impl Deployment {
    /// Refuses a pair that cannot be proven whole ([`Cause::Uncovered`](crate::Cause::Uncovered)) before anything is touched, and asks Asterisk
    /// for each aor: one more question for each.
    #[must_use]
    pub fn strict(mut self) -> Self {
        self.is_strict = true;
        // Read otherwise.
        self.last_read = LastRead::default();
        self
    }
}

/// The options of an endpoints file that no proof covers: without an option that it needs, Asterisk refuses an object and
/// keeps the `former` one, with that option.
fn uncovered(text: &str, former: &str, is_strict: bool) -> Result<Vec<Uncovered>, Unreadable> {
    let former = sections(former).unwrap_or_default();
    let sections = sections(text)?;
    let file = File::new(&sections);
    let was = |section: &Section<'_>| {
        let (kind, name) = (section.kind(), section.name);
        former.iter().find(move |of| (of.kind(), of.name) == (kind, name))
    };
    let digests: BTreeSet<&str> = sections
        .iter()
        .filter(|section| matches!(section.kind(), "auth" | "aor") && file.is_named_by_digest(section))
        .map(|section| section.name)
        .collect();
    let is_proven = |section: &Section<'_>, others: &Others| match others {
        Others::ReferenceDigest => {
            let mut named = REFERENCES.iter().flat_map(|(key, _)| section.names(key));
            named.any(|name| digests.contains(name))
        }
        Others::NameDigest => file.is_named_by_digest(section),
        Others::NameDigestOrAsked => is_strict || file.is_named_by_digest(section),
        Others::Asked => true,
    };
    let mut uncovered = Vec::new();
    for section in &sections {
        let Some(Proof { kind, listed, others, needed }) = PROOFS.iter().find(|proof| proof.kind == section.kind())
        else {
            continue;
        };
        if is_proven(section, others) {
            continue;
        }
        let mut options: Vec<String> = Vec::new();
        for (key, _) in section.settings.iter().chain(was(section).into_iter().flat_map(|of| &of.settings)) {
            let key = key.to_ascii_lowercase();
            if !listed.contains(&key.as_str()) && !options.contains(&key) {
                options.push(key);
            }
        }
        if options.is_empty() {
            options.extend(needed.map(str::to_owned));
        }
        if !options.is_empty() {
            uncovered.push(Uncovered { object: format!("{kind} {}", section.name), options });
        }
    }
    Ok(uncovered)
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;
    use crate::text::digest_names::name_by_digest;

    fn report(text: &str, is_strict: bool) -> String {
        uncovered(text, "", is_strict).unwrap().iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    }

    const TRUNK: &str = "[t](!)\ntype=endpoint\nallow=alaw\n[carrier](t)\ncontext=c\nallow=ulaw\naors=carrier\n\
        outbound_auth=us\n[us]\ntype=auth\nusername=1\n[carrier]\ntype=aor\ncontact=sip:a\n[carrier]\ntype=identify\n\
        endpoint=carrier\nmatch=192.0.2.1\n[carrier]\ntype=registration\nclient_uri=sip:1@a\n";

    #[test]
    fn what_no_listing_shows_is_named_by_object_and_option() {
        let identify = "identify carrier (match)";
        let all = format!("endpoint carrier (allow, context); auth us (username); aor carrier (contact); {identify}");
        assert_eq!(report(TRUNK, false), all);
        assert_eq!(report(TRUNK, true), all.replace(" aor carrier (contact);", ""));
    }

    #[test]
    fn names_that_are_digests_prove_the_rest() {
        let named = name_by_digest(TRUNK).unwrap();
        assert_eq!(report(&named, false), "");
        // The settings of the endpoint are other ones now, and so would be the digests of what it names.
        let other = report(&named.replace("context=c", "context=d"), false);
        assert!(other.starts_with("endpoint carrier (allow, context); auth us-"), "{other}");
    }

    /// The table of the crate's page, which `UPDATE_GOLDEN=1` writes.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test rewrites its fixture")]
    fn the_table_of_the_crates_page_says_how_each_option_is_proven() {
        let mut table =
            "| object | options that a listing proves | all its other options |\n|---|---|---|\n".to_owned();
        for Proof { kind, listed, others, .. } in &PROOFS {
            let listed: Vec<_> = listed.iter().map(|option| format!("`{option}`")).collect();
            let others = match others {
                Others::ReferenceDigest => {
                    "proven where the name of an auth or aor that it names is a digest".to_owned()
                }
                Others::NameDigest => "proven where its name is a digest".to_owned(),
                Others::NameDigestOrAsked => {
                    format!("proven where its name is a digest; if strict, by `pjsip show {kind} NAME` otherwise")
                }
                Others::Asked => format!("each proven by `pjsip show {kind} NAME`"),
            };
            _ = writeln!(table, "| {kind} | {} | {others} |", listed.join(", "));
        }
        table += "| context | all of its lines | |\n";
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/proofs.md");
        if std::env::var("UPDATE_GOLDEN").as_deref() == Ok("1") {
            std::fs::write(path, &table).unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap_or_default(), table, "UPDATE_GOLDEN=1 writes it");
    }
}
