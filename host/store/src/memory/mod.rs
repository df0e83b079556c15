//! A namespace in memory: hash tables in shards. Nothing scans a table; each write looks at a few entries
//! of its shard, in turn, and removes those that have expired. A queue of entries by expiry time would find
//! them sooner, and take eight bytes of each.
//!
//! There may be millions of entries of some twenty bytes each, so they are packed (see
//! [`entries`]); the code here treats each shard like a `HashMap`. The model test below
//! compares the two, and `benches/memory.rs` measures them.

mod commit;
mod entries;

use std::hash::BuildHasher;
use std::sync::Arc;

use super::operation::{Changed, Operation, Write};
use super::{Entry, KEY_LIMIT, Lifetime, NEVER, Refused, Ttl, VALUE_LIMIT, footprint};
use crate::clock::Clock;
use entries::{Entries, EntryRef};
use reprieve_containers::sharding::{SHARDS, shard};
use reprieve_containers::slot_index::SlotIndex;
use reprieve_metrics::Sharded;
use reprieve_sync::atomic::{AtomicU64, Ordering};
use reprieve_sync::{Mutex, RandomState};

/// Entries of its shard that each write looks at. If each write adds an entry, an eighth of all entries have
/// expired at most: while the hand goes once round them all, an eighth as many are added.
const LOOKS_PER_WRITE: u32 = 8;

#[derive(Debug, Default)]
struct Shard {
    entries: Entries,
    /// Slots of all entries, by the hash of the key.
    index: SlotIndex,
}

impl Shard {
    fn find(&self, hash: u64, key: &[u8]) -> Option<(u32, EntryRef<'_>)> {
        let has_key = |slot| self.entries.get(slot).is_some_and(|entry| entry.key == key);
        let slot = self.index.find(hash, has_key)?;
        Some((slot, self.entries.get(slot)?))
    }

    /// The entry of a key, unless it has expired.
    fn find_live(&self, hash: u64, key: &[u8], now: u64) -> Option<EntryRef<'_>> {
        self.find(hash, key).map(|(_, entry)| entry).filter(|entry| entry.expires > now)
    }

    /// Removes an entry.
    fn remove(&mut self, hash: u64, slot: u32) {
        self.index.remove(hash, slot);
        self.entries.remove(slot);
    }

    /// Bytes that all entries count towards the quota.
    fn footprint(&self) -> u64 {
        self.entries.iter().map(|(_, entry)| entry.footprint()).sum()
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
    /// Whether every operation first removes all expired entries. Slower, but makes the usage that
    /// a policy sees depend on its own writes alone.
    exact: bool,
}

impl Memory {
    pub(super) fn new(quota: u64, clock: Arc<dyn Clock>, exact: bool) -> Self {
        Self {
            exact,
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::default(),
            quota,
            used: AtomicU64::new(0),
            operations: Sharded::default(),
            clock,
        }
    }

    pub(super) fn get(&self, key: &str) -> Option<Vec<u8>> {
        self.get_with(key, |value| value.map(<[u8]>::to_vec))
    }

    /// Passes the value of a key to `read`, under the lock of its shard.
    pub(super) fn get_with<T>(&self, key: &str, read: impl FnOnce(Option<&[u8]>) -> T) -> T {
        self.with_live(key, |entry, _| read(entry.map(|entry| entry.value)))
    }

    pub(super) fn ttl(&self, key: &str) -> Option<Ttl> {
        self.with_live(key, |entry, now| Ttl::of(entry?.expires, now))
    }

    fn with_live<T>(&self, key: &str, read: impl FnOnce(Option<EntryRef<'_>>, u64) -> T) -> T {
        self.count();
        let hash = self.hash(key.as_bytes());
        let now = self.clock.now_ms();
        let shard = self.shard(hash).lock();
        read(shard.find_live(hash, key.as_bytes(), now), now)
    }

    pub(super) fn delete(&self, key: &str) -> bool {
        self.count();
        let hash = self.hash(key.as_bytes());
        let now = self.clock.now_ms();
        let mut shard = self.shard(hash).lock();
        let Some((slot, entry)) = shard.find(hash, key.as_bytes()) else { return false };
        let was_live = entry.expires > now;
        self.remove(&mut shard, hash, slot);
        was_live
    }

    fn count(&self) {
        self.operations.local().fetch_add(1, Ordering::Relaxed);
    }

    /// Operations on single keys so far.
    pub(super) fn operations(&self) -> u64 {
        self.operations.shards().map(|shard| shard.load(Ordering::Relaxed)).sum()
    }

    /// Number of entries, including expired ones that were not removed yet.
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
            let freed = shard.footprint();
            *shard = Shard::default();
            self.used.fetch_sub(freed, Ordering::Relaxed);
        }
    }

    pub(super) fn entries(&self) -> Vec<Entry> {
        self.some_entries(0, usize::MAX).0
    }

    /// The live entries of whole shards, starting with shard `first`, until there are at least
    /// `enough`; and the next shard, if any are left.
    pub(super) fn some_entries(&self, first: usize, enough: usize) -> (Vec<Entry>, Option<usize>) {
        let now = self.clock.now_ms();
        let mut found = Vec::new();
        for (index, shard) in self.shards.iter().enumerate().skip(first) {
            if found.len() >= enough {
                return (found, Some(index));
            }
            let shard = shard.lock();
            let live = shard.entries.iter().filter(|(_, entry)| entry.expires > now);
            found.extend(live.map(|(_, entry)| Entry {
                key: String::from_utf8_lossy(entry.key).into_owned(),
                value: entry.value.to_vec(),
                expires: (entry.expires != NEVER).then_some(entry.expires),
            }));
        }
        (found, None)
    }

    fn hash(&self, key: &[u8]) -> u64 {
        self.hasher.hash_one(key)
    }

    fn shard(&self, hash: u64) -> &Mutex<Shard> {
        &self.shards[shard_number(hash)]
    }

    pub(super) fn change(
        &self,
        key: &str,
        operation: Operation<'_>,
        lifetime: Lifetime,
    ) -> Result<Changed, Refused> {
        self.count();
        let key = key.as_bytes();
        if key.len() > KEY_LIMIT {
            return Err(Refused::TooLong);
        }
        let now = self.clock.now_ms();
        let hash = self.hash(key);
        self.sweep_all_if_exact();
        let mut shard = self.shard(hash).lock();
        self.sweep(&mut shard, now);
        let found = shard.find(hash, key);
        let present = found.map(|(_, entry)| entry).filter(|entry| entry.expires > now);
        let (write, changed) = operation.apply(present.map(|entry| entry.value))?;
        let Some(Write { value, keeps_lifetime }) = write else { return Ok(changed) };
        if value.len() > VALUE_LIMIT {
            return Err(Refused::TooLong);
        }
        let lifetime = if keeps_lifetime { Lifetime::Keep } else { lifetime };
        let expires = lifetime.expiry(now, present.map(|entry| entry.expires));
        let before = found.map_or(0, |(_, entry)| entry.footprint());
        let after = footprint(key.len(), value.len());
        let slot = found.map(|(slot, _)| slot);
        self.account(before, after)?;
        if !self.write(&mut shard, hash, key, slot, &value, expires) {
            let _ = self.account(after, before);
            return Err(Refused::Quota);
        }
        Ok(changed)
    }

    /// Writes an entry that was accounted for, into its `slot` if it has one. Returns false if the
    /// shard is out of slot numbers, of which there are 2^27 for each length.
    fn write(
        &self,
        shard: &mut Shard,
        hash: u64,
        key: &[u8],
        slot: Option<u32>,
        value: &[u8],
        expires: u64,
    ) -> bool {
        let Shard { entries, index } = shard;
        let Some(slot) = slot else {
            let Some(slot) = entries.insert(key, value, expires) else { return false };
            index.insert(hash, slot, |slot| entries.get(slot).map_or(0, |entry| self.hash(entry.key)));
            return true;
        };
        let Some(moved) = entries.replace(slot, value, expires) else { return false };
        if moved != slot {
            index.replace(hash, slot, moved);
        }
        true
    }

    /// Counts an entry that changes its footprint.
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
            for slot in shard.entries.all_expired(now) {
                self.remove_expired(&mut shard, slot);
            }
        }
    }

    fn sweep(&self, shard: &mut Shard, now: u64) {
        let mut looks = LOOKS_PER_WRITE;
        while let Some(slot) = shard.entries.next_expired(&mut looks, now) {
            self.remove_expired(shard, slot);
        }
    }

    fn remove_expired(&self, shard: &mut Shard, slot: u32) {
        if let Some(hash) = shard.entries.get(slot).map(|entry| self.hash(entry.key)) {
            self.remove(shard, hash, slot);
        }
    }

    /// Removes an entry, which no longer counts.
    fn remove(&self, shard: &mut Shard, hash: u64, slot: u32) {
        if let Some(entry) = shard.entries.get(slot) {
            self.used.fetch_sub(entry.footprint(), Ordering::Relaxed);
        }
        shard.remove(hash, slot);
    }
}

/// The shard of a key, from bits of its hash that the index does not use: it takes the lowest ones and the
/// highest eight.
fn shard_number(hash: u64) -> usize {
    shard((hash >> 24) as u32)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::ManualClock;

    const SECOND: Option<Duration> = Some(Duration::from_secs(1));

    impl Memory {
        fn set(&self, key: &str, value: &[u8], ttl: Option<Duration>) -> Result<(), Refused> {
            self.change(key, Operation::Set(value), ttl.into()).map(drop)
        }

        fn add(&self, key: &str, value: &[u8], ttl: Option<Duration>) -> Result<bool, Refused> {
            self.change(key, Operation::Add(value), ttl.into()).map(|changed| changed.done)
        }
    }

    fn memory(quota: u64) -> (Memory, Arc<ManualClock>) {
        let clock = ManualClock::new(1_000_000);
        (Memory::new(quota, clock.clone(), false), clock)
    }

    #[test]
    fn exact_usage_never_counts_expired_entries() {
        let clock = ManualClock::new(1_000_000);
        let memory = Memory::new(1 << 20, clock.clone(), true);
        for number in 0..100 {
            memory.set(&number.to_string(), b"1", SECOND).unwrap();
        }
        clock.advance(Duration::from_secs(1));
        assert_eq!(memory.usage(), 0);
    }

    #[test]
    fn expired_entries_are_removed_without_being_read() {
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
    fn while_entries_come_and_expire_an_eighth_of_those_kept_have_expired() {
        let (memory, clock) = memory(1 << 30);
        let live = 20_000;
        for index in 0..10 * live {
            memory.set(&format!("user{index}"), &[0; 8], Some(Duration::from_millis(live))).unwrap();
            clock.advance(Duration::from_millis(1));
        }
        let kept = memory.len() as u64;
        assert!(kept <= live * 8 / 7 + live / 20, "{kept} of {live}");
    }

    #[test]
    fn an_entry_whose_lifetime_is_shortened_is_removed_earlier() {
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
    fn exactly_one_of_many_threads_adds_a_key() {
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
    fn random_operations_leave_the_entries_of_a_hash_map_model() {
        let clock = ManualClock::new(1_000_000);
        let memory = Memory::new(1 << 20, clock.clone(), true);
        let mut model = std::collections::HashMap::<String, (Vec<u8>, u64)>::new();
        // A linear congruential generator (Knuth): every run is the same.
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
        let mut all: Vec<_> = memory.entries().into_iter().map(|entry| (entry.key, entry.value)).collect();
        let now = clock.now_ms();
        let live = model.into_iter().filter(|(_, (_, expires))| *expires > now);
        let mut expected: Vec<_> = live.map(|(key, (value, _))| (key, value)).collect();
        all.sort();
        expected.sort();
        assert_eq!(all, expected);
        clock.advance(Duration::from_secs(100 * 86_400));
        memory.clear();
        assert_eq!((memory.usage(), memory.len()), (0, 0));
    }
}
