//! What is remembered of users in this process. Bounded: the users of longest ago are
//! forgotten first, which costs them one more login that passes.

use lru::LruCache;
use parking_lot::Mutex;

use super::tag::UserKey;
use super::user::User;
use crate::pop3::snapshot::Snapshot;

const SHARDS: usize = 64;
/// A snapshot that takes more than this share of a shard is not kept: it would push everybody
/// else out.
const LARGEST_SHARE: usize = 4;

#[derive(Debug)]
struct Shard {
    users: LruCache<UserKey, User>,
    octets: usize,
}

/// All users.
#[derive(Debug)]
pub(super) struct Local {
    shards: Box<[Mutex<Shard>]>,
    limit_per_shard: usize,
}

impl Local {
    /// `memory_limit`: octets that everything together may take.
    pub fn new(memory_limit: u64) -> Self {
        let shard = || Mutex::new(Shard { users: LruCache::unbounded(), octets: 0 });
        Self {
            shards: (0..SHARDS).map(|_| shard()).collect(),
            limit_per_shard: usize::try_from(memory_limit).unwrap_or(usize::MAX) / SHARDS,
        }
    }

    /// Looks at a user, if anything is known of him. It counts as use.
    pub fn look<T>(&self, user: UserKey, look: impl FnOnce(&User) -> T) -> Option<T> {
        self.shard(user).users.get(&user).map(look)
    }

    /// Changes a user, if anything is known of him, to something that takes no more. Its memory
    /// stays counted until the user is forgotten or logs in again.
    pub fn lessen(&self, user: UserKey, change: impl FnOnce(&mut User)) {
        if let Some(entry) = self.shard(user).users.get_mut(&user) {
            change(entry);
        }
    }

    /// Changes a user.
    pub fn change<T>(&self, user: UserKey, change: impl FnOnce(&mut User) -> T) -> T {
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

    /// Forgets a user; tells whether anything was known.
    pub fn forget(&self, user: UserKey) -> bool {
        let mut shard = self.shard(user);
        let Some(gone) = shard.users.pop(&user) else { return false };
        shard.octets -= gone.footprint();
        true
    }

    /// Whether a snapshot may be kept.
    pub fn takes(&self, snapshot: &Snapshot) -> bool {
        snapshot.footprint() <= self.limit_per_shard / LARGEST_SHARE
    }

    /// Octets that are taken now.
    pub fn octets(&self) -> u64 {
        self.shards.iter().map(|shard| shard.lock().octets as u64).sum()
    }

    /// Users that are remembered.
    pub fn users(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().users.len()).sum()
    }

    fn shard(&self, user: UserKey) -> parking_lot::MutexGuard<'_, Shard> {
        // The key is a hash: any of its bits will do.
        let index = usize::try_from(user.0 % SHARDS as u128).unwrap_or(0);
        self.shards[index].lock()
    }
}
