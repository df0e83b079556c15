//! What is in memory of a file: what was used lately, what is known not to be there, and what
//! is not saved yet. The longest unused goes first, but never before it is saved.

use lru::LruCache;

use crate::footprint;

/// What an entry takes beside what it counts: its place in the order.
const BESIDE: usize = 40;
/// Entries that are looked at for one that is saved and can go.
const LOOKED_AT: usize = 16;

/// An entry that is in memory.
#[derive(Clone, Debug)]
pub(super) struct Cached {
    /// Value, and when it expires; None where it is known not to be there.
    pub value: Option<(Box<[u8]>, u64)>,
    /// Which change of the shard has made it; 0 where the file has the same.
    pub unsaved: u64,
    /// Whether the file could not be asked what it has: it may have something else.
    pub blind: bool,
}

/// A part of the memory, under a lock of its own.
#[derive(Debug)]
pub(super) struct Shard {
    /// By the key as the file has it.
    entries: LruCache<Box<[u8]>, Cached>,
    octets: usize,
    limit: usize,
    changes: u64,
}

impl Cached {
    /// What it counts towards the quota; `key`: the length of its key.
    pub fn footprint(&self, key: usize) -> u64 {
        self.value.as_ref().map_or(0, |(value, _)| footprint(key, value.len()))
    }

    /// What the file has, as far as it was asked.
    pub fn saved(value: Option<(Box<[u8]>, u64)>) -> Self {
        Self { value, unsaved: 0, blind: false }
    }

    /// Nothing, because the file could not be asked.
    pub fn unread() -> Self {
        Self { value: None, unsaved: 0, blind: true }
    }
}

fn octets(key: &[u8], cached: &Cached) -> usize {
    let value = cached.value.as_ref().map_or(0, |(value, _)| value.len());
    BESIDE + size_of::<Cached>() + key.len() + value
}

impl Shard {
    pub fn new(limit: usize) -> Self {
        Self { entries: LruCache::unbounded(), octets: 0, limit, changes: 0 }
    }

    /// What is known of a key.
    pub fn get(&mut self, key: &[u8]) -> Option<&Cached> {
        self.entries.get(key)
    }

    /// The same, without counting as use.
    pub fn peek(&self, key: &[u8]) -> Option<&Cached> {
        self.entries.peek(key)
    }

    /// Takes in what the file has.
    pub fn learn(&mut self, key: &[u8], cached: Cached) {
        self.put(key, cached);
    }

    /// Changes an entry; the file does not know it yet.
    pub fn write(&mut self, key: &[u8], value: Option<(Box<[u8]>, u64)>) {
        self.changes += 1;
        let blind = self.entries.peek(key).is_some_and(|cached| cached.blind);
        self.put(key, Cached { value, unsaved: self.changes, blind });
    }

    fn put(&mut self, key: &[u8], cached: Cached) {
        self.octets += octets(key, &cached);
        if let Some((key, before)) = self.entries.push(key.into(), cached) {
            self.octets -= octets(&key, &before);
        }
        self.trim();
    }

    /// Lets go of the longest unused while there is too much.
    pub fn trim(&mut self) {
        while self.octets > self.limit {
            let mut oldest = self.entries.iter().rev().take(LOOKED_AT);
            let Some(key) = oldest.find(|(_, cached)| cached.unsaved == 0).map(|(key, _)| key.clone()) else {
                return;
            };
            if let Some(gone) = self.entries.pop(&key) {
                self.octets -= octets(&key, &gone);
            }
        }
    }

    /// What is not saved.
    pub fn unsaved(&self) -> impl Iterator<Item = (&[u8], &Cached)> {
        self.entries.iter().filter(|(_, cached)| cached.unsaved != 0).map(|(key, cached)| (&**key, cached))
    }

    /// The file has it now, unless it has changed since.
    pub fn saved(&mut self, key: &[u8], change: u64) {
        if let Some(cached) = self.entries.peek_mut(key)
            && cached.unsaved == change
        {
            cached.unsaved = 0;
            cached.blind = false;
        }
    }

    /// The file is gone: what is in memory is to be written to another one, and what is not is
    /// nowhere.
    pub fn forget_saved(&mut self) {
        let keys: Vec<_> = self.entries.iter().map(|(key, _)| key.clone()).collect();
        for key in keys {
            let Some(cached) = self.entries.peek_mut(&key) else { continue };
            cached.blind = false;
            if cached.value.is_some() {
                self.changes += 1;
                cached.unsaved = self.changes;
            } else if let Some(gone) = self.entries.pop(&key) {
                self.octets -= octets(&key, &gone);
            }
        }
    }

    /// The file can be asked again: what it could not be asked is asked again.
    pub fn forget_unread(&mut self) {
        let unread = self.entries.iter().filter(|(_, cached)| cached.blind && cached.unsaved == 0);
        let keys: Vec<_> = unread.map(|(key, _)| key.clone()).collect();
        for key in keys {
            if let Some(gone) = self.entries.pop(&key) {
                self.octets -= octets(&key, &gone);
            }
        }
    }

    /// All that is in memory.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &Cached)> {
        self.entries.iter().map(|(key, cached)| (&**key, cached))
    }
}
