//! The entries of a shard, packed. An entry is a head of 16 bytes and its key and value, stored
//! contiguously in a cell whose size is the next multiple of 8 bytes, or in a block of their own if
//! they are longer than the largest cell.

use crate::{NEVER, footprint};
use reprieve_containers::byte_slab::ByteSlab;
use reprieve_containers::slab::Slab;

/// Cell sizes are multiples of this, in bytes.
const CELL_STEP: usize = 8;
/// Number of cell sizes.
const CELL_SIZES: usize = 16;

/// An entry without its key and value.
#[derive(Debug)]
pub(super) struct Head {
    /// When it expires, in milliseconds since 1970; the highest bit says whether it is queued.
    lifetime: u64,
    /// Number of the cell or the block.
    at: u32,
    key_length: u16,
    /// Bytes of key and value in a cell; 0 for a block.
    length: u8,
    storage: Storage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Storage {
    Cell,
    Block,
    /// Key and value were released; the head waits for the queue to reach it.
    Released,
}

impl Head {
    /// The bit of `lifetime` that says that the entry is queued.
    const QUEUED: u64 = 1 << 63;
    /// The latest time that fits beside the bit; the value after it means never.
    const LATEST: u64 = Self::QUEUED - 2;

    /// Milliseconds since 1970, or [`NEVER`].
    pub fn expires(&self) -> u64 {
        match self.lifetime & !Self::QUEUED {
            never if never > Self::LATEST => NEVER,
            expires => expires,
        }
    }

    pub fn set_expires(&mut self, expires: u64) {
        let expires = if expires == NEVER { Self::LATEST + 1 } else { expires.min(Self::LATEST) };
        self.lifetime = self.lifetime & Self::QUEUED | expires;
    }

    /// Whether the expiry queue has this entry, at its expiry time or earlier.
    pub fn is_queued(&self) -> bool {
        self.lifetime & Self::QUEUED != 0
    }

    pub fn set_queued(&mut self, queued: bool) {
        self.lifetime = self.lifetime & !Self::QUEUED | if queued { Self::QUEUED } else { 0 };
    }

    /// Whether key and value were released, and only the head is left.
    pub fn is_released(&self) -> bool {
        self.storage == Storage::Released
    }
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
    heads: Slab<Head>,
    /// By size.
    cells: [ByteSlab; CELL_SIZES],
    blocks: Slab<Box<[u8]>>,
}

impl Default for Entries {
    fn default() -> Self {
        Self {
            heads: Slab::default(),
            cells: std::array::from_fn(|index| ByteSlab::new((index + 1) * CELL_STEP)),
            blocks: Slab::default(),
        }
    }
}

impl Entries {
    /// Inserts an entry that never expires and is not queued, and returns its slot. The key may
    /// have at most [`KEY_LIMIT`](crate::KEY_LIMIT) bytes. None if all slot numbers are taken.
    pub fn insert(&mut self, key: &[u8], value: &[u8]) -> Option<u32> {
        let key_length = u16::try_from(key.len()).ok()?;
        let (storage, at, length) = self.store(key, value)?;
        self.heads.insert(Head { lifetime: Head::LATEST + 1, at, key_length, length, storage })
    }

    /// Whether this many entries can be inserted or replaced: there are 2^32 slot numbers.
    pub fn has_room(&self, entries: usize) -> bool {
        u32::try_from(entries).is_ok_and(|entries| self.heads.slot_count().checked_add(entries).is_some())
    }

    /// The entry in a slot; None if it was released or removed.
    pub fn get(&self, slot: u32) -> Option<EntryRef<'_>> {
        self.view(self.heads.get(slot)?)
    }

    pub fn head_mut(&mut self, slot: u32) -> Option<&mut Head> {
        self.heads.get_mut(slot)
    }

    /// Replaces the value of an entry. Returns false, and changes nothing, if there is no entry or
    /// no cell left.
    pub fn set_value(&mut self, slot: u32, value: &[u8]) -> bool {
        let Some(entry) = self.get(slot) else { return false };
        if entry.value.len() == value.len() {
            if let Some(bytes) = self.value_mut(slot) {
                bytes.copy_from_slice(value);
            }
            return true;
        }
        let key = entry.key.to_vec();
        let Some(stored) = self.store(&key, value) else { return false };
        self.release(slot);
        if let Some(head) = self.heads.get_mut(slot) {
            (head.storage, head.at, head.length) = stored;
        }
        true
    }

    /// Frees key and value, and keeps the head.
    pub fn release(&mut self, slot: u32) {
        let Some(head) = self.heads.get_mut(slot) else { return };
        match std::mem::replace(&mut head.storage, Storage::Released) {
            Storage::Cell => self.cells[cell_size(usize::from(head.length))].free(head.at),
            Storage::Block => drop(self.blocks.remove(head.at)),
            Storage::Released => {}
        }
    }

    /// Removes an entry and its head.
    pub fn remove(&mut self, slot: u32) {
        self.release(slot);
        self.heads.remove(slot);
    }

    /// All entries that were not released, with their slots.
    pub fn iter(&self) -> impl Iterator<Item = (u32, EntryRef<'_>)> {
        self.heads.iter().filter_map(|(slot, head)| Some((slot, self.view(head)?)))
    }

    /// The heads of all entries, including released ones.
    pub fn heads(&self) -> impl Iterator<Item = (u32, &Head)> {
        self.heads.iter()
    }

    fn view(&self, head: &Head) -> Option<EntryRef<'_>> {
        let bytes = match head.storage {
            Storage::Cell => {
                let length = usize::from(head.length);
                self.cells[cell_size(length)].get(head.at, length)
            }
            Storage::Block => self.blocks.get(head.at)?,
            Storage::Released => return None,
        };
        let (key, value) = bytes.split_at_checked(usize::from(head.key_length))?;
        Some(EntryRef { key, value, expires: head.expires() })
    }

    fn value_mut(&mut self, slot: u32) -> Option<&mut [u8]> {
        let head = self.heads.get(slot)?;
        let bytes = match head.storage {
            Storage::Cell => {
                let length = usize::from(head.length);
                self.cells[cell_size(length)].get_mut(head.at, length)
            }
            Storage::Block => self.blocks.get_mut(head.at)?,
            Storage::Released => return None,
        };
        bytes.get_mut(usize::from(head.key_length)..)
    }

    /// Copies key and value into a cell or a block. Returns which of the two, its number, and the
    /// length if it is a cell.
    fn store(&mut self, key: &[u8], value: &[u8]) -> Option<(Storage, u32, u8)> {
        let length = key.len() + value.len();
        if length > CELL_SIZES * CELL_STEP {
            let block = [key, value].concat().into_boxed_slice();
            return Some((Storage::Block, self.blocks.insert(block)?, 0));
        }
        let cells = &mut self.cells[cell_size(length)];
        let at = cells.allocate()?;
        let (first, rest) = cells.get_mut(at, length).split_at_mut(key.len());
        first.copy_from_slice(key);
        rest.copy_from_slice(value);
        Some((Storage::Cell, at, u8::try_from(length).ok()?))
    }
}

/// Index of the smallest cell size that holds this many bytes.
fn cell_size(length: usize) -> usize {
    length.saturating_sub(1) / CELL_STEP
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_of_every_length_are_read_back_unchanged() {
        assert_eq!(size_of::<Option<Head>>(), 16);
        let mut entries = Entries::default();
        let bytes: Vec<u8> = (0..=255).cycle().take(300).collect();
        let pairs: Vec<_> =
            (0..300).map(|length| (&bytes[..length / 3], &bytes[length / 3..length])).collect();
        let at: Vec<_> = pairs.iter().map(|(key, value)| entries.insert(key, value).unwrap()).collect();
        let is = |entries: &Entries, at, pair| {
            let entry = entries.get(at).unwrap();
            assert_eq!((entry.key, entry.value), pair);
        };
        for (&at, &pair) in at.iter().zip(&pairs) {
            is(&entries, at, pair);
        }
        // Each gets the value of another, which often needs a cell of another size.
        for (&at, (_, value)) in at.iter().zip(pairs.iter().rev()) {
            assert!(entries.set_value(at, value));
        }
        for ((&at, (key, _)), (_, value)) in at.iter().zip(&pairs).zip(pairs.iter().rev()) {
            is(&entries, at, (*key, *value));
        }
        for &at in at.iter().step_by(2) {
            entries.remove(at);
        }
        assert_eq!(entries.iter().count(), 150);
        let again: Vec<_> =
            pairs.iter().step_by(2).map(|(key, value)| entries.insert(key, value).unwrap()).collect();
        for (&at, &pair) in again.iter().zip(pairs.iter().step_by(2)) {
            is(&entries, at, pair);
        }
        assert_eq!(entries.heads().count(), 300);
    }

    #[test]
    fn a_head_stores_its_expiry_time_and_whether_it_is_queued() {
        let mut entries = Entries::default();
        let at = entries.insert(b"alice", b"1").unwrap();
        let head = entries.head_mut(at).unwrap();
        assert_eq!((head.expires(), head.is_queued()), (NEVER, false));
        for (expires, kept) in [(5, 5), (NEVER, NEVER), (NEVER - 1, Head::LATEST), (0, 0)] {
            for queued in [true, false] {
                head.set_queued(queued);
                head.set_expires(expires);
                assert_eq!((head.expires(), head.is_queued()), (kept, queued));
            }
        }
        assert!(!head.is_released());
        entries.release(at);
        assert!(entries.head_mut(at).unwrap().is_released() && entries.get(at).is_none());
        assert!(!entries.set_value(at, b"2"));
        entries.remove(at);
        assert_eq!(entries.heads().count(), 0);
    }
}
