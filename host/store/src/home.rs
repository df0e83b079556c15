//! A store, wherever it is kept: it hands out namespaces, and shows itself to tools.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::health::Record;
use super::memory::Memory;
use super::namespace::Kept;
use super::{Health, Namespace, Space, Unavailable, file, redis};
use crate::clock::Clock;
use crate::{FileHome, RedisHome, StoreConfig, StoreHome};
use reprieve_metrics::HistogramSnapshot;

/// Entries in memory that are enough for one step over all.
const STEP: usize = 1000;

/// Why a store could not be opened, in one sentence for the administrator.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct OpenError(pub(super) String);

/// An entry, for tools.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its key.
    pub key: String,
    /// Its value; in JSON as Base64.
    #[serde(with = "base64_text")]
    pub value: Vec<u8>,
    /// When it expires, in milliseconds since 1970.
    pub expires: Option<u64>,
}

impl Entry {
    /// Octets that it counts towards its namespace's quota.
    #[must_use]
    pub fn footprint(&self) -> u64 {
        super::footprint(self.key.len(), self.value.len())
    }
}

/// Octets in JSON.
mod base64_text {
    use base64::Engine as _;
    use base64::prelude::BASE64_STANDARD;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(octets: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&BASE64_STANDARD.encode(octets))
    }

    pub fn deserialize<'d, D: Deserializer<'d>>(from: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(from)?;
        BASE64_STANDARD.decode(text).map_err(serde::de::Error::custom)
    }
}

/// Where a walk over all entries has come to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor(Place);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Place {
    Memory(usize),
    File(Vec<u8>),
    Redis((usize, u64)),
}

/// How a store does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// `memory`, `file` or `redis`.
    pub home: String,
    /// Where that is: a path or addresses; nothing for memory.
    pub place: Option<String>,
    /// Whether it can be used.
    pub health: Health,
    /// Operations until now. Those in memory are not counted.
    pub operations: u64,
    /// Operations that failed because it could not be reached.
    pub failures: u64,
    /// Those of them that took too long.
    pub timeouts: u64,
    /// How often it went out of reach.
    pub outages: u64,
    /// Microseconds that operations have waited, together.
    pub waited_us: u64,
}

/// A namespace as far as it is known without asking anybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamespaceState {
    /// Its name.
    pub name: String,
    /// Octets that it may hold.
    pub quota: u64,
    /// Octets that it holds; None where Redis has not told yet.
    pub octets: Option<u64>,
    /// Entries; only known of what is in memory.
    pub entries: Option<usize>,
}

/// A namespace at a glance.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Overview {
    /// Its name.
    pub name: String,
    /// Octets in use, as they count towards its quota.
    pub octets: u64,
}

/// A store that is open.
#[derive(Debug)]
pub struct Home {
    kind: Kind,
    clock: Arc<dyn Clock>,
    /// Those that were handed out; in memory each is itself.
    namespaces: Mutex<HashMap<String, Namespace>>,
}

#[derive(Debug)]
enum Kind {
    Memory,
    File(file::File),
    Redis(redis::Redis),
}

/// What opening needs and only a privileged process may read: passwords and certificates.
pub struct Keys(WhatToOpen);

enum WhatToOpen {
    Memory,
    File(FileHome),
    Redis(Box<(RedisHome, redis::Keys)>),
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys")
    }
}

impl Keys {
    /// Reads them.
    ///
    /// # Errors
    /// Which file is not what it should be.
    pub fn read(config: &StoreConfig) -> Result<Self, OpenError> {
        Ok(Self(match &config.home {
            StoreHome::Memory => WhatToOpen::Memory,
            StoreHome::File(home) => WhatToOpen::File(home.clone()),
            StoreHome::Redis(home) => {
                let keys = redis::Keys::read(home).map_err(OpenError)?;
                WhatToOpen::Redis(Box::new((RedisHome::clone(home), keys)))
            }
        }))
    }
}

impl Home {
    /// A store in memory.
    #[must_use]
    pub fn in_memory(clock: Arc<dyn Clock>) -> Self {
        Self { kind: Kind::Memory, clock, namespaces: Mutex::default() }
    }

    /// Opens a store. One that is out of reach now is no error: it may come.
    ///
    /// # Errors
    /// What is wrong with the configuration or the system.
    pub fn open(keys: Keys, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        let kind = match keys.0 {
            WhatToOpen::Memory => Kind::Memory,
            WhatToOpen::File(home) => Kind::File(file::File::open(&home, clock.clone())?),
            WhatToOpen::Redis(both) => {
                let (home, keys) = *both;
                let opened = redis::Redis::open(&home, keys);
                Kind::Redis(opened.map_err(|error| OpenError(format!("cannot start a thread: {error}")))?)
            }
        };
        Ok(Self { kind, clock, namespaces: Mutex::default() })
    }

    /// A namespace. The one that was handed out under this name before comes again, whatever
    /// the quota.
    pub fn namespace(&self, space: Space) -> Namespace {
        let mut namespaces = self.namespaces.lock();
        let name = space.name.clone();
        let make = || match &self.kind {
            Kind::Memory => Kept::Memory(Arc::new(Memory::new(space.quota, self.clock.clone(), false))),
            Kind::File(file) => Kept::File(file.part(space)),
            Kind::Redis(redis) => Kept::Redis(redis.part(space)),
        };
        namespaces.entry(name).or_insert_with(|| make().into()).clone()
    }

    /// How it does.
    #[must_use]
    pub fn status(&self) -> Status {
        let (home, place, health, record) = match &self.kind {
            Kind::Memory => ("memory", None, Health::Well, &Record::default()),
            Kind::File(file) => {
                ("file", Some(file.path().display().to_string()), file.health(), file.record())
            }
            Kind::Redis(redis) => ("redis", Some(redis.address().to_owned()), redis.health(), redis.record()),
        };
        Status {
            home: home.to_owned(),
            place,
            health,
            operations: record.operations.load(Ordering::Relaxed),
            failures: record.failures.load(Ordering::Relaxed),
            timeouts: record.timeouts.load(Ordering::Relaxed),
            outages: record.outages.load(Ordering::Relaxed),
            waited_us: record.waits.snapshot().sum_ns / 1000,
        }
    }

    /// Operations on single keys until now, in whatever home.
    #[must_use]
    pub fn operations(&self) -> u64 {
        match &self.kind {
            Kind::Memory => {
                let namespaces = self.namespaces.lock();
                let operations = namespaces.values().map(|namespace| match namespace.kept() {
                    Kept::Memory(memory) | Kept::Watched(memory, _) => memory.operations(),
                    Kept::File(_) | Kept::Redis(_) => 0,
                });
                operations.sum()
            }
            Kind::File(file) => file.record().operations.load(Ordering::Relaxed),
            Kind::Redis(redis) => redis.record().operations.load(Ordering::Relaxed),
        }
    }

    /// What operations have waited: in Redis all of them, in a file those that had to read it.
    /// None in memory, where nobody waits.
    #[must_use]
    pub fn waits(&self) -> Option<HistogramSnapshot> {
        match &self.kind {
            Kind::Memory => None,
            Kind::File(file) => Some(file.record().waits.snapshot()),
            Kind::Redis(redis) => Some(redis.record().waits.snapshot()),
        }
    }

    /// The namespaces that are in use here, in order of their names.
    #[must_use]
    pub fn namespaces(&self) -> Vec<NamespaceState> {
        let namespaces = self.namespaces.lock();
        let all = namespaces.iter().map(|(name, namespace)| {
            let (quota, octets, entries) = match namespace.kept() {
                Kept::Memory(memory) | Kept::Watched(memory, _) => {
                    (memory.quota(), Some(memory.usage()), Some(memory.len()))
                }
                Kept::File(part) => (part.quota(), Some(part.usage()), None),
                Kept::Redis(part) => (part.quota(), part.usage_told(), None),
            };
            NamespaceState { name: name.clone(), quota, octets, entries }
        });
        // Tools look at some without knowing their quota.
        let mut all: Vec<_> = all.filter(|namespace| namespace.quota != u64::MAX).collect();
        all.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        all
    }

    /// Saves what only one process can have, as for the last time. False if that takes too long.
    pub fn close(&self, within: Duration) -> bool {
        match &self.kind {
            Kind::File(file) => file.close(within),
            Kind::Memory | Kind::Redis(_) => true,
        }
    }

    /// How often a process ended without closing it, where that can have lost what was written
    /// last.
    #[must_use]
    pub fn crashes(&self) -> u64 {
        match &self.kind {
            Kind::File(file) => file.crashes(),
            Kind::Memory | Kind::Redis(_) => 0,
        }
    }

    /// Names of the namespaces that it has, in order.
    ///
    /// # Errors
    /// Where it cannot be reached.
    pub async fn names(&self) -> Result<Vec<String>, Unavailable> {
        let mut names = match &self.kind {
            Kind::Memory => self.namespaces.lock().keys().cloned().collect(),
            Kind::File(file) => file.names(),
            Kind::Redis(redis) => redis.names().await?,
        };
        names.sort_unstable();
        Ok(names)
    }

    /// One step over a namespace's entries: what it has found, and where the next one begins;
    /// None after the last. What changes meanwhile may be seen or not.
    ///
    /// # Errors
    /// Where it cannot be reached.
    pub async fn entries(
        &self,
        name: &str,
        from: Option<Cursor>,
    ) -> Result<(Vec<Entry>, Option<Cursor>), Unavailable> {
        // The quota of one that is only looked at does not matter.
        let namespace = self.namespace(Space::for_policies(name, u64::MAX));
        match (namespace.kept(), from) {
            (Kept::Memory(memory) | Kept::Watched(memory, _), from) => {
                let from = match from {
                    Some(Cursor(Place::Memory(from))) => from,
                    _ => 0,
                };
                let (entries, next) = memory.some_entries(from, STEP);
                let entries = entries.into_iter();
                let entries = entries.map(|(key, value, expires)| Entry { key, value, expires });
                Ok((entries.collect(), next.map(|next| Cursor(Place::Memory(next)))))
            }
            (Kept::File(part), from) => {
                let from = match from {
                    Some(Cursor(Place::File(from))) => from,
                    _ => {
                        self.save().await;
                        Vec::new()
                    }
                };
                let (entries, next) = part.entries(from).await?;
                Ok((entries, next.map(|next| Cursor(Place::File(next)))))
            }
            (Kept::Redis(part), from) => {
                let from = match from {
                    Some(Cursor(Place::Redis(from))) => from,
                    _ => (0, 0),
                };
                let (entries, next) = part.entries(from).await?;
                Ok((entries, next.map(|next| Cursor(Place::Redis(next)))))
            }
        }
    }

    /// Octets of memory that Redis says it uses, where the store is in one.
    pub async fn memory_of_redis(&self) -> Option<u64> {
        match &self.kind {
            Kind::Redis(redis) => redis.memory().await,
            Kind::Memory | Kind::File(_) => None,
        }
    }

    /// Lets go what only one process can have, for one that takes over: from now on, memory has
    /// to do here. False where not all could be saved before.
    pub async fn release(&self) -> bool {
        match &self.kind {
            Kind::File(file) => file.release().await,
            Kind::Memory | Kind::Redis(_) => true,
        }
    }

    /// Takes it again, where the other one did not come to serve.
    pub fn retake(&self) {
        if let Kind::File(file) = &self.kind {
            file.retake();
        }
    }

    /// Saves what is not saved yet, where that is done behind. False where it is not possible.
    pub async fn save(&self) -> bool {
        match &self.kind {
            Kind::File(file) => file.save().await,
            Kind::Memory | Kind::Redis(_) => true,
        }
    }
}
