//! A hash table of users that packs each into 48 bytes: there may be millions. What few users have is in
//! a second table. Eviction is second chance (clock), close enough to least recently used without links
//! between users.
//!
//! Other modules see a map from [`UserKey`] to [`User`]; the model test below compares it with a
//! `HashMap`. `cargo bench -p reprieve --bench pieces -- registry` measures it.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use super::no_snapshot::NoSnapshot;
use super::tag::{Hash, Tag, UserKey};
use super::user::{Accepted, DatedSnapshot, Route, SnapshotTimes, User};
use reprieve_containers::slab::Slab;
use reprieve_containers::slot_index::SlotIndex;
use reprieve_pop3::snapshot::Snapshot;

/// Bytes per user besides the snapshot: the packed user, the slot in the index, and the unused parts
/// of pages and index.
const USER_BYTES: usize = size_of::<Option<Packed>>() + 16;
/// Bytes of a snapshot of a maildrop that is not empty, besides its rows.
const SNAPSHOT_BYTES: usize = size_of::<Option<StoredSnapshot>>();
/// Bytes of what few users have, in addition: with its place in a table that is half empty.
const EXTRA_BYTES: usize = 2 * size_of::<(u32, Extra)>();

/// A user. There are two layouts, because those with a secret know signals by small numbers (see
/// [`User::count_signal`]), and those without one, who are in a store that proxies share, by tokens.
#[derive(Debug)]
struct Packed {
    key: UserKey,
    /// The secret that was accepted last. Wide: [`User::heard`], and the upper part of [`User::latest`].
    tag: Hash,
    /// When that was, in seconds since 1970. Wide: [`User::heard_s`].
    at_s: u32,
    /// [`SnapshotTimes::changed_s`] of the snapshot.
    changed_s: u32,
    /// [`User::posed_s`], or [`User::heard_s`] if it [`IS_HEARD`].
    since_s: u32,
    /// Flags, and a [`Place`] in the lower bits.
    state: NonZeroU32,
    /// The lower part of [`User::latest`].
    latest: [u8; 6],
    /// [`User::heard`]. Wide: unused.
    heard: u8,
    rejections: u8,
}

/// Number of bits of [`Packed::state`] that have the [`Place`].
const PLACE_BITS: u32 = 26;
/// `tag` and `at_s` hold an accepted secret.
const HAS_SECRET: u32 = 1 << PLACE_BITS;
/// There is an [`Extra`].
const HAS_EXTRA: u32 = 2 << PLACE_BITS;
/// [`DatedSnapshot::is_up_to_date`].
const IS_UP_TO_DATE: u32 = 4 << PLACE_BITS;
/// `since_s` is [`User::heard_s`].
const IS_HEARD: u32 = 8 << PLACE_BITS;
/// The wide layout.
const IS_WIDE: u32 = 16 << PLACE_BITS;
/// The user was looked up since the eviction's hand last passed.
const IS_USED: u32 = 32 << PLACE_BITS;

impl Packed {
    fn has(&self, flag: u32) -> bool {
        self.state.get() & flag != 0
    }

    fn flags(&self) -> u32 {
        self.state.get() >> PLACE_BITS << PLACE_BITS
    }

    fn place(&self) -> Place {
        Place::from_number(self.state.get() % (1 << PLACE_BITS))
    }

    fn set_state(&mut self, flags: u32, place: Place) {
        // No place has the number 0.
        self.state = NonZeroU32::MIN.saturating_add(flags | (place.number() - 1));
    }

    /// The user without what is elsewhere.
    fn unpack(&self) -> User {
        let mut latest = [0; 8];
        latest[..6].copy_from_slice(&self.latest);
        let mut user = User { rejections: self.rejections, ..User::default() };
        if self.has(IS_WIDE) {
            let [heard @ .., seventh, eighth, _, _] = self.tag;
            latest[6..].copy_from_slice(&[seventh, eighth]);
            user.heard = u64::from_le_bytes(heard);
            (user.heard_s, user.posed_s) = (self.at_s, self.since_s);
        } else {
            user.heard = self.heard.into();
            if self.has(IS_HEARD) {
                user.heard_s = self.since_s;
            } else {
                user.posed_s = self.since_s;
            }
            if self.has(HAS_SECRET) {
                user.accepted.push(Accepted { tag: Tag::from_bytes(self.tag), at_s: self.at_s.into() });
            }
        }
        user.latest = u64::from_le_bytes(latest);
        user
    }

    /// Packs all but the snapshot, and returns the flags and the secrets that have no room.
    fn pack<'u>(&mut self, user: &'u User) -> (u32, &'u [Accepted]) {
        let [latest @ .., seventh, eighth] = user.latest.to_le_bytes();
        self.latest = latest;
        self.rejections = user.rejections;
        let number = u8::try_from(user.heard).ok().filter(|_| [seventh, eighth] == [0, 0]);
        // A user who was posed to after a signal is rare.
        let Some(number) = number.filter(|_| user.heard_s == 0 || user.posed_s == 0) else {
            self.tag[..8].copy_from_slice(&user.heard.to_le_bytes());
            self.tag[8..10].copy_from_slice(&[seventh, eighth]);
            (self.at_s, self.since_s) = (user.heard_s, user.posed_s);
            return (IS_WIDE, &user.accepted);
        };
        self.heard = number;
        self.since_s = user.heard_s | user.posed_s;
        let heard = if user.heard_s == 0 { 0 } else { IS_HEARD };
        let Some((Accepted { tag, at_s }, others)) = user.accepted.split_first() else { return (heard, &[]) };
        self.tag = tag.bytes();
        self.at_s = u32::try_from(*at_s).unwrap_or(u32::MAX);
        (heard | HAS_SECRET, others)
    }
}

/// Where a user's snapshot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// There is none.
    None(NoSnapshot),
    /// The maildrop was empty, as many are. It was seen when the secret was accepted, in good
    /// approximation, and the time of an upgrade is not kept.
    Empty,
    /// At this position in [`Table::snapshots`].
    At(u32),
}

impl Place {
    /// Number of the first position.
    const FIRST: u32 = 16;
    /// Number of positions.
    const POSITIONS: u32 = (1 << PLACE_BITS) - Self::FIRST;

    /// From 1 to below 2^26.
    fn number(self) -> u32 {
        match self {
            Self::None(why) => 1 + u32::from(why as u8),
            Self::Empty => Self::FIRST - 1,
            Self::At(position) => Self::FIRST + position,
        }
    }

    fn from_number(number: u32) -> Self {
        match number {
            Self::FIRST.. => Self::At(number - Self::FIRST),
            _ if number == Self::FIRST - 1 => Self::Empty,
            _ => Self::None(NoSnapshot::ALL.get(number as usize - 1).copied().unwrap_or_default()),
        }
    }
}

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
    /// The accepted secrets that the packed user has no room for.
    accepted: Box<[Accepted]>,
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
    /// In pages of nearly a KiB.
    users: Slab<Packed, 21>,
    snapshots: Slab<StoredSnapshot>,
    /// Slots in `users`, by key.
    index: SlotIndex,
    /// By slot.
    extra: HashMap<u32, Extra>,
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

    /// Calls `look` with a user, if they are known. Counts as use.
    pub fn look<T>(&mut self, key: UserKey, look: impl FnOnce(&User) -> T) -> Option<T> {
        let slot = self.find(key)?;
        let packed = self.users.get_mut(slot)?;
        packed.state |= IS_USED;
        self.unpack(slot).map(|user| look(&user))
    }

    /// Calls `change` with a user, if they are known, and keeps what it changes. Counts as use.
    pub fn change_known<T>(&mut self, key: UserKey, change: impl FnOnce(&mut User) -> T) -> Option<T> {
        let slot = self.find(key)?;
        let mut user = self.unpack(slot)?;
        let result = change(&mut user);
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
                Some(user) if user.has(IS_USED) => {
                    user.set_state(user.flags() & !IS_USED, user.place());
                    return Turn::Spared;
                }
                Some(_) => return Turn::Forgotten(self.remove_at(slot)),
                None => {}
            }
        }
    }

    fn find(&self, key: UserKey) -> Option<u32> {
        let is_key = |slot| self.users.get(slot).is_some_and(|user| user.key == key);
        self.index.find(key.table_hash(), is_key)
    }

    fn insert(&mut self, key: UserKey) -> Option<u32> {
        let user = Packed {
            key,
            tag: Hash::default(),
            at_s: 0,
            changed_s: 0,
            since_s: 0,
            state: NonZeroU32::MIN,
            latest: [0; 6],
            heard: 0,
            rejections: 0,
        };
        let slot = self.users.insert(user)?;
        let Self { users, index, .. } = self;
        index.insert(key.table_hash(), slot, |slot| users.get(slot).map_or(0, |user| user.key.table_hash()));
        Some(slot)
    }

    fn unpack(&self, slot: u32) -> Option<User> {
        let packed = self.users.get(slot)?;
        let mut user = packed.unpack();
        if packed.has(HAS_EXTRA)
            && let Some(extra) = self.extra.get(&slot)
        {
            user.route.clone_from(&extra.route);
            user.accepted.extend(extra.accepted.iter().cloned());
        }
        let (snapshot, seen_s, upgraded_s) = match packed.place() {
            Place::None(why) => {
                user.no_snapshot = why;
                return Some(user);
            }
            Place::Empty => {
                let seen_s = user.accepted.first().map_or(0, |latest| latest.at_s);
                (Snapshot::default().shared(), u32::try_from(seen_s).unwrap_or(u32::MAX), 0)
            }
            Place::At(position) => {
                let StoredSnapshot { snapshot, seen_s, upgraded_s } = self.snapshots.get(position)?;
                (snapshot.clone(), *seen_s, *upgraded_s)
            }
        };
        let times = SnapshotTimes { seen_s, changed_s: packed.changed_s, upgraded_s };
        let is_up_to_date = packed.has(IS_UP_TO_DATE);
        user.snapshot = Some(DatedSnapshot { snapshot, times, is_up_to_date });
        Some(user)
    }

    /// Writes a user to their slot. Counts as use.
    fn pack(&mut self, slot: u32, mut user: User) {
        let Some(packed) = self.users.get_mut(slot) else { return };
        let had_extra = packed.has(HAS_EXTRA);
        let snapshot = user.snapshot.take();
        packed.changed_s = snapshot.as_ref().map_or(0, |dated| dated.times.changed_s);
        let is_up_to_date = snapshot.as_ref().is_some_and(|dated| dated.is_up_to_date);
        let place = store_snapshot(&mut self.snapshots, packed.place(), snapshot, user.no_snapshot);
        let (mut flags, accepted) = packed.pack(&user);
        flags |= IS_USED | if is_up_to_date { IS_UP_TO_DATE } else { 0 };
        if user.route.is_some() || !accepted.is_empty() {
            flags |= HAS_EXTRA;
            self.extra.insert(slot, Extra { accepted: accepted.into(), route: user.route });
        } else if had_extra {
            self.extra.remove(&slot);
        }
        packed.set_state(flags, place);
    }

    fn size_at(&self, slot: u32) -> Size {
        let Some(user) = self.users.get(slot) else { return Size::default() };
        let place = user.place();
        let mut bytes = USER_BYTES;
        if let Place::At(position) = place {
            let stored = self.snapshots.get(position);
            bytes += stored.map_or(0, |stored| SNAPSHOT_BYTES + stored.snapshot.footprint());
        }
        if user.has(HAS_EXTRA) {
            let accepted = self.extra.get(&slot).map_or(0, |extra| extra.accepted.len());
            bytes += EXTRA_BYTES + accepted * size_of::<Accepted>();
        }
        Size { bytes, snapshots: usize::from(!matches!(place, Place::None(_))) }
    }

    fn remove_at(&mut self, slot: u32) -> Size {
        let size = self.size_at(slot);
        if let Some(user) = self.users.remove(slot) {
            if let Place::At(position) = user.place() {
                self.snapshots.remove(position);
            }
            if user.has(HAS_EXTRA) {
                self.extra.remove(&slot);
            }
            self.index.remove(user.key.table_hash(), slot);
        }
        size
    }
}

/// Replaces the snapshot at a place, and returns the new place.
fn store_snapshot(
    snapshots: &mut Slab<StoredSnapshot>,
    place: Place,
    dated: Option<DatedSnapshot>,
    no_snapshot: NoSnapshot,
) -> Place {
    let before = if let Place::At(position) = place { Some(position) } else { None };
    let stored = match dated {
        Some(dated) if dated.snapshot.count() > 0 => {
            let SnapshotTimes { seen_s, upgraded_s, .. } = dated.times;
            StoredSnapshot { snapshot: dated.snapshot, seen_s, upgraded_s }
        }
        other => {
            before.map(|position| snapshots.remove(position));
            return if other.is_some() { Place::Empty } else { Place::None(no_snapshot) };
        }
    };
    if let Some(kept) = before.and_then(|position| snapshots.get_mut(position)) {
        *kept = stored;
        return place;
    }
    match snapshots.insert(stored) {
        Some(position) if position < Place::POSITIONS => Place::At(position),
        beyond => {
            beyond.map(|position| snapshots.remove(position));
            Place::None(NoSnapshot::NoRoom)
        }
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
        user
    }

    /// A user whose session another proxy has seen.
    fn without_snapshot(number: u8) -> User {
        let no_snapshot = NoSnapshot::ALL[usize::from(number) % NoSnapshot::ALL.len()];
        let tokens = User { latest: 1 << 48, heard: 1 << 8, posed_s: number.into(), ..User::default() };
        User { no_snapshot, ..tokens }
    }

    /// A user whose maildrop is empty.
    fn with_nothing(number: u8) -> User {
        // Tag 3 is rejected below; when the maildrop was seen would be lost with it.
        let mut user = with_one_secret(number | 4);
        let times = SnapshotTimes { seen_s: 1, changed_s: number.into(), upgraded_s: 0 };
        user.snapshot = Some(DatedSnapshot { snapshot: Arc::default(), times, is_up_to_date: true });
        (user.latest, user.heard) = ((1 << 48) - 1, u8::MAX.into());
        let since_s = if number.is_multiple_of(2) { &mut user.heard_s } else { &mut user.posed_s };
        *since_s = u32::MAX - u32::from(number);
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
    fn a_packed_user_takes_48_bytes() {
        assert_eq!(size_of::<Option<Packed>>(), 48);
        let mut table = Table::default();
        table.change(numbered(7), |known| *known = with_one_secret(1));
        assert_eq!(table.size(numbered(7)), Size { bytes: USER_BYTES, snapshots: 0 });
        table.change(numbered(7), |known| *known = with_nothing(1));
        assert_eq!(table.size(numbered(7)), Size { bytes: USER_BYTES, snapshots: 1 });
        table.change(numbered(7), |known| *known = without_snapshot(1));
        assert_eq!(table.size(numbered(7)), Size { bytes: USER_BYTES, snapshots: 0 });
        table.change(numbered(7), |known| *known = full(1));
        let footprint = full(1).snapshot.unwrap().snapshot.footprint();
        let bytes = USER_BYTES + EXTRA_BYTES + 3 * size_of::<Accepted>() + SNAPSHOT_BYTES + footprint;
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
                    let one = [with_one_secret, with_nothing, without_snapshot, full][usize::from(random(4))];
                    let user = one(number);
                    table.change(key, |known| *known = user.clone());
                    model.insert(key, user);
                }
                2 => {
                    let reject = |known: &mut User| known.reject(Some(&Tag::from_bytes([3; 12])));
                    assert_eq!(
                        table.change_known(key, reject),
                        model.get_mut(&key).map(reject),
                        "round {round}"
                    );
                }
                _ => {}
            }
            assert_eq!(table.look(key, User::clone), model.get(&key).cloned(), "round {round}");
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
    fn every_place_has_a_number_of_its_own() {
        let reasons = NoSnapshot::ALL.map(Place::None);
        let last = Place::At(Place::POSITIONS - 1);
        let places = reasons.into_iter().chain([Place::Empty, Place::At(0), Place::At(1), last]);
        let mut numbers = std::collections::HashSet::new();
        for place in places {
            assert_eq!(Place::from_number(place.number()), place);
            assert!((1..1 << PLACE_BITS).contains(&place.number()) && numbers.insert(place.number()));
        }
    }

    #[test]
    fn when_an_empty_maildrop_was_seen_is_not_known_without_a_secret() {
        let mut table = Table::default();
        table.change(numbered(1), |known| *known = with_nothing(1));
        for seen_s in [1, 0] {
            let found = table.change_known(numbered(1), |known| {
                let times = known.snapshot.as_ref().map(|dated| dated.times);
                known.reject(Some(&Tag::from_bytes([5; 12])));
                times
            });
            assert_eq!(found.flatten().map(|times| times.seen_s), Some(seen_s));
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
            table.look(numbered(key), |_| ());
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

    #[test]
    fn the_generation_changes_if_a_user_is_removed_and_with_each_round_of_the_eviction() {
        let mut table = Table::default();
        for key in 0..3 {
            table.change(numbered(key), |_| ());
        }
        let nobody = numbered(1000);
        let start = table.generation();
        assert_eq!([table.turn(nobody), table.turn(nobody)], [Turn::Spared, Turn::Spared]);
        table.look(numbered(0), |_| ());
        table.change(numbered(1), |_| ());
        assert_eq!(table.generation(), start, "no user can have been added and forgotten");
        assert_eq!(table.turn(nobody), Turn::Spared);
        let second_round = table.generation();
        assert_ne!(second_round, start);
        table.remove(numbered(2));
        assert_ne!(table.generation(), second_round);
    }
}
