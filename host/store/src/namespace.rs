//! One namespace of the store, wherever it is kept.

use std::sync::Arc;
use std::time::Duration;

use super::memory::Memory;
use super::operation::{Changed, Operation};
use super::witness::{Access, Answer, Witness};
use super::{Unavailable, Written, file, redis};
use crate::clock::Clock;

/// One virtual server's part of the store, or one that several share. Each operation is atomic,
/// across all threads, processes and machines that use the same home.
#[derive(Clone, Debug)]
pub struct Namespace(Kept);

#[derive(Clone, Debug)]
pub(super) enum Kept {
    Memory(Arc<Memory>),
    /// Somebody sees what is done.
    Watched(Arc<Memory>, Arc<dyn Witness>),
    File(file::Part),
    Redis(redis::Part),
}

impl From<Kept> for Namespace {
    fn from(kept: Kept) -> Self {
        Self(kept)
    }
}

impl Namespace {
    /// A namespace in this process's memory, of at most `quota` octets.
    #[must_use]
    pub fn in_memory(quota: u64, clock: Arc<dyn Clock>) -> Self {
        Self(Kept::Memory(Arc::new(Memory::new(quota, clock, false))))
    }

    /// The same, but slower and without chance: what has expired never counts. For trials,
    /// which are to come out the same each time.
    #[must_use]
    pub fn exact_in_memory(quota: u64, clock: Arc<dyn Clock>) -> Self {
        Self(Kept::Memory(Arc::new(Memory::new(quota, clock, true))))
    }

    /// The same namespace, with somebody who sees what is done through it. What is done
    /// through the original he does not see. Only what is in memory can be watched: another
    /// namespace comes back as it is.
    #[must_use]
    pub fn watched(&self, witness: Arc<dyn Witness>) -> Self {
        match &self.0 {
            Kept::Memory(memory) | Kept::Watched(memory, _) => Self(Kept::Watched(memory.clone(), witness)),
            Kept::File(_) | Kept::Redis(_) => self.clone(),
        }
    }

    /// Whether each operation is done when it is first polled.
    #[must_use]
    pub fn answers_at_once(&self) -> bool {
        matches!(self.0, Kept::Memory(_) | Kept::Watched(..))
    }

    pub(super) fn kept(&self) -> &Kept {
        &self.0
    }

    /// Whether there is any use in asking: while its home is known to be out of reach, each
    /// operation fails at once.
    ///
    /// # Errors
    /// Why there is none.
    pub fn ready(&self) -> Result<(), Unavailable> {
        match &self.0 {
            Kept::Redis(part) => part.ready(),
            // A file that cannot be used leaves its memory.
            Kept::Memory(_) | Kept::Watched(..) | Kept::File(_) => Ok(()),
        }
    }

    /// The value under a key.
    ///
    /// # Errors
    /// Where the store cannot be reached.
    pub async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Unavailable> {
        match &self.0 {
            Kept::Memory(memory) => Ok(memory.get(key)),
            Kept::Watched(memory, witness) => {
                witness.read(Access::Get { key }, || memory.get(key), |value| Answer::Value(value.clone()))
            }
            // What takes its time has a place of its own, so that memory's futures stay small.
            Kept::File(part) => Box::pin(part.get(key)).await,
            Kept::Redis(part) => Box::pin(part.get(key)).await,
        }
    }

    /// Writes a value, whatever was there.
    ///
    /// # Errors
    /// Where the store cannot be reached; within that, where key or value are too long or the
    /// quota is reached.
    pub async fn set(&self, key: &str, value: &[u8], ttl: Option<Duration>) -> Written<()> {
        let access = Access::Set { key, value, ttl };
        let written = self.change(key, Operation::Set(value), ttl, access, |_| Answer::Done(true)).await?;
        Ok(written.map(drop))
    }

    /// Writes a value if there is none; tells whether it did.
    ///
    /// # Errors
    /// As those of [`Namespace::set`].
    pub async fn add(&self, key: &str, value: &[u8], ttl: Option<Duration>) -> Written<bool> {
        let access = Access::Add { key, value, ttl };
        self.done(key, Operation::Add(value), ttl, access).await
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
        let access = Access::CompareAndSet { key, expected, value, ttl };
        self.done(key, Operation::CompareAndSet { expected, value }, ttl, access).await
    }

    /// Adds to a counter, which begins at 0, and returns its new value. Only a counter that
    /// begins gets the time to live. At the ends of 64 bits it stays.
    ///
    /// # Errors
    /// As those of [`Namespace::set`], and where the value is no counter.
    pub async fn increment(&self, key: &str, by: i64, ttl: Option<Duration>) -> Written<i64> {
        let access = Access::Increment { key, by, ttl };
        let answer = |changed: &Changed| Answer::Number(changed.number);
        let written = self.change(key, Operation::Increment(by), ttl, access, answer).await?;
        Ok(written.map(|changed| changed.number))
    }

    /// Forgets a key; tells whether it was there.
    ///
    /// # Errors
    /// Where the store cannot be reached.
    pub async fn delete(&self, key: &str) -> Result<bool, Unavailable> {
        match &self.0 {
            Kept::Memory(memory) => Ok(memory.delete(key)),
            Kept::Watched(memory, witness) => {
                witness.read(Access::Delete { key }, || memory.delete(key), |done| Answer::Done(*done))
            }
            Kept::File(part) => Box::pin(part.delete(key)).await,
            Kept::Redis(part) => Box::pin(part.delete(key)).await,
        }
    }

    /// Octets that it takes, as they count towards the quota. What has expired may count for a
    /// while; what lives always does. In Redis the figure may be a second old.
    ///
    /// # Errors
    /// Where the store cannot be reached.
    pub async fn usage(&self) -> Result<u64, Unavailable> {
        match &self.0 {
            Kept::Memory(memory) => Ok(memory.usage()),
            Kept::Watched(memory, witness) => {
                let number = |octets: &u64| Answer::Number(i64::try_from(*octets).unwrap_or(i64::MAX));
                witness.read(Access::Usage, || memory.usage(), number)
            }
            Kept::File(part) => Ok(part.usage()),
            Kept::Redis(part) => Box::pin(part.usage()).await,
        }
    }

    /// Forgets everything.
    ///
    /// # Errors
    /// Where the store cannot be reached.
    pub async fn clear(&self) -> Result<(), Unavailable> {
        match &self.0 {
            Kept::Memory(memory) => {
                memory.clear();
                Ok(())
            }
            Kept::Watched(memory, witness) => {
                witness.read(Access::Clear, || memory.clear(), |()| Answer::Done(true))
            }
            Kept::File(part) => {
                part.clear();
                Ok(())
            }
            Kept::Redis(part) => Box::pin(part.clear()).await,
        }
    }

    /// Forgets everything, and leaves nothing of the namespace itself behind. For tools, whose
    /// namespaces are their own: it takes as long as it takes.
    ///
    /// # Errors
    /// Where the store cannot be reached.
    pub async fn purge(&self) -> Result<(), Unavailable> {
        self.clear().await?;
        match &self.0 {
            Kept::Redis(part) => Box::pin(part.purge()).await,
            Kept::Memory(_) | Kept::Watched(..) | Kept::File(_) => Ok(()),
        }
    }

    /// All that a namespace in memory holds now, in no order: key, value, and when it expires,
    /// in milliseconds since 1970. For trials, which read everything; nothing elsewhere.
    #[must_use]
    pub fn entries(&self) -> Vec<(String, Vec<u8>, Option<u64>)> {
        match &self.0 {
            Kept::Memory(memory) | Kept::Watched(memory, _) => memory.entries(),
            Kept::File(_) | Kept::Redis(_) => Vec::new(),
        }
    }

    async fn done(
        &self,
        key: &str,
        operation: Operation<'_>,
        ttl: Option<Duration>,
        access: Access<'_>,
    ) -> Written<bool> {
        let answer = |changed: &Changed| Answer::Done(changed.done);
        let written = self.change(key, operation, ttl, access, answer).await?;
        Ok(written.map(|changed| changed.done))
    }

    async fn change(
        &self,
        key: &str,
        operation: Operation<'_>,
        ttl: Option<Duration>,
        access: Access<'_>,
        answer: impl FnOnce(&Changed) -> Answer,
    ) -> Written<Changed> {
        match &self.0 {
            Kept::Memory(memory) => Ok(memory.change(key, operation, ttl)),
            Kept::Watched(memory, witness) => {
                witness.write(access, || memory.change(key, operation, ttl), answer)
            }
            Kept::File(part) => Box::pin(part.change(key, operation, ttl)).await,
            Kept::Redis(part) => Box::pin(part.change(key, operation, ttl)).await,
        }
    }
}
