//! What each operation on a key means, whatever the home: a function of the value that is
//! there. Homes that do it elsewhere (see `redis/`) are held to this by the same tests.

use std::borrow::Cow;

use super::{Refused, counter};

/// An operation that may write.
#[derive(Clone, Copy, Debug)]
pub(super) enum Operation<'a> {
    /// Writes a value, whatever is there.
    Set(&'a [u8]),
    /// Writes a value if there is none.
    Add(&'a [u8]),
    /// Writes a value if the present one is as expected.
    CompareAndSet {
        /// What must be there.
        expected: &'a [u8],
        /// What is written then.
        value: &'a [u8],
    },
    /// Adds to a counter.
    Increment(i64),
}

/// What an operation has come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Changed {
    /// Whether it wrote.
    pub done: bool,
    /// The counter's value.
    pub number: i64,
}

/// What is to be written.
pub(super) struct Write<'a> {
    pub value: Cow<'a, [u8]>,
    /// Whether the time to live that the present value has goes on.
    pub keeps_lifetime: bool,
}

impl<'a> Operation<'a> {
    /// What to write where `present` is there, and what that comes to.
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
                    Some(octets) => counter::parse(octets).ok_or(Refused::NotANumber)?,
                    None => 0,
                };
                let number = before.saturating_add(by);
                let value = Cow::Owned(number.to_string().into_bytes());
                (Some(Write { value, keeps_lifetime: present.is_some() }), Changed { done: true, number })
            }
        })
    }
}
