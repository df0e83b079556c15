//! The signals of one pool: since when they are complete, and how many there were.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

#[cfg(test)]
use crate::simulation::{Fault, planted};
use reprieve_metrics::{Histogram, HistogramSnapshot, labels};
use reprieve_policy_host::Freshness;

labels! {
    /// Where a signal comes from.
    pub enum Source {
        /// An HTTP request.
        Http = "http",
        /// `reprieve ctl new-mail`.
        Control = "control",
        /// The datagram socket.
        Socket = "socket",
        /// A log file.
        Log = "log",
        /// The systemd journal.
        Journal = "journal",
    }
}

labels! {
    /// Why signals may be missing.
    pub enum Missed {
        /// A source sent more than its limit.
        Limit = "limit",
        /// A queue was full.
        Overflow = "overflow",
        /// A request, datagram or log line could not be read.
        Malformed = "malformed",
        /// A part of a log was not read.
        Gap = "gap",
        /// The store could not be reached.
        Unavailable = "unavailable",
        /// The configuration of the pool's names or sources has changed.
        Reconfigured = "reconfigured",
        /// A session found a message that nobody had signalled.
        Unsignalled = "unsignalled",
    }
}

/// Upper bounds of the histograms of waits, in nanoseconds: one second to a day.
static WAIT_BUCKETS_NS: [u64; 12] = [
    1_000_000_000,
    5_000_000_000,
    15_000_000_000,
    60_000_000_000,
    120_000_000_000,
    300_000_000_000,
    600_000_000_000,
    1_200_000_000_000,
    3_600_000_000_000,
    10_800_000_000_000,
    43_200_000_000_000,
    86_400_000_000_000,
];

/// The signals of one pool. It outlives a reload of the configuration.
#[derive(Debug)]
pub struct PoolSignals {
    has_source: AtomicBool,
    /// Whether the administrator calls a source complete.
    is_complete: AtomicBool,
    /// In seconds since 1970: no signal has been missed since then. 0 before the start.
    complete_since_s: AtomicU32,
    /// Wakes the task that shares gaps with the other proxies.
    gap: Notify,
    received: [AtomicU64; Source::COUNT],
    missed: [AtomicU64; Missed::COUNT],
    remembered: AtomicU64,
    unknown: AtomicU64,
    /// Signals that will be repeated.
    settling: AtomicUsize,
    waited: Histogram<12>,
    delayed: Histogram<12>,
    delayed_unsignalled: Histogram<12>,
}

impl Default for PoolSignals {
    fn default() -> Self {
        Self {
            has_source: AtomicBool::default(),
            is_complete: AtomicBool::default(),
            complete_since_s: AtomicU32::default(),
            gap: Notify::new(),
            received: Default::default(),
            missed: Default::default(),
            remembered: AtomicU64::default(),
            unknown: AtomicU64::default(),
            settling: AtomicUsize::default(),
            waited: Histogram::new(&WAIT_BUCKETS_NS),
            delayed: Histogram::new(&WAIT_BUCKETS_NS),
            delayed_unsignalled: Histogram::new(&WAIT_BUCKETS_NS),
        }
    }
}

/// Totals of a pool's signals since the start.
#[derive(Clone, Debug)]
pub(crate) struct SignalCounts {
    /// Users named in signals, by source.
    pub(crate) received: [u64; Source::COUNT],
    /// How often signals may have been missed, by reason.
    pub(crate) missed: [u64; Missed::COUNT],
    /// Users in signals who are remembered.
    pub(crate) remembered: u64,
    /// Users in signals who are not: nothing was done.
    pub(crate) unknown: u64,
    /// Since when signals are complete, in seconds since 1970; None if they are not.
    pub(crate) complete_since_s: Option<u32>,
    /// How long signalled mail waited until a session of the user saw it.
    pub(crate) waited: HistogramSnapshot,
    /// How much of that was because logins were posed.
    pub(crate) delayed: HistogramSnapshot,
    /// For mail without a signal: how long it may have waited because logins were posed.
    pub(crate) delayed_unsignalled: HistogramSnapshot,
}

impl PoolSignals {
    /// Applies the configuration. `is_complete`: whether all deliveries are signalled, if nothing fails.
    pub(crate) fn configure(&self, has_source: bool, is_complete: bool) {
        self.has_source.store(has_source, Ordering::Release);
        self.is_complete.store(is_complete, Ordering::Release);
    }

    /// Whether signals are to be expected at all.
    pub(crate) fn has_source(&self) -> bool {
        self.has_source.load(Ordering::Acquire)
    }

    /// What is known about changes since a snapshot. `looked_s`: when its session looked, in seconds
    /// since 1970.
    pub(crate) fn freshness(&self, has_new_mail: bool, looked_s: u32) -> Freshness {
        if has_new_mail {
            return Freshness::NewMail;
        }
        let since = self.complete_since_s.load(Ordering::Acquire);
        let is_complete = self.is_complete.load(Ordering::Relaxed) && since != 0 && since <= looked_s;
        if is_complete { Freshness::Unchanged } else { Freshness::Unknown }
    }

    /// Signals are noted from now on.
    pub(crate) fn start(&self, now_ms: u64) {
        // A snapshot of the same second may be older.
        let next_s = u32::try_from(now_ms / 1000 + 1).unwrap_or(u32::MAX);
        self.complete_since_s.fetch_max(next_s, Ordering::AcqRel);
    }

    /// A source is open from now on. Other proxies learn it, too: what was missed before may concern
    /// users of both.
    pub(crate) fn begin(&self, now_ms: u64) {
        self.start(now_ms);
        self.gap.notify_one();
    }

    /// Signals may have been missed until now.
    pub(crate) fn missed(&self, why: Missed, now_ms: u64) {
        self.missed[why.index()].fetch_add(1, Ordering::Relaxed);
        #[cfg(test)]
        if planted(Fault::CompleteSinceNotMoved) {
            return;
        }
        self.begin(now_ms);
    }

    /// Waits until signals may have been missed.
    pub(crate) async fn next_gap(&self) {
        self.gap.notified().await;
    }

    /// Counts the users of signals that have been noted: `remembered` of them are known.
    pub(crate) fn applied(&self, source: Source, users: u64, remembered: u64) {
        self.received[source.index()].fetch_add(users, Ordering::Relaxed);
        self.remembered.fetch_add(remembered, Ordering::Relaxed);
        self.unknown.fetch_add(users.saturating_sub(remembered), Ordering::Relaxed);
    }

    /// What was counted.
    pub(crate) fn counts(&self) -> SignalCounts {
        let since = self.complete_since_s.load(Ordering::Acquire);
        SignalCounts {
            received: self.received.each_ref().map(|count| count.load(Ordering::Relaxed)),
            missed: self.missed.each_ref().map(|count| count.load(Ordering::Relaxed)),
            remembered: self.remembered.load(Ordering::Relaxed),
            unknown: self.unknown.load(Ordering::Relaxed),
            complete_since_s: (self.is_complete.load(Ordering::Relaxed) && since != 0).then_some(since),
            waited: self.waited.snapshot(),
            delayed: self.delayed.snapshot(),
            delayed_unsignalled: self.delayed_unsignalled.snapshot(),
        }
    }

    /// Counts signals that are repeated after the settle time, until the result is dropped; None if there
    /// would be more than `most`.
    pub(crate) fn begin_settling(self: &Arc<Self>, signals: usize, most: usize) -> Option<Settling> {
        let before = self.settling.fetch_add(signals, Ordering::Relaxed);
        let settling = Settling { signals, of: self.clone() };
        (before.saturating_add(signals) <= most).then_some(settling)
    }

    /// A session has seen signalled mail. `delayed_s`: of the wait, the seconds since a login was posed.
    pub(crate) fn waited(&self, waited_s: u32, delayed_s: u32) {
        self.waited.observe(seconds(waited_s));
        self.delayed.observe(seconds(delayed_s));
    }

    /// A session has found mail that nobody had signalled, this long after a login was posed.
    pub(crate) fn delayed_unsignalled(&self, delayed_s: u32) {
        self.delayed_unsignalled.observe(seconds(delayed_s));
    }
}

/// Signals that wait for the settle time.
#[derive(Debug)]
pub(crate) struct Settling {
    signals: usize,
    of: Arc<PoolSignals>,
}

impl Drop for Settling {
    fn drop(&mut self) {
        self.of.settling.fetch_sub(self.signals, Ordering::Relaxed);
    }
}

fn seconds(seconds: u32) -> Duration {
    Duration::from_secs(seconds.into())
}
