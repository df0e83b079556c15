//! What an administrator can see of a server, and change.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Store;
use crate::clock::Clock;
use crate::policy::{MetricsSnapshot, Policy};
use crate::pool::Pool;
use crate::session::{Counters, CountersSnapshot};

/// A virtual server that serves.
#[derive(Debug)]
pub(super) struct Serving {
    pub(super) name: String,
    /// In the order of the configuration: those in cleartext, then those with TLS.
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) policy: Arc<Policy>,
    pub(super) store: Store,
    /// Name of its own pool.
    pub(super) pool: String,
}

/// A server as an administrator sees it. It outlives the server.
#[derive(Clone, Debug)]
pub struct View {
    pub(super) servers: Arc<[Serving]>,
    pub(super) pools: Arc<HashMap<String, Arc<Pool>>>,
    pub(super) stores: Arc<[Store]>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) counters: Arc<Counters>,
    pub(super) began: Instant,
}

impl View {
    /// Its pools.
    pub fn pools(&self) -> impl Iterator<Item = &Arc<Pool>> {
        self.pools.values()
    }

    /// Its virtual servers: name, addresses, what has been counted of the policy.
    pub fn virtual_servers(&self) -> impl Iterator<Item = (&str, &[SocketAddr], MetricsSnapshot)> {
        self.servers.iter().map(|server| (&*server.name, &*server.addresses, server.policy.metrics()))
    }

    /// Its stores.
    #[must_use]
    pub fn stores(&self) -> &[Store] {
        &self.stores
    }

    /// The time of verdicts.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// What has happened until now.
    #[must_use]
    pub fn counters(&self) -> CountersSnapshot {
        self.counters.snapshot()
    }

    /// How long it has served.
    #[must_use]
    pub fn uptime(&self) -> Duration {
        self.began.elapsed()
    }
}
