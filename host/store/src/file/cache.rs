//! The cache of the file: recently used entries, keys that are known to be missing, and changes
//! that are not saved yet. The least recently used entry is evicted first, but never before it is
//! saved.

use lru::LruCache;

use crate::footprint;

/// Bytes that an entry takes in the cache in addition to its key and value: its links in the list
/// of recent use, and its slot in the map.
const OVERHEAD_BYTES: usize = 40;
/// Entries that are searched for one that is saved and can be evicted.
const EVICTION_CANDIDATES: usize = 16;

/// A cached entry.
#[derive(Clone, Debug)]
pub(super) struct Cached {
    /// The value and when it expires; None if the key is known to be missing.
    pub value: Option<(Box<[u8]>, u64)>,
    /// Number of the change that made it, counted per shard; 0 if the file has the same.
    pub unsaved: u64,
    /// Whether the file could not be read when this was made: it may hold another value.
    pub unread: bool,
}

/// A part of the cache, under a lock of its own.
#[derive(Debug)]
pub(super) struct CacheShard {
    /// By stored key; see [`format::key`](super::format::key).
    entries: LruCache<Box<[u8]>, Cached>,
    bytes: usize,
    limit: usize,
    changes: u64,
}

impl Cached {
    /// Bytes that it counts towards the quota; `key` is the length of its key.
    pub fn footprint(&self, key: usize) -> u64 {
        self.value.as_ref().map_or(0, |(value, _)| footprint(key, value.len()))
    }

    /// An entry as it was read from the file.
    pub fn saved(value: Option<(Box<[u8]>, u64)>) -> Self {
        Self { value, unsaved: 0, unread: false }
    }

    /// A key that is taken to be missing, because the file cannot be read.
    pub fn unread() -> Self {
        Self { value: None, unsaved: 0, unread: true }
    }
}

fn cached_bytes(key: &[u8], cached: &Cached) -> usize {
    let value = cached.value.as_ref().map_or(0, |(value, _)| value.len());
    OVERHEAD_BYTES + size_of::<Cached>() + key.len() + value
}

impl CacheShard {
    /// `limit`: most bytes that saved entries may take.
    pub fn new(limit: usize) -> Self {
        Self { entries: LruCache::unbounded(), bytes: 0, limit, changes: 0 }
    }

    /// The cached entry, which becomes the most recently used one.
    pub fn get(&mut self, key: &[u8]) -> Option<&Cached> {
        self.entries.get(key)
    }

    /// The value of a cached entry and when it expires, unless it has expired. Counts as use.
    pub fn live(&mut self, key: &[u8], now: u64) -> Option<(&[u8], u64)> {
        let (value, expires) = self.get(key)?.value.as_ref()?;
        (*expires > now).then_some((&**value, *expires))
    }

    /// The cached entry, without counting as use.
    pub fn peek(&self, key: &[u8]) -> Option<&Cached> {
        self.entries.peek(key)
    }

    /// Inserts an entry that was read from the file. As after [`CacheShard::write`], the cache may
    /// be over its limit until [`CacheShard::evict`] is called: what is in use must not be evicted.
    pub fn insert_read(&mut self, key: &[u8], cached: Cached) {
        self.put(key, cached);
    }

    /// Changes or deletes an entry; the write-back thread saves it later.
    pub fn write(&mut self, key: &[u8], value: Option<(Box<[u8]>, u64)>) {
        self.changes += 1;
        let unread = self.entries.peek(key).is_some_and(|cached| cached.unread);
        self.put(key, Cached { value, unsaved: self.changes, unread });
    }

    /// Deletes a cached entry, unless it is known to be missing. A key that could not be read may be
    /// in the file, and is deleted there.
    pub fn delete(&mut self, key: &[u8]) {
        if self.entries.peek(key).is_some_and(|cached| cached.value.is_some() || cached.unread) {
            self.write(key, None);
        }
    }

    fn put(&mut self, key: &[u8], cached: Cached) {
        self.bytes += cached_bytes(key, &cached);
        if let Some((key, before)) = self.entries.push(key.into(), cached) {
            self.bytes -= cached_bytes(&key, &before);
        }
    }

    /// Evicts saved entries, the least recently used first, while the cache is over its limit.
    pub fn evict(&mut self) {
        while self.bytes > self.limit {
            let mut oldest = self.entries.iter().rev().take(EVICTION_CANDIDATES);
            let Some(key) = oldest.find(|(_, cached)| cached.unsaved == 0).map(|(key, _)| key.clone()) else {
                return;
            };
            self.remove(&key);
        }
    }

    fn remove(&mut self, key: &[u8]) {
        if let Some(removed) = self.entries.pop(key) {
            self.bytes -= cached_bytes(key, &removed);
        }
    }

    /// All entries that are not saved.
    pub fn unsaved(&self) -> impl Iterator<Item = (&[u8], &Cached)> {
        self.iter().filter(|(_, cached)| cached.unsaved != 0)
    }

    /// Marks a change as saved, unless the entry has changed again since.
    pub fn mark_saved(&mut self, key: &[u8], change: u64) {
        if let Some(cached) = self.entries.peek_mut(key)
            && cached.unsaved == change
        {
            cached.unsaved = 0;
            cached.unread = false;
        }
    }

    /// After the file was lost: all cached values have to be written to a new file, and keys that
    /// are not cached are missing.
    pub fn forget_saved(&mut self) {
        let keys: Vec<_> = self.entries.iter().map(|(key, _)| key.clone()).collect();
        for key in keys {
            let Some(cached) = self.entries.peek_mut(&key) else { continue };
            cached.unread = false;
            if cached.value.is_some() {
                self.changes += 1;
                cached.unsaved = self.changes;
            } else {
                self.remove(&key);
            }
        }
    }

    /// After the file became readable again: forgets keys that were taken to be missing.
    pub fn forget_unread(&mut self) {
        let unread = self.entries.iter().filter(|(_, cached)| cached.unread && cached.unsaved == 0);
        let keys: Vec<_> = unread.map(|(key, _)| key.clone()).collect();
        for key in keys {
            self.remove(&key);
        }
    }

    /// All cached entries.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &Cached)> {
        self.entries.iter().map(|(key, cached)| (&**key, cached))
    }
}
