//! Settings of a store: where it is kept, and what proxies share through it.

use std::path::PathBuf;
use std::time::Duration;

use reprieve_secrets::Secret;
use reprieve_settings::{CertificateFiles, Location};

/// What proxies share about users through a store, besides the state of policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// Nothing: each proxy learns on its own.
    Off,
    /// Which secrets the mail server has accepted, and which proxy saw a maildrop last.
    Tags,
    /// As `Tags`, and what clients last saw of their maildrops.
    TagsAndSnapshots,
}

/// The store of one virtual server, or of all virtual servers that have none of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreConfig {
    /// Where the store is kept.
    pub backend: StoreBackend,
    /// What proxies share about users through it.
    pub share: Share,
    /// File whose first line is the secret from which the keys of shared records are derived.
    pub secret_file: Option<PathBuf>,
    /// Location in the configuration, for errors.
    pub location: Location,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self { backend: StoreBackend::Memory, share: Share::Off, secret_file: None, location: "store".into() }
    }
}

/// Where a store is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreBackend {
    /// In the memory of this process.
    Memory,
    /// In a file of this machine.
    File(FileSettings),
    /// In Redis or Valkey, for several proxies.
    Redis(Box<RedisSettings>),
}

/// Settings of a store in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSettings {
    /// Path of the file.
    pub path: PathBuf,
    /// Longest time for which a change is in memory only.
    pub save_every: Duration,
    /// Bytes of recently used entries to keep in memory.
    pub cache: u64,
}

/// What answers at the addresses of a store in Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedisKind {
    /// A server. Several addresses are tried in order.
    One,
    /// Sentinels, which name the master of a service.
    Sentinel {
        /// Name of the service.
        service: String,
    },
    /// Nodes of a cluster.
    Cluster,
}

/// Settings of a store in Redis or Valkey.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisSettings {
    /// What answers at the addresses.
    pub kind: RedisKind,
    /// Addresses. They may contain passwords.
    pub urls: Vec<Secret>,
    /// ACL user, for URLs without one.
    pub user: Option<String>,
    /// File whose first line is the password.
    pub password_file: Option<PathBuf>,
    /// ACL user at the sentinels.
    pub sentinel_user: Option<String>,
    /// File whose first line is the password at the sentinels.
    pub sentinel_password_file: Option<PathBuf>,
    /// Number of the database, for URLs without one.
    pub database: Option<u32>,
    /// Prefix of every key.
    pub prefix: String,
    /// Longest time that an operation may take.
    pub timeout: Duration,
    /// Number of connections.
    pub connections: usize,
    /// Certificate authorities of the servers; None for the system trust store.
    pub ca: Option<PathBuf>,
    /// Client certificate, for servers that ask for one.
    pub certificate: Option<CertificateFiles>,
}

impl StoreBackend {
    /// Its value in the configuration.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::File(_) => "file",
            Self::Redis(_) => "redis",
        }
    }
}

impl StoreConfig {
    /// Parses the argument of `--store`: `memory`, `file:PATH`, or a URL of Redis.
    ///
    /// # Errors
    /// If it is none of these.
    pub fn from_argument(argument: &str) -> Result<Self, String> {
        let backend = if argument == "memory" {
            StoreBackend::Memory
        } else if let Some(path) = argument.strip_prefix("file:") {
            StoreBackend::File(FileSettings::at(path.into()))
        } else if is_redis_url(argument) {
            StoreBackend::Redis(Box::new(RedisSettings::at(argument)))
        } else {
            return Err("a store is \"memory\", \"file:PATH\", or a URL such as \"redis://127.0.0.1:6379\""
                .to_owned());
        };
        Ok(Self { backend, location: "--store".into(), ..Self::default() })
    }
}

#[cfg(feature = "redis")]
fn is_redis_url(text: &str) -> bool {
    crate::check_redis_url(text).is_ok()
}

#[cfg(not(feature = "redis"))]
fn is_redis_url(_: &str) -> bool {
    false
}

impl FileSettings {
    /// Default settings for a store in this file.
    #[must_use]
    pub fn at(path: PathBuf) -> Self {
        Self { path, save_every: Duration::from_secs(1), cache: 64 << 20 }
    }
}

impl RedisSettings {
    /// Default settings for a server at this URL.
    #[must_use]
    pub fn at(url: &str) -> Self {
        Self {
            kind: RedisKind::One,
            urls: vec![Secret::new(url.as_bytes())],
            user: None,
            password_file: None,
            sentinel_user: None,
            sentinel_password_file: None,
            database: None,
            prefix: "reprieve:".to_owned(),
            timeout: Duration::from_millis(100),
            connections: 2,
            ca: None,
            certificate: None,
        }
    }
}
