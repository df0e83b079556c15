//! Batches in memory: all shards that a batch concerns are locked while it is compared and written.

use super::{Memory, Shard, shard_number};
use crate::{Batch, BatchWrite, Committed, Expected, Refused, VALUE_LIMIT, footprint};
use reprieve_sync::MutexGuard;

/// A part of a batch that concerns one shard.
struct Step<'a> {
    shard: usize,
    kind: Kind<'a>,
}

/// In the order in which a shard carries them out. The numbers are hashes of keys.
enum Kind<'a> {
    Expect(u64, &'a Expected<'a>),
    Clear,
    Write(u64, &'a BatchWrite<'a>),
}

/// A locked shard and its steps.
type Locked<'s> = (MutexGuard<'s, Shard>, &'s [Step<'s>]);

impl Memory {
    pub(crate) fn commit(&self, batch: &Batch<'_>) -> Result<Committed, Refused> {
        if batch.is_too_long(VALUE_LIMIT) {
            return Err(Refused::TooLong);
        }
        if let Some((key, operation, lifetime)) = batch.as_operation() {
            return Ok(self.change(key, operation, lifetime)?.done.into());
        }
        self.count();
        self.sweep_all_if_exact();
        let now = self.clock.now_ms();
        let steps = self.steps(batch);
        // In the order of their numbers, so that no two batches wait for each other.
        let of_shards = steps.chunk_by(|one, other| one.shard == other.shard);
        let mut shards: Vec<Locked<'_>> =
            of_shards.map(|steps| (self.shards[steps[0].shard].lock(), steps)).collect();
        for (shard, _) in &mut shards {
            self.sweep(shard, now);
        }
        if !shards.iter().all(|(shard, steps)| is_as_expected(shard, steps, now)) {
            return Ok(Committed::Conflict);
        }
        self.account_for(&shards)?;
        for (shard, steps) in &mut shards {
            self.carry_out(shard, steps, now);
        }
        Ok(Committed::Done)
    }

    fn steps<'a>(&self, batch: &Batch<'a>) -> Vec<Step<'a>> {
        let mut steps = Vec::with_capacity(batch.expected.len() + batch.writes.len());
        for expected in batch.expected {
            let hash = self.hash(expected.key.as_bytes());
            steps.push(Step { shard: shard_number(hash), kind: Kind::Expect(hash, expected) });
        }
        if batch.clear {
            steps.extend((0..self.shards.len()).map(|shard| Step { shard, kind: Kind::Clear }));
        }
        for write in batch.effective_writes() {
            let hash = self.hash(write.key.as_bytes());
            steps.push(Step { shard: shard_number(hash), kind: Kind::Write(hash, write) });
        }
        // Stable: the steps of a shard stay in their order.
        steps.sort_by_key(|step| step.shard);
        steps
    }

    /// Counts what the batch frees and takes.
    fn account_for(&self, shards: &[Locked<'_>]) -> Result<(), Refused> {
        let (mut before, mut after) = (0, 0);
        for (shard, steps) in shards {
            if !shard.entries.has_room(steps.len()) {
                return Err(Refused::Quota);
            }
            let mut is_cleared = false;
            for step in *steps {
                match step.kind {
                    Kind::Expect(..) => {}
                    Kind::Clear => {
                        is_cleared = true;
                        before += shard.footprint();
                    }
                    Kind::Write(hash, write) => {
                        let found = shard.find(hash, write.key.as_bytes()).filter(|_| !is_cleared);
                        before += found.map_or(0, |(_, entry)| entry.footprint());
                        after += write.value.map_or(0, |value| footprint(write.key.len(), value.len()));
                    }
                }
            }
        }
        self.account(before, after)
    }

    fn carry_out(&self, shard: &mut Shard, steps: &[Step<'_>], now: u64) {
        for step in steps {
            match step.kind {
                Kind::Expect(..) => {}
                Kind::Clear => *shard = Shard::default(),
                Kind::Write(hash, write) => {
                    let key = write.key.as_bytes();
                    let slot = shard.find(hash, key).map(|(slot, _)| slot);
                    if let Some(value) = write.value {
                        let present = shard.find_live(hash, key, now).map(|entry| entry.expires);
                        let expires = write.lifetime.expiry(now, present);
                        let written = self.write(shard, hash, key, slot, value, expires);
                        debug_assert!(written, "there was room");
                    } else if let Some(slot) = slot {
                        shard.remove(hash, slot);
                    }
                }
            }
        }
    }
}

fn is_as_expected(shard: &Shard, steps: &[Step<'_>], now: u64) -> bool {
    steps.iter().all(|step| match step.kind {
        Kind::Expect(hash, expected) => {
            let present = shard.find_live(hash, expected.key.as_bytes(), now);
            present.map(|entry| entry.value) == expected.value
        }
        Kind::Clear | Kind::Write(..) => true,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::SystemClock;
    use crate::{Expected, Lifetime};

    /// Each thread moves units between accounts; now and then it clears the namespace and writes all
    /// accounts again.
    #[test]
    fn threads_that_retry_after_conflicts_lose_no_unit() {
        const ACCOUNTS: usize = 16;
        const THREADS: usize = 4;
        let keys: Vec<_> = (0..ACCOUNTS).map(|number| format!("account {number}")).collect();
        let memory = Memory::new(1 << 20, Arc::new(SystemClock), false);
        let read = |key: &str| memory.get(key).map(|value| value[0]);
        let write = |expected: &[(usize, Option<u8>)], clear, written: &[(usize, u8)]| {
            let before: Vec<_> =
                expected.iter().map(|(at, value)| (at, value.map(|value| [value]))).collect();
            let expected: Vec<_> = before
                .iter()
                .map(|(at, value)| Expected {
                    key: &keys[**at],
                    value: value.as_ref().map(<[u8; 1]>::as_slice),
                })
                .collect();
            let values: Vec<_> = written.iter().map(|(at, value)| (at, [*value])).collect();
            let writes: Vec<_> = values
                .iter()
                .map(|(at, value)| BatchWrite {
                    key: &keys[**at],
                    value: Some(value),
                    lifetime: Lifetime::Forever,
                })
                .collect();
            memory.commit(&Batch { expected: &expected, clear, writes: &writes }).unwrap() == Committed::Done
        };
        let all: Vec<_> = (0..ACCOUNTS).map(|at| (at, 10)).collect();
        assert!(write(&[], false, &all));
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let (keys, write) = (&keys, &write);
                scope.spawn(move || {
                    for round in 0..5_000 {
                        let (from, to) =
                            ((round * 7 + thread) % ACCOUNTS, (round * 5 + thread * 3 + 1) % ACCOUNTS);
                        let (Some(give), Some(take)) = (read(&keys[from]), read(&keys[to])) else { continue };
                        if from != to && give > 0 {
                            let expected = [(from, Some(give)), (to, Some(take))];
                            write(&expected, false, &[(from, give - 1), (to, take + 1)]);
                        }
                        if round % 50 == 0 {
                            let seen: Vec<_> =
                                keys.iter().enumerate().map(|(at, key)| (at, read(key))).collect();
                            let same: Vec<_> =
                                seen.iter().filter_map(|(at, value)| Some((*at, (*value)?))).collect();
                            write(&seen, true, &same);
                        }
                    }
                });
            }
        });
        let sum: usize = keys.iter().map(|key| usize::from(read(key).unwrap())).sum();
        assert_eq!(sum, ACCOUNTS * 10);
        let counted: u64 = keys.iter().map(|key| footprint(key.len(), 1)).sum();
        assert_eq!(memory.usage(), counted);
    }
}
