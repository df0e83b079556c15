//! The store in a file of this machine: what was used lately is in memory, the rest is read
//! when it is wanted, and what has changed is written behind, all at once, by a thread of its
//! own. The file is always as it was after one of these writes.

mod damage;
mod format;
mod part;
mod saver;
mod shard;

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use redb::{Database, DatabaseError, ReadableDatabase as _, ReadableTable as _, StorageError};
use tokio::sync::Semaphore;

use super::health::Record;
use super::{Health, OpenError, Space};
use crate::FileHome;
use crate::clock::Clock;
use damage::{Failed, contained};
use part::Owned;
pub(super) use part::Part;
use saver::Saver;
use shard::{Cached, Shard};

const SHARDS: usize = 64;
/// Reads of the file that may be under way at once.
const READERS: usize = 8;
/// Damaged files that a process sets aside: where a disk damages one after the other, memory has
/// to do.
const MOST_ASIDE: u32 = 3;
/// A file that is larger than this, and mostly empty, is made smaller.
const COMPACT_FROM: u64 = 64 << 20;

/// A store in a file.
pub(super) struct File {
    shared: Arc<Shared>,
    saver: Saver,
}

impl std::fmt::Debug for File {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("File").field("path", &self.shared.path).finish_non_exhaustive()
    }
}

/// What namespaces and the saver share.
struct Shared {
    path: PathBuf,
    /// None while the file cannot be used.
    database: RwLock<Option<Database>>,
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
    clock: Arc<dyn Clock>,
    record: Record,
    readers: Arc<Semaphore>,
    namespaces: Mutex<Namespaces>,
    damage: Mutex<Damage>,
}

/// What is known of damages.
#[derive(Default)]
struct Damage {
    /// Why the file that is open is not to be used any more.
    why: Option<String>,
    /// Files that were set aside.
    aside: u32,
    /// Whether the log was told that one cannot be set aside.
    told: bool,
}

/// Those that are in use, and those that the file has beside them.
#[derive(Default)]
struct Namespaces {
    used: HashMap<String, Arc<Owned>>,
    others: HashMap<String, (u64, u64)>,
    /// How often the file was not closed as it should be.
    crashes: u64,
}

impl File {
    /// Opens a file, or makes one. A disk that is full or cannot be written leaves the store
    /// in memory, and is told.
    ///
    /// # Errors
    /// Where the configuration is wrong: another process has the file, it is something else,
    /// or its folder is not there.
    pub fn open(home: &FileHome, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        let limit = usize::try_from(home.cache).unwrap_or(usize::MAX) / SHARDS;
        let shared = Arc::new(Shared {
            path: home.path.clone(),
            database: RwLock::new(None),
            shards: (0..SHARDS).map(|_| Mutex::new(Shard::new(limit))).collect(),
            hasher: RandomState::new(),
            clock,
            record: Record::default(),
            readers: Arc::new(Semaphore::new(READERS)),
            namespaces: Mutex::default(),
            damage: Mutex::default(),
        });
        match shared.open_or_begin_anew() {
            Ok(()) => {}
            Err(Trouble::Administrator(why)) => return Err(OpenError(why)),
            Err(Trouble::Disk(why) | Trouble::Damaged(why)) => shared.fail(&why),
        }
        let saver = Saver::start(&shared, home.save_every)
            .map_err(|error| OpenError(format!("cannot start a thread: {error}")))?;
        Ok(Self { shared, saver })
    }

    pub fn part(&self, space: Space) -> Part {
        let mut namespaces = self.shared.namespaces.lock();
        let known = namespaces.others.remove(&space.name);
        let owned = namespaces.used.entry(space.name.clone()).or_insert_with(|| {
            let (number, used) = known.unwrap_or_else(|| (random(), 0));
            Arc::new(Owned::new(space, number, used))
        });
        Part::new(self.shared.clone(), owned.clone())
    }

    pub fn names(&self) -> Vec<String> {
        let namespaces = self.shared.namespaces.lock();
        namespaces.used.keys().chain(namespaces.others.keys()).cloned().collect()
    }

    pub fn health(&self) -> Health {
        match self.shared.record.trouble() {
            Some(why) => Health::InMemory { why },
            None => Health::Well,
        }
    }

    pub fn record(&self) -> &Record {
        &self.shared.record
    }

    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// How often its process ended without closing it.
    pub fn crashes(&self) -> u64 {
        self.shared.namespaces.lock().crashes
    }

    /// Saves what is not saved yet, and waits for it. False where that is not possible.
    pub async fn save(&self) -> bool {
        self.saver.save().await
    }
}

impl File {
    /// Saves once more and lets the file go, for another process.
    pub async fn release(&self) -> bool {
        self.saver.release().await
    }

    /// Takes the file again that was let go.
    pub fn retake(&self) {
        self.saver.retake();
    }

    /// Saves for the last time. False if that takes too long.
    pub fn close(&self, within: Duration) -> bool {
        self.saver.close(within)
    }
}

/// Why a file cannot be used.
enum Trouble {
    /// It is not as the configuration has it.
    Administrator(String),
    /// It may become better by itself.
    Disk(String),
    /// It is not what was written.
    Damaged(String),
}

impl Shared {
    /// Opens the file; one that is damaged is set aside, and a new one begun.
    fn open_or_begin_anew(&self) -> Result<(), Trouble> {
        match self.open() {
            Err(Trouble::Damaged(why)) => {
                self.set_aside(&why)?;
                self.open()
            }
            other => other,
        }
    }

    /// Opens the file, and learns what namespaces it has.
    fn open(&self) -> Result<(), Trouble> {
        self.make()?;
        let database = self.create()?;
        let learned = contained(|| {
            self.learn(&database)?;
            Ok(())
        });
        if let Err(failed) = learned {
            let _ = contained(|| {
                drop(database);
                Ok(())
            });
            return Err(self.trouble(failed));
        }
        *self.database.write() = Some(database);
        Ok(())
    }

    /// Makes the file if it is not there, for its user alone.
    fn make(&self) -> Result<(), Trouble> {
        let name = self.path.display();
        let created = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&self.path);
        match created {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Err(Trouble::Administrator(format!(
                    "cannot make {name}: its folder does not exist; make it, for the user that Reprieve runs as"
                )))
            }
            Err(error) if error.kind() == std::io::ErrorKind::IsADirectory => {
                Err(Trouble::Administrator(format!("{name} is a folder; `path` names a file")))
            }
            Err(error) => Err(Trouble::Disk(format!("cannot use {name}: {error}"))),
        }
    }

    /// Opens what is there as a database, and makes it smaller if it is mostly empty.
    fn create(&self) -> Result<Database, Trouble> {
        let name = self.path.display();
        // An error here is of the whole file; some of them are the administrator's business.
        let opened = contained(|| {
            Ok(match redb::Builder::new().set_cache_size(16 << 20).create(&self.path) {
                Ok(database) => Ok(database),
                Err(DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch) => {
                    Err(Trouble::Administrator(format!(
                        "{name} is in use by another process; each Reprieve needs a file of its own (several share a store in Redis or Valkey)"
                    )))
                }
                Err(DatabaseError::Storage(StorageError::Io(error)))
                    if error.kind() == std::io::ErrorKind::InvalidData
                        && !damage::was_a_store(&self.path) =>
                {
                    Err(Trouble::Administrator(format!(
                        "{name} is no store of Reprieve's; move it away, or name another file"
                    )))
                }
                Err(error) => return Err(error.into()),
            })
        });
        let mut database = opened.map_err(|failed| self.trouble(failed))??;
        let tidied = contained(|| self.compact_if_wasted(&mut database));
        match tidied {
            Ok(()) => Ok(database),
            Err(failed) => {
                let _ = contained(|| {
                    drop(database);
                    Ok(())
                });
                Err(self.trouble(failed))
            }
        }
    }

    fn trouble(&self, failed: Failed) -> Trouble {
        match failed {
            Failed::Disk(why) => Trouble::Disk(format!("cannot use {}: {why}", self.path.display())),
            Failed::Damaged(why) => Trouble::Damaged(why),
        }
    }

    /// Makes a file smaller that is mostly empty.
    fn compact_if_wasted(&self, database: &mut Database) -> Result<(), redb::Error> {
        let size = std::fs::metadata(&self.path).map_or(0, |data| data.len());
        if size <= COMPACT_FROM {
            return Ok(());
        }
        let write = database.begin_write()?;
        let stored = write.stats()?.stored_bytes();
        write.abort()?;
        if stored < size / 4 {
            database.compact()?;
        }
        Ok(())
    }

    /// The file that is open is not to be used any more.
    fn damaged(&self, why: String) {
        self.record.fail(&why);
        self.damage.lock().why.get_or_insert(why);
    }

    /// Why it is not, once.
    fn take_damage(&self) -> Option<String> {
        self.damage.lock().why.take()
    }

    fn is_damaged(&self) -> bool {
        self.damage.lock().why.is_some()
    }

    /// Renames a damaged file. What is in memory is written to the one that comes after it.
    fn set_aside(&self, why: &str) -> Result<(), Trouble> {
        let database = self.database.write().take();
        let _ = contained(|| {
            drop(database);
            Ok(())
        });
        let name = self.path.display();
        let mut damage = self.damage.lock();
        let renamed = if damage.aside < MOST_ASIDE {
            damage::set_aside(&self.path).map_err(|error| format!("it cannot be set aside: {error}"))
        } else {
            Err(format!("{MOST_ASIDE} were set aside before it, so the disk may be failing"))
        };
        match renamed {
            Ok(aside) => {
                damage.aside += 1;
                damage.told = false;
                drop(damage);
                self.forget_the_file();
                tracing::error!(
                    file = %self.path.display(),
                    aside = %aside.display(),
                    why,
                    "the store's file was damaged; it is kept under another name, and a new one begins with what is \
                     in memory: other users pass once. Check the disk, and delete the damaged file when nobody \
                     needs it"
                );
                Ok(())
            }
            Err(but) => {
                let text = format!("{name} is damaged ({why}), and {but}; move it away");
                if !std::mem::replace(&mut damage.told, true) {
                    tracing::error!(
                        "{text}: until then everything is kept in memory only, and lost if the process ends"
                    );
                }
                self.record.fail(&text);
                Err(Trouble::Disk(text))
            }
        }
    }

    /// Nothing that is in memory stands in a file any more, and nothing else is left.
    fn forget_the_file(&self) {
        let mut namespaces = self.namespaces.lock();
        namespaces.others.clear();
        // All at once, so that nothing is counted in between.
        let mut shards: Vec<_> = self.shards.iter().map(Mutex::lock).collect();
        let mut left: HashMap<u64, u64> = HashMap::new();
        for shard in &mut shards {
            shard.forget_saved();
            for (key, cached) in shard.iter() {
                if let Some((number, name)) = format::split(key) {
                    *left.entry(number).or_default() += cached.footprint(name.len());
                }
            }
        }
        for owned in namespaces.used.values() {
            let generation = owned.current.load();
            generation.set_used(left.get(&generation.number).copied().unwrap_or_default());
        }
    }

    /// Learns what a file has that was just opened, and marks it as in use.
    fn learn(&self, database: &Database) -> Result<(), redb::Error> {
        let mut namespaces = self.namespaces.lock();
        let mut others = HashMap::new();
        let write = database.begin_write()?;
        {
            let mut about = write.open_table(format::ABOUT)?;
            let is_new = about.get("format")?.is_none();
            let was_closed = about.get("closed")?.is_some_and(|closed| closed.value() == 1);
            let before = about.get("crashes")?.map_or(0, |crashes| crashes.value());
            // One that is opened again by the same process has not crashed.
            let again = !namespaces.used.is_empty();
            let crashes = before + u64::from(!is_new && !was_closed && !again);
            namespaces.crashes = namespaces.crashes.max(crashes);
            about.insert("format", format::VERSION)?;
            about.insert("closed", 0)?;
            about.insert("crashes", crashes)?;
            for row in write.open_table(format::NAMESPACES)?.iter()? {
                let (name, value) = row?;
                if !namespaces.used.contains_key(name.value()) {
                    others.insert(name.value().to_owned(), value.value());
                }
            }
            write.open_table(format::ENTRIES)?;
        }
        write.commit()?;
        namespaces.others = others;
        Ok(())
    }

    /// What the file has under a key. None where it cannot be read.
    fn read(&self, database: Option<&Database>, key: &[u8]) -> Option<Cached> {
        if self.is_damaged() {
            return None;
        }
        let stored = || -> Result<Cached, redb::Error> {
            let Some(database) = database else { return Ok(Cached::unread()) };
            let entries = database.begin_read()?.open_table(format::ENTRIES)?;
            let stored = entries.get(key)?;
            Ok(Cached::saved(stored.map(|stored| {
                let (value, expires) = format::unpack(stored.value());
                (value.into(), expires)
            })))
        };
        match contained(stored) {
            Ok(cached) => Some(cached),
            Err(Failed::Damaged(why)) => {
                self.damaged(why);
                None
            }
            Err(Failed::Disk(why)) => {
                self.fail(&format!("cannot read {}: {why}", self.path.display()));
                None
            }
        }
    }

    fn shard(&self, key: &[u8]) -> &Mutex<Shard> {
        let hash = self.hasher.hash_one(key);
        &self.shards[usize::try_from(hash % SHARDS as u64).unwrap_or(0)]
    }

    /// The file cannot be used: memory has to do.
    fn fail(&self, why: &str) {
        if self.record.fail(why) {
            tracing::error!(
                why,
                "the store's file cannot be used; what changes is kept in memory until it can, and lost if the process ends before"
            );
        }
    }
}

/// A number that no other namespace has, in this file or another.
fn random() -> u64 {
    let mut octets = [0; 8];
    // Without randomness the time has to do; there are few of these numbers.
    if getrandom::fill(&mut octets).is_err() {
        return crate::clock::SystemClock.now_ms();
    }
    u64::from_le_bytes(octets)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::mpsc;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::clock::SystemClock;
    use crate::footprint;
    use crate::operation::Operation;

    /// A store that saves only when it is told to.
    fn open(path: &Path) -> (File, Part) {
        let home = FileHome { path: path.to_owned(), save_every: Duration::from_secs(3600), cache: 1 << 20 };
        let file = File::open(&home, Arc::new(SystemClock)).unwrap();
        let part = file.part(Space::for_policies("tested", 1 << 30));
        (file, part)
    }

    impl Part {
        async fn set(&self, key: &str, value: &[u8]) {
            self.change(key, Operation::Set(value), None).await.unwrap().unwrap();
        }
    }

    impl File {
        /// As after an error of the disk.
        fn lose(&self) {
            *self.shared.database.write() = None;
            self.shared.fail("the test wants it");
        }
    }

    /// A file with one entry, of which nothing is in memory.
    async fn with_an_entry(path: &Path) -> (File, Part) {
        let (file, part) = open(path);
        part.set("key", b"value").await;
        drop((file, part));
        open(path)
    }

    #[tokio::test]
    async fn what_could_not_be_read_is_read_when_the_file_is_back() {
        let folder = tempfile::tempdir().unwrap();
        let (file, part) = with_an_entry(&folder.path().join("store")).await;
        file.lose();
        assert_eq!(part.get("key").await.unwrap(), None);
        assert!(file.save().await);
        assert_eq!(part.get("key").await.unwrap().unwrap(), b"value");
    }

    #[tokio::test]
    async fn what_is_deleted_while_the_file_cannot_be_read_does_not_come_back_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        let (file, part) = with_an_entry(&path).await;
        file.lose();
        assert!(!part.delete("key").await.unwrap(), "nobody knows");
        assert!(file.save().await);
        assert_eq!((part.get("key").await.unwrap(), part.usage()), (None, 0));
        drop((file, part));
        let (_file, part) = open(&path);
        assert_eq!((part.get("key").await.unwrap(), part.usage()), (None, 0));
    }

    #[tokio::test]
    async fn nobody_waits_for_a_file_that_the_saver_has_for_itself() {
        let folder = tempfile::tempdir().unwrap();
        let (file, part) = with_an_entry(&folder.path().join("store")).await;
        let shared = file.shared.clone();
        let ((has_it, wait), (enough, until)) = (mpsc::channel(), mpsc::channel::<()>());
        let saver = std::thread::spawn(move || {
            let _database = shared.database.write();
            has_it.send(()).unwrap();
            let _ = until.recv_timeout(Duration::from_secs(5));
        });
        wait.recv().unwrap();
        // Its pages were read a moment ago, and the saver came in between.
        file.shared.record.fail("the test wants it");
        let began = Instant::now();
        assert!(part.get("key").await.is_err());
        assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
        drop(enough);
        saver.join().unwrap();
        assert_eq!(part.get("key").await.unwrap().unwrap(), b"value");
    }

    #[test]
    fn after_a_crash_the_usage_is_that_of_what_was_saved() {
        let folder = tempfile::tempdir().unwrap();
        let (path, crashed) = (folder.path().join("store"), folder.path().join("crashed"));
        let (file, part) = open(&path);
        let stop = AtomicBool::new(false);
        let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        std::thread::scope(|scope| {
            let (part, stop) = (&part, &stop);
            scope.spawn(move || {
                runtime().block_on(async {
                    for number in 0.. {
                        if stop.load(Ordering::SeqCst) {
                            return;
                        }
                        part.set(&(number % 5000).to_string(), &vec![0; number % 100]).await;
                    }
                });
            });
            for _ in 0..10 {
                assert!(runtime().block_on(file.save()));
            }
            stop.store(true, Ordering::SeqCst);
        });
        // What a crash leaves: as it was saved last.
        std::fs::copy(&path, &crashed).unwrap();
        let (_after, part) = open(&crashed);
        let (mut counted, mut from) = (0, Vec::new());
        loop {
            let (entries, next) = runtime().block_on(part.entries(from)).unwrap();
            counted += entries.iter().map(|one| footprint(one.key.len(), one.value.len())).sum::<u64>();
            let Some(next) = next else { break };
            from = next;
        }
        assert!(counted > 0);
        assert_eq!(part.usage(), counted);
    }
}
