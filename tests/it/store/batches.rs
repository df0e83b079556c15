//! Batches come out the same in every backend, and no update is lost between them.

use std::collections::HashMap;

use rand::RngExt as _;
use rand::rngs::StdRng;
use reprieve_store::{Batch, BatchWrite, Committed, Expected, Lifetime, Namespace, Refused, Ttl};

use super::{ENTRY, SECOND, World, get};

/// The entries of a namespace: value, and whether it expires.
pub(super) type Model = HashMap<String, (Vec<u8>, bool)>;

const HOUR: Lifetime = Lifetime::For(super::Duration::from_secs(3600));

fn set<'a>(key: &'a str, value: &'a [u8], lifetime: Lifetime) -> BatchWrite<'a> {
    BatchWrite { key, value: Some(value), lifetime }
}

fn delete(key: &str) -> BatchWrite<'_> {
    BatchWrite { key, value: None, lifetime: Lifetime::Forever }
}

fn expect<'a>(key: &'a str, value: &'a [u8]) -> Expected<'a> {
    Expected { key, value: Some(value) }
}

fn absent(key: &str) -> Expected<'_> {
    Expected { key, value: None }
}

async fn commit(
    space: &Namespace,
    expected: &[Expected<'_>],
    clear: bool,
    writes: &[BatchWrite<'_>],
) -> Result<Committed, Refused> {
    space.commit(&Batch { expected, clear, writes }).await.unwrap()
}

pub(super) async fn all(world: &World) {
    a_batch_compares_deletes_and_writes(world).await;
    a_kept_time_to_live_ends_when_it_would_have(world).await;
    a_batch_that_clears_leaves_what_it_writes(world).await;
    if world.is_one_server {
        a_refused_batch_changes_nothing(world).await;
    }
    no_update_is_lost(world).await;
}

async fn a_batch_compares_deletes_and_writes(world: &World) {
    let space = world.namespace("batches");
    let done = Ok(Committed::Done);
    assert_eq!(commit(&space, &[], false, &[]).await, done);
    let writes = [set("a", b"1", Lifetime::Forever), set("b", b"", HOUR), delete("none")];
    assert_eq!(commit(&space, &[absent("a"), absent("c")], false, &writes).await, done);
    assert_eq!(space.get_many(&["b", "c", "a"]).await.unwrap(), [Some(vec![]), None, Some(b"1".to_vec())]);
    assert_eq!(space.ttl("a").await.unwrap(), Some(Ttl::Forever));
    let Some(Ttl::Left(left)) = space.ttl("b").await.unwrap() else { panic!("b expires") };
    assert!(left <= SECOND * 3600 && left > SECOND * 3500, "{left:?}");
    assert_eq!(space.ttl("c").await.unwrap(), None);
    assert_eq!(space.get_with("a", |value| value.map(<[u8]>::len)).await.unwrap(), Some(1));
    assert_eq!(space.get_with("c", |value| value.map(<[u8]>::len)).await.unwrap(), None);
    // One key, and several; what was read and is not written counts, too.
    let writes = [set("a", b"2", Lifetime::Forever)];
    let conflicts: [&[Expected<'_>]; 5] = [
        &[absent("a")],
        &[expect("a", b"2")],
        &[expect("a", b"1"), absent("b")],
        &[expect("b", b""), expect("c", b"")],
        &[expect("a", b"1"), expect("a", b"2")],
    ];
    for expected in conflicts {
        assert_eq!(commit(&space, expected, false, &writes).await, Ok(Committed::Conflict), "{expected:?}");
        assert_eq!(commit(&space, expected, true, &[]).await, Ok(Committed::Conflict), "{expected:?}");
        assert_eq!(commit(&space, expected, false, &[delete("a")]).await, Ok(Committed::Conflict));
    }
    assert_eq!(space.usage().await.unwrap(), 2 * ENTRY + 3);
    let writes =
        [delete("a"), set("c", b"1", HOUR), set("a", b"3", HOUR), set("c", b"22", Lifetime::Forever)];
    assert_eq!(commit(&space, &[expect("b", b""), expect("a", b"1")], false, &writes).await, done);
    let values = space.get_many(&["a", "b", "c"]).await.unwrap();
    assert_eq!(values, [Some(b"3".to_vec()), Some(vec![]), Some(b"22".to_vec())]);
    assert_eq!(space.usage().await.unwrap(), 3 * ENTRY + 6, "the last write to a key counts");
    assert_eq!(commit(&space, &[expect("c", b"22")], false, &[delete("c"), delete("a")]).await, done);
    assert_eq!(space.usage().await.unwrap(), ENTRY + 1);
}

async fn a_kept_time_to_live_ends_when_it_would_have(world: &World) {
    let space = world.namespace("kept");
    let short = Lifetime::For(SECOND);
    let first = [set("a", b"1", short), set("b", b"1", short), set("c", b"1", Lifetime::Forever)];
    commit(&space, &[], false, &first).await.unwrap();
    // One alone, and two together.
    commit(&space, &[], false, &[set("a", b"22", Lifetime::Keep)]).await.unwrap();
    let kept = ["b", "c", "d"].map(|key| set(key, b"22", Lifetime::Keep));
    commit(&space, &[], false, &kept).await.unwrap();
    for key in ["a", "b"] {
        assert_eq!(get(&space, key).await.unwrap(), b"22");
        assert!(matches!(space.ttl(key).await.unwrap(), Some(Ttl::Left(left)) if left <= SECOND));
    }
    world.pass(SECOND).await;
    assert_eq!(space.get_many(&["a", "b"]).await.unwrap(), [None, None]);
    assert_eq!(space.ttl("a").await.unwrap(), None);
    for key in ["c", "d"] {
        assert_eq!(space.ttl(key).await.unwrap(), Some(Ttl::Forever));
    }
    // An expired value is no value.
    assert_eq!(
        commit(&space, &[expect("a", b"22"), absent("b")], false, &kept).await,
        Ok(Committed::Conflict)
    );
    assert_eq!(commit(&space, &[absent("a"), absent("b")], false, &kept).await, Ok(Committed::Done));
}

async fn a_batch_that_clears_leaves_what_it_writes(world: &World) {
    let space = world.namespace("cleared");
    for number in 0..100 {
        space.set(&number.to_string(), b"old", Some(SECOND * 60)).await.unwrap().unwrap();
    }
    let writes = [set("7", b"new", Lifetime::Keep), set("x", b"new", HOUR), delete("8")];
    assert_eq!(commit(&space, &[expect("7", b"old")], true, &writes).await, Ok(Committed::Done));
    let values = space.get_many(&["7", "8", "9", "x"]).await.unwrap();
    assert_eq!(values, [Some(b"new".to_vec()), None, None, Some(b"new".to_vec())]);
    assert_eq!(space.usage().await.unwrap(), 2 * ENTRY + 8);
    assert_eq!(space.ttl("7").await.unwrap(), Some(Ttl::Forever), "nothing was there to keep");
    assert_eq!(commit(&space, &[], true, &[]).await, Ok(Committed::Done));
    assert_eq!((get(&space, "x").await, space.usage().await.unwrap()), (None, 0));
}

async fn a_refused_batch_changes_nothing(world: &World) {
    let config = reprieve_store::NamespaceConfig::for_policies("tight", 400);
    let space = world.store.namespace(config);
    let (hundred, long) = ([0; 100], [0; 65_537]);
    let first = [set("a", &hundred, HOUR), set("b", &hundred, Lifetime::Forever)];
    commit(&space, &[], false, &first).await.unwrap();
    let full = space.usage().await.unwrap();
    assert_eq!(full, 2 * ENTRY + 202);
    let key = "k".repeat(1025);
    let refused: [(bool, &[BatchWrite<'_>], Refused); 6] = [
        (false, &[set("c", &hundred, HOUR), set("a", b"", HOUR)], Refused::Quota),
        (false, &[set("c", b"", HOUR)], Refused::Quota),
        (true, &[set("c", &[0; 200], HOUR), set("d", &hundred, HOUR)], Refused::Quota),
        (false, &[delete("a"), set("b", &long, HOUR)], Refused::TooLong),
        (false, &[set("b", &long, HOUR)], Refused::TooLong),
        (true, &[set(&key, b"", HOUR), delete("a")], Refused::TooLong),
    ];
    for (number, (clear, writes, why)) in refused.into_iter().enumerate() {
        assert_eq!(commit(&space, &[expect("a", &hundred)], clear, writes).await, Err(why), "{number}");
        assert_eq!(space.usage().await.unwrap(), full, "{number}");
        let values = space.get_many(&["a", "b", "c", "d"]).await.unwrap();
        assert_eq!(values, [Some(hundred.to_vec()), Some(hundred.to_vec()), None, None], "{number}");
        assert!(matches!(space.ttl("a").await.unwrap(), Some(Ttl::Left(_))), "{number}");
    }
    // What one write frees, another of the same batch may take.
    let exchange = [set("c", &[1; 101], HOUR), delete("a"), set("b", &[1; 99], HOUR)];
    assert_eq!(commit(&space, &[], false, &exchange).await, Ok(Committed::Done));
    assert_eq!(space.usage().await.unwrap(), full);
    let fits = [set("c", &[2; 100], HOUR), set("d", &[2; 100], HOUR)];
    assert_eq!(commit(&space, &[], true, &fits).await, Ok(Committed::Done));
    assert_eq!(space.usage().await.unwrap(), full);
}

/// Tasks read, change and commit, and try again after a conflict. Where two keys can be written
/// together, bytes also move between them, and are never seen in neither or in both.
async fn no_update_is_lost(world: &World) {
    const TASKS: usize = 8;
    const ROUNDS: usize = 40;
    let spaces: Vec<_> = (0..TASKS).map(|index| world.namespace_of("contended", index)).collect();
    let two_keys = world.is_one_server;
    let tasks = spaces.into_iter().enumerate().map(|(index, space)| {
        tokio::spawn(async move {
            let mut done = 0;
            while done < ROUNDS {
                let keys = if two_keys { vec!["left", "right"] } else { vec!["left"] };
                let seen = space.get_many(&keys).await.unwrap();
                let mut lists: Vec<_> = seen.iter().map(|seen| seen.clone().unwrap_or_default()).collect();
                lists[0].push(u8::try_from(index).unwrap());
                if two_keys && done % 3 == 0 {
                    lists.swap(0, 1);
                }
                let expected: Vec<_> = keys
                    .iter()
                    .zip(&seen)
                    .map(|(&key, seen)| Expected { key, value: seen.as_deref() })
                    .collect();
                let writes: Vec<_> =
                    keys.iter().zip(&lists).map(|(&key, list)| set(key, list, Lifetime::Forever)).collect();
                let clear = two_keys && done % 7 == 0;
                match commit(&space, &expected, clear, &writes).await {
                    Ok(Committed::Done) => done += 1,
                    Ok(Committed::Conflict) => {}
                    Err(refused) => panic!("{refused}"),
                }
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let space = world.namespace_of("contended", 0);
    let values: Vec<_> = space.get_many(&["left", "right"]).await.unwrap().into_iter().flatten().collect();
    let all = values.concat();
    for index in 0..u8::try_from(TASKS).unwrap() {
        assert_eq!(all.iter().filter(|&&by| by == index).count(), ROUNDS, "{index}");
    }
    let counted =
        values.iter().zip(["left", "right"]).map(|(value, key)| ENTRY + (value.len() + key.len()) as u64);
    // In Redis, the figure of a task may be older than another's last write; each read renews it.
    get(&space, "left").await;
    assert_eq!(space.usage().await.unwrap(), counted.sum::<u64>());
}

/// A batch of random writes, which expects what is there or something else; the model follows.
pub(super) async fn random(space: &Namespace, chance: &mut StdRng, model: &mut Model, what: &str) {
    let key = |chance: &mut StdRng| format!("key{}", chance.random_range(0..12));
    let read: Vec<_> = (0..chance.random_range(0..3)).map(|_| key(chance)).collect();
    let is_wrong = chance.random_bool(0.2);
    let other = b"something else".as_slice();
    let present = |key: &String| model.get(key).map(|(value, _)| &**value);
    let expected: Vec<_> = read
        .iter()
        .enumerate()
        .map(|(index, key)| Expected {
            key,
            value: if is_wrong && index == 0 { Some(other) } else { present(key) },
        })
        .collect();
    let fits = expected.iter().all(|expected| expected.value == present(&expected.key.to_owned()));
    let clear = chance.random_bool(0.05);
    let changes: Vec<_> = (0..chance.random_range(0..4))
        .map(|_| {
            let value = chance.random_bool(0.8).then(|| vec![b'b'; chance.random_range(0..150)]);
            let lifetimes = [Lifetime::Forever, Lifetime::For(SECOND), Lifetime::Keep];
            (key(chance), value, lifetimes[chance.random_range(0..3)])
        })
        .collect();
    let writes: Vec<_> = changes
        .iter()
        .map(|(key, value, lifetime)| BatchWrite { key, value: value.as_deref(), lifetime: *lifetime })
        .collect();
    let committed = commit(space, &expected, clear, &writes).await;
    assert_eq!(committed, Ok(if fits { Committed::Done } else { Committed::Conflict }), "{what}");
    if !fits {
        return;
    }
    drop(expected);
    if clear {
        model.clear();
    }
    let before = model.clone();
    for (key, value, lifetime) in changes {
        let mortal = match lifetime {
            Lifetime::Forever => false,
            Lifetime::For(_) => true,
            Lifetime::Keep => before.get(&key).is_some_and(|(_, mortal)| *mortal),
        };
        match value {
            Some(value) => model.insert(key, (value, mortal)),
            None => model.remove(&key),
        };
    }
}
