//! A namespace in a file.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use redb::ReadableDatabase as _;

use super::cache::{CacheShard, Cached};
use super::damage::{EngineError, catch_panics};
use super::{Shared, format};
use crate::health::Monitor;
use crate::operation::{Changed, Operation, Write};
use crate::{
    Entry, KEY_LIMIT, Lifetime, NEVER, NamespaceConfig, Refused, Ttl, Unavailable, WriteResult, footprint,
};

/// Longest time that a read of the file may take.
const READ_TIMEOUT: Duration = Duration::from_millis(250);
/// Entries per step of a walk.
const WALK_STEP: usize = 1000;

/// A namespace that was opened, shared by all its handles.
pub(super) struct OpenNamespace {
    pub config: NamespaceConfig,
    pub current: ArcSwap<Generation>,
}

/// The content of a namespace from one `clear` to the next.
pub(super) struct Generation {
    /// The prefix of its stored keys.
    pub number: u64,
    /// Bytes in use.
    pub used: AtomicU64,
}

/// A handle of a namespace in a file.
#[derive(Clone)]
pub struct FileNamespace {
    pub(super) shared: Arc<Shared>,
    pub(super) open: Arc<OpenNamespace>,
}

impl std::fmt::Debug for FileNamespace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("FileNamespace").field(&self.open.config.name).finish()
    }
}

impl OpenNamespace {
    pub fn new(config: NamespaceConfig, number: u64, used: u64) -> Self {
        let used = AtomicU64::new(used);
        Self { config, current: ArcSwap::from_pointee(Generation { number, used }) }
    }
}

impl Generation {
    /// Counts an entry that changes its footprint.
    pub fn account(&self, before: u64, after: u64, quota: u64) -> Result<(), Refused> {
        let change = |used: u64| {
            let total = used.saturating_sub(before).saturating_add(after);
            (after <= before || total <= quota).then_some(total)
        };
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, change)
            .map(drop)
            .map_err(|_| Refused::Quota)
    }

    /// Sets the bytes in use.
    pub fn set_used(&self, bytes: u64) {
        self.used.store(bytes, Ordering::Relaxed);
    }

    /// Counts an entry that was removed.
    pub fn release(&self, bytes: u64) {
        let _ = self.account(bytes, 0, 0);
    }
}

impl FileNamespace {
    pub(super) fn new(shared: Arc<Shared>, open: Arc<OpenNamespace>) -> Self {
        Self { shared, open }
    }

    pub async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Unavailable> {
        if key.len() > KEY_LIMIT {
            return Ok(None);
        }
        let now = self.shared.clock.now_ms();
        self.with_cached(key, |shard, key, _| shard.live(key, now).map(|(value, _)| value.to_vec())).await
    }

    pub async fn ttl(&self, key: &str) -> Result<Option<Ttl>, Unavailable> {
        if key.len() > KEY_LIMIT {
            return Ok(None);
        }
        let now = self.shared.clock.now_ms();
        self.with_cached(key, |shard, key, _| Ttl::of(shard.live(key, now)?.1, now)).await
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
        let now = self.shared.clock.now_ms();
        let config = &self.open.config;
        let length = key.len();
        self.with_cached(key, |shard, key, generation| {
            let before = shard.get(key).map_or(0, |cached| cached.footprint(length));
            let present = shard.live(key, now);
            let (write, changed) = operation.apply(present.map(|(value, _)| value))?;
            let Some(Write { value, keeps_lifetime }) = write else { return Ok(changed) };
            if value.len() > config.value_limit {
                return Err(Refused::TooLong);
            }
            let lifetime = if keeps_lifetime { Lifetime::Keep } else { lifetime };
            let expires = lifetime.expiry(now, present.map(|(_, expires)| expires));
            generation.account(before, footprint(length, value.len()), config.quota)?;
            shard.write(key, Some((value.into_owned().into_boxed_slice(), expires)));
            Ok(changed)
        })
        .await
    }

    pub async fn delete(&self, key: &str) -> Result<bool, Unavailable> {
        if key.len() > KEY_LIMIT {
            return Ok(false);
        }
        let now = self.shared.clock.now_ms();
        let length = key.len();
        self.with_cached(key, |shard, key, generation| {
            let was_live = shard.live(key, now).is_some();
            generation.release(shard.get(key).map_or(0, |cached| cached.footprint(length)));
            shard.delete(key);
            was_live
        })
        .await
    }

    pub fn usage(&self) -> u64 {
        self.open.current.load().used.load(Ordering::Relaxed)
    }

    pub fn quota(&self) -> u64 {
        self.open.config.quota
    }

    /// Begins a new generation. The entries of the old one stay in the file under a number that
    /// nothing uses any more, until the write-back thread removes them.
    pub fn clear(&self) {
        let fresh = Generation { number: super::unique_number(), used: AtomicU64::new(0) };
        self.open.current.store(Arc::new(fresh));
    }

    /// One step of a walk over the entries in the file: the entries found, and the stored key where
    /// the next step starts. Without a file, all cached entries in one step.
    pub async fn entries(&self, from: Vec<u8>) -> Result<(Vec<Entry>, Option<Vec<u8>>), Unavailable> {
        let (shared, number) = (self.shared.clone(), self.open.current.load().number);
        let walk = move || {
            if shared.is_damaged() {
                return Err(Unavailable(format!("{} is damaged", shared.path().display())));
            }
            catch_panics(|| walk_step(&shared, number, from)).map_err(|error| match error {
                EngineError::Disk(error) => Unavailable(error),
                EngineError::Damaged(error) => {
                    shared.mark_damaged(error.clone());
                    Unavailable(error)
                }
            })
        };
        let walked = tokio::task::spawn_blocking(walk).await;
        walked.map_err(|error| Unavailable(error.to_string()))?
    }

    /// Calls `work` with the shard of a key, under its lock, the stored key and the present
    /// generation, after the entry was read into the cache.
    async fn with_cached<T>(
        &self,
        key: &str,
        mut work: impl FnMut(&mut CacheShard, &[u8], &Generation) -> T,
    ) -> Result<T, Unavailable> {
        Monitor::count(&self.shared.monitor.operations);
        loop {
            let generation = self.open.current.load_full();
            let key = format::key(generation.number, key.as_bytes());
            self.prefetch(&key).await?;
            let mut shard = self.shared.shard(&key).lock();
            // A batch that clears the namespace may have held the lock until now.
            if !Arc::ptr_eq(&generation, &self.open.current.load()) {
                continue;
            }
            self.read_if_missing(&mut shard, &key)?;
            let done = work(&mut shard, &key, &generation);
            shard.evict();
            return Ok(done);
        }
    }

    /// Reads an entry into the cache, unless it is there. Under the shard's lock, so that the entry
    /// cannot be changed and saved in between. It does not take long: `prefetch` has just read the
    /// page. If the write-back thread holds the file, it gives up: waiting would block all keys of
    /// the shard.
    pub(super) fn read_if_missing(&self, shard: &mut CacheShard, key: &[u8]) -> Result<(), Unavailable> {
        if shard.get(key).is_some() {
            return Ok(());
        }
        let Some(database) = self.shared.database.try_read() else {
            Monitor::count(&self.shared.monitor.failures);
            let path = self.shared.path().display();
            return Err(Unavailable(format!("{path} is being written and cannot be read now")));
        };
        let cached = self.shared.read(database.as_ref(), key);
        shard.insert_read(key, cached.unwrap_or_else(Cached::unread));
        Ok(())
    }

    /// Unless the entry is cached, reads it on a blocking thread, so that its pages are in the
    /// engine's cache and reading them again under a lock does not wait for the disk.
    pub(super) async fn prefetch(&self, key: &[u8]) -> Result<(), Unavailable> {
        if self.shared.shard(key).lock().peek(key).is_some() || self.shared.monitor.outage().is_some() {
            return Ok(());
        }
        let began = Instant::now();
        let (shared, key) = (self.shared.clone(), key.to_vec());
        let read = async {
            let permit = shared.readers.clone().acquire_owned().await;
            let reading = tokio::task::spawn_blocking(move || {
                let _permit = permit;
                shared.read(shared.database.read().as_ref(), &key);
            });
            let _ = reading.await;
        };
        let result = tokio::time::timeout(READ_TIMEOUT, read).await;
        let monitor = &self.shared.monitor;
        monitor.waits.observe(began.elapsed());
        result.map_err(|_| {
            Monitor::count(&monitor.timeouts);
            Monitor::count(&monitor.failures);
            Unavailable(format!("{} could not be read in time", self.shared.path().display()))
        })
    }
}

/// One step of a walk over a generation's entries; `from` is empty for the first step.
fn walk_step(
    shared: &Shared,
    number: u64,
    from: Vec<u8>,
) -> Result<(Vec<Entry>, Option<Vec<u8>>), redb::Error> {
    let now = shared.clock.now_ms();
    let mut found = Vec::new();
    let mut add = |key: &[u8], value: &[u8], expires: u64| {
        let key = std::str::from_utf8(key).ok().filter(|_| expires > now);
        found.extend(key.map(|key| Entry {
            key: key.to_owned(),
            value: value.to_vec(),
            expires: (expires != NEVER).then_some(expires),
        }));
    };
    let database = shared.database.read();
    let Some(database) = &*database else {
        for shard in &shared.shards {
            for (key, cached) in shard.lock().iter() {
                if let (Some((of, key)), Some((value, expires))) = (format::split(key), &cached.value)
                    && of == number
                {
                    add(key, value, *expires);
                }
            }
        }
        return Ok((found, None));
    };
    let table = database.begin_read()?.open_table(format::ENTRIES)?;
    let first = if from.is_empty() { format::key(number, b"") } else { from };
    let mut next = None;
    for (count, row) in table.range(&*first..)?.enumerate() {
        let (key, stored) = row?;
        let Some((_, name)) = format::split(key.value()).filter(|(of, _)| *of == number) else { break };
        if count == WALK_STEP {
            next = Some(key.value().to_vec());
            break;
        }
        let (value, expires) = format::unpack(stored.value());
        add(name, value, expires);
    }
    Ok((found, next))
}
