//! The reads and writes of one call. The writes are collected, and applied together at its end if
//! nothing that it has read was changed meanwhile.

use std::time::Duration;

use reprieve_store::{
    Batch, BatchWrite, Committed, Expected, KEY_LIMIT, Lifetime, Refused, Unavailable, VALUE_LIMIT,
};
use wasmtime::{Result, Store};

use super::memory::Stored;
use super::types;
use crate::MemoryKey;
use crate::instance::State;
use crate::metrics::Overrun;

/// Values that a call has seen, and what it wants to write.
#[derive(Debug, Default)]
pub(super) struct Transaction {
    /// What was remembered about the user before the call.
    remembered: Stored,
    reads: Vec<(String, Option<Vec<u8>>)>,
    /// At most one for each key.
    writes: Vec<Write>,
    cleared: bool,
}

#[derive(Debug)]
struct Write {
    key: String,
    /// None deletes the entry.
    value: Option<Vec<u8>>,
    lifetime: Lifetime,
}

/// The key or the value of a write is not allowed.
pub(super) struct Invalid;

impl Transaction {
    pub(super) fn clear(&mut self) {
        self.reads.clear();
        self.writes.clear();
        self.cleared = false;
    }

    pub(super) fn remembered(&mut self, before: Stored) {
        self.remembered = before;
    }

    /// The value of a key as this call sees it; None if it has to be fetched.
    pub(super) fn seen(&self, key: &str) -> Option<Option<&[u8]>> {
        if let Some(write) = self.written(key) {
            return Some(write.value.as_deref());
        }
        if self.cleared {
            return Some(None);
        }
        let read = self.reads.iter().find(|(read, _)| read == key)?;
        Some(read.1.as_deref())
    }

    /// Records a value that was fetched.
    pub(super) fn fetched(&mut self, key: &str, value: Option<Vec<u8>>) {
        self.reads.push((key.to_owned(), value));
    }

    /// Time to live of a key that this call has written; outer None if it has not.
    pub(super) fn time_to_live(&self, key: &str) -> Option<Option<Duration>> {
        match self.written(key) {
            Some(Write { value: None, .. }) => Some(None),
            Some(Write { lifetime: Lifetime::For(ttl), .. }) => Some(Some(*ttl)),
            Some(Write { lifetime: Lifetime::Forever, .. }) => Some(None),
            Some(Write { lifetime: Lifetime::Keep, .. }) => None,
            None => self.cleared.then_some(None),
        }
    }

    pub(super) fn set(&mut self, key: String, value: Vec<u8>, lifetime: Lifetime) -> Result<(), Invalid> {
        if !is_allowed(&key) || key.len() > KEY_LIMIT || value.len() > VALUE_LIMIT {
            return Err(Invalid);
        }
        self.write(Write { key, value: Some(value), lifetime });
        Ok(())
    }

    /// Writes the new value of a counter: the entry keeps its time to live.
    pub(super) fn set_counter(&mut self, key: String, value: Vec<u8>) -> Result<(), Invalid> {
        let lifetime = self.written(&key).map_or(Lifetime::Keep, |write| write.lifetime);
        self.set(key, value, lifetime)
    }

    pub(super) fn delete(&mut self, key: String) {
        self.write(Write { key, value: None, lifetime: Lifetime::Forever });
    }

    /// Deletes everything, including what is remembered about the user.
    pub(super) fn delete_all(&mut self) {
        self.writes.clear();
        self.cleared = true;
    }

    pub(super) fn is_cleared(&self) -> bool {
        self.cleared
    }

    /// Bytes of keys and values that are waiting to be written.
    pub(super) fn pending_bytes(&self) -> u64 {
        let entry = |write: &Write| write.value.as_ref().map(|value| write.key.len() + value.len());
        self.writes.iter().filter_map(entry).map(|bytes| bytes as u64).sum()
    }

    fn written(&self, key: &str) -> Option<&Write> {
        self.writes.iter().find(|write| write.key == key)
    }

    fn write(&mut self, write: Write) {
        match self.writes.iter_mut().find(|earlier| earlier.key == write.key) {
            Some(earlier) => *earlier = write,
            None => self.writes.push(write),
        }
    }
}

/// Whether a policy may use a key: the others are those of users' memories.
pub(super) fn is_allowed(key: &str) -> bool {
    !key.starts_with(MemoryKey::PREFIX)
}

/// Applies what a call wants to write and remember. False if another login has changed meanwhile
/// what it has read: then nothing is written.
pub(super) async fn commit(store: &mut Store<State>, remember: Option<types::Memory>) -> Result<bool> {
    let state = store.data_mut();
    if remember.is_none() && state.call.transaction.writes.is_empty() && !state.call.transaction.cleared {
        return Ok(true);
    }
    match commit_writes(state, remember.map(Stored::new)).await? {
        Ok(committed) => Ok(committed == Committed::Done),
        // The verdict stands: mail must flow.
        Err(refused) => {
            state.log.overran(match refused {
                Refused::Quota => Overrun::StoreQuota,
                Refused::TooLong | Refused::NotANumber => Overrun::StoreLength,
            });
            Ok(true)
        }
    }
}

async fn commit_writes(
    state: &mut State,
    remember: Option<Stored>,
) -> Result<Result<Committed, Refused>, Unavailable> {
    let State { call, namespace, meter, memory_ttl, .. } = state;
    let Some(login) = &call.login else { return Ok(Ok(Committed::Done)) };
    let key = login.claim.key.stored();
    let transaction = &call.transaction;
    let own = remember.as_ref().map(|memory| BatchWrite {
        key,
        value: memory.value(),
        lifetime: Lifetime::For(*memory_ttl),
    });
    let seen = Expected { key, value: transaction.remembered.value() };
    if let Some(own) = own
        && transaction.writes.is_empty()
        && transaction.reads.is_empty()
    {
        let batch = Batch { expected: &[seen], clear: transaction.cleared, writes: &[own] };
        return meter.ask(namespace.commit(&batch)).await;
    }
    let reads = transaction.reads.iter();
    let expected: Vec<_> = std::iter::once(seen)
        .chain(reads.map(|(key, value)| Expected { key, value: value.as_deref() }))
        .collect();
    let writes = transaction.writes.iter().map(|write| BatchWrite {
        key: &write.key,
        value: write.value.as_deref(),
        lifetime: write.lifetime,
    });
    let writes: Vec<_> = own.into_iter().chain(writes).collect();
    let batch = Batch { expected: &expected, clear: transaction.cleared, writes: &writes };
    meter.ask(namespace.commit(&batch)).await
}

/// A number as the store keeps it: the decimal digits of a counter.
pub(super) fn digits(number: i32) -> Vec<u8> {
    number.to_string().into_bytes()
}

/// The number of a value, if it is one.
pub(super) fn number(value: &[u8]) -> Option<i32> {
    let number: i64 = std::str::from_utf8(value).ok()?.parse().ok()?;
    // Counters of 0.1 have 64 bits.
    Some(number.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32)
}
