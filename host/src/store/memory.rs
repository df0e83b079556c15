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

use super::{KEY_LIMIT, Refused, VALUE_LIMIT};
use crate::clock::Clock;

const SHARDS: usize = 64;
/// Expired entries that a write takes away: more than one, so that they go faster than they
/// come.
const SWEPT_BY_A_WRITE: usize = 3;
/// What an entry takes beside key and value: itself, its place in the table at the usual
/// load, its place in the queue, and what the allocator rounds up.
const ENTRY_OCTETS: u64 = 72;
/// Places in the queue, beyond two for each entry, at which it is made anew.
const QUEUE_SLACK: usize = 256;
/// Never.
const NEVER: u64 = u64::MAX;

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
        ENTRY_OCTETS + self.octets.len() as u64
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
    clock: Arc<dyn Clock>,
    /// Whether nothing that has expired is ever counted. It takes time, and makes what a
    /// policy is told of the usage a matter of what it has written alone, not of chance.
    exact: bool,
}

/// What to do with a key, seeing its value.
enum Change<'a> {
    Nothing,
    Write(&'a [u8], Lifetime),
}

enum Lifetime {
    Until(u64),
    AsBefore,
}

impl Memory {
    pub(super) fn new(quota: u64, clock: Arc<dyn Clock>, exact: bool) -> Self {
        Self {
            exact,
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            quota,
            used: AtomicU64::new(0),
            clock,
        }
    }

    pub(super) fn get(&self, key: &str) -> Option<Vec<u8>> {
        let hash = self.hash(key.as_bytes());
        let now = self.clock.now_ms();
        let shard = self.shard(hash).lock();
        let entry = shard.entries.find(hash, |entry| entry.key() == key.as_bytes())?;
        (entry.expires > now).then(|| entry.value().to_vec())
    }

    pub(super) fn set(&self, key: &str, value: &[u8], ttl: Option<Duration>) -> Result<(), Refused> {
        self.change(key, ttl, |_, until| Ok((Change::Write(value, Lifetime::Until(until)), ())))
    }

    pub(super) fn add(&self, key: &str, value: &[u8], ttl: Option<Duration>) -> Result<bool, Refused> {
        self.change(key, ttl, |present, until| {
            Ok(match present {
                Some(_) => (Change::Nothing, false),
                None => (Change::Write(value, Lifetime::Until(until)), true),
            })
        })
    }

    pub(super) fn compare_and_set(
        &self,
        key: &str,
        expected: &[u8],
        value: &[u8],
        ttl: Option<Duration>,
    ) -> Result<bool, Refused> {
        self.change(key, ttl, |present, until| {
            Ok(if present == Some(expected) {
                (Change::Write(value, Lifetime::Until(until)), true)
            } else {
                (Change::Nothing, false)
            })
        })
    }

    pub(super) fn increment(&self, key: &str, by: i64, ttl: Option<Duration>) -> Result<i64, Refused> {
        let mut digits = String::new();
        let digits = &mut digits;
        self.change(key, ttl, move |present, until| {
            let (before, lifetime) = match present {
                Some(octets) => {
                    let number = std::str::from_utf8(octets).ok().and_then(|text| text.parse::<i64>().ok());
                    (number.ok_or(Refused::NotANumber)?, Lifetime::AsBefore)
                }
                None => (0, Lifetime::Until(until)),
            };
            let after = before.saturating_add(by);
            *digits = after.to_string();
            Ok((Change::Write(digits.as_bytes(), lifetime), after))
        })
    }

    pub(super) fn delete(&self, key: &str) -> bool {
        let hash = self.hash(key.as_bytes());
        let now = self.clock.now_ms();
        let mut shard = self.shard(hash).lock();
        self.remove(&mut shard, hash, |entry| entry.key() == key.as_bytes())
            .is_some_and(|entry| entry.expires > now)
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

    pub(super) fn entries(&self) -> Vec<(String, Vec<u8>, Option<u64>)> {
        let now = self.clock.now_ms();
        let mut all = Vec::new();
        for shard in &self.shards {
            let shard = shard.lock();
            let living = shard.entries.iter().filter(|entry| entry.expires > now);
            all.extend(living.map(|entry| {
                let key = String::from_utf8_lossy(entry.key()).into_owned();
                (key, entry.value().to_vec(), (entry.expires != NEVER).then_some(entry.expires))
            }));
        }
        all
    }

    fn hash(&self, key: &[u8]) -> u64 {
        self.hasher.hash_one(key)
    }

    fn shard(&self, hash: u64) -> &Mutex<Shard> {
        // The table uses the low bits and the highest seven.
        &self.shards[usize::try_from((hash >> 40) % SHARDS as u64).unwrap_or(0)]
    }

    fn change<'a, T>(
        &self,
        key: &str,
        ttl: Option<Duration>,
        decide: impl FnOnce(Option<&[u8]>, u64) -> Result<(Change<'a>, T), Refused>,
    ) -> Result<T, Refused> {
        let key = key.as_bytes();
        let (Ok(key_length), true) = (u16::try_from(key.len()), key.len() <= KEY_LIMIT) else {
            return Err(Refused::TooLong);
        };
        let now = self.clock.now_ms();
        let until = ttl.map_or(NEVER, |ttl| {
            now.saturating_add(u64::try_from(ttl.as_millis()).unwrap_or(NEVER)).min(NEVER - 1)
        });
        let until = if ttl.is_none() { NEVER } else { until };
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
        let (change, result) = decide(present.map(Entry::value), until)?;
        let Change::Write(value, lifetime) = change else { return Ok(result) };
        if value.len() > VALUE_LIMIT {
            return Err(Refused::TooLong);
        }
        let expires = match lifetime {
            Lifetime::Until(until) => until,
            Lifetime::AsBefore => present.map_or(until, |entry| entry.expires),
        };
        let after = ENTRY_OCTETS + (key.len() + value.len()) as u64;
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

    fn memory(quota: u64) -> (Memory, Arc<ManualClock>) {
        let clock = ManualClock::new(1_000_000);
        (Memory::new(quota, clock.clone(), false), clock)
    }

    #[test]
    fn a_value_is_there_until_its_time_to_live_is_over() {
        let (memory, clock) = memory(1 << 20);
        memory.set("a", b"1", SECOND).unwrap();
        memory.set("b", b"2", None).unwrap();
        clock.advance(Duration::from_millis(999));
        assert_eq!(memory.get("a").unwrap(), b"1");
        clock.advance(Duration::from_millis(1));
        assert_eq!(memory.get("a"), None);
        assert_eq!(memory.get("b").unwrap(), b"2");
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
    fn add_writes_once_and_again_after_expiry() {
        let (memory, clock) = memory(1 << 20);
        assert!(memory.add("a", b"1", SECOND).unwrap());
        assert!(!memory.add("a", b"2", SECOND).unwrap());
        clock.advance(Duration::from_secs(1));
        assert!(memory.add("a", b"3", SECOND).unwrap());
        assert_eq!(memory.get("a").unwrap(), b"3");
    }

    #[test]
    fn compare_and_set_writes_only_over_what_was_expected() {
        let (memory, _) = memory(1 << 20);
        assert!(!memory.compare_and_set("a", b"", b"1", None).unwrap());
        memory.set("a", b"1", None).unwrap();
        assert!(!memory.compare_and_set("a", b"2", b"3", None).unwrap());
        assert!(memory.compare_and_set("a", b"1", b"3", None).unwrap());
        assert_eq!(memory.get("a").unwrap(), b"3");
    }

    #[test]
    fn a_counter_keeps_the_time_to_live_that_it_began_with() {
        let (memory, clock) = memory(1 << 20);
        assert_eq!(memory.increment("n", 2, SECOND).unwrap(), 2);
        clock.advance(Duration::from_millis(900));
        assert_eq!(memory.increment("n", -5, SECOND).unwrap(), -3);
        assert_eq!(memory.get("n").unwrap(), b"-3");
        clock.advance(Duration::from_millis(100));
        assert_eq!(memory.increment("n", 1, None).unwrap(), 1);
        assert_eq!(memory.increment("n", i64::MAX, None).unwrap(), i64::MAX);
        memory.set("text", b"x", None).unwrap();
        assert_eq!(memory.increment("text", 1, None), Err(Refused::NotANumber));
    }

    #[test]
    fn the_quota_holds_and_freed_octets_can_be_used_again() {
        let (memory, _) = memory(400);
        memory.set("a", &[0; 100], None).unwrap();
        memory.set("b", &[0; 100], None).unwrap();
        assert_eq!(memory.set("c", &[0; 100], None), Err(Refused::Quota));
        assert_eq!(memory.get("c"), None);
        assert!(memory.delete("a"));
        memory.set("c", &[0; 100], None).unwrap();
        memory.clear();
        assert_eq!(memory.usage(), 0);
        assert_eq!(memory.get("b"), None);
    }

    #[test]
    fn what_is_too_long_is_refused() {
        let (memory, _) = memory(1 << 30);
        let key = "k".repeat(KEY_LIMIT);
        memory.set(&key, &[0; VALUE_LIMIT], None).unwrap();
        assert_eq!(memory.set(&(key + "k"), b"", None), Err(Refused::TooLong));
        assert_eq!(memory.set("k", &[0; VALUE_LIMIT + 1], None), Err(Refused::TooLong));
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
