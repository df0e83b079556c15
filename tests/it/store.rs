//! The store behaves the same in memory, in a file, in Redis, in Valkey and in a cluster.

mod batches;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::redis::{Make, Redis};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use reprieve::config::Config;
use reprieve_store::clock::{ManualClock, SystemClock};
use reprieve_store::{Namespace, NamespaceConfig, Refused, Store, StoreSecrets};
use tempfile::TempDir;

const SECOND: Duration = Duration::from_secs(1);
/// Bytes that an entry counts in addition to key and value.
const ENTRY: u64 = 72;

/// The clock of a store.
enum Time {
    /// Controlled by the test.
    Manual(Arc<ManualClock>),
    /// Real time.
    Real,
}

/// A store under test.
struct World {
    store: Store,
    time: Time,
    /// Whether a namespace is on one server, so that its quota is exact and each batch is whole.
    is_one_server: bool,
    /// The same store as another process sees it, if possible.
    other: Option<Store>,
    servers: Vec<Redis>,
    _folder: Option<TempDir>,
}

/// Opens a store as configured by a table.
fn open(table: &str, clock: Option<Arc<ManualClock>>) -> Store {
    // Without the state that proxies share.
    let share = if table.contains("\"redis\"") { ", secret-file = \"/never/read\"" } else { "" };
    let text = format!(
        "store = {{ {table}{share} }}\n[pool.p]\nnodes = [\"127.0.0.1:1\"]\n[[virtual-server]]\nname = \"s\"\nlisten = [\"127.0.0.1:0\"]\npool = \"p\"\n"
    );
    let config = Config::parse(&text, "test.toml").unwrap_or_else(|error| panic!("{error}"));
    let keys = StoreSecrets::read(&config.store).unwrap();
    match clock {
        Some(clock) => Store::open(keys, clock).unwrap(),
        None => Store::open(keys, Arc::new(SystemClock)).unwrap(),
    }
}

impl World {
    fn memory() -> Self {
        let clock = ManualClock::new(1_700_000_000_000);
        let store = Store::in_memory(clock.clone());
        Self {
            store,
            time: Time::Manual(clock),
            is_one_server: true,
            other: None,
            servers: vec![],
            _folder: None,
        }
    }

    fn file() -> Self {
        let clock = ManualClock::new(1_700_000_000_000);
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("store.redb");
        // A cache so small that most reads go to the file.
        let table = format!(
            "backend = \"file\", path = \"{}\", cache = \"1MiB\", save-every = \"5ms\"",
            path.display()
        );
        let store = open(&table, Some(clock.clone()));
        Self {
            store,
            time: Time::Manual(clock),
            is_one_server: true,
            other: None,
            servers: vec![],
            _folder: Some(folder),
        }
    }

    fn redis(make: Make) -> Self {
        let server = Redis::start(make);
        // A long timeout, because tests load the machine.
        let table = format!("backend = \"redis\", url = \"{}\", timeout = \"10s\"", server.url());
        Self {
            store: open(&table, None),
            time: Time::Real,
            is_one_server: true,
            other: Some(open(&table, None)),
            servers: vec![server],
            _folder: None,
        }
    }

    fn cluster() -> Self {
        let nodes: Vec<_> =
            (0..3).map(|_| Redis::with(Make::Valkey, &["--cluster-enabled", "yes"])).collect();
        // Each has a third of the slots.
        for (node, slots) in nodes.iter().zip([("0", "5460"), ("5461", "10922"), ("10923", "16383")]) {
            assert_eq!(node.ask(&["cluster", "addslotsrange", slots.0, slots.1]), "OK");
        }
        for node in &nodes[1..] {
            assert_eq!(nodes[0].ask(&["cluster", "meet", "127.0.0.1", &node.port().to_string()]), "OK");
        }
        crate::support::until("the cluster is complete", || {
            nodes.iter().all(|node| node.ask(&["cluster", "info"]).contains("cluster_state:ok"))
        });
        let table =
            format!("backend = \"redis\", url = \"{}\", cluster = true, timeout = \"10s\"", nodes[0].url());
        Self {
            store: open(&table, None),
            time: Time::Real,
            is_one_server: false,
            other: Some(open(&table, None)),
            servers: nodes,
            _folder: None,
        }
    }

    fn namespace(&self, name: &str) -> Namespace {
        self.store.namespace(NamespaceConfig::for_policies(name, 1 << 24))
    }

    /// The same namespace as this process or, for each second user, another one sees it.
    fn namespace_of(&self, name: &str, user: usize) -> Namespace {
        let store = self.other.as_ref().filter(|_| user % 2 == 1).unwrap_or(&self.store);
        store.namespace(NamespaceConfig::for_policies(name, 1 << 24))
    }

    /// Lets this much time pass, and a little more.
    async fn pass(&self, time: Duration) {
        match &self.time {
            Time::Manual(clock) => clock.advance(time),
            // No event announces the time on the server's clock.
            Time::Real => tokio::time::sleep(time + Duration::from_millis(5)).await,
        }
    }
}

async fn get(namespace: &Namespace, key: &str) -> Option<Vec<u8>> {
    namespace.get(key).await.unwrap()
}

async fn a_value_is_there_until_its_time_to_live_is_over(world: &World) {
    let space = world.namespace("living");
    space.set("a", b"1", Some(SECOND)).await.unwrap().unwrap();
    space.set("b", b"2", None).await.unwrap().unwrap();
    space.set("c", b"3", Some(SECOND * 3600)).await.unwrap().unwrap();
    assert_eq!(get(&space, "a").await.unwrap(), b"1");
    world.pass(SECOND).await;
    assert_eq!(get(&space, "a").await, None);
    assert_eq!(get(&space, "b").await.unwrap(), b"2");
    assert_eq!(get(&space, "c").await.unwrap(), b"3");
    // Written again without a time to live, a value stays; with one of 0, it expires at once.
    space.set("a", b"1", Some(SECOND)).await.unwrap().unwrap();
    space.set("a", b"4", None).await.unwrap().unwrap();
    world.pass(SECOND).await;
    assert_eq!(get(&space, "a").await.unwrap(), b"4");
    space.set("a", b"5", Some(Duration::ZERO)).await.unwrap().unwrap();
    assert_eq!(get(&space, "a").await, None);
    assert!(space.add("a", b"6", None).await.unwrap().unwrap());
    // The maximum length.
    let longest = Duration::from_secs(u64::from(u32::MAX));
    space.set("a", b"7", Some(longest)).await.unwrap().unwrap();
    assert_eq!(get(&space, "a").await.unwrap(), b"7");
}

async fn add_writes_once_and_again_after_expiry(world: &World) {
    let space = world.namespace("adding");
    assert!(space.add("a", b"1", Some(SECOND)).await.unwrap().unwrap());
    assert!(!space.add("a", b"2", Some(SECOND)).await.unwrap().unwrap());
    world.pass(SECOND).await;
    assert!(space.add("a", b"3", None).await.unwrap().unwrap());
    assert_eq!(get(&space, "a").await.unwrap(), b"3");
}

async fn compare_and_set_writes_only_over_what_was_expected(world: &World) {
    let space = world.namespace("comparing");
    assert!(!space.compare_and_set("a", b"", b"1", None).await.unwrap().unwrap(), "nothing is no value");
    space.set("a", b"", None).await.unwrap().unwrap();
    assert!(space.compare_and_set("a", b"", b"1", None).await.unwrap().unwrap());
    assert!(!space.compare_and_set("a", b"2", b"3", None).await.unwrap().unwrap());
    assert!(space.compare_and_set("a", b"1", b"\0\xff\r\n", Some(SECOND)).await.unwrap().unwrap());
    assert_eq!(get(&space, "a").await.unwrap(), b"\0\xff\r\n");
    world.pass(SECOND).await;
    assert!(!space.compare_and_set("a", b"\0\xff\r\n", b"4", None).await.unwrap().unwrap());
}

async fn counters_count_in_64_bits_and_keep_their_time_to_live(world: &World) {
    let space = world.namespace("counting");
    assert_eq!(space.increment("n", 2, Some(SECOND)).await.unwrap().unwrap(), 2);
    assert_eq!(space.increment("n", -5, Some(SECOND * 3600)).await.unwrap().unwrap(), -3);
    assert_eq!(get(&space, "n").await.unwrap(), b"-3");
    world.pass(SECOND).await;
    assert_eq!(space.increment("n", 1, None).await.unwrap().unwrap(), 1);
    assert_eq!(space.increment("n", i64::MAX - 1, None).await.unwrap().unwrap(), i64::MAX);
    assert_eq!(space.increment("n", 1, None).await.unwrap().unwrap(), i64::MAX, "it stays at the end");
    assert_eq!(space.increment("n", i64::MIN, None).await.unwrap().unwrap(), -1);
    assert_eq!(space.increment("n", i64::MIN, None).await.unwrap().unwrap(), i64::MIN);
    assert_eq!(
        space.increment("n", 9_007_199_254_740_993, None).await.unwrap().unwrap(),
        -9_214_364_837_600_034_815
    );
    assert_eq!(space.increment("zero", 0, None).await.unwrap().unwrap(), 0);
    assert_eq!(get(&space, "zero").await.unwrap(), b"0");
    for text in ["x", "", "+5", "007", "-0", "1 ", " 1", "1.0", "9223372036854775808", "1\n", "0x10", "1e3"] {
        space.set("text", text.as_bytes(), None).await.unwrap().unwrap();
        let counted = space.increment("text", 1, None).await.unwrap();
        assert_eq!(counted, Err(Refused::NotANumber), "{text:?}");
        assert_eq!(get(&space, "text").await.unwrap(), text.as_bytes());
    }
}

async fn what_is_deleted_or_cleared_is_gone_and_the_neighbours_stay(world: &World) {
    let (one, other) = (world.namespace("one"), world.namespace("one.two"));
    for key in ["a", "b", "c"] {
        one.set(key, b"1", None).await.unwrap().unwrap();
        other.set(key, b"2", Some(SECOND * 60)).await.unwrap().unwrap();
    }
    assert!(one.delete("a").await.unwrap());
    assert!(!one.delete("a").await.unwrap());
    assert_eq!((get(&one, "a").await, get(&other, "a").await.unwrap()), (None, b"2".to_vec()));
    one.clear().await.unwrap();
    assert_eq!((get(&one, "b").await, one.usage().await.unwrap()), (None, 0));
    assert!(!one.delete("b").await.unwrap());
    assert!(!one.compare_and_set("c", b"1", b"3", None).await.unwrap().unwrap());
    assert_eq!(one.increment("b", 1, None).await.unwrap().unwrap(), 1);
    assert_eq!(get(&other, "b").await.unwrap(), b"2");
    one.clear().await.unwrap();
    one.set("a", b"4", None).await.unwrap().unwrap();
    assert_eq!(get(&one, "a").await.unwrap(), b"4");
    assert_eq!(one.usage().await.unwrap(), ENTRY + 2);
}

async fn usage_is_what_the_entries_count(world: &World) {
    let space = world.namespace("measured");
    space.set("abc", &[0; 100], None).await.unwrap().unwrap();
    space.set("de", &[0; 50], Some(SECOND * 100)).await.unwrap().unwrap();
    assert_eq!(space.usage().await.unwrap(), 2 * ENTRY + 155);
    space.set("abc", &[0; 10], Some(SECOND * 50)).await.unwrap().unwrap();
    assert_eq!(space.usage().await.unwrap(), 2 * ENTRY + 65);
    space.increment("n", 100, None).await.unwrap().unwrap();
    assert_eq!(space.usage().await.unwrap(), 3 * ENTRY + 69);
    space.add("abc", b"more", None).await.unwrap().unwrap();
    assert_eq!(space.usage().await.unwrap(), 3 * ENTRY + 69);
    for key in ["abc", "de", "n", "none"] {
        space.delete(key).await.unwrap();
    }
    assert_eq!(space.usage().await.unwrap(), 0);
}

async fn the_quota_holds_and_freed_bytes_can_be_used_again(world: &World) {
    let space = world.store.namespace(NamespaceConfig::for_policies("narrow", 400));
    space.set("a", &[0; 100], None).await.unwrap().unwrap();
    space.set("b", &[0; 100], None).await.unwrap().unwrap();
    assert_eq!(space.set("c", &[0; 100], None).await.unwrap(), Err(Refused::Quota));
    assert_eq!(space.add("c", &[0; 100], None).await.unwrap(), Err(Refused::Quota));
    assert_eq!(get(&space, "c").await, None);
    // Writes that do not grow are always allowed.
    space.set("a", &[1; 100], None).await.unwrap().unwrap();
    assert_eq!(space.set("a", &[1; 200], None).await.unwrap(), Err(Refused::Quota));
    assert_eq!(get(&space, "a").await.unwrap(), [1; 100]);
    assert!(space.delete("a").await.unwrap());
    space.set("c", &[0; 100], None).await.unwrap().unwrap();
}

async fn what_is_too_long_is_refused_and_any_key_will_do(world: &World) {
    let space = world.namespace("long");
    let key = "k".repeat(1024);
    space.set(&key, &[7; 65_536], None).await.unwrap().unwrap();
    assert_eq!(get(&space, &key).await.unwrap(), [7; 65_536]);
    assert_eq!(space.set(&(key + "k"), b"", None).await.unwrap(), Err(Refused::TooLong));
    assert_eq!(space.set("k", &[0; 65_537], None).await.unwrap(), Err(Refused::TooLong));
    assert_eq!(get(&space, "k").await, None);
    for key in ["", " ", "{}", "}{x}", "a:b", "#usage", "*", "Ünïcøde 😀", "line\r\nbreak", "\0"] {
        assert!(space.add(key, key.as_bytes(), None).await.unwrap().unwrap(), "{key:?}");
        assert_eq!(get(&space, key).await.unwrap(), key.as_bytes());
    }
}

async fn of_many_at_once_each_operation_is_whole(world: &World) {
    let space = world.namespace("busy");
    let tasks = (0..8).map(|index| {
        let space = world.namespace_of("busy", usize::from(index));
        tokio::spawn(async move {
            let mut added = 0;
            for number in 0..50 {
                let key = format!("add{number}");
                added += usize::from(space.add(&key, b"", None).await.unwrap().unwrap());
                space.increment("sum", 3, None).await.unwrap().unwrap();
                loop {
                    let before = space.get("list").await.unwrap();
                    let mut after = before.clone().unwrap_or_default();
                    after.push(index);
                    let written = match before {
                        None => space.add("list", &after, None).await,
                        Some(before) => space.compare_and_set("list", &before, &after, None).await,
                    };
                    if written.unwrap().unwrap() {
                        break;
                    }
                }
            }
            added
        })
    });
    let mut added = 0;
    for task in tasks.collect::<Vec<_>>() {
        added += task.await.unwrap();
    }
    assert_eq!(added, 50);
    assert_eq!(get(&space, "sum").await.unwrap(), b"1200");
    let list = get(&space, "list").await.unwrap();
    for index in 0..8 {
        assert_eq!(list.iter().filter(|&&by| by == index).count(), 50);
    }
}

/// Random operations, compared with a model. Times to live are longer than the test, or expire when
/// the test advances the clock. One arm per operation, so long.
async fn random_operations_come_out_as_the_model_says(world: &World) {
    let space = world.namespace("random");
    for seed in 0..4 {
        let mut chance = StdRng::seed_from_u64(seed);
        let mut model = batches::Model::new();
        space.clear().await.unwrap();
        for step in 0..600 {
            let key = format!("key{}", chance.random_range(0..12));
            let value = match chance.random_range(0..3) {
                0 => chance.random_range(-50_i64..50).to_string().into_bytes(),
                1 => vec![b'v'; chance.random_range(0..40)],
                _ => chance.random::<u64>().to_be_bytes().to_vec(),
            };
            let mortal = chance.random_bool(0.3);
            let ttl = if mortal { Some(SECOND) } else { None };
            let present = model.get(&key).cloned();
            let what = format!("seed {seed}, step {step}, {key}");
            match chance.random_range(0..100) {
                0..12 => batches::random(&space, &mut chance, &mut model, &what).await,
                12..25 => assert_eq!(get(&space, &key).await, present.map(|(value, _)| value), "{what}"),
                25..45 => {
                    space.set(&key, &value, ttl).await.unwrap().unwrap();
                    model.insert(key, (value, mortal));
                }
                45..60 => {
                    assert_eq!(
                        space.add(&key, &value, ttl).await.unwrap().unwrap(),
                        present.is_none(),
                        "{what}"
                    );
                    model.entry(key).or_insert((value, mortal));
                }
                60..75 => {
                    let expected = match &present {
                        Some((value, _)) if chance.random_bool(0.7) => value.clone(),
                        _ => b"something else".to_vec(),
                    };
                    let fits = present.is_some_and(|(value, _)| value == expected);
                    let done = space.compare_and_set(&key, &expected, &value, ttl).await.unwrap().unwrap();
                    assert_eq!(done, fits, "{what}");
                    if fits {
                        model.insert(key, (value, mortal));
                    }
                }
                75..88 => {
                    let by = chance.random_range(-1000..1000);
                    let before = match &present {
                        None => Some(0),
                        Some((value, _)) => std::str::from_utf8(value).ok().and_then(|text| {
                            text.parse::<i64>().ok().filter(|number| number.to_string() == text)
                        }),
                    };
                    let sum = before.map(|before| before + by).ok_or(Refused::NotANumber);
                    assert_eq!(space.increment(&key, by, ttl).await.unwrap(), sum, "{what}");
                    if let Ok(sum) = sum {
                        let mortal = present.map_or(mortal, |(_, mortal)| mortal);
                        model.insert(key, (sum.to_string().into_bytes(), mortal));
                    }
                }
                88..97 => {
                    assert_eq!(space.delete(&key).await.unwrap(), present.is_some(), "{what}");
                    model.remove(&key);
                }
                97 => {
                    space.clear().await.unwrap();
                    model.clear();
                }
                _ => {
                    if matches!(world.time, Time::Manual(_)) {
                        world.pass(SECOND).await;
                        model.retain(|_, (_, mortal)| !*mortal);
                    }
                }
            }
            if matches!(world.time, Time::Real) {
                // In real time, nothing may expire during the test.
                for (key, (value, mortal)) in &mut model {
                    if std::mem::take(mortal) {
                        space.set(key, value, Some(SECOND * 600)).await.unwrap().unwrap();
                    }
                }
            }
        }
        let lives: u64 = model.iter().map(|(key, (value, _))| ENTRY + (key.len() + value.len()) as u64).sum();
        let usage = space.usage().await.unwrap();
        assert!(usage >= lives, "what lives counts: {usage}, {lives}");
        if matches!(world.time, Time::Real) {
            assert_eq!(usage, lives, "seed {seed}");
        }
        let mut seen = HashMap::new();
        let mut from = None;
        loop {
            let (entries, next) = world.store.entries("random", from).await.unwrap();
            seen.extend(entries.into_iter().map(|entry| (entry.key, entry.value)));
            if next.is_none() {
                break;
            }
            from = next;
        }
        let model: HashMap<_, _> = model.into_iter().map(|(key, (value, _))| (key, value)).collect();
        assert_eq!(seen, model, "a walk sees what is there");
    }
}

async fn a_walk_comes_to_every_entry_in_steps(world: &World) {
    let space = world.namespace("walked");
    for number in 0..4000 {
        space.set(&format!("key{number}"), b"", None).await.unwrap().unwrap();
    }
    let (mut seen, mut from) = (HashSet::new(), None);
    loop {
        let (entries, next) = world.store.entries("walked", from).await.unwrap();
        assert!(entries.len() < 3000, "{} at once", entries.len());
        seen.extend(entries.into_iter().map(|entry| entry.key));
        if next.is_none() {
            break;
        }
        from = next;
    }
    assert_eq!(seen.len(), 4000);
}

/// Expired entries stop counting towards the quota within two minutes.
async fn what_has_expired_stops_to_count(world: &World) {
    let space = world.namespace("fading");
    for number in 0..200 {
        space.set(&number.to_string(), b"1", Some(SECOND)).await.unwrap().unwrap();
    }
    space.set("stays", b"1", None).await.unwrap().unwrap();
    assert!(space.usage().await.unwrap() >= 200 * ENTRY);
    world.pass(SECOND).await;
    let deadline = Instant::now() + Duration::from_secs(120);
    let mut turn = 0;
    while space.usage().await.unwrap() != ENTRY + 6 {
        assert!(Instant::now() < deadline, "{}", space.usage().await.unwrap());
        if matches!(world.time, Time::Manual(_)) {
            // In memory, later writes remove expired entries.
            space.set(&format!("later{turn}"), b"1", None).await.unwrap().unwrap();
            space.delete(&format!("later{turn}")).await.unwrap();
            turn += 1;
        } else {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

/// A Redis with an eviction policy may evict the accounting, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_that_has_lost_its_accounting_still_works() {
    let world = World::redis(Make::Redis);
    let space = world.namespace("lossy");
    for key in ["a", "b"] {
        space.set(key, b"1", Some(SECOND * 600)).await.unwrap().unwrap();
    }
    world.servers[0].ask(&["del", "reprieve:{lossy}#usage", "reprieve:{lossy}#minutes"]);
    assert!(space.delete("a").await.unwrap());
    assert_eq!(get(&space, "b").await.unwrap(), b"1");
    assert_eq!(space.usage().await.unwrap(), 0, "less than nothing is nothing");
    space.clear().await.unwrap();
    assert_eq!((get(&space, "b").await, space.usage().await.unwrap()), (None, 0));
    // A foreign value under one of its keys affects only that key.
    world.servers[0].ask(&["set", "reprieve:{lossy}:c", "short"]);
    assert!(space.increment("c", 1, None).await.is_err() && space.get("c").await.is_err());
    space.set("e", b"1", None).await.unwrap().unwrap();
    assert_eq!(get(&space, "e").await.unwrap(), b"1");
}

async fn everything(world: &World) {
    a_value_is_there_until_its_time_to_live_is_over(world).await;
    add_writes_once_and_again_after_expiry(world).await;
    compare_and_set_writes_only_over_what_was_expected(world).await;
    counters_count_in_64_bits_and_keep_their_time_to_live(world).await;
    what_is_deleted_or_cleared_is_gone_and_the_neighbours_stay(world).await;
    usage_is_what_the_entries_count(world).await;
    if world.is_one_server {
        the_quota_holds_and_freed_bytes_can_be_used_again(world).await;
    }
    what_is_too_long_is_refused_and_any_key_will_do(world).await;
    of_many_at_once_each_operation_is_whole(world).await;
    batches::all(world).await;
    random_operations_come_out_as_the_model_says(world).await;
    a_walk_comes_to_every_entry_in_steps(world).await;
    what_has_expired_stops_to_count(world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_behaves_as_the_model() {
    everything(&World::memory()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_behaves_as_the_model() {
    everything(&World::file()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_behaves_as_the_model() {
    everything(&World::redis(Make::Redis)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn valkey_behaves_as_the_model() {
    everything(&World::redis(Make::Valkey)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_behaves_as_the_model() {
    everything(&World::cluster()).await;
}
