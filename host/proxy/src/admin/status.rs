//! Status of a running server, as `GET /status` returns it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::config::NodeMode;
use crate::decision_log::Counts;
use crate::new_mail::PoolSignals;
use crate::server::{PolicyState, ShadowState, View};
use crate::session::{CountersSnapshot, Unrelievable};
use reprieve_lookup::TableState;
use reprieve_metrics::HistogramSnapshot;
use reprieve_store as store;

/// A snapshot of a server.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Status {
    /// Version of the binary.
    pub version: String,
    /// Seconds since the server started.
    pub uptime_s: u64,
    /// Logins that the policies passed.
    pub passed: u64,
    /// Logins that the policies denied.
    pub denied: u64,
    /// Denied logins that never reached a mail server.
    pub relieved: u64,
    /// In the order of the configuration.
    pub virtual_servers: Vec<VirtualServerStatus>,
    /// Sorted by name.
    pub pools: Vec<PoolStatus>,
    /// The shared store first, then those of single virtual servers.
    pub stores: Vec<store::StoreStatus>,
    /// Lines of the decision log, if there is one.
    #[serde(default)]
    pub decision_log: Option<Counts>,
}

/// Status of a virtual server.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[allow(missing_docs)]
pub struct VirtualServerStatus {
    pub name: String,
    /// Listen addresses.
    pub addresses: Vec<String>,
    /// Name of the default pool.
    pub pool: String,
    pub policy: PolicyStatus,
    pub shadow: Option<ShadowStatus>,
    pub counters: CountersSnapshot,
    /// Users whose denied logins passed today nevertheless, with the reason.
    #[serde(default)]
    pub unrelieved: Vec<Unrelievable>,
    /// In the order of the configuration.
    #[serde(default)]
    pub lookups: Vec<LookupStatus>,
}

/// Status of a lookup table.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct LookupStatus {
    /// Its name.
    pub name: String,
    /// Path of its file.
    pub file: String,
    /// Number of entries in use.
    pub entries: u64,
    /// Why the newest version of the file is not in use.
    pub error: Option<String>,
}

impl LookupStatus {
    fn of(table: TableState) -> Self {
        Self {
            name: table.name,
            file: table.path.map(|path| path.display().to_string()).unwrap_or_default(),
            entries: table.entries,
            error: table.error.map(|error| error.to_string()),
        }
    }
}

/// Status of a virtual server's policy.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct PolicyStatus {
    /// Name of a built-in policy, or path of a component.
    pub component: String,
    /// SHA-256 of the component, in hexadecimal.
    pub sha256: String,
    /// 1 for the policy loaded at the start; each replacement adds 1.
    pub version: u64,
    /// Whether the circuit breaker has paused the policy after failures in a row.
    pub paused: bool,
    /// Calls of the policy.
    pub calls: u64,
    /// Calls that failed.
    pub failures: u64,
}

/// Status of a shadow policy: called for each login, without effect on it.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct ShadowStatus {
    /// The policy.
    pub policy: PolicyStatus,
    /// Logins that it would have passed.
    pub would_pass: u64,
    /// Logins that it would have denied.
    pub would_deny: u64,
    /// Calls that failed.
    pub failures: u64,
    /// Logins that it was not called for, because it did not keep up.
    pub skipped: u64,
    /// CPU time used, in seconds.
    pub cpu_s: f64,
    /// Logins for which its verdict differs from that of the active policy, by kind.
    pub differences: BTreeMap<String, u64>,
}

impl PolicyStatus {
    fn of(policy: PolicyState) -> Self {
        Self {
            component: policy.component,
            sha256: policy.sha256,
            version: policy.version,
            paused: policy.is_paused,
            calls: policy.metrics.calls,
            failures: policy.metrics.all_failures(),
        }
    }
}

impl ShadowStatus {
    fn of(shadow: ShadowState) -> Self {
        let ShadowState { policy, metrics } = shadow;
        Self {
            policy: PolicyStatus::of(policy),
            would_pass: metrics.would_pass,
            would_deny: metrics.would_deny,
            failures: metrics.failed,
            skipped: metrics.skipped,
            cpu_s: metrics.cpu.as_secs_f64(),
            differences: metrics
                .differences
                .iter()
                .map(|(kind, count)| (kind.name().to_owned(), *count))
                .collect(),
        }
    }
}

/// Status of a pool.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct PoolStatus {
    pub name: String,
    /// Logins that wait until a node has room.
    pub queued: usize,
    /// Moving average of login latency, in milliseconds.
    pub login_latency_ms: Option<u32>,
    pub nodes: Vec<NodeStatus>,
    /// How long new mail waits.
    #[serde(default)]
    pub new_mail: NewMailStatus,
}

/// Signals of new mail of a pool, and how long new mail waits.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct NewMailStatus {
    /// Whether signals are expected.
    pub has_source: bool,
    /// Users named in signals.
    pub signals: u64,
    /// Times that signals may have been missed.
    pub gaps: u64,
    /// Seconds for which no signal can have been missed; None if no source is complete.
    pub complete_for_s: Option<u64>,
    /// Mean time that Reprieve added until signalled mail was seen, in milliseconds; None if there was none.
    pub added_wait_ms: Option<u64>,
    /// Mean time that it may have added to mail without a signal, in milliseconds.
    pub unsignalled_wait_ms: Option<u64>,
}

impl NewMailStatus {
    fn of(signals: &PoolSignals, now_ms: u64) -> Self {
        let counts = signals.counts();
        let mean_ms = |waits: &HistogramSnapshot| (waits.sum_ns / 1_000_000).checked_div(waits.count);
        Self {
            has_source: signals.has_source(),
            signals: counts.received.iter().sum(),
            gaps: counts.missed.iter().sum(),
            complete_for_s: counts.complete_since_s.map(|since| (now_ms / 1000).saturating_sub(since.into())),
            added_wait_ms: mean_ms(&counts.delayed),
            unsignalled_wait_ms: mean_ms(&counts.delayed_unsignalled),
        }
    }
}

impl NewMailStatus {
    /// Whether there is anything to tell.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.has_source || self.unsignalled_wait_ms.is_some()
    }
}

impl std::fmt::Display for NewMailStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let wait = |ms: Option<u64>| {
            ms.map_or_else(|| "-".to_owned(), |ms| format!("{}.{} s", ms / 1000, ms % 1000 / 100))
        };
        let unsignalled = wait(self.unsignalled_wait_ms);
        if !self.has_source {
            return write!(f, "new mail waits up to {unsignalled} on average");
        }
        let added = wait(self.added_wait_ms);
        write!(f, "{} signals of new mail, {} gaps; added wait {added}", self.signals, self.gaps)?;
        if self.unsignalled_wait_ms.is_some() {
            write!(f, ", without a signal up to {unsignalled}")?;
        }
        Ok(())
    }
}

/// Status of a node.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct NodeStatus {
    /// `host:port`, as configured.
    pub name: String,
    /// Result of the health check.
    pub healthy: bool,
    /// Administrative mode.
    pub mode: NodeMode,
    /// Used only if no other node is available.
    pub backup: bool,
    /// Open sessions.
    pub sessions: u32,
    /// Error of the last failed attempt.
    pub last_error: Option<String>,
}

impl Status {
    /// Takes a snapshot of a server.
    #[must_use]
    pub fn of(view: &View) -> Self {
        let counters = view.counters();
        let mut pools: Vec<_> = view
            .pools()
            .map(|pool| PoolStatus {
                name: pool.name().to_owned(),
                queued: pool.queued(),
                login_latency_ms: pool.state().login_latency_ms,
                nodes: pool
                    .node_states()
                    .map(|node| NodeStatus {
                        name: node.name.to_string(),
                        healthy: node.healthy,
                        mode: node.mode,
                        backup: node.backup,
                        sessions: node.sessions,
                        last_error: node.last_error.map(Into::into),
                    })
                    .collect(),
                new_mail: NewMailStatus::of(pool.signals(), view.clock().now_ms()),
            })
            .collect();
        pools.sort_by(|one, other| one.name.cmp(&other.name));
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_s: view.uptime().as_secs(),
            passed: counters.passed,
            denied: counters.denied,
            relieved: counters.relieved,
            virtual_servers: view
                .virtual_servers()
                .map(|server| VirtualServerStatus {
                    name: server.name,
                    addresses: server.addresses.iter().map(ToString::to_string).collect(),
                    pool: server.pool,
                    policy: PolicyStatus::of(server.policy),
                    shadow: server.shadow.map(ShadowStatus::of),
                    counters: server.counters,
                    unrelieved: server.unrelieved,
                    lookups: server.lookups.into_iter().map(LookupStatus::of).collect(),
                })
                .collect(),
            pools,
            stores: view.stores().iter().map(|store| store.store.status()).collect(),
            decision_log: view.decision_log(),
        }
    }
}
