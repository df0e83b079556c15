//! Somebody who sees what is done through a namespace, and may make it fail: trials of policies
//! explain decisions and play failures with it.

use std::time::Duration;

use super::{Refused, Unavailable, Written};

/// Sees each operation after it was done, or after it was kept from being done.
pub trait Witness: Send + Sync + std::fmt::Debug {
    /// Asked before each operation: whether it is to fail.
    fn interfere(&self, access: &Access<'_>) -> Option<Interference>;

    /// Told after each operation.
    fn saw(&self, access: &Access<'_>, answer: &Answer);
}

/// How an operation is made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interference {
    /// The store cannot be reached.
    Unavailable,
    /// A write is refused, as if the quota were reached. Others go on.
    Full,
}

/// An operation.
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

/// What an operation came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The value that was read.
    Value(Option<Vec<u8>>),
    /// Whether something was done.
    Done(bool),
    /// A sum or a size.
    Number(i64),
    /// Nothing was written.
    Refused(Refused),
    /// The store could not be reached.
    Unavailable,
}

impl dyn Witness {
    pub(super) fn read<T>(
        &self,
        access: Access<'_>,
        operation: impl FnOnce() -> T,
        answer: impl FnOnce(&T) -> Answer,
    ) -> Result<T, Unavailable> {
        if self.interfere(&access) == Some(Interference::Unavailable) {
            return Err(self.unavailable(access));
        }
        let result = operation();
        self.saw(&access, &answer(&result));
        Ok(result)
    }

    pub(super) fn write<T>(
        &self,
        access: Access<'_>,
        operation: impl FnOnce() -> Result<T, Refused>,
        answer: impl FnOnce(&T) -> Answer,
    ) -> Written<T> {
        let result = match self.interfere(&access) {
            Some(Interference::Unavailable) => return Err(self.unavailable(access)),
            Some(Interference::Full) => Err(Refused::Quota),
            None => operation(),
        };
        self.saw(
            &access,
            &match &result {
                Ok(done) => answer(done),
                Err(refused) => Answer::Refused(*refused),
            },
        );
        Ok(result)
    }

    fn unavailable(&self, access: Access<'_>) -> Unavailable {
        self.saw(&access, &Answer::Unavailable);
        Unavailable("as the trial wants it".to_owned())
    }
}
