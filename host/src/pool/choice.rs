//! Which node is tried first, and which next.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::node::{Node, Pool};

impl Pool {
    /// The nodes in the order in which a login tries them: each in its turn, those that could
    /// not be reached lately after the others.
    pub(super) fn in_turn(&self) -> Vec<Arc<Node>> {
        let nodes = self.nodes();
        let first = self.turn.fetch_add(1, Ordering::Relaxed) % nodes.len().max(1);
        let mut order: Vec<_> = nodes[first..].iter().chain(&nodes[..first]).cloned().collect();
        // Judged once, now: a node that goes down while others are tried is tried all the same.
        order.sort_by_cached_key(|node| self.is_down(node));
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::PoolConfig;

    fn order(pool: &Pool) -> String {
        pool.in_turn().iter().map(|node| &node.name[..1]).collect()
    }

    #[test]
    fn nodes_take_turns_and_those_that_are_down_come_last() {
        let pool = Pool::new(PoolConfig::new("mail", vec!["a:1".into(), "b:1".into(), "c:1".into()]));
        assert_eq!(order(&pool), "abc");
        assert_eq!(order(&pool), "bca");
        pool.mark_down(&pool.nodes()[1]);
        assert_eq!(order(&pool), "cab");
        assert_eq!(order(&pool), "acb");
        pool.mark_up(&pool.nodes()[1]);
        assert_eq!(order(&pool), "bca");
    }
}
