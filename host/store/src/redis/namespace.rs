//! A namespace in Redis. Its entries have the keys `PREFIX{NAME}:KEY`; its own bookkeeping is in
//! `PREFIX{NAME}#generation`, `#usage`, `#expiring`, `#minutes` and `#scratch`. The braces put all
//! of them into one hash slot of a cluster. There a namespace is spread over several slots, and the
//! slot's number follows the name: `{NAME.07}`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use redis::Cmd;

use super::Shared;
use super::entry::StoredEntry;
use crate::operation::{Changed, Operation};
use crate::{
    ENTRY_OVERHEAD_BYTES, Entry, KEY_LIMIT, Lifetime, NEVER, NamespaceConfig, Refused, Ttl, Unavailable,
    WriteResult,
};

/// How long a usage reported by Redis is reused.
const MAX_USAGE_AGE: Duration = Duration::from_secs(1);
/// Longest time to live that is sent to Redis, which takes no more: about 4,000 years.
const MAX_TTL_MS: i64 = 1 << 47;
/// `Slot::reported_ms` before the first report.
const NOT_REPORTED: u64 = u64::MAX;

/// A handle of a namespace in Redis.
#[derive(Clone)]
pub struct RedisNamespace(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub shared: Arc<Shared>,
    pub config: NamespaceConfig,
    pub slots: Vec<Slot>,
    /// The instant from which [`Slot::reported_ms`] counts.
    opened: Instant,
}

/// The part of a namespace in one hash slot: all of it, except in a cluster.
pub(super) struct Slot {
    /// Keys of the bookkeeping: generation; usage; bytes by the minute in which they expire; these
    /// minutes in order; scratch space for counting in 64 bits.
    pub bookkeeping: [String; 5],
    /// Prefix of the keys of entries.
    entry_prefix: String,
    pub quota: u64,
    /// Bytes in use, as last reported.
    usage: AtomicU64,
    /// When that was, or [`NOT_REPORTED`].
    reported_ms: AtomicU64,
}

impl std::fmt::Debug for RedisNamespace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("RedisNamespace").field(&self.0.config.name).finish()
    }
}

/// The beginning of all keys of a namespace in one slot.
pub(super) fn tag(prefix: &str, name: &str, slot: usize, slots: usize) -> String {
    if slots == 1 { format!("{prefix}{{{name}}}") } else { format!("{prefix}{{{name}.{slot:02}}}") }
}

/// Name of the namespace to which a key belongs.
pub(super) fn name_of<'k>(key: &'k [u8], prefix: &str, slots: usize) -> Option<&'k str> {
    let inner = key.strip_prefix(prefix.as_bytes())?.strip_prefix(b"{")?;
    let end = inner.iter().position(|&byte| byte == b'}')?;
    let name = std::str::from_utf8(&inner[..end]).ok()?;
    if slots == 1 { Some(name) } else { name.rsplit_once('.').map(|(name, _)| name) }
}

/// A lifetime as the scripts take it: milliseconds, -1 for ever, -2 to keep the present one.
pub(super) fn ttl_argument(lifetime: Lifetime) -> i64 {
    match lifetime {
        Lifetime::For(ttl) => i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX).min(MAX_TTL_MS),
        Lifetime::Forever => -1,
        Lifetime::Keep => -2,
    }
}

fn parse_generation(digits: Option<Vec<u8>>) -> u64 {
    digits.and_then(|digits| String::from_utf8(digits).ok()?.parse().ok()).unwrap_or(0)
}

impl RedisNamespace {
    pub(super) fn new(shared: Arc<Shared>, prefix: &str, config: NamespaceConfig, slots: usize) -> Self {
        let slots = (0..slots).map(|slot| {
            let tag = tag(prefix, &config.name, slot, slots);
            let bookkeeping = ["generation", "usage", "expiring", "minutes", "scratch"];
            Slot {
                bookkeeping: bookkeeping.map(|name| format!("{tag}#{name}")),
                entry_prefix: format!("{tag}:"),
                quota: config.quota / slots as u64,
                usage: AtomicU64::new(0),
                reported_ms: AtomicU64::new(NOT_REPORTED),
            }
        });
        let slots = slots.collect();
        Self(Arc::new(Inner { shared, config, slots, opened: Instant::now() }))
    }

    pub fn ready(&self) -> Result<(), Unavailable> {
        self.0.shared.ready()
    }

    pub async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Unavailable> {
        if key.len() > KEY_LIMIT {
            return Ok(None);
        }
        let slot = self.slot(key);
        let [generation, usage, ..] = &slot.bookkeeping;
        let mut command = redis::cmd("MGET");
        command.arg(generation).arg(usage).arg(slot.entry(key));
        let (generation, usage, stored): (Option<u64>, Option<i64>, Option<Vec<u8>>) =
            self.0.shared.command(&command).await?;
        self.report_usage(slot, usage.unwrap_or(0));
        stored.map_or(Ok(None), |stored| StoredEntry::into_value(stored, generation.unwrap_or(0)))
    }

    pub async fn get_many(&self, keys: &[&str]) -> Result<Vec<Option<Vec<u8>>>, Unavailable> {
        let mut values = vec![None; keys.len()];
        for (number, slot) in self.0.slots.iter().enumerate() {
            let here = |key: &str| key.len() <= KEY_LIMIT && self.slot_number(key) == number;
            let places: Vec<_> = (0..keys.len()).filter(|&at| here(keys[at])).collect();
            if places.is_empty() {
                continue;
            }
            let mut command = redis::cmd("MGET");
            command.arg(&slot.bookkeeping[0]);
            for &at in &places {
                command.arg(slot.entry(keys[at]));
            }
            let found: Vec<Option<Vec<u8>>> = self.0.shared.command(&command).await?;
            let mut found = found.into_iter();
            let generation = parse_generation(found.next().flatten());
            for (at, stored) in places.into_iter().zip(found) {
                values[at] = stored.map_or(Ok(None), |stored| StoredEntry::into_value(stored, generation))?;
            }
        }
        Ok(values)
    }

    pub async fn ttl(&self, key: &str) -> Result<Option<Ttl>, Unavailable> {
        if key.len() > KEY_LIMIT {
            return Ok(None);
        }
        let slot = self.slot(key);
        let entry = slot.entry(key);
        let shared = &self.0.shared;
        let arguments = |command: &mut Cmd| {
            command.arg(2).arg(&slot.bookkeeping[0]).arg(&entry);
        };
        Ok(match shared.script::<i64>(&shared.scripts.ttl, arguments).await? {
            -1 => Some(Ttl::Forever),
            left => u64::try_from(left).ok().map(|left| Ttl::Left(Duration::from_millis(left))),
        })
    }

    pub async fn change(
        &self,
        key: &str,
        operation: Operation<'_>,
        lifetime: Lifetime,
    ) -> WriteResult<Changed> {
        if key.len() > KEY_LIMIT {
            return Ok(Err(Refused::TooLong));
        }
        let digits;
        let (name, value, expected): (_, &[u8], &[u8]) = match operation {
            Operation::Set(value) => ("set", value, b""),
            Operation::Add(value) => ("add", value, b""),
            Operation::CompareAndSet { expected, value } => ("compare", value, expected),
            Operation::Increment(by) => {
                digits = by.to_string();
                ("increment", digits.as_bytes(), b"")
            }
        };
        let (code, number) = self.run(key, name, value, expected, ttl_argument(lifetime)).await?;
        Ok(match code {
            -1 => Err(Refused::Quota),
            -2 => Err(Refused::TooLong),
            -3 => Err(Refused::NotANumber),
            done => Ok(Changed { done: done != 0, number }),
        })
    }

    pub async fn delete(&self, key: &str) -> Result<bool, Unavailable> {
        if key.len() > KEY_LIMIT {
            return Ok(false);
        }
        Ok(self.run(key, "delete", b"", b"", -1).await?.0 == 1)
    }

    /// Runs `change.lua`: returns its code and the value of the counter.
    async fn run(
        &self,
        key: &str,
        operation: &str,
        value: &[u8],
        expected: &[u8],
        ttl_ms: i64,
    ) -> Result<(i64, i64), Unavailable> {
        let slot = self.slot(key);
        let (entry, [generation, usage, expiring, minutes, scratch]) = (slot.entry(key), &slot.bookkeeping);
        let overhead = ENTRY_OVERHEAD_BYTES + key.len() as u64;
        let arguments = |command: &mut Cmd| {
            command.arg(6).arg(generation).arg(usage).arg(expiring).arg(minutes).arg(&entry).arg(scratch);
            command.arg(operation).arg(value).arg(expected).arg(ttl_ms).arg(slot.quota).arg(overhead);
            command.arg(self.0.config.value_limit);
        };
        let shared = &self.0.shared;
        let (code, number, used): (i64, i64, i64) = shared.script(&shared.scripts.change, arguments).await?;
        self.report_usage(slot, used);
        Ok((code, number))
    }

    pub async fn usage(&self) -> Result<u64, Unavailable> {
        let mut sum = 0_u64;
        for slot in &self.0.slots {
            let reported = slot.reported_ms.load(Ordering::Relaxed);
            let is_fresh = reported != NOT_REPORTED
                && self.now_ms().saturating_sub(reported) <= MAX_USAGE_AGE.as_millis() as u64;
            if !is_fresh {
                let shared = &self.0.shared;
                let used: i64 =
                    shared.script(&shared.scripts.usage, |command| slot.add_keys(command)).await?;
                self.report_usage(slot, used);
            }
            // No sum of real sizes is that large, but a server may say anything.
            sum = sum.saturating_add(slot.usage.load(Ordering::Relaxed));
        }
        Ok(sum)
    }

    /// Bytes in use as last reported, without asking Redis; None if nothing was reported yet.
    pub fn known_usage(&self) -> Option<u64> {
        let reported = |slot: &Slot| {
            let is_known = slot.reported_ms.load(Ordering::Relaxed) != NOT_REPORTED;
            is_known.then(|| slot.usage.load(Ordering::Relaxed))
        };
        let reported: Vec<_> = self.0.slots.iter().filter_map(reported).collect();
        (!reported.is_empty()).then(|| reported.into_iter().fold(0, u64::saturating_add))
    }

    pub fn quota(&self) -> u64 {
        self.0.config.quota
    }

    /// Begins a new generation.
    pub async fn clear(&self) -> Result<(), Unavailable> {
        for slot in &self.0.slots {
            let shared = &self.0.shared;
            let _: i64 = shared.script(&shared.scripts.clear, |command| slot.add_keys(command)).await?;
            self.report_usage(slot, 0);
        }
        self.remove_old_entries();
        Ok(())
    }

    /// Makes the reconnect thread remove the entries of older generations.
    pub(super) fn remove_old_entries(&self) {
        let _ = self.0.shared.cleared.send(self.0.config.clone());
    }

    /// Removes entries of older generations.
    pub(super) async fn sweep(&self) -> Result<(), Unavailable> {
        for slot in &self.0.slots {
            let mut cursor = 0;
            loop {
                let (next, keys) = self.0.shared.scan(cursor, &slot.pattern(), &slot.entry_prefix).await?;
                if !keys.is_empty() {
                    let arguments = |command: &mut Cmd| {
                        command.arg(keys.len() + 1).arg(&slot.bookkeeping[0]).arg(&keys);
                    };
                    let shared = &self.0.shared;
                    let _: i64 = shared.script(&shared.scripts.sweep, arguments).await?;
                }
                cursor = next;
                if cursor == 0 {
                    break;
                }
            }
        }
        Ok(())
    }

    /// After a `clear`: removes its entries, and then the bookkeeping.
    pub async fn purge(&self) -> Result<(), Unavailable> {
        self.sweep().await?;
        for slot in &self.0.slots {
            let mut command = redis::cmd("UNLINK");
            command.arg(&slot.bookkeeping);
            let _: i64 = self.0.shared.command(&command).await?;
        }
        Ok(())
    }

    /// One step of a walk over the entries: those found, and where the next step starts. The
    /// position is a slot, and a cursor of SCAN there.
    pub async fn entries(
        &self,
        (index, cursor): (usize, u64),
    ) -> Result<(Vec<Entry>, Option<(usize, u64)>), Unavailable> {
        let Some(slot) = self.0.slots.get(index) else { return Ok((Vec::new(), None)) };
        let (next, keys) = self.0.shared.scan(cursor, &slot.pattern(), &slot.entry_prefix).await?;
        let next = match next {
            0 => (index + 1 < self.0.slots.len()).then_some((index + 1, 0)),
            next => Some((index, next)),
        };
        if keys.is_empty() {
            return Ok((Vec::new(), next));
        }
        let mut command = redis::cmd("MGET");
        command.arg(&slot.bookkeeping[0]).arg(&keys);
        let run = self.0.shared.run(super::ADMIN_TIMEOUT, async |connection| connection.run(&command).await);
        let values: Vec<Option<Vec<u8>>> = run.await?;
        let mut values = values.into_iter();
        let generation = parse_generation(values.next().flatten());
        let entries = keys.into_iter().zip(values).filter_map(|(key, stored)| {
            let stored = stored?;
            let entry = StoredEntry::parse(&stored).filter(|entry| entry.generation >= generation)?;
            let key = String::from_utf8(key.strip_prefix(slot.entry_prefix.as_bytes())?.to_vec()).ok()?;
            let expires = (entry.expires != NEVER).then_some(entry.expires);
            Some(Entry { key, value: entry.value.to_vec(), expires })
        });
        Ok((entries.collect(), next))
    }

    fn slot(&self, key: &str) -> &Slot {
        &self.0.slots[self.slot_number(key)]
    }

    pub(super) fn slot_number(&self, key: &str) -> usize {
        match self.0.slots.len() {
            1 => 0,
            // Part of the layout: every version of Reprieve must choose the same slot.
            count => {
                let hash = blake3::hash(key.as_bytes());
                usize::from(hash.as_bytes()[0]) % count
            }
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.0.opened.elapsed().as_millis()).unwrap_or(0)
    }

    /// Remembers the usage that Redis has reported. It can be negative if Redis has evicted the
    /// bookkeeping.
    pub(super) fn report_usage(&self, slot: &Slot, usage: i64) {
        slot.usage.store(u64::try_from(usage).unwrap_or(0), Ordering::Relaxed);
        slot.reported_ms.store(self.now_ms(), Ordering::Relaxed);
    }
}

impl Slot {
    pub fn entry(&self, key: &str) -> String {
        format!("{}{key}", self.entry_prefix)
    }

    /// A glob pattern that matches the keys of all entries.
    fn pattern(&self) -> String {
        format!("{}*", self.entry_prefix)
    }

    /// The keys of `usage.lua` and `clear.lua`, after their number.
    fn add_keys(&self, command: &mut Cmd) {
        command.arg(4).arg(&self.bookkeeping[..4]);
    }
}
