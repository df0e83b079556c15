//! Families and histograms against a plain `Vec` of what was counted.

use std::time::Duration;

use proptest::prelude::*;
use reprieve_metrics::{Family, Histogram, Sharded};

const BOUNDS: [u64; 3] = [10, 100, 1_000];

proptest! {
    #[test]
    fn a_histogram_reports_what_a_list_of_the_durations_says(
        durations in proptest::collection::vec(prop_oneof![0_u64..2_000, Just(10), Just(100), Just(1_000)], 0..200),
    ) {
        let histogram = Histogram::new(&BOUNDS);
        // On two threads, so that there are two shards to add up.
        let (one, other) = durations.split_at(durations.len() / 2);
        std::thread::scope(|scope| {
            for part in [one, other] {
                scope.spawn(|| part.iter().for_each(|&ns| histogram.observe(Duration::from_nanos(ns))));
            }
        });
        let snapshot = histogram.snapshot();
        for (bound, count) in &snapshot.buckets {
            prop_assert_eq!(*count, durations.iter().filter(|ns| *ns <= bound).count() as u64, "up to {}", bound);
        }
        prop_assert_eq!(snapshot.buckets.len(), BOUNDS.len());
        prop_assert_eq!(snapshot.count, durations.len() as u64);
        prop_assert_eq!(snapshot.sum_ns, durations.iter().sum::<u64>());
    }

    #[test]
    fn a_sharded_family_adds_up_to_what_was_counted(
        events in proptest::collection::vec((0_usize..4, any::<bool>()), 0..200),
    ) {
        let family = Sharded::<Family<4>>::default();
        let mut expected = [0_u64; 4];
        for &(label, _) in &events {
            expected[label] += 1;
        }
        // Each event is counted on one thread, and some are uncounted on another.
        std::thread::scope(|scope| {
            scope.spawn(|| events.iter().for_each(|&(label, _)| family.local().count(label)));
            scope.spawn(|| {
                events.iter().filter(|event| event.1).for_each(|&(label, _)| family.local().uncount(label));
            });
        });
        for &(label, uncounted) in &events {
            expected[label] -= u64::from(uncounted);
        }
        let mut sum = [0; 4];
        family.shards().for_each(|shard| shard.add_to(&mut sum));
        prop_assert_eq!(sum, expected);
    }
}
