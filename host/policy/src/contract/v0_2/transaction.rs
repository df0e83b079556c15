//! The reads and writes of one call. The writes are collected, and applied together at its end if
//! nothing that it has read was changed meanwhile.

use std::collections::BTreeMap;
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

/// Values that a call has seen, and what it wants to write. One host function of a policy can pass
/// thousands of keys, and cannot be interrupted; so they are found without looking at all of them.
#[derive(Debug, Default)]
pub(super) struct Transaction {
    /// What was remembered about the user before the call.
    remembered: Stored,
    reads: BTreeMap<String, Option<Vec<u8>>>,
    writes: BTreeMap<String, Write>,
    cleared: bool,
}

#[derive(Debug)]
struct Write {
    /// None deletes the entry.
    value: Option<Vec<u8>>,
    lifetime: Lifetime,
}

/// The key or the value of a write is not allowed.
pub(super) struct Invalid;

impl Transaction {
    pub(super) fn clear(&mut self) {
        // Most calls use neither, and to clear an empty tree costs a hundred instructions.
        if !self.reads.is_empty() {
            self.reads.clear();
        }
        if !self.writes.is_empty() {
            self.writes.clear();
        }
        self.cleared = false;
    }

    pub(super) fn remembered(&mut self, before: Stored) {
        self.remembered = before;
    }

    /// The value of a key as this call sees it; None if it has to be fetched.
    pub(super) fn seen(&self, key: &str) -> Option<Option<&[u8]>> {
        if let Some(write) = self.writes.get(key) {
            return Some(write.value.as_deref());
        }
        if self.cleared {
            return Some(None);
        }
        self.reads.get(key).map(Option::as_deref)
    }

    /// Records a value that was fetched.
    pub(super) fn fetched(&mut self, key: &str, value: Option<Vec<u8>>) {
        self.reads.insert(key.to_owned(), value);
    }

    /// Time to live of a key that this call has written; outer None if it has not.
    pub(super) fn time_to_live(&self, key: &str) -> Option<Option<Duration>> {
        match self.writes.get(key) {
            Some(Write { value: None, .. }) => Some(None),
            Some(Write { lifetime: Lifetime::For(ttl), .. }) => Some(Some(*ttl)),
            Some(Write { lifetime: Lifetime::Forever, .. }) => Some(None),
            Some(Write { lifetime: Lifetime::Keep, .. }) => None,
            None => self.cleared.then_some(None),
        }
    }

    pub(super) fn set(&mut self, key: String, value: Vec<u8>, lifetime: Lifetime) -> Result<(), Invalid> {
        if !is_allowed(&key) || value.len() > VALUE_LIMIT {
            return Err(Invalid);
        }
        self.writes.insert(key, Write { value: Some(value), lifetime });
        Ok(())
    }

    /// Writes the new value of a counter: the entry keeps its time to live.
    pub(super) fn set_counter(&mut self, key: String, value: Vec<u8>) -> Result<(), Invalid> {
        let lifetime = self.writes.get(&key).map_or(Lifetime::Keep, |write| write.lifetime);
        self.set(key, value, lifetime)
    }

    pub(super) fn delete(&mut self, key: String) {
        self.writes.insert(key, Write { value: None, lifetime: Lifetime::Forever });
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
        let entry = |(key, write): (&String, &Write)| Some(key.len() + write.value.as_ref()?.len());
        self.writes.iter().filter_map(entry).map(|bytes| bytes as u64).sum()
    }
}

/// Whether a policy may use a key. The others are those of users' memories, and keys that are too long:
/// no entry has one, and a call that has asked for many would hold them all.
pub(super) fn is_allowed(key: &str) -> bool {
    key.len() <= KEY_LIMIT && !key.starts_with(MemoryKey::PREFIX)
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
    let writes = transaction.writes.iter().map(|(key, write)| BatchWrite {
        key,
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

#[cfg(test)]
mod tests {
    use super::*;
    use reprieve_metrics::cpu_time;

    /// One call of a policy can ask for this many keys at once, and the host cannot be interrupted
    /// meanwhile.
    #[test]
    fn many_keys_of_one_call_are_found_in_no_time() {
        const KEYS: usize = 40_000;
        let keys: Vec<String> = (0..KEYS).map(|number| format!("{number:05}")).collect();
        let mut transaction = Transaction::default();
        let before = cpu_time::of_this_thread();
        for key in &keys {
            assert!(transaction.set(key.clone(), Vec::new(), Lifetime::Forever).is_ok());
        }
        for key in &keys {
            assert_eq!(transaction.seen(key), Some(Some(&b""[..])));
        }
        transaction.clear();
        for key in &keys {
            transaction.fetched(key, None);
        }
        for key in &keys {
            assert_eq!(transaction.seen(key), Some(None));
        }
        let spent = cpu_time::of_this_thread() - before;
        assert!(spent < Duration::from_secs(2), "{spent:?}");
    }

    #[test]
    fn a_policy_may_use_neither_the_keys_of_memories_nor_those_that_are_too_long() {
        for (key, expected) in [
            (String::new(), true),
            ("a".repeat(KEY_LIMIT), true),
            ("a".repeat(KEY_LIMIT + 1), false),
            ("~alice".to_owned(), false),
        ] {
            assert_eq!(is_allowed(&key), expected, "{} bytes", key.len());
        }
    }
}
