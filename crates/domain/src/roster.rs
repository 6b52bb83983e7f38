use std::collections::HashMap;

use crate::{Extension, ExtensionRange, NewUser, UserId};

/// Who has which extension and which mail address: decides, without a database, the result of each
/// change of the users, in the order in which they are asked for.
///
/// Each change that is granted is in effect for the next, so a whole batch can be decided and then
/// written at once: what a delete frees goes to a later create of the same batch.
///
/// ```
/// use pbx_domain::{CreateRefusal, NewUser, Roster, UserId};
///
/// let mut roster = Roster::default();
/// let (alice, bob) = (UserId::generate(), UserId::generate());
/// let new = |email: &str| NewUser { name: "A".parse().unwrap(), email: email.parse().unwrap(), replaces: None };
/// let extension = roster.create(alice, &new("alice@example.com"))?;
/// assert_eq!(extension.get(), 1000);
/// let taken = CreateRefusal::EmailTaken { id: alice, extension };
/// assert_eq!(roster.create(bob, &new("Alice@Example.com")), Err(taken));
/// assert_eq!(roster.delete(alice), Some(extension));
/// assert_eq!(roster.create(bob, &new("alice@example.com")), Ok(extension));
/// # Ok::<(), CreateRefusal>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Roster {
    users: HashMap<UserId, Entry>,
    /// The owner of each address.
    emails: HashMap<String, UserId>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    extension: Extension,
    email_key: String,
}

/// Why a create is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CreateRefusal {
    /// Another user has the mail address, in whatever case.
    #[error("another user has this mail address")]
    EmailTaken {
        /// The owner of the address.
        id: UserId,
        /// That user's extension.
        extension: Extension,
    },
    /// Nobody has the id of [`NewUser::replaces`].
    #[error("there is no such user to replace")]
    NoSuchUser,
    /// Every extension has a user.
    #[error("no extension is free: delete a user first")]
    Exhausted,
}

impl Roster {
    /// Adds a user who is there already. `email_key` is [`Email::key`](crate::Email::key).
    pub fn insert(&mut self, id: UserId, extension: Extension, email_key: String) {
        self.emails.insert(email_key.clone(), id);
        self.users.insert(id, Entry { extension, email_key });
    }

    /// The extension that the new user `id` gets: the lowest that is free, or that of the user whom
    /// it replaces, who is gone then.
    ///
    /// # Errors
    ///
    /// [`CreateRefusal`], and nothing changed. A taken address comes first of all, so that a caller who
    /// repeats a create whose answer was lost learns that it worked.
    pub fn create(&mut self, id: UserId, new: &NewUser) -> Result<Extension, CreateRefusal> {
        let email_key = new.email.key();
        let owner = self.emails.get(&email_key).filter(|owner| Some(**owner) != new.replaces);
        if let Some((id, user)) = owner.and_then(|owner| self.users.get_key_value(owner)) {
            return Err(CreateRefusal::EmailTaken { id: *id, extension: user.extension });
        }
        let extension = match new.replaces {
            Some(replaced) => self.delete(replaced).ok_or(CreateRefusal::NoSuchUser)?,
            None => self.lowest_free().ok_or(CreateRefusal::Exhausted)?,
        };
        self.insert(id, extension, email_key);
        Ok(extension)
    }

    /// Deletes a user: its extension and its address are free at once. `None` when there is none.
    pub fn delete(&mut self, id: UserId) -> Option<Extension> {
        let Entry { extension, email_key } = self.users.remove(&id)?;
        self.emails.remove(&email_key);
        Some(extension)
    }

    /// Whether this user is there.
    #[must_use]
    pub fn contains(&self, id: UserId) -> bool {
        self.users.contains_key(&id)
    }

    fn lowest_free(&self) -> Option<Extension> {
        ExtensionRange::PORTAL.lowest_free(self.users.values().map(|user| user.extension))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn id(number: u128) -> UserId {
        UserId::from(Uuid::from_u128(number))
    }

    fn new(email: &str, replaces: Option<UserId>) -> NewUser {
        NewUser { name: "A".parse().unwrap(), email: email.parse().unwrap(), replaces }
    }

    fn extension(number: u16) -> Extension {
        Extension::new(number).unwrap()
    }

    fn full() -> Roster {
        let mut roster = Roster::default();
        for number in 0..1000 {
            assert!(roster.create(id(number), &new(&format!("u{number}@example.com"), None)).is_ok());
        }
        roster
    }

    #[test]
    fn a_taken_address_comes_before_everything_else() {
        let mut roster = full();
        let taken = CreateRefusal::EmailTaken { id: id(7), extension: extension(1007) };
        let before = roster.clone();
        assert_eq!(roster.create(id(5000), &new("U7@example.com", None)), Err(taken));
        assert_eq!(roster.create(id(5000), &new("u7@example.com", Some(id(8)))), Err(taken));
        assert_eq!(roster.create(id(5000), &new("u7@example.com", Some(id(6000)))), Err(taken));
        assert_eq!(roster.create(id(5000), &new("x@example.com", None)), Err(CreateRefusal::Exhausted));
        assert_eq!(roster.create(id(5000), &new("x@example.com", Some(id(6000)))), Err(CreateRefusal::NoSuchUser));
        assert_eq!(roster, before);
    }

    #[test]
    fn who_is_replaced_leaves_the_extension_and_the_address() {
        let mut roster = full();
        assert_eq!(roster.create(id(5000), &new("U7@example.com", Some(id(7)))), Ok(extension(1007)));
        assert_eq!(roster.create(id(5001), &new("x@example.com", Some(id(8)))), Ok(extension(1008)));
        assert!(!roster.contains(id(7)) && !roster.contains(id(8)) && roster.contains(id(5000)));
        assert_eq!(roster.create(id(5002), &new("y@example.com", Some(id(7)))), Err(CreateRefusal::NoSuchUser));
        assert_eq!(roster.delete(id(9)), Some(extension(1009)));
        assert_eq!(roster.create(id(5003), &new("u8@example.com", None)), Ok(extension(1009)), "u8's address is free");
    }

    #[derive(Debug, Clone)]
    enum Step {
        Create { email: u8, replaces: Option<u8> },
        Delete(u8),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (0_u8..12, prop::option::weighted(0.3, 0_u8..40))
                .prop_map(|(email, replaces)| Step::Create { email, replaces }),
            1 => (0_u8..40).prop_map(Step::Delete),
        ]
    }

    proptest! {
        /// Against rows in a plain map, searched through as one would say it.
        #[test]
        fn it_agrees_with_the_naive_model(steps in prop::collection::vec(step(), 0..60)) {
            let mut roster = Roster::default();
            let mut rows: BTreeMap<u16, (UserId, u8)> = BTreeMap::new();
            for (number, step) in steps.into_iter().enumerate() {
                let of = |rows: &BTreeMap<u16, (UserId, u8)>, user: UserId| {
                    rows.iter().find(|(_, (owner, _))| *owner == user).map(|(extension, _)| *extension)
                };
                match step {
                    Step::Create { email, replaces } => {
                        let (user, replaces) = (id(number as u128), replaces.map(|number| id(number.into())));
                        let owner = rows.iter().find(|(_, (owner, other))| *other == email && Some(*owner) != replaces);
                        let expected = if let Some((number, (id, _))) = owner {
                            Err(CreateRefusal::EmailTaken { id: *id, extension: extension(*number) })
                        } else if let Some(replaced) = replaces {
                            of(&rows, replaced).map(extension).ok_or(CreateRefusal::NoSuchUser)
                        } else {
                            Ok(extension((1000..2000).find(|number| !rows.contains_key(number)).unwrap()))
                        };
                        if let Ok(extension) = expected {
                            rows.insert(extension.get(), (user, email));
                        }
                        let address = format!("U{email}@example.com");
                        prop_assert_eq!(roster.create(user, &new(&address, replaces)), expected);
                    }
                    Step::Delete(number) => {
                        let user = id(number.into());
                        let expected = of(&rows, user);
                        rows.retain(|_, (owner, _)| *owner != user);
                        prop_assert_eq!(roster.delete(user).map(Extension::get), expected);
                    }
                }
                let mut same = Roster::default();
                for (number, (user, email)) in &rows {
                    same.insert(*user, extension(*number), format!("u{email}@example.com"));
                }
                prop_assert_eq!(&roster, &same);
            }
        }
    }
}
