//! The registrations of a number's former owner.
//!
//! Asterisk keeps a registered contact in its database until it expires, even if the endpoint is removed. So without
//! this, calls to the number's next owner would ring the former owner's phone.

use std::collections::BTreeSet;
use std::time::Instant;

use crate::ask::cli::{Cli, excerpt};
use crate::ask::whole_answers::{Unread, ask_whole};
use crate::deploy::deployment::LockedDeployment;
use crate::deploy::transaction::Change;
use crate::files::file::FileError;
use crate::files::record::Record;
use crate::files::state_dir::StagedRecord;
use crate::text::expected::Expected;
use crate::text::listing;
use crate::text::pair::Pair;

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

/// Whose registrations go with a deployment, by their aors.
pub(super) struct Leaving {
    /// Whoever the pair does not let in, once it is live.
    pub(super) former_owners: FormerOwners,
    /// Whoever neither this pair nor the former one lets in: whatever becomes of the deployment.
    pub(super) others: BTreeSet<String>,
    /// What former deployments left.
    pub(super) left_before: BTreeSet<String>,
}

impl LockedDeployment<'_> {
    /// Whose registrations this change takes away, as far as the files say.
    pub(super) fn leaving(&self, Change { wanted, before, .. }: Change<'_>, on_disk: &Pair, former: &Pair) -> Leaving {
        // Other files than the former pair's may have been live, as after a backup of them was restored.
        let is_other = on_disk.endpoints != former.endpoints;
        let loaded = if is_other { Expected::read_in_part(&on_disk.endpoints) } else { Expected::default() };
        let left_before = self.proven.as_ref().map(|record| record.unpurged.clone()).unwrap_or_default();
        let mut aors = &wanted.aors_of_former_owners(before) | &left_before;
        aors.extend(wanted.aors_of_others(&loaded));
        let former_owners = FormerOwners { aors, contacts: Contacts::new() };
        Leaving { former_owners, others: before.aors_of_others(&loaded), left_before }
    }

    /// Remembers with the proven pair that somebody other than its owners may be registered at these aors.
    pub(super) fn purge_later(&mut self, aors: &BTreeSet<String>) -> Result<(), FileError> {
        match &self.proven {
            Some(record) if !aors.is_subset(&record.unpurged) => {
                self.keep(Record { unpurged: &record.unpurged | aors, ..record.clone() })
            }
            _ => Ok(()),
        }
    }

    /// After a rollback that is proven: removes who registered at these aors since these contacts were read, as whoever was
    /// to own them did in between; and whoever neither pair lets in. Where that fails, the next deployment removes all that
    /// is registered there.
    pub(super) fn remove_who_came(&mut self, aors: &BTreeSet<String>, before: &Contacts, leaving: Leaving) {
        let Leaving { others, left_before, .. } = leaving;
        let Some(record) = self.proven.clone().filter(|_| !(aors.is_empty() && others.is_empty())) else { return };
        let cli = &self.deployment.cli;
        let deadline = Instant::now() + cli.timeout();
        let removed = read(cli, deadline).and_then(|mut came| {
            let is_known = |key: &String| before.iter().any(|(_, known, _)| known == key);
            came.retain(|(aor, key, _)| others.contains(aor) || (aors.contains(aor) && !is_known(key)));
            FormerOwners { aors: BTreeSet::new(), contacts: came }.purge(cli, deadline)
        });
        let unpurged = match removed {
            Ok(left) => left_before.into_iter().chain(left).collect(),
            Err(error) => return log::warn!("contacts of owners who never came may be left: {error}"),
        };
        if let Err(error) = self.keep(Record { unpurged, ..record }) {
            log::warn!("{error}: the next deployment will purge once more");
        }
    }

    /// Purges the contacts of former owners, records that it is done, and returns the aors not purged.
    pub(super) fn purge_stale_contacts(
        &mut self,
        former: &FormerOwners,
        purged: Option<StagedRecord>,
        deadline: Instant,
    ) -> BTreeSet<String> {
        let pending_purges = former.all_aors();
        if pending_purges.is_empty() {
            return pending_purges;
        }
        let left = former.purge(&self.deployment.cli, deadline).unwrap_or_else(|error| {
            log::warn!("contacts of former owners may be left: {error}");
            pending_purges
        });
        if left.is_empty() {
            match purged.map(StagedRecord::commit).transpose() {
                Ok(Some(record)) => self.proven = Some(record),
                Ok(None) => {}
                Err(error) => log::warn!("{error}: the next deployment will purge once more"),
            }
        }
        left
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
