//! One instance of a policy and its calls, each within the limits. After a failure the instance
//! cannot be used again and must be dropped.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::time::Sleep;
use wasmtime::component::{ResourceTable, ResourceTableError};
use wasmtime::{Store, Trap, UpdateDeadline};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use super::ceiling::{Ceiling, CeilingReached};
use super::component::Policy;
use super::contract::Exports;
use super::contract::v0_2::{Call, Contended};
use super::failure::Failure;
use super::guest_log::{GuestLog, harmless};
use super::limits::{self, Limits};
use super::lookups::Lookups;
use super::settings::{self, Setting};
use super::wasi::{self, GuestClock};
use super::{Login, Outcome, SessionSummary, Verdict, backtrace};
use reprieve_metrics::cpu_time;
use reprieve_store::{Namespace, Unavailable};

/// CPU time after which a call that cannot yield has kept other sessions waiting for long.
const LONG: Duration = Duration::from_millis(1);
/// Bytes of a trap message that are kept.
const WORDS: usize = 300;
/// How the engine's backtrace begins, which is long and names functions by their numbers.
const BACKTRACE: &str = "error while executing at wasm backtrace";

/// The host's state beside a guest.
pub(super) struct State {
    pub(super) namespace: Namespace,
    pub(super) log: Arc<GuestLog>,
    log_lines_left: u32,
    /// Read-only tables.
    pub(super) lookups: Arc<dyn Lookups>,
    /// How long what a policy remembers about a user is kept without a write.
    pub(super) memory_ttl: Duration,
    /// The call of a policy for 0.2.
    pub(super) call: Call,
    /// Whether the call is made on the thread's own stack. It cannot yield then.
    pub(super) is_direct: bool,
    /// Whether a direct call has taken long; see [`Policy::may_call_directly`].
    was_slow: Arc<AtomicBool>,
    ceiling: Ceiling,
    clock: GuestClock,
    pub(super) meter: Arc<Meter>,
    budget: Duration,
    wasi: WasiCtx,
    resources: ResourceTable,
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.resources }
    }
}

impl State {
    fn new(policy: &Policy) -> Self {
        let limits = policy.limits();
        let clock = GuestClock::default();
        clock.set(policy.now_ms());
        let mut resources = ResourceTable::new();
        resources.set_max_capacity(limits::RESOURCES);
        Self {
            namespace: policy.namespace().clone(),
            log: policy.log().clone(),
            log_lines_left: limits.log_lines,
            lookups: policy.lookups().clone(),
            memory_ttl: policy.memory_ttl(),
            call: Call::default(),
            is_direct: false,
            was_slow: policy.was_slow().clone(),
            ceiling: Ceiling::new(limits.memory),
            wasi: wasi::context(&clock, policy.log(), limits.strings, policy.seed()),
            clock,
            meter: Arc::new(Meter::default()),
            budget: limits.start,
            resources,
        }
    }

    /// The streams and other resources of the host that the instance holds.
    pub(super) fn resources(&mut self) -> &mut ResourceTable {
        &mut self.resources
    }

    /// Writes a line of the policy, unless it has written too many.
    pub(super) fn log_line(&mut self, level: tracing::Level, text: &str) {
        if self.log_lines_left == 0 {
            self.log.drop_line();
            return;
        }
        self.log_lines_left -= 1;
        self.log.line(level, text);
    }
}

#[derive(Debug, thiserror::Error)]
#[error("CPU budget exhausted")]
struct BudgetSpent;

/// Measures a guest's CPU time. Wall time would also count the time in which the kernel runs other
/// threads.
///
/// Most calls end before the first tick and never read a clock. The meter starts at the first tick,
/// so a call may exceed its budget by one tick.
#[derive(Debug, Default)]
pub(super) struct Meter {
    running: AtomicBool,
    /// Whether the call was interrupted only to yield.
    yielded: AtomicBool,
    /// Whether the call is waiting for the store.
    asks_store: AtomicBool,
    spent_ns: AtomicU64,
    resumed_ns: AtomicU64,
}

impl Meter {
    fn begin(&self) {
        self.running.store(false, Ordering::Relaxed);
        self.yielded.store(false, Ordering::Relaxed);
        self.asks_store.store(false, Ordering::Relaxed);
        self.spent_ns.store(0, Ordering::Relaxed);
    }

    /// CPU time used so far, at a tick inside the call.
    fn tick(&self) -> Duration {
        if !self.running.swap(true, Ordering::Relaxed) {
            self.resumed_ns.store(now_ns(), Ordering::Relaxed);
        }
        Duration::from_nanos(self.spent_ns.load(Ordering::Relaxed) + self.since_resumed_ns())
    }

    /// Waits for the store, and records that it does.
    pub(super) async fn ask<T>(&self, operation: impl Future<Output = T>) -> T {
        self.asks_store.store(true, Ordering::Relaxed);
        let answer = operation.await;
        self.asks_store.store(false, Ordering::Relaxed);
        answer
    }

    fn resume(&self) {
        if self.running.load(Ordering::Relaxed) {
            self.resumed_ns.store(now_ns(), Ordering::Relaxed);
        }
    }

    fn pause(&self) {
        if self.running.load(Ordering::Relaxed) {
            self.spent_ns.fetch_add(self.since_resumed_ns(), Ordering::Relaxed);
        }
    }

    fn since_resumed_ns(&self) -> u64 {
        now_ns().saturating_sub(self.resumed_ns.load(Ordering::Relaxed))
    }
}

fn now_ns() -> u64 {
    u64::try_from(cpu_time::of_this_thread().as_nanos()).unwrap_or(u64::MAX)
}

/// A configured instance that is ready for calls.
pub(super) struct Instance {
    store: Store<State>,
    exports: Exports,
    calls: u64,
    memory_at_start: u64,
}

impl Instance {
    /// Creates and configures an instance.
    pub(super) async fn start(policy: &Policy) -> Result<Self, Failure> {
        policy.metrics_now().started();
        let mut instance = Self::create(policy).await?;
        let Self { store, exports, .. } = &mut instance;
        let configured =
            starting(policy, store, async |store| exports.configure(store, policy.settings()).await);
        let configured = configured.await?;
        configured.map_err(|why| Failure::Settings(harmless(&why, policy.log().longest)))?;
        instance.memory_at_start = instance.memory();
        Ok(instance)
    }

    /// The settings that the policy describes, on an instance that is not configured; None if it
    /// does not.
    pub(super) async fn describe(policy: &Policy) -> Result<Option<Vec<Setting>>, Failure> {
        let Self { mut store, exports, .. } = Self::create(policy).await?;
        let described = starting(policy, &mut store, async |store| exports.describe(store).await).await?;
        Ok(described.map(settings::cleaned))
    }

    async fn create(policy: &Policy) -> Result<Self, Failure> {
        let mut store = Store::new(policy.engine().wasmtime(), State::new(policy));
        store.set_max_component_handles(limits::HANDLES);
        // It may call the host while it is instantiated.
        store.set_hostcall_fuel(bytes(policy.limits().strings));
        store.limiter(|state| &mut state.ceiling);
        store.epoch_deadline_callback(|context| {
            let state = context.data();
            let spent = state.meter.tick();
            if spent >= state.budget {
                return Err(wasmtime::Error::new(BudgetSpent));
            }
            if state.is_direct {
                // The first tick of a call says nothing about it: it may have just begun.
                if spent > LONG {
                    state.was_slow.store(true, Ordering::Relaxed);
                }
                return Ok(UpdateDeadline::Continue(1));
            }
            state.meter.yielded.store(true, Ordering::Relaxed);
            Ok(UpdateDeadline::Yield(1))
        });
        store.set_epoch_deadline(1);
        let created = starting(policy, &mut store, async |store| policy.linked().instantiate(store).await);
        let exports = created.await?;
        Ok(Self { store, exports, calls: 0, memory_at_start: 0 })
    }

    /// `is_direct`: the call is made on the thread's own stack; see [`Policy::may_call_directly`].
    /// `exhausted`: the CPU budget counts as used up from the start.
    pub(super) async fn decide(
        &mut self,
        policy: &Policy,
        login: &Arc<Login>,
        is_direct: bool,
        exhausted: bool,
    ) -> Result<Verdict, Failure> {
        let meter = self.prepare(policy, login.time.unix_ms, is_direct);
        if exhausted {
            self.store.data_mut().budget = Duration::ZERO;
            self.store.set_epoch_deadline(0);
        }
        let _running = policy.engine().enter();
        within(policy.limits(), &meter, self.exports.decide(&mut self.store, login)).await
    }

    /// `is_direct`: as for [`Self::decide`].
    pub(super) async fn observe(
        &mut self,
        policy: &Policy,
        outcome: &Arc<Outcome>,
        is_direct: bool,
    ) -> Result<(), Failure> {
        let meter = self.prepare(policy, outcome.time.unix_ms, is_direct);
        let _running = policy.engine().enter();
        within(policy.limits(), &meter, self.exports.observe(&mut self.store, outcome)).await
    }

    pub(super) async fn ended(&mut self, policy: &Policy, summary: &SessionSummary) -> Result<(), Failure> {
        let meter = self.prepare(policy, summary.time.unix_ms, false);
        let _running = policy.engine().enter();
        within(policy.limits(), &meter, self.exports.ended(&mut self.store, summary)).await
    }

    /// Its memory in bytes.
    pub(super) fn memory(&self) -> u64 {
        self.store.data().ceiling.used()
    }

    /// Whether the instance should be replaced, because of its age or the growth of its memory.
    pub(super) fn is_worn(&self, policy: &Policy) -> bool {
        let used = self.memory();
        let half = policy.limits().memory / 2;
        self.calls >= policy.limits().calls || (used > half && used > self.memory_at_start)
    }

    fn prepare(&mut self, policy: &Policy, unix_ms: u64, is_direct: bool) -> Arc<Meter> {
        self.calls += 1;
        self.store.set_epoch_deadline(1);
        self.store.set_hostcall_fuel(bytes(policy.limits().strings));
        let state = self.store.data_mut();
        state.is_direct = is_direct;
        state.clock.set(unix_ms);
        state.budget = policy.limits().time;
        state.log_lines_left = policy.limits().log_lines;
        state.meter.begin();
        state.meter.clone()
    }
}

/// Runs a call that belongs to the start of an instance, within the limits of a start.
async fn starting<T>(
    policy: &Policy,
    store: &mut Store<State>,
    call: impl AsyncFnOnce(&mut Store<State>) -> wasmtime::Result<T>,
) -> Result<T, Failure> {
    let limits = policy.limits();
    let meter = store.data().meter.clone();
    let _running = policy.engine().enter();
    within(limits, &meter, call(store)).await.map_err(|failure| match failure {
        Failure::Trap(why) => Failure::Start(why),
        Failure::Time(_) => Failure::StartTime(limits.start.as_millis()),
        other => other,
    })
}

/// Runs a call within its time limits. Waiting is measured in wall time, except while the call only
/// yields.
async fn within<T>(
    limits: &Limits,
    meter: &Meter,
    call: impl Future<Output = wasmtime::Result<T>>,
) -> Result<T, Failure> {
    let mut call = pin!(call);
    let mut waited = Duration::ZERO;
    let mut waiting_since: Option<Instant> = None;
    let mut timer: Option<Pin<Box<Sleep>>> = None;
    poll_fn(|context| {
        if let Some(since) = waiting_since.take() {
            waited += since.elapsed();
        }
        meter.resume();
        let polled = call.as_mut().poll(context);
        meter.pause();
        if let Poll::Ready(result) = polled {
            return Poll::Ready(result.map_err(|error| classify(&error, limits)));
        }
        if meter.yielded.swap(false, Ordering::Relaxed) {
            return Poll::Pending;
        }
        let over = || {
            let ms = limits.wait.as_millis();
            // A slow store does not count against the policy.
            Poll::Ready(Err(if meter.asks_store.load(Ordering::Relaxed) {
                Failure::Store(format!("the store kept it waiting for more than {ms} ms (limits.wait)"))
            } else {
                Failure::Wait(ms)
            }))
        };
        let Some(left) = limits.wait.checked_sub(waited).filter(|left| !left.is_zero()) else {
            return over();
        };
        let now = Instant::now();
        waiting_since = Some(now);
        let timer = timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(left)));
        timer.as_mut().reset((now + left).into());
        if timer.as_mut().poll(context).is_ready() { over() } else { Poll::Pending }
    })
    .await
}

fn bytes(limit: u64) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX)
}

fn classify(error: &wasmtime::Error, limits: &Limits) -> Failure {
    if error.downcast_ref::<BudgetSpent>().is_some() {
        return Failure::Time(limits.time.as_millis());
    }
    if error.downcast_ref::<CeilingReached>().is_some() {
        return Failure::Memory(limits.memory);
    }
    if error.downcast_ref::<Trap>() == Some(&Trap::StackOverflow) {
        return Failure::Stack(limits.stack);
    }
    if let Some(unavailable) = error.downcast_ref::<Unavailable>() {
        return Failure::Store(harmless(&unavailable.to_string(), WORDS));
    }
    if let Some(contended) = error.downcast_ref::<Contended>() {
        return Failure::Store(contended.to_string());
    }
    if let Some(exit) = error.downcast_ref::<wasmtime_wasi::I32Exit>() {
        return Failure::Trap(format!("it ended itself with status {}", exit.0));
    }
    if let Some(ResourceTableError::Full) = error.downcast_ref::<ResourceTableError>() {
        let most = limits::RESOURCES;
        return Failure::Trap(format!("it holds more than {most} streams or other resources of the host"));
    }
    let text = message(error);
    if text.contains("handle limit exceeded") {
        return Failure::Trap(format!("it holds more than {} handles of resources", limits::HANDLES));
    }
    if text.contains("fuel allocated for hostcalls") {
        return Failure::Strings(limits.strings);
    }
    // A message may have several lines; the last one says what went wrong.
    let brief = text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
    let brief = brief.rsplit("wasm trap: ").next().unwrap_or(brief).trim();
    let place = backtrace::describe(error).map(|place| format!(" ({place})")).unwrap_or_default();
    Failure::Trap(harmless(brief, WORDS) + &place)
}

/// An error and its causes, without the engine's backtrace.
fn message(error: &wasmtime::Error) -> String {
    let causes = error.chain().map(ToString::to_string);
    causes.filter(|cause| !cause.starts_with(BACKTRACE)).collect::<Vec<_>>().join(": ")
}
