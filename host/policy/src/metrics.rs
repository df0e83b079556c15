//! What is counted of a virtual server's policy, and the lines that tell of its failures: for
//! each kind one a second, however many there are.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::component::Call;
use super::failure::Failure;
use reprieve_metrics::{Family, Histogram, HistogramSnapshot, Sharded};
use reprieve_store::clock::{Clock as _, SystemClock};

/// Upper bounds of what decisions take, in nanoseconds: from one in a warm instance to one that
/// has waited for the store as long as it may.
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

/// A limit that was reached without failing the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overrun {
    /// A log line beyond `limits.log-lines` or `limits.log-rate` was dropped.
    LogLines,
    /// A log line longer than `limits.log-line` was cut.
    LogLine,
    /// A write beyond `store-quota` was refused.
    StoreQuota,
    /// A key or a value longer than the store takes was refused.
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
            Self::StoreLength => {
                "writes were refused: a key has at most 1,024 octets, a value at most 65,536"
            }
            Self::Delay => "delays were shortened (limits.delay)",
            Self::Recycled => "instances were replaced",
        }
    }
}

/// Counts, on all threads.
#[derive(Debug)]
pub(super) struct Metrics {
    /// Each login adds to these.
    calls: Sharded<Family<2>>,
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
    /// Counts one; its number where a line is due.
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

    /// A call of `decide` is over, whatever came of it.
    pub(super) fn decided(&self, took: Duration) {
        self.decisions.observe(took);
    }

    pub(super) fn started(&self) {
        self.started.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn paused(&self) {
        self.pauses.fetch_add(1, Ordering::Relaxed);
    }

    /// How many there are of this kind now, where the log is due to be told.
    pub(super) fn failed(&self, failure: &Failure) -> Option<u64> {
        self.failures[failure.index()].happened()
    }

    pub(super) fn overran(&self, server: &str, policy: &str, overrun: Overrun) {
        let due = self.overruns[overrun as usize].happened();
        // An instance that has done its work is nothing to worry about.
        if overrun != Overrun::Recycled
            && let Some(count) = due
        {
            tracing::warn!(target: "policy", server, policy, count, "{}", overrun.words());
        }
    }

    /// What has been counted.
    pub(super) fn snapshot(&self) -> MetricsSnapshot {
        let counts = |words: &[&'static str], all: &[Occurrence]| {
            let pairs = words.iter().zip(all);
            pairs.map(|(word, one)| (*word, one.count.load(Ordering::Relaxed))).collect()
        };
        let mut calls = [0; 2];
        self.calls.shards().for_each(|part| part.add_to(&mut calls));
        let [decides, observes] = calls;
        MetricsSnapshot {
            calls: decides + observes,
            decides,
            observes,
            decisions: self.decisions.snapshot(),
            started: self.started.load(Ordering::Relaxed),
            pauses: self.pauses.load(Ordering::Relaxed),
            failures: counts(&Failure::KINDS, &self.failures),
            overruns: counts(&Overrun::WORDS, &self.overruns),
        }
    }
}

/// What has been counted of a policy at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricsSnapshot {
    /// Calls of `decide` and `observe`.
    pub calls: u64,
    /// Those of `decide`.
    pub decides: u64,
    /// Those of `observe`.
    pub observes: u64,
    /// What calls of `decide` took, those that failed included: with a new instance where it
    /// needed one, and the time that it has waited for the store.
    pub decisions: HistogramSnapshot,
    /// Instances that were started.
    pub started: u64,
    /// Times that the circuit breaker has paused it, trials that failed included.
    pub pauses: u64,
    /// Failures by kind: see [`Failure::KINDS`].
    pub failures: Vec<(&'static str, u64)>,
    /// Limits that were reached without failing the call, by kind.
    pub overruns: Vec<(&'static str, u64)>,
}

impl MetricsSnapshot {
    /// How many failures there were of a kind.
    #[must_use]
    pub fn failed(&self, kind: &str) -> u64 {
        self.failures.iter().find(|(word, _)| *word == kind).map_or(0, |(_, count)| *count)
    }

    /// How many failures there were of all kinds.
    #[must_use]
    pub fn all_failures(&self) -> u64 {
        self.failures.iter().map(|(_, count)| count).sum()
    }

    /// How often a limit was reached without failing the call.
    #[must_use]
    pub fn overran(&self, kind: &str) -> u64 {
        self.overruns.iter().find(|(word, _)| *word == kind).map_or(0, |(_, count)| *count)
    }
}
