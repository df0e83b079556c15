//! Key-value state that policies keep and proxies share, with times to live and a quota per
//! namespace. It is kept in memory, in a file or in Redis; see [`StoreBackend`].
//!
//! The crate knows neither policies nor POP3.

#![cfg_attr(not(all(feature = "file", feature = "redis")), allow(dead_code))] // used by those backends only

mod backend;
mod batch;
pub mod clock;
mod counter;
mod entry;
mod epoch;
#[cfg_attr(not(feature = "file"), path = "disabled/file.rs")]
mod file;
#[cfg(feature = "redis")]
#[doc(hidden)]
pub mod fuzzing;
mod health;
mod interceptor;
mod memory;
mod namespace;
mod operation;
#[cfg_attr(not(feature = "redis"), path = "disabled/redis.rs")]
mod redis;
mod settings;
mod store;

pub use backend::{OpenError, StoreSecrets};
pub use batch::{Batch, BatchWrite, Committed, Expected, Lifetime, Ttl};
pub use entry::{Cursor, Entry};
pub use epoch::StoreEpoch;
pub use health::Health;
pub use interceptor::{Access, AccessResult, Fault, Interceptor};
pub use namespace::Namespace;
#[cfg(feature = "redis")]
pub use redis::check_url as check_redis_url;
pub use settings::{FileSettings, RedisKind, RedisSettings, Share, StoreBackend, StoreConfig};
pub use store::{NamespaceSize, NamespaceStatus, Store, StoreStatus};

/// Length of the longest key, in bytes.
pub const KEY_LIMIT: usize = 1024;
/// Length of the longest value that a policy may write, in bytes.
pub const VALUE_LIMIT: usize = 65_536;
/// What an entry counts towards the quota in addition to its key and value, in every backend. It
/// covers what an entry takes in memory: its head, its slot in the index, and the unused end of its
/// cell. Part of the layout of the file and of Redis, which store sums made with it.
const ENTRY_OVERHEAD_BYTES: u64 = 72;
/// Expiry time of an entry that never expires.
const NEVER: u64 = u64::MAX;

/// Bytes that an entry counts towards its namespace's quota; the arguments are lengths.
fn footprint(key: usize, value: usize) -> u64 {
    ENTRY_OVERHEAD_BYTES + (key + value) as u64
}

/// Name and limits of a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamespaceConfig {
    /// Letters, digits, dots, hyphens and underscores, or two such words joined by a colon.
    pub name: String,
    /// Maximum number of bytes in the namespace.
    pub quota: u64,
    /// Length of the longest value, in bytes.
    pub value_limit: usize,
}

impl NamespaceConfig {
    /// A namespace whose values may be as long as a policy may write them.
    #[must_use]
    pub fn for_policies(name: &str, quota: u64) -> Self {
        Self { name: name.to_owned(), quota, value_limit: VALUE_LIMIT }
    }
}

/// Why the store refused a write. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The namespace would exceed its quota.
    #[error("the store's quota is reached")]
    Quota,
    /// The key or the value is too long.
    #[error("the key or the value is too long")]
    TooLong,
    /// `increment` was called on a value that is not a counter.
    #[error("the value is not a number")]
    NotANumber,
}

/// The store could not be reached or answered nonsense: its contents are unknown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store cannot be reached: {0}")]
pub struct Unavailable(pub String);

/// Result of a write: done, refused by the store, or unknown because the store was unavailable.
pub type WriteResult<T> = Result<Result<T, Refused>, Unavailable>;
