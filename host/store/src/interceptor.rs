//! Observes the operations of a namespace and injects faults into them. The test harness for
//! policies uses it to explain decisions and to simulate failures.

use std::time::Duration;

use super::{Batch, Refused, Ttl, Unavailable, WriteResult};

/// Sees every operation of a namespace, and may make it fail.
pub trait Interceptor: Send + Sync + std::fmt::Debug {
    /// Called before each operation; a fault that it returns is injected.
    fn inject_fault(&self, access: &Access<'_>) -> Option<Fault>;

    /// Called after each operation, also if a fault was injected.
    fn observe(&self, access: &Access<'_>, result: &AccessResult);
}

/// How an operation is made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The store cannot be reached.
    Unavailable,
    /// Writes are refused as if the quota were reached; other operations succeed.
    Full,
}

/// An operation and its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Access<'a> {
    Get { key: &'a str },
    Ttl { key: &'a str },
    Set { key: &'a str, value: &'a [u8], ttl: Option<Duration> },
    Add { key: &'a str, value: &'a [u8], ttl: Option<Duration> },
    CompareAndSet { key: &'a str, expected: &'a [u8], value: &'a [u8], ttl: Option<Duration> },
    Increment { key: &'a str, by: i64, ttl: Option<Duration> },
    Delete { key: &'a str },
    Usage,
    Clear,
    Commit(Batch<'a>),
}

/// Result of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessResult {
    /// The value that was read.
    Value(Option<Vec<u8>>),
    /// The time that the entry has left; None if there is no entry.
    Ttl(Option<Ttl>),
    /// Whether anything was written or deleted; of a batch, whether there was no conflict.
    Done(bool),
    /// The new value of a counter, or a size in bytes.
    Number(i64),
    /// The write was refused.
    Refused(Refused),
    /// The store could not be reached.
    Unavailable,
}

impl dyn Interceptor {
    pub(super) fn read<T>(
        &self,
        access: Access<'_>,
        operation: impl FnOnce() -> T,
        result: impl FnOnce(&T) -> AccessResult,
    ) -> Result<T, Unavailable> {
        if self.inject_fault(&access) == Some(Fault::Unavailable) {
            return Err(self.unavailable(access));
        }
        let done = operation();
        self.observe(&access, &result(&done));
        Ok(done)
    }

    pub(super) fn write<T>(
        &self,
        access: Access<'_>,
        operation: impl FnOnce() -> Result<T, Refused>,
        result: impl FnOnce(&T) -> AccessResult,
    ) -> WriteResult<T> {
        let written = match self.inject_fault(&access) {
            Some(Fault::Unavailable) => return Err(self.unavailable(access)),
            Some(Fault::Full) => Err(Refused::Quota),
            None => operation(),
        };
        let result = match &written {
            Ok(done) => result(done),
            Err(refused) => AccessResult::Refused(*refused),
        };
        self.observe(&access, &result);
        Ok(written)
    }

    fn unavailable(&self, access: Access<'_>) -> Unavailable {
        self.observe(&access, &AccessResult::Unavailable);
        Unavailable("simulated failure".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;
    use crate::clock::SystemClock;
    use crate::{BatchWrite, Committed, Lifetime, Namespace};

    /// Injects one fault, and keeps what was observed.
    #[derive(Debug, Default)]
    struct Observer {
        fault: Mutex<Option<Fault>>,
        observed: Mutex<Vec<(String, AccessResult)>>,
    }

    impl Interceptor for Observer {
        fn inject_fault(&self, _: &Access<'_>) -> Option<Fault> {
            *self.fault.lock()
        }

        fn observe(&self, access: &Access<'_>, result: &AccessResult) {
            let name = format!("{access:?}");
            let name = name.split([' ', '(']).next().unwrap_or_default().to_owned();
            self.observed.lock().push((name, result.clone()));
        }
    }

    #[tokio::test]
    async fn batches_and_their_reads_are_observed_and_made_to_fail() {
        let observer = Arc::new(Observer::default());
        let memory = Namespace::in_memory(1 << 20, Arc::new(SystemClock));
        let space = memory.intercepted_by(observer.clone());
        let write = BatchWrite { key: "a", value: Some(b"1"), lifetime: Lifetime::Forever };
        let delete = BatchWrite { value: None, ..write };
        let [writes, deletes] = [[write], [delete]];
        let write = Batch { writes: &writes, ..Batch::default() };
        let delete = Batch { writes: &deletes, ..Batch::default() };
        space.commit(&write).await.unwrap().unwrap();
        assert_eq!(space.get_many(&["a", "b"]).await.unwrap(), [Some(b"1".to_vec()), None]);
        assert_eq!(space.ttl("a").await.unwrap(), Some(Ttl::Forever));
        *observer.fault.lock() = Some(Fault::Full);
        assert_eq!(space.commit(&write).await.unwrap(), Err(Refused::Quota));
        assert_eq!(space.commit(&delete).await.unwrap(), Ok(Committed::Done));
        *observer.fault.lock() = Some(Fault::Unavailable);
        assert!(space.commit(&write).await.is_err() && space.get_many(&["a"]).await.is_err());
        assert_eq!(memory.get("a").await.unwrap(), None);
        let observed = std::mem::take(&mut *observer.observed.lock());
        let observed: Vec<_> = observed.iter().map(|(name, result)| (&**name, result.clone())).collect();
        let expected = [
            ("Commit", AccessResult::Done(true)),
            ("Get", AccessResult::Value(Some(b"1".to_vec()))),
            ("Get", AccessResult::Value(None)),
            ("Ttl", AccessResult::Ttl(Some(Ttl::Forever))),
            ("Commit", AccessResult::Refused(Refused::Quota)),
            ("Commit", AccessResult::Done(true)),
            ("Commit", AccessResult::Unavailable),
            ("Get", AccessResult::Unavailable),
        ];
        assert_eq!(observed, expected);
    }
}
