//! The meaning of each write, in every backend: a function of the current value. Redis carries
//! them out in its own scripts (see `redis/change.lua`); the same tests hold both.

use std::borrow::Cow;

use super::{Refused, counter};

/// An operation that may write a value.
#[derive(Clone, Copy, Debug)]
pub(super) enum Operation<'a> {
    /// Writes a value.
    Set(&'a [u8]),
    /// Writes a value if there is none.
    Add(&'a [u8]),
    /// Writes a value if the current one is `expected`.
    CompareAndSet { expected: &'a [u8], value: &'a [u8] },
    /// Adds to a counter.
    Increment(i64),
}

/// Result of an operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Changed {
    /// Whether it wrote.
    pub done: bool,
    /// New value of the counter; 0 for other operations.
    pub number: i64,
}

/// A value to write.
pub(super) struct Write<'a> {
    pub value: Cow<'a, [u8]>,
    /// Whether the entry keeps its current expiry time.
    pub keeps_lifetime: bool,
}

impl<'a> Operation<'a> {
    /// The value to write if the current value is `present`, and the result of the operation.
    pub fn apply(self, present: Option<&[u8]>) -> Result<(Option<Write<'a>>, Changed), Refused> {
        let write = |value: &'a [u8]| Some(Write { value: Cow::Borrowed(value), keeps_lifetime: false });
        let done = Changed { done: true, number: 0 };
        Ok(match self {
            Self::Set(value) => (write(value), done),
            Self::Add(value) if present.is_none() => (write(value), done),
            Self::CompareAndSet { expected, value } if present == Some(expected) => (write(value), done),
            Self::Add(_) | Self::CompareAndSet { .. } => (None, Changed::default()),
            Self::Increment(by) => {
                let before = match present {
                    Some(bytes) => counter::parse(bytes).ok_or(Refused::NotANumber)?,
                    None => 0,
                };
                let number = before.saturating_add(by);
                let value = Cow::Owned(number.to_string().into_bytes());
                (Some(Write { value, keeps_lifetime: present.is_some() }), Changed { done: true, number })
            }
        })
    }
}
