//! Times of many calls.

use std::time::{Duration, Instant};

/// Times of calls, in the order in which they came.
#[derive(Debug)]
pub(super) struct Times {
    nanoseconds: Vec<u32>,
    overhead: u32,
}

/// The times that so many of the calls do not exceed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Percentiles {
    /// Calls.
    pub count: usize,
    /// Half of them.
    pub p50: Duration,
    /// All but one of a hundred.
    pub p99: Duration,
    /// All of them.
    pub longest: Duration,
}

impl Times {
    /// Room for so many calls, so that measuring does not allocate.
    pub(super) fn new(calls: usize) -> Self {
        // What reading the clock twice takes is no part of a call.
        let mut pairs: Vec<u32> = (0..1000)
            .map(|_| {
                let began = Instant::now();
                nanoseconds(began.elapsed())
            })
            .collect();
        pairs.sort_unstable();
        Self { nanoseconds: Vec::with_capacity(calls), overhead: pairs[pairs.len() / 2] }
    }

    pub(super) fn add(&mut self, time: Duration) {
        self.nanoseconds.push(nanoseconds(time).saturating_sub(self.overhead));
    }

    /// Takes in what another has measured.
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
        Percentiles { count: self.nanoseconds.len(), p50: at(50), p99: at(99), longest: at(100) }
    }
}

fn nanoseconds(time: Duration) -> u32 {
    u32::try_from(time.as_nanos()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_sorted_times() {
        let mut times = Times { nanoseconds: Vec::new(), overhead: 10 };
        (1..=1000).rev().for_each(|number| times.add(Duration::from_nanos(number + 10)));
        let percentiles = times.percentiles();
        assert_eq!(percentiles.p50, Duration::from_nanos(501));
        assert_eq!(percentiles.p99, Duration::from_nanos(991));
        assert_eq!(percentiles.longest, Duration::from_nanos(1000));
        assert_eq!(Times::new(0).percentiles(), Percentiles::default());
    }
}
