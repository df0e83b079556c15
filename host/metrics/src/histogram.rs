//! Histograms of durations.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::Sharded;
use super::family::Family;

/// Durations, counted by `N` upper bounds and one bucket above them.
#[derive(Debug)]
pub struct Histogram<const N: usize> {
    /// In nanoseconds, ascending.
    bounds: &'static [u64; N],
    shards: Sharded<Shard<N>>,
}

#[derive(Debug, Default)]
struct Shard<const N: usize> {
    buckets: Family<N>,
    above: AtomicU64,
    sum_ns: AtomicU64,
}

/// The state of a histogram at one moment, as Prometheus reports it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistogramSnapshot {
    /// Upper bounds in nanoseconds, each with the number of durations up to it (cumulative).
    pub buckets: Vec<(u64, u64)>,
    /// Number of durations.
    pub count: u64,
    /// Sum of the durations, in nanoseconds.
    pub sum_ns: u64,
}

impl<const N: usize> Histogram<N> {
    /// An empty histogram. `bounds`: upper bounds in nanoseconds, ascending.
    #[must_use]
    pub fn new(bounds: &'static [u64; N]) -> Self {
        Self { bounds, shards: Sharded::default() }
    }

    /// Counts a duration.
    pub fn observe(&self, duration: Duration) {
        let ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let shard = self.shards.local();
        match self.bounds.partition_point(|bound| *bound < ns) {
            bucket if bucket < N => shard.buckets.count(bucket),
            _ => {
                shard.above.fetch_add(1, Ordering::Relaxed);
            }
        }
        shard.sum_ns.fetch_add(ns, Ordering::Relaxed);
    }

    /// Adds up the shards.
    #[must_use]
    pub fn snapshot(&self) -> HistogramSnapshot {
        let (mut in_bucket, mut above, mut sum_ns) = ([0; N], 0, 0_u64);
        for shard in self.shards.shards() {
            shard.buckets.add_to(&mut in_bucket);
            above += shard.above.load(Ordering::Relaxed);
            sum_ns = sum_ns.wrapping_add(shard.sum_ns.load(Ordering::Relaxed));
        }
        let mut cumulative = 0;
        let buckets = self.bounds.iter().zip(in_bucket).map(|(bound, in_bucket)| {
            cumulative += in_bucket;
            (*bound, cumulative)
        });
        let buckets = buckets.collect();
        HistogramSnapshot { buckets, count: above + cumulative, sum_ns }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_counts_in_its_own_bucket_and_in_all_above() {
        let histogram = Histogram::new(&[1_000, 10_000, 1_000_000]);
        for ns in [1, 1_000, 1_001, 999_999, 5_000_000] {
            histogram.observe(Duration::from_nanos(ns));
        }
        let snapshot = histogram.snapshot();
        assert_eq!(snapshot.buckets, [(1_000, 2), (10_000, 3), (1_000_000, 4)]);
        assert_eq!((snapshot.count, snapshot.sum_ns), (5, 6_002_001));
    }
}
