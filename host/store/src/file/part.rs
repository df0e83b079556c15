//! A namespace in a file.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use redb::ReadableDatabase as _;

use super::damage::{Failed, contained};
use super::shard::{Cached, Shard};
use super::{Shared, format};
use crate::health::Record;
use crate::operation::{Changed, Operation, Write};
use crate::{Entry, KEY_LIMIT, NEVER, Refused, Space, Unavailable, Written, expiry, footprint};

/// How long a read of the file may take.
const READ_WAIT: Duration = Duration::from_millis(250);
/// Entries of one step through all.
const STEP: usize = 1000;

/// A namespace that is in use.
pub(super) struct Owned {
    pub space: Space,
    pub current: ArcSwap<Generation>,
}

/// What a namespace holds from one `clear` to the next.
pub(super) struct Generation {
    /// What its keys begin with.
    pub number: u64,
    /// Octets in use.
    pub used: AtomicU64,
}

/// A namespace in a file.
#[derive(Clone)]
pub struct Part {
    shared: Arc<Shared>,
    owned: Arc<Owned>,
}

impl std::fmt::Debug for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Part").field(&self.owned.space.name).finish()
    }
}

impl Owned {
    pub fn new(space: Space, number: u64, used: u64) -> Self {
        let used = AtomicU64::new(used);
        Self { space, current: ArcSwap::from_pointee(Generation { number, used }) }
    }
}

impl Generation {
    /// Counts an entry that has become larger or smaller.
    fn account(&self, before: u64, after: u64, quota: u64) -> Result<(), Refused> {
        let change = |used: u64| {
            let total = used.saturating_sub(before).saturating_add(after);
            (after <= before || total <= quota).then_some(total)
        };
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, change)
            .map(drop)
            .map_err(|_| Refused::Quota)
    }

    /// So much is in use.
    pub fn set_used(&self, octets: u64) {
        self.used.store(octets, Ordering::Relaxed);
    }

    /// An entry is gone.
    pub fn release(&self, octets: u64) {
        let _ = self.account(octets, 0, 0);
    }
}

impl Part {
    pub(super) fn new(shared: Arc<Shared>, owned: Arc<Owned>) -> Self {
        Self { shared, owned }
    }

    pub async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Unavailable> {
        if key.len() > KEY_LIMIT {
            return Ok(None);
        }
        let now = self.shared.clock.now_ms();
        let generation = self.owned.current.load_full();
        self.with(&format::key(generation.number, key.as_bytes()), |shard, key| {
            let (value, expires) = shard.get(key)?.value.as_ref()?;
            (*expires > now).then(|| value.to_vec())
        })
        .await
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
        let now = self.shared.clock.now_ms();
        let until = expiry(now, ttl);
        let generation = self.owned.current.load_full();
        let space = &self.owned.space;
        let length = key.len();
        self.with(&format::key(generation.number, key.as_bytes()), |shard, key| {
            let kept = shard.get(key);
            let present = kept.and_then(|kept| kept.value.as_ref()).filter(|(_, expires)| *expires > now);
            let (write, changed) = operation.apply(present.map(|(value, _)| &**value))?;
            let Some(Write { value, keeps_lifetime }) = write else { return Ok(changed) };
            if value.len() > space.value_limit {
                return Err(Refused::TooLong);
            }
            let expires = match present {
                Some((_, expires)) if keeps_lifetime => *expires,
                _ => until,
            };
            let before = kept.map_or(0, |kept| kept.footprint(length));
            generation.account(before, footprint(length, value.len()), space.quota)?;
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
        let generation = self.owned.current.load_full();
        let length = key.len();
        self.with(&format::key(generation.number, key.as_bytes()), |shard, key| {
            let Some(kept) = shard.get(key) else { return false };
            let was_there = kept.value.as_ref().is_some_and(|(_, expires)| *expires > now);
            // What could not be read may be in the file all the same, and is to go from there.
            if kept.value.is_some() || kept.blind {
                generation.release(kept.footprint(length));
                shard.write(key, None);
            }
            was_there
        })
        .await
    }

    pub fn usage(&self) -> u64 {
        self.owned.current.load().used.load(Ordering::Relaxed)
    }

    pub fn quota(&self) -> u64 {
        self.owned.space.quota
    }

    /// What was there stays in the file under a number that nobody uses any more, until the
    /// saver takes it away.
    pub fn clear(&self) {
        let fresh = Generation { number: super::random(), used: AtomicU64::new(0) };
        self.owned.current.store(Arc::new(fresh));
    }

    /// One step over its entries as they are in the file: those that it found, and where the
    /// next step begins. Without a file, all that is in memory.
    pub async fn entries(&self, after: Vec<u8>) -> Result<(Vec<Entry>, Option<Vec<u8>>), Unavailable> {
        let (shared, number) = (self.shared.clone(), self.owned.current.load().number);
        let step = move |shared: &Shared| -> Result<(Vec<Entry>, Option<Vec<u8>>), redb::Error> {
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
            let first = if after.is_empty() { format::key(number, b"") } else { after };
            let mut next = None;
            for (count, row) in table.range(&*first..)?.enumerate() {
                let (key, stored) = row?;
                let Some((of, name)) = format::split(key.value()).filter(|(of, _)| *of == number) else {
                    break;
                };
                debug_assert_eq!(of, number);
                if count == STEP {
                    next = Some(key.value().to_vec());
                    break;
                }
                let (value, expires) = format::unpack(stored.value());
                add(name, value, expires);
            }
            Ok((found, next))
        };
        let stepped = move || {
            if shared.is_damaged() {
                return Err(Unavailable(format!("{} is damaged", shared.path.display())));
            }
            contained(|| step(&shared)).map_err(|failed| match failed {
                Failed::Disk(why) => Unavailable(why),
                Failed::Damaged(why) => {
                    shared.damaged(why.clone());
                    Unavailable(why)
                }
            })
        };
        let stepped = tokio::task::spawn_blocking(stepped).await;
        stepped.map_err(|error| Unavailable(error.to_string()))?
    }

    /// Does something with an entry, in one go, once it is in memory.
    async fn with<T>(
        &self,
        key: &[u8],
        mut work: impl FnMut(&mut Shard, &[u8]) -> T,
    ) -> Result<T, Unavailable> {
        Record::count(&self.shared.record.operations);
        {
            let mut shard = self.shared.shard(key).lock();
            if shard.get(key).is_some() {
                return Ok(work(&mut shard, key));
            }
        }
        self.warm(key).await?;
        let mut shard = self.shared.shard(key).lock();
        if shard.get(key).is_none() {
            // Read under the lock, so that nobody can change and save it in between. Its page
            // was read a moment ago. While the saver has the file for itself, nobody waits here:
            // he would have all others of this shard wait, too.
            let Some(database) = self.shared.database.try_read() else {
                Record::count(&self.shared.record.failures);
                let path = self.shared.path.display();
                return Err(Unavailable(format!("{path} is being worked on, and cannot be read now")));
            };
            let kept = self.shared.read(database.as_ref(), key);
            shard.learn(key, kept.unwrap_or_else(Cached::unread));
        }
        Ok(work(&mut shard, key))
    }

    /// Has the file's pages for a key in memory, so that reading it holds nobody up: a disk can
    /// take its time.
    async fn warm(&self, key: &[u8]) -> Result<(), Unavailable> {
        if self.shared.record.trouble().is_some() {
            return Ok(());
        }
        let began = Instant::now();
        let (shared, key) = (self.shared.clone(), key.to_vec());
        let read = async {
            let place = shared.readers.clone().acquire_owned().await;
            let reading = tokio::task::spawn_blocking(move || {
                let _place = place;
                shared.read(shared.database.read().as_ref(), &key);
            });
            let _ = reading.await;
        };
        let warmed = tokio::time::timeout(READ_WAIT, read).await;
        let record = &self.shared.record;
        record.waits.observe(began.elapsed());
        warmed.map_err(|_| {
            Record::count(&record.timeouts);
            Record::count(&record.failures);
            Unavailable(format!("{} could not be read in time", self.shared.path.display()))
        })
    }
}
