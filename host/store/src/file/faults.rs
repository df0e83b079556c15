//! Faults of the disk at every call: the process continues, the store continues in memory, and once
//! the disk works again everything is written.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

use super::disk::Disk;
use super::simulated_disk::{Call, DiskHandle, Event, Failure, Fault, SimulatedDisk, apply};
use super::{File, FileNamespace};
use crate::clock::SystemClock;
use crate::operation::Operation;
use crate::{
    Batch, BatchWrite, Committed, FileSettings, Health, Lifetime, NamespaceConfig, Unavailable, footprint,
};

/// Values that the cache keeps only until they are saved.
const LARGE: usize = 20_000;

/// Lines of the log at level WARN and above, and about the end of an outage.
static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Collects lines of the log.
struct Log;

impl Log {
    fn start() {
        static STARTED: Once = Once::new();
        STARTED.call_once(|| tracing::subscriber::set_global_default(Self).expect("no other log"));
    }

    /// Takes the lines that contain a text.
    fn take(text: &str) -> Vec<String> {
        LINES.lock().unwrap().extract_if(.., |line| line.contains(text)).collect()
    }
}

impl tracing::Subscriber for Log {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target().starts_with("reprieve_store::file")
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn event(&self, event: &tracing::Event<'_>) {
        struct Fields(String);
        impl tracing::field::Visit for Fields {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                self.0 += &format!(" {field}={value:?}");
            }
        }
        let mut fields = Fields(event.metadata().level().to_string());
        event.record(&mut fields);
        LINES.lock().unwrap().push(fields.0);
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

/// A store on a simulated disk, and what is expected of it.
struct Store {
    disk: Arc<SimulatedDisk>,
    file: Option<(File, FileNamespace)>,
    /// What was written last, by key; a missing key was deleted.
    latest: BTreeMap<String, Vec<u8>>,
    /// All values that a key ever had.
    ever: BTreeSet<(String, Vec<u8>)>,
    what: String,
    /// Whether the disk lies, so that values may be wrong. The engine does not check what it reads.
    is_lied_to: bool,
}

impl Store {
    /// A store that saves only when asked to.
    fn open(disk: Arc<SimulatedDisk>, what: String) -> Self {
        Log::start();
        let mut store = Self {
            disk,
            file: None,
            latest: BTreeMap::new(),
            ever: BTreeSet::new(),
            what,
            is_lied_to: false,
        };
        store.start();
        store
    }

    /// Opens the file as a new process does.
    fn start(&mut self) {
        let path = "/simulated/store".into();
        let settings = FileSettings { path, save_every: Duration::from_secs(3600), cache: 1 << 20 };
        let disk = Arc::new(DiskHandle(self.disk.clone()));
        let file = File::open_on(disk, &settings, Arc::new(SystemClock));
        let file = file.unwrap_or_else(|error| panic!("{}: {error}", self.what));
        let namespace = file.namespace(NamespaceConfig::for_policies("tested", 1 << 30));
        self.file = Some((file, namespace));
    }

    fn restart(&mut self) {
        self.file = None;
        self.start();
    }

    fn file(&self) -> &File {
        &self.file.as_ref().unwrap().0
    }

    fn namespace(&self) -> &FileNamespace {
        &self.file.as_ref().unwrap().1
    }

    fn remember(&mut self, key: &str, value: &[u8]) {
        self.latest.insert(key.to_owned(), value.to_owned());
        self.ever.insert((key.to_owned(), value.to_owned()));
    }

    async fn set(&mut self, key: &str, value: &[u8]) {
        let set = || self.namespace().change(key, Operation::Set(value), Lifetime::Forever);
        let done = retried(set).await;
        assert!(matches!(done, Ok(Ok(_))), "{}: {key}: {done:?}", self.what);
        self.remember(key, value);
    }

    async fn delete(&mut self, key: &str) {
        let done = retried(|| self.namespace().delete(key)).await;
        assert!(done.is_ok(), "{}: {key}: {done:?}", self.what);
        self.latest.remove(key);
    }

    /// Writes the same value under some keys, after `clear`, if wanted.
    async fn commit(&mut self, keys: &[String], value: &[u8], clear: bool) {
        let write = |key| BatchWrite { key, value: Some(value), lifetime: Lifetime::Forever };
        let writes: Vec<_> = keys.iter().map(|key| write(key.as_str())).collect();
        let done = retried(async || {
            let batch = Batch { expected: &[], clear, writes: &writes };
            self.namespace().commit(&batch).await
        })
        .await;
        assert_eq!(done, Ok(Ok(Committed::Done)), "{}", self.what);
        if clear {
            self.latest.clear();
        }
        for key in keys {
            self.remember(key, value);
        }
    }

    /// A key has its latest value, or none if the disk has failed.
    async fn check(&self, key: &str) {
        let got = retried(|| self.namespace().get(key)).await;
        let got = got.unwrap_or_else(|why| panic!("{}: {key}: {why}", self.what));
        let expected = self.latest.get(key);
        let is_right = match &got {
            None => expected.is_none() || self.disk.has_failed(),
            // What a process could not save is lost when it ends, so that older values come back.
            Some(value) => {
                self.is_lied_to
                    || expected == Some(value)
                    || self.disk.has_failed() && self.ever.contains(&(key.to_owned(), value.clone()))
            }
        };
        assert!(is_right, "{}: {key} is {:?}", self.what, got.map(|value| value.len()));
    }

    /// A key has its latest value, or none, because the file was lost.
    async fn check_unless_lost(&self, key: &str) {
        let got = retried(|| self.namespace().get(key)).await;
        let got = got.unwrap_or_else(|why| panic!("{}: {key}: {why}", self.what));
        assert!(got.is_none() || got.as_ref() == self.latest.get(key), "{}: {key}", self.what);
    }

    /// The path of its file, which no other test uses.
    fn path(&self) -> String {
        Disk::path(&DiskHandle(self.disk.clone())).display().to_string()
    }

    /// All entries in the file, and that the bytes in use are theirs.
    async fn saved(&self) -> BTreeMap<String, Vec<u8>> {
        let (mut all, mut used, mut from) = (BTreeMap::new(), 0, Vec::new());
        loop {
            let (entries, next) = retried(|| self.namespace().entries(from.clone())).await.unwrap();
            for entry in entries {
                used += footprint(entry.key.len(), entry.value.len());
                all.insert(entry.key, entry.value);
            }
            let Some(next) = next else { break };
            from = next;
        }
        assert_eq!(self.namespace().usage(), used, "{}: bytes in use", self.what);
        all
    }
}

/// Repeats an operation that a busy machine was too slow for.
async fn retried<T>(operation: impl AsyncFn() -> Result<T, Unavailable>) -> Result<T, Unavailable> {
    loop {
        match operation().await {
            Err(Unavailable(why)) if why.contains("in time") || why.contains("being written") => {}
            done => return done,
        }
    }
}

fn key(number: usize) -> String {
    format!("key{number}")
}

/// What a server does with its store: it writes, saves, restarts, reads, clears, and walks.
async fn serve(store: &mut Store) {
    for number in 0..60 {
        store.set(&key(number), &[7; 150]).await;
    }
    for number in 60..66 {
        store.set(&key(number), &[8; LARGE]).await;
    }
    store.file().save().await;
    for number in (0..60).step_by(3) {
        store.delete(&key(number)).await;
    }
    let some: Vec<_> = (10..15).map(key).collect();
    store.commit(&some, b"in one batch", false).await;
    store.file().save().await;
    store.restart();
    for number in 0..66 {
        store.check(&key(number)).await;
    }
    store.set(&key(1), b"after the restart").await;
    store.file().save().await;
    let some: Vec<_> = (0..5).map(key).collect();
    store.commit(&some, b"after the end of all others", true).await;
    store.file().save().await;
    store.file().save().await;
    // Mostly empty, so that opening it compacts it.
    store.restart();
    for number in 0..10 {
        store.check(&key(number)).await;
    }
}

/// After the disk works again, everything is written, by this process and for the next.
async fn heal(store: &mut Store) {
    store.disk.repair();
    store.set("last", b"word").await;
    let mut saved = false;
    for _ in 0..3 {
        saved = store.file().save().await;
    }
    assert!(saved && store.file().health() == Health::Healthy, "{}: {:?}", store.what, store.file().health());
    let keys: Vec<_> = store.latest.keys().cloned().collect();
    for key in keys {
        store.check(&key).await;
    }
    let before = store.saved().await;
    assert_eq!(before.get("last").map(Vec::as_slice), Some(&b"word"[..]), "{}", store.what);
    store.restart();
    assert_eq!(store.saved().await, before, "{}: a restart after a clean end", store.what);
    assert_eq!(store.file().health(), Health::Healthy, "{}", store.what);
}

/// What was not written right is found when it is read, by this process or a later one.
async fn outlive(store: &mut Store) {
    store.disk.repair();
    for number in 0..3 {
        let value = number.to_string();
        store.set("last", value.as_bytes()).await;
        // The first attempt may be what finds the damage, and so may this walk.
        store.file().save().await;
        assert!(store.file().save().await, "{}: {:?}", store.what, store.file().health());
        let _ = store.namespace().entries(Vec::new()).await;
        store.file().save().await;
        store.check("last").await;
        store.restart();
    }
    store.file().save().await;
    store.saved().await;
}

/// The error lines that the store has logged.
fn errors(store: &Store) -> Vec<String> {
    Log::take(&store.path()).into_iter().filter(|line| line.starts_with("ERROR")).collect()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// The calls that `serve` makes without a fault.
fn calls_of_serve() -> Vec<Call> {
    let mut store = Store::open(SimulatedDisk::new(), "without a fault".to_owned());
    runtime().block_on(serve(&mut store));
    drop(store.file.take());
    store.disk.calls()
}

/// Serves with a fault and heals.
fn serve_with(fault: Fault) {
    let what = format!("{fault:?}");
    let disk = SimulatedDisk::new();
    disk.fail(fault);
    let mut store = Store::open(disk, what);
    runtime().block_on(async {
        serve(&mut store).await;
        heal(&mut store).await;
    });
    let lines = errors(&store);
    // One process says it once; the workload has three, and a fault that lasts is met by each. A file
    // that could not be created as a whole is renamed, too.
    let most = if fault.count == 1 { 1 } else { 3 } + store.disk.set_aside();
    assert!(lines.len() <= most, "{}: {lines:#?}", store.what);
}

#[test]
fn no_failing_call_of_the_disk_ends_or_breaks_the_store() {
    let calls = calls_of_serve();
    assert!(calls.len() > 100, "{}", calls.len());
    for how in [Failure::Device, Failure::Full, Failure::Short] {
        for (index, &call) in calls.iter().enumerate().filter(|(_, call)| how.applies_to(**call)) {
            let from = index as u64 + 1;
            serve_with(Fault { from, count: 1, how });
            // A disk that stays broken, at some of the calls.
            if call != Call::Write || index % 7 == 0 {
                serve_with(Fault { from, count: u64::MAX, how });
            }
        }
    }
}

#[test]
fn writes_that_the_disk_only_claims_to_have_made_cost_the_file_at_most() {
    let calls = calls_of_serve();
    for how in [Failure::Torn, Failure::Lost] {
        let writes = calls.iter().enumerate().filter(|(_, call)| **call == Call::Write);
        for (index, _) in writes.step_by(2) {
            let fault = Fault { from: index as u64 + 1, count: 1, how };
            let disk = SimulatedDisk::new();
            disk.fail(fault);
            let mut store = Store::open(disk, format!("{fault:?}"));
            store.is_lied_to = true;
            runtime().block_on(async {
                serve(&mut store).await;
                outlive(&mut store).await;
            });
            let (lines, set_aside) = (errors(&store), store.disk.set_aside());
            assert_eq!(lines.len(), set_aside, "{}: {lines:#?}", store.what);
        }
    }
}

/// A value that is read from the file, because it is too large for the cache.
static VICTIM: [u8; LARGE] = [9; LARGE];

/// Damages the pages with the victim, and makes the engine read them: after a failed write it opens
/// the file again.
async fn damage(store: &mut Store) {
    store.set("victim", &VICTIM).await;
    assert!(store.file().save().await);
    store.disk.change(|bytes| {
        for page in bytes.chunks_mut(4096) {
            if page.windows(64).any(|some| some == &VICTIM[..64]) {
                page.fill(0xa5);
            }
        }
    });
    store.set("more", b"").await;
    let from = store.disk.calls().len() as u64 + 1;
    store.disk.fail(Fault { from, count: 10, how: Failure::Full });
    assert!(!store.file().save().await);
    store.disk.repair();
    // The engine may meet the damage now, when it is read, or when it is looked for expired entries.
    for _ in 0..3 {
        store.file().save().await;
        store.check_unless_lost("victim").await;
    }
}

#[tokio::test]
async fn a_damaged_file_that_cannot_be_renamed_is_not_used_again() {
    let mut store = Store::open(SimulatedDisk::new(), "cannot be renamed".to_owned());
    // So many that one save does not look at all of them, and leaves the damage undetected.
    for number in 0..11_000 {
        store.set(&key(number), b"small").await;
    }
    store.disk.fail_renaming(true);
    damage(&mut store).await;
    for round in 0..10 {
        store.set(&key(round), b"since").await;
        assert!(!store.file().save().await, "round {round}: the damaged file is in use");
        store.check_unless_lost("victim").await;
    }
    assert!(matches!(store.file().health(), Health::MemoryOnly { .. }));
    let lines = Log::take(&store.path());
    let said: Vec<_> = lines.iter().skip_while(|line| !line.contains("cannot be renamed")).collect();
    assert!(said.len() == 1 && said[0].contains("move it away"), "{lines:#?}");
    store.disk.fail_renaming(false);
    assert!(store.file().save().await);
    assert_eq!((store.file().health(), store.disk.set_aside()), (Health::Healthy, 1));
    store.restart();
    for round in 0..10 {
        let got = store.namespace().get(&key(round)).await.unwrap();
        assert_eq!(got.as_deref(), Some(&b"since"[..]));
    }
}

#[tokio::test]
async fn a_disk_that_damages_each_file_is_not_used_again() {
    let mut store = Store::open(SimulatedDisk::new(), "damages each file".to_owned());
    for round in 1..=4 {
        damage(&mut store).await;
        assert_eq!(store.disk.set_aside(), round.min(3));
    }
    assert!(!store.file().save().await);
    assert!(matches!(store.file().health(), Health::MemoryOnly { .. }));
    assert_eq!(store.disk.set_aside(), 3);
    let lines = Log::take(&store.path());
    let renamed = lines.iter().filter(|line| line.contains("was renamed")).count();
    let left = lines.iter().filter(|line| line.contains("the disk may be failing")).count();
    assert_eq!((renamed, left), (3, 1), "{lines:#?}");
    // Somebody moves the file away, as the log asks for.
    store.disk.remove();
    assert!(store.file().save().await);
    assert_eq!(store.file().health(), Health::Healthy);
}

#[test]
fn a_disk_that_fails_for_long_is_tried_again_however_seldom_the_store_is_saved() {
    let disk = SimulatedDisk::new();
    let mut store = Store::open(disk.clone(), "seldom saved".to_owned());
    runtime().block_on(async {
        store.set("key", b"value").await;
        let from = disk.calls().len() as u64 + 1;
        disk.fail(Fault { from, count: u64::MAX, how: Failure::Device });
        // `Store::open` saves once an hour, less often than a failed save is tried again.
        assert!(!store.file().save().await && !store.file().save().await);
        disk.repair();
        assert!(store.file().save().await, "the thread has ended");
        assert_eq!(store.saved().await.len(), 1);
    });
}

/// A generator of random numbers (xorshift).
struct Chance(u64);

impl Chance {
    fn coin(&mut self) -> bool {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 & 1 == 1
    }
}

/// What the disk may hold after a power cut: all that was synced, and of what came later nothing, all,
/// or any part, of which the last write may be torn.
fn images(synced: &[u8], pending: &[&Event], chance: &mut Chance) -> Vec<Vec<u8>> {
    let with = |events: &[Event]| {
        let mut image = synced.to_vec();
        events.iter().for_each(|event| apply(&mut image, event));
        image
    };
    let all: Vec<Event> = pending.iter().map(|event| (*event).clone()).collect();
    let mut some: Vec<Event> = all.iter().filter(|_| chance.coin()).cloned().collect();
    if let Some(Event::Write { bytes, .. }) = some.last_mut() {
        bytes.truncate(bytes.len() / 2);
    }
    vec![with(&[]), with(&all), with(&some)]
}

/// Serves and marks each save, and returns what was changed on the disk, and what was saved at each
/// mark.
async fn serve_and_mark() -> (Vec<Event>, Vec<BTreeMap<String, Vec<u8>>>) {
    let disk = SimulatedDisk::new();
    let mut store = Store::open(disk.clone(), "power cuts".to_owned());
    let mut states = vec![BTreeMap::new()];
    for round in 0..8 {
        for number in 0..20 {
            store.set(&key(number + 10 * round), &[round as u8; 400]).await;
        }
        store.set(&key(round), &[9; LARGE]).await;
        store.delete(&key(10 * round)).await;
        let some: Vec<_> = (1000..1005).map(key).collect();
        store.commit(&some, &[round as u8], round == 5).await;
        if round % 3 == 2 {
            store.restart();
        } else {
            assert!(store.file().save().await);
        }
        disk.mark(states.len());
        states.push(store.latest.clone());
    }
    (disk.events(), states)
}

#[test]
fn after_a_power_cut_at_any_write_the_file_has_what_was_saved_last() {
    let runtime = runtime();
    let (events, states) = runtime.block_on(serve_and_mark());
    let mut chance = Chance(4);
    let (mut synced, mut pending, mut saved, mut cuts) = (Vec::new(), Vec::new(), 0, 0);
    for (at, event) in events.iter().enumerate() {
        match event {
            Event::Mark(number) => saved = *number,
            Event::Synced => pending.drain(..).for_each(|event| apply(&mut synced, event)),
            Event::Write { .. } | Event::SetLength(_) => pending.push(event),
        }
        for (kind, image) in images(&synced, &pending, &mut chance).into_iter().enumerate() {
            cuts += 1;
            let what = format!("event {at} of {}, image {kind}, after save {saved}", events.len());
            let mut store = Store::open(SimulatedDisk::with_file(image), what);
            runtime.block_on(async {
                let found = store.saved().await;
                let expected = &states[saved..(saved + 2).min(states.len())];
                assert!(expected.contains(&found), "{}: {} entries", store.what, found.len());
                // A file that was being created may be unusable.
                assert!(store.disk.set_aside() == 0 || saved == 0, "{}", store.what);
                if cuts % 10 == 0 {
                    store.set("last", b"word").await;
                    assert!(store.file().save().await, "{}", store.what);
                    store.restart();
                    assert_eq!(store.saved().await.len(), found.len() + 1, "{}", store.what);
                }
            });
        }
    }
    assert!(cuts > 500, "{cuts}");
}
