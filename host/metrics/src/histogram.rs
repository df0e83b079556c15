//! How long things take, in steps.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::Sharded;
use super::family::Family;

/// Times, counted by `N` upper bounds and without one.
#[derive(Debug)]
pub struct Histogram<const N: usize> {
    /// Nanoseconds, each more than the one before.
    bounds: &'static [u64; N],
    parts: Sharded<Part<N>>,
}

#[derive(Debug, Default)]
struct Part<const N: usize> {
    within: Family<N>,
    beyond: AtomicU64,
    sum_ns: AtomicU64,
}

/// Times that were counted, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistogramSnapshot {
    /// Upper bounds in nanoseconds, each with how many took no longer.
    pub buckets: Vec<(u64, u64)>,
    /// How many there were.
    pub count: u64,
    /// What they took together, in nanoseconds.
    pub sum_ns: u64,
}

impl<const N: usize> Histogram<N> {
    /// One that has counted nothing. `bounds`: upper bounds in nanoseconds, in order.
    pub fn new(bounds: &'static [u64; N]) -> Self {
        Self { bounds, parts: Sharded::default() }
    }

    /// Counts something that took so long.
    pub fn observe(&self, took: Duration) {
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let part = self.parts.here();
        match self.bounds.partition_point(|bound| *bound < took) {
            bucket if bucket < N => part.within.count(bucket),
            _ => {
                part.beyond.fetch_add(1, Ordering::Relaxed);
            }
        }
        part.sum_ns.fetch_add(took, Ordering::Relaxed);
    }

    /// What has been counted.
    pub fn snapshot(&self) -> HistogramSnapshot {
        let (mut within, mut count, mut sum_ns) = ([0; N], 0, 0_u64);
        for part in self.parts.parts() {
            part.within.add_to(&mut within);
            count += part.beyond.load(Ordering::Relaxed);
            sum_ns = sum_ns.wrapping_add(part.sum_ns.load(Ordering::Relaxed));
        }
        let mut so_far = 0;
        let buckets = self.bounds.iter().zip(within).map(|(bound, of_bucket)| {
            so_far += of_bucket;
            (*bound, so_far)
        });
        let buckets = buckets.collect();
        HistogramSnapshot { buckets, count: count + so_far, sum_ns }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_time_counts_at_its_bound_and_all_beyond() {
        let histogram = Histogram::new(&[1_000, 10_000, 1_000_000]);
        for ns in [1, 1_000, 1_001, 999_999, 5_000_000] {
            histogram.observe(Duration::from_nanos(ns));
        }
        let snapshot = histogram.snapshot();
        assert_eq!(snapshot.buckets, [(1_000, 2), (10_000, 3), (1_000_000, 4)]);
        assert_eq!((snapshot.count, snapshot.sum_ns), (5, 6_002_001));
    }
}
