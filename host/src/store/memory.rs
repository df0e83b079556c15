//! A namespace in memory: sharded tables, each with a queue of what expires next. Nothing is
//! ever scanned; each write takes a few expired entries away.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry as Slot;
use parking_lot::Mutex;

use super::operation::{Changed, Operation, Write};
use super::{KEY_LIMIT, NEVER, Refused, VALUE_LIMIT, expiry, footprint};
use crate::clock::Clock;
use crate::counting::Sharded;

const SHARDS: usize = 64;
/// Expired entries that a write takes away: more than one, so that they go faster than they
/// come.
const SWEPT_BY_A_WRITE: usize = 3;
/// Places in the queue, beyond two for each entry, at which it is made anew.
const QUEUE_SLACK: usize = 256;

/// An entry as it is shown: key, value, and when it expires.
type Shown = (String, Vec<u8>, Option<u64>);

#[derive(Debug)]
struct Entry {
    /// The key and, after it, the value.
    octets: Box<[u8]>,
    key_length: u16,
    /// Whether the queue knows this key. It stands there once; where the time to live has
    /// become longer meanwhile, it is queued again when its turn comes.
    queued: bool,
    /// Milliseconds since 1970.
    expires: u64,
}

impl Entry {
    fn key(&self) -> &[u8] {
        &self.octets[..usize::from(self.key_length)]
    }

    fn value(&self) -> &[u8] {
        &self.octets[usize::from(self.key_length)..]
    }

    fn footprint(&self) -> u64 {
        footprint(self.octets.len(), 0)
    }
}

#[derive(Debug, Default)]
struct Shard {
    entries: HashTable<Entry>,
    /// When a key's turn to be looked at comes, and its hash.
    queue: BinaryHeap<Reverse<(u64, u64)>>,
}

#[derive(Debug)]
pub(super) struct Memory {
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
    quota: u64,
    used: AtomicU64,
    operations: Sharded<AtomicU64>,
    clock: Arc<dyn Clock>,
    /// Whether nothing that has expired is ever counted. It takes time, and makes what a
    /// policy is told of the usage a matter of what it has written alone, not of chance.
    exact: bool,
}

impl Memory {
    pub(super) fn new(quota: u64, clock: Arc<dyn Clock>, exact: bool) -> Self {
        Self {
            exact,
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            quota,
            used: AtomicU64::new(0),
            operations: Sharded::default(),
            clock,
        }
    }

    pub(super) fn get(&self, key: &str) -> Option<Vec<u8>> {
        self.count();
        let hash = self.hash(key.as_bytes());
        let now = self.clock.now_ms();
        let shard = self.shard(hash).lock();
        let entry = shard.entries.find(hash, |entry| entry.key() == key.as_bytes())?;
        (entry.expires > now).then(|| entry.value().to_vec())
    }

    pub(super) fn delete(&self, key: &str) -> bool {
        self.count();
        let hash = self.hash(key.as_bytes());
        let now = self.clock.now_ms();
        let mut shard = self.shard(hash).lock();
        self.remove(&mut shard, hash, |entry| entry.key() == key.as_bytes())
            .is_some_and(|entry| entry.expires > now)
    }

    fn count(&self) {
        self.operations.here().fetch_add(1, Ordering::Relaxed);
    }

    /// Reads and writes of single keys until now.
    pub(super) fn operations(&self) -> u64 {
        self.operations.parts().map(|part| part.load(Ordering::Relaxed)).sum()
    }

    /// Entries, those included that have expired and were not taken away yet.
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().entries.len()).sum()
    }

    pub(super) fn quota(&self) -> u64 {
        self.quota
    }

    pub(super) fn usage(&self) -> u64 {
        self.sweep_all_if_exact();
        self.used.load(Ordering::Relaxed)
    }

    pub(super) fn clear(&self) {
        for shard in &self.shards {
            let mut shard = shard.lock();
            let freed: u64 = shard.entries.iter().map(Entry::footprint).sum();
            *shard = Shard::default();
            self.used.fetch_sub(freed, Ordering::Relaxed);
        }
    }

    pub(super) fn entries(&self) -> Vec<Shown> {
        self.some_entries(0, usize::MAX).0
    }

    /// Those of the shards from this one on, until there are enough; and the shard where those
    /// begin that are left.
    pub(super) fn some_entries(&self, first: usize, enough: usize) -> (Vec<Shown>, Option<usize>) {
        let now = self.clock.now_ms();
        let mut some = Vec::new();
        for (index, shard) in self.shards.iter().enumerate().skip(first) {
            if some.len() >= enough {
                return (some, Some(index));
            }
            let shard = shard.lock();
            let living = shard.entries.iter().filter(|entry| entry.expires > now);
            some.extend(living.map(|entry| {
                let key = String::from_utf8_lossy(entry.key()).into_owned();
                (key, entry.value().to_vec(), (entry.expires != NEVER).then_some(entry.expires))
            }));
        }
        (some, None)
    }

    fn hash(&self, key: &[u8]) -> u64 {
        self.hasher.hash_one(key)
    }

    fn shard(&self, hash: u64) -> &Mutex<Shard> {
        // The table uses the low bits and the highest seven.
        &self.shards[usize::try_from((hash >> 40) % SHARDS as u64).unwrap_or(0)]
    }

    /// Carries out an operation on a key.
    pub(super) fn change(
        &self,
        key: &str,
        operation: Operation<'_>,
        ttl: Option<Duration>,
    ) -> Result<Changed, Refused> {
        self.count();
        let key = key.as_bytes();
        let (Ok(key_length), true) = (u16::try_from(key.len()), key.len() <= KEY_LIMIT) else {
            return Err(Refused::TooLong);
        };
        let now = self.clock.now_ms();
        let until = expiry(now, ttl);
        let hash = self.hash(key);
        self.sweep_all_if_exact();
        let mut guard = self.shard(hash).lock();
        let shard = &mut *guard;
        self.sweep(shard, now);
        let slot = shard.entries.entry(hash, |entry| entry.key() == key, |entry| self.hash(entry.key()));
        let present = match &slot {
            Slot::Occupied(occupied) if occupied.get().expires > now => Some(occupied.get()),
            _ => None,
        };
        let (write, result) = operation.apply(present.map(Entry::value))?;
        let Some(Write { value, keeps_lifetime }) = write else { return Ok(result) };
        let value = &*value;
        if value.len() > VALUE_LIMIT {
            return Err(Refused::TooLong);
        }
        let expires = match present {
            Some(entry) if keeps_lifetime => entry.expires,
            _ => until,
        };
        let after = footprint(key.len(), value.len());
        let before = match &slot {
            Slot::Occupied(occupied) => occupied.get().footprint(),
            Slot::Vacant(_) => 0,
        };
        self.account(before, after)?;
        let queued = match slot {
            Slot::Occupied(occupied) => {
                let entry = occupied.into_mut();
                if entry.octets.len() == key.len() + value.len() {
                    entry.octets[key.len()..].copy_from_slice(value);
                } else {
                    entry.octets = [key, value].concat().into_boxed_slice();
                }
                // One that now expires sooner than the queue knows stands there twice.
                let known = entry.queued && entry.expires <= expires;
                entry.queued |= expires != NEVER;
                entry.expires = expires;
                known
            }
            Slot::Vacant(vacant) => {
                let octets = [key, value].concat().into_boxed_slice();
                vacant.insert(Entry { octets, key_length, queued: expires != NEVER, expires });
                false
            }
        };
        if !queued && expires != NEVER {
            shard.queue.push(Reverse((expires, hash)));
            if shard.queue.len() > 2 * shard.entries.len() + QUEUE_SLACK {
                // Deleted keys left their places behind.
                let queued = shard.entries.iter().filter(|entry| entry.queued);
                let places: Vec<_> =
                    queued.map(|entry| Reverse((entry.expires, self.hash(entry.key())))).collect();
                shard.queue = places.into();
            }
        }
        Ok(result)
    }

    fn account(&self, before: u64, after: u64) -> Result<(), Refused> {
        if after <= before {
            self.used.fetch_sub(before - after, Ordering::Relaxed);
            return Ok(());
        }
        let more = after - before;
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(more).filter(|&total| total <= self.quota)
            })
            .map(drop)
            .map_err(|_| Refused::Quota)
    }

    fn sweep_all_if_exact(&self) {
        if !self.exact {
            return;
        }
        let now = self.clock.now_ms();
        for shard in &self.shards {
            let mut shard = shard.lock();
            while shard.queue.peek().is_some_and(|&Reverse((turn, _))| turn <= now) {
                self.sweep(&mut shard, now);
            }
        }
    }

    fn sweep(&self, shard: &mut Shard, now: u64) {
        for _ in 0..SWEPT_BY_A_WRITE {
            match shard.queue.peek() {
                Some(&Reverse((turn, hash))) if turn <= now => {
                    shard.queue.pop();
                    if self.remove(shard, hash, |entry| entry.queued && entry.expires <= now).is_some() {
                        continue;
                    }
                    // It lives longer than it did when it was queued.
                    if let Some(entry) =
                        shard.entries.find_mut(hash, |entry| entry.queued && entry.expires > now)
                    {
                        if entry.expires == NEVER {
                            entry.queued = false;
                        } else {
                            let turn = entry.expires;
                            shard.queue.push(Reverse((turn, hash)));
                        }
                    }
                }
                _ => break,
            }
        }
    }

    fn remove(&self, shard: &mut Shard, hash: u64, is: impl FnMut(&Entry) -> bool) -> Option<Entry> {
        let (entry, _) = shard.entries.find_entry(hash, is).ok()?.remove();
        self.used.fetch_sub(entry.footprint(), Ordering::Relaxed);
        Some(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    const SECOND: Option<Duration> = Some(Duration::from_secs(1));

    impl Memory {
        fn set(&self, key: &str, value: &[u8], ttl: Option<Duration>) -> Result<(), Refused> {
            self.change(key, Operation::Set(value), ttl).map(drop)
        }

        fn add(&self, key: &str, value: &[u8], ttl: Option<Duration>) -> Result<bool, Refused> {
            self.change(key, Operation::Add(value), ttl).map(|changed| changed.done)
        }
    }

    fn memory(quota: u64) -> (Memory, Arc<ManualClock>) {
        let clock = ManualClock::new(1_000_000);
        (Memory::new(quota, clock.clone(), false), clock)
    }

    #[test]
    fn exact_usage_counts_nothing_that_has_expired() {
        let clock = ManualClock::new(1_000_000);
        let memory = Memory::new(1 << 20, clock.clone(), true);
        for number in 0..100 {
            memory.set(&number.to_string(), b"1", SECOND).unwrap();
        }
        clock.advance(Duration::from_secs(1));
        assert_eq!(memory.usage(), 0);
    }

    #[test]
    fn entries_that_nobody_reads_any_more_go_by_themselves() {
        let (memory, clock) = memory(1 << 30);
        for index in 0..20_000 {
            memory.set(&format!("user{index}"), &[0; 12], SECOND).unwrap();
        }
        let full = memory.usage();
        clock.advance(Duration::from_secs(2));
        for index in 0..10_000 {
            memory.set(&format!("other{index}"), &[0; 12], SECOND).unwrap();
        }
        assert!(memory.usage() <= full * 6 / 10, "{} of {full}", memory.usage());
    }

    #[test]
    fn a_key_that_is_written_again_and_again_is_queued_once() {
        let (memory, clock) = memory(1 << 20);
        for _ in 0..10_000 {
            memory.set("a", b"1", SECOND).unwrap();
            clock.advance(Duration::from_millis(10));
        }
        let queued: usize = memory.shards.iter().map(|shard| shard.lock().queue.len()).sum();
        assert_eq!(queued, 1);
        assert_eq!(memory.get("a").unwrap(), b"1");
    }

    #[test]
    fn an_entry_that_comes_to_expire_sooner_goes_sooner() {
        let (memory, clock) = memory(1 << 20);
        for index in 0..500 {
            memory.set(&index.to_string(), b"1", Some(Duration::from_secs(1_000_000))).unwrap();
            memory.set(&index.to_string(), b"1", SECOND).unwrap();
        }
        clock.advance(Duration::from_secs(2));
        for index in 1000..2000 {
            memory.set(&index.to_string(), b"1", None).unwrap();
        }
        let left = memory.shards.iter().map(|shard| shard.lock().entries.len()).sum::<usize>();
        assert!(left < 1010, "{left}");
    }

    #[test]
    fn keys_that_are_deleted_and_added_again_do_not_fill_the_queue() {
        let (memory, _) = memory(1 << 20);
        for _ in 0..10_000 {
            memory.add("a", b"1", SECOND).unwrap();
            memory.delete("a");
        }
        let queued: usize = memory.shards.iter().map(|shard| shard.lock().queue.len()).sum();
        assert!(queued <= QUEUE_SLACK + 2, "{queued}");
    }

    #[test]
    fn of_many_threads_exactly_one_adds() {
        let (memory, _) = memory(1 << 20);
        let added: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| {
                    scope
                        .spawn(|| (0..100).filter(|n| memory.add(&n.to_string(), b"", None).unwrap()).count())
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(added, 100);
    }
}
