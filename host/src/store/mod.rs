//! The state that policies share. It knows neither policies nor POP3: namespaces of keys and
//! values, with times to live and a quota.

mod memory;
mod witness;

pub use witness::{Access, Answer, Interference, Witness};

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

/// The store could not be reached, or answered nonsense: nothing is known of what it holds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store cannot be reached: {0}")]
pub struct Unavailable(pub String);

/// What a write comes to: done, refused, or not known.
pub type Written<T> = Result<Result<T, Refused>, Unavailable>;

/// One virtual server's part of the store. Each operation is atomic. The operations are
/// asynchronous because other homes than memory will take their time.
#[derive(Clone, Debug)]
pub struct Namespace {
    home: Arc<memory::Memory>,
    witness: Option<Arc<dyn Witness>>,
}

impl Namespace {
    /// A namespace in this process's memory, of at most `quota` octets.
    #[must_use]
    pub fn in_memory(quota: u64, clock: Arc<dyn Clock>) -> Self {
        Self { home: Arc::new(memory::Memory::new(quota, clock, false)), witness: None }
    }

    /// The same, but slower and without chance: what has expired never counts. For trials,
    /// which are to come out the same each time.
    #[must_use]
    pub fn exact_in_memory(quota: u64, clock: Arc<dyn Clock>) -> Self {
        Self { home: Arc::new(memory::Memory::new(quota, clock, true)), witness: None }
    }

    /// The same namespace, with somebody who sees what is done through it. What is done
    /// through the original he does not see.
    #[must_use]
    pub fn watched(&self, witness: Arc<dyn Witness>) -> Self {
        Self { home: self.home.clone(), witness: Some(witness) }
    }

    /// The value under a key.
    ///
    /// # Errors
    /// Where the store cannot be reached.
    pub async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Unavailable> {
        let Some(witness) = &self.witness else { return Ok(self.home.get(key)) };
        witness.read(Access::Get { key }, || self.home.get(key), |value| Answer::Value(value.clone()))
    }

    /// Writes a value, whatever was there.
    ///
    /// # Errors
    /// Where the store cannot be reached; within that, where key or value are too long or the
    /// quota is reached.
    pub async fn set(&self, key: &str, value: &[u8], ttl: Option<Duration>) -> Written<()> {
        let write = || self.home.set(key, value, ttl);
        let Some(witness) = &self.witness else { return Ok(write()) };
        witness.write(Access::Set { key, value, ttl }, write, |()| Answer::Done(true))
    }

    /// Writes a value if there is none; tells whether it did.
    ///
    /// # Errors
    /// As those of [`Namespace::set`].
    pub async fn add(&self, key: &str, value: &[u8], ttl: Option<Duration>) -> Written<bool> {
        let write = || self.home.add(key, value, ttl);
        let Some(witness) = &self.witness else { return Ok(write()) };
        witness.write(Access::Add { key, value, ttl }, write, |done| Answer::Done(*done))
    }

    /// Writes a value if the present one is `expected`; tells whether it did.
    ///
    /// # Errors
    /// As those of [`Namespace::set`].
    pub async fn compare_and_set(
        &self,
        key: &str,
        expected: &[u8],
        value: &[u8],
        ttl: Option<Duration>,
    ) -> Written<bool> {
        let write = || self.home.compare_and_set(key, expected, value, ttl);
        let Some(witness) = &self.witness else { return Ok(write()) };
        witness.write(Access::CompareAndSet { key, expected, value, ttl }, write, |done| Answer::Done(*done))
    }

    /// Adds to a counter, which begins at 0, and returns its new value. Only a counter that
    /// begins gets the time to live.
    ///
    /// # Errors
    /// As those of [`Namespace::set`], and where the value is no counter.
    pub async fn increment(&self, key: &str, by: i64, ttl: Option<Duration>) -> Written<i64> {
        let write = || self.home.increment(key, by, ttl);
        let Some(witness) = &self.witness else { return Ok(write()) };
        witness.write(Access::Increment { key, by, ttl }, write, |sum| Answer::Number(*sum))
    }

    /// Forgets a key; tells whether it was there.
    ///
    /// # Errors
    /// Where the store cannot be reached.
    pub async fn delete(&self, key: &str) -> Result<bool, Unavailable> {
        let Some(witness) = &self.witness else { return Ok(self.home.delete(key)) };
        witness.read(Access::Delete { key }, || self.home.delete(key), |done| Answer::Done(*done))
    }

    /// Octets that it takes, as they count towards the quota.
    ///
    /// # Errors
    /// Where the store cannot be reached.
    pub async fn usage(&self) -> Result<u64, Unavailable> {
        let Some(witness) = &self.witness else { return Ok(self.home.usage()) };
        let number = |octets: &u64| Answer::Number(i64::try_from(*octets).unwrap_or(i64::MAX));
        witness.read(Access::Usage, || self.home.usage(), number)
    }

    /// Forgets everything.
    ///
    /// # Errors
    /// Where the store cannot be reached.
    pub async fn clear(&self) -> Result<(), Unavailable> {
        let Some(witness) = &self.witness else {
            self.home.clear();
            return Ok(());
        };
        witness.read(Access::Clear, || self.home.clear(), |()| Answer::Done(true))
    }

    /// All that it holds now, in no order: key, value, and when it expires, in milliseconds
    /// since 1970. For trials and tools: it reads everything.
    #[must_use]
    pub fn entries(&self) -> Vec<(String, Vec<u8>, Option<u64>)> {
        self.home.entries()
    }
}
