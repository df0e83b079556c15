//! The state that policies share, and that proxies share of users. It knows neither policies
//! nor POP3: namespaces of keys and values, with times to live and a quota, in one of three
//! homes.

#![cfg_attr(not(all(feature = "file", feature = "redis")), allow(dead_code))] // what only they use

pub mod clock;
mod counter;
#[cfg_attr(not(feature = "file"), path = "without/file.rs")]
mod file;
mod health;
mod home;
mod memory;
mod namespace;
mod operation;
#[cfg_attr(not(feature = "redis"), path = "without/redis.rs")]
mod redis;
mod settings;
mod witness;

pub use health::Health;
pub use home::{Cursor, Entry, Home, Keys, NamespaceState, OpenError, Overview, Status};
pub use namespace::Namespace;
#[cfg(feature = "redis")]
pub use redis::check_url as check_redis_url;
pub use settings::{FileHome, RedisHome, RedisKind, Share, StoreConfig, StoreHome};
pub use witness::{Access, Answer, Interference, Witness};

use std::time::Duration;

/// The longest key, in octets.
pub const KEY_LIMIT: usize = 1024;
/// The longest value that a policy may write, in octets.
pub const VALUE_LIMIT: usize = 65_536;
/// What an entry counts beside key and value, in every home: no less than it takes in memory,
/// which is its head, its places in index and queue, and what its cell is longer. What Redis and
/// the file have counted was counted with this figure.
const ENTRY_OCTETS: u64 = 72;
/// Never, as a time to live ends.
const NEVER: u64 = u64::MAX;

/// Octets that an entry counts towards its namespace's quota.
fn footprint(key: usize, value: usize) -> u64 {
    ENTRY_OCTETS + (key + value) as u64
}

/// When a time to live that begins now ends, in milliseconds since 1970.
fn expiry(now_ms: u64, ttl: Option<Duration>) -> u64 {
    ttl.map_or(NEVER, |ttl| {
        now_ms.saturating_add(u64::try_from(ttl.as_millis()).unwrap_or(NEVER)).min(NEVER - 1)
    })
}

/// What a namespace is called, and what it may hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Space {
    /// Its name: letters, digits, dots, hyphens and underscores, or two of those with a colon
    /// between them.
    pub name: String,
    /// Octets that it may hold.
    pub quota: u64,
    /// The longest value, in octets.
    pub value_limit: usize,
}

impl Space {
    /// A namespace for policies.
    #[must_use]
    pub fn for_policies(name: &str, quota: u64) -> Self {
        Self { name: name.to_owned(), quota, value_limit: VALUE_LIMIT }
    }
}

/// Why nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The namespace would hold more than it may.
    #[error("the store's quota is reached")]
    Quota,
    /// The key or the value is too long.
    #[error("the key or the value is too long")]
    TooLong,
    /// The value is no counter.
    #[error("the value is not a number")]
    NotANumber,
}

/// The store could not be reached, or answered nonsense: nothing is known of what it holds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store cannot be reached: {0}")]
pub struct Unavailable(pub String);

/// What a write comes to: done, refused, or not known.
pub type Written<T> = Result<Result<T, Refused>, Unavailable>;
