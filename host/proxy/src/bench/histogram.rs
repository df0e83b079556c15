//! Durations of many calls and their percentiles.

use std::time::{Duration, Instant};

/// Durations of calls.
#[derive(Debug)]
pub(super) struct Times {
    nanoseconds: Vec<u32>,
    /// Duration of two readings of the clock, which is subtracted from each call.
    overhead: u32,
}

/// Percentiles of the durations of calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Percentiles {
    /// Number of calls.
    pub count: usize,
    /// Median.
    pub p50: Duration,
    /// 99th percentile.
    pub p99: Duration,
    /// Maximum.
    pub max: Duration,
}

impl Times {
    /// Has capacity for `calls`, so that measuring does not allocate.
    pub(super) fn new(calls: usize) -> Self {
        let mut readings: Vec<u32> = (0..1000)
            .map(|_| {
                let began = Instant::now();
                nanoseconds(began.elapsed())
            })
            .collect();
        readings.sort_unstable();
        Self { nanoseconds: Vec::with_capacity(calls), overhead: readings[readings.len() / 2] }
    }

    pub(super) fn add(&mut self, time: Duration) {
        self.nanoseconds.push(nanoseconds(time).saturating_sub(self.overhead));
    }

    /// Adds the durations of `other`.
    pub(super) fn add_all(&mut self, other: Self) {
        self.nanoseconds.extend(other.nanoseconds);
    }

    pub(super) fn percentiles(mut self) -> Percentiles {
        self.nanoseconds.sort_unstable();
        let at = |percent: usize| {
            let index =
                (self.nanoseconds.len() * percent / 100).min(self.nanoseconds.len().saturating_sub(1));
            Duration::from_nanos(u64::from(self.nanoseconds.get(index).copied().unwrap_or(0)))
        };
        Percentiles { count: self.nanoseconds.len(), p50: at(50), p99: at(99), max: at(100) }
    }
}

fn nanoseconds(time: Duration) -> u32 {
    u32::try_from(time.as_nanos()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_taken_from_the_sorted_durations() {
        let mut times = Times { nanoseconds: Vec::new(), overhead: 10 };
        (1..=1000).rev().for_each(|number| times.add(Duration::from_nanos(number + 10)));
        let percentiles = times.percentiles();
        assert_eq!(percentiles.p50, Duration::from_nanos(501));
        assert_eq!(percentiles.p99, Duration::from_nanos(991));
        assert_eq!(percentiles.max, Duration::from_nanos(1000));
        assert_eq!(Times::new(0).percentiles(), Percentiles::default());
    }
}
