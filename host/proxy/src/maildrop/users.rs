//! Users in the memory of this process. Their memory is bounded: the least recently used are
//! forgotten first, and their next login passes.

use std::sync::Arc;

use super::maildrop_session::SessionResult;
use super::no_snapshot::NoSnapshot;
use super::open_sessions::OpenSessions;
use super::table::{Size, Table, Turn};
use super::tag::UserKey;
use super::user::User;
use reprieve_containers::sharding::{SHARDS, shard};
use reprieve_sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use reprieve_sync::{Mutex, MutexGuard};

/// A snapshot may take at most 1/16 of the memory: a larger one would push out too many users.
const SNAPSHOT_SHARE: u64 = 16;

#[derive(Debug, Default)]
struct Shard {
    users: Table,
    open_sessions: OpenSessions,
    bytes: usize,
    snapshots: usize,
    forgotten: u64,
}

impl Shard {
    fn release(&mut self, size: Size) {
        self.bytes -= size.bytes;
        self.snapshots -= size.snapshots;
    }
}

/// Users in memory, and what they take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryUsage {
    /// Number of users.
    pub users: usize,
    /// Number of users with a snapshot.
    pub snapshots: usize,
    /// Bytes in use.
    pub bytes: u64,
    /// Maximum number of bytes in use.
    pub limit: u64,
    /// Users that were forgotten so far because the memory was full.
    pub forgotten: u64,
}

/// What was found about a user.
pub(super) struct Look<T> {
    /// None if the user is not known.
    pub found: Option<T>,
    /// See [`Table::generation`].
    pub generation: u32,
    /// Sessions of the user that are relayed by this process.
    pub open_sessions: u32,
}

/// A relayed session, which counts as open until this is dropped.
#[derive(Debug)]
pub struct OpenSession {
    users: Arc<Users>,
    user: UserKey,
}

impl OpenSession {
    pub(super) fn new(users: Arc<Users>, user: UserKey) -> Self {
        users.shard(user).open_sessions.opened(user);
        Self { users, user }
    }
}

impl Drop for OpenSession {
    fn drop(&mut self) {
        self.users.shard(self.user).open_sessions.closed(self.user);
    }
}

/// All users in memory.
#[derive(Debug)]
pub(super) struct Users {
    shards: Box<[Mutex<Shard>]>,
    /// Bytes in use in all shards: a large snapshot in one may push out users of another.
    bytes: AtomicU64,
    limit: u64,
    /// The shard in which the next user is forgotten, modulo their number.
    hand: AtomicUsize,
}

impl Users {
    /// `limit`: bytes that all users may take together.
    pub fn new(limit: u64) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            bytes: AtomicU64::new(0),
            limit,
            hand: AtomicUsize::new(0),
        }
    }

    /// Calls `look` with a user, if they are known. Counts as use.
    pub fn look<T>(&self, user: UserKey, look: impl FnOnce(&User) -> T) -> Look<T> {
        let mut shard = self.shard(user);
        let found = shard.users.look(user, look);
        Look { found, generation: shard.users.generation(), open_sessions: shard.open_sessions.count(user) }
    }

    /// Sessions of a user that are relayed by this process.
    pub fn open_sessions(&self, user: UserKey) -> u32 {
        self.shard(user).open_sessions.count(user)
    }

    /// Sessions of all users that are relayed by this process.
    #[cfg(test)]
    pub fn all_open_sessions(&self) -> u64 {
        self.shards.iter().map(|shard| shard.lock().open_sessions.total()).sum()
    }

    /// Changes a known user. Returns None if the user is not known.
    pub fn update_existing<T>(&self, user: UserKey, change: impl FnOnce(&mut User) -> T) -> Option<T> {
        let result = {
            let mut shard = self.shard(user);
            let before = shard.users.size(user);
            let result = shard.users.change_known(user, change);
            self.account(&mut shard, before, user);
            result
        };
        self.evict(user);
        result
    }

    /// Changes a user; an unknown user becomes known.
    pub fn change<T>(&self, user: UserKey, change: impl FnOnce(&mut User) -> T) -> T {
        self.change_in(user, |user, _| change(user))
    }

    /// As [`change`](Self::change); `change` also gets the [`Table::generation`] of the user's
    /// shard.
    pub fn change_in<T>(&self, user: UserKey, change: impl FnOnce(&mut User, u32) -> T) -> T {
        let result = {
            let mut shard = self.shard(user);
            let before = shard.users.size(user);
            let generation = shard.users.generation();
            let result = shard.users.change(user, |user| change(user, generation));
            self.account(&mut shard, before, user);
            result
        };
        self.evict(user);
        result
    }

    /// Counts a user that had the size `before`.
    fn account(&self, shard: &mut Shard, before: Size, user: UserKey) {
        let after = shard.users.size(user);
        if after == before {
            return;
        }
        shard.release(before);
        shard.bytes += after.bytes;
        shard.snapshots += after.snapshots;
        if after.bytes >= before.bytes {
            self.bytes.fetch_add((after.bytes - before.bytes) as u64, Ordering::Relaxed);
        } else {
            self.bytes.fetch_sub((before.bytes - after.bytes) as u64, Ordering::Relaxed);
        }
    }

    /// Forgets one user per shard in turn while the memory is over its limit, but not the
    /// one that was just changed. Threads that do so at the same time may each leave theirs, until the
    /// next change. The caller must not hold the lock of a shard.
    fn evict(&self, kept: UserKey) {
        let mut idle_shards = 0;
        while self.bytes.load(Ordering::Relaxed) > self.limit && idle_shards < SHARDS {
            let at = self.hand.fetch_add(1, Ordering::Relaxed) % SHARDS;
            let mut shard = self.shards[at].lock();
            match shard.users.turn(kept) {
                Turn::Empty | Turn::Kept => idle_shards += 1,
                Turn::Spared => idle_shards = 0,
                Turn::Forgotten(size) => {
                    idle_shards = 0;
                    shard.release(size);
                    shard.forgotten += 1;
                    self.bytes.fetch_sub(size.bytes as u64, Ordering::Relaxed);
                }
            }
        }
    }

    /// Forgets a user, and returns whether they were known.
    pub fn forget(&self, user: UserKey) -> bool {
        let mut shard = self.shard(user);
        let Some(size) = shard.users.remove(user) else { return false };
        shard.release(size);
        self.bytes.fetch_sub(size.bytes as u64, Ordering::Relaxed);
        true
    }

    /// Replaces a snapshot that is too large to be kept by the reason.
    pub fn check_size(&self, result: SessionResult) -> SessionResult {
        let dated = result?;
        if dated.snapshot.footprint() as u64 <= self.limit / SNAPSHOT_SHARE {
            Ok(dated)
        } else {
            Err(NoSnapshot::TooLarge)
        }
    }

    /// Users in memory, and what they take.
    pub fn memory_usage(&self) -> MemoryUsage {
        let none = MemoryUsage { limit: self.limit, ..MemoryUsage::default() };
        self.shards.iter().fold(none, |sum, shard| {
            let shard = shard.lock();
            MemoryUsage {
                users: sum.users + shard.users.len(),
                snapshots: sum.snapshots + shard.snapshots,
                bytes: sum.bytes + shard.bytes as u64,
                forgotten: sum.forgotten + shard.forgotten,
                ..sum
            }
        })
    }

    /// Bytes in use.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Number of users.
    pub fn count(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().users.len()).sum()
    }

    fn shard(&self, user: UserKey) -> MutexGuard<'_, Shard> {
        let [a, b, c, d, ..] = user.0;
        self.shards[shard(u32::from_le_bytes([a, b, c, d]))].lock()
    }
}

#[cfg(test)]
mod tests {
    use super::super::user::{DatedSnapshot, SnapshotTimes};
    use super::*;
    use reprieve_pop3::snapshot::{Row, Snapshot};

    #[test]
    fn counts_and_bytes_follow_every_change() {
        let users = Users::new(1 << 10);
        let count = || {
            let all = users.memory_usage();
            (all.users, all.snapshots, all.forgotten)
        };
        let [one, other] = [UserKey::numbered(0), UserKey::numbered(1 << 32)];
        let message = Row { size: 1, unique_id: b"x" };
        let leave = |user: &mut User| {
            let dated = |snapshot: Snapshot| DatedSnapshot {
                snapshot: snapshot.shared(),
                times: SnapshotTimes::default(),
                is_up_to_date: true,
            };
            user.snapshot = Snapshot::pack([message]).map(dated);
        };
        users.change(one, leave);
        users.change(one, leave);
        users.change(other, |_| ());
        assert_eq!(count(), (2, 1, 0));
        let with_one = users.bytes();
        users.update_existing(one, |user| user.snapshot = None);
        assert_eq!(count(), (2, 0, 0));
        assert!(users.bytes() < with_one);
        users.change(one, leave);
        assert_eq!(users.bytes(), with_one);
        users.change(other, leave);
        assert!(users.forget(other));
        assert_eq!(count(), (1, 1, 0));
        for more in 2..100_u128 {
            // In one shard, and in many.
            users.change(UserKey::numbered(more << 32 | (more % 2 * more) << 25), leave);
        }
        let all = users.memory_usage();
        assert_eq!((all.users, all.bytes), (users.count(), users.bytes()));
        assert_eq!(all.snapshots, all.users);
        assert_eq!(all.users as u64 + all.forgotten, 99);
        assert!(all.forgotten > 0 && all.bytes <= all.limit);
    }

    #[test]
    fn users_are_forgotten_only_while_they_take_more_than_the_limit() {
        let one_user = {
            let users = Users::new(u64::MAX);
            users.change(UserKey::numbered(0), |_| ());
            users.bytes()
        };
        // Each in a shard of their own, none in the first.
        let [kept @ .., newest] = [1, 2, 3, 4].map(|number| UserKey::numbered(number << 29));
        let users = Users::new(3 * one_user);
        for user in kept {
            users.change(user, |_| ());
        }
        assert_eq!((users.count(), users.bytes()), (3, 3 * one_user));
        users.change(newest, |_| ());
        assert_eq!((users.count(), users.bytes(), users.memory_usage().forgotten), (3, 3 * one_user, 1));
        assert!(users.look(newest, |_| ()).found.is_some(), "they need the room");
    }

    #[test]
    fn a_user_stays_who_takes_more_than_the_limit_alone() {
        let users = Users::new(1);
        users.change(UserKey::numbered(1), |_| ());
        assert_eq!((users.count(), users.memory_usage().forgotten), (1, 0));
    }
}
