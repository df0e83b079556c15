//! Metrics of a virtual server's policy, and the rate-limited log lines about its failures: at most
//! one per second and kind.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::component::Call;
use super::failure::Failure;
use reprieve_metrics::{Family, Histogram, HistogramSnapshot, Sharded};
use reprieve_store::clock::{Clock as _, SystemClock};

/// Bucket bounds of decision times in nanoseconds, from a warm instance to the longest wait for the
/// store.
const DECISIONS: [u64; 16] = [
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    100_000_000,
    250_000_000,
];

/// A limit that was reached without making the call fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overrun {
    /// A log line beyond `limits.log-lines` or `limits.log-rate` was dropped.
    LogLines,
    /// A log line longer than `limits.log-line` was truncated.
    LogLine,
    /// A write beyond `store-quota` was refused.
    StoreQuota,
    /// A key or value that is too long was refused.
    StoreLength,
    /// A delay beyond `limits.delay` was shortened.
    Delay,
    /// An instance was replaced because of `limits.calls` or the growth of its memory.
    Recycled,
}

impl Overrun {
    const WORDS: [&str; 6] =
        ["log-lines", "log-line", "store-quota", "store-length", "delay", "recycled-instances"];

    fn words(self) -> &'static str {
        match self {
            Self::LogLines => "log lines were dropped (limits.log-lines, limits.log-rate)",
            Self::LogLine => "log lines were cut (limits.log-line)",
            Self::StoreQuota => "writes were refused: the store is full (store-quota)",
            Self::StoreLength => "writes were refused: a key has at most 1,024 bytes, a value at most 65,536",
            Self::Delay => "delays were shortened (limits.delay)",
            Self::Recycled => "instances were replaced",
        }
    }
}

/// The metrics, shared by all threads.
#[derive(Debug)]
pub(super) struct Metrics {
    /// Updated by every login.
    calls: Sharded<Family<{ Call::COUNT }>>,
    decisions: Histogram<16>,
    started: AtomicU64,
    pauses: AtomicU64,
    failures: [Occurrence; Failure::KINDS.len()],
    overruns: [Occurrence; Overrun::WORDS.len()],
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            calls: Sharded::default(),
            decisions: Histogram::new(&DECISIONS),
            started: AtomicU64::default(),
            pauses: AtomicU64::default(),
            failures: Default::default(),
            overruns: Default::default(),
        }
    }
}

#[derive(Debug, Default)]
struct Occurrence {
    count: AtomicU64,
    logged_s: AtomicU64,
}

impl Occurrence {
    /// Counts one, and returns the count if a log line is due.
    fn happened(&self) -> Option<u64> {
        let count = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        let second = SystemClock.now_ms() / 1000;
        (self.logged_s.swap(second, Ordering::Relaxed) != second).then_some(count)
    }
}

impl Metrics {
    pub(super) fn called(&self, call: Call) {
        self.calls.local().count(call as usize);
    }

    /// Records a finished call of `decide`, successful or not.
    pub(super) fn decided(&self, took: Duration) {
        self.decisions.observe(took);
    }

    pub(super) fn started(&self) {
        self.started.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn paused(&self) {
        self.pauses.fetch_add(1, Ordering::Relaxed);
    }

    /// The count of this kind, if a log line is due.
    pub(super) fn failed(&self, failure: &Failure) -> Option<u64> {
        self.failures[failure.index()].happened()
    }

    pub(super) fn overran(&self, server: &str, policy: &str, overrun: Overrun) {
        let due = self.overruns[overrun as usize].happened();
        // Replacing an old instance is normal.
        if overrun != Overrun::Recycled
            && let Some(count) = due
        {
            tracing::warn!(target: "policy", server, policy, count, "{}", overrun.words());
        }
    }

    /// The current values.
    pub(super) fn snapshot(&self) -> MetricsSnapshot {
        let counts = |words: &[&'static str], all: &[Occurrence]| {
            let pairs = words.iter().zip(all);
            pairs.map(|(word, one)| (*word, one.count.load(Ordering::Relaxed))).collect()
        };
        let mut calls = [0; Call::COUNT];
        self.calls.shards().for_each(|part| part.add_to(&mut calls));
        let [decides, observes, ends] = calls;
        MetricsSnapshot {
            calls: decides + observes + ends,
            decides,
            observes,
            ends,
            decisions: self.decisions.snapshot(),
            started: self.started.load(Ordering::Relaxed),
            pauses: self.pauses.load(Ordering::Relaxed),
            failures: counts(&Failure::KINDS, &self.failures),
            overruns: counts(&Overrun::WORDS, &self.overruns),
        }
    }
}

/// The metrics of a policy at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricsSnapshot {
    /// Calls of all functions.
    pub calls: u64,
    /// Calls of `decide`.
    pub decides: u64,
    /// Calls of `observe`.
    pub observes: u64,
    /// Calls of `ended`, of the interface `sessions`.
    pub ends: u64,
    /// Duration of `decide`, including failed calls, the creation of instances and waits for the store.
    pub decisions: HistogramSnapshot,
    /// Instances that were started.
    pub started: u64,
    /// Times that the circuit breaker opened, including failed trials.
    pub pauses: u64,
    /// Failures by kind: see [`Failure::KINDS`].
    pub failures: Vec<(&'static str, u64)>,
    /// Limits reached without making the call fail, by kind.
    pub overruns: Vec<(&'static str, u64)>,
}

impl MetricsSnapshot {
    /// Failures of one kind.
    #[must_use]
    pub fn failed(&self, kind: &str) -> u64 {
        self.failures.iter().find(|(word, _)| *word == kind).map_or(0, |(_, count)| *count)
    }

    /// Failures of all kinds.
    #[must_use]
    pub fn all_failures(&self) -> u64 {
        self.failures.iter().map(|(_, count)| count).sum()
    }

    /// How often one limit was reached without making the call fail.
    #[must_use]
    pub fn overran(&self, kind: &str) -> u64 {
        self.overruns.iter().find(|(word, _)| *word == kind).map_or(0, |(_, count)| *count)
    }
}
