//! The world of one simulation: what all parts share.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use super::time::Instant;
use parking_lot::Mutex;

use super::mail::Mail;
use super::oracle::Oracle;
use super::plan::Plan;
use super::random::Random;
use super::trace::Trace;
use reprieve_store::clock::Clock;

/// 2026-12-01T00:00:00Z, in milliseconds since 1970.
const START_MS: i64 = 1_796_083_200_000;

thread_local! {
    static WORLD: RefCell<Option<Arc<World>>> = const { RefCell::new(None) };
}

/// The world that this thread simulates, if any.
pub(super) fn world() -> Option<Arc<World>> {
    WORLD.with_borrow(Clone::clone)
}

/// Makes a world that of this thread, until this is dropped.
pub(super) struct Entered;

impl Entered {
    pub fn new(world: &Arc<World>) -> Self {
        WORLD.set(Some(world.clone()));
        Self
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        WORLD.set(None);
    }
}

/// The clock on the wall, which accidents can set.
#[derive(Debug)]
pub(super) struct WallClock {
    started: Instant,
    shifted_ms: AtomicI64,
}

impl WallClock {
    /// Sets it forward, or back.
    pub fn shift(&self, by_ms: i64) {
        self.shifted_ms.fetch_add(by_ms, Ordering::Relaxed);
    }
}

impl Clock for WallClock {
    fn now_ms(&self) -> u64 {
        let passed = i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX);
        u64::try_from(START_MS + passed + self.shifted_ms.load(Ordering::Relaxed)).unwrap_or(0)
    }
}

/// A mail server in the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NodeHealth {
    Up,
    /// Connections are refused.
    Refuses,
    /// Nothing answers.
    Silent,
}

#[derive(Debug)]
pub(super) struct World {
    pub plan: Plan,
    pub clock: Arc<WallClock>,
    pub started: Instant,
    /// From which the parts of the world fork their own.
    random: Mutex<Random>,
    pub trace: Mutex<Trace>,
    pub mail: Mutex<Mail>,
    pub oracle: Mutex<Oracle>,
    /// By number: those of the first pool, then that of the second.
    pub nodes: Mutex<Vec<NodeHealth>>,
    /// No accident happens any more.
    calm: AtomicBool,
}

impl World {
    pub fn new(plan: Plan, mut random: Random, keeps_trace: bool) -> Arc<Self> {
        let started = Instant::now();
        let nodes = vec![NodeHealth::Up; plan.nodes + 1];
        Arc::new(Self {
            clock: Arc::new(WallClock { started, shifted_ms: AtomicI64::new(0) }),
            started,
            trace: Mutex::new(Trace::new(keeps_trace)),
            mail: Mutex::new(Mail::new(&plan, random.fork())),
            oracle: Mutex::default(),
            nodes: Mutex::new(nodes),
            calm: AtomicBool::new(false),
            random: Mutex::new(random),
            plan,
        })
    }

    pub fn fork(&self) -> Random {
        self.random.lock().fork()
    }

    pub fn is_calm(&self) -> bool {
        self.calm.load(Ordering::Relaxed)
    }

    /// Ends all accidents.
    pub fn calm_down(&self) {
        self.calm.store(true, Ordering::Relaxed);
        self.nodes.lock().fill(NodeHealth::Up);
        self.note(&"calm");
    }

    /// Whether an accident happens that happens in so many of a thousand cases.
    pub fn has_accident(&self, random: &mut Random, of_1000: u64) -> bool {
        random.chance(of_1000) && !self.is_calm()
    }

    /// Notes what has happened.
    pub fn note(&self, event: &dyn std::fmt::Display) {
        let at = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.trace.lock().note(at, event);
    }

    /// What must never happen has happened.
    pub fn violated(&self, what: &str) {
        self.note(&format_args!("VIOLATION {what}"));
        self.oracle.lock().violations.push(what.to_owned());
    }
}

/// Waits for so many milliseconds, or only for other tasks.
pub(super) async fn pause(ms: u64) {
    if ms == 0 {
        tokio::task::yield_now().await;
    } else {
        super::time::sleep(Duration::from_millis(ms)).await;
    }
}
