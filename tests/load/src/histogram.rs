//! A histogram of latencies: constant memory for any number of sessions, and an error of at most
//! one per cent.

use std::time::Duration;

use serde_json::{Value, json};

/// Buckets per doubling. Smaller values are counted exactly.
const STEPS: u64 = 128;
const STEPS_BITS: u32 = STEPS.trailing_zeros();

/// Counts of durations, in microseconds.
#[derive(Default)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
    largest: u64,
}

impl Histogram {
    pub(crate) fn record(&mut self, time: Duration) {
        let value = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let bucket = bucket_of(value);
        if self.counts.len() <= bucket {
            self.counts.resize(bucket + 1, 0);
        }
        self.counts[bucket] += 1;
        self.total += 1;
        self.largest = self.largest.max(value);
    }

    /// The quantile `share`, from 0 to 1, in microseconds; `None` if nothing was recorded.
    pub(crate) fn quantile(&self, share: f64) -> Option<u64> {
        // Rounded up: the p99 of 100 values is the 99th. At least the first.
        let rank = ((self.total as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Some(upper_end(bucket).min(self.largest));
            }
        }
        None
    }

    /// In microseconds; `None` if nothing was recorded.
    pub(crate) fn largest(&self) -> Option<u64> {
        (self.total > 0).then_some(self.largest)
    }

    /// The figures of the report, in microseconds.
    pub(crate) fn figures(&self) -> [(&'static str, Option<u64>); 5] {
        [
            ("p50", self.quantile(0.5)),
            ("p90", self.quantile(0.9)),
            ("p99", self.quantile(0.99)),
            ("p999", self.quantile(0.999)),
            ("max", self.largest()),
        ]
    }

    pub(crate) fn to_json(&self) -> Value {
        self.figures().into_iter().map(|(name, value)| (name.to_string(), json!(value))).collect()
    }
}

fn bucket_of(value: u64) -> usize {
    let doublings = (u64::BITS - value.leading_zeros()).saturating_sub(STEPS_BITS + 1);
    (u64::from(doublings) * STEPS + (value >> doublings)) as usize
}

fn upper_end(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    let doublings = (bucket / STEPS).saturating_sub(1);
    let step = bucket - doublings * STEPS;
    ((step + 1) << doublings) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: impl IntoIterator<Item = u64>) -> Histogram {
        let mut histogram = Histogram::default();
        for value in values {
            histogram.record(Duration::from_micros(value));
        }
        histogram
    }

    #[test]
    fn small_values_are_exact() {
        let histogram = of(1..=100);
        assert_eq!(histogram.quantile(0.5), Some(50));
        assert_eq!(histogram.quantile(0.99), Some(99));
        assert_eq!(histogram.largest(), Some(100));
    }

    #[test]
    fn a_bucket_ends_at_most_one_per_cent_above_its_values() {
        for value in (0..5_000).chain([65_535, 65_536, 1_000_003, 60_000_000, u64::MAX >> 8]) {
            let end = upper_end(bucket_of(value));
            assert!(end >= value && end - value <= value / 100, "{value} is reported as {end}");
        }
    }

    #[test]
    fn a_few_slow_sessions_show_in_the_tail() {
        let histogram = of((0..9_990).map(|_| 200).chain((0..10).map(|_| 1_000_000)));
        assert_eq!(histogram.quantile(0.5), Some(200));
        assert_eq!(histogram.quantile(0.999), histogram.quantile(0.5));
        assert_eq!(histogram.quantile(0.9991), Some(1_000_000));
    }

    #[test]
    fn an_empty_histogram_has_no_figures() {
        assert_eq!(Histogram::default().quantile(0.5), None);
        assert_eq!(Histogram::default().largest(), None);
    }
}
