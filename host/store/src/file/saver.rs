//! Writes what has changed to the file, all at once, every second or as often as configured;
//! takes away what has expired; and tries to come back when the disk could not be written.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use redb::{Durability, ReadableTable as _};
use tokio::sync::oneshot;

use super::damage::{Failed, contained};
use super::shard::Cached;
use super::{Shared, Trouble, format};
use crate::footprint;

/// Entries that are looked at in one round, at least: is their time over?
const LOOKED_AT: usize = 10_000;
/// The longest pause between attempts to come back to a file.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How often it is looked at whether the file could be smaller.
const COMPACT_EVERY: Duration = Duration::from_secs(600);

enum Message {
    Save(oneshot::Sender<bool>),
    /// Saves and lets the file go, for another process.
    Release(oneshot::Sender<bool>),
    /// Takes the file again.
    Retake,
    /// Saves as for the last time.
    Close(mpsc::Sender<()>),
    End,
}

/// The saver's thread. It saves once more when it ends.
pub(super) struct Saver {
    messages: mpsc::Sender<Message>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Saver {
    pub fn start(shared: &Arc<Shared>, every: Duration) -> std::io::Result<Self> {
        let (messages, inbox) = mpsc::channel();
        let shared = shared.clone();
        let thread = std::thread::Builder::new().name("store".to_owned()).spawn(move || {
            let work = Work {
                shared,
                every,
                looked_at: Vec::new(),
                compacted: Instant::now(),
                released: false,
                repaired: false,
            };
            work.run(&inbox);
        })?;
        Ok(Self { messages, thread: Some(thread) })
    }

    pub async fn save(&self) -> bool {
        let (done, answer) = oneshot::channel();
        self.messages.send(Message::Save(done)).is_ok() && answer.await.unwrap_or(false)
    }
}

impl Saver {
    /// Saves once more and lets the file go. What changes after that is in memory only.
    pub async fn release(&self) -> bool {
        let (done, answer) = oneshot::channel();
        self.messages.send(Message::Release(done)).is_ok() && answer.await.unwrap_or(false)
    }

    /// Takes the file again that was let go.
    pub fn retake(&self) {
        let _ = self.messages.send(Message::Retake);
    }

    /// Saves as for the last time, whoever still has the store. False if that takes too long.
    pub fn close(&self, within: Duration) -> bool {
        let (done, answer) = mpsc::channel();
        self.messages.send(Message::Close(done)).is_ok() && answer.recv_timeout(within).is_ok()
    }
}

impl Drop for Saver {
    fn drop(&mut self) {
        let _ = self.messages.send(Message::End);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Work {
    shared: Arc<Shared>,
    every: Duration,
    /// Where the look for what has expired has come to.
    looked_at: Vec<u8>,
    compacted: Instant,
    /// Whether another process has the file now.
    released: bool,
    /// Whether a damaged file was set aside in this round.
    repaired: bool,
}

impl Work {
    fn run(mut self, inbox: &mpsc::Receiver<Message>) {
        // What is written right after a round began waits for the next one, and for as long as
        // that takes: a round begins half of the time after the one before, however long that
        // was at work.
        let usual = self.every / 2;
        let mut pause = usual;
        loop {
            let message = inbox.recv_timeout(pause);
            let ends = matches!(message, Ok(Message::End) | Err(mpsc::RecvTimeoutError::Disconnected));
            if let Ok(Message::Retake) = message {
                self.released = false;
            }
            let began = Instant::now();
            let saved = self.round(ends || matches!(message, Ok(Message::Close(_))));
            pause = if saved {
                usual.saturating_sub(began.elapsed())
            } else {
                (pause * 2).clamp(self.every, LONGEST_PAUSE)
            };
            match message {
                Ok(Message::Save(done)) => {
                    let _ = done.send(saved);
                }
                Ok(Message::Close(done)) => {
                    let _ = done.send(());
                }
                // Not as one that was closed: sessions are under way that may see what the next
                // process cannot know of. It forgets listings, as after a crash.
                Ok(Message::Release(done)) => {
                    self.released = true;
                    *self.shared.database.write() = None;
                    let _ = done.send(saved);
                }
                _ => {}
            }
            if ends {
                return;
            }
        }
    }

    /// Saves; comes back to the file before, where it was lost. True where all is saved.
    fn round(&mut self, last: bool) -> bool {
        if self.released {
            return true;
        }
        if let Some(why) = self.shared.take_damage()
            && self.shared.set_aside(&why).is_err()
        {
            return false;
        }
        let was_away = self.shared.database.read().is_none();
        if was_away {
            match self.shared.open_or_begin_anew() {
                Ok(()) => {}
                Err(Trouble::Administrator(why) | Trouble::Disk(why) | Trouble::Damaged(why)) => {
                    self.shared.fail(&why);
                    return false;
                }
            }
        }
        match contained(|| self.save(last)) {
            Ok(()) => {
                if was_away || self.shared.record.trouble().is_some() {
                    for shard in &self.shared.shards {
                        shard.lock().forget_unread();
                    }
                }
                if let Some(away) = self.shared.record.recover() {
                    tracing::info!(
                        file = %self.shared.path.display(),
                        after_s = away.as_secs_f64(),
                        "the store's file can be written again, and has everything"
                    );
                }
                if self.compacted.elapsed() >= COMPACT_EVERY {
                    self.compacted = Instant::now();
                    self.compact();
                }
                true
            }
            Err(Failed::Disk(why)) => {
                // After an error of the disk a file has to be opened anew.
                *self.shared.database.write() = None;
                self.shared.fail(&format!("cannot write {}: {why}", self.shared.path.display()));
                false
            }
            Err(Failed::Damaged(why)) => {
                self.looked_at.clear();
                if self.repaired {
                    return false;
                }
                // At once, and once: what has changed is to stand in a file.
                self.shared.damaged(why);
                self.repaired = true;
                let saved = self.round(last);
                self.repaired = false;
                saved
            }
        }
    }

    fn save(&mut self, last: bool) -> Result<(), redb::Error> {
        let shared = self.shared.clone();
        let unsaved = self.unsaved();
        // Under one lock: one that comes into use in between would be in neither of both, and
        // its entries garbage.
        let (in_use, others) = {
            let namespaces = shared.namespaces.lock();
            let used =
                namespaces.used.values().map(|owned| (owned.space.name.clone(), owned.current.load_full()));
            let others = namespaces.others.iter().map(|(name, (number, _))| (name.clone(), *number));
            (used.collect::<Vec<_>>(), others.collect::<Vec<_>>())
        };
        let live: HashSet<u64> = {
            let others = others.iter().map(|(_, number)| *number);
            in_use.iter().map(|(_, generation)| generation.number).chain(others).collect()
        };
        {
            let database = shared.database.read();
            let Some(database) = &*database else { return Ok(()) };
            let mut write = database.begin_write()?;
            write.set_durability(Durability::Immediate).ok();
            // So that a file that was not closed opens at once, however large it is.
            write.set_quick_repair(true);
            {
                let mut entries = write.open_table(format::ENTRIES)?;
                let mut grown: HashMap<u64, (u64, u64)> = HashMap::new();
                for (key, cached) in &unsaved {
                    let Some((number, name)) = format::split(key) else { continue };
                    let value = cached.value.as_ref().filter(|_| live.contains(&number));
                    let before = match value {
                        Some((value, expires)) => entries.insert(&**key, &*format::pack(value, *expires))?,
                        None => entries.remove(&**key)?,
                    };
                    let before =
                        before.map(|before| footprint(name.len(), format::unpack(before.value()).0.len()));
                    let (more, less) = grown.entry(number).or_default();
                    *more += value.map_or(0, |(value, _)| footprint(name.len(), value.len()));
                    *less += before.unwrap_or(0);
                    // What a blind write has replaced was counted, and is gone.
                    if cached.blind
                        && let Some(before) = before
                        && let Some((_, generation)) = in_use.iter().find(|(_, g)| g.number == number)
                    {
                        generation.release(before);
                    }
                }
                self.expire(&mut entries, &live)?;
                let mut rows = write.open_table(format::NAMESPACES)?;
                let used = in_use.iter().map(|(name, generation)| (name, generation.number));
                for (name, number) in used.chain(others.iter().map(|(name, number)| (name, *number))) {
                    // What the file itself has, exactly: that is what counts after a crash.
                    let before = rows.get(&**name)?.map(|row| row.value());
                    let before = before.filter(|(of, _)| *of == number).map_or(0, |(_, octets)| octets);
                    let (more, less) = grown.get(&number).copied().unwrap_or_default();
                    rows.insert(&**name, (number, (before + more).saturating_sub(less)))?;
                }
                if last {
                    write.open_table(format::ABOUT)?.insert("closed", 1)?;
                }
            }
            write.commit()?;
        }
        for (key, cached) in &unsaved {
            let mut shard = shared.shard(key).lock();
            shard.saved(key, cached.unsaved);
            shard.trim();
        }
        Ok(())
    }

    fn unsaved(&self) -> Vec<(Box<[u8]>, Cached)> {
        let mut unsaved: Vec<(Box<[u8]>, Cached)> = Vec::new();
        for shard in &self.shared.shards {
            let shard = shard.lock();
            unsaved.extend(shard.unsaved().map(|(key, cached)| (Box::from(key), cached.clone())));
        }
        // In the order of the file, so that each page is written once.
        unsaved.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        unsaved
    }

    /// Looks at some entries, beginning where it ended last time: those of namespaces that
    /// were cleared go at once, those whose time is over with the next round.
    fn expire(
        &mut self,
        entries: &mut redb::Table<'_, &[u8], &[u8]>,
        live: &HashSet<u64>,
    ) -> Result<(), redb::Error> {
        let now = self.shared.clock.now_ms();
        let mut garbage = Vec::new();
        let mut over = Vec::new();
        let mut last = None;
        let mut seen = 0;
        // So many that all are seen in a minute of rounds.
        let most =
            LOOKED_AT.max(usize::try_from(redb::ReadableTableMetadata::len(entries)?).unwrap_or(0) / 60);
        for row in entries.range(&*self.looked_at..)? {
            let (key, stored) = row?;
            let key = key.value();
            seen += 1;
            last = Some(key.to_vec());
            match format::split(key) {
                Some((number, _)) if live.contains(&number) => {
                    let (value, expires) = format::unpack(stored.value());
                    if expires <= now {
                        over.push((key.to_vec(), value.len()));
                    }
                }
                _ => garbage.push(key.to_vec()),
            }
            if seen == most {
                break;
            }
        }
        self.looked_at = match last {
            Some(mut key) if seen == most => {
                key.push(0);
                key
            }
            _ => Vec::new(),
        };
        for key in garbage {
            entries.remove(&*key)?;
        }
        let mut namespaces = self.shared.namespaces.lock();
        for (key, length) in over {
            let Some((number, name)) = format::split(&key) else { continue };
            let mut shard = self.shared.shard(&key).lock();
            let octets = match shard.peek(&key) {
                None => Some(footprint(name.len(), length)),
                Some(cached) if cached.unsaved != 0 => None,
                Some(cached) => match &cached.value {
                    Some((_, expires)) if *expires <= now => Some(cached.footprint(name.len())),
                    _ => None,
                },
            };
            let Some(octets) = octets else { continue };
            shard.write(&key, None);
            let owned = namespaces.used.values().map(|owned| owned.current.load());
            if let Some(generation) = owned.into_iter().find(|generation| generation.number == number) {
                generation.release(octets);
            } else if let Some((_, used)) = namespaces.others.values_mut().find(|(of, _)| *of == number) {
                *used = used.saturating_sub(octets);
            }
        }
        Ok(())
    }

    /// Makes a file smaller that is mostly empty. Meanwhile what is not in memory has to wait.
    fn compact(&self) {
        let mut database = self.shared.database.write();
        let Some(database) = &mut *database else { return };
        match contained(|| self.shared.compact_if_wasted(database)) {
            Ok(()) => {}
            Err(Failed::Damaged(why)) => self.shared.damaged(why),
            Err(Failed::Disk(why)) => {
                tracing::warn!(why, file = %self.shared.path.display(), "cannot make the store's file smaller");
            }
        }
    }
}
