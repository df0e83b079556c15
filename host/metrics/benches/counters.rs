//! The cost of counting, sharded and with one shared atomic, on one thread and on two:
//! `cargo bench --package reprieve-metrics`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use reprieve_metrics::{Family, Histogram, Sharded};

fn main() {
    divan::main();
}

const BOUNDS: [u64; 12] = [
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
    10_000_000,
    100_000_000,
];

/// Counts per iteration: many, so that the threads of a sample overlap.
const COUNTS: u32 = 100_000;

fn count(bencher: Bencher<'_, '_>, count: impl Fn() + Sync) {
    bencher.counter(ItemsCount::new(COUNTS)).bench(|| (0..COUNTS).for_each(|_| count()));
}

#[divan::bench(threads = [1, 2])]
fn one_shared_atomic(bencher: Bencher<'_, '_>) {
    let counter = AtomicU64::new(0);
    count(bencher, || _ = counter.fetch_add(1, Ordering::Relaxed));
}

#[divan::bench(threads = [1, 2])]
fn sharded_atomic(bencher: Bencher<'_, '_>) {
    let counter = Sharded::<AtomicU64>::default();
    count(bencher, || _ = counter.local().fetch_add(1, Ordering::Relaxed));
}

#[divan::bench(threads = [1, 2])]
fn sharded_family(bencher: Bencher<'_, '_>) {
    let family = Sharded::<Family<8>>::default();
    count(bencher, || family.local().count(black_box(3)));
}

#[divan::bench(threads = [1, 2])]
fn histogram(bencher: Bencher<'_, '_>) {
    let histogram = Histogram::new(&BOUNDS);
    count(bencher, || histogram.observe(black_box(Duration::from_nanos(30_000))));
}

/// What a scrape costs for each counter.
#[divan::bench]
fn read_sharded_atomic(bencher: Bencher<'_, '_>) {
    let counter = Sharded::<AtomicU64>::default();
    counter.local().fetch_add(1, Ordering::Relaxed);
    bencher.bench_local(|| counter.shards().map(|shard| shard.load(Ordering::Relaxed)).sum::<u64>());
}
