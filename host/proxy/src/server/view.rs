//! Read access to a running server, for the admin interface.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::control::Control;
use super::core::Core;
use super::new_mail::NewMail;
use super::stores::OpenedStore;
use super::virtual_server::Served;
use crate::config::Config;
use crate::decision_log;
use crate::net::CertificateState;
use crate::pool::Pool;
use crate::session::{CountersSnapshot, LabeledSnapshot, Poller, Unrelievable};
use reprieve_lookup::TableState;
use reprieve_policy_host::{MetricsSnapshot, Policy, ShadowMetricsSnapshot, digest};
use reprieve_store::clock::Clock;

/// Snapshot of a virtual server.
#[derive(Clone, Debug)]
pub struct VirtualServerState {
    /// Its name.
    pub name: String,
    /// Listen addresses: `listen`, then `listen-tls`.
    pub addresses: Vec<SocketAddr>,
    /// Name of its default pool.
    pub pool: String,
    /// The active policy.
    pub policy: PolicyState,
    /// The shadow policy.
    pub shadow: Option<ShadowState>,
    /// Totals since the start.
    pub counters: CountersSnapshot,
    /// Totals with a label.
    pub labeled: LabeledSnapshot,
    /// Users whose denied logins passed today nevertheless.
    pub unrelieved: Vec<Unrelievable>,
    /// Its lookup tables, in the order of the configuration.
    pub lookups: Vec<TableState>,
    /// The certificates that clients are shown.
    pub certificates: Vec<CertificateState>,
}

/// Snapshot of a policy.
#[derive(Clone, Debug)]
pub struct PolicyState {
    /// Name of a built-in policy, or path of a component.
    pub component: String,
    /// SHA-256 of the component's bytes, in hexadecimal.
    pub sha256: String,
    /// 1 for the policy loaded at the start; each replacement adds 1.
    pub version: u64,
    /// Whether the circuit breaker is open.
    pub is_paused: bool,
    /// Counters and histograms.
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

/// Snapshot of a shadow policy.
#[derive(Clone, Debug)]
pub struct ShadowState {
    /// The policy itself.
    pub policy: PolicyState,
    /// Its verdicts, compared with those of the active policy.
    pub metrics: ShadowMetricsSnapshot,
}

/// Read access to a server; may outlive it.
#[derive(Clone, Debug)]
pub struct View {
    core: Arc<Core>,
}

impl View {
    pub(super) fn of(core: Arc<Core>) -> Self {
        Self { core }
    }

    pub(super) fn servers(&self) -> Vec<Served> {
        self.core.active.load().servers.clone()
    }

    /// Applies signals of new mail.
    #[must_use]
    pub(crate) fn new_mail(&self) -> NewMail {
        NewMail::of(self.core.clone())
    }

    /// The pools, in no particular order.
    pub fn pools(&self) -> impl Iterator<Item = Arc<Pool>> + use<> {
        let pools: Vec<_> = self.core.active.load().pools.values().cloned().collect();
        pools.into_iter()
    }

    /// The virtual servers, in the order of the configuration.
    pub fn virtual_servers(&self) -> impl Iterator<Item = VirtualServerState> + use<> {
        let now_ms = self.core.clock.now_ms();
        self.servers().into_iter().map(move |Served { shared, listeners, .. }| VirtualServerState {
            name: shared.config.name.clone(),
            addresses: listeners.iter().map(|listener| listener.address).collect(),
            pool: shared.config.pool.clone(),
            policy: PolicyState::of(&shared.policy),
            shadow: shared.shadow.as_ref().map(|shadow| ShadowState {
                policy: PolicyState::of(shadow.policy()),
                metrics: shadow.metrics(),
            }),
            counters: shared.counters.snapshot(),
            unrelieved: shared.unrelieved.list(now_ms),
            labeled: shared.counters.labeled(),
            lookups: shared.lookups.states().collect(),
            certificates: shared.tls.as_ref().map(|tls| tls.certificates()).unwrap_or_default(),
        })
    }

    /// The shared store, then those of single virtual servers.
    #[must_use]
    pub fn stores(&self) -> &[OpenedStore] {
        &self.core.stores
    }

    /// Users with the most polls, in descending order, with their virtual servers; None if
    /// `admin.top-pollers` is off.
    #[must_use]
    pub fn top_pollers(&self, count: usize) -> Option<Vec<(String, Poller)>> {
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

    /// Clock of verdicts and stores.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.core.clock
    }

    /// Totals of all virtual servers, including removed ones.
    #[must_use]
    pub fn counters(&self) -> CountersSnapshot {
        let active = self.core.active.load();
        let now = active.servers.iter().map(|server| server.shared.counters.snapshot());
        now.sum::<CountersSnapshot>() + active.removed_totals
    }

    /// Open connections at all virtual servers.
    #[must_use]
    pub fn connections(&self) -> u32 {
        self.core.connections.open()
    }

    /// Line counts of the decision log, if there is one.
    #[must_use]
    pub fn decision_log(&self) -> Option<decision_log::Counts> {
        self.core.sinks.decision_log.as_ref().map(|decision_log| decision_log.counts())
    }

    /// Number of dropped traces, if traces are configured.
    #[must_use]
    pub fn dropped_traces(&self) -> Option<u64> {
        self.core.sinks.traces.as_ref().map(|traces| traces.dropped())
    }

    /// Limit of open connections.
    #[must_use]
    pub fn connections_limit(&self) -> u32 {
        self.core.active.load().config.max_connections.unwrap_or(Config::MAX_CONNECTIONS)
    }

    /// Time since the start.
    #[must_use]
    pub fn uptime(&self) -> Duration {
        self.core.started.elapsed()
    }

    /// Control of the same server.
    #[must_use]
    pub fn control(&self) -> Control {
        Control::of(self.core.clone())
    }
}
