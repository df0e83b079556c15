//! Who has proved to be whom, and what his clients have seen. Bounded: the users of longest
//! ago are forgotten first, which costs them one more login that passes.

use std::sync::Arc;

use lru::LruCache;
use parking_lot::Mutex;

use super::tag::{Tag, UserKey};
use crate::pop3::snapshot::Snapshot;

/// What is known of a presented secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The mail server has accepted it.
    Known,
    /// The mail server has accepted another one of this user's.
    Changed,
    /// Nothing is known of this user.
    Unknown,
}

/// Secrets that are remembered for one user: some give each device a password of its own.
const MOST_TAGS: usize = 4;
/// What a user takes beside tags and snapshot: the entry itself, its place in the order and
/// in the table. Measured: see the test below.
const ENTRY_OCTETS: usize = 112;

/// Where a user's session went, where that is not the virtual server's own pool or the name
/// that the client gave: an upgrade goes there too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Name of the pool.
    pub pool: Option<String>,
    /// User name at the mail server.
    pub user: Option<String>,
}

#[derive(Debug, Default)]
struct User {
    /// The latest first; dropped together with the user.
    tags: Vec<Tag>,
    snapshot: Option<Arc<Snapshot>>,
    route: Option<Arc<Route>>,
    /// Sessions that have begun at the mail server: only the latest may leave a snapshot.
    sessions: u32,
}

impl User {
    fn footprint(&self) -> usize {
        ENTRY_OCTETS
            + self.tags.capacity() * size_of::<Tag>()
            + self.snapshot.as_ref().map_or(0, |snapshot| snapshot.footprint())
    }
}

#[derive(Debug)]
struct Shard {
    users: LruCache<UserKey, User>,
    octets: usize,
}

/// A session that has begun at the mail server, for committing what it leaves.
#[derive(Clone, Copy, Debug)]
pub struct Session {
    user: UserKey,
    number: u32,
}

/// Tags and snapshots of all users.
#[derive(Debug)]
pub struct Registry {
    shards: Box<[Mutex<Shard>]>,
    limit_per_shard: usize,
}

const SHARDS: usize = 64;

impl Registry {
    /// `memory_limit`: octets that everything together may take.
    #[must_use]
    pub fn new(memory_limit: u64) -> Self {
        let shard = || Mutex::new(Shard { users: LruCache::unbounded(), octets: 0 });
        Self {
            shards: (0..SHARDS).map(|_| shard()).collect(),
            limit_per_shard: usize::try_from(memory_limit).unwrap_or(usize::MAX) / SHARDS,
        }
    }

    /// What is known of the secret that a login presents.
    #[must_use]
    pub fn standing(&self, user: UserKey, tag: &Tag) -> Standing {
        let mut shard = self.shard(user);
        match shard.users.get(&user) {
            Some(entry) if entry.tags.is_empty() => Standing::Unknown,
            // Each tag is compared, so that the time tells nothing about which one matched.
            Some(entry) if entry.tags.iter().fold(false, |found, known| found | known.matches(tag)) => {
                Standing::Known
            }
            Some(_) => Standing::Changed,
            None => Standing::Unknown,
        }
    }

    /// The maildrop as the user's clients last saw it, if that is known.
    #[must_use]
    pub fn snapshot(&self, user: UserKey) -> Option<Arc<Snapshot>> {
        self.shard(user).users.get(&user)?.snapshot.clone()
    }

    /// Where the user's last session went.
    #[must_use]
    pub fn route(&self, user: UserKey) -> Option<Arc<Route>> {
        self.shard(user).users.get(&user)?.route.clone()
    }

    /// The mail server has accepted the secret, and a session begins in which the client may
    /// see a newer maildrop: the old snapshot is no longer what the clients saw last.
    pub fn begin(&self, user: UserKey, tag: Tag, route: Option<Arc<Route>>) -> Session {
        self.change(user, |entry| {
            entry.tags.retain(|known| !known.matches(&tag));
            if entry.tags.len() >= MOST_TAGS {
                entry.tags.pop();
            }
            entry.tags.reserve_exact(1);
            entry.tags.insert(0, tag);
            entry.snapshot = None;
            entry.route = route;
            entry.sessions = entry.sessions.wrapping_add(1);
            Session { user, number: entry.sessions }
        })
    }

    /// A session is over, its QUIT confirmed. What it leaves counts if it was the one that
    /// began last; another one has seen a listing at least as new. None where the maildrop is
    /// not known. `deleted`: what a later session has seen is not what is there any more.
    pub fn commit(&self, session: Session, snapshot: Option<Snapshot>, deleted: bool) {
        self.change(session.user, |entry| {
            if entry.sessions == session.number {
                entry.snapshot = snapshot.map(Arc::new);
            } else if deleted {
                entry.snapshot = None;
            }
        });
    }

    /// The mail server has judged the secret to be wrong: it is not known any more.
    pub fn reject(&self, user: UserKey, tag: &Tag) {
        if self.standing(user, tag) == Standing::Known {
            self.change(user, |entry| entry.tags.retain(|known| !known.matches(tag)));
        }
    }

    /// Forgets the snapshot: the user's next login passes.
    pub fn forget_snapshot(&self, user: UserKey) {
        self.change(user, |entry| entry.snapshot = None);
    }

    /// Octets that are taken now.
    #[must_use]
    pub fn octets(&self) -> u64 {
        self.shards.iter().map(|shard| shard.lock().octets as u64).sum()
    }

    /// Users that are remembered.
    #[must_use]
    pub fn users(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().users.len()).sum()
    }

    fn shard(&self, user: UserKey) -> parking_lot::MutexGuard<'_, Shard> {
        // The key is a hash: any of its bits will do.
        let index = usize::try_from(user.0 % SHARDS as u128).unwrap_or(0);
        self.shards[index].lock()
    }

    fn change<T>(&self, user: UserKey, change: impl FnOnce(&mut User) -> T) -> T {
        let mut guard = self.shard(user);
        let shard = &mut *guard;
        let before = shard.users.peek(&user).map_or(0, User::footprint);
        let entry = shard.users.get_or_insert_mut(user, User::default);
        let result = change(entry);
        shard.octets = shard.octets + entry.footprint() - before;
        while shard.octets > self.limit_per_shard {
            let Some((_, oldest)) = shard.users.pop_lru() else { break };
            shard.octets -= oldest.footprint();
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::maildrop::Tagger;
    use crate::pop3::credential::{Credentials, Mechanism, Secret};
    use crate::pop3::snapshot::Row;

    struct World {
        registry: Registry,
        tagger: Tagger,
        user: UserKey,
    }

    impl World {
        fn new(limit: u64) -> Self {
            let tagger = Tagger::new().unwrap();
            let user = tagger.user("mail", b"alice");
            Self { registry: Registry::new(limit), tagger, user }
        }

        fn tag(&self, secret: &str) -> Tag {
            self.tagger.tag(
                self.user,
                &Credentials {
                    user: b"alice"[..].into(),
                    secret: Secret::new(secret.as_bytes()),
                    mechanism: Mechanism::UserPass,
                },
            )
        }
    }

    fn of(id: &str) -> Snapshot {
        Snapshot::pack([Row { size: 1, unique_id: id.as_bytes() }]).unwrap()
    }

    #[test]
    fn a_secret_is_known_once_the_mail_server_has_accepted_it() {
        let world = World::new(1 << 20);
        assert_eq!(world.registry.standing(world.user, &world.tag("a")), Standing::Unknown);
        world.registry.begin(world.user, world.tag("a"), None);
        assert_eq!(world.registry.standing(world.user, &world.tag("a")), Standing::Known);
        assert_eq!(world.registry.standing(world.user, &world.tag("b")), Standing::Changed);
    }

    #[test]
    fn a_secret_that_the_mail_server_rejects_is_forgotten_and_a_wrong_one_changes_nothing() {
        let world = World::new(1 << 20);
        world.registry.begin(world.user, world.tag("a"), None);
        world.registry.reject(world.user, &world.tag("wrong"));
        assert_eq!(world.registry.standing(world.user, &world.tag("a")), Standing::Known);
        world.registry.reject(world.user, &world.tag("a"));
        assert_eq!(world.registry.standing(world.user, &world.tag("a")), Standing::Unknown);
    }

    #[test]
    fn while_a_session_is_under_way_there_is_no_snapshot() {
        let world = World::new(1 << 20);
        let session = world.registry.begin(world.user, world.tag("a"), None);
        world.registry.commit(session, Some(of("one")), false);
        assert_eq!(*world.registry.snapshot(world.user).unwrap(), of("one"));
        let _dropped = world.registry.begin(world.user, world.tag("a"), None);
        assert_eq!(world.registry.snapshot(world.user), None);
    }

    #[test]
    fn of_overlapping_sessions_the_one_that_began_last_counts() {
        let world = World::new(1 << 20);
        let first = world.registry.begin(world.user, world.tag("a"), None);
        let second = world.registry.begin(world.user, world.tag("a"), None);
        world.registry.commit(second, Some(of("newer")), false);
        world.registry.commit(first, Some(of("older")), false);
        assert_eq!(*world.registry.snapshot(world.user).unwrap(), of("newer"));
        world.registry.commit(first, Some(of("older")), true);
        assert_eq!(world.registry.snapshot(world.user), None);
    }

    #[test]
    fn only_the_latest_few_secrets_of_a_user_are_known() {
        let world = World::new(1 << 20);
        for secret in ["1", "2", "3", "4", "5"] {
            world.registry.begin(world.user, world.tag(secret), None);
        }
        assert_eq!(world.registry.standing(world.user, &world.tag("1")), Standing::Changed);
        assert_eq!(world.registry.standing(world.user, &world.tag("5")), Standing::Known);
    }

    #[test]
    fn memory_stays_within_its_limit_and_the_latest_users_stay() {
        let world = World::new(256 << 10);
        let mut last = world.user;
        for index in 0..20_000_u32 {
            last = world.tagger.user("mail", &index.to_le_bytes());
            let session = world.registry.begin(last, world.tag("a"), None);
            world.registry.commit(session, Some(of("one")), false);
        }
        assert!(world.registry.octets() <= 256 << 10);
        assert!(world.registry.users() > 500);
        assert!(world.registry.snapshot(last).is_some());
    }
}
