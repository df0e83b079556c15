//! An open store: hands out namespaces, and reports on itself to administrative tools.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::backend::Backend;
use crate::clock::Clock;
use crate::entry::Position;
use crate::health::Monitor;
use crate::memory::Memory;
use crate::namespace::NamespaceBackend;
use crate::{
    Cursor, Entry, Health, Namespace, NamespaceConfig, OpenError, StoreEpoch, StoreSecrets, Unavailable,
};
use reprieve_metrics::HistogramSnapshot;

/// Entries per step of a walk in memory; a step ends with the shard that reaches this number.
const WALK_STEP: usize = 1000;

/// State and counters of a store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreStatus {
    /// `memory`, `file` or `redis`.
    pub backend: String,
    /// Path or addresses; None in memory.
    pub location: Option<String>,
    /// Whether it can be used.
    pub health: Health,
    /// Operations so far; 0 in memory, where they are not counted here.
    pub operations: u64,
    /// Operations that failed because the store could not be reached.
    pub failures: u64,
    /// Failures because the store took too long.
    pub timeouts: u64,
    /// How often the store became unreachable.
    pub outages: u64,
    /// Total time that operations have waited, in microseconds.
    pub waited_us: u64,
}

/// A namespace in use, as far as it is known without asking Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamespaceStatus {
    /// Its name.
    pub name: String,
    /// Maximum number of bytes in it.
    pub quota: u64,
    /// Bytes in use; None if Redis has not reported them yet.
    pub used_bytes: Option<u64>,
    /// Number of entries; known only in memory.
    pub entries: Option<usize>,
}

/// A namespace and its size.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NamespaceSize {
    /// Its name.
    pub name: String,
    /// Bytes in use, as they count towards the quota.
    pub bytes: u64,
}

/// An open store.
#[derive(Debug)]
pub struct Store {
    backend: Backend,
    clock: Arc<dyn Clock>,
    /// Namespaces that were handed out. In memory they hold the entries themselves.
    namespaces: Mutex<HashMap<String, Namespace>>,
    epoch: StoreEpoch,
}

impl Store {
    /// A new store in memory.
    #[must_use]
    pub fn in_memory(clock: Arc<dyn Clock>) -> Self {
        Self { backend: Backend::Memory, clock, namespaces: Mutex::default(), epoch: StoreEpoch::default() }
    }

    /// Opens a store. A server that cannot be reached now is no error: it may come back.
    ///
    /// # Errors
    /// If the configuration is wrong, or the system has no thread to give.
    pub fn open(secrets: StoreSecrets, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        let backend = Backend::open(secrets, clock.clone())?;
        let epoch = match &backend {
            Backend::Redis(redis) => redis.epoch(),
            // How often a process has ended without closing the file.
            Backend::Memory | Backend::File(_) => {
                StoreEpoch::fixed(backend.file().map_or(0, |file| file.crashes()))
            }
        };
        Ok(Self { backend, clock, namespaces: Mutex::default(), epoch })
    }

    /// A namespace. If one of this name was handed out before, that one is returned, with its
    /// quota.
    pub fn namespace(&self, config: NamespaceConfig) -> Namespace {
        let mut namespaces = self.namespaces.lock();
        let name = config.name.clone();
        let open = || match &self.backend {
            Backend::Memory => {
                NamespaceBackend::Memory(Arc::new(Memory::new(config.quota, self.clock.clone(), false)))
            }
            Backend::File(file) => NamespaceBackend::File(file.namespace(config)),
            Backend::Redis(redis) => NamespaceBackend::Redis(redis.namespace(config)),
        };
        namespaces.entry(name).or_insert_with(|| open().into()).clone()
    }

    /// State and counters.
    #[must_use]
    pub fn status(&self) -> StoreStatus {
        let none = Monitor::default();
        let monitor = self.backend.monitor().unwrap_or(&none);
        StoreStatus {
            backend: self.backend.name().to_owned(),
            location: self.backend.location(),
            health: self.backend.health(),
            operations: monitor.operations.load(Ordering::Relaxed),
            failures: monitor.failures.load(Ordering::Relaxed),
            timeouts: monitor.timeouts.load(Ordering::Relaxed),
            outages: monitor.outages.load(Ordering::Relaxed),
            waited_us: monitor.waits.snapshot().sum_ns / 1000,
        }
    }

    /// Operations on single keys so far, in every backend.
    #[must_use]
    pub fn operations(&self) -> u64 {
        if let Some(monitor) = self.backend.monitor() {
            return monitor.operations.load(Ordering::Relaxed);
        }
        let namespaces = self.namespaces.lock();
        namespaces.values().filter_map(Namespace::memory).map(|memory| memory.operations()).sum()
    }

    /// How long operations waited: all of them in Redis, those that had to read the file in a file.
    /// None in memory, where none waits.
    #[must_use]
    pub fn waits(&self) -> Option<HistogramSnapshot> {
        self.backend.monitor().map(|monitor| monitor.waits.snapshot())
    }

    /// The namespaces in use, sorted by name.
    #[must_use]
    pub fn namespaces(&self) -> Vec<NamespaceStatus> {
        let namespaces = self.namespaces.lock();
        let all = namespaces.iter().map(|(name, namespace)| {
            let (quota, used_bytes, entries) = match namespace.backend() {
                NamespaceBackend::Memory(memory) | NamespaceBackend::Intercepted(memory, _) => {
                    (memory.quota(), Some(memory.usage()), Some(memory.len()))
                }
                NamespaceBackend::File(namespace) => (namespace.quota(), Some(namespace.usage()), None),
                NamespaceBackend::Redis(namespace) => (namespace.quota(), namespace.known_usage(), None),
            };
            NamespaceStatus { name: name.clone(), quota, used_bytes, entries }
        });
        // Administrative tools open namespaces without knowing their quota.
        let mut all: Vec<_> = all.filter(|namespace| namespace.quota != u64::MAX).collect();
        all.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        all
    }

    /// Names of all namespaces in the store, sorted.
    ///
    /// # Errors
    /// If the store cannot be reached.
    pub async fn names(&self) -> Result<Vec<String>, Unavailable> {
        let mut names = match &self.backend {
            Backend::Memory => self.namespaces.lock().keys().cloned().collect(),
            Backend::File(file) => file.names(),
            Backend::Redis(redis) => redis.names().await?,
        };
        names.sort_unstable();
        Ok(names)
    }

    /// One step of a walk over a namespace's entries: the entries found, and where the next step
    /// starts; None after the last. Changes made during the walk may be seen or missed.
    ///
    /// # Errors
    /// If the store cannot be reached.
    pub async fn entries(
        &self,
        name: &str,
        from: Option<Cursor>,
    ) -> Result<(Vec<Entry>, Option<Cursor>), Unavailable> {
        let from = from.map(|Cursor(position)| position);
        // Opened for reading: the quota does not matter.
        let namespace = self.namespace(NamespaceConfig::for_policies(name, u64::MAX));
        let (entries, next) = match (namespace.backend(), from) {
            (NamespaceBackend::Memory(memory) | NamespaceBackend::Intercepted(memory, _), from) => {
                let from = if let Some(Position::Memory(from)) = from { from } else { 0 };
                let (entries, next) = memory.some_entries(from, WALK_STEP);
                (entries, next.map(Position::Memory))
            }
            (NamespaceBackend::File(namespace), from) => {
                let from = if let Some(Position::File(from)) = from {
                    from
                } else {
                    self.save().await;
                    Vec::new()
                };
                let (entries, next) = namespace.entries(from).await?;
                (entries, next.map(Position::File))
            }
            (NamespaceBackend::Redis(namespace), from) => {
                let from = if let Some(Position::Redis(from)) = from { from } else { (0, 0) };
                let (entries, next) = namespace.entries(from).await?;
                (entries, next.map(Position::Redis))
            }
        };
        Ok((entries, next.map(Cursor)))
    }

    /// Bytes of memory that the Redis server uses; None in other backends.
    pub async fn redis_memory_bytes(&self) -> Option<u64> {
        match &self.backend {
            Backend::Redis(redis) => redis.memory_bytes().await,
            Backend::Memory | Backend::File(_) => None,
        }
    }

    /// Changes whenever the store may have lost writes.
    #[must_use]
    pub fn epoch(&self) -> StoreEpoch {
        self.epoch.clone()
    }

    /// Writes pending changes to the file. Returns false if that fails.
    pub async fn save(&self) -> bool {
        match self.backend.file() {
            Some(file) => file.save().await,
            None => true,
        }
    }

    /// Releases the file to a process that takes over: from now on, changes stay in memory.
    /// Returns false if not everything could be saved before.
    pub async fn release(&self) -> bool {
        match self.backend.file() {
            Some(file) => file.release().await,
            None => true,
        }
    }

    /// Reopens the file after [`Store::release`], if the other process failed to take over.
    pub fn reacquire(&self) {
        if let Some(file) = self.backend.file() {
            file.reacquire();
        }
    }

    /// Saves the file and marks it as closed. Returns false if that takes too long.
    pub fn close(&self, within: Duration) -> bool {
        self.backend.file().is_none_or(|file| file.close(within))
    }
}
