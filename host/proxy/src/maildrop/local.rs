//! What is remembered of users in this process. Bounded: the least recently used are forgotten
//! first, which costs them one more login that passes.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::table::{Size, Table, Turn};
use super::tag::UserKey;
use super::user::User;
use reprieve_containers::sharding::{SHARDS, shard};
use reprieve_pop3::snapshot::Snapshot;

/// A snapshot that takes more than this share of the memory is not kept: it would push too many
/// others out.
const LARGEST_SHARE: u64 = 16;

#[derive(Debug, Default)]
struct Shard {
    users: Table,
    octets: usize,
    snapshots: usize,
    forgotten: u64,
}

impl Shard {
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

/// What was found of a user.
pub(super) struct Look<T> {
    /// None if nothing is known.
    pub found: Option<T>,
    /// See [`Table::generation`].
    pub generation: u32,
}

/// All users.
#[derive(Debug)]
pub(super) struct Local {
    shards: Box<[Mutex<Shard>]>,
    /// Bytes that all shards take together: a large snapshot may take the room of others, in
    /// whichever shard they are.
    octets: AtomicU64,
    limit: u64,
    /// The shard in which the next user is forgotten.
    hand: AtomicUsize,
}

impl Local {
    /// `memory_limit`: bytes that everything together may take.
    pub fn new(memory_limit: u64) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            octets: AtomicU64::new(0),
            limit: memory_limit,
            hand: AtomicUsize::new(0),
        }
    }

    /// Looks at a user. It counts as use.
    pub fn look<T>(&self, user: UserKey, look: impl FnOnce(&User) -> T) -> Look<T> {
        let mut shard = self.shard(user);
        let found = shard.users.with(user, |user| look(user));
        Look { found, generation: shard.users.generation() }
    }

    /// Changes a user, if anything is known of them, to something that takes no more.
    pub fn lessen(&self, user: UserKey, change: impl FnOnce(&mut User)) {
        let mut shard = self.shard(user);
        let before = shard.users.size(user);
        shard.users.with(user, change);
        self.count(&mut shard, before, user);
    }

    /// Changes a user.
    pub fn change<T>(&self, user: UserKey, change: impl FnOnce(&mut User) -> T) -> T {
        self.change_in(user, |user, _| change(user))
    }

    /// Changes a user. `change` is given the generation of their shard.
    pub fn change_in<T>(&self, user: UserKey, change: impl FnOnce(&mut User, u32) -> T) -> T {
        let result = {
            let mut shard = self.shard(user);
            let before = shard.users.size(user);
            let generation = shard.users.generation();
            let result = shard.users.change(user, |user| change(user, generation));
            self.count(&mut shard, before, user);
            result
        };
        self.forget_some();
        result
    }

    /// Counts a user as they are now, in the place of what they were.
    fn count(&self, shard: &mut Shard, before: Size, user: UserKey) {
        let after = shard.users.size(user);
        if after == before {
            return;
        }
        shard.release(before);
        shard.octets += after.octets;
        shard.snapshots += after.snapshots;
        if after.octets >= before.octets {
            self.octets.fetch_add((after.octets - before.octets) as u64, Ordering::Relaxed);
        } else {
            self.octets.fetch_sub((before.octets - after.octets) as u64, Ordering::Relaxed);
        }
    }

    /// Forgets users, of one shard after the other, until there is room again. No shard is
    /// locked meanwhile.
    fn forget_some(&self) {
        let mut empty = 0;
        while self.octets.load(Ordering::Relaxed) > self.limit && empty < SHARDS {
            let at = self.hand.fetch_add(1, Ordering::Relaxed) % SHARDS;
            let mut shard = self.shards[at].lock();
            match shard.users.turn() {
                Turn::Empty => empty += 1,
                Turn::Kept => empty = 0,
                Turn::Forgotten(gone) => {
                    empty = 0;
                    shard.release(gone);
                    shard.forgotten += 1;
                    self.octets.fetch_sub(gone.octets as u64, Ordering::Relaxed);
                }
            }
        }
    }

    /// Forgets a user; tells whether anything was known.
    pub fn forget(&self, user: UserKey) -> bool {
        let mut shard = self.shard(user);
        let Some(gone) = shard.users.remove(user) else { return false };
        shard.release(gone);
        self.octets.fetch_sub(gone.octets as u64, Ordering::Relaxed);
        true
    }

    /// Whether a snapshot may be kept: the same for all users.
    pub fn takes(&self, snapshot: &Snapshot) -> bool {
        snapshot.footprint() as u64 <= self.limit / LARGEST_SHARE
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

    /// Bytes that are taken now.
    pub fn octets(&self) -> u64 {
        self.octets.load(Ordering::Relaxed)
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use reprieve_pop3::snapshot::Row;

    #[test]
    fn what_is_remembered_is_counted_through_every_change() {
        let local = Local::new(1 << 10);
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
        for more in 2..100_u128 {
            // In one shard, and in many.
            local.change(UserKey::numbered(more << 32 | (more % 2 * more) << 25), leave);
        }
        let all = local.remembered();
        assert_eq!((all.users, all.octets), (local.users(), local.octets()));
        assert_eq!(all.snapshots, all.users);
        assert_eq!(all.users as u64 + all.forgotten, 99);
        assert!(all.forgotten > 0 && all.octets <= all.limit);
    }
}
