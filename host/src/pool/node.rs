//! Pools and their nodes, with what is known of them now.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::config::PoolConfig;

/// How long a resolved name is used.
const RESOLVED_FOR: Duration = Duration::from_secs(30);

/// A mail server.
#[derive(Debug)]
pub struct Node {
    /// `host:port`, as configured.
    pub name: Arc<str>,
    address: Option<SocketAddr>,
    resolved: Mutex<Option<(Instant, Vec<SocketAddr>)>>,
    /// Milliseconds since the pool began, until which it is tried last.
    down_until_ms: AtomicU64,
    pub(super) sessions: AtomicU32,
}

impl Node {
    fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            address: name.parse().ok(),
            resolved: Mutex::new(None),
            down_until_ms: AtomicU64::new(0),
            sessions: AtomicU32::new(0),
        }
    }

    /// Its addresses, resolved again from time to time where it is a name.
    pub(super) async fn addresses(&self) -> std::io::Result<Vec<SocketAddr>> {
        if let Some(address) = self.address {
            return Ok(vec![address]);
        }
        if let Some((when, addresses)) = &*self.resolved.lock()
            && when.elapsed() < RESOLVED_FOR
        {
            return Ok(addresses.clone());
        }
        let addresses: Vec<_> = tokio::net::lookup_host(&*self.name).await?.collect();
        *self.resolved.lock() = Some((Instant::now(), addresses.clone()));
        Ok(addresses)
    }
}

/// A named group of nodes.
#[derive(Debug)]
pub struct Pool {
    pub(super) config: PoolConfig,
    nodes: Vec<Arc<Node>>,
    pub(super) turn: AtomicUsize,
    began: Instant,
    waiting: AtomicU32,
    /// Moving average of what logins take, in microseconds; 0 before the first.
    latency_us: AtomicU64,
}

/// What a policy is told of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolState {
    /// Nodes in it.
    pub nodes: u32,
    /// Nodes that are taken for reachable.
    pub healthy: u32,
    /// Sessions that are open.
    pub sessions: u32,
    /// Logins that are under way.
    pub waiting: u32,
    /// What recent logins took, in milliseconds.
    pub login_latency_ms: Option<u32>,
}

impl Pool {
    /// A pool whose nodes have not been tried.
    #[must_use]
    pub fn new(config: PoolConfig) -> Self {
        Self {
            nodes: config.nodes.iter().map(|name| Arc::new(Node::new(name))).collect(),
            config,
            turn: AtomicUsize::new(0),
            began: Instant::now(),
            waiting: AtomicU32::new(0),
            latency_us: AtomicU64::new(0),
        }
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
        PoolState {
            nodes: count(self.nodes.len()),
            healthy: count(self.nodes.iter().filter(|node| !self.is_down(node)).count()),
            sessions: self.nodes.iter().map(|node| node.sessions.load(Ordering::Relaxed)).sum(),
            waiting: self.waiting.load(Ordering::Relaxed),
            login_latency_ms: (latency_us > 0)
                .then(|| u32::try_from(latency_us.div_ceil(1000)).unwrap_or(u32::MAX)),
        }
    }

    pub(super) fn nodes(&self) -> &[Arc<Node>] {
        &self.nodes
    }

    pub(super) fn is_down(&self, node: &Node) -> bool {
        let until = node.down_until_ms.load(Ordering::Relaxed);
        until > 0 && self.now_ms() < until
    }

    pub(super) fn mark_down(&self, node: &Node) {
        let pause = u64::try_from(self.config.retry_after.as_millis()).unwrap_or(u64::MAX);
        let was_up = !self.is_down(node);
        node.down_until_ms.store(self.now_ms().saturating_add(pause).max(1), Ordering::Relaxed);
        if was_up {
            tracing::warn!(pool = self.name(), node = &*node.name, "node cannot be reached");
        }
    }

    pub(super) fn mark_up(&self, node: &Node) {
        if node.down_until_ms.swap(0, Ordering::Relaxed) > 0 {
            tracing::info!(pool = self.name(), node = &*node.name, "node can be reached again");
        }
    }

    pub(super) fn wait(&self) -> Waiting<'_> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Waiting(self)
    }

    pub(super) fn note_latency(&self, took: Duration) {
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
        let before = self.latency_us.load(Ordering::Relaxed);
        let after = if before == 0 { took } else { (before * 7 + took) / 8 };
        self.latency_us.store(after.max(1), Ordering::Relaxed);
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// A login that is under way at the pool.
pub(super) struct Waiting<'a>(&'a Pool);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}
