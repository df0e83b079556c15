//! Metrics of pools and nodes.

use std::sync::Arc;

use super::exposition::Exposition;
use crate::config::NodeMode;
use crate::pool::Pool;

pub(super) fn write(pools: &[Arc<Pool>], out: &mut Exposition) {
    let mut gauge = |name, help, value: fn(&Pool) -> u64| {
        let mut samples = out.gauge(name, help);
        pools.iter().for_each(|pool| samples.add(&[("pool", pool.name())], value(pool)));
    };
    gauge("reprieve_pool_nodes", "Nodes in the pool.", |pool| pool.state().nodes.into());
    gauge("reprieve_pool_usable_nodes", "Nodes that are healthy and accept logins.", |pool| {
        pool.state().healthy.into()
    });
    gauge("reprieve_pool_logins_in_progress", "Logins in progress at the pool.", |pool| {
        pool.state().waiting.into()
    });
    gauge("reprieve_pool_queued_logins", "Logins that wait until a node has room.", |pool| {
        pool.queued() as u64
    });
    let mut times = out.histogram(
        "reprieve_pool_login_seconds",
        "Time per accepted login, from choosing a node to its answer.",
    );
    for pool in pools {
        times.add_histogram(&[("pool", pool.name())], &pool.login_durations());
    }
    let nodes: Vec<_> =
        pools.iter().flat_map(|pool| pool.node_states().map(move |node| (pool.name(), node))).collect();
    let mut up = out.gauge("reprieve_node_up", "Whether the node is healthy.");
    for (pool, node) in &nodes {
        up.add(&[("pool", pool), ("node", &node.name)], node.healthy.into());
    }
    let mut modes =
        out.gauge("reprieve_node_mode", "1 for the mode that is set: enabled, drain or disabled.");
    for (pool, node) in &nodes {
        for mode in [NodeMode::Enabled, NodeMode::Drain, NodeMode::Disabled] {
            let labels = [("pool", *pool), ("node", &node.name), ("mode", mode.name())];
            modes.add(&labels, (node.mode == mode).into());
        }
    }
    let mut sessions = out.gauge("reprieve_node_sessions", "Open sessions at the node.");
    for (pool, node) in &nodes {
        sessions.add(&[("pool", pool), ("node", &node.name)], node.sessions.into());
    }
    let mut logins = out.counter("reprieve_node_logins", "Logins at the node, by result.");
    for (pool, node) in &nodes {
        logins.by_kind(&[("pool", pool), ("node", &node.name)], "result", &node.logins);
    }
}
