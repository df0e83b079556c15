//! What is remembered of users in this process. Bounded: the users of longest ago are
//! forgotten first, which costs them one more login that passes.

use parking_lot::Mutex;

use super::table::{Size, Table};
use super::tag::UserKey;
use super::user::User;
use crate::pop3::snapshot::Snapshot;
use crate::shards::{SHARDS, part_of, shard};

/// A snapshot that takes more than this share of a shard is not kept: it would push everybody
/// else out.
const LARGEST_SHARE: usize = 4;

#[derive(Debug, Default)]
struct Shard {
    users: Table,
    octets: usize,
    /// Octets that it may have.
    limit: usize,
    snapshots: usize,
    forgotten: u64,
}

impl Shard {
    /// Counts a user as he is now, in the place of what he was.
    fn count(&mut self, before: Size, user: UserKey) {
        let after = self.users.size(user);
        self.release(before);
        self.octets += after.octets;
        self.snapshots += after.snapshots;
    }

    fn release(&mut self, gone: Size) {
        self.octets -= gone.octets;
        self.snapshots -= gone.snapshots;
    }
}

/// What is remembered now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Remembered {
    /// Users.
    pub users: usize,
    /// Those of them whose maildrop is known.
    pub snapshots: usize,
    /// Octets that all of it takes.
    pub octets: u64,
    /// Octets that it may take.
    pub limit: u64,
    /// Users that were forgotten until now, because there was no room.
    pub forgotten: u64,
}

/// All users.
#[derive(Debug)]
pub(super) struct Local {
    shards: Box<[Mutex<Shard>]>,
    limit: u64,
}

impl Local {
    /// `memory_limit`: octets that everything together may take.
    pub fn new(memory_limit: u64) -> Self {
        let of = |shard| Shard { limit: limit(memory_limit, shard), ..Shard::default() };
        Self { shards: (0..SHARDS).map(of).map(Mutex::new).collect(), limit: memory_limit }
    }

    /// Looks at a user, if anything is known of him. It counts as use.
    pub fn look<T>(&self, user: UserKey, look: impl FnOnce(&User) -> T) -> Option<T> {
        self.shard(user).users.with(user, |user| look(user))
    }

    /// Changes a user, if anything is known of him, to something that takes no more.
    pub fn lessen(&self, user: UserKey, change: impl FnOnce(&mut User)) {
        let mut shard = self.shard(user);
        let before = shard.users.size(user);
        shard.users.with(user, change);
        shard.count(before, user);
    }

    /// Changes a user.
    pub fn change<T>(&self, user: UserKey, change: impl FnOnce(&mut User) -> T) -> T {
        let mut shard = self.shard(user);
        let before = shard.users.size(user);
        let result = shard.users.change(user, change);
        shard.count(before, user);
        while shard.octets > shard.limit {
            let Some(gone) = shard.users.forget_one() else { break };
            shard.release(gone);
            shard.forgotten += 1;
        }
        result
    }

    /// Forgets a user; tells whether anything was known.
    pub fn forget(&self, user: UserKey) -> bool {
        let mut shard = self.shard(user);
        let Some(gone) = shard.users.remove(user) else { return false };
        shard.release(gone);
        true
    }

    /// Whether a snapshot of this user may be kept.
    pub fn takes(&self, user: UserKey, snapshot: &Snapshot) -> bool {
        snapshot.footprint() <= limit(self.limit, index(user)) / LARGEST_SHARE
    }

    /// What there is, all together.
    pub fn remembered(&self) -> Remembered {
        let none = Remembered { limit: self.limit, ..Remembered::default() };
        self.shards.iter().fold(none, |sum, shard| {
            let shard = shard.lock();
            Remembered {
                users: sum.users + shard.users.len(),
                snapshots: sum.snapshots + shard.snapshots,
                octets: sum.octets + shard.octets as u64,
                forgotten: sum.forgotten + shard.forgotten,
                ..sum
            }
        })
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
        self.shards[index(user)].lock()
    }
}

/// A user's shard.
fn index(user: UserKey) -> usize {
    let [a, b, c, d, ..] = user.0;
    shard(u32::from_le_bytes([a, b, c, d]))
}

/// Octets that a shard may have.
fn limit(all: u64, shard: usize) -> usize {
    usize::try_from(part_of(all, shard)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::pop3::snapshot::Row;

    #[test]
    fn what_is_remembered_is_counted_through_every_change() {
        let local = Local::new(64 << 10);
        let count = || {
            let all = local.remembered();
            (all.users, all.snapshots, all.forgotten)
        };
        let [one, other] = [UserKey::numbered(0), UserKey::numbered(1 << 32)];
        let message = Row { size: 1, unique_id: b"x" };
        let leave = |user: &mut User| user.snapshot = Snapshot::pack([message]).map(Arc::new);
        local.change(one, leave);
        local.change(one, leave);
        local.change(other, |_| ());
        assert_eq!(count(), (2, 1, 0));
        let with_one = local.octets();
        local.lessen(one, |user| user.snapshot = None);
        assert_eq!(count(), (2, 0, 0));
        assert!(local.octets() < with_one);
        local.change(one, leave);
        assert_eq!(local.octets(), with_one);
        local.change(other, leave);
        assert!(local.forget(other));
        assert_eq!(count(), (1, 1, 0));
        for more in 2..100 {
            local.change(UserKey::numbered(more << 32), leave);
        }
        let all = local.remembered();
        assert_eq!((all.users, all.octets), (local.users(), local.octets()));
        assert_eq!(all.snapshots, all.users);
        assert_eq!(all.users as u64 + all.forgotten, 99, "of the 99 whom one shard was to keep");
        assert!(all.forgotten > 0 && all.octets <= all.limit);
    }
}
