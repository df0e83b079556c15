//! What an administrator can see of a server, and change.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Store;
use crate::clock::Clock;
use crate::policy::{MetricsSnapshot, Policy, digest};
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
    pub(super) counters: Arc<Counters>,
}

/// A virtual server at one moment.
#[derive(Clone, Debug)]
pub struct VirtualServerState {
    /// Its name.
    pub name: String,
    /// Where it listens: in cleartext first, then for TLS.
    pub addresses: Vec<SocketAddr>,
    /// Name of its own pool.
    pub pool: String,
    /// Who decides there.
    pub policy: PolicyState,
    /// What has happened there.
    pub counters: CountersSnapshot,
}

/// A virtual server's policy at one moment.
#[derive(Clone, Debug)]
pub struct PolicyState {
    /// A built-in policy's name or a file's path.
    pub component: String,
    /// SHA-256 of the component's octets, in hexadecimal.
    pub sha256: String,
    /// Whether the circuit breaker keeps it from being asked.
    pub is_paused: bool,
    /// What has been counted of it.
    pub metrics: MetricsSnapshot,
}

impl PolicyState {
    fn of(policy: &Policy) -> Self {
        Self {
            component: policy.component_name().to_owned(),
            sha256: digest::hex(&policy.sha256()),
            is_paused: policy.is_paused(),
            metrics: policy.metrics(),
        }
    }
}

/// A server as an administrator sees it. It outlives the server.
#[derive(Clone, Debug)]
pub struct View {
    pub(super) servers: Arc<[Serving]>,
    pub(super) pools: Arc<HashMap<String, Arc<Pool>>>,
    pub(super) stores: Arc<[Store]>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) began: Instant,
}

impl View {
    /// Its pools.
    pub fn pools(&self) -> impl Iterator<Item = &Arc<Pool>> {
        self.pools.values()
    }

    /// Its virtual servers, in the order of the configuration.
    pub fn virtual_servers(&self) -> impl Iterator<Item = VirtualServerState> {
        self.servers.iter().map(|server| VirtualServerState {
            name: server.name.clone(),
            addresses: server.addresses.clone(),
            pool: server.pool.clone(),
            policy: PolicyState::of(&server.policy),
            counters: server.counters.snapshot(),
        })
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

    /// What has happened until now, at all virtual servers.
    #[must_use]
    pub fn counters(&self) -> CountersSnapshot {
        self.servers.iter().map(|server| server.counters.snapshot()).sum()
    }

    /// How long it has served.
    #[must_use]
    pub fn uptime(&self) -> Duration {
        self.began.elapsed()
    }
}
