//! The WebAssembly engine of the process, and the thread that keeps its epochs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use wasmtime::{Config, InstanceAllocationStrategy, PoolingAllocationConfig};

use super::cache::Cache;

/// How often a guest that computes is interrupted, to look at its budget and to let others
/// run.
const TICK: Duration = Duration::from_millis(4);
/// How often the thread looks whether a guest computes. Calls take microseconds: most are not
/// seen at all, and one that goes on holds up its thread no longer than this before it is.
const LOOK: Duration = Duration::from_millis(16);
/// Looks without a call since the last, after which the thread sleeps until the next one.
const IDLE_LOOKS: u32 = 2;

/// Stack that the host's own functions need when a guest calls them.
const STACK_OF_THE_HOST: usize = 512 << 10;
/// The most memories, tables or instances that addresses are set aside for.
const MOST_POOLED: u32 = 100_000;

/// What an engine makes room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineSize {
    /// The most octets of memory that an instance may have.
    pub memory: u64,
    /// Octets of an instance's stack.
    pub stack: u64,
    /// Instances at a time, of all policies on all threads.
    pub instances: u32,
}

/// Compiles and runs components. Its thread ends with it.
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
    /// Calls since the start; what has changed since the last tick keeps the thread awake.
    calls: AtomicU64,
    /// Calls that have not ended.
    active: AtomicU64,
    asleep: AtomicBool,
    ended: Mutex<bool>,
    wake: Condvar,
}

impl Engine {
    /// An engine for policies of these sizes. `cache`: where compiled code is kept.
    ///
    /// # Errors
    /// Where the machine cannot run it.
    pub fn new(size: EngineSize, cache: Option<&Cache>) -> anyhow::Result<Arc<Self>> {
        let engine = match wasmtime::Engine::new(&config(size, true)) {
            Ok(engine) => engine,
            Err(error) => {
                // Address space may be limited; instances then cost a little more to make.
                tracing::warn!(%error, "no pool of address space for policies: they start more slowly");
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

    pub(super) fn size(&self) -> EngineSize {
        self.size
    }

    pub(super) fn cache(&self) -> Option<&Cache> {
        self.cache.as_ref()
    }

    /// Keeps the epochs running as long as the guard lives.
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

/// A call that is under way.
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
                // A call that came before it could see the flag is seen here.
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

/// `pooled`: whether addresses are set aside for instances, which is nothing to the code.
pub(super) fn config(size: EngineSize, pooled: bool) -> Config {
    let stack = usize::try_from(size.stack).unwrap_or(usize::MAX / 2);
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        .epoch_interruption(true)
        .max_wasm_stack(stack)
        .async_stack_size(stack + STACK_OF_THE_HOST)
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
