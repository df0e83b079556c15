//! Random numbers that can be repeated: polls and deliveries happen at the same moments in each phase, so
//! that the phases differ in nothing but the route.

use std::time::Duration;

/// A sequence of random numbers (SplitMix64); not for secrets.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// A sequence that depends on nothing but these numbers.
    pub(crate) fn new(seed: u64, sequence: u64) -> Self {
        let mut random = Self(seed ^ sequence.wrapping_mul(0xd134_2543_de82_ef95));
        random.next();
        random
    }

    /// A number below `end`; the bias is negligible for small numbers.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from((u128::from(self.next()) * end as u128) >> 64).unwrap_or(0)
    }

    /// A time in whole milliseconds from `least` to less than `most`.
    pub(crate) fn time(&mut self, least: Duration, most: Duration) -> Duration {
        let range = usize::try_from(most.saturating_sub(least).as_millis()).unwrap_or(usize::MAX);
        least + Duration::from_millis(self.below(range) as u64)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sequence_can_be_repeated_and_differs_from_others() {
        let numbers = |seed, sequence| {
            let mut random = Random::new(seed, sequence);
            (0..20).map(|_| random.below(1000)).collect::<Vec<_>>()
        };
        assert_eq!(numbers(1, 2), numbers(1, 2));
        assert_ne!(numbers(1, 2), numbers(1, 3));
        assert_ne!(numbers(1, 2), numbers(2, 2));
    }

    #[test]
    fn times_fill_their_range() {
        let (mut random, most) = (Random::new(7, 7), Duration::from_millis(10));
        let times: Vec<_> = (0..1000).map(|_| random.time(Duration::from_millis(8), most)).collect();
        for ms in [8, 9] {
            assert!(times.contains(&Duration::from_millis(ms)));
        }
        assert!(times.iter().all(|time| *time < most));
        assert_eq!(random.time(most, most), most);
    }
}
