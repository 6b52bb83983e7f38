use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use crate::{
    config_text::{Reason, Unreadable},
    dialplan_file,
    pair::Pair,
    pjsip_file::{self, Objects},
};

/// What must be live once Asterisk has taken a [`Pair`] of include files.
///
/// It is read from the text of the files, by other code than what wrote them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expected {
    /// The endpoints by name.
    pub endpoints: BTreeMap<String, Endpoint>,
    /// The aors that no endpoint names, such as the one that marks the generation of the file.
    /// (An aor that an endpoint names is proven by the endpoint's listing.)
    pub markers: BTreeSet<String>,
    /// The dialplan's contexts by name.
    pub contexts: BTreeMap<String, Context>,
    /// What each auth asks of a phone, by the auth's name.
    credentials: BTreeMap<String, Credential>,
}

/// The settings of an auth that a phone must know. They are secret: `Debug` shows nothing.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Credential(pub(crate) String);

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential(…)")
    }
}

/// An endpoint with what it names. Where the name of an auth holds a digest of all settings,
/// a live endpoint with that auth is the endpoint as it was written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// The auths for requests from it.
    pub auths: BTreeSet<String>,
    /// Its aors.
    pub aors: BTreeSet<String>,
}

/// A context: its extensions, each with its steps in order.
pub type Context = BTreeMap<String, Vec<Step>>;

/// One line of an extension.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
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

impl Expected {
    /// What must be live of no files at all.
    pub const NOTHING: Self = Self {
        endpoints: BTreeMap::new(),
        markers: BTreeSet::new(),
        contexts: BTreeMap::new(),
        credentials: BTreeMap::new(),
    };

    /// Reads what must be live from both files.
    ///
    /// # Errors
    ///
    /// [`UnreadablePair`] where a file holds what cannot be proven, or what Asterisk might read
    /// otherwise than we do.
    pub fn read(pair: &Pair) -> Result<Self, UnreadablePair> {
        let Objects { endpoints, markers, credentials } = text(&pair.endpoints)
            .and_then(pjsip_file::read)
            .map_err(|source| UnreadablePair { file: "endpoints", source })?;
        let contexts = text(&pair.dialplan)
            .and_then(dialplan_file::read)
            .map_err(|source| UnreadablePair { file: "dialplan", source })?;
        Ok(Self { endpoints, markers, contexts, credentials })
    }

    /// The aors of endpoints that `former` had not.
    pub(crate) fn new_aors(&self, former: &Self) -> BTreeSet<String> {
        let new = self.endpoints.iter().filter(|(name, _)| !former.endpoints.contains_key(*name));
        new.flat_map(|(_, endpoint)| endpoint.aors.iter().cloned()).collect()
    }

    /// The aors of endpoints that `former` had and that are no more, or that ask for another
    /// credential now: whoever is registered there is a former owner.
    pub(crate) fn aors_of_former_owners(&self, former: &Self) -> BTreeSet<String> {
        let credentials = |of: &Self, endpoint: &Endpoint| -> Vec<Option<Credential>> {
            endpoint.auths.iter().map(|auth| of.credentials.get(auth).cloned()).collect()
        };
        former
            .endpoints
            .iter()
            .filter(|(name, before)| {
                self.endpoints.get(*name).is_none_or(|now| credentials(self, now) != credentials(former, before))
            })
            .flat_map(|(_, before)| before.aors.iter().cloned())
            .collect()
    }

    /// What this changes against `former`.
    #[must_use]
    pub fn difference(&self, former: &Self) -> Difference {
        let mut difference = Difference::default();
        for (name, endpoint) in &self.endpoints {
            match former.endpoints.get(name) {
                None => difference.added.push(name.clone()),
                Some(before) if before != endpoint => difference.changed.push(name.clone()),
                Some(_) => {}
            }
        }
        difference.removed =
            former.endpoints.keys().filter(|name| !self.endpoints.contains_key(*name)).cloned().collect();
        difference
    }
}

/// The names of endpoints that one pair changes against another. Each list ascends.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Difference {
    /// Endpoints that were not.
    pub added: Vec<String>,
    /// Endpoints that are no more.
    pub removed: Vec<String>,
    /// Endpoints with other auths or aors: where the name of an auth is a digest of all settings,
    /// endpoints with any other setting.
    pub changed: Vec<String>,
}

/// A pair of include files of which it cannot be said what must be live.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the {file} file cannot be proven: {source}")]
pub struct UnreadablePair {
    /// `endpoints` or `dialplan`.
    pub file: &'static str,
    /// Where and why.
    pub source: Unreadable,
}

fn text(bytes: &[u8]) -> Result<&str, Unreadable> {
    std::str::from_utf8(bytes).map_err(|_| Unreadable { line: 0, reason: Reason::NotUtf8 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_tells_new_old_and_other_endpoints() {
        let read = |text: &str| Expected::read(&Pair { endpoints: text.into(), dialplan: Vec::new() }).unwrap();
        let former = read("[1]\ntype=endpoint\nauth=a\n[2]\ntype=endpoint\n[3]\ntype=endpoint\n");
        let now = read("[1]\ntype=endpoint\nauth=b\n[3]\ntype=endpoint\n[4]\ntype=endpoint\n");
        let Difference { added, removed, changed } = now.difference(&former);
        assert_eq!((added, removed, changed), (vec!["4".to_owned()], vec!["2".to_owned()], vec!["1".to_owned()]));
    }

    #[test]
    fn another_credential_makes_a_former_owner_and_another_name_of_the_auth_does_not() {
        let read = |text: &str| Expected::read(&Pair { endpoints: text.into(), dialplan: Vec::new() }).unwrap();
        let user = |number: u16, auth: &str, digest: &str| {
            format!(
                "[{number}]\ntype=endpoint\nauth={auth}\naors=aor-{number}\n[{auth}]\ntype=auth\npassword_digest=MD5:{digest}\n"
            )
        };
        let former = read(&(user(1, "1-a", "x") + &user(2, "2-a", "x") + &user(3, "3-a", "x")));
        let now = read(&(user(1, "1-b", "x") + &user(2, "2-b", "y") + &user(4, "4-a", "x")));
        let aors: Vec<_> = now.aors_of_former_owners(&former).into_iter().collect();
        assert_eq!(aors, ["aor-2", "aor-3"]);
        let shown = format!("{former:?}");
        assert!(!shown.contains("MD5") && shown.contains("Credential(…)"), "{shown}");
        assert_eq!(now.new_aors(&former).into_iter().collect::<Vec<_>>(), ["aor-4"]);
    }

    #[test]
    fn the_error_names_the_file() {
        let pair = Pair { endpoints: b"x".to_vec(), dialplan: Vec::new() };
        assert!(
            Expected::read(&pair).unwrap_err().to_string().starts_with("the endpoints file cannot be proven: line 1")
        );
        let pair = Pair { endpoints: Vec::new(), dialplan: vec![0xff] };
        assert!(Expected::read(&pair).unwrap_err().to_string().starts_with("the dialplan file cannot be proven"));
    }
}
