//! The store that proxies share: a server that answers late or not at all, is restarted, and is
//! replaced by a copy that lags behind; and each proxy's connection to it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::time::Instant;
use parking_lot::Mutex;

use super::random::Random;
use super::world::{World, pause};
use reprieve_store::{StoreEpoch, Unavailable, WriteResult};

/// Time limit of an operation: the default of `store.timeout`.
const TIMEOUT_MS: u64 = 100;
/// Longest pause between attempts to connect, and between pings: as in the store's own code.
const MOST_PAUSE_MS: u64 = 1000;

type Entries = BTreeMap<String, (Vec<u8>, Option<Instant>)>;

/// The server.
#[derive(Debug)]
pub(super) struct StoreServer {
    entries: Mutex<Entries>,
    /// What a replica, or a file, has of it.
    copy: Mutex<Entries>,
    /// Identifies its process.
    run: Mutex<u64>,
}

impl StoreServer {
    pub fn new() -> Arc<Self> {
        Arc::new(Self { entries: Mutex::default(), copy: Mutex::default(), run: Mutex::new(1 << 32) })
    }

    /// The replica catches up.
    pub fn save(&self) {
        *self.copy.lock() = self.entries.lock().clone();
    }

    /// The replica takes over, or the server is restarted: all connections break, and what was written
    /// since [`save`](Self::save) is lost.
    pub fn fail_over(&self) {
        let copy = self.copy.lock().clone();
        *self.entries.lock() = copy;
        *self.run.lock() += 1 << 32;
    }
}

/// A proxy's connection to the server.
#[derive(Debug)]
pub(crate) struct StoreClient {
    world: Arc<World>,
    server: Arc<StoreServer>,
    /// The proxy's number.
    pub(super) proxy: usize,
    pub(super) epoch: StoreEpoch,
    random: Mutex<Random>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The process of the server that it is connected to, and the number of the connection.
    connected: Option<(u64, u64)>,
    connections: u64,
    /// Nothing reaches the server.
    partitioned: bool,
    /// Operations that have failed.
    failures: u64,
    closed: bool,
}

impl StoreClient {
    pub(super) fn new(world: &Arc<World>, server: &Arc<StoreServer>, proxy: usize) -> Arc<Self> {
        let run = *server.run.lock();
        let state = State {
            connected: Some((run, 0)),
            connections: 0,
            partitioned: false,
            failures: 0,
            closed: false,
        };
        let client = Arc::new(Self {
            world: world.clone(),
            server: server.clone(),
            proxy,
            epoch: StoreEpoch::fixed(run),
            random: Mutex::new(world.fork()),
            state: Mutex::new(state),
        });
        tokio::spawn(client.clone().stay_connected());
        client
    }

    pub(super) fn set_partitioned(&self, partitioned: bool) {
        self.state.lock().partitioned = partitioned;
    }

    pub(super) fn failures(&self) -> u64 {
        self.state.lock().failures
    }

    pub(super) fn is_connected(&self) -> bool {
        self.state.lock().connected.is_some()
    }

    /// The process ends.
    pub(super) fn close(&self) {
        self.state.lock().closed = true;
    }

    /// Pings the server, and connects again after failures.
    async fn stay_connected(self: Arc<Self>) {
        let mut wait_ms = MOST_PAUSE_MS;
        loop {
            pause(wait_ms).await;
            let mut state = self.state.lock();
            if state.closed {
                return;
            }
            let run = *self.server.run.lock();
            match state.connected {
                Some((connected, _)) if connected != run || state.partitioned => {
                    state.connected = None;
                    state.failures += 1;
                    wait_ms = 50;
                }
                Some(_) => wait_ms = MOST_PAUSE_MS,
                None if state.partitioned => wait_ms = (wait_ms * 2).min(MOST_PAUSE_MS),
                None => {
                    // Before the connection is used, as in the store's own code.
                    self.epoch.set(run);
                    state.connections += 1;
                    state.connected = Some((run, state.connections));
                    self.world.note(&format_args!("proxy {} is connected to store {run:x}", self.proxy));
                    wait_ms = MOST_PAUSE_MS;
                }
            }
        }
    }

    fn is_reachable(&self, connection: (u64, u64)) -> bool {
        let state = self.state.lock();
        state.connected == Some(connection) && !state.partitioned && *self.server.run.lock() == connection.0
    }

    fn failed(&self, connection: Option<(u64, u64)>) -> Unavailable {
        let mut state = self.state.lock();
        state.failures += 1;
        if connection.is_some() && state.connected == connection {
            state.connected = None;
        }
        Unavailable("simulated".to_owned())
    }

    /// Runs an operation at the server. If the answer is late or lost, it may have been carried out.
    async fn run<T>(
        self: &Arc<Self>,
        operation: impl FnOnce(&mut Entries) -> T + Send + 'static,
    ) -> Result<T, Unavailable>
    where
        T: Send + 'static,
    {
        let connected = self.state.lock().connected;
        let Some(connection) = connected else { return Err(self.failed(None)) };
        let (there_ms, back_ms, is_slow) = {
            let mut random = self.random.lock();
            let most = self.world.plan.latency.most_ms.min(5);
            let slow = self.world.plan.accidents.slow_store;
            let is_slow = self.world.has_accident(&mut random, slow);
            (random.up_to(most), random.up_to(most), is_slow)
        };
        if is_slow {
            // It is carried out long after the proxy has given up.
            let late = self.clone();
            tokio::spawn(async move {
                pause(TIMEOUT_MS * 3 / 2).await;
                if *late.server.run.lock() == connection.0 && !late.state.lock().partitioned {
                    operation(&mut late.server.entries.lock());
                }
            });
            pause(TIMEOUT_MS).await;
            return Err(self.failed(Some(connection)));
        }
        pause(there_ms).await;
        if !self.is_reachable(connection) {
            pause(TIMEOUT_MS).await;
            return Err(self.failed(Some(connection)));
        }
        let result = operation(&mut self.server.entries.lock());
        pause(back_ms).await;
        if !self.is_reachable(connection) {
            return Err(self.failed(Some(connection)));
        }
        Ok(result)
    }
}

fn live<'e>(entries: &'e Entries, key: &str) -> Option<&'e Vec<u8>> {
    let (value, expires) = entries.get(key)?;
    expires.is_none_or(|expires| expires > Instant::now()).then_some(value)
}

fn put(entries: &mut Entries, key: String, value: Vec<u8>, ttl: Option<Duration>) {
    entries.insert(key, (value, ttl.map(|ttl| Instant::now() + ttl)));
}

/// The entries of users, in a store of the product or in one of a simulation.
#[derive(Clone, Debug)]
pub(crate) enum Namespace {
    Real(reprieve_store::Namespace),
    Simulated(Arc<StoreClient>),
}

impl From<reprieve_store::Namespace> for Namespace {
    fn from(namespace: reprieve_store::Namespace) -> Self {
        Self::Real(namespace)
    }
}

impl Namespace {
    pub(crate) async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Unavailable> {
        match self {
            Self::Real(namespace) => namespace.get(key).await,
            Self::Simulated(client) => {
                let key = key.to_owned();
                client.run(move |entries| live(entries, &key).cloned()).await
            }
        }
    }

    pub(crate) async fn set(&self, key: &str, value: &[u8], ttl: Option<Duration>) -> WriteResult<()> {
        match self {
            Self::Real(namespace) => namespace.set(key, value, ttl).await,
            Self::Simulated(client) => {
                let (key, value) = (key.to_owned(), value.to_vec());
                let put = move |entries: &mut Entries| {
                    put(entries, key, value, ttl);
                    Ok(())
                };
                client.run(put).await
            }
        }
    }

    pub(crate) async fn add(&self, key: &str, value: &[u8], ttl: Option<Duration>) -> WriteResult<bool> {
        match self {
            Self::Real(namespace) => namespace.add(key, value, ttl).await,
            Self::Simulated(client) => {
                let (key, value) = (key.to_owned(), value.to_vec());
                let add = move |entries: &mut Entries| {
                    let is_free = live(entries, &key).is_none();
                    if is_free {
                        put(entries, key, value, ttl);
                    }
                    Ok(is_free)
                };
                client.run(add).await
            }
        }
    }

    pub(crate) async fn compare_and_set(
        &self,
        key: &str,
        expected: &[u8],
        value: &[u8],
        ttl: Option<Duration>,
    ) -> WriteResult<bool> {
        match self {
            Self::Real(namespace) => namespace.compare_and_set(key, expected, value, ttl).await,
            Self::Simulated(client) => {
                let (key, expected, value) = (key.to_owned(), expected.to_vec(), value.to_vec());
                let exchange = move |entries: &mut Entries| {
                    let is_expected = live(entries, &key) == Some(&expected);
                    if is_expected {
                        put(entries, key, value, ttl);
                    }
                    Ok(is_expected)
                };
                client.run(exchange).await
            }
        }
    }

    pub(crate) async fn delete(&self, key: &str) -> Result<bool, Unavailable> {
        match self {
            Self::Real(namespace) => namespace.delete(key).await,
            Self::Simulated(client) => {
                let key = key.to_owned();
                client.run(move |entries| entries.remove(&key).is_some()).await
            }
        }
    }

    pub(crate) async fn clear(&self) -> Result<(), Unavailable> {
        match self {
            Self::Real(namespace) => namespace.clear().await,
            Self::Simulated(client) => client.run(|entries| entries.clear()).await,
        }
    }
}
