//! Who has proved to be whom, and what his clients have seen. Bounded: the users of longest
//! ago are forgotten first, which costs them one more login that passes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

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
/// A snapshot that takes more than this share of a shard is not kept: it would push everybody
/// else out.
const LARGEST_SHARE: usize = 4;
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

/// A secret that a mail server has accepted.
#[derive(Debug)]
struct Accepted {
    tag: Tag,
    /// When it was accepted last, in seconds since 1970.
    at_s: u64,
}

#[derive(Debug, Default)]
struct User {
    /// The latest first; dropped together with the user.
    accepted: Vec<Accepted>,
    snapshot: Option<Arc<Snapshot>>,
    route: Option<Arc<Route>>,
    /// Number of the session that may leave a snapshot: the one that saw the maildrop last.
    latest: u64,
}

impl User {
    fn footprint(&self) -> usize {
        ENTRY_OCTETS
            + self.accepted.capacity() * size_of::<Accepted>()
            + self.snapshot.as_ref().map_or(0, |snapshot| snapshot.footprint())
    }
}

#[derive(Debug)]
struct Shard {
    users: LruCache<UserKey, User>,
    octets: usize,
}

impl User {
    fn accept(&mut self, tag: Tag, now_ms: u64) {
        self.accepted.retain(|accepted| !accepted.tag.matches(&tag));
        self.accepted.truncate(MOST_TAGS - 1);
        self.accepted.reserve_exact(1);
        self.accepted.insert(0, Accepted { tag, at_s: now_ms / 1000 });
    }
}

/// A session that has begun at the mail server, for committing what it leaves.
#[derive(Clone, Copy, Debug)]
pub struct Session {
    user: UserKey,
    /// Different for each session of the process; 0 where it may leave no snapshot.
    number: u64,
}

/// Tags and snapshots of all users.
#[derive(Debug)]
pub struct Registry {
    shards: Box<[Mutex<Shard>]>,
    limit_per_shard: usize,
    trust_s: u64,
    numbers: AtomicU64,
}

const SHARDS: usize = 64;

impl Registry {
    /// `memory_limit`: octets that everything together may take. `trust`: how long a secret is
    /// known after the mail server has accepted it.
    #[must_use]
    pub fn new(memory_limit: u64, trust: Duration) -> Self {
        let shard = || Mutex::new(Shard { users: LruCache::unbounded(), octets: 0 });
        Self {
            shards: (0..SHARDS).map(|_| shard()).collect(),
            limit_per_shard: usize::try_from(memory_limit).unwrap_or(usize::MAX) / SHARDS,
            trust_s: trust.as_secs(),
            numbers: AtomicU64::new(1),
        }
    }

    /// What is known of the secret that a login presents, at `now_ms` since 1970.
    #[must_use]
    pub fn standing(&self, user: UserKey, tag: &Tag, now_ms: u64) -> Standing {
        let mut shard = self.shard(user);
        let Some(entry) = shard.users.get(&user) else { return Standing::Unknown };
        let oldest = (now_ms / 1000).saturating_sub(self.trust_s);
        // Each tag is compared, so that the time tells nothing about which one matched.
        let known = entry
            .accepted
            .iter()
            .fold(false, |known, accepted| known | (accepted.tag.matches(tag) & (accepted.at_s >= oldest)));
        if known {
            Standing::Known
        } else if entry.accepted.is_empty() {
            Standing::Unknown
        } else {
            Standing::Changed
        }
    }

    /// The maildrop as the user's clients last saw it, if that is known, and where it is.
    #[must_use]
    pub fn snapshot(&self, user: UserKey) -> Option<(Arc<Snapshot>, Option<Arc<Route>>)> {
        let mut shard = self.shard(user);
        let entry = shard.users.get(&user)?;
        Some((entry.snapshot.clone()?, entry.route.clone()))
    }

    /// Where the user's last session went.
    #[must_use]
    pub fn route(&self, user: UserKey) -> Option<Arc<Route>> {
        self.shard(user).users.get(&user)?.route.clone()
    }

    /// The mail server has accepted the secret, and a session begins in which the client may
    /// see a newer maildrop: the old snapshot is no longer what the clients saw last.
    /// `tag`: None where only the mail server has seen the secret.
    pub fn begin(&self, user: UserKey, tag: Option<Tag>, route: Option<Arc<Route>>, now_ms: u64) -> Session {
        let number = self.number();
        self.change(user, |entry| {
            if let Some(tag) = tag {
                entry.accept(tag, now_ms);
            }
            entry.route = route;
            entry.snapshot = None;
            entry.latest = number;
        });
        Session { user, number }
    }

    /// The mail server has accepted the secret for a session that was posed as `posed` until
    /// now, and goes on showing that. Where another session has shown something else
    /// meanwhile, this one's maildrop is not what the clients saw last, and it leaves nothing.
    pub fn begin_upgraded(&self, user: UserKey, tag: Tag, posed: &Arc<Snapshot>, now_ms: u64) -> Session {
        let number = self.number();
        self.change(user, |entry| {
            entry.accept(tag, now_ms);
            if entry.snapshot.take_if(|present| Arc::ptr_eq(present, posed)).is_some() {
                entry.latest = number;
                Session { user, number }
            } else {
                Session { user, number: 0 }
            }
        })
    }

    /// A session is over. What it leaves counts if no other has seen the maildrop since; None
    /// where that is not known. `deleted`: messages are gone, or may be, that other sessions
    /// under way still count.
    pub fn commit(&self, session: Session, snapshot: Option<Snapshot>, deleted: bool) {
        let most = self.limit_per_shard / LARGEST_SHARE;
        let snapshot = snapshot.filter(|snapshot| snapshot.footprint() <= most);
        let number = self.number();
        self.change(session.user, |entry| {
            if entry.latest == session.number {
                entry.snapshot = snapshot.map(Arc::new);
            } else if deleted {
                entry.snapshot = None;
                entry.latest = number;
            }
        });
    }

    /// The mail server has judged the secret to be wrong: it is not known any more.
    pub fn reject(&self, user: UserKey, tag: &Tag) {
        let mut shard = self.shard(user);
        if let Some(entry) = shard.users.get_mut(&user) {
            // Its memory stays counted until the user is forgotten or logs in again.
            entry.accepted.retain(|accepted| !accepted.tag.matches(tag));
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

    fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
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

    const DAY: Duration = Duration::from_secs(86_400);
    const NOW: u64 = 1_000_000_000;

    struct World {
        registry: Registry,
        tagger: Tagger,
        user: UserKey,
    }

    impl World {
        fn new(limit: u64) -> Self {
            let tagger = Tagger::new().unwrap();
            let user = tagger.user("s", "mail", b"alice");
            Self { registry: Registry::new(limit, DAY), tagger, user }
        }

        fn tag(&self, secret: &str) -> Tag {
            self.tagger.tag(
                self.user,
                &Credentials::new(b"alice", Secret::new(secret.as_bytes()), Mechanism::UserPass),
            )
        }
    }

    fn of(id: &str) -> Snapshot {
        Snapshot::pack([Row { size: 1, unique_id: id.as_bytes() }]).unwrap()
    }

    #[test]
    fn a_secret_is_known_once_the_mail_server_has_accepted_it() {
        let world = World::new(1 << 20);
        assert_eq!(world.registry.standing(world.user, &world.tag("a"), NOW), Standing::Unknown);
        world.registry.begin(world.user, Some(world.tag("a")), None, NOW);
        assert_eq!(world.registry.standing(world.user, &world.tag("a"), NOW), Standing::Known);
        assert_eq!(world.registry.standing(world.user, &world.tag("b"), NOW), Standing::Changed);
    }

    #[test]
    fn a_secret_that_the_mail_server_rejects_is_forgotten_and_a_wrong_one_changes_nothing() {
        let world = World::new(1 << 20);
        world.registry.begin(world.user, Some(world.tag("a")), None, NOW);
        world.registry.reject(world.user, &world.tag("wrong"));
        assert_eq!(world.registry.standing(world.user, &world.tag("a"), NOW), Standing::Known);
        world.registry.reject(world.user, &world.tag("a"));
        assert_eq!(world.registry.standing(world.user, &world.tag("a"), NOW), Standing::Unknown);
    }

    #[test]
    fn while_a_session_is_under_way_there_is_no_snapshot() {
        let world = World::new(1 << 20);
        let session = world.registry.begin(world.user, Some(world.tag("a")), None, NOW);
        world.registry.commit(session, Some(of("one")), false);
        assert_eq!(*world.registry.snapshot(world.user).unwrap().0, of("one"));
        let _dropped = world.registry.begin(world.user, Some(world.tag("a")), None, NOW);
        assert_eq!(world.registry.snapshot(world.user), None);
    }

    #[test]
    fn of_overlapping_sessions_the_one_that_began_last_counts() {
        let world = World::new(1 << 20);
        let first = world.registry.begin(world.user, Some(world.tag("a")), None, NOW);
        let second = world.registry.begin(world.user, Some(world.tag("a")), None, NOW);
        world.registry.commit(second, Some(of("newer")), false);
        world.registry.commit(first, Some(of("older")), false);
        assert_eq!(*world.registry.snapshot(world.user).unwrap().0, of("newer"));
        world.registry.commit(first, Some(of("older")), true);
        assert_eq!(world.registry.snapshot(world.user), None);
    }

    #[test]
    fn deletions_of_an_older_session_are_not_undone_by_a_newer_one() {
        let world = World::new(1 << 20);
        let first = world.registry.begin(world.user, Some(world.tag("a")), None, NOW);
        let second = world.registry.begin(world.user, Some(world.tag("a")), None, NOW);
        world.registry.commit(first, Some(of("left")), true);
        world.registry.commit(second, Some(of("as-it-was")), false);
        assert_eq!(world.registry.snapshot(world.user), None);
    }

    #[test]
    fn an_upgraded_session_leaves_nothing_where_another_has_seen_a_newer_maildrop() {
        let world = World::new(1 << 20);
        let before = world.registry.begin(world.user, Some(world.tag("a")), None, NOW);
        world.registry.commit(before, Some(of("old")), false);
        let (posed, _) = world.registry.snapshot(world.user).unwrap();
        let other = world.registry.begin(world.user, Some(world.tag("a")), None, NOW);
        world.registry.commit(other, Some(of("new")), false);
        let upgraded = world.registry.begin_upgraded(world.user, world.tag("a"), &posed, NOW);
        world.registry.commit(upgraded, Some(of("old")), false);
        assert_eq!(*world.registry.snapshot(world.user).unwrap().0, of("new"));
        // Undisturbed, it leaves what it has shown.
        let (posed, _) = world.registry.snapshot(world.user).unwrap();
        let upgraded = world.registry.begin_upgraded(world.user, world.tag("a"), &posed, NOW);
        assert_eq!(world.registry.snapshot(world.user), None);
        world.registry.commit(upgraded, Some(of("left")), true);
        assert_eq!(*world.registry.snapshot(world.user).unwrap().0, of("left"));
    }

    #[test]
    fn an_older_session_counts_for_nothing_even_if_its_user_was_forgotten_meanwhile() {
        let world = World::new(128 << 10);
        let first = world.registry.begin(world.user, Some(world.tag("a")), None, NOW);
        for index in 0..10_000_u32 {
            world.registry.begin(
                world.tagger.user("s", "mail", &index.to_le_bytes()),
                Some(world.tag("a")),
                None,
                NOW,
            );
        }
        let second = world.registry.begin(world.user, Some(world.tag("a")), None, NOW);
        world.registry.commit(second, Some(of("newer")), false);
        world.registry.commit(first, Some(of("older")), false);
        assert_eq!(*world.registry.snapshot(world.user).unwrap().0, of("newer"));
    }

    #[test]
    fn a_secret_is_known_for_a_day_after_it_was_accepted() {
        let world = World::new(1 << 20);
        world.registry.begin(world.user, Some(world.tag("a")), None, NOW);
        let day_ms = 86_400_000;
        assert_eq!(world.registry.standing(world.user, &world.tag("a"), NOW + day_ms), Standing::Known);
        assert_eq!(
            world.registry.standing(world.user, &world.tag("a"), NOW + day_ms + 1000),
            Standing::Changed
        );
    }

    #[test]
    fn one_huge_maildrop_pushes_nobody_out() {
        let world = World::new(1 << 20);
        let session = world.registry.begin(world.user, Some(world.tag("a")), None, NOW);
        let huge = Snapshot::pack((0..1000).map(|_| Row { size: 1, unique_id: b"0123456789" })).unwrap();
        world.registry.commit(session, Some(huge), false);
        assert_eq!(world.registry.snapshot(world.user), None);
        assert_eq!(world.registry.standing(world.user, &world.tag("a"), NOW), Standing::Known);
    }

    #[test]
    fn only_the_latest_few_secrets_of_a_user_are_known() {
        let world = World::new(1 << 20);
        for secret in ["1", "2", "3", "4", "5"] {
            world.registry.begin(world.user, Some(world.tag(secret)), None, NOW);
        }
        assert_eq!(world.registry.standing(world.user, &world.tag("1"), NOW), Standing::Changed);
        assert_eq!(world.registry.standing(world.user, &world.tag("5"), NOW), Standing::Known);
    }

    #[test]
    fn memory_stays_within_its_limit_and_the_latest_users_stay() {
        let world = World::new(256 << 10);
        let mut last = world.user;
        for index in 0..20_000_u32 {
            last = world.tagger.user("s", "mail", &index.to_le_bytes());
            let session = world.registry.begin(last, Some(world.tag("a")), None, NOW);
            world.registry.commit(session, Some(of("one")), false);
        }
        assert!(world.registry.octets() <= 256 << 10);
        assert!(world.registry.users() > 500);
        assert!(world.registry.snapshot(last).is_some());
    }
}
