//! Namespaces in memory, in shards.

use futures_util::FutureExt;
use shuttle::rand::{Rng, thread_rng};
use shuttle::thread;

use reprieve_store::clock::ManualClock;
use reprieve_store::{Batch, BatchWrite, Committed, Expected, Lifetime, Namespace, Refused, WriteResult};

const QUOTA: u64 = 1 << 20;
const ACCOUNTS: [&str; 3] = ["one", "two", "three"];
const UNITS: u8 = 9;

fn namespace(quota: u64) -> Namespace {
    Namespace::in_memory(quota, ManualClock::new(1_000_000))
}

/// The result of an operation, which waits for nothing in memory.
fn now<T>(operation: impl Future<Output = T>) -> T {
    operation.now_or_never().expect("in memory nothing waits")
}

fn written<T>(operation: impl Future<Output = WriteResult<T>>) -> Result<T, Refused> {
    now(operation).expect("memory can be reached")
}

fn get(namespace: &Namespace, key: &str) -> Option<u8> {
    now(namespace.get(key)).expect("memory can be reached").map(|value| value[0])
}

fn usage(namespace: &Namespace) -> u64 {
    now(namespace.usage()).expect("memory can be reached")
}

/// Writes values if others are still as they were.
fn commit(
    namespace: &Namespace,
    before: &[(&str, Option<u8>)],
    clear: bool,
    after: &[(&str, u8)],
) -> Result<Committed, Refused> {
    let values: Vec<_> = before.iter().map(|(key, value)| (*key, value.map(|value| [value]))).collect();
    let expected: Vec<_> = values
        .iter()
        .map(|(key, value)| Expected { key, value: value.as_ref().map(<[u8; 1]>::as_slice) })
        .collect();
    let bytes: Vec<_> = after.iter().map(|(key, value)| (*key, [*value])).collect();
    let writes: Vec<_> = bytes
        .iter()
        .map(|(key, value)| BatchWrite { key, value: Some(value), lifetime: Lifetime::Forever })
        .collect();
    written(namespace.commit(&Batch { expected: &expected, clear, writes: &writes }))
}

/// Threads move units between accounts; one clears the namespace and writes all accounts again.
pub fn batches_lose_no_unit() {
    let namespace = namespace(QUOTA);
    assert_eq!(commit(&namespace, &[], false, &ACCOUNTS.map(|key| (key, UNITS))), Ok(Committed::Done));
    let used = usage(&namespace);
    thread::scope(|scope| {
        for thread in 0..3 {
            let namespace = &namespace;
            scope.spawn(move || match thread {
                2 => rewrite(namespace),
                _ => (0..2).for_each(|round| transfer(namespace, thread + round)),
            });
        }
    });
    let all = ACCOUNTS.map(|key| get(&namespace, key));
    assert_eq!(all.iter().flatten().sum::<u8>(), 3 * UNITS, "{all:?}");
    assert_eq!(usage(&namespace), used);
}

fn transfer(namespace: &Namespace, from: usize) {
    let [from, to] = [ACCOUNTS[from % 3], ACCOUNTS[(from + 1) % 3]];
    let (Some(gives), Some(takes)) = (get(namespace, from), get(namespace, to)) else {
        panic!("an account is missing");
    };
    let before = [(from, Some(gives)), (to, Some(takes))];
    let _ = commit(namespace, &before, false, &[(from, gives - 1), (to, takes + 1)]);
}

fn rewrite(namespace: &Namespace) {
    let before = ACCOUNTS.map(|key| (key, get(namespace, key)));
    let after: Vec<_> = before.iter().filter_map(|(key, value)| Some((*key, (*value)?))).collect();
    let _ = commit(namespace, &before, true, &after);
}

/// Each increment counts, and of several threads that add a key, one does.
pub fn counters_and_first_writes_happen_once() {
    let namespace = namespace(QUOTA);
    let added: usize = thread::scope(|scope| {
        let work = || {
            assert!(written(namespace.increment("counter", 1, None)).is_ok_and(|number| number >= 1));
            let is_first = written(namespace.add("key", b"1", None)) == Ok(true);
            let swapped = written(namespace.compare_and_set("key", b"1", b"2", None)) == Ok(true);
            assert!(written(namespace.increment("counter", 1, None)).is_ok_and(|number| number >= 2));
            usize::from(is_first) + 10 * usize::from(swapped)
        };
        let threads: Vec<_> = (0..3).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
    });
    assert_eq!(added, 11, "one is first, and one swaps");
    assert_eq!(now(namespace.get("counter")).expect("memory can be reached").as_deref(), Some(&b"6"[..]));
    assert_eq!(get(&namespace, "key"), Some(b'2'));
}

/// There is room for two of the entries that threads write, replace and delete.
pub fn the_quota_is_never_exceeded() {
    let one_entry = {
        let namespace = namespace(QUOTA);
        assert_eq!(written(namespace.set("0", b"1", None)), Ok(()));
        usage(&namespace)
    };
    let quota = 2 * one_entry;
    let namespace = namespace(quota);
    thread::scope(|scope| {
        for thread in 0..3_usize {
            let namespace = &namespace;
            scope.spawn(move || {
                for round in 0..3 {
                    let key = ["0", "1", "2"][(thread + round) % 3];
                    match thread_rng().gen_range(0..5) {
                        0 => _ = now(namespace.delete(key)).expect("memory can be reached"),
                        1 => _ = commit(namespace, &[], true, &[(key, b'3')]),
                        _ => _ = written(namespace.set(key, b"2", None)),
                    }
                    let used = usage(namespace);
                    assert!(used <= quota, "{used} of {quota}");
                }
            });
        }
    });
    let entries = ["0", "1", "2"].iter().filter(|key| get(&namespace, key).is_some()).count();
    assert_eq!(usage(&namespace), one_entry * entries as u64);
}
