//! The entries of a shard, packed. An entry is a head of 8 bytes, its key and its value, stored
//! contiguously in a cell whose size is the next multiple of 8 bytes, or in a block of its own if it is
//! longer than the largest cell.

use crate::{NEVER, footprint};
use reprieve_containers::byte_slab::ByteSlab;
use reprieve_containers::slab::Slab;

/// Cell sizes are multiples of this, in bytes.
const CELL_STEP: usize = 8;
/// Number of cell sizes.
const CELL_SIZES: usize = 17;
/// Bits of a slot that have the number of the cell or the block; those above have the kind.
const NUMBER_BITS: u32 = 27;
/// The kind of slot of a block. Each cell size is a kind, too.
const BLOCK: usize = CELL_SIZES;

/// The head of an entry in a cell: when it expires (six bytes), and the lengths of key and value.
struct Head {
    /// Milliseconds since 1970, or [`Head::NEVER`]; 0 if the cell is free.
    time: u64,
    key: u8,
    value: u8,
}

impl Head {
    const BYTES: usize = 8;
    const NEVER: u64 = (1 << 48) - 1;

    /// The time for an entry that expires then, in milliseconds since 1970, or [`NEVER`].
    fn time(expires: u64) -> u64 {
        if expires == NEVER { Self::NEVER } else { expires.clamp(1, Self::NEVER - 1) }
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let [a, b, c, d, e, f, key, value] = *bytes.first_chunk::<{ Self::BYTES }>()?;
        let time = u64::from_le_bytes([a, b, c, d, e, f, 0, 0]);
        (time != 0).then_some(Self { time, key, value })
    }

    fn expires(&self) -> u64 {
        if self.time == Self::NEVER { NEVER } else { self.time }
    }

    fn bytes(&self) -> [u8; Self::BYTES] {
        let [a, b, c, d, e, f, ..] = self.time.to_le_bytes();
        [a, b, c, d, e, f, self.key, self.value]
    }
}

/// An entry that is too long for a cell.
#[derive(Debug)]
struct Block {
    /// Milliseconds since 1970, or [`NEVER`].
    expires: u64,
    key: Box<[u8]>,
    value: Box<[u8]>,
}

/// A view of an entry.
#[derive(Clone, Copy, Debug)]
pub(super) struct EntryRef<'a> {
    pub key: &'a [u8],
    pub value: &'a [u8],
    /// Milliseconds since 1970, or [`NEVER`].
    pub expires: u64,
}

impl EntryRef<'_> {
    /// Bytes that it counts towards the quota.
    pub fn footprint(&self) -> u64 {
        footprint(self.key.len(), self.value.len())
    }
}

/// All entries of a shard, by slot number.
#[derive(Debug)]
pub(super) struct Entries {
    /// By size.
    cells: [ByteSlab; CELL_SIZES],
    blocks: Slab<Block>,
    /// The slot that [`next_expired`](Self::next_expired) looks at next.
    hand: u32,
    /// No entry expires before that.
    soonest: u64,
}

impl Default for Entries {
    fn default() -> Self {
        let cells = std::array::from_fn(|kind| ByteSlab::new((kind as u32 + 1) * CELL_STEP as u32));
        Self { cells, blocks: Slab::default(), hand: 0, soonest: NEVER }
    }
}

impl Entries {
    /// Inserts an entry and returns its slot. `expires`: in milliseconds since 1970, or [`NEVER`]. None
    /// if all slot numbers of its length are taken.
    pub fn insert(&mut self, key: &[u8], value: &[u8], expires: u64) -> Option<u32> {
        self.soonest = self.soonest.min(expires);
        let kind = kind(key.len(), value.len());
        if kind == BLOCK {
            let number = self.blocks.insert(Block { expires, key: key.into(), value: value.into() })?;
            return slot(kind, number).or_else(|| {
                self.blocks.remove(number);
                None
            });
        }
        let cells = &mut self.cells[kind];
        let number = cells.allocate()?;
        let Some(slot) = slot(kind, number) else {
            cells.free(number);
            return None;
        };
        let cell = cells.get_mut(number, Head::BYTES + key.len() + value.len());
        cell[Head::BYTES..][..key.len()].copy_from_slice(key);
        fill(cell, key.len(), value, expires);
        Some(slot)
    }

    /// Whether this many entries can be inserted or replaced, whatever their lengths.
    pub fn has_room(&self, entries: usize) -> bool {
        let used = (0..=BLOCK).map(|kind| self.count(kind)).max().unwrap_or_default();
        entries < (1 << NUMBER_BITS) - used as usize
    }

    /// The entry in a slot; None if there is none.
    pub fn get(&self, slot: u32) -> Option<EntryRef<'_>> {
        let (kind, number) = split(slot);
        if kind == BLOCK {
            let Block { expires, key, value } = self.blocks.get(number)?;
            return Some(EntryRef { key, value, expires: *expires });
        }
        let cell = self.cells[kind].get(number, (kind + 1) * CELL_STEP);
        let head = Head::read(cell)?;
        let (key, rest) = cell[Head::BYTES..].split_at_checked(head.key.into())?;
        Some(EntryRef { key, value: rest.get(..head.value.into())?, expires: head.expires() })
    }

    /// Replaces value and expiry time of an entry, and returns its slot: another one if its length
    /// needs another cell. None, and it changes nothing, if there is no entry or no slot left.
    pub fn replace(&mut self, slot: u32, value: &[u8], expires: u64) -> Option<u32> {
        let key_length = self.get(slot)?.key.len();
        self.soonest = self.soonest.min(expires);
        let (old, number) = split(slot);
        let new = kind(key_length, value.len());
        if old != new {
            let key = self.get(slot)?.key.to_vec();
            let moved = self.insert(&key, value, expires)?;
            self.remove(slot);
            return Some(moved);
        }
        if new == BLOCK {
            let block = self.blocks.get_mut(number)?;
            (block.value, block.expires) = (value.into(), expires);
            return Some(slot);
        }
        fill(
            self.cells[new].get_mut(number, Head::BYTES + key_length + value.len()),
            key_length,
            value,
            expires,
        );
        Some(slot)
    }

    /// Removes an entry.
    pub fn remove(&mut self, slot: u32) {
        let (kind, number) = split(slot);
        if kind == BLOCK {
            self.blocks.remove(number);
        } else if self.get(slot).is_some() {
            self.cells[kind].get_mut(number, Head::BYTES).fill(0);
            self.cells[kind].free(number);
        }
    }

    /// All entries with their slots.
    pub fn iter(&self) -> impl Iterator<Item = (u32, EntryRef<'_>)> {
        let slots = (0..=BLOCK).flat_map(|kind| (0..self.count(kind)).filter_map(move |at| slot(kind, at)));
        slots.filter_map(|slot| Some((slot, self.get(slot)?)))
    }

    /// Looks at slots, each time at the next ones, and returns the first that has expired. `looks`: at how
    /// many slots it may look, which is counted down. A call does not start again from the first slot.
    pub fn next_expired(&mut self, looks: &mut u32, now: u64) -> Option<u32> {
        while *looks > 0 {
            let (kind, number) = split(self.hand);
            if number >= self.count(kind) {
                let next = (kind < BLOCK).then(|| slot(kind + 1, 0)).flatten();
                self.hand = next.unwrap_or(0);
                if next.is_none() {
                    *looks = 0;
                }
                continue;
            }
            let slot = self.hand;
            self.hand += 1;
            *looks -= 1;
            if self.get(slot).is_some_and(|entry| entry.expires <= now) {
                return Some(slot);
            }
        }
        None
    }

    /// All slots whose entries have expired.
    pub fn all_expired(&mut self, now: u64) -> Vec<u32> {
        if now < self.soonest {
            return Vec::new();
        }
        let (mut expired, mut soonest) = (Vec::new(), NEVER);
        for (slot, entry) in self.iter() {
            if entry.expires <= now {
                expired.push(slot);
            } else {
                soonest = soonest.min(entry.expires);
            }
        }
        self.soonest = soonest;
        expired
    }

    /// Number of slots of a kind that were ever used.
    fn count(&self, kind: usize) -> u32 {
        self.cells.get(kind).map_or(self.blocks.slot_count(), ByteSlab::slot_count)
    }
}

/// Writes an entry into its cell, in which the key of this length already is.
fn fill(cell: &mut [u8], key_length: usize, value: &[u8], expires: u64) {
    // A cell is shorter than 256 bytes.
    let [key, value_length] = [key_length, value.len()].map(|length| u8::try_from(length).unwrap_or(u8::MAX));
    let head = Head { time: Head::time(expires), key, value: value_length };
    cell[..Head::BYTES].copy_from_slice(&head.bytes());
    cell[Head::BYTES + key_length..].copy_from_slice(value);
}

/// The kind of slot for an entry with these lengths: the smallest cell size, or [`BLOCK`].
fn kind(key_length: usize, value_length: usize) -> usize {
    ((Head::BYTES + key_length + value_length - 1) / CELL_STEP).min(BLOCK)
}

/// The slot of a cell or block; None if its number is too large.
fn slot(kind: usize, number: u32) -> Option<u32> {
    (number < 1 << NUMBER_BITS).then_some((kind as u32) << NUMBER_BITS | number)
}

/// Kind and number of a slot.
fn split(slot: u32) -> (usize, u32) {
    ((slot >> NUMBER_BITS) as usize, slot % (1 << NUMBER_BITS))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn entries_of_every_length_are_read_back_unchanged() {
        let mut entries = Entries::default();
        let bytes: Vec<u8> = (0..=255).cycle().take(300).collect();
        let pairs: Vec<_> =
            (0..300).map(|length| (&bytes[..length / 3], &bytes[length / 3..length])).collect();
        let mut at: Vec<_> =
            pairs.iter().map(|(key, value)| entries.insert(key, value, NEVER).unwrap()).collect();
        let is = |entries: &Entries, at, pair| {
            let entry = entries.get(at).unwrap();
            assert_eq!(((entry.key, entry.value), entry.expires), (pair, NEVER));
        };
        for (&at, &pair) in at.iter().zip(&pairs) {
            is(&entries, at, pair);
        }
        // Each gets the value of another, which often needs a cell of another size.
        for (at, (_, value)) in at.iter_mut().zip(pairs.iter().rev()) {
            *at = entries.replace(*at, value, NEVER).unwrap();
        }
        for ((&at, (key, _)), (_, value)) in at.iter().zip(&pairs).zip(pairs.iter().rev()) {
            is(&entries, at, (*key, *value));
        }
        assert_eq!(entries.iter().map(|(at, _)| at).collect::<HashSet<_>>(), at.iter().copied().collect());
        for &at in at.iter().step_by(2) {
            entries.remove(at);
            assert!(entries.get(at).is_none() && entries.replace(at, b"", NEVER).is_none());
        }
        assert_eq!(entries.iter().count(), 150);
        let again: Vec<_> =
            pairs.iter().step_by(2).map(|(key, value)| entries.insert(key, value, NEVER).unwrap()).collect();
        for (&at, &pair) in again.iter().zip(pairs.iter().step_by(2)) {
            is(&entries, at, pair);
        }
        assert_eq!(entries.iter().count(), 300);
    }

    #[test]
    fn an_entry_of_a_name_and_eight_bytes_takes_eight_more_in_a_multiple_of_eight() {
        let mut entries = Entries::default();
        let slot = entries.insert(b"~alice@example.org", &[7; 8], 5).unwrap();
        assert_eq!((split(slot).0 + 1) * CELL_STEP, 40);
        assert_eq!(split(entries.insert(&[7; 64], &[7; 64], 5).unwrap()).0, BLOCK - 1);
        assert_eq!(split(entries.insert(&[7; 64], &[7; 65], 5).unwrap()).0, BLOCK);
    }

    #[test]
    fn the_time_at_which_an_entry_expires_is_kept() {
        for length in [0, 200] {
            let mut entries = Entries::default();
            for expires in [1, 5, 1 << 40, Head::NEVER - 1, NEVER] {
                let slot = entries.insert(b"alice", &vec![0; length], expires).unwrap();
                assert_eq!(entries.get(slot).unwrap().expires, expires);
                let slot = entries.replace(slot, &vec![1; length], 7).unwrap();
                assert_eq!(entries.get(slot).unwrap().expires, 7);
            }
        }
        // A time that does not fit is the nearest one that does: in the year 10889, or just after 1970.
        let mut entries = Entries::default();
        for (expires, kept) in [(NEVER - 1, Head::NEVER - 1), (Head::NEVER, Head::NEVER - 1), (0, 1)] {
            let slot = entries.insert(b"alice", b"1", expires).unwrap();
            assert_eq!(entries.get(slot).unwrap().expires, kept);
        }
    }

    #[test]
    fn the_hand_comes_to_every_entry() {
        let mut entries = Entries::default();
        for length in 0..200 {
            entries.insert(&vec![1; length], b"", 1 + length as u64 % 2 * 100).unwrap();
        }
        let mut expired = 0;
        for _ in 0..100 {
            let mut looks = 3;
            while let Some(slot) = entries.next_expired(&mut looks, 50) {
                entries.remove(slot);
                expired += 1;
            }
        }
        assert_eq!((expired, entries.iter().count()), (100, 100));
        assert!(entries.iter().all(|(_, entry)| entry.expires > 50));
    }
}
