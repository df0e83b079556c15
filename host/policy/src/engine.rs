//! The WebAssembly engine of the process, and the thread that advances its epochs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use wasmtime::{Config, InstanceAllocationStrategy, PoolingAllocationConfig};

use super::cache::Cache;

/// How often a running guest is interrupted, to check its budget and to yield to other tasks.
const TICK: Duration = Duration::from_millis(4);
/// How often the thread checks whether a guest is running. Calls take microseconds, so most are never
/// noticed, and a long one is noticed within this time.
const LOOK: Duration = Duration::from_millis(16);
/// Checks without any call after which the thread sleeps until the next call.
const IDLE_LOOKS: u32 = 2;

/// Stack for host functions that a guest calls.
const STACK_OF_THE_HOST: usize = 512 << 10;
/// Upper limit of memories, tables and instances for which address space is reserved.
const MOST_POOLED: u32 = 100_000;

/// The sizes that an engine reserves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineSize {
    /// Largest memory of an instance, in bytes.
    pub memory: u64,
    /// Stack of an instance, in bytes.
    pub stack: u64,
    /// Instances at one time, of all policies on all threads.
    pub instances: u32,
}

/// Compiles and runs components. Dropping it ends its thread.
#[derive(Debug)]
pub struct Engine {
    engine: wasmtime::Engine,
    size: EngineSize,
    cache: Option<Cache>,
    ticker: Arc<Ticker>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
pub(super) struct Ticker {
    /// Calls since the start; a change since the last tick keeps the thread awake.
    calls: AtomicU64,
    /// Calls in progress.
    active: AtomicU64,
    asleep: AtomicBool,
    ended: Mutex<bool>,
    wake: Condvar,
}

impl Engine {
    /// An engine for policies of these sizes. `cache`: the cache of compiled code.
    ///
    /// # Errors
    /// If the machine does not support it.
    pub fn new(size: EngineSize, cache: Option<&Cache>) -> anyhow::Result<Arc<Self>> {
        let engine = match wasmtime::Engine::new(&config(size, true)) {
            Ok(engine) => engine,
            Err(error) => {
                // Address space may be limited; then instances cost a little more to create.
                tracing::warn!(%error, "cannot reserve address space for policies; their instances start more slowly");
                wasmtime::Engine::new(&config(size, false)).map_err(|error| anyhow::anyhow!("{error:#}"))?
            }
        };
        let ticker = Arc::new(Ticker::default());
        let thread = std::thread::Builder::new().name("epochs".to_owned()).spawn({
            let (engine, ticker) = (engine.clone(), ticker.clone());
            move || ticker.run(&engine)
        })?;
        Ok(Arc::new(Self { engine, size, cache: cache.cloned(), ticker, thread: Some(thread) }))
    }

    pub(super) fn wasmtime(&self) -> &wasmtime::Engine {
        &self.engine
    }

    /// Bytes of stack for a call: for the guest, and for the host functions that it calls.
    pub(super) fn stack(&self) -> usize {
        stack(self.size)
    }

    pub(super) fn size(&self) -> EngineSize {
        self.size
    }

    pub(super) fn cache(&self) -> Option<&Cache> {
        self.cache.as_ref()
    }

    /// Keeps the epochs advancing while the guard lives.
    pub(super) fn enter(&self) -> Running<'_> {
        self.ticker.active.fetch_add(1, Ordering::SeqCst);
        self.ticker.calls.fetch_add(1, Ordering::Relaxed);
        if self.ticker.asleep.load(Ordering::SeqCst) {
            let _guard = self.ticker.ended.lock();
            self.ticker.wake.notify_all();
        }
        Running(&self.ticker)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        *self.ticker.ended.lock() = true;
        self.ticker.wake.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A call in progress.
pub(super) struct Running<'a>(&'a Ticker);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Ticker {
    fn run(&self, engine: &wasmtime::Engine) {
        let mut seen = 0;
        let mut idle = 0;
        let mut ended = self.ended.lock();
        while !*ended {
            let calls = self.calls.load(Ordering::Relaxed);
            let computing = self.active.load(Ordering::SeqCst) > 0;
            idle = if computing || calls != seen { 0 } else { idle + 1 };
            seen = calls;
            if idle < IDLE_LOOKS {
                self.wake.wait_for(&mut ended, if computing { TICK } else { LOOK });
            } else {
                self.asleep.store(true, Ordering::SeqCst);
                // A call that started before the flag was set is noticed here.
                if self.active.load(Ordering::SeqCst) == 0 {
                    self.wake.wait(&mut ended);
                }
                self.asleep.store(false, Ordering::SeqCst);
                idle = 0;
            }
            engine.increment_epoch();
        }
    }
}

fn guest_stack(size: EngineSize) -> usize {
    usize::try_from(size.stack).unwrap_or(usize::MAX / 2)
}

fn stack(size: EngineSize) -> usize {
    guest_stack(size) + STACK_OF_THE_HOST
}

/// `pooled`: whether addresses are set aside for instances, which is nothing to the code.
pub(super) fn config(size: EngineSize, pooled: bool) -> Config {
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        .epoch_interruption(true)
        .max_wasm_stack(guest_stack(size))
        .async_stack_size(stack(size))
        // Four gigabytes of addresses for each memory would soon be too many.
        .memory_reservation(size.memory)
        .memory_guard_size(64 << 10)
        .memory_init_cow(true);
    if pooled {
        let times = |most: u32| size.instances.saturating_mul(most).min(MOST_POOLED);
        let mut pool = PoolingAllocationConfig::new();
        pool.total_component_instances(times(1))
            .total_core_instances(times(8))
            // A JavaScript runtime has three of each.
            .total_memories(times(3))
            .total_tables(times(4))
            .total_stacks(times(1))
            .max_memories_per_component(8)
            .max_tables_per_component(16)
            .max_core_instances_per_component(32)
            .table_elements(20_000)
            .max_memory_size(usize::try_from(size.memory).unwrap_or(usize::MAX))
            .max_unused_warm_slots(64);
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    }
    config
}
