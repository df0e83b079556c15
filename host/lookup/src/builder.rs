//! Builds the compiled form in memory.

use xxhash_rust::xxh3::xxh3_64;

use crate::compiled::{self, Header, Layout, SLOT};

/// Maximum length of a key in bytes. User names are far shorter.
pub const MAX_KEY: usize = 1024;
/// Maximum length of a value in bytes.
pub const MAX_VALUE: usize = u16::MAX as usize;

/// Collects entries. They are laid out as in the compiled form from the start, so that a file of
/// millions of lines is not in memory twice.
pub(crate) struct Builder {
    /// Room for the header, and the entries.
    bytes: Vec<u8>,
    entries: usize,
}

/// Two entries with the same key, by their position from 0.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Duplicate {
    pub(crate) key: String,
    pub(crate) first: usize,
    pub(crate) second: usize,
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self { bytes: vec![0; Header::LENGTH], entries: 0 }
    }

    /// Adds an entry. The caller has checked the lengths against [`MAX_KEY`] and [`MAX_VALUE`].
    pub(crate) fn add(&mut self, key: &str, value: &str) {
        debug_assert!(key.len() <= MAX_KEY && value.len() <= MAX_VALUE);
        self.bytes.extend_from_slice(&(key.len() as u16).to_le_bytes());
        self.bytes.extend_from_slice(&(value.len() as u16).to_le_bytes());
        self.bytes.extend_from_slice(key.as_bytes());
        self.bytes.extend_from_slice(value.as_bytes());
        self.entries += 1;
    }

    /// The bytes of the compiled form.
    ///
    /// # Errors
    /// The first entry whose key an earlier entry has.
    pub(crate) fn finish(self) -> Result<Vec<u8>, Duplicate> {
        let mut bytes = self.bytes;
        let entries_end = bytes.len();
        // A third of the slots stays empty: fewer would make misses slow.
        let slots = self.entries + self.entries / 2 + 1;
        bytes.resize(entries_end + slots * SLOT, 0);
        let (front, index) = bytes.split_at_mut(entries_end);
        // Nobody who chooses keys can know the seed, so nobody can make them collide.
        let seed = xxh3_64(&front[Header::LENGTH..]);
        let layout = Layout { seed, slots: slots as u64, longest_probe: 0 };
        let longest_probe = place(front, index, layout)?;
        let header = Header {
            longest_probe,
            entries: self.entries as u64,
            entries_length: (entries_end - Header::LENGTH) as u64,
            slots: slots as u64,
            entries_checksum: seed,
            slots_checksum: xxh3_64(index),
        };
        bytes[..Header::LENGTH].copy_from_slice(&header.to_bytes());
        Ok(bytes)
    }
}

/// Puts each entry of `front` into the first free slot from its home on. Returns the longest distance.
fn place(front: &[u8], index: &mut [u8], layout: Layout) -> Result<u32, Duplicate> {
    let mut longest = 0;
    let mut offset = Header::LENGTH;
    let mut number = 0;
    while let Some((key, value)) = compiled::entry(front, offset) {
        let (home, slot) = layout.home_and_slot(key, offset);
        let mut at = home;
        let mut distance = 0;
        loop {
            let bytes = &mut index[at * SLOT..][..SLOT];
            let taken = u64::from_le_bytes(bytes.try_into().unwrap_or_default());
            if taken == 0 {
                bytes.copy_from_slice(&slot.to_le_bytes());
                break;
            }
            let other = compiled::offset_in(taken);
            if compiled::has_same_tag(taken, slot)
                && compiled::entry(front, other).is_some_and(|(other, _)| other == key)
            {
                let first = position_of(front, other);
                return Err(Duplicate { key: key.to_owned(), first, second: number });
            }
            at = if at + 1 == layout.slots as usize { 0 } else { at + 1 };
            distance += 1;
        }
        longest = longest.max(distance);
        offset += compiled::LENGTHS + key.len() + value.len();
        number += 1;
    }
    Ok(longest)
}

/// The position from 0 of the entry at `wanted`.
fn position_of(front: &[u8], wanted: usize) -> usize {
    let mut offset = Header::LENGTH;
    let mut position = 0;
    while let Some((key, value)) = compiled::entry(front, offset).filter(|_| offset < wanted) {
        offset += compiled::LENGTHS + key.len() + value.len();
        position += 1;
    }
    position
}
