//! A namespace of a store, in any backend.

use std::sync::Arc;
use std::time::Duration;

use super::interceptor::{Access, AccessResult, Interceptor};
use super::memory::Memory;
use super::operation::{Changed, Operation};
use super::{Batch, Committed, Lifetime, Ttl, Unavailable, WriteResult, file, redis};
use crate::clock::Clock;

/// Keys and values of one virtual server, or of several that share them. Each operation is atomic
/// across all threads, processes and machines that use the same store.
#[derive(Clone, Debug)]
pub struct Namespace(NamespaceBackend);

#[derive(Clone, Debug)]
pub(super) enum NamespaceBackend {
    Memory(Arc<Memory>),
    /// In memory, with every operation reported to an interceptor.
    Intercepted(Arc<Memory>, Arc<dyn Interceptor>),
    File(file::FileNamespace),
    Redis(redis::RedisNamespace),
}

impl From<NamespaceBackend> for Namespace {
    fn from(backend: NamespaceBackend) -> Self {
        Self(backend)
    }
}

impl Namespace {
    /// A namespace of its own in memory, of at most `quota` bytes.
    #[must_use]
    pub fn in_memory(quota: u64, clock: Arc<dyn Clock>) -> Self {
        Self(NamespaceBackend::Memory(Arc::new(Memory::new(quota, clock, false))))
    }

    /// As [`Namespace::in_memory`], but removes expired entries before each operation. Slower, and
    /// deterministic: for test harnesses, whose `usage` must not depend on when entries are swept.
    #[must_use]
    pub fn exact_in_memory(quota: u64, clock: Arc<dyn Clock>) -> Self {
        Self(NamespaceBackend::Memory(Arc::new(Memory::new(quota, clock, true))))
    }

    /// The same entries, with every operation through the returned namespace reported to the
    /// interceptor. Only namespaces in memory can be intercepted; others are returned unchanged.
    #[must_use]
    pub fn intercepted_by(&self, interceptor: Arc<dyn Interceptor>) -> Self {
        match &self.0 {
            NamespaceBackend::Memory(memory) | NamespaceBackend::Intercepted(memory, _) => {
                Self(NamespaceBackend::Intercepted(memory.clone(), interceptor))
            }
            NamespaceBackend::File(_) | NamespaceBackend::Redis(_) => self.clone(),
        }
    }

    /// Whether the future of each operation is ready when it is first polled.
    #[must_use]
    pub fn completes_immediately(&self) -> bool {
        self.memory().is_some()
    }

    pub(super) fn backend(&self) -> &NamespaceBackend {
        &self.0
    }

    pub(super) fn memory(&self) -> Option<&Memory> {
        match &self.0 {
            NamespaceBackend::Memory(memory) | NamespaceBackend::Intercepted(memory, _) => Some(memory),
            NamespaceBackend::File(_) | NamespaceBackend::Redis(_) => None,
        }
    }

    /// Checks whether the backend is believed to be reachable; while it is not, each operation
    /// fails at once.
    ///
    /// # Errors
    /// Why it is unreachable.
    pub fn ready(&self) -> Result<(), Unavailable> {
        match &self.0 {
            NamespaceBackend::Redis(namespace) => namespace.ready(),
            // Without its file, a namespace continues in memory.
            NamespaceBackend::Memory(_) | NamespaceBackend::Intercepted(..) | NamespaceBackend::File(_) => {
                Ok(())
            }
        }
    }

    /// Reads the value of a key.
    ///
    /// # Errors
    /// If the store cannot be reached.
    pub async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Unavailable> {
        match &self.0 {
            NamespaceBackend::Memory(memory) => Ok(memory.get(key)),
            NamespaceBackend::Intercepted(memory, interceptor) => {
                let result = |value: &Option<Vec<u8>>| AccessResult::Value(value.clone());
                interceptor.read(Access::Get { key }, || memory.get(key), result)
            }
            // Boxed, so that the futures of namespaces in memory stay small.
            NamespaceBackend::File(namespace) => Box::pin(namespace.get(key)).await,
            NamespaceBackend::Redis(namespace) => Box::pin(namespace.get(key)).await,
        }
    }

    /// As [`Namespace::get`], but passes the value to `read`; in memory without copying it. There a
    /// lock is held meanwhile: `read` must be short and must not use the namespace.
    ///
    /// # Errors
    /// If the store cannot be reached.
    pub async fn get_with<T>(
        &self,
        key: &str,
        read: impl FnOnce(Option<&[u8]>) -> T,
    ) -> Result<T, Unavailable> {
        match &self.0 {
            NamespaceBackend::Memory(memory) => Ok(memory.get_with(key, read)),
            _ => Ok(read(Box::pin(self.get(key)).await?.as_deref())),
        }
    }

    /// Reads the values of several keys, in their order. In Redis, one round trip; in a cluster, one
    /// per hash slot. Other writes may come in between: [`Namespace::commit`] finds out.
    ///
    /// # Errors
    /// If the store cannot be reached.
    pub async fn get_many(&self, keys: &[&str]) -> Result<Vec<Option<Vec<u8>>>, Unavailable> {
        if let NamespaceBackend::Redis(namespace) = &self.0 {
            return Box::pin(namespace.get_many(keys)).await;
        }
        let mut values = Vec::with_capacity(keys.len());
        for key in keys {
            values.push(self.get(key).await?);
        }
        Ok(values)
    }

    /// How much time an entry has left; None if there is no entry.
    ///
    /// # Errors
    /// If the store cannot be reached.
    pub async fn ttl(&self, key: &str) -> Result<Option<Ttl>, Unavailable> {
        match &self.0 {
            NamespaceBackend::Memory(memory) => Ok(memory.ttl(key)),
            NamespaceBackend::Intercepted(memory, interceptor) => {
                let result = |ttl: &Option<Ttl>| AccessResult::Ttl(*ttl);
                interceptor.read(Access::Ttl { key }, || memory.ttl(key), result)
            }
            NamespaceBackend::File(namespace) => Box::pin(namespace.ttl(key)).await,
            NamespaceBackend::Redis(namespace) => Box::pin(namespace.ttl(key)).await,
        }
    }

    /// Writes a value, replacing an existing one.
    ///
    /// # Errors
    /// If the store cannot be reached; inside, if the key or the value is too long or the quota is
    /// reached.
    pub async fn set(&self, key: &str, value: &[u8], ttl: Option<Duration>) -> WriteResult<()> {
        let access = Access::Set { key, value, ttl };
        let result = |_: &Changed| AccessResult::Done(true);
        let written = self.change(key, Operation::Set(value), ttl, access, result).await?;
        Ok(written.map(drop))
    }

    /// Writes a value if the key has none, and returns whether it did.
    ///
    /// # Errors
    /// As [`Namespace::set`].
    pub async fn add(&self, key: &str, value: &[u8], ttl: Option<Duration>) -> WriteResult<bool> {
        let access = Access::Add { key, value, ttl };
        self.change_if(key, Operation::Add(value), ttl, access).await
    }

    /// Writes a value if the current one is `expected`, and returns whether it did.
    ///
    /// # Errors
    /// As [`Namespace::set`].
    pub async fn compare_and_set(
        &self,
        key: &str,
        expected: &[u8],
        value: &[u8],
        ttl: Option<Duration>,
    ) -> WriteResult<bool> {
        let access = Access::CompareAndSet { key, expected, value, ttl };
        self.change_if(key, Operation::CompareAndSet { expected, value }, ttl, access).await
    }

    /// Adds to a counter and returns its new value. A missing counter counts as 0; only then does
    /// `ttl` apply. The result saturates at the limits of a signed 64-bit integer.
    ///
    /// # Errors
    /// As [`Namespace::set`]; also, inside, if the value is not a counter.
    pub async fn increment(&self, key: &str, by: i64, ttl: Option<Duration>) -> WriteResult<i64> {
        let access = Access::Increment { key, by, ttl };
        let result = |changed: &Changed| AccessResult::Number(changed.number);
        let written = self.change(key, Operation::Increment(by), ttl, access, result).await?;
        Ok(written.map(|changed| changed.number))
    }

    /// Deletes a key and returns whether it existed.
    ///
    /// # Errors
    /// If the store cannot be reached.
    pub async fn delete(&self, key: &str) -> Result<bool, Unavailable> {
        match &self.0 {
            NamespaceBackend::Memory(memory) => Ok(memory.delete(key)),
            NamespaceBackend::Intercepted(memory, interceptor) => {
                let result = |existed: &bool| AccessResult::Done(*existed);
                interceptor.read(Access::Delete { key }, || memory.delete(key), result)
            }
            NamespaceBackend::File(namespace) => Box::pin(namespace.delete(key)).await,
            NamespaceBackend::Redis(namespace) => Box::pin(namespace.delete(key)).await,
        }
    }

    /// Applies the writes of a batch together, or none of them: none if a value that the batch
    /// expects has changed, or if the namespace would grow beyond its quota.
    ///
    /// In a Redis cluster, where a namespace is spread over 16 hash slots, only the entries of one
    /// slot are read and written together. Expected values in several slots are compared before
    /// anything is written, and once more when the writes of their own slot are applied, one slot
    /// after the other. The writes of some slots therefore stay although the result is a conflict,
    /// a refusal or an error if another proxy changes an expected value in between, another slot's
    /// part of the quota is reached, or a server cannot be reached.
    ///
    /// # Errors
    /// If the store cannot be reached; inside, as [`Namespace::set`].
    pub async fn commit(&self, batch: &Batch<'_>) -> WriteResult<Committed> {
        match &self.0 {
            NamespaceBackend::Memory(memory) => Ok(memory.commit(batch)),
            NamespaceBackend::Intercepted(memory, interceptor) => {
                let access = Access::Commit(*batch);
                if batch.only_deletes() {
                    let result = |committed: &_| AccessResult::Done(*committed == Ok(Committed::Done));
                    return interceptor.read(access, || memory.commit(batch), result);
                }
                let result = |committed: &Committed| AccessResult::Done(*committed == Committed::Done);
                interceptor.write(access, || memory.commit(batch), result)
            }
            NamespaceBackend::File(namespace) => Box::pin(namespace.commit(batch)).await,
            NamespaceBackend::Redis(namespace) => Box::pin(namespace.commit(batch)).await,
        }
    }

    /// Bytes in use, as they count towards the quota. Expired entries may still be counted for a
    /// while; live ones always are. In Redis the figure may be a second old.
    ///
    /// # Errors
    /// If the store cannot be reached.
    pub async fn usage(&self) -> Result<u64, Unavailable> {
        match &self.0 {
            NamespaceBackend::Memory(memory) => Ok(memory.usage()),
            NamespaceBackend::Intercepted(memory, interceptor) => {
                let result = |bytes: &u64| AccessResult::Number(i64::try_from(*bytes).unwrap_or(i64::MAX));
                interceptor.read(Access::Usage, || memory.usage(), result)
            }
            NamespaceBackend::File(namespace) => Ok(namespace.usage()),
            NamespaceBackend::Redis(namespace) => Box::pin(namespace.usage()).await,
        }
    }

    /// Maximum size in bytes; writes beyond it are refused.
    #[must_use]
    pub fn quota(&self) -> u64 {
        match &self.0 {
            NamespaceBackend::Memory(memory) | NamespaceBackend::Intercepted(memory, _) => memory.quota(),
            NamespaceBackend::File(namespace) => namespace.quota(),
            NamespaceBackend::Redis(namespace) => namespace.quota(),
        }
    }

    /// Deletes all entries.
    ///
    /// # Errors
    /// If the store cannot be reached.
    pub async fn clear(&self) -> Result<(), Unavailable> {
        match &self.0 {
            NamespaceBackend::Memory(memory) => {
                memory.clear();
                Ok(())
            }
            NamespaceBackend::Intercepted(memory, interceptor) => {
                interceptor.read(Access::Clear, || memory.clear(), |()| AccessResult::Done(true))
            }
            NamespaceBackend::File(namespace) => {
                namespace.clear();
                Ok(())
            }
            NamespaceBackend::Redis(namespace) => Box::pin(namespace.clear()).await,
        }
    }

    /// Deletes all entries and the namespace's own bookkeeping, and waits until Redis has removed
    /// them. For tools whose namespaces are temporary.
    ///
    /// # Errors
    /// If the store cannot be reached.
    pub async fn purge(&self) -> Result<(), Unavailable> {
        self.clear().await?;
        match &self.0 {
            NamespaceBackend::Redis(namespace) => Box::pin(namespace.purge()).await,
            NamespaceBackend::Memory(_) | NamespaceBackend::Intercepted(..) | NamespaceBackend::File(_) => {
                Ok(())
            }
        }
    }

    /// All entries of a namespace in memory, in no order: key, value, and when it expires, in
    /// milliseconds since 1970. Empty for other backends, which [`Store::entries`] walks.
    ///
    /// [`Store::entries`]: crate::Store::entries
    #[must_use]
    pub fn entries(&self) -> Vec<(String, Vec<u8>, Option<u64>)> {
        let entries = self.memory().map(Memory::entries).unwrap_or_default();
        entries.into_iter().map(|entry| (entry.key, entry.value, entry.expires)).collect()
    }

    async fn change_if(
        &self,
        key: &str,
        operation: Operation<'_>,
        ttl: Option<Duration>,
        access: Access<'_>,
    ) -> WriteResult<bool> {
        let result = |changed: &Changed| AccessResult::Done(changed.done);
        let written = self.change(key, operation, ttl, access, result).await?;
        Ok(written.map(|changed| changed.done))
    }

    async fn change(
        &self,
        key: &str,
        operation: Operation<'_>,
        ttl: Option<Duration>,
        access: Access<'_>,
        result: impl FnOnce(&Changed) -> AccessResult,
    ) -> WriteResult<Changed> {
        let lifetime = Lifetime::from(ttl);
        match &self.0 {
            NamespaceBackend::Memory(memory) => Ok(memory.change(key, operation, lifetime)),
            NamespaceBackend::Intercepted(memory, interceptor) => {
                interceptor.write(access, || memory.change(key, operation, lifetime), result)
            }
            NamespaceBackend::File(namespace) => Box::pin(namespace.change(key, operation, lifetime)).await,
            NamespaceBackend::Redis(namespace) => Box::pin(namespace.change(key, operation, lifetime)).await,
        }
    }
}
