//! Load balancing: the order in which a login tries the nodes of a pool.

use std::sync::Arc;

use super::node::Node;
use super::pool::Pool;
use crate::config::{Balance, NodeMode};

/// Preference of a node by health and role; lower ranks are tried first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Healthy,
    HealthyBackup,
    /// Tried last, before the login fails.
    Down,
    DownBackup,
}

fn rank(node: &Node) -> Rank {
    match (node.is_healthy(), node.backup) {
        (true, false) => Rank::Healthy,
        (true, true) => Rank::HealthyBackup,
        (false, false) => Rank::Down,
        (false, true) => Rank::DownBackup,
    }
}

/// Nodes in the order in which one login tries them.
#[derive(Debug)]
pub(super) struct NodeOrder {
    nodes: Vec<(Rank, Arc<Node>)>,
    /// Whether the login waits for a session slot at its preferred node instead of using the next.
    waits_for_preferred: bool,
}

impl NodeOrder {
    /// The best-ranked nodes that were not tried yet; only the first of them if the login waits
    /// for its preferred node.
    pub(super) fn candidates(&self, tried: &[bool]) -> Vec<Arc<Node>> {
        let mut untried = self.nodes.iter().filter(|(_, node)| !tried[node.index]).peekable();
        let Some(&&(best, _)) = untried.peek() else { return Vec::new() };
        let limit = if self.waits_for_preferred { 1 } else { usize::MAX };
        untried.take_while(|(rank, _)| *rank == best).take(limit).map(|(_, node)| node.clone()).collect()
    }
}

impl Pool {
    /// Orders the nodes for a login. `user`: the mailbox owner, if already known.
    pub(super) fn node_order(&self, user: Option<&[u8]>) -> NodeOrder {
        let config = self.config();
        let enabled = || self.nodes().iter().filter(|node| node.mode() == NodeMode::Enabled);
        // Health is read once: a node that goes down in the meantime keeps its position.
        let mut nodes: Vec<_> = enabled().map(|node| (rank(node), node.clone())).collect();
        let waits_for_preferred = match (config.balance, user) {
            (Balance::User, Some(user)) => {
                nodes.sort_by_cached_key(|(rank, node)| (*rank, std::cmp::Reverse(affinity(user, node))));
                true
            }
            (Balance::LeastSessions, _) => {
                let turn =
                    self.next_by_weight(&nodes.iter().map(|(_, node)| node.clone()).collect::<Vec<_>>());
                nodes.sort_by_cached_key(|(rank, node)| {
                    let weight = u64::from(node.effective_weight(config.slow_start).max(1));
                    let load = (u64::from(node.sessions()) + 1) * 1_000_000_000 / weight;
                    // Among equally loaded nodes, round robin decides.
                    (*rank, load, Some(node.index) != turn)
                });
                false
            }
            _ => {
                let best = nodes.iter().map(|(rank, _)| *rank).min();
                let best_ranked: Vec<_> = nodes
                    .iter()
                    .filter(|(rank, _)| Some(*rank) == best)
                    .map(|(_, node)| node.clone())
                    .collect();
                let first = self.next_by_weight(&best_ranked).unwrap_or(0);
                let count = self.nodes().len();
                nodes.sort_by_key(|(rank, node)| (*rank, (node.index + count - first) % count));
                false
            }
        };
        NodeOrder { nodes, waits_for_preferred }
    }

    /// Index of the next node by smooth weighted round robin (as in nginx): a node of weight 3
    /// does not get its three turns in a row.
    fn next_by_weight(&self, nodes: &[Arc<Node>]) -> Option<usize> {
        if let [only] = nodes {
            return Some(only.index);
        }
        let slow_start = self.config().slow_start;
        let mut current_weights = self.current_weights().lock();
        let mut total = 0;
        let mut first: Option<usize> = None;
        for node in nodes {
            let weight = i64::from(node.effective_weight(slow_start));
            total += weight;
            current_weights[node.index] += weight;
            if first.is_none_or(|first| current_weights[node.index] > current_weights[first]) {
                first = Some(node.index);
            }
        }
        if let Some(first) = first {
            current_weights[first] -= total;
        }
        first
    }
}

/// A node's score for a user by weighted rendezvous hashing; the highest score is the user's node.
/// If that node is down, its users move to their next-best nodes and all other users stay. Every
/// Reprieve that configures the same node names computes the same scores.
fn affinity(user: &[u8], node: &Node) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&user.to_ascii_lowercase());
    hasher.update(&[0]);
    hasher.update(node.name.as_bytes());
    let mut bytes = [0; 8];
    hasher.finalize_xof().fill(&mut bytes);
    // Uniform in (0, 1); an f64 has 53 bits of precision.
    #[allow(clippy::cast_precision_loss)]
    let uniform = ((u64::from_le_bytes(bytes) >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
    let score = f64::from(node.weight) / -uniform.ln();
    // The bit patterns of positive doubles sort like their values.
    score.to_bits()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{NodeConfig, PoolConfig};

    fn pool(balance: Balance, nodes: &[(&str, u32, bool)]) -> Pool {
        let mut config = PoolConfig::new("mail", Vec::new());
        config.balance = balance;
        config.health_check = None;
        config.nodes = nodes
            .iter()
            .map(|&(name, weight, backup)| NodeConfig { weight, backup, ..NodeConfig::new(name) })
            .collect();
        Pool::new(config).unwrap()
    }

    fn order(pool: &Pool, user: Option<&[u8]>) -> String {
        let order = pool.node_order(user);
        order.nodes.iter().map(|(_, node)| &node.name[..1]).collect()
    }

    const THREE: [(&str, u32, bool); 3] = [("a:1", 1, false), ("b:1", 1, false), ("c:1", 1, false)];

    #[test]
    fn round_robin_rotates_and_tries_nodes_that_are_down_last() {
        let pool = pool(Balance::RoundRobin, &THREE);
        assert_eq!(order(&pool, None), "abc");
        assert_eq!(order(&pool, None), "bca");
        pool.login_failed(&pool.nodes()[1], "refused");
        assert_eq!(order(&pool, None).find('b'), Some(2));
        assert_eq!(order(&pool, None).find('b'), Some(2));
        assert_ne!(order(&pool, None)[..1], order(&pool, None)[..1], "the healthy nodes still rotate");
    }

    #[test]
    fn weighted_round_robin_interleaves_nodes() {
        let pool = pool(Balance::RoundRobin, &[("a:1", 3, false), ("b:1", 1, false)]);
        let firsts: String = (0..8).map(|_| order(&pool, None)[..1].to_owned()).collect();
        assert_eq!(firsts, "aabaaaba");
    }

    #[test]
    fn backups_come_after_healthy_nodes_and_before_nodes_that_are_down() {
        let pool = pool(Balance::RoundRobin, &[("a:1", 1, false), ("b:1", 1, true), ("c:1", 1, false)]);
        assert_eq!(order(&pool, None).find('b'), Some(2));
        pool.login_failed(&pool.nodes()[0], "refused");
        assert_eq!(order(&pool, None), "cba");
        pool.login_failed(&pool.nodes()[2], "refused");
        assert!(order(&pool, None).starts_with('b'));
        let next = pool.node_order(None).candidates(&[false, true, false]);
        assert_eq!(next.len(), 2, "then the nodes that are down");
    }

    #[test]
    fn least_sessions_prefers_the_lowest_load_per_weight() {
        let pool = pool(Balance::LeastSessions, &[("a:1", 1, false), ("b:1", 4, false)]);
        let firsts: String = (0..5)
            .map(|_| {
                let order = pool.node_order(None);
                assert!(order.nodes[0].1.take_session());
                order.nodes[0].1.name[..1].to_owned()
            })
            .collect();
        assert_eq!(firsts.matches('b').count(), 4, "{firsts}");
        assert_eq!(firsts.matches('a').count(), 1, "{firsts}");
    }

    #[test]
    fn drained_and_disabled_nodes_get_no_logins() {
        let pool = pool(Balance::RoundRobin, &THREE);
        pool.set_mode("b:1", NodeMode::Drain).unwrap();
        pool.set_mode("c:1", NodeMode::Disabled).unwrap();
        assert_eq!(order(&pool, None), "a");
        pool.set_mode("b:1", NodeMode::Enabled).unwrap();
        assert_eq!(order(&pool, None).len(), 2);
        assert!(pool.set_mode("d:1", NodeMode::Drain).is_err());
    }

    #[test]
    fn users_keep_their_node_and_move_only_if_it_is_down() {
        let pool = pool(Balance::User, &[("a:1", 1, false), ("b:1", 1, false), ("c:1", 2, false)]);
        let users: Vec<String> = (0..4000).map(|number| format!("user{number}@example")).collect();
        let assign = || -> Vec<_> {
            users.iter().map(|user| order(&pool, Some(user.as_bytes()))[..1].to_owned()).collect()
        };
        let before = assign();
        let share = |name: &str| before.iter().filter(|node| *node == name).count();
        for (name, expected) in [("a", 1000), ("b", 1000), ("c", 2000)] {
            assert!(share(name).abs_diff(expected) < 150, "{name}: {}", share(name));
        }
        pool.login_failed(&pool.nodes()[1], "refused");
        let during = assign();
        let moved = before.iter().zip(&during).filter(|(before, during)| before != during).count();
        assert_eq!(moved, share("b"), "only the users of the node that is down move");
        pool.succeeded(&pool.nodes()[1]);
        assert_eq!(assign(), before);
        assert_eq!(order(&pool, Some(b"Alice")), order(&pool, Some(b"alice")));
        assert_eq!(
            pool.node_order(Some(b"alice")).candidates(&[false; 3]).len(),
            1,
            "the login waits for the user's node"
        );
    }
}
