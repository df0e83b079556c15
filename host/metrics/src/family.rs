//! Counters of one metric, one for each value of its label.

use std::sync::atomic::{AtomicU64, Ordering};

/// One counter for each of the `N` values of a label. A counter is addressed by the index of its
/// value, and wraps around at 2⁶⁴.
#[derive(Debug)]
pub struct Family<const N: usize>([AtomicU64; N]);

/// The value of each counter.
type Counts<const N: usize> = [u64; N];

impl<const N: usize> Default for Family<N> {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; N])
    }
}

impl<const N: usize> Family<N> {
    /// Adds one to a counter.
    pub fn count(&self, label: usize) {
        self.0[label].fetch_add(1, Ordering::Relaxed);
    }

    /// Subtracts one from a counter, which makes it a gauge. In a [`Sharded`](crate::Sharded) family
    /// another shard may have counted the event: only the sum of all shards is meaningful.
    pub fn uncount(&self, label: usize) {
        self.0[label].fetch_sub(1, Ordering::Relaxed);
    }

    /// Adds the counters to `sum`, to add up the shards of a family.
    pub fn add_to(&self, sum: &mut Counts<N>) {
        for (sum, counter) in sum.iter_mut().zip(&self.0) {
            *sum = sum.wrapping_add(counter.load(Ordering::Relaxed));
        }
    }

    /// The counters, for a family that is not sharded.
    #[must_use]
    pub fn counts(&self) -> Counts<N> {
        std::array::from_fn(|label| self.0[label].load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_may_be_counted_in_one_shard_and_uncounted_in_another() {
        let (one, other) = (Family::<3>::default(), Family::<3>::default());
        one.count(1);
        one.count(1);
        other.uncount(1);
        other.count(2);
        let mut sum = [0; 3];
        one.add_to(&mut sum);
        other.add_to(&mut sum);
        assert_eq!(sum, [0, 1, 1]);
        assert_eq!(one.counts(), [0, 2, 0]);
    }
}
