//! What this node may claim of its Asterisk: the pair last proven, as long as nobody doubts it.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::{fmt, io};

use pbx_asterisk::{ClaimStamp, Deployment, Expected, FileError, Pair};
use pbx_confgen::{RenderError, Renderer};
use pbx_domain::{ApplyId, DatabaseId, DisplayName, Extension, Ha1, Realm, Revision, User, UserId};
use pbx_persistence::ApplyLog;

use super::plan;

/// What a deployment remembers with the pair that it proved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tag {
    /// The apply that proved it, or found it proven at this revision; for the log.
    pub(super) id: ApplyId,
    /// The revision it was made of, for people.
    pub(super) revision: Revision,
    /// The database that its users came from; 0.1.0 did not keep it.
    pub(super) database: Option<DatabaseId>,
    /// The node whose Asterisk it was proven on; 0.1.0 did not keep it.
    pub(super) node: Option<String>,
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.id, self.revision)?;
        self.database.map_or(Ok(()), |database| write!(f, " {database}"))?;
        self.node.as_ref().map_or(Ok(()), |node| write!(f, " {node}"))
    }
}

impl FromStr for Tag {
    type Err = ();

    fn from_str(tag: &str) -> Result<Self, ()> {
        let mut words = tag.split(' ');
        let mut word = || words.next().ok_or(());
        let id = word()?.parse().map_err(drop)?;
        let revision = Revision::new(word()?.parse().map_err(drop)?);
        let database = word().ok().map(str::parse).transpose().map_err(drop)?;
        let node = word().ok().map(str::to_owned);
        words.next().is_none().then_some(Self { id, revision, database, node }).ok_or(())
    }
}

/// How many numbers are named at most.
const MOST_NAMED: usize = 20;

impl Tag {
    /// The node whose Asterisk the pair was proven on, where that is another: the state directory was copied from there, and
    /// perhaps the include files with it.
    pub(crate) fn other_node(&self, own: &str) -> Option<&str> {
        self.node.as_deref().filter(|node| *node != own)
    }

    /// Where the pair proven `last` came from another database: how many of its users would lose their numbers with `pair`,
    /// and the first of these.
    ///
    /// Where it is not known which, it is the one that has the record of the apply. What cannot be asked has none.
    pub(crate) fn losses_to_another_database(
        &self,
        database: DatabaseId,
        log: &ApplyLog,
        last: &Pair,
        pair: &Pair,
    ) -> Option<String> {
        if self.database == Some(database) {
            return None;
        }
        let (former, wanted) = plan::expected(Some(last), pair).ok()?;
        let former: Vec<_> = wanted.former_owners(&former).collect();
        if !former.is_empty() && self.database.is_none() && log.has(self.id).unwrap_or_default() {
            return None;
        }
        let rest = if former.len() > MOST_NAMED { ", …" } else { "" };
        let named = former[..former.len().min(MOST_NAMED)].join(", ");
        let (users, numbers) = match former.len() {
            0 => return None,
            1 => ("1 user".to_owned(), "its number"),
            more => (format!("{more} users"), "their numbers"),
        };
        Some(format!("{users} that Asterisk has from another database would lose {numbers}: {named}{rest}"))
    }
}

/// What this node claims. It goes by content: no revision, record or clock decides.
#[derive(Debug, Default)]
pub(crate) struct Claim {
    stamp: Option<ClaimStamp>,
    /// The revision that the claimed pair was made of; 0 where none is claimed.
    pub(crate) revision: Revision,
    pair: Option<ClaimedPair>,
}

#[derive(Debug)]
struct ClaimedPair {
    digest: [u8; 32],
    users: Mutex<BTreeMap<Extension, ClaimedUser>>,
}

/// A user of the pair.
#[derive(Debug)]
enum ClaimedUser {
    /// The name of its auth, a digest of all settings: what the file says.
    Auth(String),
    /// The settings that were found to have this digest. They are compared from then on: to make the digests of all users
    /// for each list after a change would take longer than PostgreSQL does.
    Settings(DisplayName, Realm, Ha1),
}

/// The users of a moment compared with a [`Claim`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct AppliedUsers {
    /// Whether the users render to another pair than the claimed one.
    pub(crate) is_required: bool,
    /// The users that the claimed pair holds with exactly their settings. Not by their extensions: where somebody dropped the
    /// rules of the tables, two may have one.
    pub(crate) applied: BTreeSet<UserId>,
}

impl Claim {
    fn of(stamp: ClaimStamp, deployment: &Deployment, node: &str) -> Result<Self, FileError> {
        let nothing = Self { stamp: Some(stamp), ..Self::default() };
        let Some(proven) = deployment.proven_by(&stamp)? else { return Ok(nothing) };
        let tag: Option<Tag> = proven.tag.parse().ok();
        if let Some(of) = tag.as_ref().and_then(|tag| tag.other_node(node)) {
            log::warn!(
                "the pair last applied was proven on the node {of}: nothing counts as applied on {node} until the next apply"
            );
            return Ok(nothing);
        }
        let revision = tag.map(|tag| tag.revision).unwrap_or_default();
        Ok(Self { revision, pair: ClaimedPair::of(&proven.pair), ..nothing })
    }

    #[cfg(test)]
    pub(crate) fn of_pair(pair: &Pair, revision: Revision) -> Self {
        Self { stamp: None, revision, pair: ClaimedPair::of(pair) }
    }

    /// Whether these users, as `renderer` writes them, are what Asterisk was proven to run.
    pub(crate) fn compare(&self, users: &[User], renderer: &Renderer) -> Result<AppliedUsers, RenderError> {
        let Some(claimed) = &self.pair else {
            // Where nothing was ever applied, no users need no apply.
            let is_required = !users.is_empty() || !self.stamp.is_some_and(|stamp| stamp.is_blank());
            return Ok(AppliedUsers { is_required, ..AppliedUsers::UNKNOWN });
        };
        let (applied, count) = claimed.applied(users, renderer)?;
        // One user more, less or other makes another pair. Only where there is none does the rest of the files decide.
        let is_same = applied.len() == users.len()
            && users.len() == count
            && plan::digest(&super::rendered(renderer, users)?) == claimed.digest;
        Ok(AppliedUsers { is_required: !is_same, applied })
    }
}

impl AppliedUsers {
    /// That of users who cannot be rendered.
    pub(crate) const UNKNOWN: Self = Self { is_required: true, applied: BTreeSet::new() };
}

impl ClaimedPair {
    /// `None` where the pair cannot be read: then nothing is claimed.
    fn of(pair: &Pair) -> Option<Self> {
        // The dialplan says no more of a user.
        let endpoints = Pair { endpoints: pair.endpoints.clone(), dialplan: Vec::new() };
        let endpoints =
            Expected::read(&endpoints).inspect_err(|error| log::error!("nothing counts as applied: {error}")).ok()?;
        let user = |name: &str| Some((name.parse().ok()?, ClaimedUser::Auth(endpoints.auth_of(name)?.to_owned())));
        Some(Self { digest: plan::digest(pair), users: Mutex::new(endpoints.endpoints().filter_map(user).collect()) })
    }

    /// Which of these users are in the pair, as `renderer`, always the same one, writes them; and how many it has.
    fn applied(&self, users: &[User], renderer: &Renderer) -> Result<(BTreeSet<UserId>, usize), RenderError> {
        let mut claimed = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        let mut applied = BTreeSet::new();
        for user in users {
            let User { id, extension, name, realm, ha1, .. } = user;
            let Some(known) = claimed.get_mut(extension) else { continue };
            let is_applied = match known {
                ClaimedUser::Settings(its_name, its_realm, its_ha1) => {
                    (&*its_name, &*its_realm, &*its_ha1) == (name, realm, ha1)
                }
                ClaimedUser::Auth(auth) if *auth == renderer.auth_name(user)? => {
                    *known = ClaimedUser::Settings(name.clone(), realm.clone(), ha1.clone());
                    true
                }
                ClaimedUser::Auth(_) => false,
            };
            if is_applied {
                applied.insert(*id);
            }
        }
        Ok((applied, claimed.len()))
    }
}

/// Reads it again only when it was replaced, by this process or another.
pub(super) struct ClaimCache {
    node: String,
    last: RwLock<Arc<Claim>>,
}

impl ClaimCache {
    pub(super) fn new(node: String) -> Self {
        Self { node, last: RwLock::default() }
    }

    /// What this node claims now. State that cannot be read claims nothing.
    pub(super) fn claim(&self, deployment: &Deployment) -> Arc<Claim> {
        let stamp = deployment.proven_stamp();
        let last = Arc::clone(&self.last.read().unwrap_or_else(PoisonError::into_inner));
        if stamp.as_ref().ok() == last.stamp.as_ref() {
            return last;
        }
        let unknown = |error: FileError, stamp| {
            log::error!("nothing counts as applied: {error}");
            Claim { stamp, ..Claim::default() }
        };
        let claim = Arc::new(match stamp {
            // What cannot be read now may be readable the next time. Damaged, it is logged once, and read again when it is
            // another.
            Ok(stamp) => Claim::of(stamp, deployment, &self.node).unwrap_or_else(|error| {
                let is_damaged = error.error.kind() == io::ErrorKind::InvalidData;
                unknown(error, is_damaged.then_some(stamp))
            }),
            Err(error) => unknown(error, None),
        });
        *self.last.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&claim);
        claim
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the tests write what the state directory may hold")]
pub(super) mod tests {
    use std::time::{Duration, SystemTime};

    use pbx_asterisk::{Cli, IncludeFiles};
    use pbx_persistence::Database;
    use sha2::{Digest as _, Sha256};

    use super::*;

    #[test]
    fn a_tag_is_read_as_it_was_written() {
        let (id, revision, database) = (ApplyId::generate(), Revision::new(42), Some(DatabaseId::generate()));
        let tag = Tag { id, revision, database, node: Some("pbx1".to_owned()) };
        assert_eq!(tag.to_string().parse(), Ok(tag.clone()));
        let older = Tag { database: None, node: None, ..tag.clone() };
        assert_eq!(older.to_string().parse(), Ok(older.clone()));
        for wrong in ["", "x 1", "42", &format!("{} x", tag.id), &format!("{older} x"), &format!("{tag} x"), " "] {
            assert_eq!(wrong.parse::<Tag>(), Err(()), "{wrong:?}");
        }
    }

    /// A host without an Asterisk, whose state directory is this one.
    pub(crate) fn host() -> (tempfile::TempDir, Deployment) {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let files = IncludeFiles { endpoints: at("p.conf"), dialplan: at("e.conf") };
        let cli = Cli::new("/nonexistent/asterisk", Duration::from_secs(1)).unwrap();
        let deployment = Deployment::new(cli, files, directory.path().to_owned());
        (directory, deployment)
    }

    #[test]
    fn what_could_not_be_read_is_read_again_and_a_damaged_record_is_not() {
        let (directory, deployment) = host();
        let at = |name: &str| directory.path().join(name);
        let cache = ClaimCache::new("pbx".to_owned());
        let is_kept = || Arc::ptr_eq(&cache.claim(&deployment), &cache.claim(&deployment));
        std::os::unix::fs::symlink(directory.path(), at("proven")).unwrap();
        assert!(!is_kept());
        std::fs::remove_file(at("proven")).unwrap();
        assert!(is_kept());
        std::fs::write(at("proven"), "half a rec").unwrap();
        assert!(is_kept());
    }

    #[test]
    fn what_was_read_while_an_apply_was_rolled_back_is_not_kept() {
        let (directory, deployment) = host();
        let at = |name: &str| directory.path().join(name);
        // A record as `pbx-asterisk` writes it, of two empty files.
        let tag = Tag { id: ApplyId::generate(), revision: Revision::new(7), database: None, node: None };
        let record = format!("pbx-asterisk record 1\ntag {tag}\nunpurged \nendpoints 0\n\ndialplan 0\n\n");
        let digest = base16ct::lower::encode_string(&Sha256::digest(record.as_bytes()));
        std::fs::write(at("proven"), format!("{record}sha256 {digest}\n")).unwrap();
        for _ in 0..500 {
            let cache = ClaimCache::new("pbx".to_owned());
            std::thread::scope(|scope| {
                let rollback = scope.spawn(|| {
                    std::fs::write(at("unproven"), "").unwrap();
                    std::fs::remove_file(at("unproven")).unwrap();
                });
                while !rollback.is_finished() {
                    cache.claim(&deployment);
                }
            });
            assert_eq!(cache.claim(&deployment).revision, tag.revision);
        }
    }

    #[test]
    fn of_those_who_would_lose_their_numbers_the_first_are_named() {
        let tag = Tag {
            id: ApplyId::generate(),
            revision: Revision::default(),
            database: Some(DatabaseId::generate()),
            node: None,
        };
        // It is asked for nothing.
        let database = Database::connect("postgresql:///nowhere", 1, Duration::from_secs(1)).unwrap();
        for (count, said) in [
            (1, "1 user that Asterisk has from another database would lose its number: 1000"),
            (MOST_NAMED, ", 1018, 1019"),
            (MOST_NAMED + 1, ", 1018, 1019, …"),
        ] {
            let numbers = (1000..).take(count).map(|number| format!("[{number}]\ntype=endpoint\n"));
            let pair = |endpoints: String| Pair { endpoints: endpoints.into(), dialplan: Vec::new() };
            let (last, next) = (pair(numbers.collect()), pair(String::new()));
            let other = DatabaseId::generate();
            let losses = tag.losses_to_another_database(other, &database.apply_log(), &last, &next).unwrap();
            assert!(losses.ends_with(said), "{losses}");
        }
    }

    #[test]
    fn of_two_users_with_one_number_the_one_in_the_pair_is_applied() {
        let user = |name: &str| User {
            id: UserId::generate(),
            name: name.parse().unwrap(),
            email: format!("{name}@example.com").parse().unwrap(),
            extension: Extension::FIRST,
            realm: "asterisk".parse().unwrap(),
            ha1: "0123456789abcdef0123456789abcdef".parse().unwrap(),
            created_at: SystemTime::UNIX_EPOCH,
            revision: Revision::default(),
        };
        let (renderer, users) = (Renderer::default(), ["alice", "mallory"].map(user));
        let claim = Claim::of_pair(&super::super::rendered(&renderer, &users[..1]).unwrap(), Revision::default());
        for _ in 0..2 {
            let compared = claim.compare(&users, &renderer).unwrap();
            assert_eq!(compared, AppliedUsers { is_required: true, applied: BTreeSet::from([users[0].id]) });
        }
    }
}
