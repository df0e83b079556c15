//! Observes the operations of a namespace and injects faults into them. The test harness for
//! policies uses it to explain decisions and to simulate failures.

use std::time::Duration;

use super::{Refused, Unavailable, WriteResult};

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
    Set { key: &'a str, value: &'a [u8], ttl: Option<Duration> },
    Add { key: &'a str, value: &'a [u8], ttl: Option<Duration> },
    CompareAndSet { key: &'a str, expected: &'a [u8], value: &'a [u8], ttl: Option<Duration> },
    Increment { key: &'a str, by: i64, ttl: Option<Duration> },
    Delete { key: &'a str },
    Usage,
    Clear,
}

/// Result of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessResult {
    /// The value that was read.
    Value(Option<Vec<u8>>),
    /// Whether anything was written or deleted.
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
