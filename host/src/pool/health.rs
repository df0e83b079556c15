//! Whether a node is taken for reachable. Checks bring it down and up after several in a row;
//! a login that fails there has others pass it over for a while, which costs nothing where the
//! login was unlucky and much less than trying again where it was not.

use std::sync::atomic::Ordering;

use super::node::{LoginResult, Node, now_ms};
use super::state::Pool;

impl Pool {
    /// A login has found that a node does not answer as it should.
    pub(super) fn login_failed(&self, node: &Node, why: &str) {
        let pause = u64::try_from(self.config().retry_after.as_millis()).unwrap_or(u64::MAX);
        let was_healthy = node.is_healthy();
        node.suspended_until_ms.store(now_ms().saturating_add(pause), Ordering::Relaxed);
        node.count(LoginResult::Unreachable);
        self.failed(node, why);
        if was_healthy {
            tracing::warn!(pool = self.name(), node = &*node.name, why, "node cannot be reached");
        }
        node.look.notify_one();
    }

    /// A check has.
    pub(super) fn check_failed(&self, node: &Node, why: &str) {
        self.failed(node, why);
    }

    fn failed(&self, node: &Node, why: &str) {
        *node.last_error.lock() = Some(why.into());
        node.successes.store(0, Ordering::Relaxed);
        let failures = node.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if self.config().check.is_some_and(|check| failures >= check.fall) && node.set_down(true) {
            tracing::warn!(pool = self.name(), node = &*node.name, why, "node is down");
        }
    }

    /// A login or a check has found a node well.
    pub(super) fn succeeded(&self, node: &Node) {
        // Nearly always there is nothing to forget.
        if node.failures.load(Ordering::Relaxed) > 0 {
            node.failures.store(0, Ordering::Relaxed);
        }
        let was_suspended = node.suspended_until_ms.load(Ordering::Relaxed) > 0;
        if !was_suspended && !node.is_down() {
            return;
        }
        let successes = node.successes.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if node.is_down() {
            if self.config().check.is_some_and(|check| successes < check.rise) {
                return;
            }
            node.set_down(false);
        }
        node.suspended_until_ms.store(0, Ordering::Relaxed);
        node.comes_back();
        *node.last_error.lock() = None;
        tracing::info!(pool = self.name(), node = &*node.name, "node can be reached again");
        self.queue().serve(self.nodes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{CheckConfig, PoolConfig};
    use std::time::Duration;

    fn pool(check: Option<CheckConfig>) -> Pool {
        let mut config = PoolConfig::new("mail", vec!["127.0.0.1:1".into()]);
        config.check = check;
        config.retry_after = Duration::ZERO;
        Pool::new(config).unwrap()
    }

    #[test]
    fn checks_bring_a_node_down_and_up_only_in_a_row() {
        let pool = pool(Some(CheckConfig { interval: Duration::from_secs(1), rise: 2, fall: 3 }));
        let node = &pool.nodes()[0];
        pool.check_failed(node, "refused");
        pool.check_failed(node, "refused");
        pool.succeeded(node);
        pool.check_failed(node, "refused");
        pool.check_failed(node, "refused");
        assert!(node.is_healthy());
        pool.check_failed(node, "refused");
        assert!(!node.is_healthy());
        assert_eq!(node.state().last_error.as_deref(), Some("refused"));
        pool.succeeded(node);
        assert!(!node.is_healthy());
        pool.check_failed(node, "refused");
        pool.succeeded(node);
        assert!(!node.is_healthy(), "not in a row");
        pool.succeeded(node);
        assert!(node.is_healthy());
        assert_eq!(node.state().last_error, None);
    }

    #[test]
    fn a_failed_login_has_a_node_tried_last_for_a_while() {
        let mut config = PoolConfig::new("mail", vec!["127.0.0.1:1".into()]);
        config.check = None;
        let pool = Pool::new(config).unwrap();
        let node = &pool.nodes()[0];
        pool.login_failed(node, "refused");
        assert!(!node.is_healthy());
        pool.succeeded(node);
        assert!(node.is_healthy());
        assert!(node.weight_now(Duration::from_secs(10)) < 1000, "it starts slowly");
        assert_eq!(node.weight_now(Duration::ZERO), 1000);
    }
}
