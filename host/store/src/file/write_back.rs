//! The write-back thread: writes all changes to the file, in one transaction per round; removes
//! expired entries; and reopens the file after errors.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use redb::{Durability, ReadableTable as _};
use tokio::sync::oneshot;

use super::cache::Cached;
use super::damage::{EngineError, catch_panics};
use super::namespace::Generation;
use super::open::OpenFailure;
use super::{Shared, format};
use crate::footprint;

/// Least number of entries that a round checks for expiry.
const MIN_EXPIRY_CHECKS: usize = 10_000;
/// Rounds in which all entries are checked for expiry, if there are many.
const EXPIRY_ROUNDS: usize = 60;
/// Longest pause between attempts to reopen the file.
const MAX_RETRY_PAUSE: Duration = Duration::from_secs(30);
/// How often to check whether the file should be compacted.
const COMPACTION_INTERVAL: Duration = Duration::from_secs(600);

enum Message {
    Save(oneshot::Sender<bool>),
    Release(oneshot::Sender<bool>),
    Reacquire,
    Close(mpsc::Sender<()>),
    Stop,
}

/// Handle of the write-back thread. Dropping it saves once more and stops the thread.
pub(super) struct WriteBack {
    messages: mpsc::Sender<Message>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl WriteBack {
    /// Starts the thread. `save_every`: longest time for which a change is in memory only.
    pub fn start(shared: &Arc<Shared>, save_every: Duration) -> std::io::Result<Self> {
        let (messages, inbox) = mpsc::channel();
        let shared = shared.clone();
        let thread = std::thread::Builder::new().name("store".to_owned()).spawn(move || {
            let writer = Writer {
                shared,
                save_every,
                expiry_position: Vec::new(),
                compacted: Instant::now(),
                released: false,
                replaced: false,
            };
            writer.run(&inbox);
        })?;
        Ok(Self { messages, thread: Some(thread) })
    }

    /// Writes pending changes. Returns false if that fails.
    pub async fn save(&self) -> bool {
        let (done, answer) = oneshot::channel();
        self.messages.send(Message::Save(done)).is_ok() && answer.await.unwrap_or(false)
    }

    /// Writes pending changes and closes the file. Later changes are in memory only.
    pub async fn release(&self) -> bool {
        let (done, answer) = oneshot::channel();
        self.messages.send(Message::Release(done)).is_ok() && answer.await.unwrap_or(false)
    }

    /// Opens the file again after [`WriteBack::release`].
    pub fn reacquire(&self) {
        let _ = self.messages.send(Message::Reacquire);
    }

    /// Writes pending changes and marks the file as closed, even if handles are left. Returns false
    /// if that takes too long.
    pub fn close(&self, within: Duration) -> bool {
        let (done, answer) = mpsc::channel();
        self.messages.send(Message::Close(done)).is_ok() && answer.recv_timeout(within).is_ok()
    }
}

impl Drop for WriteBack {
    fn drop(&mut self) {
        let _ = self.messages.send(Message::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The state of the thread.
struct Writer {
    shared: Arc<Shared>,
    save_every: Duration,
    /// Stored key at which the next check for expired entries starts.
    expiry_position: Vec<u8>,
    /// When it was last checked whether to compact the file.
    compacted: Instant,
    /// Whether another process has the file now.
    released: bool,
    /// Whether a damaged file was replaced in this round.
    replaced: bool,
}

/// Changes in bytes of a namespace in the file.
#[derive(Clone, Copy, Default)]
struct Growth {
    added: u64,
    removed: u64,
}

/// The namespaces of the file when a round begins.
struct LiveNamespaces {
    open: Vec<(String, Arc<Generation>)>,
    /// Names and numbers.
    unopened: Vec<(String, u64)>,
    /// Numbers of both.
    numbers: HashSet<u64>,
}

impl Writer {
    fn run(mut self, inbox: &mpsc::Receiver<Message>) {
        // A change that is made just after a round has begun waits for the next round and until
        // that has finished. Rounds therefore begin every half of `save_every`, however long each
        // of them takes.
        let interval = self.save_every / 2;
        let mut pause = interval;
        loop {
            let message = inbox.recv_timeout(pause);
            let stops = matches!(message, Ok(Message::Stop) | Err(mpsc::RecvTimeoutError::Disconnected));
            if let Ok(Message::Reacquire) = message {
                self.released = false;
            }
            let began = Instant::now();
            let saved = self.round(stops || matches!(message, Ok(Message::Close(_))));
            pause = if saved {
                interval.saturating_sub(began.elapsed())
            } else {
                (pause * 2).max(self.save_every).min(MAX_RETRY_PAUSE)
            };
            match message {
                Ok(Message::Save(done)) => {
                    let _ = done.send(saved);
                }
                Ok(Message::Close(done)) => {
                    let _ = done.send(());
                }
                // The file is not marked as closed: sessions of this process may still see
                // listings that the next process does not know of. It forgets all snapshots, as
                // after a crash.
                Ok(Message::Release(done)) => {
                    self.released = true;
                    self.shared.close_database();
                    let _ = done.send(saved);
                }
                _ => {}
            }
            if stops {
                return;
            }
        }
    }

    /// Reopens the file if necessary, and saves all changes. `last`: marks it as closed. Returns
    /// whether all is saved.
    fn round(&mut self, last: bool) -> bool {
        if self.released {
            return true;
        }
        if let Some(error) = self.shared.take_damage()
            && self.shared.set_aside(&error).is_err()
        {
            return false;
        }
        let was_away = self.shared.database.read().is_none();
        if was_away
            && let Err(
                OpenFailure::Misconfigured(error) | OpenFailure::Disk(error) | OpenFailure::Damaged(error),
            ) = self.shared.open_or_replace()
        {
            self.shared.fail(&error);
            return false;
        }
        match catch_panics(|| self.save(last)) {
            Ok(()) => {
                self.saved(was_away);
                true
            }
            Err(EngineError::Disk(error)) => {
                // After a disk error the engine needs the file to be reopened.
                self.shared.close_database();
                self.shared.fail(&format!("cannot write {}: {error}", self.shared.path().display()));
                false
            }
            Err(EngineError::Damaged(error)) => {
                self.expiry_position.clear();
                if self.replaced {
                    return false;
                }
                // Replace the file and save into the new one in the same round, but only once.
                self.shared.mark_damaged(error);
                self.replaced = true;
                let saved = self.round(last);
                self.replaced = false;
                saved
            }
        }
    }

    /// After a successful save: ends an outage, and compacts the file now and then.
    fn saved(&mut self, was_away: bool) {
        if was_away || self.shared.monitor.outage().is_some() {
            for shard in &self.shared.shards {
                shard.lock().forget_unread();
            }
        }
        if let Some(outage) = self.shared.monitor.recover() {
            tracing::info!(
                file = %self.shared.path().display(),
                after_s = outage.as_secs_f64(),
                "the store's file can be written again, and all changes are saved"
            );
        }
        if self.compacted.elapsed() >= COMPACTION_INTERVAL {
            self.compacted = Instant::now();
            self.compact();
        }
    }

    fn save(&mut self, last: bool) -> Result<(), redb::Error> {
        let shared = self.shared.clone();
        let (unsaved, live) = {
            let _no_batch = shared.batches.write();
            (self.unsaved(), self.live_namespaces())
        };
        {
            let database = shared.database.read();
            let Some(database) = &*database else { return Ok(()) };
            let mut write = database.begin_write()?;
            write.set_durability(Durability::Immediate).ok();
            // Lets a file that was not closed open quickly, however large it is.
            write.set_quick_repair(true);
            {
                let mut entries = write.open_table(format::ENTRIES)?;
                let growth = write_entries(&mut entries, &unsaved, &live)?;
                self.remove_expired(&mut entries, &live.numbers)?;
                write_usage(&mut write.open_table(format::NAMESPACES)?, &live, &growth)?;
                if last {
                    write.open_table(format::ABOUT)?.insert("closed", 1)?;
                }
            }
            write.commit()?;
        }
        for (key, cached) in &unsaved {
            let mut shard = shared.shard(key).lock();
            shard.mark_saved(key, cached.unsaved);
            shard.evict();
        }
        Ok(())
    }

    /// Copies of all unsaved entries, in the order of the file, so that each page is written once.
    fn unsaved(&self) -> Vec<(Box<[u8]>, Cached)> {
        let mut unsaved: Vec<(Box<[u8]>, Cached)> = Vec::new();
        for shard in &self.shared.shards {
            let shard = shard.lock();
            unsaved.extend(shard.unsaved().map(|(key, cached)| (Box::from(key), cached.clone())));
        }
        unsaved.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        unsaved
    }

    fn live_namespaces(&self) -> LiveNamespaces {
        // One lock for both lists: a namespace that is opened in between must not be missing from
        // both, because its entries would be removed as garbage.
        let namespaces = self.shared.namespaces.lock();
        let open = namespaces.open.values().map(|open| (open.config.name.clone(), open.current.load_full()));
        let open: Vec<_> = open.collect();
        let unopened: Vec<_> =
            namespaces.unopened.iter().map(|(name, (number, _))| (name.clone(), *number)).collect();
        let numbers = open.iter().map(|(_, generation)| generation.number);
        let numbers = numbers.chain(unopened.iter().map(|(_, number)| *number)).collect();
        LiveNamespaces { open, unopened, numbers }
    }

    /// Checks some entries, from where the last round ended. Entries of cleared namespaces are
    /// removed now, expired ones with the next round.
    fn remove_expired(
        &mut self,
        entries: &mut redb::Table<'_, &[u8], &[u8]>,
        live: &HashSet<u64>,
    ) -> Result<(), redb::Error> {
        let now = self.shared.clock.now_ms();
        let mut garbage = Vec::new();
        let mut expired = Vec::new();
        let mut last = None;
        let mut checked = 0;
        let count = usize::try_from(redb::ReadableTableMetadata::len(entries)?).unwrap_or(0);
        let limit = MIN_EXPIRY_CHECKS.max(count / EXPIRY_ROUNDS);
        for row in entries.range(&*self.expiry_position..)? {
            let (key, stored) = row?;
            let key = key.value();
            checked += 1;
            last = Some(key.to_vec());
            match format::split(key) {
                Some((number, _)) if live.contains(&number) => {
                    let (value, expires) = format::unpack(stored.value());
                    if expires <= now {
                        expired.push((key.to_vec(), value.len()));
                    }
                }
                _ => garbage.push(key.to_vec()),
            }
            if checked == limit {
                break;
            }
        }
        self.expiry_position = match last {
            Some(mut key) if checked == limit => {
                key.push(0);
                key
            }
            _ => Vec::new(),
        };
        for key in garbage {
            entries.remove(&*key)?;
        }
        self.delete_expired(expired, now);
        Ok(())
    }

    /// Deletes expired entries in the cache, as unsaved changes; given are their stored keys and
    /// the lengths of their values in the file.
    fn delete_expired(&self, expired: Vec<(Vec<u8>, usize)>, now: u64) {
        let mut namespaces = self.shared.namespaces.lock();
        for (key, length) in expired {
            let Some((number, name)) = format::split(&key) else { continue };
            let mut shard = self.shared.shard(&key).lock();
            let bytes = match shard.peek(&key) {
                None => footprint(name.len(), length),
                // Changed since, and not saved yet.
                Some(cached) if cached.unsaved != 0 => continue,
                Some(cached) => match &cached.value {
                    Some((_, expires)) if *expires <= now => cached.footprint(name.len()),
                    _ => continue,
                },
            };
            shard.write(&key, None);
            let mut open = namespaces.open.values().map(|open| open.current.load());
            if let Some(generation) = open.find(|generation| generation.number == number) {
                generation.release(bytes);
                continue;
            }
            drop(open);
            if let Some((_, used)) = namespaces.unopened.values_mut().find(|(of, _)| *of == number) {
                *used = used.saturating_sub(bytes);
            }
        }
    }

    /// Shrinks the file if it is mostly empty. Reads of the file wait meanwhile.
    fn compact(&self) {
        let mut database = self.shared.database.write();
        let Some(database) = &mut *database else { return };
        match catch_panics(|| self.shared.compact_if_sparse(database)) {
            Ok(()) => {}
            Err(EngineError::Damaged(error)) => self.shared.mark_damaged(error),
            Err(EngineError::Disk(error)) => {
                tracing::warn!(error, file = %self.shared.path().display(), "cannot compact the store's file");
            }
        }
    }
}

/// Writes all changes, and returns by how much each namespace has grown, by its number.
fn write_entries(
    entries: &mut redb::Table<'_, &[u8], &[u8]>,
    unsaved: &[(Box<[u8]>, Cached)],
    live: &LiveNamespaces,
) -> Result<HashMap<u64, Growth>, redb::Error> {
    let mut growth: HashMap<u64, Growth> = HashMap::new();
    for (key, cached) in unsaved {
        let Some((number, name)) = format::split(key) else { continue };
        let value = cached.value.as_ref().filter(|_| live.numbers.contains(&number));
        let before = match value {
            Some((value, expires)) => entries.insert(&**key, &*format::pack(value, *expires))?,
            None => entries.remove(&**key)?,
        };
        let before = before.map(|before| footprint(name.len(), format::unpack(before.value()).0.len()));
        let growth = growth.entry(number).or_default();
        growth.added += value.map_or(0, |(value, _)| footprint(name.len(), value.len()));
        growth.removed += before.unwrap_or(0);
        // The change was made without reading the entry that it replaces, which still counts.
        if cached.unread
            && let Some(before) = before
            && let Some((_, generation)) = live.open.iter().find(|(_, open)| open.number == number)
        {
            generation.release(before);
        }
    }
    Ok(growth)
}

/// Writes how many bytes each namespace has in the file, exactly: after a crash, that counts.
fn write_usage(
    rows: &mut redb::Table<'_, &str, (u64, u64)>,
    live: &LiveNamespaces,
    growth: &HashMap<u64, Growth>,
) -> Result<(), redb::Error> {
    let open = live.open.iter().map(|(name, generation)| (name, generation.number));
    let unopened = live.unopened.iter().map(|(name, number)| (name, *number));
    for (name, number) in open.chain(unopened) {
        let before = rows.get(&**name)?.map(|row| row.value());
        let before = before.filter(|(of, _)| *of == number).map_or(0, |(_, bytes)| bytes);
        let Growth { added, removed } = growth.get(&number).copied().unwrap_or_default();
        rows.insert(&**name, (number, (before + added).saturating_sub(removed)))?;
    }
    Ok(())
}
