//! The compiled form of a table: its layout, and lookups in it.
//!
//! All numbers are little-endian.
//!
//! | offset | bytes | |
//! | --- | --- | --- |
//! | 0 | 8 | [`MAGIC`] |
//! | 8 | 4 | [`VERSION`] |
//! | 12 | 4 | longest distance of an entry's slot from its home |
//! | 16 | 8 | number of entries |
//! | 24 | 8 | length of all entries in bytes |
//! | 32 | 8 | number of slots |
//! | 40 | 8 | XXH3 of the entries; also the seed of the keys' hash |
//! | 48 | 8 | XXH3 of the slots |
//! | 56 | 8 | XXH3 of the 56 bytes before |
//! | 64 | | entries: length of the key (2 bytes) and of the value (2 bytes), key, value |
//! | | | slots of 8 bytes: 24 bits of the key's hash, 40 bits of the entry's offset in the file; 0 if empty |
//!
//! A key's home is the slot at the same fraction of the table as its hash is of 2⁶⁴. Its entry is in
//! the first slot from there on that was free. A lookup therefore reads one place among the slots and,
//! unless 24 bits of two hashes are equal by chance, one entry.
//!
//! The checksums are verified when a file is opened, which also brings it into the page cache. They
//! find damage, not malice, so a lookup trusts no number in the file either: if one is wrong, the key
//! is not found.

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::builder::{Builder, Duplicate};
use crate::error::Problem;
use crate::mapping::Mapping;

/// The first bytes of the compiled form. No text begins with a zero byte.
pub const MAGIC: [u8; 8] = *b"\0RPLKUP\n";
/// Version of the layout.
pub const VERSION: u32 = 1;

/// Bytes of a slot.
pub(crate) const SLOT: usize = 8;
/// Bytes of the lengths before each key.
pub(crate) const LENGTHS: usize = 4;
/// No table that `Builder` makes comes near this: entries are spread by a seeded hash.
const MAX_PROBE: u32 = 4096;

const OFFSET_BITS: u32 = 40;
const OFFSET: u64 = (1 << OFFSET_BITS) - 1;

/// Everything in the header but magic, version and its own checksum.
#[derive(Clone, Copy)]
pub(crate) struct Header {
    pub(crate) longest_probe: u32,
    pub(crate) entries: u64,
    pub(crate) entries_length: u64,
    pub(crate) slots: u64,
    pub(crate) entries_checksum: u64,
    pub(crate) slots_checksum: u64,
}

impl Header {
    pub(crate) const LENGTH: usize = 64;
    /// The part that the header's own checksum covers.
    const CHECKED: usize = 56;

    pub(crate) fn to_bytes(self) -> [u8; Self::LENGTH] {
        let mut bytes = [0; Self::LENGTH];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.longest_probe.to_le_bytes());
        let numbers =
            [self.entries, self.entries_length, self.slots, self.entries_checksum, self.slots_checksum];
        for (number, to) in numbers.into_iter().zip(bytes[16..].chunks_exact_mut(8)) {
            to.copy_from_slice(&number.to_le_bytes());
        }
        let checksum = xxh3_64(&bytes[..Self::CHECKED]);
        bytes[Self::CHECKED..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    fn parse(bytes: &[u8]) -> Result<Self, Problem> {
        if !bytes.starts_with(&MAGIC) {
            return Err(Problem::Damaged("its first bytes are not those of a table"));
        }
        let version = u32_at(bytes, 8).unwrap_or_default();
        if version != VERSION {
            return Err(Problem::OtherVersion(version));
        }
        let checked = bytes.get(..Self::CHECKED).map(xxh3_64);
        if checked.is_none() || checked != u64_at(bytes, Self::CHECKED) {
            return Err(Problem::Damaged("the checksum of its header is wrong"));
        }
        let read = || {
            Some(Self {
                longest_probe: u32_at(bytes, 12)?,
                entries: u64_at(bytes, 16)?,
                entries_length: u64_at(bytes, 24)?,
                slots: u64_at(bytes, 32)?,
                entries_checksum: u64_at(bytes, 40)?,
                slots_checksum: u64_at(bytes, 48)?,
            })
        };
        read().ok_or(Problem::Damaged("its header is incomplete"))
    }

    /// Where the slots begin, if the file has exactly the length that the header promises.
    fn slots_offset(&self, length: usize) -> Option<usize> {
        let entries_end = (Self::LENGTH as u64).checked_add(self.entries_length)?;
        let end = self.slots.checked_mul(SLOT as u64)?.checked_add(entries_end)?;
        let is_possible = self.entries < self.slots && u64::from(self.longest_probe) < self.slots;
        (is_possible && end == length as u64).then(|| usize::try_from(entries_end).ok())?
    }
}

/// What the hash of a key depends on.
#[derive(Clone, Copy)]
pub(crate) struct Layout {
    pub(crate) seed: u64,
    pub(crate) slots: u64,
    pub(crate) longest_probe: u32,
}

impl Layout {
    /// The number of the key's first slot, and the slot's content if its entry is at `offset`.
    pub(crate) fn home_and_slot(self, key: &str, offset: usize) -> (usize, u64) {
        let hash = xxh3_64_with_seed(key.as_bytes(), self.seed);
        let home = (u128::from(hash) * u128::from(self.slots)) >> 64;
        (home as usize, hash << OFFSET_BITS | offset as u64 & OFFSET)
    }
}

pub(crate) fn offset_in(slot: u64) -> usize {
    (slot & OFFSET) as usize
}

pub(crate) fn has_same_tag(one: u64, other: u64) -> bool {
    one >> OFFSET_BITS == other >> OFFSET_BITS
}

/// Key and value of the entry at an offset; `None` behind the last one.
pub(crate) fn entry(bytes: &[u8], offset: usize) -> Option<(&str, &str)> {
    let (key, value) = raw_entry(bytes, offset)?;
    Some((str::from_utf8(key).ok()?, str::from_utf8(value).ok()?))
}

fn raw_entry(bytes: &[u8], offset: usize) -> Option<(&[u8], &[u8])> {
    let (lengths, rest) = bytes.get(offset..)?.split_first_chunk::<LENGTHS>()?;
    let [key_low, key_high, value_low, value_high] = *lengths;
    let (key, rest) = rest.split_at_checked(u16::from_le_bytes([key_low, key_high]).into())?;
    Some((key, rest.get(..u16::from_le_bytes([value_low, value_high]).into())?))
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(offset..)?.first_chunk()?))
}

fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(offset..)?.first_chunk()?))
}

/// A table that is ready for lookups.
pub struct Table {
    bytes: Bytes,
    layout: Layout,
    slots_offset: usize,
    entries: u64,
}

enum Bytes {
    Memory(Vec<u8>),
    Mapped(Mapping),
}

impl Bytes {
    fn all(&self) -> &[u8] {
        match self {
            Self::Memory(bytes) => bytes,
            Self::Mapped(mapping) => mapping.bytes(),
        }
    }

    /// Whether parts of the file were missing.
    fn are_torn(&self) -> bool {
        matches!(self, Self::Mapped(mapping) if mapping.is_torn())
    }
}

impl Table {
    /// Checks the compiled form of a table.
    ///
    /// # Errors
    /// If it is damaged, or of another version.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, Problem> {
        Self::open(Bytes::Memory(bytes))
    }

    pub(crate) fn from_mapping(mapping: Mapping) -> Result<Self, Problem> {
        Self::open(Bytes::Mapped(mapping))
    }

    pub(crate) fn build(builder: Builder) -> Result<Self, Duplicate> {
        let built = Self::from_bytes(builder.finish()?);
        Ok(built.unwrap_or_else(|problem| unreachable!("a new table {problem}")))
    }

    fn open(bytes: Bytes) -> Result<Self, Problem> {
        let all = bytes.all();
        let header = Header::parse(all)?;
        let Some(slots_offset) = header.slots_offset(all.len()) else {
            return Err(Problem::Damaged("it is not as long as its header says"));
        };
        let (entries, slots) = all.split_at(slots_offset);
        if xxh3_64(&entries[Header::LENGTH..]) != header.entries_checksum {
            return Err(Problem::Damaged("the checksum of its entries is wrong"));
        }
        if xxh3_64(slots) != header.slots_checksum || header.longest_probe > MAX_PROBE {
            return Err(Problem::Damaged("the checksum of its slots is wrong"));
        }
        let Header { entries_checksum: seed, slots, longest_probe, entries, .. } = header;
        if bytes.are_torn() {
            return Err(Problem::Damaged("it became shorter while it was read"));
        }
        Ok(Self { bytes, layout: Layout { seed, slots, longest_probe }, slots_offset, entries })
    }

    /// The value of a key, which is empty if the key has none; `None` if the key is not in the table.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        // Afterwards, because the search itself may find that the file is torn.
        self.find(key).filter(|_| !self.bytes.are_torn())
    }

    fn find(&self, key: &str) -> Option<&str> {
        let (entries, slots) = self.bytes.all().split_at_checked(self.slots_offset)?;
        let (mut at, wanted) = self.layout.home_and_slot(key, 0);
        for _ in 0..=self.layout.longest_probe {
            let slot = u64_at(slots, at * SLOT)?;
            if slot == 0 {
                return None;
            }
            if has_same_tag(slot, wanted)
                && let Some((found, value)) = raw_entry(entries, offset_in(slot))
                && found == key.as_bytes()
            {
                return str::from_utf8(value).ok();
            }
            at = if (at + 1) * SLOT == slots.len() { 0 } else { at + 1 };
        }
        None
    }

    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.entries
    }

    /// Whether there are no entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// The table in the compiled form.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.all()
    }
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table").field("entries", &self.entries).finish_non_exhaustive()
    }
}
