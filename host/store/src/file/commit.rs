//! Batches in a file: all shards of the cache that a batch concerns are locked while it is compared
//! and written, and the write-back thread saves it in one transaction.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::MutexGuard;

use super::cache::CacheShard;
use super::namespace::{FileNamespace, Generation};
use super::{format, unique_number};
use crate::health::Monitor;
use crate::{Batch, BatchWrite, Committed, Expected, Refused, Unavailable, WriteResult, footprint};

/// A part of a batch that concerns one key.
struct Step<'a> {
    shard: usize,
    /// As it is stored.
    key: Vec<u8>,
    kind: Kind<'a>,
}

enum Kind<'a> {
    Expect(&'a Expected<'a>),
    Write(&'a BatchWrite<'a>),
}

/// A locked shard and its steps.
type Locked<'s> = (MutexGuard<'s, CacheShard>, &'s [Step<'s>]);

impl FileNamespace {
    pub async fn commit(&self, batch: &Batch<'_>) -> WriteResult<Committed> {
        if batch.is_too_long(self.open.config.value_limit) {
            return Ok(Err(Refused::TooLong));
        }
        if let Some((key, operation, lifetime)) = batch.as_operation() {
            let changed = self.change(key, operation, lifetime).await?;
            return Ok(changed.map(|changed| changed.done.into()));
        }
        Monitor::count(&self.shared.monitor.operations);
        loop {
            let generation = self.open.current.load_full();
            // A batch that clears the namespace writes into the generation that it begins.
            let next = Generation { number: unique_number(), used: AtomicU64::new(0) };
            let next = batch.clear.then(|| Arc::new(next));
            let steps = self.steps(batch, &generation, next.as_ref().unwrap_or(&generation));
            for step in &steps {
                self.prefetch(&step.key).await?;
            }
            if let Some(committed) = self.commit_steps(&steps, &generation, next)? {
                return Ok(committed);
            }
        }
    }

    /// What the batch does to each key. `present` and `written`: the generations that it is
    /// compared with and written into.
    fn steps<'a>(&self, batch: &Batch<'a>, present: &Generation, written: &Generation) -> Vec<Step<'a>> {
        let step = |generation: &Generation, key: &str, kind| {
            let key = format::key(generation.number, key.as_bytes());
            Step { shard: self.shared.shard_number(&key), key, kind }
        };
        let expected = batch.expected.iter().map(|one| step(present, one.key, Kind::Expect(one)));
        let writes = batch.effective_writes().into_iter().map(|one| step(written, one.key, Kind::Write(one)));
        let mut steps: Vec<_> = expected.chain(writes).collect();
        steps.sort_by_key(|step| step.shard);
        steps
    }

    /// Compares and writes. None if the namespace was cleared meanwhile: then the steps concern an
    /// old generation.
    fn commit_steps(
        &self,
        steps: &[Step<'_>],
        generation: &Arc<Generation>,
        next: Option<Arc<Generation>>,
    ) -> Result<Option<Result<Committed, Refused>>, Unavailable> {
        let _not_saving = self.shared.batches.read();
        // In the order of their numbers, so that no two batches wait for each other.
        let of_shards = steps.chunk_by(|one, other| one.shard == other.shard);
        let mut shards: Vec<Locked<'_>> =
            of_shards.map(|steps| (self.shared.shards[steps[0].shard].lock(), steps)).collect();
        if !Arc::ptr_eq(generation, &self.open.current.load()) {
            return Ok(None);
        }
        for (shard, steps) in &mut shards {
            for step in *steps {
                self.read_if_missing(shard, &step.key)?;
            }
        }
        let now = self.shared.clock.now_ms();
        if !shards.iter_mut().all(|(shard, steps)| is_as_expected(shard, steps, now)) {
            return Ok(Some(Ok(Committed::Conflict)));
        }
        let (before, after) = footprints(&shards);
        let quota = self.open.config.quota;
        if let Some(next) = next {
            if after > quota.max(generation.used.load(Ordering::Relaxed)) {
                return Ok(Some(Err(Refused::Quota)));
            }
            next.set_used(after);
            // Nobody sees the new generation before the writes: their shards are locked.
            let previous = self.open.current.compare_and_swap(generation, next);
            if !Arc::ptr_eq(generation, &previous) {
                return Ok(None);
            }
        } else if let Err(refused) = generation.account(before, after, quota) {
            return Ok(Some(Err(refused)));
        }
        for (shard, steps) in &mut shards {
            carry_out(shard, steps, now);
        }
        Ok(Some(Ok(Committed::Done)))
    }
}

fn is_as_expected(shard: &mut CacheShard, steps: &[Step<'_>], now: u64) -> bool {
    steps.iter().all(|step| match step.kind {
        Kind::Expect(expected) => shard.live(&step.key, now).map(|(value, _)| value) == expected.value,
        Kind::Write(_) => true,
    })
}

/// What the entries to write count now and afterwards.
fn footprints(shards: &[Locked<'_>]) -> (u64, u64) {
    let (mut before, mut after) = (0, 0);
    for (shard, steps) in shards {
        for step in *steps {
            let Kind::Write(write) = step.kind else { continue };
            let length = write.key.len();
            before += shard.peek(&step.key).map_or(0, |cached| cached.footprint(length));
            after += write.value.map_or(0, |value| footprint(length, value.len()));
        }
    }
    (before, after)
}

fn carry_out(shard: &mut CacheShard, steps: &[Step<'_>], now: u64) {
    for step in steps {
        let Kind::Write(write) = step.kind else { continue };
        match write.value {
            Some(value) => {
                let present = shard.live(&step.key, now).map(|(_, expires)| expires);
                shard.write(&step.key, Some((value.into(), write.lifetime.expiry(now, present))));
            }
            None => shard.delete(&step.key),
        }
    }
    shard.evict();
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::time::Duration;

    use super::super::File;
    use super::*;
    use crate::clock::SystemClock;
    use crate::{FileSettings, Lifetime, NamespaceConfig};

    fn open(path: &std::path::Path) -> (File, FileNamespace) {
        let settings =
            FileSettings { path: path.to_owned(), save_every: Duration::from_secs(3600), cache: 1 << 20 };
        let file = File::open(&settings, Arc::new(SystemClock)).unwrap();
        let namespace = file.namespace(NamespaceConfig::for_policies("tested", 1 << 30));
        (file, namespace)
    }

    /// Writes one number under all keys; each hundredth batch clears the namespace first.
    async fn write(namespace: &FileNamespace, keys: &[String], number: u64) {
        let value = number.to_be_bytes();
        let write = |key| BatchWrite { key, value: Some(&value), lifetime: Lifetime::Forever };
        let writes: Vec<_> = keys.iter().map(|key| write(key.as_str())).collect();
        let batch = Batch { expected: &[], clear: number.is_multiple_of(100), writes: &writes };
        assert_eq!(namespace.commit(&batch).await, Ok(Ok(Committed::Done)));
    }

    #[test]
    fn a_crash_leaves_batches_whole() {
        let folder = tempfile::tempdir().unwrap();
        let (path, crashed) = (folder.path().join("store"), folder.path().join("crashed"));
        let (file, namespace) = open(&path);
        let keys: Vec<_> = (0..20).map(|number| format!("key{number}")).collect();
        let stop = AtomicBool::new(false);
        let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        // All values and the usage after each of some crashes. Compared at the end, so that
        // a failure does not leave the thread running.
        let found: Vec<_> = std::thread::scope(|scope| {
            scope.spawn(|| {
                runtime().block_on(async {
                    for number in 1.. {
                        if stop.load(Ordering::SeqCst) {
                            return;
                        }
                        write(&namespace, &keys, number).await;
                    }
                });
            });
            let found = (0..30).map(|_| {
                let saved = runtime().block_on(file.save());
                // A crash leaves the last saved state.
                std::fs::copy(&path, &crashed).ok();
                let (_after, crashed) = open(&crashed);
                let get = |key| runtime().block_on(crashed.get(key));
                (saved, keys.iter().map(|key| get(key)).collect::<Vec<_>>(), crashed.usage())
            });
            let found = found.collect();
            stop.store(true, Ordering::SeqCst);
            found
        });
        let counted: u64 = keys.iter().map(|key| footprint(key.len(), 8)).sum();
        for (round, (saved, values, usage)) in found.into_iter().enumerate() {
            assert!(saved && values.iter().all(|value| *value == values[0]), "round {round}: {values:?}");
            assert_eq!(usage, if values[0] == Ok(None) { 0 } else { counted }, "round {round}");
        }
    }
}
