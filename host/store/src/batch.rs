//! Writes that are applied together: see [`Namespace::commit`](crate::Namespace::commit).

use std::time::Duration;

use super::operation::Operation;
use super::{KEY_LIMIT, NEVER};

/// The writes of one call, applied together if everything that the call has read is still so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Batch<'a> {
    /// What the call has read. Compared with the present values before anything is written.
    pub expected: &'a [Expected<'a>],
    /// Whether all entries are deleted before the writes.
    pub clear: bool,
    /// The writes. Of several to one key, only the last counts.
    pub writes: &'a [BatchWrite<'a>],
}

/// A value that a call has read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected<'a> {
    /// Its key.
    pub key: &'a str,
    /// The value; None if there was none.
    pub value: Option<&'a [u8]>,
}

/// A write of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchWrite<'a> {
    /// Its key.
    pub key: &'a str,
    /// The new value; None deletes the entry.
    pub value: Option<&'a [u8]>,
    /// When the written entry expires.
    pub lifetime: Lifetime,
}

/// When a written entry expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// Never.
    Forever,
    /// After this time to live, which starts now.
    For(Duration),
    /// When the present entry expires, as counters do; never if there is none.
    Keep,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Committed {
    /// All of it was written.
    Done,
    /// Something that the call has read was changed meanwhile. Nothing was written.
    Conflict,
}

/// How much time an entry has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ttl {
    /// It never expires.
    Forever,
    /// It expires after this time.
    Left(Duration),
}

impl<'a> Batch<'a> {
    /// The same as an operation on one key, which every backend carries out faster: its key,
    /// the operation and its time to live. None if the batch takes more than that.
    pub(super) fn as_operation(&self) -> Option<(&'a str, Operation<'a>, Lifetime)> {
        let &[BatchWrite { key, value: Some(value), lifetime }] = self.writes else { return None };
        let operation = match *self.expected {
            _ if self.clear => return None,
            [] => Operation::Set(value),
            [expected] if expected.key != key => return None,
            [Expected { value: Some(expected), .. }] => Operation::CompareAndSet { expected, value },
            [Expected { value: None, .. }] => Operation::Add(value),
            [..] => return None,
        };
        Some((key, operation, lifetime))
    }

    /// Whether it writes no values: then a full store does not refuse it.
    pub(super) fn only_deletes(&self) -> bool {
        self.writes.iter().all(|write| write.value.is_none())
    }

    /// Whether a key or a value to write is too long.
    pub(super) fn is_too_long(&self, value_limit: usize) -> bool {
        let is_too_long = |write: &BatchWrite<'_>| {
            write.value.is_some_and(|value| write.key.len() > KEY_LIMIT || value.len() > value_limit)
        };
        self.writes.iter().any(is_too_long)
    }

    /// The writes that count, sorted by key.
    pub(super) fn effective_writes(&self) -> Vec<&'a BatchWrite<'a>> {
        let mut writes: Vec<_> = self.writes.iter().rev().collect();
        // Stable, so that the last write to a key comes first, and remains.
        writes.sort_by_key(|write| write.key);
        writes.dedup_by_key(|write| write.key);
        writes
    }
}

impl From<Option<Duration>> for Lifetime {
    fn from(ttl: Option<Duration>) -> Self {
        ttl.map_or(Self::Forever, Self::For)
    }
}

impl Lifetime {
    /// When an entry that is written now expires, in milliseconds since 1970. `present`: when the
    /// entry that it replaces expires.
    pub(super) fn expiry(self, now_ms: u64, present: Option<u64>) -> u64 {
        match self {
            Self::Forever => NEVER,
            Self::For(ttl) => {
                now_ms.saturating_add(u64::try_from(ttl.as_millis()).unwrap_or(NEVER)).min(NEVER - 1)
            }
            Self::Keep => present.unwrap_or(NEVER),
        }
    }
}

impl From<bool> for Committed {
    /// From whether the batch was written.
    fn from(done: bool) -> Self {
        if done { Self::Done } else { Self::Conflict }
    }
}

impl Ttl {
    /// Of an entry that expires at this time, in milliseconds since 1970; None if it has expired.
    pub(super) fn of(expires: u64, now_ms: u64) -> Option<Self> {
        match expires {
            NEVER => Some(Self::Forever),
            expires => {
                let left = expires.checked_sub(now_ms).filter(|&left| left > 0)?;
                Some(Self::Left(Duration::from_millis(left)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write<'a>(key: &'a str, value: &'a [u8]) -> BatchWrite<'a> {
        BatchWrite { key, value: Some(value), lifetime: Lifetime::Forever }
    }

    #[test]
    fn only_the_last_write_to_a_key_counts() {
        let writes = [write("b", b"1"), write("a", b"2"), write("b", b"3"), write("b", b"4")];
        let batch = Batch { writes: &writes, ..Batch::default() };
        assert_eq!(batch.effective_writes(), [&write("a", b"2"), &write("b", b"4")]);
    }

    #[test]
    fn a_batch_of_one_key_is_an_operation() {
        let (one, other) = ([write("a", b"1")], [write("a", b"1"), write("b", b"2")]);
        let is_operation = |expected: &[Expected<'_>], clear, writes: &[BatchWrite<'_>]| {
            Batch { expected, clear, writes }.as_operation().is_some()
        };
        let at = |key| Expected { key, value: None };
        assert!(is_operation(&[], false, &one) && is_operation(&[at("a")], false, &one));
        assert!(!is_operation(&[at("b")], false, &one) && !is_operation(&[at("a"), at("a")], false, &one));
        assert!(!is_operation(&[], true, &one) && !is_operation(&[], false, &other));
    }
}
