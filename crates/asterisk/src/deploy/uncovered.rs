//! What a proof does not cover: the settings that no listing shows.

use std::collections::BTreeSet;
use std::fmt;

use crate::deploy::deployment::{Deployment, Known};
use crate::deploy::transaction::Deployed;
use crate::text::config_text::Unreadable;
use crate::text::digest_names::{File, REFERENCES, digits};
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
    NamedDigest,
    /// By the object's own name, where that is a digest.
    OwnDigest,
    /// So, or by asking for the object, where a deployment is strict.
    OwnDigestOrAsked,
    /// By asking for the object.
    Asked,
}

/// All kinds of objects that a file may define.
const PROOFS: [Proof; 5] = [
    Proof {
        kind: "endpoint",
        listed: &["type", "auth", "outbound_auth", "aors"],
        others: Others::NamedDigest,
        needed: None,
    },
    Proof { kind: "auth", listed: &["type"], others: Others::OwnDigest, needed: Some("username") },
    Proof { kind: "aor", listed: &["type"], others: Others::OwnDigestOrAsked, needed: None },
    Proof { kind: "identify", listed: &["type", "endpoint"], others: Others::OwnDigest, needed: Some("match") },
    Proof { kind: "registration", listed: &["type"], others: Others::Asked, needed: None },
];

/// What the author vouches for, and how strict a deployment is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Trust {
    /// Names of the form of a digest are digests, though not ours.
    pub(crate) digests: bool,
    /// What can be asked for is, and what cannot be proven is refused.
    pub(crate) is_strict: bool,
}

/// What was deployed, how, and over what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProvenText {
    /// Without the dialplan, which is proven as a whole.
    pub(crate) endpoints: Pair,
    pub(crate) former: Pair,
    pub(crate) trust: Trust,
}

impl Deployed {
    /// The options that the proof does not cover, by object: Asterisk may run former values of them, as it does when it
    /// did not like a new one. None after a deployment that is [strict](Deployment::strict).
    ///
    /// Computed when it is asked for, from the text of the files alone.
    #[must_use]
    pub fn uncovered(&self) -> Vec<Uncovered> {
        let ProvenText { endpoints, former, trust } = &self.proven;
        of_pair(endpoints, former, *trust).unwrap_or_default()
    }
}

impl Deployment {
    /// Refuses a pair that cannot be proven whole ([`Cause::Uncovered`](crate::Cause::Uncovered)) before anything is touched, and asks Asterisk
    /// for each aor: one more question for each.
    #[must_use]
    pub fn strict(mut self) -> Self {
        self.trust.is_strict = true;
        // Read otherwise.
        self.known = Known::default();
        self
    }

    /// The author of the files vouches that a name of the form `…-<12 hexadecimal digits>` is a digest of all settings of
    /// the object and of the endpoint that names it, as the auths of `pbx-confgen` are. Those of
    /// [`name_by_digest`](crate::name_by_digest) need nobody to vouch for them.
    ///
    /// Such a name is no digest where a pair changes the object, or the endpoint, and not the name: their options are uncovered
    /// then.
    #[must_use]
    pub fn vouching_for_digests(mut self) -> Self {
        self.trust.digests = true;
        self
    }
}

/// The options of a pair that no proof covers: see [`uncovered`].
pub(crate) fn of_pair(pair: &Pair, former: &Pair, trust: Trust) -> Result<Vec<Uncovered>, UnreadablePair> {
    let former = std::str::from_utf8(&former.endpoints).unwrap_or_default();
    read_file("endpoints", &pair.endpoints, |text| uncovered(text, former, trust))
}

/// The options of an endpoints file that no proof covers: without an option that it needs, Asterisk refuses an object and
/// keeps the `former` one, with that option. A name is no digest, whoever vouches for it, where the object or an endpoint
/// that names it says something else than in `former` under the same name.
fn uncovered(text: &str, former: &str, trust: Trust) -> Result<Vec<Uncovered>, Unreadable> {
    let former = sections(former).unwrap_or_default();
    let sections = sections(text)?;
    let file = File::new(&sections);
    let was = |section: &Section<'_>| {
        let (kind, name) = (section.kind(), section.name);
        former.iter().find(move |of| (of.kind(), of.name) == (kind, name))
    };
    let is_other = |section: &Section<'_>| was(section).is_some_and(|of| of.settings != section.settings);
    let named_by_others: BTreeSet<&str> = sections
        .iter()
        .filter(|section| section.kind() == "endpoint" && is_other(section))
        .flat_map(|endpoint| names(endpoint))
        .collect();
    let may_be_digest = |section: &Section<'_>| {
        digits(section.name).is_some()
            && !is_other(section)
            && !(named_by_others.contains(section.name) && was(section).is_some())
    };
    let is_digest = |section: &Section<'_>| trust.digests && may_be_digest(section) || file.is_named_by_digest(section);
    let digests: BTreeSet<&str> = sections
        .iter()
        .filter(|section| matches!(section.kind(), "auth" | "aor") && is_digest(section))
        .map(|section| section.name)
        .collect();
    let is_proven = |section: &Section<'_>, others: &Others| match others {
        Others::NamedDigest => names(section).any(|name| digests.contains(name)),
        Others::OwnDigest => is_digest(section),
        Others::OwnDigestOrAsked => trust.is_strict || is_digest(section),
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

/// The auths and aors that an endpoint names.
fn names<'a>(endpoint: &Section<'a>) -> impl Iterator<Item = &'a str> {
    REFERENCES.iter().flat_map(|(key, _)| endpoint.names(key))
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;
    use crate::text::digest_names::name_by_digest;

    fn report(text: &str, trust: Trust, former: &str) -> String {
        uncovered(text, former, trust).unwrap().iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    }

    const TRUNK: &str = "[t](!)\ntype=endpoint\nallow=alaw\n[carrier](t)\ncontext=c\nallow=ulaw\naors=carrier\n\
        outbound_auth=us\n[us]\ntype=auth\nusername=1\n[carrier]\ntype=aor\ncontact=sip:a\n[carrier]\ntype=identify\n\
        endpoint=carrier\nmatch=192.0.2.1\n[carrier]\ntype=registration\nclient_uri=sip:1@a\n";
    const STRICT: Trust = Trust { digests: false, is_strict: true };
    const VOUCHED: Trust = Trust { digests: true, is_strict: false };

    #[test]
    fn what_no_listing_shows_is_named_by_object_and_option() {
        let identify = "identify carrier (match)";
        let all = format!("endpoint carrier (allow, context); auth us (username); aor carrier (contact); {identify}");
        assert_eq!(report(TRUNK, Trust::default(), ""), all);
        assert_eq!(report(TRUNK, STRICT, ""), all.replace(" aor carrier (contact);", ""));
    }

    #[test]
    fn names_that_are_digests_prove_the_rest() {
        let named = name_by_digest(TRUNK).unwrap();
        assert_eq!(report(&named, Trust::default(), ""), "");
        // The settings of the endpoint are other ones now, and so would be the digests of what it names.
        let other = report(&named.replace("context=c", "context=d"), Trust::default(), "");
        assert!(other.starts_with("endpoint carrier (allow, context); auth us-"), "{other}");
    }

    #[test]
    fn the_digests_of_others_count_where_their_author_vouches_for_them_and_nothing_contradicts_it() {
        let users = "[1000]\ntype=endpoint\ncontext=c\nauth=1000-0123456789ab\naors=1000\n[1000-0123456789ab]\n\
            type=auth\nusername=1000\n[1000]\ntype=aor\nmax_contacts=5\n";
        assert_eq!(report(users, VOUCHED, ""), "aor 1000 (max_contacts)");
        let all = "endpoint 1000 (context); auth 1000-0123456789ab (username); aor 1000 (max_contacts)";
        assert_eq!(report(users, Trust::default(), ""), all);
        assert_eq!(report(users, VOUCHED, users), "aor 1000 (max_contacts)");
        assert_eq!(report(users, VOUCHED, &users.replace("context=c", "context=d")), all);
        assert_eq!(report(users, VOUCHED, &users.replace("username=1000", "username=1001")), all);
        // The auth is new, and its name may well be the digest of what its endpoint says now.
        let former = users.replace("1000-0123456789ab", "1000-ab0123456789").replace("context=c", "context=d");
        assert_eq!(report(users, VOUCHED, &former), "aor 1000 (max_contacts)");
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
                Others::NamedDigest => "proven where the name of an auth or aor that it names is a digest".to_owned(),
                Others::OwnDigest => "proven where its name is a digest".to_owned(),
                Others::OwnDigestOrAsked => {
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
