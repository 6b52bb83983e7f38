//! Whatever became of the database, a user counts as applied exactly when the proven pair holds it as it is.

use std::collections::BTreeMap;
use std::time::SystemTime;

use pbx_asterisk::Pair;
use pbx_confgen::Renderer;
use pbx_domain::{Extension, Ha1, Realm, SipPassword, UserId};
use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

/// What happens to a database, or to Asterisk.
#[derive(Debug, Clone)]
enum Event {
    Create(u16, u8),
    Delete(Index),
    Rename(Index, u8),
    NewPassword(Index),
    Backup,
    /// A restore, or a failover to a standby that lacks what came later.
    Restore(Index),
    /// By hand.
    MoveRevision(i64),
    Apply,
    /// The rollback of an apply was not verified, or a start found other files.
    Doubt,
}

#[derive(Clone, Default)]
struct History {
    users: BTreeMap<Extension, User>,
    revision: i64,
}

/// What a phone and its callers can observe of a user.
type Seen = (String, String, String);

fn seen(users: &BTreeMap<Extension, User>) -> BTreeMap<Extension, Seen> {
    let of = |user: &User| (user.name.to_string(), user.realm.to_string(), user.ha1.as_str().to_owned());
    users.iter().map(|(extension, user)| (*extension, of(user))).collect()
}

fn ha1(extension: Extension) -> Ha1 {
    Ha1::of(extension, &realm(), &SipPassword::generate().unwrap())
}

fn realm() -> Realm {
    "asterisk".parse().unwrap()
}

impl History {
    fn happens(&mut self, event: &Event) {
        let at = |index: &Index| {
            (!self.users.is_empty()).then(|| *self.users.keys().nth(index.index(self.users.len())).unwrap())
        };
        match event {
            Event::Create(number, name) => {
                let extension = Extension::new(1000 + number).unwrap();
                self.users.entry(extension).or_insert_with(|| User {
                    id: UserId::generate(),
                    name: format!("name {name}").parse().unwrap(),
                    email: format!("{extension}@example.com").parse().unwrap(),
                    extension,
                    realm: realm(),
                    ha1: ha1(extension),
                    created_at: SystemTime::now(),
                    revision: Revision::new(self.revision),
                });
            }
            Event::Delete(index) => {
                if let Some(extension) = at(index) {
                    self.users.remove(&extension);
                }
            }
            Event::Rename(index, name) => {
                if let Some(user) = at(index).and_then(|extension| self.users.get_mut(&extension)) {
                    user.name = format!("name {name}").parse().unwrap();
                }
            }
            Event::NewPassword(index) => {
                if let Some(user) = at(index).and_then(|extension| self.users.get_mut(&extension)) {
                    user.ha1 = ha1(user.extension);
                }
            }
            Event::MoveRevision(by) => self.revision += by - 1,
            _ => return,
        }
        self.revision += 1;
    }
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let index = any::<Index>;
    let event = prop_oneof![
        6 => (0_u16..6, 0_u8..3).prop_map(|(number, name)| Event::Create(number, name)),
        2 => index().prop_map(Event::Delete),
        2 => (index(), 0_u8..3).prop_map(|(index, name)| Event::Rename(index, name)),
        1 => index().prop_map(Event::NewPassword),
        1 => Just(Event::Backup),
        2 => index().prop_map(Event::Restore),
        1 => (-3_i64..4).prop_map(Event::MoveRevision),
        4 => Just(Event::Apply),
        1 => Just(Event::Doubt),
    ];
    prop::collection::vec(event, 1..40)
}

proptest! {
    #[test]
    fn applied_is_membership_in_the_proven_pair(events in events()) {
        let mut database = History::default();
        let mut backups = vec![database.clone()];
        let (mut claim, mut proven) = (Claim::default(), None);
        for event in events {
            let users = |database: &History| database.users.values().cloned().collect::<Vec<_>>();
            let rendered = |database: &History| {
                let rendering = Renderer::default().render(&users(database)).unwrap();
                Pair { endpoints: rendering.endpoints.into(), dialplan: rendering.routing.into() }
            };
            match &event {
                Event::Backup => backups.push(database.clone()),
                Event::Restore(index) => database = backups[index.index(backups.len())].clone(),
                Event::Apply => {
                    claim = Claim::of_pair(&rendered(&database), Revision::new(database.revision));
                    proven = Some(seen(&database.users));
                }
                Event::Doubt => (claim, proven) = (Claim::default(), None),
                change => database.happens(change),
            }
            let revision = Revision::new(database.revision);
            let compared = claim.compare(&users(&database), &Renderer::default()).unwrap();
            let users = users(&database);
            let list = UserListResponse::of(&users, revision, &claim, &compared);
            let now = seen(&database.users);
            prop_assert_eq!(list.apply_required, proven.as_ref() != Some(&now), "after {:?}", event);
            for user in &list.users {
                let extension = Extension::new(user.extension).unwrap();
                let held = proven.as_ref().and_then(|proven| proven.get(&extension));
                prop_assert_eq!(user.applied, held == now.get(&extension), "{} after {:?}", extension, event);
            }
        }
    }
}

#[test]
fn users_that_cannot_be_rendered_count_as_not_applied() {
    let mut database = History { revision: 1, ..History::default() };
    database.happens(&Event::Create(0, 0));
    let users: Vec<User> = database.users.into_values().collect();
    let list = UserListResponse::of(&users, Revision::new(2), &Claim::default(), &AppliedUsers::UNKNOWN);
    assert!(list.apply_required && !list.users[0].applied);
}
