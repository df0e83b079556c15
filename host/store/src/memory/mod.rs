//! A namespace in memory: sharded tables, each with a queue of what expires next. Nothing is
//! ever scanned; each write takes a few expired entries away.

mod entries;

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
use entries::{Entries, Entry};
use reprieve_containers::expiry_queue::ExpiryQueue;
use reprieve_containers::sharding::{SHARDS, shard};
use reprieve_metrics::Sharded;

/// Expired entries that a write takes away: more than one, so that they go faster than they
/// come.
const SWEPT_BY_A_WRITE: usize = 3;
/// Places in the queue, beyond two for each entry, at which it is made anew.
const QUEUE_SLACK: usize = 256;

/// An entry as it is shown: key, value, and when it expires.
type Shown = (String, Vec<u8>, Option<u64>);

#[derive(Debug, Default)]
struct Shard {
    entries: Entries,
    /// Where the living ones are.
    index: HashTable<u32>,
    queue: ExpiryQueue,
}

impl Shard {
    /// An entry, and where it is.
    fn find(&self, hash: u64, key: &[u8]) -> Option<(u32, Entry<'_>)> {
        let is = |&at: &u32| self.entries.get(at).is_some_and(|entry| entry.key == key);
        let &at = self.index.find(hash, is)?;
        Some((at, self.entries.get(at)?))
    }

    /// Takes out of the queue what is gone, and what stands there twice.
    fn make_queue_anew(&mut self, now: u64) {
        let gone: Vec<_> =
            self.entries.heads().filter(|(_, head)| head.is_gone()).map(|(at, _)| at).collect();
        for at in gone {
            self.entries.remove(at);
        }
        let queued = self.entries.heads().filter(|(_, head)| head.is_queued());
        self.queue.rebuild(queued.map(|(at, head)| (at, head.expires())), now);
    }
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
        let (_, entry) = shard.find(hash, key.as_bytes())?;
        (entry.expires > now).then(|| entry.value.to_vec())
    }

    pub(super) fn delete(&self, key: &str) -> bool {
        self.count();
        let hash = self.hash(key.as_bytes());
        let now = self.clock.now_ms();
        let mut shard = self.shard(hash).lock();
        let Some((at, entry)) = shard.find(hash, key.as_bytes()) else { return false };
        let lived = entry.expires > now;
        self.remove(&mut shard, hash, at);
        lived
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
        self.shards.iter().map(|shard| shard.lock().index.len()).sum()
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
            let freed: u64 = shard.entries.iter().map(|(_, entry)| entry.footprint()).sum();
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
            let living = shard.entries.iter().filter(|(_, entry)| entry.expires > now);
            some.extend(living.map(|(_, entry)| {
                let key = String::from_utf8_lossy(entry.key).into_owned();
                (key, entry.value.to_vec(), (entry.expires != NEVER).then_some(entry.expires))
            }));
        }
        (some, None)
    }

    fn hash(&self, key: &[u8]) -> u64 {
        self.hasher.hash_one(key)
    }

    fn shard(&self, hash: u64) -> &Mutex<Shard> {
        // The table uses the low bits and the highest seven.
        &self.shards[shard((hash >> 25) as u32)]
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
        if key.len() > KEY_LIMIT {
            return Err(Refused::TooLong);
        }
        let now = self.clock.now_ms();
        let until = expiry(now, ttl);
        let hash = self.hash(key);
        self.sweep_all_if_exact();
        let mut guard = self.shard(hash).lock();
        self.sweep(&mut guard, now);
        let Shard { entries, index, queue } = &mut *guard;
        let is = |&at: &u32| entries.get(at).is_some_and(|entry| entry.key == key);
        let of = |&at: &u32| entries.get(at).map_or(0, |entry| self.hash(entry.key));
        let slot = index.entry(hash, is, of);
        let there = match &slot {
            Slot::Occupied(occupied) => entries.get(*occupied.get()),
            Slot::Vacant(_) => None,
        };
        let present = there.filter(|entry| entry.expires > now);
        let (write, result) = operation.apply(present.map(|entry| entry.value))?;
        let Some(Write { value, keeps_lifetime }) = write else { return Ok(result) };
        let value = &*value;
        if value.len() > VALUE_LIMIT {
            return Err(Refused::TooLong);
        }
        let expires = match present {
            Some(entry) if keeps_lifetime => entry.expires,
            _ => until,
        };
        let (before, after) = (there.map_or(0, |entry| entry.footprint()), footprint(key.len(), value.len()));
        self.account(before, after)?;
        let written = match slot {
            Slot::Occupied(occupied) => {
                let at = *occupied.get();
                entries.set_value(at, value).then_some(at)
            }
            Slot::Vacant(vacant) => entries.insert(key, value).map(|at| *vacant.insert(at).get()),
        };
        let Some((at, head)) = written.and_then(|at| Some((at, entries.head_mut(at)?))) else {
            // More than can be numbered; the quota is billions of octets.
            let _ = self.account(after, before);
            return Err(Refused::Quota);
        };
        // One that now expires sooner than the queue knows stands there twice.
        let known = head.is_queued() && head.expires() <= expires;
        head.set_expires(expires);
        if !known && expires != NEVER {
            head.set_queued(true);
            queue.push(at, expires, now);
            if queue.len() > 2 * index.len() + QUEUE_SLACK {
                guard.make_queue_anew(now);
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
            while self.sweep_one(&mut shard, now) {}
        }
    }

    fn sweep(&self, shard: &mut Shard, now: u64) {
        for _ in 0..SWEPT_BY_A_WRITE {
            if !self.sweep_one(shard, now) {
                break;
            }
        }
    }

    /// Looks at the entry whose turn it is; tells whether there was one.
    fn sweep_one(&self, shard: &mut Shard, now: u64) -> bool {
        let Some(at) = shard.queue.pop_due(now) else { return false };
        // None where it stood in the queue twice.
        let Some(head) = shard.entries.head_mut(at) else { return true };
        let (expires, is_gone) = (head.expires(), head.is_gone());
        if !is_gone && expires > now {
            // It lives longer than it did when it was queued.
            head.set_queued(expires != NEVER);
            if expires != NEVER {
                shard.queue.push(at, expires, now);
            }
            return true;
        }
        head.set_queued(false);
        match shard.entries.get(at).map(|entry| self.hash(entry.key)) {
            Some(hash) => self.remove(shard, hash, at),
            None => shard.entries.remove(at),
        }
        true
    }

    /// Takes an entry away. The place of one that is queued is kept until its turn comes: the
    /// queue would take whoever comes there next for this one.
    fn remove(&self, shard: &mut Shard, hash: u64, at: u32) {
        if let Some(entry) = shard.entries.get(at) {
            self.used.fetch_sub(entry.footprint(), Ordering::Relaxed);
        }
        if let Ok(known) = shard.index.find_entry(hash, |&known| known == at) {
            known.remove();
        }
        if shard.entries.head_mut(at).is_some_and(|head| head.is_queued()) {
            shard.entries.release(at);
        } else {
            shard.entries.remove(at);
        }
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
        let left = memory.shards.iter().map(|shard| shard.lock().index.len()).sum::<usize>();
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

    #[test]
    fn what_is_there_is_what_was_written_and_lives() {
        let clock = ManualClock::new(1_000_000);
        let memory = Memory::new(1 << 20, clock.clone(), true);
        let mut model = std::collections::HashMap::<String, (Vec<u8>, u64)>::new();
        // A generator of the usual constants: each run is the same.
        let mut state = 1_u64;
        let mut random = move |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(state >> 33).unwrap() % below
        };
        for round in 0..20_000_usize {
            let key = format!("{:0>1$}", random(60), 1 + random(2) * 150);
            let now = clock.now_ms();
            model.retain(|_, (_, expires)| *expires > now);
            match random(5) {
                0..3 => {
                    let value = vec![u8::try_from(round % 256).unwrap(); random(200)];
                    let ttl = [None, Some(1), Some(10_000), Some(60 * 86_400_000)][random(4)];
                    memory.set(&key, &value, ttl.map(Duration::from_millis)).unwrap();
                    model.insert(key, (value, ttl.map_or(NEVER, |ttl| now + ttl)));
                }
                3 => assert_eq!(memory.delete(&key), model.remove(&key).is_some()),
                _ => {
                    let steps = [0, 1, 5_000, if round % 100 == 0 { 90 * 86_400_000 } else { 2 }];
                    clock.advance(Duration::from_millis(steps[random(4)]));
                }
            }
            let now = clock.now_ms();
            let counted: u64 = model
                .iter()
                .filter(|(_, (_, expires))| *expires > now)
                .map(|(key, (value, _))| footprint(key.len(), value.len()))
                .sum();
            assert_eq!(memory.usage(), counted, "round {round}");
            let key = random(60).to_string();
            let there = model.get(&key).filter(|(_, expires)| *expires > now).map(|(value, _)| value.clone());
            assert_eq!(memory.get(&key), there, "round {round}");
        }
        let mut all: Vec<_> = memory.entries().into_iter().map(|(key, value, _)| (key, value)).collect();
        let now = clock.now_ms();
        let living = model.into_iter().filter(|(_, (_, expires))| *expires > now);
        let mut expected: Vec<_> = living.map(|(key, (value, _))| (key, value)).collect();
        all.sort();
        expected.sort();
        assert_eq!(all, expected);
        clock.advance(Duration::from_secs(100 * 86_400));
        memory.clear();
        assert_eq!((memory.usage(), memory.len()), (0, 0));
    }
}
