//! Users as they are kept, packed: most have one secret, and went where everybody goes.

use std::collections::HashMap;
use std::sync::Arc;

use hashbrown::HashTable;

use super::tag::{Hash, Tag, UserKey};
use super::user::{Accepted, NoSnapshot, Route, Secrets, User};
use reprieve_containers::slab::Slab;
use reprieve_pop3::snapshot::Snapshot;

/// What a user takes beside his snapshot: himself, his place among the others, and what is left
/// over in pages and in the index.
const USER_OCTETS: usize = size_of::<Option<Kept>>() + 16;
/// What it takes beside that few users need.
const MORE_OCTETS: usize = size_of::<(u32, Box<More>)>() + size_of::<More>();

/// There is a secret that was accepted.
const ACCEPTED: u8 = 1;
/// There is more.
const MORE: u8 = 2;

/// A user.
#[derive(Debug)]
struct Kept {
    key: UserKey,
    latest: u64,
    snapshot: Option<Arc<Snapshot>>,
    /// The secret that was accepted last.
    tag: Tag,
    /// When that was, in seconds since 1970.
    at_s: u32,
    /// Whether there is such a secret, and whether there is more: see [`More`].
    flags: u8,
    rejections: u8,
    no_snapshot: NoSnapshot,
    /// Whether anybody has asked for him since it was last seen who is to be forgotten.
    used: bool,
}

/// What few users have.
#[derive(Debug)]
struct More {
    route: Option<Arc<Route>>,
    /// Secrets that were accepted before the last one.
    accepted: Secrets,
}

/// What a user counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Size {
    pub octets: usize,
    pub snapshots: usize,
}

/// What came of a user's turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// There is nobody.
    Empty,
    /// They were asked for since the last time.
    Kept,
    /// They were not, and are gone.
    Forgotten(Size),
}

/// Users by their keys, and who of them is to be forgotten first.
#[derive(Debug, Default)]
pub(super) struct Table {
    users: Slab<Kept>,
    index: HashTable<u32>,
    more: HashMap<u32, Box<More>>,
    /// Where it is looked next for somebody to forget.
    hand: u32,
    /// Times that the hand has begun anew, and that users were taken out.
    generation: u32,
}

impl Table {
    /// Users in it.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// As long as it is the same, nobody has come and gone: whoever comes is only forgotten
    /// when the hand has gone past them and all the others.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// Looks at a user or changes him, if he is there. It counts as use.
    pub fn with<T>(&mut self, key: UserKey, with: impl FnOnce(&mut User) -> T) -> Option<T> {
        let at = self.find(key)?;
        let mut user = self.unpack(at)?;
        let result = with(&mut user);
        self.pack(at, user);
        Some(result)
    }

    /// Changes a user, who is there afterwards.
    pub fn change<T>(&mut self, key: UserKey, change: impl FnOnce(&mut User) -> T) -> T {
        let at = self.find(key);
        let mut user = at.and_then(|at| self.unpack(at)).unwrap_or_default();
        let result = change(&mut user);
        if let Some(at) = at.or_else(|| self.insert(key)) {
            self.pack(at, user);
        }
        result
    }

    /// What a user counts; nothing where he is not there.
    pub fn size(&self, key: UserKey) -> Size {
        self.find(key).map_or(Size::default(), |at| self.size_at(at))
    }

    /// Takes a user out.
    pub fn remove(&mut self, key: UserKey) -> Option<Size> {
        self.generation = self.generation.wrapping_add(1);
        self.find(key).map(|at| self.remove_at(at))
    }

    /// Looks at the next user whether they are to be forgotten: whoever nobody has asked for
    /// since it was their turn last (second chance, near enough to the least recently used).
    pub fn turn(&mut self) -> Turn {
        if self.index.is_empty() {
            return Turn::Empty;
        }
        loop {
            let at = self.hand;
            self.hand = if at + 1 < self.users.slot_count() {
                at + 1
            } else {
                self.generation = self.generation.wrapping_add(1);
                0
            };
            match self.users.get_mut(at) {
                Some(user) if user.used => {
                    user.used = false;
                    return Turn::Kept;
                }
                Some(_) => return Turn::Forgotten(self.remove_at(at)),
                None => {}
            }
        }
    }

    fn find(&self, key: UserKey) -> Option<u32> {
        self.index.find(hash(key), |&at| self.users.get(at).is_some_and(|user| user.key == key)).copied()
    }

    fn insert(&mut self, key: UserKey) -> Option<u32> {
        let user = Kept {
            key,
            latest: 0,
            snapshot: None,
            tag: Tag::from_octets(Hash::default()),
            at_s: 0,
            flags: 0,
            rejections: 0,
            no_snapshot: NoSnapshot::NoneYet,
            used: true,
        };
        let at = self.users.insert(user)?;
        let Self { users, index, .. } = self;
        index.insert_unique(hash(key), at, |&at| users.get(at).map_or(0, |user| hash(user.key)));
        Some(at)
    }

    /// The user as he is worked with. What he holds is not there until he is packed again.
    fn unpack(&mut self, at: u32) -> Option<User> {
        let kept = self.users.get_mut(at)?;
        kept.used = true;
        let mut user = User {
            latest: kept.latest,
            snapshot: kept.snapshot.take(),
            rejections: kept.rejections,
            no_snapshot: kept.no_snapshot,
            ..User::default()
        };
        if kept.flags & ACCEPTED != 0 {
            user.accepted.push(Accepted { tag: kept.tag, at_s: kept.at_s.into() });
        }
        if kept.flags & MORE != 0
            && let Some(more) = self.more.remove(&at)
        {
            user.route = more.route;
            user.accepted.extend(more.accepted);
        }
        Some(user)
    }

    fn pack(&mut self, at: u32, user: User) {
        let Some(kept) = self.users.get_mut(at) else { return };
        let User { mut accepted, snapshot, route, latest, rejections, no_snapshot } = user;
        (kept.latest, kept.snapshot) = (latest, snapshot);
        (kept.rejections, kept.no_snapshot) = (rejections, no_snapshot);
        kept.flags = 0;
        if !accepted.is_empty() {
            let Accepted { tag, at_s } = accepted.remove(0);
            kept.flags |= ACCEPTED;
            kept.tag = tag;
            kept.at_s = u32::try_from(at_s).unwrap_or(u32::MAX);
        }
        if route.is_some() || !accepted.is_empty() {
            kept.flags |= MORE;
            self.more.insert(at, Box::new(More { route, accepted }));
        }
    }

    fn size_at(&self, at: u32) -> Size {
        let Some(user) = self.users.get(at) else { return Size::default() };
        let more = if user.flags & MORE != 0 { MORE_OCTETS } else { 0 };
        let snapshot = user.snapshot.as_ref().map_or(0, |snapshot| snapshot.footprint());
        Size { octets: USER_OCTETS + more + snapshot, snapshots: usize::from(user.snapshot.is_some()) }
    }

    fn remove_at(&mut self, at: u32) -> Size {
        let size = self.size_at(at);
        if let Some(user) = self.users.remove(at) {
            if user.flags & MORE != 0 {
                self.more.remove(&at);
            }
            if let Ok(known) = self.index.find_entry(hash(user.key), |&known| known == at) {
                known.remove();
            }
        }
        size
    }
}

/// Keys are hashes themselves. The first four octets have chosen the table, and say nothing more.
fn hash(UserKey(key): UserKey) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|at| key[4 + at]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> User {
        let mut user = User::default();
        for tag in 1..=3 {
            user.accept(Some(Tag::from_octets([tag; 12])), 5_000_000 + u64::from(tag));
        }
        user.route = Some(Arc::new(Route { pool: Some("other".to_owned()), user: None }));
        user.snapshot = Some(Arc::default());
        (user.latest, user.rejections) = (u64::MAX, u8::MAX);
        user.no_snapshot = NoSnapshot::Elsewhere;
        user
    }

    #[test]
    fn a_user_comes_back_as_he_was() {
        assert_eq!(size_of::<Option<Kept>>(), 48);
        let mut table = Table::default();
        let with_one = {
            let mut user = User::default();
            user.accept(Some(Tag::from_octets([9; 12])), 1_000);
            user
        };
        for user in [full(), User::default(), with_one, full()] {
            table.change(UserKey::numbered(7), |known| *known = user.clone());
            assert_eq!(table.with(UserKey::numbered(7), |known| known.clone()), Some(user));
        }
        assert_eq!(table.with(UserKey::numbered(8), |_| ()), None);
        let whole = table.size(UserKey::numbered(7));
        table.with(UserKey::numbered(7), |known| known.reject(Some(&Tag::from_octets([3; 12]))));
        assert_eq!(table.size(UserKey::numbered(7)), whole);
        table.with(UserKey::numbered(7), |known| *known = User::default());
        assert_eq!(table.size(UserKey::numbered(7)), Size { octets: USER_OCTETS, snapshots: 0 });
        assert!(table.more.is_empty());
        table.with(UserKey::numbered(7), |known| *known = full());
        assert_eq!(table.remove(UserKey::numbered(7)), Some(whole));
        assert!(table.more.is_empty() && table.len() == 0);
        assert_eq!(table.remove(UserKey::numbered(7)), None);
    }

    /// Users of one table, each with a hash of his own.
    fn numbered(number: u128) -> UserKey {
        UserKey::numbered(number << 32)
    }

    #[test]
    fn whoever_was_asked_for_is_forgotten_after_those_who_were_not() {
        let mut table = Table::default();
        for key in 0..100 {
            table.change(numbered(key), |_| ());
        }
        let forget = |table: &mut Table| {
            while let Turn::Kept = table.turn() {}
        };
        // The first round finds that all of them are new.
        forget(&mut table);
        for key in 50..100 {
            table.with(numbered(key), |_| ());
        }
        for _ in 0..49 {
            forget(&mut table);
        }
        assert_eq!(table.len(), 50);
        assert!((50..100).all(|key| table.find(numbered(key)).is_some()));
        table.change(numbered(200), |_| ());
        for _ in 0..50 {
            forget(&mut table);
        }
        assert!(table.find(numbered(200)).is_some(), "the newest is the last to go");
        forget(&mut table);
        assert_eq!(table.turn(), Turn::Empty);
    }
}
