//! Puts the rooms together: engine, policies, pools and registry are made once, and each
//! thread gets a runtime, listeners and judges of its own. Connections never change threads.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::clock::{Clock, SystemClock};
use crate::config::{Config, PolicyCache, Verify, VirtualServerConfig};
use crate::maildrop::{Registry, Tagger};
use crate::net::{self, Admission, Refused, Stream};
use crate::policy::{self, Cache, Engine, Judge, MetricsSnapshot, Policy, PolicyOptions};
use crate::pool::Pool;
use crate::pop3::capability::Capabilities;
use crate::pop3::reply;
use crate::session::{self, Context, Counters, CountersSnapshot, Settings};
use crate::store::Namespace;

/// What a server is started with beside its configuration.
#[derive(Debug, Default)]
pub struct Options {
    /// The time of verdicts; the machine's own without it.
    pub clock: Option<Arc<dyn Clock>>,
}

/// What all threads share of a virtual server.
#[derive(Debug)]
struct Shared {
    settings: Arc<Settings>,
    policy: Arc<Policy>,
    pool: Arc<Pool>,
    admission: Arc<Admission>,
}

/// A configuration whose policies are loaded and were tried: what `reprieve check` makes and
/// `reprieve run` serves.
#[derive(Debug)]
pub struct Prepared {
    config: Config,
    clock: Arc<dyn Clock>,
    servers: Vec<Shared>,
    pools: Arc<HashMap<String, Arc<Pool>>>,
    registry: Arc<Registry>,
    tagger: Arc<Tagger>,
    counters: Arc<Counters>,
}

impl Prepared {
    /// Loads everything that a configuration names, without listening.
    ///
    /// # Errors
    /// What is wrong, in one sentence with its place in the configuration.
    pub fn new(config: Config, options: Options) -> anyhow::Result<Self> {
        let clock = options.clock.unwrap_or_else(|| Arc::new(SystemClock));
        let engines = Engines::new(&config)?;
        let pools: HashMap<_, _> =
            config.pools.iter().map(|pool| (pool.name.clone(), Arc::new(Pool::new(pool.clone())))).collect();
        let total = Arc::new(AtomicU32::new(0));
        let runtime = runtime()?;
        let mut servers = Vec::new();
        for server in &config.virtual_servers {
            let policy = runtime.block_on(load(&engines, server, &config, &clock))?;
            let pool = pools.get(&server.pool).context("a virtual server's pool is not defined")?.clone();
            servers.push(Shared {
                settings: Arc::new(settings(server)),
                policy,
                pool,
                admission: Admission::new(
                    total.clone(),
                    config.max_connections.unwrap_or(Config::MAX_CONNECTIONS),
                    server.max_connections_per_address,
                ),
            });
        }
        Ok(Self {
            registry: Arc::new(Registry::new(config.maildrop_memory, config.maildrop_trust)),
            tagger: Arc::new(Tagger::new().map_err(|error| anyhow::anyhow!("no randomness: {error}"))?),
            counters: Arc::default(),
            pools: Arc::new(pools),
            servers,
            clock,
            config,
        })
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }
}

/// The engines of a process: virtual servers whose policies have equal limits of memory and
/// stack share one, because these shape the code.
struct Engines(HashMap<(u64, u64), Arc<Engine>>);

impl Engines {
    fn new(config: &Config) -> anyhow::Result<Self> {
        let cache = open_cache(&config.policy_cache)?;
        let mut instances: HashMap<(u64, u64), u32> = HashMap::new();
        for server in &config.virtual_servers {
            let each = config.threads.saturating_mul(server.policy.limits.instances);
            let sum = instances.entry(Self::key(server)).or_default();
            // Beside those that serve, one more is tried at the start.
            *sum = sum.saturating_add(u32::try_from(each + 1).unwrap_or(u32::MAX));
        }
        let engines = instances.into_iter().map(|((memory, stack), instances)| {
            let size = policy::EngineSize { memory, stack, instances };
            let engine = Engine::new(size, cache.as_ref()).context("cannot start the WebAssembly engine")?;
            Ok(((memory, stack), engine))
        });
        Ok(Self(engines.collect::<anyhow::Result<_>>()?))
    }

    fn key(server: &VirtualServerConfig) -> (u64, u64) {
        (server.policy.limits.memory, server.policy.limits.stack)
    }

    fn of(&self, server: &VirtualServerConfig) -> anyhow::Result<Arc<Engine>> {
        self.0.get(&Self::key(server)).cloned().context("a virtual server has no engine")
    }
}

/// Opens the folder for compiled policies. The usual one is a convenience: a start goes on
/// without it.
fn open_cache(wanted: &PolicyCache) -> anyhow::Result<Option<Cache>> {
    match wanted {
        PolicyCache::Off => Ok(None),
        PolicyCache::Folder(folder) => Ok(Some(Cache::open(folder)?)),
        PolicyCache::Usual => {
            let opened = Cache::usual_folder().map(|folder| Cache::open(&folder)).transpose();
            Ok(opened.unwrap_or_else(|error| {
                tracing::warn!("{error}; policies are compiled at each start. Set policy-cache to a folder, or to \"off\"");
                None
            }))
        }
    }
}

/// A server that serves. It ends when it is dropped.
#[derive(Debug)]
pub struct Server {
    addresses: Vec<(String, Vec<SocketAddr>)>,
    policies: Vec<(String, Arc<Policy>)>,
    counters: Arc<Counters>,
    registry: Arc<Registry>,
    drain: watch::Sender<bool>,
    /// When sessions that are still under way are ended.
    deadline: watch::Sender<Option<Instant>>,
    threads: Vec<JoinHandle<()>>,
}

impl Server {
    /// Prepares a configuration and serves it, on threads of its own.
    ///
    /// # Errors
    /// What is wrong, in one sentence with its place in the configuration.
    pub fn start(config: Config, options: Options) -> anyhow::Result<Self> {
        Self::serve(Prepared::new(config, options)?)
    }

    /// Listens and serves.
    ///
    /// # Errors
    /// Where an address cannot be listened on.
    pub fn serve(prepared: Prepared) -> anyhow::Result<Self> {
        let prepared = Arc::new(prepared);
        let threads = prepared.config.threads.max(1);
        let mut addresses = Vec::new();
        // For each thread, for each virtual server, its listeners.
        let mut listeners: Vec<Vec<Vec<TcpListener>>> = (0..threads).map(|_| Vec::new()).collect();
        for server in &prepared.config.virtual_servers {
            let mut bound = Vec::new();
            listeners.iter_mut().for_each(|thread| thread.push(Vec::new()));
            for &address in &server.listen {
                let sockets =
                    net::bind(address, threads).with_context(|| format!("virtual server {}", server.name))?;
                bound.push(sockets[0].local_addr()?);
                for (thread, socket) in listeners.iter_mut().zip(sockets) {
                    if let Some(last) = thread.last_mut() {
                        last.push(socket);
                    }
                }
            }
            addresses.push((server.name.clone(), bound));
        }
        let (drain, drained) = watch::channel(false);
        let (deadline, ends) = watch::channel(None);
        let (ready, started) = std::sync::mpsc::channel();
        let mut running = Vec::new();
        for (index, listeners) in listeners.into_iter().enumerate() {
            let (prepared, drained, ends, ready) =
                (prepared.clone(), drained.clone(), ends.clone(), ready.clone());
            let thread = std::thread::Builder::new()
                .name(format!("serve-{index}"))
                .spawn(move || thread(&prepared, listeners, &drained, ends, &ready))
                .context("cannot start a thread")?;
            running.push(thread);
        }
        drop(ready);
        for _ in 0..threads {
            started.recv().context("a thread ended at its start")??;
        }
        Ok(Self {
            addresses,
            policies: prepared
                .servers
                .iter()
                .map(|shared| (shared.settings.name.to_string(), shared.policy.clone()))
                .collect(),
            counters: prepared.counters.clone(),
            registry: prepared.registry.clone(),
            drain,
            deadline,
            threads: running,
        })
    }

    /// The first address that a virtual server listens on, with the port that it got.
    ///
    /// # Panics
    /// Where there is no such virtual server.
    #[must_use]
    pub fn address(&self, server: &str) -> SocketAddr {
        self.addresses
            .iter()
            .find(|(name, _)| name == server)
            .and_then(|(_, addresses)| addresses.first())
            .copied()
            .unwrap_or_else(|| panic!("there is no virtual server {server:?}"))
    }

    /// Every virtual server with the addresses that it listens on.
    pub fn addresses(&self) -> impl Iterator<Item = (&str, &[SocketAddr])> {
        self.addresses.iter().map(|(name, addresses)| (name.as_str(), addresses.as_slice()))
    }

    /// What has been counted of each virtual server's policy.
    pub fn policy_metrics(&self) -> impl Iterator<Item = (&str, MetricsSnapshot)> {
        self.policies.iter().map(|(name, policy)| (name.as_str(), policy.metrics()))
    }

    /// What has happened until now.
    #[must_use]
    pub fn counters(&self) -> CountersSnapshot {
        self.counters.snapshot()
    }

    /// The counters themselves, which outlive the server.
    #[must_use]
    pub fn live_counters(&self) -> Arc<Counters> {
        self.counters.clone()
    }

    /// What is remembered of users.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Stops listening, lets sessions end by themselves for as long as given, and ends.
    /// Clients that have not logged in, or are posed, are told at once.
    pub fn shutdown(mut self, grace: Duration) {
        self.end(grace);
    }

    fn end(&mut self, grace: Duration) {
        let _ = self.deadline.send(Instant::now().checked_add(grace));
        let _ = self.drain.send(true);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end(Duration::ZERO);
    }
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start a runtime")
}

async fn load(
    engines: &Engines,
    server: &VirtualServerConfig,
    config: &Config,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<Arc<Policy>> {
    let place = || format!("{}: virtual server {}", server.policy.place, server.name);
    let octets =
        policy::load_source(&server.policy.component).map_err(|why| anyhow::anyhow!("{}: {why}", place()))?;
    let namespace = Namespace::in_memory(server.policy.store_quota, clock.clone());
    let options = PolicyOptions {
        sha256: server.policy.sha256,
        settings: server.policy.settings.clone(),
        limits: server.policy.limits.clone(),
        isolation: server.policy.isolation,
        breaker: server.policy.breaker.clone(),
        on_failure: server.policy.on_failure,
        pools: config.pools.iter().map(|pool| pool.name.clone()).collect(),
        ..PolicyOptions::new(&server.name, &server.policy.component, namespace, clock.clone())
    };
    Policy::load(engines.of(server)?, &octets, options)
        .await
        .map_err(|error| anyhow::anyhow!("{}: {error}", place()))
}

fn settings(server: &VirtualServerConfig) -> Settings {
    if server.verify == Verify::Off {
        tracing::warn!(server = server.name, "{}", crate::config::VERIFY_OFF);
    }
    Settings {
        name: server.name.as_str().into(),
        banner: format!("+OK {}\r\n", server.banner).into_bytes().into_boxed_slice(),
        capabilities: Capabilities::new(server.login_delay.map(|delay| delay.as_secs())),
        time_zone: server.time_zone.clone(),
        verify: server.verify,
        on_failure: server.policy.on_failure,
        on_unreachable: server.on_unreachable,
        login_timeout: server.login_timeout,
        idle_timeout: server.idle_timeout,
        max_bad_commands: server.max_bad_commands,
        max_failed_logins: server.max_failed_logins,
        pool: server.pool.clone(),
    }
}

/// One thread's life.
fn thread(
    prepared: &Prepared,
    listeners: Vec<Vec<TcpListener>>,
    drained: &watch::Receiver<bool>,
    mut ends: watch::Receiver<Option<Instant>>,
    ready: &std::sync::mpsc::Sender<anyhow::Result<()>>,
) {
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = ready.send(Err(error));
            return;
        }
    };
    runtime.block_on(async {
        let mut accepting = JoinSet::new();
        for (shared, listeners) in prepared.servers.iter().zip(listeners) {
            let context = Arc::new(Context {
                settings: shared.settings.clone(),
                judge: Judge::new(shared.policy.clone()),
                pools: prepared.pools.clone(),
                pool: shared.pool.clone(),
                registry: prepared.registry.clone(),
                tagger: prepared.tagger.clone(),
                clock: prepared.clock.clone(),
                counters: prepared.counters.clone(),
                drain: drained.clone(),
            });
            if let Err(failure) = context.judge.warm_up().await {
                let _ =
                    ready.send(Err(anyhow::anyhow!("virtual server {}: {failure}", shared.settings.name)));
                return;
            }
            for listener in listeners {
                match tokio::net::TcpListener::from_std(listener) {
                    Ok(listener) => {
                        accepting.spawn(accept(listener, context.clone(), shared.admission.clone()));
                    }
                    Err(error) => {
                        let _ = ready.send(Err(error.into()));
                        return;
                    }
                }
            }
        }
        let _ = ready.send(Ok(()));
        // Each acceptor ends at the drain, when its last session has ended.
        let all_ended = async { while accepting.join_next().await.is_some() {} };
        let deadline = async {
            let end = ends.wait_for(Option::is_some).await.ok().and_then(|end| *end);
            if let Some(end) = end {
                tokio::time::sleep_until(end.into()).await;
            }
        };
        tokio::select! {
            () = all_ended => {}
            () = deadline => {}
        }
    });
    runtime.shutdown_timeout(Duration::from_millis(100));
}

/// Accepts connections until the drain, then waits for the sessions.
async fn accept(listener: tokio::net::TcpListener, context: Arc<Context>, admission: Arc<Admission>) {
    let mut sessions = JoinSet::new();
    let mut drain = context.drain.clone();
    // Only where it listens on all addresses must each connection be asked for its own.
    let listening_on = listener.local_addr().ok().filter(|address| !address.ip().is_unspecified());
    loop {
        let accepted = tokio::select! {
            biased;
            _ = drain.wait_for(|drained| *drained) => break,
            accepted = listener.accept() => accepted,
            _ = sessions.join_next(), if !sessions.is_empty() => continue,
        };
        match accepted {
            Ok((stream, peer)) => {
                let local = match listening_on {
                    Some(address) => address,
                    None => match stream.local_addr() {
                        Ok(address) => address,
                        Err(_) => continue,
                    },
                };
                match admission.admit(peer.ip()) {
                    Ok(admitted) => {
                        let context = context.clone();
                        sessions.spawn(session::serve(context, Stream::Plain(stream), peer, local, admitted));
                    }
                    Err(refused) => refuse(&stream, refused, &context),
                }
            }
            Err(error) => {
                // Out of descriptors, most likely: let sessions end before the next try.
                tracing::error!(server = &*context.settings.name, %error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    while sessions.join_next().await.is_some() {}
}

fn refuse(stream: &tokio::net::TcpStream, refused: Refused, context: &Context) {
    use std::sync::atomic::Ordering;
    context.counters.refused_connections.fetch_add(1, Ordering::Relaxed);
    let word = match refused {
        Refused::Full => reply::TOO_MANY_CONNECTIONS,
        Refused::AddressFull => reply::TOO_MANY_FROM_ADDRESS,
    };
    // The socket's buffer is empty: the line fits, and nobody waits for it to be read.
    let _ = stream.try_write(word);
}
