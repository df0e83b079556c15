//! The state that policies share. It knows neither policies nor POP3: namespaces of keys and
//! values, with times to live and a quota.

mod memory;

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;

/// The longest key, in octets.
pub const KEY_LIMIT: usize = 1024;
/// The longest value, in octets.
pub const VALUE_LIMIT: usize = 65_536;

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

/// One virtual server's part of the store. Each operation is atomic. The operations are
/// asynchronous because other homes than memory will take their time.
#[derive(Clone, Debug)]
pub struct Namespace {
    home: Arc<memory::Memory>,
}

impl Namespace {
    /// A namespace in this process's memory, of at most `quota` octets.
    #[must_use]
    pub fn in_memory(quota: u64, clock: Arc<dyn Clock>) -> Self {
        Self { home: Arc::new(memory::Memory::new(quota, clock)) }
    }

    /// The value under a key.
    pub async fn get(&self, key: &str) -> Option<Vec<u8>> {
        self.home.get(key)
    }

    /// Writes a value, whatever was there.
    ///
    /// # Errors
    /// Where key or value are too long or the quota is reached.
    pub async fn set(&self, key: &str, value: &[u8], ttl: Option<Duration>) -> Result<(), Refused> {
        self.home.set(key, value, ttl)
    }

    /// Writes a value if there is none; tells whether it did.
    ///
    /// # Errors
    /// Where key or value are too long or the quota is reached.
    pub async fn add(&self, key: &str, value: &[u8], ttl: Option<Duration>) -> Result<bool, Refused> {
        self.home.add(key, value, ttl)
    }

    /// Writes a value if the present one is `expected`; tells whether it did.
    ///
    /// # Errors
    /// Where key or value are too long or the quota is reached.
    pub async fn compare_and_set(
        &self,
        key: &str,
        expected: &[u8],
        value: &[u8],
        ttl: Option<Duration>,
    ) -> Result<bool, Refused> {
        self.home.compare_and_set(key, expected, value, ttl)
    }

    /// Adds to a counter, which begins at 0, and returns its new value. Only a counter that
    /// begins gets the time to live.
    ///
    /// # Errors
    /// Where the value is no counter, the key is too long or the quota is reached.
    pub async fn increment(&self, key: &str, by: i64, ttl: Option<Duration>) -> Result<i64, Refused> {
        self.home.increment(key, by, ttl)
    }

    /// Forgets a key; tells whether it was there.
    pub async fn delete(&self, key: &str) -> bool {
        self.home.delete(key)
    }

    /// Octets that it takes, as they count towards the quota.
    pub async fn usage(&self) -> u64 {
        self.home.usage()
    }

    /// Forgets everything.
    pub async fn clear(&self) {
        self.home.clear();
    }
}
