//! Puts the rooms together: engine, policies, pools and registry are made once, and each
//! thread gets a runtime, listeners and judges of its own. Connections never change threads.

mod certificates;
mod engines;
mod serving;
mod sockets;
mod store_tool;
mod stores;
mod view;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::sync::watch;

use crate::clock::{Clock, SystemClock};
use crate::config::{CleartextLogin, Config, Verify, VirtualServerConfig};
use crate::maildrop::Registry;
use crate::net::{Admission, TlsAcceptor};
use crate::policy::{self, MetricsSnapshot, Policy, PolicyOptions};
use crate::pool::{Keeper, Pool, PoolError};
use crate::pop3::credential::Mechanism;
use crate::session::{Counters, CountersSnapshot, Offers, Settings};
use crate::store::Namespace;
use certificates::Certificates;
use engines::Engines;
pub use sockets::Sockets;
pub use store_tool::{Page, PageRequest, Registered, StoreStats, StoreTool, is_about};
use stores::Stores;
pub use stores::{Store, StoreKeys};
use view::Serving;
pub use view::{PolicyState, View, VirtualServerState};

/// What a server is started with beside its configuration.
#[derive(Debug, Default)]
pub struct Options {
    /// The time of verdicts; the machine's own without it.
    pub clock: Option<Arc<dyn Clock>>,
    /// Leaves the stores alone, which another process may have open: for checks.
    pub without_stores: bool,
}

/// What all threads share of a virtual server.
#[derive(Debug)]
struct Shared {
    settings: Arc<Settings>,
    policy: Arc<Policy>,
    pool: Arc<Pool>,
    admission: Arc<Admission>,
    store: Store,
    counters: Arc<Counters>,
}

/// A configuration whose policies are loaded and were tried: what `reprieve check` makes and
/// `reprieve run` serves.
#[derive(Debug)]
pub struct Prepared {
    config: Config,
    clock: Arc<dyn Clock>,
    servers: Vec<Shared>,
    pools: Arc<HashMap<String, Arc<Pool>>>,
    stores: Vec<Store>,
    certificates: Arc<Certificates>,
}

/// Certificates, keys and passwords of a configuration: all that needs to be read by somebody
/// who may, before the process becomes somebody who may not.
#[derive(Debug)]
pub struct Keys {
    pools: HashMap<String, Arc<Pool>>,
    acceptors: HashMap<String, Arc<TlsAcceptor>>,
    stores: StoreKeys,
}

impl Keys {
    /// Reads the files that a configuration names.
    ///
    /// # Errors
    /// Which file is not what it should be, with its place in the configuration.
    pub fn read(config: &Config) -> anyhow::Result<Self> {
        let pools = config.pools.iter().map(|pool| {
            let loaded = Pool::new(pool.clone())?;
            Ok((pool.name.clone(), Arc::new(loaded)))
        });
        let acceptors = config.virtual_servers.iter().filter_map(|server| {
            let tls = server.tls.as_ref()?;
            Some(TlsAcceptor::load(tls).map(|loaded| (server.name.clone(), Arc::new(loaded))))
        });
        Ok(Self {
            pools: pools.collect::<Result<_, PoolError>>()?,
            acceptors: acceptors.collect::<Result<_, _>>()?,
            stores: StoreKeys::read(config)?,
        })
    }
}

impl Prepared {
    /// Loads everything that a configuration names, without listening.
    ///
    /// # Errors
    /// What is wrong, in one sentence with its place in the configuration.
    pub fn new(config: Config, options: Options) -> anyhow::Result<Self> {
        let keys = Keys::read(&config)?;
        Self::with_keys(config, options, keys)
    }

    /// Loads everything else, where certificates, keys and passwords were read before: perhaps
    /// as somebody who may read more.
    ///
    /// # Errors
    /// As [`Prepared::new`].
    pub fn with_keys(config: Config, options: Options, keys: Keys) -> anyhow::Result<Self> {
        let clock = options.clock.unwrap_or_else(|| Arc::new(SystemClock));
        let engines = Engines::new(&config)?;
        let Keys { pools, acceptors, stores } = keys;
        let mut stores = Stores::open(stores, &config, &clock, options.without_stores)?;
        let total = Arc::new(AtomicU32::new(0));
        let runtime = runtime()?;
        let mut servers = Vec::new();
        for server in &config.virtual_servers {
            let (store, namespace) = stores.of(server)?;
            let policy = runtime.block_on(load(&engines, server, namespace, &config, &clock))?;
            let pool = pools.get(&server.pool).context("a virtual server's pool is not defined")?.clone();
            servers.push(Shared {
                settings: Arc::new(settings(server, acceptors.get(&server.name).cloned())),
                policy,
                pool,
                admission: Admission::new(
                    total.clone(),
                    config.max_connections.unwrap_or(Config::MAX_CONNECTIONS),
                    server.max_connections_per_address,
                ),
                store,
                counters: Arc::default(),
            });
        }
        Ok(Self {
            stores: stores.all(),
            certificates: Arc::new(Certificates::new(acceptors.into_iter().collect())),
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

/// A server that serves. It ends when it is dropped.
#[derive(Debug)]
pub struct Server {
    view: View,
    certificates: Arc<Certificates>,
    _keeper: Keeper,
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
        let sockets = Sockets::open(&prepared.config)?;
        Self::serve_at(prepared, sockets)
    }

    /// Serves at sockets that are open already.
    ///
    /// # Errors
    /// Where the system has no more threads, or a policy cannot be started.
    pub fn serve_at(prepared: Prepared, sockets: Sockets) -> anyhow::Result<Self> {
        let prepared = Arc::new(prepared);
        let Sockets { addresses, listeners } = sockets;
        let threads = listeners.len();
        let keeper =
            Keeper::start(prepared.pools.values().cloned().collect(), prepared.config.name_servers.clone())
                .context("cannot look after the nodes")?;
        let (drain, drained) = watch::channel(false);
        let (deadline, ends) = watch::channel(None);
        let (ready, started) = std::sync::mpsc::channel();
        let mut running = Vec::new();
        for (index, listeners) in listeners.into_iter().enumerate() {
            let (prepared, drained, ends, ready) =
                (prepared.clone(), drained.clone(), ends.clone(), ready.clone());
            let thread = std::thread::Builder::new()
                .name(format!("serve-{index}"))
                .spawn(move || serving::thread(&prepared, listeners, &drained, ends, &ready))
                .context("cannot start a thread")?;
            running.push(thread);
        }
        drop(ready);
        for _ in 0..threads {
            started.recv().context("a thread ended at its start")??;
        }
        let servers = prepared.servers.iter().zip(addresses).map(|(shared, (name, addresses))| {
            let policy = shared.policy.clone();
            let (store, pool) = (shared.store.clone(), shared.settings.pool.clone());
            Serving { name, addresses, policy, store, pool, counters: shared.counters.clone() }
        });
        Ok(Self {
            view: View {
                servers: servers.collect(),
                pools: prepared.pools.clone(),
                stores: prepared.stores.clone().into(),
                clock: prepared.clock.clone(),
                began: Instant::now(),
            },
            certificates: prepared.certificates.clone(),
            _keeper: keeper,
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
        self.addresses_of(server)[0]
    }

    /// Every virtual server with the addresses that it listens on.
    pub fn addresses(&self) -> impl Iterator<Item = (&str, &[SocketAddr])> {
        self.view.servers.iter().map(|server| (&*server.name, &*server.addresses))
    }

    /// The addresses of a virtual server, in the order of the configuration: those in
    /// cleartext, then those with TLS.
    ///
    /// # Panics
    /// Where there is no such virtual server.
    #[must_use]
    pub fn addresses_of(&self, server: &str) -> &[SocketAddr] {
        let mut all = self.addresses();
        let found = all.find(|(name, _)| *name == server);
        found.map_or_else(|| panic!("there is no virtual server {server:?}"), |(_, addresses)| addresses)
    }

    /// A pool, by its name.
    #[must_use]
    pub fn pool(&self, name: &str) -> Option<&Arc<Pool>> {
        self.view.pools.get(name)
    }

    /// Reads the certificates towards clients again. New connections get what the files hold;
    /// those that are open go on. What cannot be read stays as it was, and is logged. True
    /// where all could be read.
    pub fn reload_certificates(&self) -> bool {
        self.certificates.reload()
    }

    /// Reads them again where a file has changed since.
    pub fn look_at_certificates(&self) {
        self.certificates.look();
    }

    /// What an administrator can see and change, for as long as wanted.
    #[must_use]
    pub fn view(&self) -> View {
        self.view.clone()
    }

    /// What has been counted of a virtual server's policy; None where there is no such virtual
    /// server.
    #[must_use]
    pub fn policy_metrics(&self, server: &str) -> Option<MetricsSnapshot> {
        let found = self.view.virtual_servers().find(|one| one.name == server);
        found.map(|one| one.policy.metrics)
    }

    /// What has happened until now, at all virtual servers.
    #[must_use]
    pub fn counters(&self) -> CountersSnapshot {
        self.view.counters()
    }

    /// What is remembered of the users of the first virtual server.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.view.servers[0].store.registry
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
    namespace: Namespace,
    config: &Config,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<Arc<Policy>> {
    let place = || format!("{}: virtual server {}", server.policy.place, server.name);
    let octets =
        policy::load_source(&server.policy.component).map_err(|why| anyhow::anyhow!("{}: {why}", place()))?;
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

fn settings(server: &VirtualServerConfig, tls: Option<Arc<TlsAcceptor>>) -> Settings {
    if server.verify == Verify::Off {
        tracing::warn!(server = server.name, "{}", crate::config::VERIFY_OFF);
    }
    let by_default = if tls.is_some() { CleartextLogin::Deny } else { CleartextLogin::Allow };
    Settings {
        name: server.name.as_str().into(),
        banner: format!("+OK {}", server.banner).into_bytes().into_boxed_slice(),
        offers: Offers::new(server.login_delay.map(|delay| delay.as_secs()), server.mechanisms),
        cleartext_login: server.cleartext_login.unwrap_or(by_default),
        tls,
        proxy_from: server.proxy_from.clone(),
        proxy_timeout: server.proxy_timeout,
        apop: server.mechanisms.contains(Mechanism::Apop),
        unverifiable: server.unverifiable,
        master_separator: server.master_separator,
        time_zone: server.time_zone.clone(),
        verify: server.verify,
        on_failure: server.policy.on_failure,
        on_unreachable: server.on_unreachable,
        login_timeout: server.login_timeout,
        idle_timeout: server.idle_timeout,
        stall_timeout: server.stall_timeout,
        max_bad_commands: server.max_bad_commands,
        max_failed_logins: server.max_failed_logins,
        pool: server.pool.clone(),
    }
}
