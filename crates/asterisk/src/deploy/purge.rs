//! The registrations of a number's former owner.
//!
//! Asterisk keeps a registered contact in its database until it expires, even if the endpoint is removed. So without
//! this, calls to the number's next owner would ring the former owner's phone.

use std::collections::BTreeSet;
use std::time::Instant;

use crate::ask::cli::{Cli, excerpt};
use crate::ask::whole_answers::{Unread, ask_whole};
use crate::text::listing;

const FAMILY: &str = "registrar/contact";

/// Makes Asterisk write its database now. By itself it does so a second after a change, and one that is killed before that
/// would have the contacts again at its next start. It keeps a transaction open all the time, which its next change goes
/// into.
const WRITE: &str = "database query \"COMMIT; BEGIN; SELECT 'written'\"";

/// Registered contacts: of each the aor, the key and what is kept under it.
pub(crate) type Contacts = BTreeSet<(String, String, String)>;

/// Those that are registered now.
pub(crate) fn read(cli: &Cli, deadline: Instant) -> Result<Contacts, Unread> {
    let mut contacts = Contacts::new();
    ask_whole(cli, vec![(format!("database show {FAMILY}"), ())], deadline, |(), answer| {
        let listed = listing::contacts(answer)?.into_iter();
        contacts = listed.map(|(aor, key, value)| (aor.to_owned(), key.to_owned(), value.to_owned())).collect();
        Ok(())
    })?;
    Ok(contacts)
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
        self.aors.iter().chain(self.contacts.iter().map(|(aor, ..)| aor)).cloned().collect()
    }

    /// Removes their contacts, and returns the aors not purged: time was up, or Asterisk did not remove a contact, or did not
    /// write that it did.
    pub(crate) fn purge(&self, cli: &Cli, deadline: Instant) -> Result<BTreeSet<String>, Unread> {
        // The pair is verified by now, so the caller should not wait long for this.
        let deadline = deadline.min(Instant::now() + cli.timeout());
        let commands: Vec<_> =
            self.among(read(cli, deadline)?).map(|(_, key, _)| format!("database del {FAMILY} {key}")).collect();
        if !commands.is_empty() {
            log::info!("removing {} contacts of former owners", commands.len());
        }
        cli.ask_all(&commands, deadline).try_for_each(|answer| answer.map(drop))?;
        // Where there are none, Asterisk may not have written yet that an earlier deployment removed them.
        let written = cli.ask(WRITE, deadline)?;
        if !written.lines().any(|line| line.trim_end().ends_with(": written")) {
            log::warn!("Asterisk may not have written that the contacts are gone: {}", excerpt(&written));
            return Ok(self.all_aors());
        }
        Ok(self.among(read(cli, deadline)?).map(|(aor, ..)| aor).collect())
    }

    /// Theirs among those that are registered now.
    fn among(&self, now: Contacts) -> impl Iterator<Item = (String, String, String)> {
        now.into_iter().filter(|contact| self.aors.contains(&contact.0) || self.contacts.contains(contact))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contacts(listed: &[(&str, &str, &str)]) -> Contacts {
        listed.iter().map(|(aor, key, value)| ((*aor).to_owned(), (*key).to_owned(), (*value).to_owned())).collect()
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
        let keys: Vec<_> = former.among(now).map(|(_, key, _)| key).collect();
        assert_eq!(keys, ["1000;@x", "1001;@a"]);
        assert_eq!(former.all_aors().into_iter().collect::<Vec<_>>(), ["1000", "1001"]);
    }
}
