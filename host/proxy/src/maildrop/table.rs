//! A hash table of users that packs each into 64 bytes: there may be millions. Most users have one
//! secret and no route, so the rest is in a second table. Eviction is second chance (clock), close
//! enough to least recently used without links between users.
//!
//! Other modules see a map from [`UserKey`] to [`User`]; the model test below compares it with a
//! `HashMap`. `cargo bench -p reprieve --bench pieces -- registry` measures it.

use std::collections::HashMap;
use std::sync::Arc;

use hashbrown::HashTable;

use super::tag::{Hash, Tag, UserKey};
use super::user::{Accepted, DatedSnapshot, NoSnapshot, Route, Secrets, SnapshotTimes, User};
use reprieve_containers::slab::Slab;
use reprieve_pop3::snapshot::Snapshot;

/// Bytes per user besides the snapshot: the packed user, the slot in the index, and the unused parts
/// of pages and index.
const USER_BYTES: usize = size_of::<Option<Packed>>() + 16;
/// Bytes of a snapshot of a maildrop that is not empty, besides its rows.
const SNAPSHOT_BYTES: usize = size_of::<Option<StoredSnapshot>>();
/// Bytes of what few users have, in addition.
const EXTRA_BYTES: usize = size_of::<(u32, Box<Extra>)>() + size_of::<Extra>();

/// Flag: `tag` and `at_s` hold an accepted secret.
const HAS_SECRET: u8 = 1;
/// Flag: there is an [`Extra`].
const HAS_EXTRA: u8 = 2;
/// Flag: [`DatedSnapshot::is_up_to_date`].
const IS_UP_TO_DATE: u8 = 4;

/// A user.
#[derive(Debug)]
struct Packed {
    key: UserKey,
    latest: u64,
    heard: u64,
    heard_s: u32,
    posed_s: u32,
    /// Position in [`Table::snapshots`], or [`NONE`] or [`EMPTY`].
    snapshot: u32,
    /// [`SnapshotTimes::changed_s`] of the snapshot.
    changed_s: u32,
    /// The secret that was accepted last.
    tag: Tag,
    /// When that was, in seconds since 1970.
    at_s: u32,
    /// [`HAS_SECRET`], [`HAS_EXTRA`] and [`IS_UP_TO_DATE`].
    flags: u8,
    rejections: u8,
    no_snapshot: NoSnapshot,
    /// Whether the user was looked up since the eviction's hand last passed.
    used: bool,
}

/// [`Packed::snapshot`] of a user without one.
const NONE: u32 = u32::MAX;
/// [`Packed::snapshot`] of a user whose maildrop was empty, as many are. It was seen when the secret
/// was accepted, in good approximation, and the time of an upgrade is not kept.
const EMPTY: u32 = u32::MAX - 1;

/// A snapshot of a maildrop that is not empty.
#[derive(Debug)]
struct StoredSnapshot {
    snapshot: Arc<Snapshot>,
    seen_s: u32,
    upgraded_s: u32,
}

/// What few users have.
#[derive(Debug)]
struct Extra {
    route: Option<Arc<Route>>,
    /// All accepted secrets but the latest.
    accepted: Secrets,
}

/// What a user takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Size {
    pub bytes: usize,
    /// 1 if there is a snapshot.
    pub snapshots: usize,
}

/// What a step of the eviction did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Skipped the user that the room is needed for.
    Kept,
    /// The table is empty.
    Empty,
    /// The user was looked up since the last step over them, and stays.
    Spared,
    /// The user was forgotten.
    Forgotten(Size),
}

/// Users by their keys.
#[derive(Debug, Default)]
pub(super) struct Table {
    users: Slab<Packed>,
    snapshots: Slab<StoredSnapshot>,
    /// Slots in `users`, by key.
    index: HashTable<u32>,
    /// By slot.
    extra: HashMap<u32, Box<Extra>>,
    /// Slot of the next user that the eviction looks at.
    hand: u32,
    generation: u32,
}

impl Table {
    /// Number of users.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Changes when a user is removed, and when the eviction's hand starts again at the first slot.
    /// While it stays the same, no user can have been added and forgotten again: a new user is
    /// spared once.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// Calls `with` with a user, if they are known, and keeps what it changes. Counts as use.
    pub fn with<T>(&mut self, key: UserKey, with: impl FnOnce(&mut User) -> T) -> Option<T> {
        let slot = self.find(key)?;
        let mut user = self.unpack(slot)?;
        let result = with(&mut user);
        self.pack(slot, user);
        Some(result)
    }

    /// Changes a user, who is added if they are not known.
    pub fn change<T>(&mut self, key: UserKey, change: impl FnOnce(&mut User) -> T) -> T {
        let slot = self.find(key);
        let mut user = slot.and_then(|slot| self.unpack(slot)).unwrap_or_default();
        let result = change(&mut user);
        if let Some(slot) = slot.or_else(|| self.insert(key)) {
            self.pack(slot, user);
        }
        result
    }

    /// What a user takes; nothing if they are not known.
    pub fn size(&self, key: UserKey) -> Size {
        self.find(key).map_or(Size::default(), |slot| self.size_at(slot))
    }

    /// Removes a user, and returns what they took.
    pub fn remove(&mut self, key: UserKey) -> Option<Size> {
        self.generation = self.generation.wrapping_add(1);
        self.find(key).map(|slot| self.remove_at(slot))
    }

    /// One step of the eviction (second chance): forgets the next user, unless they were looked up
    /// since the last step over them or are `kept`, the one that needs the room.
    pub fn turn(&mut self, kept: UserKey) -> Turn {
        if self.index.is_empty() {
            return Turn::Empty;
        }
        loop {
            let slot = self.hand;
            self.hand = if slot + 1 < self.users.slot_count() {
                slot + 1
            } else {
                self.generation = self.generation.wrapping_add(1);
                0
            };
            match self.users.get_mut(slot) {
                Some(user) if user.key == kept => return Turn::Kept,
                Some(user) if user.used => {
                    user.used = false;
                    return Turn::Spared;
                }
                Some(_) => return Turn::Forgotten(self.remove_at(slot)),
                None => {}
            }
        }
    }

    fn find(&self, key: UserKey) -> Option<u32> {
        self.index
            .find(key.table_hash(), |&slot| self.users.get(slot).is_some_and(|user| user.key == key))
            .copied()
    }

    fn insert(&mut self, key: UserKey) -> Option<u32> {
        let user = Packed {
            key,
            latest: 0,
            heard: 0,
            heard_s: 0,
            posed_s: 0,
            snapshot: NONE,
            changed_s: 0,
            tag: Tag::from_bytes(Hash::default()),
            at_s: 0,
            flags: 0,
            rejections: 0,
            no_snapshot: NoSnapshot::NoneYet,
            used: true,
        };
        let slot = self.users.insert(user)?;
        let Self { users, index, .. } = self;
        index.insert_unique(key.table_hash(), slot, |&slot| {
            users.get(slot).map_or(0, |user| user.key.table_hash())
        });
        Some(slot)
    }

    /// Takes a user's content out of its slot; [`pack`](Self::pack) puts it back.
    fn unpack(&mut self, slot: u32) -> Option<User> {
        let packed = self.users.get_mut(slot)?;
        packed.used = true;
        let mut user = User {
            latest: packed.latest,
            heard: packed.heard,
            heard_s: packed.heard_s,
            posed_s: packed.posed_s,
            snapshot: None,
            rejections: packed.rejections,
            no_snapshot: packed.no_snapshot,
            ..User::default()
        };
        if packed.flags & HAS_SECRET != 0 {
            user.accepted.push(Accepted { tag: packed.tag, at_s: packed.at_s.into() });
        }
        user.snapshot = unpack_snapshot(&self.snapshots, packed);
        if packed.flags & HAS_EXTRA != 0
            && let Some(extra) = self.extra.remove(&slot)
        {
            user.route = extra.route;
            user.accepted.extend(extra.accepted);
        }
        Some(user)
    }

    fn pack(&mut self, slot: u32, user: User) {
        let Some(packed) = self.users.get_mut(slot) else { return };
        let User { mut accepted, snapshot, route, latest, rejections, no_snapshot, .. } = user;
        packed.latest = latest;
        (packed.heard, packed.heard_s, packed.posed_s) = (user.heard, user.heard_s, user.posed_s);
        (packed.rejections, packed.no_snapshot) = (rejections, no_snapshot);
        packed.flags = 0;
        if !accepted.is_empty() {
            let Accepted { tag, at_s } = accepted.remove(0);
            packed.flags |= HAS_SECRET;
            packed.tag = tag;
            packed.at_s = u32::try_from(at_s).unwrap_or(u32::MAX);
        }
        pack_snapshot(&mut self.snapshots, packed, snapshot);
        if route.is_some() || !accepted.is_empty() {
            packed.flags |= HAS_EXTRA;
            self.extra.insert(slot, Box::new(Extra { route, accepted }));
        }
    }

    fn size_at(&self, slot: u32) -> Size {
        let Some(user) = self.users.get(slot) else { return Size::default() };
        let extra = if user.flags & HAS_EXTRA != 0 { EXTRA_BYTES } else { 0 };
        let snapshot = self
            .snapshots
            .get(user.snapshot)
            .map_or(0, |stored| SNAPSHOT_BYTES + stored.snapshot.footprint());
        Size { bytes: USER_BYTES + extra + snapshot, snapshots: usize::from(user.snapshot != NONE) }
    }

    fn remove_at(&mut self, slot: u32) -> Size {
        let size = self.size_at(slot);
        if let Some(user) = self.users.remove(slot) {
            self.snapshots.remove(user.snapshot);
            if user.flags & HAS_EXTRA != 0 {
                self.extra.remove(&slot);
            }
            if let Ok(indexed) = self.index.find_entry(user.key.table_hash(), |&indexed| indexed == slot) {
                indexed.remove();
            }
        }
        size
    }
}

fn unpack_snapshot(snapshots: &Slab<StoredSnapshot>, packed: &Packed) -> Option<DatedSnapshot> {
    let changed_s = packed.changed_s;
    let is_up_to_date = packed.flags & IS_UP_TO_DATE != 0;
    match packed.snapshot {
        NONE => None,
        EMPTY => {
            let seen_s = if packed.flags & HAS_SECRET != 0 { packed.at_s } else { 0 };
            let times = SnapshotTimes { seen_s, changed_s, upgraded_s: 0 };
            Some(DatedSnapshot { snapshot: Snapshot::default().shared(), times, is_up_to_date })
        }
        at => snapshots.get(at).map(|StoredSnapshot { snapshot, seen_s, upgraded_s }| DatedSnapshot {
            snapshot: snapshot.clone(),
            times: SnapshotTimes { seen_s: *seen_s, changed_s, upgraded_s: *upgraded_s },
            is_up_to_date,
        }),
    }
}

fn pack_snapshot(snapshots: &mut Slab<StoredSnapshot>, packed: &mut Packed, dated: Option<DatedSnapshot>) {
    packed.changed_s = dated.as_ref().map_or(0, |dated| dated.times.changed_s);
    if dated.as_ref().is_some_and(|dated| dated.is_up_to_date) {
        packed.flags |= IS_UP_TO_DATE;
    }
    let stored = match dated {
        Some(dated) if dated.snapshot.count() > 0 => {
            let SnapshotTimes { seen_s, upgraded_s, .. } = dated.times;
            StoredSnapshot { snapshot: dated.snapshot, seen_s, upgraded_s }
        }
        other => {
            snapshots.remove(packed.snapshot);
            packed.snapshot = if other.is_some() { EMPTY } else { NONE };
            return;
        }
    };
    match snapshots.get_mut(packed.snapshot) {
        Some(place) => *place = stored,
        None => packed.snapshot = snapshots.insert(stored).unwrap_or(NONE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reprieve_pop3::snapshot::Row;

    /// A user that uses every field; `number` makes them different.
    fn full(number: u8) -> User {
        let mut user = User::default();
        for tag in 1..=3 {
            user.accept(Some(Tag::from_bytes([tag; 12])), 5_000_000 + u64::from(number));
        }
        user.route = Some(Arc::new(Route { pool: Some(format!("pool {number}")), user: None }));
        let snapshot = Snapshot::pack([Row { size: 1, unique_id: b"x" }]).unwrap().shared();
        let times = SnapshotTimes { seen_s: 1, changed_s: number.into(), upgraded_s: 3 };
        user.snapshot = Some(DatedSnapshot { snapshot, times, is_up_to_date: number.is_multiple_of(2) });
        (user.heard, user.heard_s, user.posed_s) = (u64::MAX - 1, 4, 5);
        (user.latest, user.rejections) = (u64::MAX, number);
        user.no_snapshot = NoSnapshot::Elsewhere;
        user
    }

    /// A user whose maildrop is empty.
    fn with_nothing(number: u8) -> User {
        // Tag 3 is rejected below; when the maildrop was seen would be lost with it.
        let mut user = with_one_secret(number | 4);
        let times = SnapshotTimes { seen_s: 1, changed_s: number.into(), upgraded_s: 0 };
        user.snapshot = Some(DatedSnapshot { snapshot: Arc::default(), times, is_up_to_date: true });
        user
    }

    fn with_one_secret(number: u8) -> User {
        let mut user = User::default();
        user.accept(Some(Tag::from_bytes([number; 12])), 1_000);
        user
    }

    /// Users of one table, each with a hash of their own.
    fn numbered(number: u128) -> UserKey {
        UserKey::numbered(number << 32)
    }

    #[test]
    fn a_packed_user_takes_64_bytes() {
        assert_eq!(size_of::<Option<Packed>>(), 64);
        let mut table = Table::default();
        table.change(numbered(7), |known| *known = with_one_secret(1));
        assert_eq!(table.size(numbered(7)), Size { bytes: USER_BYTES, snapshots: 0 });
        table.change(numbered(7), |known| *known = with_nothing(1));
        assert_eq!(table.size(numbered(7)), Size { bytes: USER_BYTES, snapshots: 1 });
        table.change(numbered(7), |known| *known = full(1));
        let footprint = full(1).snapshot.unwrap().snapshot.footprint();
        let bytes = USER_BYTES + EXTRA_BYTES + SNAPSHOT_BYTES + footprint;
        assert_eq!(table.size(numbered(7)), Size { bytes, snapshots: 1 });
    }

    #[test]
    fn random_operations_leave_the_users_of_a_hash_map_model() {
        let mut table = Table::default();
        let mut model = HashMap::new();
        // A linear congruential generator (Knuth): every run is the same.
        let mut state = 1_u64;
        let mut random = move |below: u8| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            u8::try_from((state >> 33) % u64::from(below)).unwrap()
        };
        for round in 0..20_000 {
            let key = numbered(random(50).into());
            match random(4) {
                0 => assert_eq!(table.remove(key).is_some(), model.remove(&key).is_some(), "round {round}"),
                1 => {
                    let number = random(250);
                    let user = [User::default(), with_one_secret(number), with_nothing(number), full(number)]
                        [usize::from(random(4))]
                    .clone();
                    table.change(key, |known| *known = user.clone());
                    model.insert(key, user);
                }
                2 => {
                    let reject = |known: &mut User| known.reject(Some(&Tag::from_bytes([3; 12])));
                    assert_eq!(table.with(key, reject), model.get_mut(&key).map(reject), "round {round}");
                }
                _ => {}
            }
            assert_eq!(table.with(key, |known| known.clone()), model.get(&key).cloned(), "round {round}");
            assert_eq!(table.len(), model.len(), "round {round}");
            let with_rows = |user: &&User| user.snapshot.as_ref().is_some_and(|it| it.snapshot.count() > 0);
            assert_eq!(
                table.snapshots.iter().count(),
                model.values().filter(with_rows).count(),
                "round {round}"
            );
            let with_extra = |user: &&User| user.route.is_some() || user.accepted.len() > 1;
            assert_eq!(table.extra.len(), model.values().filter(with_extra).count(), "round {round}");
        }
    }

    #[test]
    fn users_that_were_looked_up_are_forgotten_last() {
        let mut table = Table::default();
        for key in 0..100 {
            table.change(numbered(key), |_| ());
        }
        let nobody = numbered(1000);
        let forget = |table: &mut Table| {
            while let Turn::Spared = table.turn(nobody) {}
        };
        // All are new: the first round spares them, and forgets one.
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
        assert_eq!(table.turn(nobody), Turn::Empty);
    }

    #[test]
    fn the_user_that_needs_the_room_is_never_forgotten() {
        let mut table = Table::default();
        for key in 0..3 {
            table.change(numbered(key), |_| ());
        }
        let kept = numbered(0);
        let turns: Vec<_> = (0..9).map(|_| table.turn(kept)).collect();
        assert_eq!(turns.iter().filter(|turn| matches!(turn, Turn::Forgotten(_))).count(), 2);
        assert!(table.find(kept).is_some() && turns[8] == Turn::Kept);
    }
}
