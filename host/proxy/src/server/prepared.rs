//! A configuration whose policies are loaded and tried: `reprieve check` builds it, `reprieve run`
//! serves it.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::Context as _;

use super::engines::Engines;
use super::loading::PolicyLoader;
use super::stores::{ConfiguredStores, Stores};
use super::virtual_server::{Pools, VirtualServer, settings};
use super::{Options, lookups, runtime};
use crate::config::Config;
use crate::decision_log;
use crate::net::{Admission, AllConnections, TlsAcceptor};
use crate::pool::{Pool, PoolError};
use crate::session::AllPools;
use crate::session::Sinks;
use crate::traces;
use reprieve_store::clock::{Clock, SystemClock};

/// A configuration that is ready to be served.
#[derive(Debug)]
pub struct Prepared {
    pub(super) config: Config,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) servers: Vec<VirtualServer>,
    pub(super) pools: Pools,
    pub(super) stores: Stores,
    pub(super) engines: Engines,
    pub(super) connections: Arc<AllConnections>,
    pub(super) sinks: PreparedSinks,
}

/// Decision log and traces, opened but not started.
#[derive(Debug)]
pub(super) struct PreparedSinks {
    decision_log: Option<decision_log::Opened>,
    traces: Option<traces::PreparedTraces>,
}

/// Files of the decision log and traces that may be readable by root only.
#[derive(Debug)]
struct SinkSecrets {
    decision_log: Option<decision_log::DecisionLogKeys>,
    traces: Option<traces::PreparedTraces>,
}

impl SinkSecrets {
    fn read(config: &Config) -> anyhow::Result<Self> {
        Ok(Self {
            decision_log: config
                .decision_log
                .as_ref()
                .map(decision_log::DecisionLogKeys::read)
                .transpose()?,
            traces: config.traces.as_ref().map(traces::PreparedTraces::open).transpose()?,
        })
    }
}

impl PreparedSinks {
    fn open(config: &Config, keys: SinkSecrets) -> anyhow::Result<Self> {
        let decision_log = config.decision_log.as_ref().zip(keys.decision_log);
        let decision_log =
            decision_log.map(|(log, keys)| decision_log::Opened::open(log, keys)).transpose()?;
        Ok(Self { decision_log, traces: keys.traces })
    }

    /// Begins.
    pub(super) fn start(self) -> anyhow::Result<Sinks> {
        Ok(Sinks {
            decision_log: self.decision_log.map(decision_log::Opened::start).transpose()?,
            traces: self.traces.map(traces::PreparedTraces::start).transpose()?,
        })
    }
}

/// Certificates, keys and passwords, read before root privileges are dropped. Files that are written
/// to are opened later (see `privileges`).
#[derive(Debug)]
pub struct ServerKeys {
    pools: AllPools,
    acceptors: HashMap<String, Arc<TlsAcceptor>>,
    stores: ConfiguredStores,
    sinks: SinkSecrets,
}

impl ServerKeys {
    /// Reads the files that the configuration names.
    ///
    /// # Errors
    /// If a file is unusable; the error names it with its line in the configuration.
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
            stores: ConfiguredStores::read(config)?,
            sinks: SinkSecrets::read(config)?,
        })
    }
}

impl Prepared {
    /// Loads everything that a configuration names, without listening.
    ///
    /// # Errors
    /// If something cannot be used; the error names its line in the configuration.
    pub fn new(config: Config, options: Options) -> anyhow::Result<Self> {
        let keys = ServerKeys::read(&config)?;
        Self::with_keys(config, options, keys)
    }

    /// Like [`Prepared::new`], with keys that were read before, for example as root.
    ///
    /// # Errors
    /// As [`Prepared::new`].
    pub fn with_keys(config: Config, options: Options, keys: ServerKeys) -> anyhow::Result<Self> {
        let clock = options.clock.unwrap_or_else(|| Arc::new(SystemClock));
        let engines = Engines::new(&config, options.without_stores)?;
        let ServerKeys { pools, acceptors, stores, sinks } = keys;
        let sinks = PreparedSinks::open(&config, sinks)?;
        let mut stores = Stores::open(stores, &config, &clock, options.without_stores)?;
        let connections = Arc::<AllConnections>::default();
        let runtime = runtime()?;
        let mut servers = Vec::new();
        for server in &config.virtual_servers {
            let (store, namespace) = stores.for_server(server)?;
            let lookups = lookups::open(server)?;
            let loader = |engine| PolicyLoader {
                engine,
                server,
                version: 1,
                config: &config,
                clock: &clock,
                lookups: &lookups,
            };
            let loading = loader(engines.of(&server.policy.limits)?).load(namespace.clone());
            let (policy, component) = runtime.block_on(loading)?;
            let shadow = match &server.shadow {
                Some(shadow) => {
                    let loader = loader(engines.for_shadow(&shadow.limits)?);
                    Some(runtime.block_on(loader.load_shadow(shadow, &store))?)
                }
                None => None,
            };
            let pool = pools.get(&server.pool).context("a virtual server's pool is not defined")?.clone();
            let tls = acceptors.get(&server.name).cloned();
            servers.push(VirtualServer {
                settings: Arc::new(settings(server, tls.clone())),
                tls,
                policy,
                component,
                previous_policy: None,
                shadow,
                pool,
                store,
                namespace,
                admission: Admission::new(
                    connections.clone(),
                    config.max_connections.unwrap_or(Config::MAX_CONNECTIONS),
                    server.max_connections_per_address,
                ),
                counters: Arc::default(),
                lookups,
                pollers: config.admin.top_pollers.then(Arc::default),
                unrelieved: Arc::default(),
                config: server.clone(),
            });
        }
        Ok(Self { config, clock, servers, pools: Arc::new(pools), stores, engines, connections, sinks })
    }

    /// The configuration that was prepared.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }
}
