//! A store in Redis or Valkey, which several proxies can share. Each operation on a key is one round
//! trip and atomic on the server (batches in a cluster: one round trip per hash slot); the server
//! removes expired entries. While it is unreachable, each operation fails at once, and a thread of its
//! own reconnects.

mod commit;
mod connection;
mod entry;
mod namespace;
mod over_stream;
mod reconnect;
mod scripts;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use redis::{Cmd, ErrorKind, FromRedisValue, IntoConnectionInfo as _, RedisError, RedisResult, Value};
use tokio::sync::Notify;

use super::epoch::StoreEpoch;
use super::health::Monitor;
use super::{Health, NamespaceConfig, Unavailable};
use crate::{RedisKind, RedisSettings};
use connection::{Connection, Target};
pub(super) use namespace::RedisNamespace;
pub use over_stream::namespace_over;
use reconnect::Reconnect;
use scripts::{Script, Scripts};

/// Number of hash slots over which a namespace is spread in a cluster.
const CLUSTER_SLOTS: usize = 16;
/// Longest time that administrative work on the whole store may wait for one reply.
const ADMIN_TIMEOUT: Duration = Duration::from_secs(10);
/// Keys that a step of SCAN looks at.
const SCAN_COUNT: u32 = 1000;

/// Checks that a text is a URL of Redis.
///
/// # Errors
/// What is wrong, without the URL itself: it may contain a password.
pub fn check_url(url: &str) -> Result<(), &'static str> {
    match url.into_connection_info() {
        Ok(_) => Ok(()),
        Err(_) if !url.contains("://") => Err("it has no scheme"),
        Err(_) => Err("it cannot be parsed"),
    }
}

/// The connections in use.
struct Connections {
    all: Vec<Connection>,
    next: AtomicUsize,
}

/// State that namespaces share with the reconnect thread.
struct Shared {
    /// None while the server is unreachable.
    connections: ArcSwapOption<Connections>,
    /// See [`StoreEpoch`].
    epoch: StoreEpoch,
    /// Wakes the reconnect thread.
    failed: Notify,
    monitor: Monitor,
    scripts: Scripts,
    timeout: Duration,
    /// The addresses without passwords.
    address: String,
    /// Namespaces whose old entries the reconnect thread has to remove after a `clear`.
    cleared: tokio::sync::mpsc::UnboundedSender<NamespaceConfig>,
}

/// A store in Redis.
pub(super) struct Redis {
    shared: Arc<Shared>,
    prefix: String,
    slots: usize,
    _reconnect: Reconnect,
}

impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redis").field("address", &self.shared.address).finish_non_exhaustive()
    }
}

/// Passwords and certificates, read before privileges are dropped.
pub(super) struct RedisSecrets(Target);

impl RedisSecrets {
    /// Reads the files that the settings name.
    ///
    /// # Errors
    /// If a file cannot be read or does not contain what it should.
    pub fn read(settings: &RedisSettings) -> Result<Self, String> {
        Target::new(settings).map(Self)
    }
}

impl Redis {
    /// Starts to connect, and waits up to two seconds. A server that is unreachable now may come back.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn open(settings: &RedisSettings, secrets: RedisSecrets) -> std::io::Result<Self> {
        let (cleared, to_sweep) = tokio::sync::mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            connections: ArcSwapOption::empty(),
            epoch: StoreEpoch::default(),
            failed: Notify::new(),
            monitor: Monitor::default(),
            scripts: Scripts::new(),
            timeout: settings.timeout,
            address: secrets.0.address(),
            cleared,
        });
        let slots = if settings.kind == RedisKind::Cluster { CLUSTER_SLOTS } else { 1 };
        let reconnect = Reconnect::start(&shared, secrets.0, settings, slots, to_sweep)?;
        Ok(Self { shared, prefix: settings.prefix.clone(), slots, _reconnect: reconnect })
    }

    pub fn namespace(&self, config: NamespaceConfig) -> RedisNamespace {
        RedisNamespace::new(self.shared.clone(), &self.prefix, config, self.slots)
    }

    pub fn health(&self) -> Health {
        match self.shared.monitor.outage() {
            Some(reason) => Health::Unreachable { reason },
            None => Health::Healthy,
        }
    }

    pub fn monitor(&self) -> &Monitor {
        &self.shared.monitor
    }

    pub fn epoch(&self) -> StoreEpoch {
        self.shared.epoch.clone()
    }

    pub fn address(&self) -> &str {
        &self.shared.address
    }

    /// Bytes of memory that the server uses.
    pub async fn memory_bytes(&self) -> Option<u64> {
        let mut command = redis::cmd("INFO");
        command.arg("memory");
        let info: String =
            self.shared.run(ADMIN_TIMEOUT, async |connection| connection.run(&command).await).await.ok()?;
        info.lines().find_map(|line| line.strip_prefix("used_memory:")?.trim().parse().ok())
    }

    /// Names of all namespaces.
    ///
    /// # Errors
    /// If the store cannot be reached.
    pub async fn names(&self) -> Result<Vec<String>, Unavailable> {
        let mut names: Vec<String> = Vec::new();
        // Each namespace has one key of this name per slot.
        let pattern = format!("{}{{*}}#usage", self.prefix);
        for routing_key in (0..self.slots).map(|slot| namespace::tag(&self.prefix, "", slot, self.slots)) {
            let mut cursor = 0_u64;
            loop {
                let (next, keys) = self.shared.scan(cursor, &pattern, &routing_key).await?;
                for key in keys {
                    let name = namespace::name_of(&key, &self.prefix, self.slots);
                    names.extend(name.map(str::to_owned));
                }
                cursor = next;
                if cursor == 0 {
                    break;
                }
            }
        }
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }
}

impl Shared {
    fn ready(&self) -> Result<(), Unavailable> {
        match self.monitor.outage() {
            Some(error) => Err(Unavailable(error)),
            None => Ok(()),
        }
    }

    fn connections(&self) -> Result<Arc<Connections>, Unavailable> {
        self.connections.load_full().ok_or_else(|| {
            let error = self.monitor.outage();
            Unavailable(error.unwrap_or_else(|| "not connected yet".to_owned()))
        })
    }

    /// Runs something on a connection, with a time limit. Unless the error concerns one key only,
    /// a failure makes the server unreachable.
    async fn run<T: FromRedisValue>(
        &self,
        limit: Duration,
        work: impl AsyncFnOnce(&mut Connection) -> RedisResult<Value>,
    ) -> Result<T, Unavailable> {
        Monitor::count(&self.monitor.operations);
        let began = Instant::now();
        let connections = self.connections().inspect_err(|_| Monitor::count(&self.monitor.failures))?;
        let mut connection = connections.pick();
        let result = tokio::time::timeout(limit, work(&mut connection)).await;
        self.monitor.waits.observe(began.elapsed());
        let (error, concerns_key_only) = match result {
            Ok(Ok(value)) => match T::from_redis_value(value) {
                Ok(parsed) => return Ok(parsed),
                Err(_) => ("the server's reply has an unexpected type".to_owned(), false),
            },
            Ok(Err(error)) => (connection::describe(&error), concerns_key_only(&error)),
            Err(_) => {
                Monitor::count(&self.monitor.timeouts);
                (format!("no answer within {} ms (store.timeout)", limit.as_millis()), false)
            }
        };
        Monitor::count(&self.monitor.failures);
        if !concerns_key_only {
            self.fail(&connections, &error);
        }
        Err(Unavailable(error))
    }

    async fn command<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Unavailable> {
        self.run(self.timeout, async |connection| connection.run(command).await).await
    }

    async fn script<T: FromRedisValue>(
        &self,
        script: &Script,
        arguments: impl Fn(&mut Cmd),
    ) -> Result<T, Unavailable> {
        self.run(self.timeout, async |connection| script.run(connection, &arguments).await).await
    }

    /// One step of SCAN at the server that holds `routing_key`: the next cursor, and the keys.
    async fn scan(
        &self,
        cursor: u64,
        pattern: &str,
        routing_key: &str,
    ) -> Result<(u64, Vec<Vec<u8>>), Unavailable> {
        let mut command = redis::cmd("SCAN");
        command.arg(cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(SCAN_COUNT);
        self.run(ADMIN_TIMEOUT, async |connection| connection.run_at(routing_key, command).await).await
    }

    /// Makes the server unreachable until the reconnect thread has connected again. `connections`
    /// are those that failed; if they were replaced meanwhile, nothing happens.
    fn fail(&self, connections: &Arc<Connections>, error: &str) {
        let present = self.connections.compare_and_swap(&Some(connections.clone()), None);
        if present.as_ref().is_some_and(|present| Arc::ptr_eq(present, connections)) {
            self.report_unreachable(error);
            self.failed.notify_one();
        }
    }

    /// Starts an outage, or continues the current one, and logs its start.
    fn report_unreachable(&self, error: &str) {
        if self.monitor.fail(error) {
            tracing::error!(
                server = self.address,
                error,
                "the store in Redis is unreachable; until it is back, logins follow on-failure"
            );
        }
    }
}

impl Connections {
    /// The next connection, round-robin.
    fn pick(&self) -> Connection {
        let index = self.next.fetch_add(1, Ordering::Relaxed) % self.all.len();
        self.all[index].clone()
    }
}

/// Whether an error concerns the entry of one key, and not the server.
fn concerns_key_only(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(redis::ServerErrorKind::ResponseError)
        && error.detail().is_some_and(|detail| detail.contains("not written by Reprieve"))
        || error.code() == Some("WRONGTYPE")
}
