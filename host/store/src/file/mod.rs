//! A store in a file of this machine. Recently used entries are in memory and others are read when
//! needed; a thread of its own writes all changes at intervals, each time in one transaction. The
//! file always holds the result of a complete transaction.

mod cache;
mod commit;
mod damage;
mod disk;
#[cfg(test)]
mod faults;
mod format;
mod namespace;
mod open;
mod page_guard;
mod page_sums;
#[cfg(test)]
mod simulated_disk;
mod write_back;

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use redb::{Database, ReadableDatabase as _};
use tokio::sync::Semaphore;

use super::health::Monitor;
use super::{Health, NamespaceConfig, OpenError};
use crate::FileSettings;
use crate::clock::Clock;
use cache::{CacheShard, Cached};
use damage::{EngineError, catch_panics};
use disk::{Disk, FileSystem};
pub(super) use namespace::FileNamespace;
use namespace::OpenNamespace;
use open::OpenFailure;
use write_back::WriteBack;

/// Number of cache shards.
const SHARDS: usize = 64;
/// The engine's own cache of pages, in bytes, unless `cache` is smaller.
const MAX_ENGINE_CACHE_BYTES: usize = 16 << 20;
/// Maximum number of reads of the file at the same time.
const MAX_READERS: usize = 8;

/// A store in a file.
pub(super) struct File {
    shared: Arc<Shared>,
    write_back: WriteBack,
}

impl std::fmt::Debug for File {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("File").field("path", &self.shared.path()).finish_non_exhaustive()
    }
}

/// State that namespaces share with the write-back thread.
struct Shared {
    disk: Arc<dyn Disk>,
    /// Memory that the engine may use for its own cache of pages, in bytes.
    engine_cache: usize,
    /// None while the file cannot be used.
    database: RwLock<Option<Database>>,
    shards: Box<[Mutex<CacheShard>]>,
    hasher: RandomState,
    clock: Arc<dyn Clock>,
    monitor: Monitor,
    readers: Arc<Semaphore>,
    /// Held for reading while a batch is applied, and for writing while unsaved changes are
    /// collected, so that a batch is saved in one transaction.
    batches: RwLock<()>,
    namespaces: Mutex<Namespaces>,
    damage: Mutex<Damage>,
}

/// What is known about damage to the file.
#[derive(Default)]
struct Damage {
    /// The error that showed that the open file is damaged, until the file is replaced.
    error: Option<String>,
    /// The error of a damaged file that could not be set aside, until it is.
    left: Option<String>,
    /// Number of files that were set aside.
    set_aside: u32,
    /// Whether it was logged that a damaged file cannot be set aside.
    logged: bool,
}

/// The namespaces of the file.
#[derive(Default)]
struct Namespaces {
    open: HashMap<String, Arc<OpenNamespace>>,
    /// Number and bytes in use of those that nobody has opened.
    unopened: HashMap<String, (u64, u64)>,
    /// How often a process ended without closing the file.
    crashes: u64,
}

impl File {
    /// Opens a file, or creates it. If the disk is full or cannot be written, the store starts in
    /// memory, and the failure is logged.
    ///
    /// # Errors
    /// If the configuration is wrong: another process has the file open, it is not a store, or its
    /// folder does not exist.
    pub fn open(settings: &FileSettings, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        Self::open_on(Arc::new(FileSystem::new(&settings.path)), settings, clock)
    }

    /// Opens the file of a disk, like [`File::open`].
    fn open_on(
        disk: Arc<dyn Disk>,
        settings: &FileSettings,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OpenError> {
        let cache = usize::try_from(settings.cache).unwrap_or(usize::MAX);
        let limit = cache / SHARDS;
        let shared = Arc::new(Shared {
            disk,
            engine_cache: cache.min(MAX_ENGINE_CACHE_BYTES),
            database: RwLock::new(None),
            shards: (0..SHARDS).map(|_| Mutex::new(CacheShard::new(limit))).collect(),
            hasher: RandomState::new(),
            clock,
            monitor: Monitor::default(),
            readers: Arc::new(Semaphore::new(MAX_READERS)),
            batches: RwLock::default(),
            namespaces: Mutex::default(),
            damage: Mutex::default(),
        });
        match shared.open_or_replace() {
            Ok(()) => {}
            Err(OpenFailure::Misconfigured(error)) => return Err(OpenError(error)),
            Err(OpenFailure::Disk(error) | OpenFailure::Damaged(error)) => shared.fail(&error),
        }
        let write_back = WriteBack::start(&shared, settings.save_every)
            .map_err(|error| OpenError(format!("cannot start a thread: {error}")))?;
        Ok(Self { shared, write_back })
    }

    pub fn namespace(&self, config: NamespaceConfig) -> FileNamespace {
        let mut namespaces = self.shared.namespaces.lock();
        let stored = namespaces.unopened.remove(&config.name);
        let open = namespaces.open.entry(config.name.clone()).or_insert_with(|| {
            let (number, used) = stored.unwrap_or_else(|| (unique_number(), 0));
            Arc::new(OpenNamespace::new(config, number, used))
        });
        FileNamespace::new(self.shared.clone(), open.clone())
    }

    pub fn names(&self) -> Vec<String> {
        let namespaces = self.shared.namespaces.lock();
        namespaces.open.keys().chain(namespaces.unopened.keys()).cloned().collect()
    }

    pub fn health(&self) -> Health {
        match self.shared.monitor.outage() {
            Some(reason) => Health::MemoryOnly { reason },
            None => Health::Healthy,
        }
    }

    pub fn monitor(&self) -> &Monitor {
        &self.shared.monitor
    }

    pub fn path(&self) -> &Path {
        self.shared.path()
    }

    /// How often a process ended without closing the file.
    pub fn crashes(&self) -> u64 {
        self.shared.namespaces.lock().crashes
    }

    /// Writes pending changes, and waits for it. Returns false if that fails.
    pub async fn save(&self) -> bool {
        self.write_back.save().await
    }

    /// Writes pending changes and closes the file, for another process to open.
    pub async fn release(&self) -> bool {
        self.write_back.release().await
    }

    /// Opens the file again after [`File::release`].
    pub fn reacquire(&self) {
        self.write_back.reacquire();
    }

    /// Writes pending changes and marks the file as closed. Returns false if that takes too long.
    pub fn close(&self, within: Duration) -> bool {
        self.write_back.close(within)
    }
}

impl Shared {
    fn path(&self) -> &Path {
        self.disk.path()
    }

    /// Reads an entry from the file. None if that fails.
    fn read(&self, database: Option<&Database>, key: &[u8]) -> Option<Cached> {
        if self.is_damaged() {
            return None;
        }
        let read = || -> Result<Cached, redb::Error> {
            let Some(database) = database else { return Ok(Cached::unread()) };
            let entries = database.begin_read()?.open_table(format::ENTRIES)?;
            let stored = entries.get(key)?;
            Ok(Cached::saved(stored.map(|stored| {
                let (value, expires) = format::unpack(stored.value());
                (value.into(), expires)
            })))
        };
        match catch_panics(read) {
            Ok(cached) => Some(cached),
            Err(EngineError::Damaged(error)) => {
                self.mark_damaged(error);
                None
            }
            Err(EngineError::Disk(error)) => {
                self.fail(&format!("cannot read {}: {error}", self.path().display()));
                None
            }
        }
    }

    fn shard(&self, key: &[u8]) -> &Mutex<CacheShard> {
        &self.shards[self.shard_number(key)]
    }

    fn shard_number(&self, key: &[u8]) -> usize {
        let hash = self.hasher.hash_one(key);
        usize::try_from(hash % SHARDS as u64).unwrap_or(0)
    }

    /// The file cannot be used; the store continues in memory.
    fn fail(&self, error: &str) {
        if self.monitor.fail(error) {
            tracing::error!(
                error,
                "the store's file cannot be used; changes stay in memory until it can be written again, and are lost if the process ends before that"
            );
        }
    }
}

/// A number that no other namespace has, in this file or another.
fn unique_number() -> u64 {
    let mut bytes = [0; 8];
    // Without randomness the time has to do; few of these numbers are ever made.
    if getrandom::fill(&mut bytes).is_err() {
        return crate::clock::SystemClock.now_ms();
    }
    u64::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::mpsc;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::clock::SystemClock;
    use crate::operation::Operation;
    use crate::{Lifetime, footprint};

    /// A store that saves only on request.
    fn open(path: &Path) -> (File, FileNamespace) {
        let settings =
            FileSettings { path: path.to_owned(), save_every: Duration::from_secs(3600), cache: 1 << 20 };
        let file = File::open(&settings, Arc::new(SystemClock)).unwrap();
        let namespace = file.namespace(NamespaceConfig::for_policies("tested", 1 << 30));
        (file, namespace)
    }

    impl FileNamespace {
        async fn set(&self, key: &str, value: &[u8]) {
            self.change(key, Operation::Set(value), Lifetime::Forever).await.unwrap().unwrap();
        }
    }

    impl File {
        /// Puts it into the state after a disk error.
        pub(super) fn lose(&self) {
            self.shared.close_database();
            self.shared.fail("simulated");
        }
    }

    /// A file with one entry that is not cached.
    async fn with_an_entry(path: &Path) -> (File, FileNamespace) {
        let (file, namespace) = open(path);
        namespace.set("key", b"value").await;
        drop((file, namespace));
        open(path)
    }

    #[tokio::test]
    async fn an_entry_that_could_not_be_read_is_read_when_the_file_is_back() {
        let folder = tempfile::tempdir().unwrap();
        let (file, namespace) = with_an_entry(&folder.path().join("store")).await;
        file.lose();
        assert_eq!(namespace.get("key").await.unwrap(), None);
        assert!(file.save().await);
        assert_eq!(namespace.get("key").await.unwrap().unwrap(), b"value");
    }

    #[tokio::test]
    async fn an_entry_deleted_while_the_file_is_away_stays_deleted_when_it_is_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        let (file, namespace) = with_an_entry(&path).await;
        file.lose();
        assert!(!namespace.delete("key").await.unwrap(), "it could not be read");
        assert!(file.save().await);
        assert_eq!((namespace.get("key").await.unwrap(), namespace.usage()), (None, 0));
        drop((file, namespace));
        let (_file, namespace) = open(&path);
        assert_eq!((namespace.get("key").await.unwrap(), namespace.usage()), (None, 0));
    }

    #[tokio::test]
    async fn no_read_waits_while_the_write_back_thread_holds_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let (file, namespace) = with_an_entry(&folder.path().join("store")).await;
        let shared = file.shared.clone();
        let ((locked, wait), (release, until)) = (mpsc::channel(), mpsc::channel::<()>());
        let write_back = std::thread::spawn(move || {
            let _database = shared.database.write();
            locked.send(()).unwrap();
            let _ = until.recv_timeout(Duration::from_secs(5));
        });
        wait.recv().unwrap();
        // As if the pages of the key had just been read: the read skips that step.
        file.shared.monitor.fail("simulated");
        let began = Instant::now();
        assert!(namespace.get("key").await.is_err());
        assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
        drop(release);
        write_back.join().unwrap();
        assert_eq!(namespace.get("key").await.unwrap().unwrap(), b"value");
    }

    #[tokio::test]
    async fn a_value_larger_than_a_shard_of_the_cache_is_read_from_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let (file, namespace) = open(&folder.path().join("store"));
        let large = vec![7; (1 << 20) / SHARDS + 1];
        namespace.set("key", &large).await;
        assert!(file.save().await);
        assert_eq!(namespace.get("key").await.unwrap().unwrap(), large);
    }

    #[test]
    fn after_a_crash_the_usage_is_that_of_the_saved_entries() {
        let folder = tempfile::tempdir().unwrap();
        let (path, crashed) = (folder.path().join("store"), folder.path().join("crashed"));
        let (file, namespace) = open(&path);
        let stop = AtomicBool::new(false);
        let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        std::thread::scope(|scope| {
            let (namespace, stop) = (&namespace, &stop);
            scope.spawn(move || {
                runtime().block_on(async {
                    for number in 0.. {
                        if stop.load(Ordering::SeqCst) {
                            return;
                        }
                        namespace.set(&(number % 5000).to_string(), &vec![0; number % 100]).await;
                    }
                });
            });
            for _ in 0..10 {
                assert!(runtime().block_on(file.save()));
            }
            stop.store(true, Ordering::SeqCst);
        });
        // A crash leaves the last saved state.
        std::fs::copy(&path, &crashed).unwrap();
        let (_after, namespace) = open(&crashed);
        let (mut counted, mut from) = (0, Vec::new());
        loop {
            let (entries, next) = runtime().block_on(namespace.entries(from)).unwrap();
            counted += entries.iter().map(|one| footprint(one.key.len(), one.value.len())).sum::<u64>();
            let Some(next) = next else { break };
            from = next;
        }
        assert!(counted > 0);
        assert_eq!(namespace.usage(), counted);
    }
}
