//! Counters by kind.

use std::sync::atomic::{AtomicU64, Ordering};

/// A counter for each of `N` kinds.
#[derive(Debug)]
pub struct Family<const N: usize>([AtomicU64; N]);

/// What each kind has come to, in the order of the kinds.
type Counts<const N: usize> = [u64; N];

impl<const N: usize> Default for Family<N> {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; N])
    }
}

impl<const N: usize> Family<N> {
    /// Counts one of a kind.
    pub fn count(&self, kind: usize) {
        self.0[kind].fetch_add(1, Ordering::Relaxed);
    }

    /// Takes one of a kind back. Another thread's part may have counted it: only the sum of all
    /// parts is a number that means something.
    pub fn uncount(&self, kind: usize) {
        self.0[kind].fetch_sub(1, Ordering::Relaxed);
    }

    /// Adds what has been counted to a sum.
    pub fn add_to(&self, sum: &mut Counts<N>) {
        for (sum, part) in sum.iter_mut().zip(&self.0) {
            *sum = sum.wrapping_add(part.load(Ordering::Relaxed));
        }
    }

    /// What has been counted, where there is only this part.
    pub fn counts(&self) -> Counts<N> {
        std::array::from_fn(|kind| self.0[kind].load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_part_has_taken_back_and_another_counted_comes_out_right() {
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
