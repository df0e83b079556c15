//! Which node is tried first, and which next.

use std::sync::Arc;

use super::node::Node;
use super::state::Pool;
use crate::config::{Balance, NodeMode};

/// Nodes of the first rank are tried before those of the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Healthy,
    HealthyBackup,
    /// Whoever cannot be reached most likely is tried all the same before a login fails.
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

/// Nodes in the order in which a login tries them.
#[derive(Debug)]
pub(super) struct Order {
    nodes: Vec<(Rank, Arc<Node>)>,
    /// Whether a login waits for its own node rather than going to the next one.
    waits_for_own: bool,
}

impl Order {
    /// Those that come next: of equal rank, except the ones that were tried. Only one where
    /// the user has one of his own.
    pub(super) fn next(&self, tried: &[bool]) -> Vec<Arc<Node>> {
        let mut left = self.nodes.iter().filter(|(_, node)| !tried[node.index]).peekable();
        let Some(&&(best, _)) = left.peek() else { return Vec::new() };
        let most = if self.waits_for_own { 1 } else { usize::MAX };
        left.take_while(|(rank, _)| *rank == best).take(most).map(|(_, node)| node.clone()).collect()
    }
}

impl Pool {
    /// The order for a login. `user`: where he is known already.
    pub(super) fn in_turn(&self, user: Option<&[u8]>) -> Order {
        let config = self.config();
        let enabled = || self.nodes().iter().filter(|node| node.mode() == NodeMode::Enabled);
        // Judged once, now: a node that goes down meanwhile keeps its place.
        let mut nodes: Vec<_> = enabled().map(|node| (rank(node), node.clone())).collect();
        let waits_for_own = match (config.balance, user) {
            (Balance::User, Some(user)) => {
                nodes.sort_by_cached_key(|(rank, node)| (*rank, std::cmp::Reverse(affinity(user, node))));
                true
            }
            (Balance::LeastSessions, _) => {
                let turn = self.turns(&nodes.iter().map(|(_, node)| node.clone()).collect::<Vec<_>>());
                nodes.sort_by_cached_key(|(rank, node)| {
                    let weight = u64::from(node.weight_now(config.slow_start).max(1));
                    let load = (u64::from(node.sessions()) + 1) * 1_000_000_000 / weight;
                    // Of equals the one whose turn it is.
                    (*rank, load, Some(node.index) != turn)
                });
                false
            }
            _ => {
                let best = nodes.iter().map(|(rank, _)| *rank).min();
                let of_best: Vec<_> = nodes
                    .iter()
                    .filter(|(rank, _)| Some(*rank) == best)
                    .map(|(_, node)| node.clone())
                    .collect();
                let first = self.turns(&of_best).unwrap_or(0);
                let count = self.nodes().len();
                nodes.sort_by_key(|(rank, node)| (*rank, (node.index + count - first) % count));
                false
            }
        };
        Order { nodes, waits_for_own }
    }

    /// The index of the node whose turn it is: smooth weighted round robin, in which a node of
    /// weight 3 does not get its three in a row.
    fn turns(&self, nodes: &[Arc<Node>]) -> Option<usize> {
        if let [only] = nodes {
            return Some(only.index);
        }
        let slow_start = self.config().slow_start;
        let mut credits = self.credits().lock();
        let mut total = 0;
        let mut first: Option<usize> = None;
        for node in nodes {
            let weight = i64::from(node.weight_now(slow_start));
            total += weight;
            credits[node.index] += weight;
            if first.is_none_or(|first| credits[node.index] > credits[first]) {
                first = Some(node.index);
            }
        }
        if let Some(first) = first {
            credits[first] -= total;
        }
        first
    }
}

/// How much a user belongs to a node: rendezvous hashing by weight. The node with the most is
/// his own; where that is lost, each user goes to the next one of his own order, and nobody
/// else moves. The same on all machines that know the nodes by the same names.
fn affinity(user: &[u8], node: &Node) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&user.to_ascii_lowercase());
    hasher.update(&[0]);
    hasher.update(node.name.as_bytes());
    let mut octets = [0; 8];
    hasher.finalize_xof().fill(&mut octets);
    // In (0, 1), evenly; 53 bits are what a double holds.
    #[allow(clippy::cast_precision_loss)]
    let even = ((u64::from_le_bytes(octets) >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
    let score = f64::from(node.weight) / -even.ln();
    // The bits of positive doubles are in the order of their values.
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
        let order = pool.in_turn(user);
        order.nodes.iter().map(|(_, node)| &node.name[..1]).collect()
    }

    const THREE: [(&str, u32, bool); 3] = [("a:1", 1, false), ("b:1", 1, false), ("c:1", 1, false)];

    #[test]
    fn nodes_take_turns_and_those_that_are_down_come_last() {
        let pool = pool(Balance::RoundRobin, &THREE);
        assert_eq!(order(&pool, None), "abc");
        assert_eq!(order(&pool, None), "bca");
        pool.login_failed(&pool.nodes()[1], "refused");
        assert_eq!(order(&pool, None).find('b'), Some(2));
        assert_eq!(order(&pool, None).find('b'), Some(2));
        assert_ne!(order(&pool, None)[..1], order(&pool, None)[..1], "the others still take turns");
    }

    #[test]
    fn weights_share_logins_smoothly() {
        let pool = pool(Balance::RoundRobin, &[("a:1", 3, false), ("b:1", 1, false)]);
        let firsts: String = (0..8).map(|_| order(&pool, None)[..1].to_owned()).collect();
        assert_eq!(firsts, "aabaaaba");
    }

    #[test]
    fn backups_come_after_whoever_is_well_and_before_whoever_is_not() {
        let pool = pool(Balance::RoundRobin, &[("a:1", 1, false), ("b:1", 1, true), ("c:1", 1, false)]);
        assert_eq!(order(&pool, None).find('b'), Some(2));
        pool.login_failed(&pool.nodes()[0], "refused");
        assert_eq!(order(&pool, None), "cba");
        pool.login_failed(&pool.nodes()[2], "refused");
        assert!(order(&pool, None).starts_with('b'));
        let next = pool.in_turn(None).next(&[false, true, false]);
        assert_eq!(next.len(), 2, "then those that may be down");
    }

    #[test]
    fn the_fewest_sessions_for_its_weight_are_first() {
        let pool = pool(Balance::LeastSessions, &[("a:1", 1, false), ("b:1", 4, false)]);
        let firsts: String = (0..5)
            .map(|_| {
                let order = pool.in_turn(None);
                assert!(order.nodes[0].1.take_session());
                order.nodes[0].1.name[..1].to_owned()
            })
            .collect();
        assert_eq!(firsts.matches('b').count(), 4, "{firsts}");
        assert_eq!(firsts.matches('a').count(), 1, "{firsts}");
    }

    #[test]
    fn drained_and_disabled_nodes_get_nothing() {
        let pool = pool(Balance::RoundRobin, &THREE);
        pool.set_mode("b:1", NodeMode::Drain).unwrap();
        pool.set_mode("c:1", NodeMode::Disabled).unwrap();
        assert_eq!(order(&pool, None), "a");
        pool.set_mode("b:1", NodeMode::Enabled).unwrap();
        assert_eq!(order(&pool, None).len(), 2);
        assert!(pool.set_mode("d:1", NodeMode::Drain).is_err());
    }

    #[test]
    fn a_user_keeps_his_node_and_only_those_of_a_lost_one_move() {
        let pool = pool(Balance::User, &[("a:1", 1, false), ("b:1", 1, false), ("c:1", 2, false)]);
        let users: Vec<String> = (0..4000).map(|number| format!("user{number}@example")).collect();
        let homes = || -> Vec<_> {
            users.iter().map(|user| order(&pool, Some(user.as_bytes()))[..1].to_owned()).collect()
        };
        let before = homes();
        let share = |name: &str| before.iter().filter(|home| *home == name).count();
        for (name, expected) in [("a", 1000), ("b", 1000), ("c", 2000)] {
            assert!(share(name).abs_diff(expected) < 150, "{name}: {}", share(name));
        }
        pool.login_failed(&pool.nodes()[1], "refused");
        let during = homes();
        let moved = before.iter().zip(&during).filter(|(before, during)| before != during).count();
        assert_eq!(moved, share("b"), "only users of the lost node move");
        pool.succeeded(&pool.nodes()[1]);
        assert_eq!(homes(), before);
        assert_eq!(order(&pool, Some(b"Alice")), order(&pool, Some(b"alice")));
        assert_eq!(pool.in_turn(Some(b"alice")).next(&[false; 3]).len(), 1, "he waits for his own");
    }
}
