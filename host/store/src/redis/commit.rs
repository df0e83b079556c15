//! Batches in Redis. The script `commit.lua` compares and writes what is in one hash slot: outside
//! a cluster the whole batch.

use redis::Cmd;

use super::namespace::{RedisNamespace, Slot, ttl_argument};
use crate::{
    Batch, BatchWrite, Committed, ENTRY_OVERHEAD_BYTES, Expected, Refused, Unavailable, WriteResult,
};

/// The time to live by which the script knows that an entry is to be deleted.
const DELETE: i64 = -3;

/// What a batch does in one hash slot.
#[derive(Default)]
struct SlotBatch<'a> {
    expected: Vec<&'a Expected<'a>>,
    writes: Vec<&'a BatchWrite<'a>>,
}

/// The reply of the script.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reply {
    Done,
    Conflict,
    OverQuota,
}

impl RedisNamespace {
    pub async fn commit(&self, batch: &Batch<'_>) -> WriteResult<Committed> {
        if batch.is_too_long(self.0.config.value_limit) {
            return Ok(Err(Refused::TooLong));
        }
        if let Some((key, operation, lifetime)) = batch.as_operation() {
            let changed = self.change(key, operation, lifetime).await?;
            return Ok(changed.map(|changed| changed.done.into()));
        }
        let slots = self.by_slot(batch);
        let comparing = slots.iter().filter(|(_, part)| !part.expected.is_empty()).count();
        if comparing > 1 && !self.is_as_expected(batch.expected).await? {
            return Ok(Ok(Committed::Conflict));
        }
        for (slot, part) in slots {
            match self.commit_in(slot, batch.clear, &part).await? {
                Reply::Done => {}
                Reply::Conflict => return Ok(Ok(Committed::Conflict)),
                Reply::OverQuota => return Ok(Err(Refused::Quota)),
            }
        }
        if batch.clear {
            self.remove_old_entries();
        }
        Ok(Ok(Committed::Done))
    }

    /// The batch by hash slots, those that compare first: all slots if the batch clears the
    /// namespace, otherwise those that it concerns.
    fn by_slot<'a>(&self, batch: &Batch<'a>) -> Vec<(&Slot, SlotBatch<'a>)> {
        let mut slots: Vec<_> = self.0.slots.iter().map(|slot| (slot, SlotBatch::default())).collect();
        for expected in batch.expected {
            slots[self.slot_number(expected.key)].1.expected.push(expected);
        }
        for write in batch.effective_writes() {
            slots[self.slot_number(write.key)].1.writes.push(write);
        }
        slots.retain(|(_, part)| batch.clear || !part.expected.is_empty() || !part.writes.is_empty());
        slots.sort_by_key(|(_, part)| part.expected.is_empty());
        slots
    }

    async fn is_as_expected(&self, expected: &[Expected<'_>]) -> Result<bool, Unavailable> {
        let keys: Vec<_> = expected.iter().map(|expected| expected.key).collect();
        let values = self.get_many(&keys).await?;
        Ok(values.iter().zip(expected).all(|(value, expected)| value.as_deref() == expected.value))
    }

    async fn commit_in(&self, slot: &Slot, clear: bool, part: &SlotBatch<'_>) -> Result<Reply, Unavailable> {
        let arguments = |command: &mut Cmd| {
            command.arg(4 + part.expected.len() + part.writes.len()).arg(&slot.bookkeeping[..4]);
            let expected = part.expected.iter().map(|expected| expected.key);
            for key in expected.chain(part.writes.iter().map(|write| write.key)) {
                command.arg(slot.entry(key));
            }
            command.arg(u8::from(clear)).arg(slot.quota).arg(part.expected.len());
            for expected in &part.expected {
                command.arg(u8::from(expected.value.is_some())).arg(expected.value.unwrap_or_default());
            }
            for write in &part.writes {
                let ttl = write.value.map_or(DELETE, |_| ttl_argument(write.lifetime));
                let overhead = ENTRY_OVERHEAD_BYTES + write.key.len() as u64;
                command.arg(ttl).arg(overhead).arg(write.value.unwrap_or_default());
            }
        };
        let shared = &self.0.shared;
        let (code, used): (i64, i64) = shared.script(&shared.scripts.commit, arguments).await?;
        self.report_usage(slot, used);
        Ok(match code {
            0 => Reply::Conflict,
            -1 => Reply::OverQuota,
            _ => Reply::Done,
        })
    }
}
