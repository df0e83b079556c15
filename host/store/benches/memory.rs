//! A namespace in memory beside `HashMap<String, (Vec<u8>, u64)>` in a `Mutex`, which is what a
//! policy's state would be without shards and packed entries: time and memory for a million users
//! with twelve bytes each. `cargo bench --package reprieve-store --no-default-features`; a filter
//! takes some of them, as in `… -- write`.
//!
//! Medians of one run on a busy machine, each access to a random user, so that most of it is waiting
//! for memory. "Requested" is "max alloc" of `fill`; an allocator adds at least eight bytes to each
//! block, of which the namespace has 79 thousand and the map two million. The times are of before the
//! heads of entries were in their cells; since then a read takes 0.7 and a write 0.9 of that.
//!
//! | | namespace | `HashMap` |
//! | --- | --- | --- |
//! | requested for a million users | 56 MB | 164 MB |
//! | read (`get`; `get_with`) | 1.46 µs; 1.40 µs | 1.05 µs |
//! | write (`compare_and_set`; `commit` of one key, of two) | 1.42 µs; 1.40 µs, 1.79 µs | 0.99 µs |
//!
//! The namespace also counts bytes towards a quota, removes what has expired, and lets several
//! threads work at once.

use std::cell::Cell;
use std::collections::HashMap;
use std::hint::black_box;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use divan::counter::ItemsCount;
use divan::{AllocProfiler, Bencher};
use reprieve_store::clock::{Clock, SystemClock};
use reprieve_store::{Batch, BatchWrite, Committed, Expected, Lifetime, Namespace};

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

const USERS: u32 = 1_000_000;
const DAY: Duration = Duration::from_secs(86_400);
const VALUE: [u8; 12] = [7; 12];

fn key(user: u32) -> String {
    format!("user{user:07}@example.org")
}

/// Another user each time, in no order that a cache could learn.
fn next_key(last: &Cell<u32>) -> String {
    last.set(last.get().wrapping_mul(2_654_435_761).wrapping_add(12_345));
    key(last.get() % USERS)
}

/// The result of a future that is ready, as those of namespaces in memory are.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => done,
        Poll::Pending => panic!("it completes immediately"),
    }
}

fn namespace(users: u32) -> Namespace {
    let namespace = Namespace::in_memory(1 << 32, Arc::new(SystemClock));
    for user in 0..users {
        now(namespace.set(&key(user), &VALUE, Some(DAY))).expect("memory").expect("room");
    }
    namespace
}

/// With the value and when it expires.
type Map = Mutex<HashMap<String, (Vec<u8>, u64)>>;

fn expires() -> u64 {
    SystemClock.now_ms() + 86_400_000
}

fn map(users: u32) -> Map {
    Mutex::new((0..users).map(|user| (key(user), (VALUE.to_vec(), expires()))).collect())
}

#[divan::bench_group(sample_count = 3, sample_size = 1)]
mod fill {
    use super::*;

    #[divan::bench]
    fn namespace(bencher: Bencher<'_, '_>) {
        bencher.counter(ItemsCount::new(USERS)).bench_local(|| super::namespace(USERS));
    }

    #[divan::bench]
    fn hash_map(bencher: Bencher<'_, '_>) {
        bencher.counter(ItemsCount::new(USERS)).bench_local(|| map(USERS));
    }
}

mod read {
    use super::*;

    #[divan::bench(sample_count = 200, sample_size = 500)]
    fn get(bencher: Bencher<'_, '_>) {
        let (namespace, last) = (namespace(USERS), Cell::new(1));
        bencher
            .with_inputs(|| next_key(&last))
            .bench_local_refs(|key| now(namespace.get(key)).expect("memory"));
    }

    #[divan::bench(sample_count = 200, sample_size = 500)]
    fn get_with(bencher: Bencher<'_, '_>) {
        let (namespace, last) = (namespace(USERS), Cell::new(1));
        let read = |value: Option<&[u8]>| value.and_then(|value| value.try_into().ok()).unwrap_or(VALUE);
        bencher
            .with_inputs(|| next_key(&last))
            .bench_local_refs(|key| now(namespace.get_with(key, read)).expect("memory"));
    }

    #[divan::bench(sample_count = 200, sample_size = 500)]
    fn hash_map(bencher: Bencher<'_, '_>) {
        let (map, last) = (map(USERS), Cell::new(1));
        bencher.with_inputs(|| next_key(&last)).bench_local_refs(|key| {
            let map = map.lock().unwrap_or_else(PoisonError::into_inner);
            let (value, expires) = map.get(key)?;
            (*expires > SystemClock.now_ms()).then(|| value.clone())
        });
    }
}

mod write {
    use super::*;

    #[divan::bench(sample_count = 200, sample_size = 500)]
    fn compare_and_set(bencher: Bencher<'_, '_>) {
        let (namespace, last) = (namespace(USERS), Cell::new(1));
        bencher.with_inputs(|| next_key(&last)).bench_local_refs(|key| {
            let written = now(namespace.compare_and_set(key, &VALUE, black_box(&VALUE), Some(DAY)));
            assert!(written.expect("memory").expect("room"));
        });
    }

    /// The memory of a user, as a policy writes it after most passed logins.
    #[divan::bench(sample_count = 200, sample_size = 500)]
    fn commit_one_key(bencher: Bencher<'_, '_>) {
        let (namespace, last) = (namespace(USERS), Cell::new(1));
        bencher.with_inputs(|| next_key(&last)).bench_local_refs(|key| commit(&namespace, &[key]));
    }

    #[divan::bench(sample_count = 200, sample_size = 500)]
    fn commit_two_keys(bencher: Bencher<'_, '_>) {
        let (namespace, last) = (namespace(USERS), Cell::new(1));
        let counter = key(0);
        bencher.with_inputs(|| next_key(&last)).bench_local_refs(|key| commit(&namespace, &[key, &counter]));
    }

    fn commit<const KEYS: usize>(namespace: &Namespace, keys: &[&String; KEYS]) {
        let expected = keys.map(|key| Expected { key, value: Some(&VALUE) });
        let lifetime = Lifetime::For(DAY);
        let writes = keys.map(|key| BatchWrite { key, value: Some(black_box(&VALUE)), lifetime });
        let batch = Batch { expected: &expected, clear: false, writes: &writes };
        assert_eq!(now(namespace.commit(&batch)), Ok(Ok(Committed::Done)));
    }

    #[divan::bench(sample_count = 200, sample_size = 500)]
    fn hash_map(bencher: Bencher<'_, '_>) {
        let (map, last) = (map(USERS), Cell::new(1));
        bencher.with_inputs(|| next_key(&last)).bench_local_refs(|key| {
            let mut map = map.lock().unwrap_or_else(PoisonError::into_inner);
            let present = map.get_mut(key).filter(|(value, _)| *value == VALUE);
            *present.expect("the value") = (black_box(VALUE).to_vec(), expires());
        });
    }
}
