//! What an administrator can see of a server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::control::Control;
use super::core::Core;
use super::stores::Store;
use super::virtual_server::Served;
use crate::config::Config;
use crate::decision_log;
use crate::net::CertificateState;
use crate::pool::Pool;
use crate::session::{CountersSnapshot, KindsSnapshot, Poller, Unrelievable};
use reprieve_policy_host::{MetricsSnapshot, Policy, TallySnapshot, digest};
use reprieve_store::clock::Clock;

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
    /// Who judges there beside, unfelt.
    pub shadow: Option<ShadowState>,
    /// What has happened there.
    pub counters: CountersSnapshot,
    /// The same by kind.
    pub kinds: KindsSnapshot,
    /// Users of today whose logins are denied and pass all the same.
    pub unrelieved: Vec<Unrelievable>,
    /// The certificates that it shows.
    pub certificates: Vec<CertificateState>,
}

/// A virtual server's policy at one moment.
#[derive(Clone, Debug)]
pub struct PolicyState {
    /// A built-in policy's name or a file's path.
    pub component: String,
    /// SHA-256 of the component's octets, in hexadecimal.
    pub sha256: String,
    /// How many policies there have been since the start, with this one.
    pub version: u64,
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
            version: policy.version(),
            is_paused: policy.is_paused(),
            metrics: policy.metrics(),
        }
    }
}

/// A policy in the shadow at one moment.
#[derive(Clone, Debug)]
pub struct ShadowState {
    /// The policy itself.
    pub policy: PolicyState,
    /// What it would have done.
    pub tally: TallySnapshot,
}

/// A server as an administrator sees it. It outlives the server.
#[derive(Clone, Debug)]
pub struct View {
    core: Arc<Core>,
}

impl View {
    pub(super) fn of(core: Arc<Core>) -> Self {
        Self { core }
    }

    pub(super) fn servers(&self) -> Vec<Served> {
        self.core.present.load().servers.clone()
    }

    /// Its pools.
    pub fn pools(&self) -> impl Iterator<Item = Arc<Pool>> + use<> {
        let pools: Vec<_> = self.core.present.load().pools.values().cloned().collect();
        pools.into_iter()
    }

    /// Its virtual servers, in the order of the configuration.
    pub fn virtual_servers(&self) -> impl Iterator<Item = VirtualServerState> + use<> {
        let now_ms = self.core.clock.now_ms();
        self.servers().into_iter().map(move |Served { shared, listening, .. }| VirtualServerState {
            name: shared.config.name.clone(),
            addresses: listening.iter().map(|listening| listening.address).collect(),
            pool: shared.config.pool.clone(),
            policy: PolicyState::of(&shared.policy),
            shadow: shared.shadow.as_ref().map(|shadow| ShadowState {
                policy: PolicyState::of(shadow.policy()),
                tally: shadow.tally(),
            }),
            counters: shared.counters.snapshot(),
            unrelieved: shared.unrelieved.list(now_ms),
            kinds: shared.counters.kinds(),
            certificates: shared.tls.as_ref().map(|tls| tls.certificates()).unwrap_or_default(),
        })
    }

    /// Its stores.
    #[must_use]
    pub fn stores(&self) -> &[Store] {
        &self.core.stores
    }

    /// Who polls most, the worst first, each with his virtual server; None where that is not
    /// counted.
    #[must_use]
    pub fn worst_pollers(&self, count: usize) -> Option<Vec<(String, Poller)>> {
        let servers = self.servers();
        let counted =
            servers.iter().filter_map(|served| Some((&served.shared, served.shared.pollers.as_ref()?)));
        let mut all: Vec<_> = counted
            .flat_map(|(shared, pollers)| {
                pollers.worst(count).into_iter().map(|poller| (shared.config.name.clone(), poller))
            })
            .collect();
        all.sort_by_key(|(_, poller)| poller.order());
        all.truncate(count);
        servers.iter().any(|served| served.shared.pollers.is_some()).then_some(all)
    }

    /// The time of verdicts.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.core.clock
    }

    /// What has happened until now, at all virtual servers.
    #[must_use]
    pub fn counters(&self) -> CountersSnapshot {
        let present = self.core.present.load();
        let now = present.servers.iter().map(|server| server.shared.counters.snapshot());
        now.sum::<CountersSnapshot>() + present.gone
    }

    /// Connections that are open, at all virtual servers.
    #[must_use]
    pub fn connections(&self) -> u32 {
        self.core.total.load(Ordering::Relaxed)
    }

    /// What has become of the decision log's lines until now, where there is one.
    #[must_use]
    pub fn decision_log(&self) -> Option<decision_log::Counts> {
        self.core.telling.journal.as_ref().map(|journal| journal.counts())
    }

    /// Traces of sessions that were dropped until now, where there are any traces.
    #[must_use]
    pub fn dropped_traces(&self) -> Option<u64> {
        self.core.telling.traces.as_ref().map(|traces| traces.dropped())
    }

    /// How many connections there may be.
    #[must_use]
    pub fn connections_limit(&self) -> u32 {
        self.core.present.load().config.max_connections.unwrap_or(Config::MAX_CONNECTIONS)
    }

    /// How long it has served.
    #[must_use]
    pub fn uptime(&self) -> Duration {
        self.core.began.elapsed()
    }

    /// Who changes it.
    #[must_use]
    pub fn control(&self) -> Control {
        Control::of(self.core.clone())
    }
}
