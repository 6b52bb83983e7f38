use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::text::config_text::{Reason, Unreadable};
use crate::text::exten::dialled;
use crate::text::pair::Pair;
use crate::text::shown::Options;
use crate::text::{dialplan_file, pjsip_file};

/// What must be live once Asterisk has taken a [`Pair`] of include files.
///
/// It is read from the text of the files, by other code than what wrote them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expected {
    pub(crate) endpoints: BTreeMap<String, Endpoint>,
    pub(crate) standalone: Standalone,
    pub(crate) contexts: BTreeMap<String, Extens>,
    /// What each auth asks of a phone, as a hash, by the auth's name.
    pub(crate) credentials: BTreeMap<String, u64>,
    /// What the file says of each object that stands alone, as a hash.
    pub(crate) fingerprints: BTreeMap<(Kind, String), u64>,
    /// What Asterisk must show of an object that it is asked for by name.
    pub(crate) shown: BTreeMap<(Kind, String), Options>,
}

/// Objects that no endpoint names, such as the aor that marks the generation of a file: each is proven by a listing of
/// its kind, the others by their endpoint's.
pub(crate) type Standalone = BTreeSet<(Kind, String)>;

/// The kinds of objects that can exist without an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    Aor,
    Auth,
    Registration,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Aor, Self::Auth, Self::Registration];

    /// The word of `type=…`; with an `s`, that of `pjsip list …`.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Aor => "aor",
            Self::Auth => "auth",
            Self::Registration => "registration",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// An endpoint with what it names. Where the name of an auth holds a digest of all settings,
/// a live endpoint with that auth is the endpoint as it was written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// The auths for requests from it.
    pub(crate) auths: BTreeSet<String>,
    /// The auths for requests to it.
    pub(crate) outbound_auths: BTreeSet<String>,
    pub(crate) aors: BTreeSet<String>,
    /// The identifies that take requests for its own.
    pub(crate) identifies: BTreeSet<String>,
    /// What the file says of it and of all that it names, as a hash; nothing of a live one.
    pub(crate) said: u64,
}

impl Endpoint {
    /// The auths and aors that it names.
    pub(crate) fn named(&self) -> impl Iterator<Item = (Kind, &str)> {
        let Self { auths, outbound_auths, aors, identifies: _, said: _ } = self;
        let named = [(Kind::Auth, auths), (Kind::Auth, outbound_auths), (Kind::Aor, aors)];
        named.into_iter().flat_map(|(kind, names)| names.iter().map(move |name| (kind, name.as_str())))
    }

    /// Whether it is live as it was written. The administrator may identify it by more.
    pub(crate) fn is_in(&self, live: &Self) -> bool {
        let Self { auths, outbound_auths, aors, identifies, said: _ } = self;
        (auths, outbound_auths, aors) == (&live.auths, &live.outbound_auths, &live.aors)
            && identifies.is_subset(&live.identifies)
    }
}

/// A context: its extensions, each with its steps in order; and what else it has (`include => other`), without any.
pub(crate) type Extens = BTreeMap<String, Vec<Step>>;

/// What a context may have besides extensions.
pub(crate) const BESIDES: [&str; 3] = ["include", "ignorepat", "switch"];

/// One line of an extension.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    /// The devices that the extension's hint watches.
    Hint(String),
    /// An application at a priority.
    Priority {
        /// The priority, from 1.
        number: u32,
        /// The label, where it has one.
        label: Option<String>,
        /// The application with its arguments: `Dial(PJSIP/1000,30)`.
        application: String,
    },
}

impl Step {
    /// Of an extension, Asterisk takes one step at each: its priority, and 0 for a hint.
    pub(crate) fn place(&self) -> u32 {
        match self {
            Self::Hint(_) => 0,
            Self::Priority { number, .. } => *number,
        }
    }
}

impl Expected {
    /// Reads what must be live from both files.
    ///
    /// # Errors
    ///
    /// [`UnreadablePair`] where a file holds what cannot be proven, or what Asterisk might read
    /// otherwise than we do.
    pub fn read(pair: &Pair) -> Result<Self, UnreadablePair> {
        Self::read_for(pair, false)
    }

    /// Reads it for a deployment, of which a strict one asks for each aor too.
    pub(crate) fn read_for(pair: &Pair, is_strict: bool) -> Result<Self, UnreadablePair> {
        let endpoints = read_file("endpoints", &pair.endpoints, |text| pjsip_file::read(text, is_strict))?;
        Ok(Self { contexts: read_file("dialplan", &pair.dialplan, dialplan_file::read)?, ..endpoints })
    }

    /// As much of an endpoints file as can be read: without lines that cannot, sections that begin with one, and templates
    /// of other files.
    pub(crate) fn read_in_part(endpoints: &[u8]) -> Self {
        /// Each takes a reading of its own.
        const MOST: usize = 100;
        let text = String::from_utf8_lossy(endpoints);
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        let is_header = |line: &String| line.trim_start().starts_with('[');
        for _ in 0..MOST {
            let Unreadable { line, reason } = match pjsip_file::read(&lines.join("\n"), false) {
                Ok(read) => return read,
                Err(error) => error,
            };
            let rest = &mut lines[line - 1..];
            if let Reason::UnknownTemplate(template) = reason {
                for header in rest.iter_mut().filter(|line| is_header(line)) {
                    if let Some((name, options)) = header.split_once(']') {
                        let options = options.trim_matches(['(', ')', ' ']).split(',');
                        let known: Vec<_> = options.filter(|option| *option != template).collect();
                        *header = format!("{name}]({})", known.join(","));
                    }
                }
            } else if let Some(end) = end_of_header(&rest[0]).filter(|end| *end < rest[0].len()) {
                // Asterisk does not see what stands behind it.
                rest[0].truncate(end);
            } else {
                let own = rest[1..].iter().position(is_header).unwrap_or(rest.len() - 1);
                let end = if is_header(&rest[0]) { own } else { 0 };
                rest[..=end].fill(String::new());
            }
        }
        Self::default()
    }

    /// The types and names of all objects: `aor`, `1000`.
    pub(crate) fn objects(&self) -> BTreeSet<(&str, &str)> {
        let mut all: BTreeSet<_> = self.standalone.iter().map(|(kind, name)| (kind.word(), name.as_str())).collect();
        for (name, Endpoint { auths, outbound_auths, aors, identifies, said: _ }) in &self.endpoints {
            all.insert(("endpoint", name));
            let named = [("auth", auths), ("auth", outbound_auths), ("aor", aors), ("identify", identifies)];
            all.extend(named.into_iter().flat_map(|(kind, names)| names.iter().map(move |name| (kind, name.as_str()))));
        }
        all
    }

    /// The names of the endpoints, in order.
    pub fn endpoints(&self) -> impl Iterator<Item = &str> {
        self.endpoints.keys().map(String::as_str)
    }

    /// The auth that an endpoint asks for; `None` where it asks for none, or for one of several.
    #[must_use]
    pub fn auth_of(&self, endpoint: &str) -> Option<&str> {
        let auths = &self.endpoints.get(endpoint)?.auths;
        auths.first().filter(|_| auths.len() == 1).map(String::as_str)
    }

    /// The names of the dialplan's contexts, in order.
    pub fn contexts(&self) -> impl Iterator<Item = &str> {
        self.contexts.keys().map(String::as_str)
    }

    /// The dialplan's extensions, each with its context and how many steps it has, its hint among them.
    pub fn extensions(&self) -> impl Iterator<Item = (&str, &str, usize)> {
        let extens = self.contexts.iter().flat_map(|(context, of)| of.iter().map(move |exten| (context, exten)));
        let extens = extens.filter(|(_, (_, steps))| !steps.is_empty());
        extens.map(|(context, (name, steps))| (context.as_str(), name.as_str(), steps.len()))
    }

    pub(crate) fn steps(&self, context: &str, exten: &str) -> Option<&[Step]> {
        self.contexts.get(context)?.get(exten).map(Vec::as_slice)
    }

    /// Whether a context has the number that `exten` is dialled by: another context with `1000`, or with `1000/2000` for
    /// the callers with that number, answers calls in its place. A pattern is no number.
    pub(crate) fn has_number(&self, exten: &str) -> bool {
        let number = dialled(exten.split('/').next().unwrap_or_default());
        !number.starts_with('_') && self.contexts.values().any(|extens| extens.contains_key(&number))
    }

    /// Whether an endpoint names this object, or it is there alone.
    pub(crate) fn has(&self, object: &(Kind, String)) -> bool {
        let (kind, name) = object;
        let mut named = self.endpoints.values().flat_map(Endpoint::named);
        self.standalone.contains(object) || named.any(|named| named == (*kind, name.as_str()))
    }

    /// An auth of `former` that is gone, where none is new: Asterisk reads all auths or none, and nothing else shows that it
    /// read them.
    pub(crate) fn gone_auth(&self, former: &Self) -> Option<(Kind, String)> {
        fn auths(of: &Expected) -> BTreeSet<&str> {
            let all = of.endpoints.values().flat_map(Endpoint::named).filter(|(kind, _)| *kind == Kind::Auth);
            all.map(|(_, name)| name).collect()
        }
        // As below.
        if std::ptr::eq(self, former) {
            return None;
        }
        let (now, before) = (auths(self), auths(former));
        let mut gone = before.difference(&now).map(|name| (Kind::Auth, (*name).to_owned()));
        if now.is_subset(&before) { gone.find(|auth| !self.has(auth)) } else { None }
    }

    /// Whether Asterisk's listing of endpoints shows both alike.
    pub(crate) fn looks_like(&self, former: &Self) -> bool {
        self.endpoints.len() == former.endpoints.len()
            && self.endpoints.iter().all(|(name, now)| former.endpoints.get(name).is_some_and(|was| now.is_in(was)))
    }

    /// Whether the file defines this object, which stands alone.
    pub(crate) fn defines(&self, object: &(Kind, String)) -> bool {
        self.fingerprints.contains_key(object)
    }

    /// The aors of endpoints that `former` had not.
    pub(crate) fn new_aors(&self, former: &Self) -> BTreeSet<String> {
        let new = self.endpoints.iter().filter(|(name, _)| !former.endpoints.contains_key(*name));
        new.flat_map(|(_, endpoint)| endpoint.aors.iter().cloned()).collect()
    }

    /// The aors of [`Self::former_owners`].
    pub(crate) fn aors_of_former_owners(&self, former: &Self) -> BTreeSet<String> {
        self.former_endpoints(former).flat_map(|(_, before)| before.aors.iter().cloned()).collect()
    }

    /// The aors of endpoints of `other` that let somebody in whom no endpoint of this lets in: by another credential, or by
    /// none.
    pub(crate) fn aors_of_others(&self, other: &Self) -> BTreeSet<String> {
        let ours: BTreeSet<u64> = self.credentials.values().copied().collect();
        let is_ours = |auth: &String| other.credentials.get(auth).is_some_and(|credential| ours.contains(credential));
        let is_others = |endpoint: &&Endpoint| endpoint.auths.is_empty() || !endpoint.auths.iter().all(is_ours);
        other.endpoints.values().filter(is_others).flat_map(|endpoint| endpoint.aors.iter().cloned()).collect()
    }

    /// The names of the endpoints that `former` had and that are no more, or that ask for another credential now: a phone
    /// that is registered there is a former owner.
    pub fn former_owners<'a>(&'a self, former: &'a Self) -> impl Iterator<Item = &'a str> {
        self.former_endpoints(former).map(|(name, _)| name)
    }

    fn former_endpoints<'a>(&'a self, former: &'a Self) -> impl Iterator<Item = (&'a str, &'a Endpoint)> {
        let credentials = |of: &Self, endpoint: &Endpoint| -> Vec<Option<u64>> {
            endpoint.auths.iter().map(|auth| of.credentials.get(auth).copied()).collect()
        };
        // Each apply that has nothing to do compares a pair with itself.
        let is_other = !std::ptr::eq(self, former);
        let owners = former.endpoints.iter().map(|(name, before)| (name.as_str(), before));
        owners.filter(move |(name, before)| {
            let now = self.endpoints.get(*name);
            is_other && now.is_none_or(|now| credentials(self, now) != credentials(former, before))
        })
    }

    /// What this changes against `former`.
    #[must_use]
    pub fn difference(&self, former: &Self) -> Difference {
        let mut difference = Difference::default();
        // As above.
        if std::ptr::eq(self, former) {
            return difference;
        }
        for (name, endpoint) in &self.endpoints {
            match former.endpoints.get(name) {
                None => difference.added.push(name.clone()),
                Some(before) if before != endpoint => difference.changed.push(name.clone()),
                Some(_) => {}
            }
        }
        difference.removed =
            former.endpoints.keys().filter(|name| !self.endpoints.contains_key(*name)).cloned().collect();
        let objects = other_keys(&self.fingerprints, &former.fingerprints).map(|(kind, name)| format!("{kind} {name}"));
        let contexts = other_keys(&self.contexts, &former.contexts).map(|name| format!("context {name}"));
        difference.others = objects.chain(contexts).collect();
        difference
    }
}

/// Where `[name]` or `[name](template)` ends in this line, if it is one.
fn end_of_header(line: &str) -> Option<usize> {
    let name = line.trim_start().starts_with('[').then(|| line.find(']'))?? + 1;
    let options = line[name..].starts_with('(').then(|| line[name..].find(')')).flatten();
    Some(options.map_or(name, |end| name + end + 1))
}

/// The keys that only one of the two has, or under which they hold something else; in order.
fn other_keys<'a, K: Ord, V: PartialEq>(
    now: &'a BTreeMap<K, V>,
    former: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = &'a K> {
    let other = now.iter().filter(|(key, value)| former.get(key) != Some(value)).map(|(key, _)| key);
    other.chain(former.keys().filter(|key| !now.contains_key(key))).collect::<BTreeSet<_>>().into_iter()
}

/// What one pair says otherwise than another. Every difference but one of comments is in one of these lists; each list ascends.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Difference {
    /// Endpoints that were not.
    pub added: Vec<String>,
    /// Endpoints that are no more.
    pub removed: Vec<String>,
    /// Endpoints of which the file says anything else, or of an auth, aor or identify that belongs to them.
    pub changed: Vec<String>,
    /// All else that is new, gone or other: objects that belong to no endpoint and contexts, each with its kind
    /// (`registration carrier`, `context doors`).
    pub others: Vec<String>,
}

/// A pair of include files of which it cannot be said what must be live.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the {file} file cannot be proven: {error}")]
pub struct UnreadablePair {
    file: &'static str,
    error: Unreadable,
}

/// Reads one of the two files.
pub(crate) fn read_file<'a, T>(
    file: &'static str,
    bytes: &'a [u8],
    read: impl FnOnce(&'a str) -> Result<T, Unreadable>,
) -> Result<T, UnreadablePair> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let before = &bytes[..error.valid_up_to()];
        Unreadable { line: before.split(|byte| *byte == b'\n').count(), reason: Reason::NotUtf8 }
    });
    text.and_then(read).map_err(|error| UnreadablePair { file, error })
}

#[cfg(test)]
pub(crate) mod tests;
