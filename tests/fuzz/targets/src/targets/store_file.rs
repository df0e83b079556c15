//! The file of a store. The first byte chooses a file with records of any content, or damage to a whole
//! file.
//!
//! Whatever is in the file, the store opens or says why not. Each record that has the right form is found
//! until it expires, whatever stands beside it. A damaged file is replaced, and the store goes on: what
//! is written is found again.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use redb::{Database, ReadableTable as _, TableDefinition};
use reprieve_store::clock::ManualClock;
use reprieve_store::{
    FileSettings, Namespace, NamespaceConfig, Store, StoreBackend, StoreConfig, StoreSecrets, Unavailable,
};
use tempfile::TempDir;

use crate::input::Input;

/// The tables of the file: part of its format, so they are written down here once more.
const ENTRIES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("entries");
const NAMESPACES: TableDefinition<'_, &str, (u64, u64)> = TableDefinition::new("namespaces");
const ABOUT: TableDefinition<'_, &str, u64> = TableDefinition::new("about");
/// The number of the namespace in a file that is written here.
const NUMBER: u64 = 7;
/// The store's clock, in milliseconds since 1970.
const NOW_MS: u64 = 1_000_000;
/// Entries of the file that is damaged.
const COUNT: u32 = 40;
const PAGE: usize = 4096;

/// See the head of this file.
pub fn store_file(data: &[u8]) {
    let folder = folder();
    let path = folder.path().join("store");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let mut input = Input::new(data);
    if input.below(2) == 0 {
        runtime.block_on(records(&path, &mut input));
    } else {
        runtime.block_on(damaged(&path, &mut input));
    }
}

/// A folder in memory, where there is one: each run writes a file several times.
fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.expect("a folder")
}

fn open(path: &Path) -> Option<Store> {
    // So small that the engine has to read pages of the file again.
    let settings =
        FileSettings { path: path.to_owned(), save_every: Duration::from_secs(3600), cache: 1 << 14 };
    let config = StoreConfig { backend: StoreBackend::File(settings), ..StoreConfig::default() };
    let secrets = StoreSecrets::read(&config).expect("no secrets");
    Store::open(secrets, ManualClock::new(NOW_MS)).ok()
}

fn namespace(store: &Store) -> Namespace {
    store.namespace(NamespaceConfig::for_policies("pop3", 1 << 20))
}

/// Reads a key. A busy machine may take too long; then it is tried again.
async fn get(namespace: &Namespace, key: &str) -> Option<Vec<u8>> {
    loop {
        match namespace.get(key).await {
            Ok(value) => return value,
            Err(Unavailable(why)) if why.contains("in time") || why.contains("being written") => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// Records as a store may find them: written by another version, or by nobody.
async fn records(path: &Path, input: &mut Input<'_>) {
    let database = Database::create(path).expect("a new file");
    let write = database.begin_write().expect("a transaction");
    let mut expected: Vec<(String, Option<Vec<u8>>)> = Vec::new();
    {
        let mut entries = write.open_table(ENTRIES).expect("a table");
        let mut namespaces = write.open_table(NAMESPACES).expect("a table");
        let mut about = write.open_table(ABOUT).expect("a table");
        namespaces.insert("pop3", (NUMBER, input.number())).expect("written");
        about.insert("format", 1).expect("written");
        for _ in 0..input.below(8) {
            match input.below(4) {
                0 => drop(entries.insert(input.chunk(), input.chunk()).expect("written")),
                1 => {
                    let name = String::from_utf8_lossy(input.chunk()).into_owned();
                    // The namespace that is used below has its own row.
                    if name != "pop3" {
                        namespaces.insert(&*name, (input.number(), input.number())).expect("written");
                    }
                }
                2 => {
                    let name = ["closed", "crashes", "another"][input.below(3)];
                    about.insert(name, input.number()).expect("written");
                }
                _ => {
                    let key = String::from_utf8_lossy(input.chunk()).into_owned();
                    let expires = if input.byte() & 1 == 0 { u64::MAX } else { input.number() };
                    let value = input.chunk();
                    let stored = [&expires.to_le_bytes(), value].concat();
                    let stored_key = [&NUMBER.to_be_bytes(), key.as_bytes()].concat();
                    entries.insert(&*stored_key, &*stored).expect("written");
                    expected.retain(|(known, _)| *known != key);
                    expected.push((key, (expires > NOW_MS).then(|| value.to_vec())));
                }
            }
        }
        // A record of any content may have replaced one of those.
        for (key, value) in &mut expected {
            let stored_key = [&NUMBER.to_be_bytes(), key.as_bytes()].concat();
            let stored = entries.get(&*stored_key).expect("read").expect("an entry").value().to_vec();
            *value = match stored.split_first_chunk::<8>() {
                Some((expires, value)) => (u64::from_le_bytes(*expires) > NOW_MS).then(|| value.to_vec()),
                None => Some(stored),
            };
        }
    }
    write.commit().expect("written");
    drop(database);
    let Some(store) = open(path) else { panic!("the file is not opened") };
    let namespace = namespace(&store);
    for (key, value) in &expected {
        assert_eq!(get(&namespace, key).await, *value, "{key:?}");
    }
    walk(&store).await;
    go_on(store, namespace, path, false).await;
}

/// All entries of all namespaces.
async fn walk(store: &Store) {
    for name in store.names().await.expect("the names") {
        let mut from = None;
        while let Ok((_, Some(next))) = store.entries(&name, from).await {
            from = Some(next);
        }
    }
}

/// What is written now is there later. `is_damaged`: unless damage is found when the file is opened again,
/// which is then set aside.
async fn go_on(store: Store, used: Namespace, path: &Path, is_damaged: bool) {
    let usage = used.usage().await.expect("the usage");
    if usage < (1 << 20) - 1000 {
        used.set("fresh", b"value", None).await.expect("a store").expect("room");
        assert_eq!(get(&used, "fresh").await.as_deref(), Some(&b"value"[..]));
    }
    // The first save may be what finds the damage.
    store.save().await;
    assert!(store.save().await, "{:?}", store.status().health);
    let expected = get(&used, "fresh").await;
    assert!(store.close(Duration::from_secs(20)), "it is not saved");
    drop((used, store));
    let Some(store) = open(path) else { panic!("the file is not opened again") };
    let found = get(&namespace(&store), "fresh").await;
    assert!(found == expected || (is_damaged && found.is_none()), "{found:?} instead of {expected:?}");
}

/// A whole file with some entries.
fn whole() -> &'static [u8] {
    static WHOLE: OnceLock<Vec<u8>> = OnceLock::new();
    WHOLE.get_or_init(|| {
        std::thread::spawn(|| {
            let folder = folder();
            let path = folder.path().join("store");
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
            runtime.block_on(async {
                let store = open(&path).expect("a new store");
                let namespace = namespace(&store);
                for number in 0..COUNT {
                    let value = vec![b'v'; 200];
                    namespace.set(&number.to_string(), &value, None).await.expect("a store").expect("room");
                }
                assert!(store.close(Duration::from_secs(20)));
            });
            fs::read(&path).expect("the file")
        })
        .join()
        .expect("a file")
    })
}

/// A whole file with some bytes changed. The pages that hold something are the first ones.
async fn damaged(path: &Path, input: &mut Input<'_>) {
    let mut bytes = whole().to_vec();
    let while_serving = input.byte() & 1 == 0;
    let store = if while_serving {
        fs::write(path, &bytes).expect("written");
        open(path)
    } else {
        None
    };
    while !input.is_empty() {
        let page = usize::from(input.byte()) * PAGE;
        let place = (page + usize::from(input.byte()) * 16 + input.below(16)) % bytes.len();
        match input.byte() {
            0xFF => bytes.truncate(place.max(1)),
            0xFE => bytes[place..].iter_mut().take(PAGE).for_each(|byte| *byte = 0),
            _ => bytes[place] = input.byte(),
        }
    }
    // In place, as a disk would: the store has the file open.
    fs::write(path, &bytes).expect("written");
    let Some(store) = store.or_else(|| open(path)) else {
        // Not recognisable as a store.
        return;
    };
    let namespace = namespace(&store);
    for number in (0..COUNT).step_by(7) {
        let value = get(&namespace, &number.to_string()).await;
        let is_plausible = value.as_ref().is_none_or(|value| value.len() <= 64 << 10);
        assert!(is_plausible);
    }
    walk(&store).await;
    go_on(store, namespace, path, while_serving).await;
}
