//! Slot numbers by the hashes of keys that are kept elsewhere, in small pieces.
//!
//! A hash table doubles when it is full: on average a quarter of it is unused, an allocator rounds its odd
//! size up, and the smaller table that it leaves behind fits nothing but another table of that size. This
//! index (linear hashing) consists of leaves of some thirty numbers, each in a block of its own that grows by
//! eight numbers, and gets one more leaf with every thirty numbers. Figures for 1,100,000 numbers in shards, of
//! keys in a vector:
//!
//! | | memory at most | insertion | lookup |
//! | --- | --- | --- | --- |
//! | `SlotIndex` | 6.6 MB | 0.35 µs | 0.19 µs |
//! | `HashTable<u32>` | 9.2 MB, and what the allocator adds | 0.19 µs | 0.16 µs |

/// Average number of slots in a leaf.
const PER_LEAF: usize = 32;
/// Slots in a group.
const PER_GROUP: usize = 8;
/// A byte of 1 for each slot of a group.
const ONES: u64 = u64::MAX / 0xFF;

/// Eight slots, or places for them.
#[derive(Clone, Copy, Debug, Default)]
struct Group {
    /// Eight bits of the hash of each slot, which are never 0; 0 if the place is free.
    tags: [u8; PER_GROUP],
    slots: [u32; PER_GROUP],
}

/// Places of one leaf.
type Leaf = Box<[Group]>;

/// Numbers, each under the hash of a key. Bits of the hash that choose between indexes must be neither the
/// highest eight nor among the lowest twenty or so.
#[derive(Debug, Default)]
pub struct SlotIndex {
    leaves: Vec<Leaf>,
    length: usize,
}

impl SlotIndex {
    /// Number of slots.
    #[must_use]
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there are no slots.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The slot under a hash for which `is_it` returns true: it compares the key in the slot.
    pub fn find(&self, hash: u64, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let leaf = self.leaves.get(self.leaf_of(hash))?;
        let mut from = 0;
        while let Some(place) = next_place(leaf, tag(hash), from) {
            let slot = leaf[place / PER_GROUP].slots[place % PER_GROUP];
            if is_it(slot) {
                return Some(slot);
            }
            from = place + 1;
        }
        None
    }

    /// Adds a slot, which must not be there. `hash_of`: the hash of a slot that is there.
    pub fn insert(&mut self, hash: u64, slot: u32, hash_of: impl Fn(u32) -> u64) {
        if self.length >= self.leaves.len() * PER_LEAF {
            self.add_leaf(hash_of);
        }
        let leaf = self.leaf_of(hash);
        put(&mut self.leaves[leaf], tag(hash), slot);
        self.length += 1;
    }

    /// Removes a slot, and returns whether it was there.
    pub fn remove(&mut self, hash: u64, slot: u32) -> bool {
        let Some((tag, _)) = self.place_of(hash, slot) else { return false };
        *tag = 0;
        self.length -= 1;
        true
    }

    /// Replaces a slot by another one under the same hash, and returns whether it was there.
    pub fn replace(&mut self, hash: u64, slot: u32, other: u32) -> bool {
        let Some((_, place)) = self.place_of(hash, slot) else { return false };
        *place = other;
        true
    }

    fn place_of(&mut self, hash: u64, slot: u32) -> Option<(&mut u8, &mut u32)> {
        let at = self.leaf_of(hash);
        let leaf = self.leaves.get_mut(at)?;
        let mut from = 0;
        loop {
            let place = next_place(leaf, tag(hash), from)?;
            if leaf[place / PER_GROUP].slots[place % PER_GROUP] == slot {
                let Group { tags, slots } = &mut leaf[place / PER_GROUP];
                return Some((&mut tags[place % PER_GROUP], &mut slots[place % PER_GROUP]));
            }
            from = place + 1;
        }
    }

    /// The leaf of a hash. With 2^n + m leaves, the first m of 2^n have been split in two, by one more bit of
    /// the hash.
    fn leaf_of(&self, hash: u64) -> usize {
        let all = self.leaves.len().next_power_of_two();
        let leaf = usize::try_from(hash & (all as u64 - 1)).unwrap_or_default();
        if leaf < self.leaves.len() { leaf } else { leaf - all / 2 }
    }

    /// Adds a leaf: splits the next one.
    fn add_leaf(&mut self, hash_of: impl Fn(u32) -> u64) {
        let added = self.leaves.len();
        if added == self.leaves.capacity() {
            // There may be a hundred thousand leaves: doubling would leave room for as many more.
            self.leaves.reserve_exact(added / 8 + 1);
        }
        self.leaves.push(Leaf::default());
        if added == 0 {
            return;
        }
        let bit = (added + 1).next_power_of_two() / 2;
        let split = std::mem::take(&mut self.leaves[added - bit]);
        let all =
            split.iter().flat_map(|group| group.tags.iter().zip(group.slots)).filter(|(tag, _)| **tag != 0);
        let (mut stay, mut go) = (Vec::new(), Vec::new());
        for (&tag, slot) in all {
            let half = if hash_of(slot) & bit as u64 == 0 { &mut stay } else { &mut go };
            half.push((tag, slot));
        }
        self.leaves[added - bit] = leaf_with(&stay);
        self.leaves[added] = leaf_with(&go);
    }
}

/// Eight bits of a hash, not 0.
fn tag(hash: u64) -> u8 {
    ((hash >> 56) as u8).max(1)
}

/// The first place with this tag, from a place on; 0 finds free places.
fn next_place(leaf: &[Group], tag: u8, from: usize) -> Option<usize> {
    let mut skipped = from % PER_GROUP;
    for (at, group) in leaf.iter().enumerate().skip(from / PER_GROUP) {
        // The bytes that are equal become 0. The lowest 0 becomes the lowest highest bit; others may be wrong.
        let differences = u64::from_le_bytes(group.tags) ^ (ONES * u64::from(tag));
        let differences = differences | ((1 << (skipped * 8)) - 1);
        let zeros = differences.wrapping_sub(ONES) & !differences & (ONES << 7);
        if zeros != 0 {
            return Some(at * PER_GROUP + zeros.trailing_zeros() as usize / 8);
        }
        skipped = 0;
    }
    None
}

/// Adds a slot to a leaf, which grows if it is full.
fn put(leaf: &mut Leaf, tag: u8, slot: u32) {
    let place = next_place(leaf, 0, 0).unwrap_or_else(|| {
        let mut groups = std::mem::take(leaf).into_vec();
        groups.reserve_exact(1);
        groups.push(Group::default());
        *leaf = groups.into_boxed_slice();
        (leaf.len() - 1) * PER_GROUP
    });
    let Group { tags, slots } = &mut leaf[place / PER_GROUP];
    (tags[place % PER_GROUP], slots[place % PER_GROUP]) = (tag, slot);
}

fn leaf_with(slots: &[(u8, u32)]) -> Leaf {
    let groups = slots.chunks(PER_GROUP).map(|some| {
        let mut group = Group::default();
        for (place, &(tag, slot)) in some.iter().enumerate() {
            (group.tags[place], group.slots[place]) = (tag, slot);
        }
        group
    });
    groups.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Slots of a test: leaves are split many times. Miri is slow.
    const SLOTS: u32 = if cfg!(miri) { 300 } else { 2_000 };

    /// A bijection, so that each number has a hash of its own.
    fn hash_of(slot: u32) -> u64 {
        (u64::from(slot) + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(31)
    }

    fn filled(slots: u32) -> SlotIndex {
        let mut index = SlotIndex::default();
        (0..slots).for_each(|slot| index.insert(hash_of(slot), slot, hash_of));
        index
    }

    #[test]
    fn every_slot_is_found_while_leaves_are_split() {
        let mut index = SlotIndex::default();
        for slot in 0..SLOTS {
            assert_eq!(index.find(hash_of(slot), |_| true).filter(|&found| found == slot), None);
            index.insert(hash_of(slot), slot, hash_of);
            assert!((0..=slot).all(|slot| index.find(hash_of(slot), |found| found == slot) == Some(slot)));
        }
        assert_eq!((index.len(), index.leaves.len()), (SLOTS as usize, (SLOTS as usize).div_ceil(PER_LEAF)));
    }

    #[test]
    fn the_place_of_a_removed_slot_is_used_again() {
        let mut index = filled(SLOTS);
        let groups = |index: &SlotIndex| index.leaves.iter().map(|leaf| leaf.len()).sum::<usize>();
        let before = groups(&index);
        for _ in 0..3 {
            assert!((0..SLOTS).all(|slot| index.remove(hash_of(slot), slot)));
            assert!(!index.remove(hash_of(1), 1) && index.is_empty());
            (0..SLOTS).for_each(|slot| index.insert(hash_of(slot), slot, hash_of));
        }
        assert_eq!(groups(&index), before);
    }

    #[test]
    fn slots_with_the_same_hash_are_told_apart() {
        let mut index = SlotIndex::default();
        (0..100).for_each(|slot| index.insert(7, slot, |_| 7));
        assert!((0..100).all(|slot| index.find(7, |found| found == slot) == Some(slot)));
        assert!(index.replace(7, 50, 1_000) && !index.replace(7, 50, 1_001));
        assert!(index.remove(7, 1_000) && !index.remove(7, 1_000));
        assert_eq!((index.len(), index.find(7, |found| found == 1_000)), (99, None));
    }

    #[test]
    #[cfg_attr(miri, ignore = "many slots, and nothing new about them")]
    fn a_slot_takes_less_than_seven_bytes() {
        for slots in [10_000, 14_000, 16_384, 20_000, 28_000] {
            let index = filled(slots);
            let leaves = index.leaves.capacity() * size_of::<Leaf>();
            let groups = index.leaves.iter().map(|leaf| size_of_val(&**leaf)).sum::<usize>();
            assert!(leaves + groups < 7 * slots as usize, "{slots}: {leaves} + {groups}");
        }
    }
}
