//! Each container beside the standard one that it replaces: time and memory for a million values.
//! `cargo bench --package reprieve-containers`; a filter takes some of them, as in
//! `cargo bench --package reprieve-containers -- slab`.
//!
//! "max alloc" is the largest amount of memory held at once: of a container that doubles, the old
//! and the new array while it copies.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use divan::counter::ItemsCount;
use divan::{AllocProfiler, Bencher, black_box};
use hashbrown::HashTable;
use reprieve_containers::byte_slab::ByteSlab;
use reprieve_containers::sharding::{SHARDS, shard};
use reprieve_containers::slab::Slab;
use reprieve_containers::slot_index::SlotIndex;

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

fn main() {
    longest_pauses();
    divan::main();
}

/// A million, and as many more as make a container that doubles do so once more.
const COUNT: u32 = 1_100_000;
/// As large as a user.
type Value = [u64; 5];

/// A generator of the usual constants: the same keys in each run.
fn hash_of(key: u32) -> u64 {
    (u64::from(key) + 1)
        .wrapping_mul(0x9E37_79B9_7F4A_7C15)
        .rotate_left(31)
        .wrapping_mul(0xBF58_476D_1CE4_E5B9)
}

/// Prints what the benchmarks below average out: the pause of the login that makes a table grow.
fn longest_pauses() {
    fn slowest(name: &str, batch: usize, mut insert: impl FnMut(u32)) {
        let mut slowest = Duration::ZERO;
        for keys in (0..COUNT).collect::<Vec<_>>().chunks(batch) {
            let start = Instant::now();
            keys.iter().for_each(|&key| insert(key));
            slowest = slowest.max(start.elapsed());
        }
        println!("{name}: slowest of all insertions ({batch} at a time) {slowest:?}");
    }
    let mut slab = <Slab<_>>::default();
    slowest("Slab", 1, |key| _ = black_box(slab.insert(value(key))));
    let mut vec = Vec::new();
    slowest("Vec<Option<_>>", 1, |key| vec.push(Some(value(key))));
    let mut map = HashMap::new();
    slowest("HashMap", 1, |key| _ = map.insert(key, value(key)));
    let mut tables = tables();
    slowest("equal shards", 10_000, |key| insert(&mut tables, equal_shard(key), key));
    let mut tables = self::tables();
    slowest("unequal shards", 10_000, |key| insert(&mut tables, unequal_shard(key), key));
    let mut indexes = indexes();
    slowest("SlotIndex", 10_000, |key| insert_in_index(&mut indexes, key));
}

fn value(key: u32) -> Value {
    [u64::from(key); 5]
}

fn tables() -> Vec<HashTable<u32>> {
    (0..SHARDS).map(|_| HashTable::new()).collect()
}

fn insert(tables: &mut [HashTable<u32>], shard: usize, key: u32) {
    tables[shard].insert_unique(hash_of(key), key, |&key| hash_of(key));
}

fn indexes() -> Vec<SlotIndex> {
    (0..SHARDS).map(|_| SlotIndex::default()).collect()
}

fn insert_in_index(indexes: &mut [SlotIndex], key: u32) {
    indexes[unequal_shard(key)].insert(hash_of(key), key, hash_of);
}

fn equal_shard(key: u32) -> usize {
    (hash_of(key) >> 25) as usize % SHARDS
}

fn unequal_shard(key: u32) -> usize {
    shard((hash_of(key) >> 25) as u32)
}

/// Runs `insert` for all keys, as one iteration of a benchmark.
fn fill<C>(bencher: Bencher<'_, '_>, empty: impl Fn() -> C, insert: impl Fn(&mut C, u32)) {
    bencher.counter(ItemsCount::new(COUNT)).bench_local(|| {
        let mut container = empty();
        (0..COUNT).for_each(|key| insert(&mut container, key));
        container
    });
}

#[divan::bench_group(sample_count = 5, sample_size = 1)]
mod values {
    use super::*;

    #[divan::bench]
    fn slab(bencher: Bencher<'_, '_>) {
        fill(bencher, <Slab<_>>::default, |slab, key| _ = slab.insert(value(key)));
    }

    #[divan::bench]
    fn vec_of_options(bencher: Bencher<'_, '_>) {
        fill(bencher, Vec::new, |vec, key| vec.push(Some(value(key))));
    }

    #[divan::bench]
    fn hash_map(bencher: Bencher<'_, '_>) {
        fill(bencher, HashMap::new, |map, key| _ = map.insert(key, value(key)));
    }
}

#[divan::bench_group(sample_count = 5, sample_size = 1)]
mod byte_strings {
    use super::*;

    const BYTES: [u8; 20] = [1; 20];

    #[divan::bench]
    fn byte_slab(bencher: Bencher<'_, '_>) {
        let empty = || (ByteSlab::new(24), Vec::new());
        fill(bencher, empty, |(slab, numbers), _| {
            let number = slab.allocate().expect("a free number");
            slab.get_mut(number, BYTES.len()).copy_from_slice(&BYTES);
            numbers.push(number);
        });
    }

    #[divan::bench]
    fn vec_of_boxes(bencher: Bencher<'_, '_>) {
        fill(bencher, Vec::new, |vec, _| vec.push(Box::<[u8]>::from(black_box(BYTES))));
    }
}

#[divan::bench_group(sample_count = 5, sample_size = 1)]
mod shards {
    use super::*;

    #[divan::bench]
    fn unequal(bencher: Bencher<'_, '_>) {
        fill(bencher, tables, |tables, key| insert(tables, unequal_shard(key), key));
    }

    #[divan::bench]
    fn equal(bencher: Bencher<'_, '_>) {
        fill(bencher, tables, |tables, key| insert(tables, equal_shard(key), key));
    }
    #[divan::bench]
    fn slot_index(bencher: Bencher<'_, '_>) {
        fill(bencher, indexes, |indexes, key| insert_in_index(indexes, key));
    }
}

/// Lookups of all keys, in an order that a cache does not know.
#[divan::bench_group(sample_count = 5, sample_size = 1)]
mod lookups {
    use super::*;

    fn scattered() -> impl Iterator<Item = u32> {
        (0..COUNT).map(|key| (u64::from(key) * 2_654_435_761 % u64::from(COUNT)) as u32)
    }

    #[divan::bench]
    fn slot_index(bencher: Bencher<'_, '_>) {
        let values: Vec<Value> = (0..COUNT).map(value).collect();
        let mut indexes = indexes();
        (0..COUNT).for_each(|key| insert_in_index(&mut indexes, key));
        let is = |slot: u32, key: u32| values[slot as usize] == value(key);
        let find = |key| indexes[unequal_shard(key)].find(hash_of(key), |slot| is(slot, key));
        bencher.counter(ItemsCount::new(COUNT)).bench_local(|| scattered().filter_map(find).count());
    }

    #[divan::bench]
    fn hash_table(bencher: Bencher<'_, '_>) {
        let values: Vec<Value> = (0..COUNT).map(value).collect();
        let mut tables = tables();
        (0..COUNT).for_each(|key| insert(&mut tables, unequal_shard(key), key));
        let is = |slot: u32, key: u32| values[slot as usize] == value(key);
        let find = |key| tables[unequal_shard(key)].find(hash_of(key), |&slot| is(slot, key));
        bencher.counter(ItemsCount::new(COUNT)).bench_local(|| scattered().filter_map(find).count());
    }
}
