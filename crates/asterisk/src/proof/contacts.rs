//! The registrations of a number's former owner.
//!
//! Asterisk keeps a registered contact in its database until it expires, even if the endpoint is removed. So without
//! this, calls to the number's next owner would ring the former owner's phone.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use crate::{
    ask::{
        asking::{self, Unread},
        cli::Cli,
    },
    text::listing,
};

const FAMILY: &str = "registrar/contact";

/// How many contacts are removed side by side.
const AT_ONCE: usize = 4;

/// Registered contacts by aor, each a key and what is kept under it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Contacts(BTreeMap<String, BTreeMap<String, String>>);

impl Contacts {
    /// Those that are registered now.
    pub(crate) fn read(cli: &Cli, deadline: Instant) -> Result<Self, Unread> {
        asking::ask_one(cli, format!("database show {FAMILY}"), deadline, Self::listed)
    }

    fn listed(answer: &str) -> Result<Self, &'static str> {
        let mut contacts = Self::default();
        for (aor, key, value) in listing::contacts(answer)? {
            contacts.0.entry(aor.to_owned()).or_default().insert(key.to_owned(), value.to_owned());
        }
        Ok(contacts)
    }

    /// Those of these aors alone.
    pub(crate) fn of(mut self, aors: &BTreeSet<String>) -> Self {
        self.0.retain(|aor, _| aors.contains(aor));
        self
    }

    pub(crate) fn aors(&self) -> impl Iterator<Item = &String> {
        self.0.keys()
    }
}

/// Which contacts are a former owner's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FormerOwners {
    /// Aors that are no more, or ask for another credential: whatever is registered there.
    pub(crate) aors: BTreeSet<String>,
    /// What was registered at new aors before they were live: nobody could register there, so it
    /// is of somebody who had the number earlier. A new owner's contact, registered since, is not.
    pub(crate) contacts: Contacts,
}

impl FormerOwners {
    /// Every aor that has, or may have, a contact to be removed.
    pub(crate) fn all_aors(&self) -> BTreeSet<String> {
        self.aors.iter().chain(self.contacts.aors()).cloned().collect()
    }

    /// Removes their contacts, and returns the aors not purged: time was up, or Asterisk did not remove a contact.
    pub(crate) fn purge(&self, cli: &Cli, deadline: Instant) -> Result<BTreeSet<String>, Unread> {
        // The pair is verified by now, so the caller should not wait long for this.
        let deadline = deadline.min(Instant::now() + cli.timeout());
        let keys: Vec<_> = self.among(&Contacts::read(cli, deadline)?).into_iter().map(|(_, key)| key).collect();
        if keys.is_empty() {
            return Ok(BTreeSet::new());
        }
        log::info!("removing {} contacts of former owners", keys.len());
        let commands: Vec<_> = keys.iter().map(|key| format!("database del {FAMILY} {key}")).collect();
        for some in commands.chunks(AT_ONCE) {
            cli.ask_all(some, deadline).into_iter().try_for_each(|answer| answer.map(drop))?;
        }
        Ok(self.among(&Contacts::read(cli, deadline)?).into_iter().map(|(aor, _)| aor).collect())
    }

    /// Their contacts among those that are registered now, as aor and key.
    fn among(&self, now: &Contacts) -> Vec<(String, String)> {
        let is_former = |aor: &String, key: &String, value: &String| {
            self.aors.contains(aor) || self.contacts.0.get(aor).and_then(|of| of.get(key)) == Some(value)
        };
        let all = now.0.iter().flat_map(|(aor, of)| of.iter().map(move |(key, value)| (aor, key, value)));
        all.filter(|(aor, key, value)| is_former(aor, key, value))
            .map(|(aor, key, _)| (aor.clone(), key.clone()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contacts(listed: &[(&str, &str, &str)]) -> Contacts {
        let mut contacts = Contacts::default();
        for (aor, key, value) in listed {
            contacts.0.entry((*aor).to_owned()).or_default().insert((*key).to_owned(), (*value).to_owned());
        }
        contacts
    }

    #[test]
    fn a_new_owner_who_registered_since_stays() {
        let former = FormerOwners {
            aors: BTreeSet::from(["1000".to_owned()]),
            contacts: contacts(&[("1001", "1001;@a", "old"), ("1001", "1001;@b", "old")]),
        };
        let now = contacts(&[
            ("1000", "1000;@x", "any"),
            ("1001", "1001;@a", "old"),
            ("1001", "1001;@b", "new"),
            ("1001", "1001;@c", "new"),
            ("1002", "1002;@a", "old"),
        ]);
        let keys: Vec<_> = former.among(&now).into_iter().map(|(_, key)| key).collect();
        assert_eq!(keys, ["1000;@x", "1001;@a"]);
        assert_eq!(former.all_aors().into_iter().collect::<Vec<_>>(), ["1000", "1001"]);
    }
}
