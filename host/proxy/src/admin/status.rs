//! What can be told of a running server.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::config::NodeMode;
use crate::decision_log::Counts;
use crate::server::{PolicyState, ShadowState, View};
use crate::session::{CountersSnapshot, Unrelievable};
use reprieve_store as store;

/// A server at one moment.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Status {
    /// Version of the binary.
    pub version: String,
    /// Seconds since it began to serve.
    pub uptime_s: u64,
    /// Logins that the policies passed.
    pub passed: u64,
    /// Logins that they denied.
    pub denied: u64,
    /// Denied logins that never reached a mail server.
    pub relieved: u64,
    /// The virtual servers.
    pub virtual_servers: Vec<VirtualServerStatus>,
    /// The pools.
    pub pools: Vec<PoolStatus>,
    /// The stores.
    pub stores: Vec<store::Status>,
    /// What has become of the decision log's lines, where there is one.
    #[serde(default)]
    pub decision_log: Option<Counts>,
}

/// A virtual server.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct VirtualServerStatus {
    /// Its name.
    pub name: String,
    /// Where it listens.
    pub addresses: Vec<String>,
    /// Name of its own pool.
    pub pool: String,
    /// Who decides there.
    pub policy: PolicyStatus,
    /// Who judges there beside, unfelt.
    pub shadow: Option<ShadowStatus>,
    /// What has happened there.
    pub counters: CountersSnapshot,
    /// Users of today whose logins are denied and pass all the same, with the reason.
    #[serde(default)]
    pub unrelieved: Vec<Unrelievable>,
}

/// A virtual server's policy.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct PolicyStatus {
    /// A built-in policy's name or a file's path.
    pub component: String,
    /// SHA-256 of the component, in hexadecimal.
    pub sha256: String,
    /// How many policies there have been since the start, with this one.
    pub version: u64,
    /// Whether it is not asked for a while, after failures in a row.
    pub paused: bool,
    /// Calls of it.
    pub calls: u64,
    /// Calls that failed.
    pub failures: u64,
}

/// A policy in the shadow of another.
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
    /// Logins that it was not asked about, because it did not keep up.
    pub left_out: u64,
    /// CPU time that it has taken, in seconds.
    pub cpu_s: f64,
    /// Logins that it judges otherwise, by kind.
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
        let ShadowState { policy, tally } = shadow;
        Self {
            policy: PolicyStatus::of(policy),
            would_pass: tally.would_pass,
            would_deny: tally.would_deny,
            failures: tally.failed,
            left_out: tally.left_out,
            cpu_s: tally.cpu.as_secs_f64(),
            differences: tally
                .differences
                .iter()
                .map(|(kind, count)| (kind.name().to_owned(), *count))
                .collect(),
        }
    }
}

/// A pool.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct PoolStatus {
    /// Its name.
    pub name: String,
    /// Logins that wait for a place at a node.
    pub queued: usize,
    /// Moving average of what logins take, in milliseconds.
    pub login_latency_ms: Option<u32>,
    /// Its nodes.
    pub nodes: Vec<NodeStatus>,
}

/// A node.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct NodeStatus {
    /// `host:port`, as configured.
    pub name: String,
    /// Whether it is taken for reachable.
    pub healthy: bool,
    /// Whether it gets logins, as the administrator wants it.
    pub mode: NodeMode,
    /// Whether it is a backup.
    pub backup: bool,
    /// Sessions that are open.
    pub sessions: u32,
    /// What was wrong when it was last tried in vain.
    pub last_error: Option<String>,
}

impl Status {
    /// Looks at a server.
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
                })
                .collect(),
            pools,
            stores: view.stores().iter().map(|store| store.home.status()).collect(),
            decision_log: view.decision_log(),
        }
    }
}
