//! A pool: its nodes, its queue and its statistics.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::login_commands::MasterUser;
use super::node::{Node, NodeState};
use super::queue::Queue;
use crate::config::{NewMailConfig, NodeMode, NodeTlsMode, PoolConfig};
use crate::net::{NodeConnector, TlsError};
use crate::new_mail::PoolSignals;
#[cfg(test)]
use crate::simulation::{Fault, planted};
use reprieve_lookup::Tables;
use reprieve_metrics::{Histogram, HistogramSnapshot};
use reprieve_pop3::capability::BackendCapabilities;

/// Upper bounds of the login duration histogram, in nanoseconds.
const LOGIN_BUCKETS_NS: [u64; 14] = [
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
    30_000_000_000,
];

/// Name of the table in [`Pool::aliases`].
const ALIASES: &str = "aliases";

/// A pool whose TLS files or master password cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// TLS to its nodes.
    #[error("{0}")]
    Tls(#[from] TlsError),
    /// The master user's password.
    #[error("{location}: cannot read the master user's password: {reason}")]
    Master {
        /// Where it is configured.
        location: String,
        /// The error, with the file.
        reason: String,
    },
    /// The lookup table of aliases.
    #[error("{location}: `aliases`: {error}")]
    Aliases {
        /// Where it is configured.
        location: String,
        /// The error, with the file.
        error: reprieve_lookup::Error,
    },
}

/// A node name that the pool does not have.
#[derive(Debug, thiserror::Error)]
#[error("pool {pool} has no node {node:?}; it has {known}")]
pub struct UnknownNode {
    pool: String,
    node: String,
    known: String,
}

/// A named group of nodes.
#[derive(Debug)]
pub struct Pool {
    config: PoolConfig,
    shared_name: Arc<str>,
    nodes: Vec<Arc<Node>>,
    /// Current weights of smooth weighted round robin, by node index.
    current_weights: Mutex<Vec<i64>>,
    queue: Arc<Queue>,
    connector: Option<NodeConnector>,
    master: Option<MasterUser>,
    logins_in_progress: AtomicU32,
    /// Moving average of the login duration, in microseconds; 0 before the first login.
    latency_us: AtomicU64,
    latencies: Arc<Histogram<14>>,
    signals: Arc<PoolSignals>,
    aliases: Option<Tables>,
}

/// Snapshot of a pool's state, as policies see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolState {
    /// Number of nodes.
    pub nodes: u32,
    /// Number of nodes that are enabled and healthy.
    pub healthy: u32,
    /// Number of open sessions.
    pub sessions: u32,
    /// Number of logins in progress.
    pub waiting: u32,
    /// Moving average of the login duration, in milliseconds; None before the first login.
    pub login_latency_ms: Option<u32>,
}

impl Pool {
    /// Creates a pool whose nodes are assumed to be healthy. Reads the certificate and password
    /// files.
    ///
    /// # Errors
    /// If a file cannot be read, with its location in the configuration.
    pub fn new(config: PoolConfig) -> Result<Self, PoolError> {
        Self::replacing(config, None)
    }

    /// Creates a pool that replaces the one of the previous configuration. Nodes that both have keep
    /// their state; their open sessions and queued logins count in both.
    ///
    /// # Errors
    /// As [`Pool::new`].
    pub fn replacing(config: PoolConfig, previous: Option<&Self>) -> Result<Self, PoolError> {
        let connector = match config.tls.mode {
            NodeTlsMode::Off => None,
            NodeTlsMode::Stls | NodeTlsMode::Implicit => Some(NodeConnector::load(&config.tls)?),
        };
        let node = |(index, config)| {
            let mut node = Node::new(index, config);
            let known = previous.and_then(|pool| pool.nodes.iter().find(|known| known.name == node.name));
            if let Some(known) = known {
                node.inherit(known);
            }
            Arc::new(node)
        };
        let latencies = previous
            .map_or_else(|| Arc::new(Histogram::new(&LOGIN_BUCKETS_NS)), |pool| pool.latencies.clone());
        let signals = previous.map_or_else(Arc::default, |pool| pool.signals.clone());
        let new_mail = config.new_mail.as_ref();
        signals.configure(
            new_mail.is_some_and(NewMailConfig::has_source),
            new_mail.is_some_and(NewMailConfig::is_complete),
        );
        let latency_us = previous.map_or(0, |pool| pool.latency_us.load(Ordering::Relaxed));
        Ok(Self {
            nodes: config.nodes.iter().enumerate().map(node).collect(),
            current_weights: Mutex::new(vec![0; config.nodes.len()]),
            queue: previous.map_or_else(Arc::default, |pool| pool.queue.clone()),
            master: config.master.as_ref().map(MasterUser::load).transpose()?,
            connector,
            signals,
            aliases: new_mail.map(aliases).transpose()?.flatten(),
            shared_name: config.name.as_str().into(),
            config,
            logins_in_progress: AtomicU32::new(0),
            latency_us: AtomicU64::new(latency_us),
            latencies,
        })
    }

    /// Its name, as logins refer to it.
    #[must_use]
    pub fn shared_name(&self) -> &Arc<str> {
        &self.shared_name
    }

    /// Its name in the configuration.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// Its signals of new mail.
    #[must_use]
    pub fn signals(&self) -> &Arc<PoolSignals> {
        &self.signals
    }

    /// The lookup table from names in signals to users, as the only one.
    #[must_use]
    pub fn aliases(&self) -> Option<&Tables> {
        self.aliases.as_ref()
    }

    /// The users that a name in a signal means.
    #[must_use]
    pub fn users_of(&self, name: &[u8]) -> Vec<Vec<u8>> {
        let text = std::str::from_utf8(name).ok();
        #[cfg(test)]
        let text = text.filter(|_| !planted(Fault::AliasNotMapped));
        let listed =
            self.aliases.as_ref().zip(text).and_then(|(table, name)| table.get(ALIASES, name).ok()?);
        match listed {
            Some(listed) => listed.split(',').map(|user| user.trim().as_bytes().to_vec()).collect(),
            None => vec![name.to_vec()],
        }
    }

    /// Takes a snapshot of its state.
    #[must_use]
    pub fn state(&self) -> PoolState {
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let latency_us = self.latency_us.load(Ordering::Relaxed);
        let usable = |node: &&Arc<Node>| node.mode() == NodeMode::Enabled && node.is_healthy();
        PoolState {
            nodes: count(self.nodes.len()),
            healthy: count(self.nodes.iter().filter(usable).count()),
            sessions: self.nodes.iter().map(|node| node.sessions()).sum(),
            waiting: self.logins_in_progress.load(Ordering::Relaxed),
            login_latency_ms: (latency_us > 0)
                .then(|| u32::try_from(latency_us.div_ceil(1000)).unwrap_or(u32::MAX)),
        }
    }

    /// Takes snapshots of its nodes.
    pub fn node_states(&self) -> impl Iterator<Item = NodeState> {
        self.nodes.iter().map(|node| node.state())
    }

    /// Number of logins that wait for a session slot.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Durations of accepted logins, from choosing a node to its reply.
    #[must_use]
    pub fn login_durations(&self) -> HistogramSnapshot {
        self.latencies.snapshot()
    }

    /// Enables, drains or disables a node.
    ///
    /// # Errors
    /// If the pool has no node of that name.
    pub fn set_mode(&self, node: &str, mode: NodeMode) -> Result<(), UnknownNode> {
        let Some(found) = self.nodes.iter().find(|known| &*known.name == node) else {
            let known: Vec<_> = self.nodes.iter().map(|node| &*node.name).collect();
            return Err(UnknownNode {
                pool: self.name().to_owned(),
                node: node.to_owned(),
                known: known.join(", "),
            });
        };
        found.set_mode(mode);
        tracing::info!(pool = self.name(), node, mode = mode.name(), "node mode changed");
        self.assign_free_slots();
        Ok(())
    }

    /// Gives logins that wait the slots that its limits allow, after it has replaced another pool.
    pub(crate) fn assign_free_slots(&self) {
        self.queue.assign_free_slots(&self.nodes);
    }

    /// The capabilities that all enabled nodes have in common; None if no node's are known yet.
    #[must_use]
    pub fn common_capabilities(&self) -> Option<BackendCapabilities> {
        let enabled = self.nodes.iter().filter(|node| node.mode() == NodeMode::Enabled);
        enabled.filter_map(|node| node.capabilities()).reduce(BackendCapabilities::intersection)
    }

    /// Its configuration.
    #[must_use]
    pub fn config(&self) -> &PoolConfig {
        &self.config
    }

    pub(super) fn nodes(&self) -> &[Arc<Node>] {
        &self.nodes
    }

    pub(super) fn current_weights(&self) -> &Mutex<Vec<i64>> {
        &self.current_weights
    }

    pub(super) fn queue(&self) -> &Arc<Queue> {
        &self.queue
    }

    pub(super) fn connector(&self) -> Option<&NodeConnector> {
        self.connector.as_ref()
    }

    pub(super) fn master(&self) -> Option<&MasterUser> {
        self.master.as_ref()
    }

    /// Counts a login as in progress until the result is dropped.
    pub(super) fn count_login(&self) -> LoginInProgress<'_> {
        self.logins_in_progress.fetch_add(1, Ordering::Relaxed);
        LoginInProgress(self)
    }

    pub(super) fn record_login_duration(&self, duration: Duration) {
        self.latencies.observe(duration);
        let latest = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX).max(1);
        let average = self.latency_us.load(Ordering::Relaxed);
        let average = if average == 0 { latest } else { (average * 7 + latest) / 8 };
        self.latency_us.store(average.max(1), Ordering::Relaxed);
    }
}

fn aliases(config: &NewMailConfig) -> Result<Option<Tables>, PoolError> {
    let Some(path) = &config.aliases else { return Ok(None) };
    let opened = Tables::open([(ALIASES, path.as_path())]);
    let location = config.location.to_string();
    opened.map(Some).map_err(|(_, error)| PoolError::Aliases { location, error })
}

/// A login in progress, counted until dropped.
pub(super) struct LoginInProgress<'a>(&'a Pool);

impl Drop for LoginInProgress<'_> {
    fn drop(&mut self) {
        self.0.logins_in_progress.fetch_sub(1, Ordering::Relaxed);
    }
}
