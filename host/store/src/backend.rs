//! The places where a store can be kept, and how each is opened.

use std::sync::Arc;

use crate::clock::Clock;
use crate::health::Monitor;
use crate::{FileSettings, Health, RedisSettings, StoreBackend, StoreConfig, file, redis};

/// An open backend. Namespaces in memory are independent of each other, so `Memory` holds nothing.
#[derive(Debug)]
pub(super) enum Backend {
    Memory,
    File(file::File),
    Redis(redis::Redis),
}

/// Why a store could not be opened, in one sentence for the administrator.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct OpenError(pub(super) String);

/// The settings of a store together with the passwords and certificates that it needs, which only
/// a privileged process may be able to read. It must be read before privileges are dropped.
pub struct StoreSecrets(BackendSecrets);

enum BackendSecrets {
    Memory,
    File(FileSettings),
    Redis(Box<(RedisSettings, redis::RedisSecrets)>),
}

impl std::fmt::Debug for StoreSecrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StoreSecrets")
    }
}

impl StoreSecrets {
    /// Reads the files that the configuration names.
    ///
    /// # Errors
    /// If a file cannot be read or does not contain what it should.
    pub fn read(config: &StoreConfig) -> Result<Self, OpenError> {
        Ok(Self(match &config.backend {
            StoreBackend::Memory => BackendSecrets::Memory,
            StoreBackend::File(settings) => BackendSecrets::File(settings.clone()),
            StoreBackend::Redis(settings) => {
                let secrets = redis::RedisSecrets::read(settings).map_err(OpenError)?;
                BackendSecrets::Redis(Box::new((RedisSettings::clone(settings), secrets)))
            }
        }))
    }
}

impl Backend {
    /// Opens it. A server that cannot be reached now is no error: it may come back.
    ///
    /// # Errors
    /// If the configuration is wrong, or the system has no thread to give.
    pub fn open(secrets: StoreSecrets, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        Ok(match secrets.0 {
            BackendSecrets::Memory => Self::Memory,
            BackendSecrets::File(settings) => Self::File(file::File::open(&settings, clock)?),
            BackendSecrets::Redis(both) => {
                let (settings, secrets) = *both;
                let opened = redis::Redis::open(&settings, secrets);
                Self::Redis(opened.map_err(|error| OpenError(format!("cannot start a thread: {error}")))?)
            }
        })
    }

    /// Its value in the configuration.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::File(_) => "file",
            Self::Redis(_) => "redis",
        }
    }

    /// The path or the addresses; None in memory.
    pub fn location(&self) -> Option<String> {
        match self {
            Self::Memory => None,
            Self::File(file) => Some(file.path().display().to_string()),
            Self::Redis(redis) => Some(redis.address().to_owned()),
        }
    }

    pub fn health(&self) -> Health {
        match self {
            Self::Memory => Health::Healthy,
            Self::File(file) => file.health(),
            Self::Redis(redis) => redis.health(),
        }
    }

    /// Counters and outages; None in memory, where operations cannot fail.
    pub fn monitor(&self) -> Option<&Monitor> {
        match self {
            Self::Memory => None,
            Self::File(file) => Some(file.monitor()),
            Self::Redis(redis) => Some(redis.monitor()),
        }
    }

    /// The file; None in other backends, which have nothing to save, close or hand over.
    pub fn file(&self) -> Option<&file::File> {
        match self {
            Self::File(file) => Some(file),
            Self::Memory | Self::Redis(_) => None,
        }
    }
}
