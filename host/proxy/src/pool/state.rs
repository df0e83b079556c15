//! A pool: its nodes, and what is known of them together.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::node::{Node, NodeState};
use super::present::MasterUser;
use super::queue::Queue;
use crate::config::{NodeMode, NodeTlsMode, PoolConfig};
use crate::net::{NodeConnector, TlsError};
use reprieve_metrics::{Histogram, HistogramSnapshot};
use reprieve_pop3::capability::BackendCapabilities;

/// Upper bounds of what logins take, in nanoseconds.
const LOGINS: [u64; 14] = [
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

/// A pool that cannot be made as it is configured.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// TLS towards its nodes.
    #[error("{0}")]
    Tls(#[from] TlsError),
    /// The master user's password.
    #[error("{location}: the master user's password: {why}")]
    Master {
        /// Where it is configured.
        location: String,
        /// What is wrong with it.
        why: String,
    },
}

/// There is no such node.
#[derive(Debug, thiserror::Error)]
#[error("pool {pool} has no node {node:?}; it has {known}")]
pub struct NoNode {
    pool: String,
    node: String,
    known: String,
}

/// A named group of nodes.
#[derive(Debug)]
pub struct Pool {
    config: PoolConfig,
    nodes: Vec<Arc<Node>>,
    /// Of each node, for taking turns.
    credits: Mutex<Vec<i64>>,
    queue: Arc<Queue>,
    connector: Option<NodeConnector>,
    master: Option<MasterUser>,
    waiting: AtomicU32,
    /// Moving average of what logins take, in microseconds; 0 before the first.
    latency_us: AtomicU64,
    latencies: Arc<Histogram<14>>,
}

/// What a policy is told of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolState {
    /// Nodes in it.
    pub nodes: u32,
    /// Nodes that are taken for reachable, and get logins.
    pub healthy: u32,
    /// Sessions that are open.
    pub sessions: u32,
    /// Logins that are under way.
    pub waiting: u32,
    /// What recent logins took, in milliseconds.
    pub login_latency_ms: Option<u32>,
}

impl Pool {
    /// A pool whose nodes have not been tried. Reads the files that it needs.
    ///
    /// # Errors
    /// Where a certificate or a password cannot be read, with the place in the configuration.
    pub fn new(config: PoolConfig) -> Result<Self, PoolError> {
        Self::succeeding(config, None)
    }

    /// A pool that takes the place of another: of nodes that both have, what is known stays, and
    /// the sessions and logins that are under way there count in both.
    ///
    /// # Errors
    /// As [`Pool::new`].
    pub fn succeeding(config: PoolConfig, before: Option<&Self>) -> Result<Self, PoolError> {
        let connector = match config.tls.mode {
            NodeTlsMode::Off => None,
            NodeTlsMode::Stls | NodeTlsMode::Implicit => Some(NodeConnector::load(&config.tls)?),
        };
        let node = |(index, config)| {
            let mut node = Node::new(index, config);
            let known = before.and_then(|pool| pool.nodes.iter().find(|known| known.name == node.name));
            if let Some(known) = known {
                node.succeed(known);
            }
            Arc::new(node)
        };
        let latencies =
            before.map_or_else(|| Arc::new(Histogram::new(&LOGINS)), |pool| pool.latencies.clone());
        let latency_us = before.map_or(0, |pool| pool.latency_us.load(Ordering::Relaxed));
        Ok(Self {
            nodes: config.nodes.iter().enumerate().map(node).collect(),
            credits: Mutex::new(vec![0; config.nodes.len()]),
            queue: before.map_or_else(Arc::default, |pool| pool.queue.clone()),
            master: config.master.as_ref().map(MasterUser::load).transpose()?,
            connector,
            config,
            waiting: AtomicU32::new(0),
            latency_us: AtomicU64::new(latency_us),
            latencies,
        })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// What is known of it now.
    #[must_use]
    pub fn state(&self) -> PoolState {
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let latency_us = self.latency_us.load(Ordering::Relaxed);
        let usable = |node: &&Arc<Node>| node.mode() == NodeMode::Enabled && node.is_healthy();
        PoolState {
            nodes: count(self.nodes.len()),
            healthy: count(self.nodes.iter().filter(usable).count()),
            sessions: self.nodes.iter().map(|node| node.sessions()).sum(),
            waiting: self.waiting.load(Ordering::Relaxed),
            login_latency_ms: (latency_us > 0)
                .then(|| u32::try_from(latency_us.div_ceil(1000)).unwrap_or(u32::MAX)),
        }
    }

    /// Its nodes, for whoever watches.
    pub fn node_states(&self) -> impl Iterator<Item = NodeState> {
        self.nodes.iter().map(|node| node.state())
    }

    /// Logins that wait for a place at a node.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    /// What logins took that were accepted: from looking for a node to its answer.
    #[must_use]
    pub fn login_times(&self) -> HistogramSnapshot {
        self.latencies.snapshot()
    }

    /// Has a node get logins or not.
    ///
    /// # Errors
    /// Where there is no node of that name.
    pub fn set_mode(&self, node: &str, mode: NodeMode) -> Result<(), NoNode> {
        let Some(found) = self.nodes.iter().find(|known| &*known.name == node) else {
            let known: Vec<_> = self.nodes.iter().map(|node| &*node.name).collect();
            return Err(NoNode {
                pool: self.name().to_owned(),
                node: node.to_owned(),
                known: known.join(", "),
            });
        };
        found.set_mode(mode);
        tracing::info!(pool = self.name(), node, mode = mode.name(), "node set");
        self.queue.serve(&self.nodes);
        Ok(())
    }

    /// What all of its nodes can do that have been asked: nobody is promised more. None where
    /// none has.
    #[must_use]
    pub fn learned(&self) -> Option<BackendCapabilities> {
        let enabled = self.nodes.iter().filter(|node| node.mode() == NodeMode::Enabled);
        enabled.filter_map(|node| node.learned()).reduce(BackendCapabilities::intersection)
    }

    /// What it was made of.
    #[must_use]
    pub fn config(&self) -> &PoolConfig {
        &self.config
    }

    pub(super) fn nodes(&self) -> &[Arc<Node>] {
        &self.nodes
    }

    pub(super) fn credits(&self) -> &Mutex<Vec<i64>> {
        &self.credits
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

    pub(super) fn wait(&self) -> Waiting<'_> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Waiting(self)
    }

    pub(super) fn note_latency(&self, took: Duration) {
        self.latencies.observe(took);
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
        let before = self.latency_us.load(Ordering::Relaxed);
        let after = if before == 0 { took } else { (before * 7 + took) / 8 };
        self.latency_us.store(after.max(1), Ordering::Relaxed);
    }
}

/// A login that is under way at the pool.
pub(super) struct Waiting<'a>(&'a Pool);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}
