//! A namespace in Redis. Its keys are `PREFIX{NAME}:KEY`, and beside them a few of the
//! namespace itself: `PREFIX{NAME}#usage` and so on. The braces keep them in one slot of a
//! cluster; there the name has the number of a part behind it, `{NAME.07}`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use redis::Cmd;

use super::Shared;
use super::entry::Stored;
use crate::operation::{Changed, Operation};
use crate::{ENTRY_OCTETS, Entry, KEY_LIMIT, NEVER, Refused, Space, Unavailable, Written};

/// How old what is known of the usage may be.
const USAGE_AGE: Duration = Duration::from_secs(1);

/// A namespace in Redis.
#[derive(Clone)]
pub struct Part(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    space: Space,
    slots: Vec<Slot>,
    /// The beginning of [`Slot::at_ms`].
    began: Instant,
}

/// What is in one slot: all, unless it is in a cluster.
struct Slot {
    /// Generation, usage, octets by the minute in which they expire, these minutes, and room
    /// to count in.
    own: [String; 5],
    /// What keys of entries begin with.
    entries: String,
    quota: u64,
    usage: AtomicU64,
    /// When `usage` was told last.
    at_ms: AtomicU64,
}

impl std::fmt::Debug for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Part").field(&self.0.space.name).finish()
    }
}

/// What keeps the keys of a part together.
pub(super) fn tag(prefix: &str, name: &str, part: usize, parts: usize) -> String {
    if parts == 1 { format!("{prefix}{{{name}}}") } else { format!("{prefix}{{{name}.{part:02}}}") }
}

/// The name of the namespace that a key belongs to.
pub(super) fn name_of<'k>(key: &'k [u8], prefix: &str, parts: usize) -> Option<&'k str> {
    let inner = key.strip_prefix(prefix.as_bytes())?.strip_prefix(b"{")?;
    let end = inner.iter().position(|&octet| octet == b'}')?;
    let name = std::str::from_utf8(&inner[..end]).ok()?;
    if parts == 1 { Some(name) } else { name.rsplit_once('.').map(|(name, _)| name) }
}

impl Part {
    pub(super) fn new(shared: Arc<Shared>, prefix: &str, space: Space, parts: usize) -> Self {
        let slots = (0..parts).map(|part| {
            let tag = tag(prefix, &space.name, part, parts);
            let own = ["generation", "usage", "expiring", "minutes", "room"];
            Slot {
                own: own.map(|what| format!("{tag}#{what}")),
                entries: format!("{tag}:"),
                quota: space.quota / parts as u64,
                usage: AtomicU64::new(0),
                at_ms: AtomicU64::new(u64::MAX),
            }
        });
        let slots = slots.collect();
        Self(Arc::new(Inner { shared, space, slots, began: Instant::now() }))
    }

    pub fn ready(&self) -> Result<(), Unavailable> {
        self.0.shared.ready()
    }

    pub async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Unavailable> {
        if key.len() > KEY_LIMIT {
            return Ok(None);
        }
        let slot = self.slot(key);
        let mut command = redis::cmd("MGET");
        command.arg(&slot.own[0]).arg(&slot.own[1]).arg(slot.entry(key));
        let (generation, usage, stored): (Option<u64>, Option<i64>, Option<Vec<u8>>) =
            self.0.shared.command(&command).await?;
        self.note(slot, usage.unwrap_or(0));
        let Some(mut stored) = stored else { return Ok(None) };
        let Some(entry) = Stored::parse(&stored) else {
            return Err(Unavailable("it holds an entry that Reprieve has not written".to_owned()));
        };
        if entry.generation < generation.unwrap_or(0) {
            return Ok(None);
        }
        let head = stored.len() - entry.value.len();
        stored.drain(..head);
        Ok(Some(stored))
    }

    pub async fn change(
        &self,
        key: &str,
        operation: Operation<'_>,
        ttl: Option<Duration>,
    ) -> Written<Changed> {
        if key.len() > KEY_LIMIT {
            return Ok(Err(Refused::TooLong));
        }
        let mut digits = String::new();
        let (name, value, expected): (_, &[u8], &[u8]) = match operation {
            Operation::Set(value) => ("set", value, b""),
            Operation::Add(value) => ("add", value, b""),
            Operation::CompareAndSet { expected, value } => ("compare", value, expected),
            Operation::Increment(by) => {
                digits = by.to_string();
                ("increment", digits.as_bytes(), b"")
            }
        };
        let ttl = ttl.map_or(-1, |ttl| i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX));
        // Redis takes times to live up to about that, which is 8,000 years.
        let ttl = ttl.min(1 << 47);
        let (code, number) = self.run(key, name, value, expected, ttl).await?;
        drop(digits);
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

    async fn run(
        &self,
        key: &str,
        operation: &str,
        value: &[u8],
        expected: &[u8],
        ttl_ms: i64,
    ) -> Result<(i64, i64), Unavailable> {
        let slot = self.slot(key);
        let (entry, [generation, usage, expiring, minutes, room]) = (slot.entry(key), &slot.own);
        let beside = ENTRY_OCTETS + key.len() as u64;
        let arguments = |command: &mut Cmd| {
            command.arg(6).arg(generation).arg(usage).arg(expiring).arg(minutes).arg(&entry).arg(room);
            command.arg(operation).arg(value).arg(expected).arg(ttl_ms).arg(slot.quota).arg(beside);
            command.arg(self.0.space.value_limit);
        };
        let shared = &self.0.shared;
        let (code, number, used): (i64, i64, i64) = shared.script(&shared.scripts.change, arguments).await?;
        self.note(slot, used);
        Ok((code, number))
    }

    pub async fn usage(&self) -> Result<u64, Unavailable> {
        let mut sum = 0_u64;
        for slot in &self.0.slots {
            let at = slot.at_ms.load(Ordering::Relaxed);
            let fresh = at != u64::MAX && self.now_ms().saturating_sub(at) <= USAGE_AGE.as_millis() as u64;
            if !fresh {
                let [generation, usage, expiring, minutes, _] = &slot.own;
                let arguments = |command: &mut Cmd| {
                    command.arg(4).arg(generation).arg(usage).arg(expiring).arg(minutes);
                };
                let shared = &self.0.shared;
                let used: i64 = shared.script(&shared.scripts.usage, arguments).await?;
                self.note(slot, used);
            }
            sum += slot.usage.load(Ordering::Relaxed);
        }
        Ok(sum)
    }

    /// Octets in use as far as Redis has told lately, without asking it; None where it has not.
    pub fn usage_told(&self) -> Option<u64> {
        let told = |slot: &Slot| {
            let at = slot.at_ms.load(Ordering::Relaxed);
            (at != u64::MAX).then(|| slot.usage.load(Ordering::Relaxed))
        };
        let told: Vec<_> = self.0.slots.iter().filter_map(told).collect();
        (!told.is_empty()).then(|| told.into_iter().sum())
    }

    pub fn quota(&self) -> u64 {
        self.0.space.quota
    }

    pub async fn clear(&self) -> Result<(), Unavailable> {
        for slot in &self.0.slots {
            let [generation, usage, expiring, minutes, _] = &slot.own;
            let arguments = |command: &mut Cmd| {
                command.arg(4).arg(generation).arg(usage).arg(expiring).arg(minutes);
            };
            let shared = &self.0.shared;
            let _: i64 = shared.script(&shared.scripts.clear, arguments).await?;
            self.note(slot, 0);
        }
        let _ = self.0.shared.cleared.send(self.0.space.clone());
        Ok(())
    }

    /// Takes entries of older generations away.
    pub(super) async fn sweep(&self) -> Result<(), Unavailable> {
        for slot in &self.0.slots {
            let mut cursor = 0;
            loop {
                let (next, keys) = self.0.shared.scan(cursor, &slot.pattern(), &slot.entries).await?;
                if !keys.is_empty() {
                    let arguments = |command: &mut Cmd| {
                        command.arg(keys.len() + 1).arg(&slot.own[0]).arg(&keys);
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

    /// Takes away what a `clear` has left, and then what the namespace itself has.
    pub async fn purge(&self) -> Result<(), Unavailable> {
        self.sweep().await?;
        for slot in &self.0.slots {
            let mut command = redis::cmd("UNLINK");
            command.arg(&slot.own);
            let _: i64 = self.0.shared.command(&command).await?;
        }
        Ok(())
    }

    /// One step over its entries: those that it found, and where the next step begins.
    pub async fn entries(
        &self,
        (index, cursor): (usize, u64),
    ) -> Result<(Vec<Entry>, Option<(usize, u64)>), Unavailable> {
        let Some(slot) = self.0.slots.get(index) else { return Ok((Vec::new(), None)) };
        let (next, keys) = self.0.shared.scan(cursor, &slot.pattern(), &slot.entries).await?;
        let next = match next {
            0 => (index + 1 < self.0.slots.len()).then_some((index + 1, 0)),
            next => Some((index, next)),
        };
        if keys.is_empty() {
            return Ok((Vec::new(), next));
        }
        let mut command = redis::cmd("MGET");
        command.arg(&slot.own[0]).arg(&keys);
        let stored: Vec<Option<Vec<u8>>> =
            self.0.shared.within(super::LONG_WAIT, async |link| link.run(&command).await).await?;
        let mut stored = stored.into_iter();
        let text = stored.next().flatten().and_then(|octets| String::from_utf8(octets).ok());
        let generation = text.and_then(|text| text.parse().ok()).unwrap_or(0);
        let entries = keys.into_iter().zip(stored).filter_map(|(key, stored)| {
            let stored = stored?;
            let entry = Stored::parse(&stored).filter(|entry| entry.generation >= generation)?;
            let key = String::from_utf8(key.strip_prefix(slot.entries.as_bytes())?.to_vec()).ok()?;
            let expires = (entry.expires != NEVER).then_some(entry.expires);
            Some(Entry { key, value: entry.value.to_vec(), expires })
        });
        Ok((entries.collect(), next))
    }

    fn slot(&self, key: &str) -> &Slot {
        let slots = &self.0.slots;
        let index = match slots.len() {
            1 => 0,
            // The same for every proxy, whatever its version: part of the layout.
            parts => {
                let hash = blake3::hash(key.as_bytes());
                usize::from(hash.as_bytes()[0]) % parts
            }
        };
        &slots[index]
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.0.began.elapsed().as_millis()).unwrap_or(0)
    }

    /// Remembers what was told of the usage. Where Redis has thrown away what it should have
    /// kept, that can be less than nothing.
    fn note(&self, slot: &Slot, usage: i64) {
        slot.usage.store(u64::try_from(usage).unwrap_or(0), Ordering::Relaxed);
        slot.at_ms.store(self.now_ms(), Ordering::Relaxed);
    }
}

impl Slot {
    fn entry(&self, key: &str) -> String {
        format!("{}{key}", self.entries)
    }

    fn pattern(&self) -> String {
        format!("{}*", self.entries)
    }
}
