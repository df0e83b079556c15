//! Where a store is kept, and what proxies share through it.

use std::path::PathBuf;
use std::time::Duration;

use reprieve_secrets::Secret;
use reprieve_settings::{CertificateFiles, Location};

/// What proxies that use one store share of users, beside what policies keep there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// Nothing: each learns on its own.
    Off,
    /// Whose secrets were accepted, and which proxy has seen a maildrop last.
    Tags,
    /// These, and what clients observe of their maildrops.
    TagsAndSnapshots,
}

/// The store of a virtual server, or of all that have none of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreConfig {
    /// Where it is kept.
    pub backend: StoreBackend,
    /// What else is shared through it.
    pub share: Share,
    /// The file whose first line keys what is shared.
    pub secret_file: Option<PathBuf>,
    /// Where it is configured.
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
    /// In this process, as long as it lives.
    Memory,
    /// In a file of this machine.
    File(FileSettings),
    /// In Redis or Valkey, for many machines.
    Redis(Box<RedisSettings>),
}

/// A store in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSettings {
    /// The file.
    pub path: PathBuf,
    /// The longest time for which something is in memory only.
    pub save_every: Duration,
    /// Octets of what was used lately that stay in memory.
    pub cache: u64,
}

/// What is at the addresses of a store in Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedisKind {
    /// A server; more than one address are tried in their order.
    One,
    /// Sentinels, which know the master of a service.
    Sentinel {
        /// The service's name.
        service: String,
    },
    /// Nodes of a cluster, which know the others.
    Cluster,
}

/// A store in Redis or Valkey.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisSettings {
    /// What is there.
    pub kind: RedisKind,
    /// Addresses. They may hold passwords.
    pub urls: Vec<Secret>,
    /// The ACL user, where the URL has none.
    pub user: Option<String>,
    /// The file whose first line is the password.
    pub password_file: Option<PathBuf>,
    /// The ACL user at sentinels.
    pub sentinel_user: Option<String>,
    /// The file whose first line is the password at sentinels.
    pub sentinel_password_file: Option<PathBuf>,
    /// The number of the database, where the URL has none.
    pub database: Option<u32>,
    /// What every key begins with.
    pub prefix: String,
    /// How long an operation may take.
    pub timeout: Duration,
    /// Connections.
    pub connections: usize,
    /// Who signs the servers' certificates, where not whom the machine trusts.
    pub ca: Option<PathBuf>,
    /// What is shown to servers that ask for a certificate.
    pub certificate: Option<CertificateFiles>,
}

impl StoreBackend {
    /// Its word in the configuration.
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
    /// A store by one word, as command lines name it: `memory`, `file:PATH`, or an address of
    /// Redis.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn by_word(word: &str) -> Result<Self, String> {
        let backend = if word == "memory" {
            StoreBackend::Memory
        } else if let Some(path) = word.strip_prefix("file:") {
            StoreBackend::File(FileSettings::at(path.into()))
        } else if is_redis_url(word) {
            StoreBackend::Redis(Box::new(RedisSettings::at(word)))
        } else {
            return Err(
                "a store is \"memory\", \"file:PATH\", or an address such as \"redis://127.0.0.1:6379\""
                    .to_owned(),
            );
        };
        Ok(Self { backend, location: "--store".into(), ..Self::default() })
    }
}

#[cfg(feature = "redis")]
fn is_redis_url(word: &str) -> bool {
    crate::check_redis_url(word).is_ok()
}

#[cfg(not(feature = "redis"))]
fn is_redis_url(_: &str) -> bool {
    false
}

impl FileSettings {
    /// The defaults for a store in this file.
    #[must_use]
    pub fn at(path: PathBuf) -> Self {
        Self { path, save_every: Duration::from_secs(1), cache: 64 << 20 }
    }
}

impl RedisSettings {
    /// The defaults for a server at this URL.
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
