//! Entries as they lie in memory, packed: there may be millions, of some twenty octets each.

use crate::{NEVER, footprint};
use reprieve_containers::byte_slab::ByteSlab;
use reprieve_containers::slab::Slab;

/// What sizes of cells are multiples of, in octets.
const STEP: usize = 8;
/// So many sizes; what is longer than the largest is a block of its own.
const SIZES: usize = 16;

/// What is known of an entry beside its octets.
#[derive(Debug)]
pub(super) struct Head {
    /// When it expires, in milliseconds since 1970, and whether it is queued.
    lifetime: u64,
    /// The cell, or the block.
    at: u32,
    key_length: u16,
    /// Octets of key and value in a cell.
    length: u8,
    place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Key and value are in a cell.
    Cell,
    /// They are a block.
    Block,
    /// They are gone: the head waits for its turn in the queue.
    Nowhere,
}

impl Head {
    /// Set in `lifetime` where the queue knows the entry.
    const QUEUED: u64 = 1 << 63;
    /// The latest that fits beside it; the next one stands for never.
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

    /// Whether the queue knows this entry. It stands there once; where the time to live has
    /// become longer meanwhile, it is queued again when its turn comes.
    pub fn is_queued(&self) -> bool {
        self.lifetime & Self::QUEUED != 0
    }

    pub fn set_queued(&mut self, queued: bool) {
        self.lifetime = self.lifetime & !Self::QUEUED | if queued { Self::QUEUED } else { 0 };
    }

    /// Whether key and value are gone, and only the place in the queue is left.
    pub fn is_gone(&self) -> bool {
        self.place == Place::Nowhere
    }
}

/// An entry that is there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry<'a> {
    pub key: &'a [u8],
    pub value: &'a [u8],
    /// Milliseconds since 1970, or [`NEVER`].
    pub expires: u64,
}

impl Entry<'_> {
    /// Octets that it counts.
    pub fn footprint(&self) -> u64 {
        footprint(self.key.len(), self.value.len())
    }
}

/// All entries of a shard.
#[derive(Debug)]
pub(super) struct Entries {
    heads: Slab<Head>,
    cells: [ByteSlab; SIZES],
    blocks: Slab<Box<[u8]>>,
}

impl Default for Entries {
    fn default() -> Self {
        Self {
            heads: Slab::default(),
            cells: std::array::from_fn(|index| ByteSlab::new((index + 1) * STEP)),
            blocks: Slab::default(),
        }
    }
}

impl Entries {
    /// Puts an entry somewhere that never expires and is not queued. `key`: at most
    /// [`KEY_LIMIT`](crate::KEY_LIMIT) octets. None where there are 4,294,967,295.
    pub fn insert(&mut self, key: &[u8], value: &[u8]) -> Option<u32> {
        let key_length = u16::try_from(key.len()).ok()?;
        let (place, at, length) = self.put(key, value)?;
        self.heads.insert(Head { lifetime: Head::LATEST + 1, at, key_length, length, place })
    }

    /// An entry, if it is there.
    pub fn get(&self, at: u32) -> Option<Entry<'_>> {
        self.whole(self.heads.get(at)?)
    }

    /// What is known of it, to change that.
    pub fn head_mut(&mut self, at: u32) -> Option<&mut Head> {
        self.heads.get_mut(at)
    }

    /// Puts another value in the place of an entry's. False, and nothing is changed, where
    /// there is no room or no entry.
    pub fn set_value(&mut self, at: u32, value: &[u8]) -> bool {
        let Some(entry) = self.get(at) else { return false };
        if entry.value.len() == value.len() {
            if let Some(octets) = self.value_mut(at) {
                octets.copy_from_slice(value);
            }
            return true;
        }
        let key = entry.key.to_vec();
        let Some(put) = self.put(&key, value) else { return false };
        self.release(at);
        if let Some(head) = self.heads.get_mut(at) {
            (head.place, head.at, head.length) = put;
        }
        true
    }

    /// Gives up key and value; the head stays.
    pub fn release(&mut self, at: u32) {
        let Some(head) = self.heads.get_mut(at) else { return };
        match std::mem::replace(&mut head.place, Place::Nowhere) {
            Place::Cell => self.cells[size(usize::from(head.length))].free(head.at),
            Place::Block => drop(self.blocks.remove(head.at)),
            Place::Nowhere => {}
        }
    }

    /// Takes an entry out, with its head.
    pub fn remove(&mut self, at: u32) {
        self.release(at);
        self.heads.remove(at);
    }

    /// All that are there, and their places.
    pub fn iter(&self) -> impl Iterator<Item = (u32, Entry<'_>)> {
        self.heads.iter().filter_map(|(at, head)| Some((at, self.whole(head)?)))
    }

    /// What is known of all, of those too that are gone.
    pub fn heads(&self) -> impl Iterator<Item = (u32, &Head)> {
        self.heads.iter()
    }

    fn whole(&self, head: &Head) -> Option<Entry<'_>> {
        let octets = match head.place {
            Place::Cell => {
                let length = usize::from(head.length);
                self.cells[size(length)].get(head.at, length)
            }
            Place::Block => self.blocks.get(head.at)?,
            Place::Nowhere => return None,
        };
        let (key, value) = octets.split_at_checked(usize::from(head.key_length))?;
        Some(Entry { key, value, expires: head.expires() })
    }

    fn value_mut(&mut self, at: u32) -> Option<&mut [u8]> {
        let head = self.heads.get(at)?;
        let octets = match head.place {
            Place::Cell => {
                let length = usize::from(head.length);
                self.cells[size(length)].get_mut(head.at, length)
            }
            Place::Block => self.blocks.get_mut(head.at)?,
            Place::Nowhere => return None,
        };
        octets.get_mut(usize::from(head.key_length)..)
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Option<(Place, u32, u8)> {
        let length = key.len() + value.len();
        if length > SIZES * STEP {
            let block = [key, value].concat().into_boxed_slice();
            return Some((Place::Block, self.blocks.insert(block)?, 0));
        }
        let cells = &mut self.cells[size(length)];
        let at = cells.allocate()?;
        let (first, rest) = cells.get_mut(at, length).split_at_mut(key.len());
        first.copy_from_slice(key);
        rest.copy_from_slice(value);
        Some((Place::Cell, at, u8::try_from(length).ok()?))
    }
}

/// Which cells take so many octets.
fn size(length: usize) -> usize {
    length.saturating_sub(1) / STEP
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_of_every_length_come_back_as_they_were_put() {
        assert_eq!(size_of::<Option<Head>>(), 16);
        let mut entries = Entries::default();
        let octets: Vec<u8> = (0..=255).cycle().take(300).collect();
        let pairs: Vec<_> =
            (0..300).map(|length| (&octets[..length / 3], &octets[length / 3..length])).collect();
        let at: Vec<_> = pairs.iter().map(|(key, value)| entries.insert(key, value).unwrap()).collect();
        let is = |entries: &Entries, at, pair| {
            let entry = entries.get(at).unwrap();
            assert_eq!((entry.key, entry.value), pair);
        };
        for (&at, &pair) in at.iter().zip(&pairs) {
            is(&entries, at, pair);
        }
        // Each gets the value of another, and then is like that one.
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
    fn a_head_keeps_when_and_whether() {
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
        assert!(!head.is_gone());
        entries.release(at);
        assert!(entries.head_mut(at).unwrap().is_gone() && entries.get(at).is_none());
        assert!(!entries.set_value(at, b"2"));
        entries.remove(at);
        assert_eq!(entries.heads().count(), 0);
    }
}
