//! Whether a node is taken for reachable. Checks bring it down and up after several in a row;
//! a login that cannot connect has others pass it over for a while, which costs nothing where the
//! login was unlucky and much less than trying again where it was not. What only one client meets
//! says nothing of the node.

use std::sync::atomic::Ordering;

use super::node::{LoginResult, Node, now_ms};
use super::state::Pool;

impl Pool {
    /// A login has found that a node does not answer as it should.
    pub(super) fn login_failed(&self, node: &Node, why: &str) {
        node.count(LoginResult::Unreachable);
        self.suspend(node, why);
        self.failed(node, why);
        node.look.notify_one();
    }

    /// A login was lost when the node knew whom it is for: by the name, by the client's address.
    /// A name on which a mail server hangs up must not take it from everybody else, so its own
    /// check finds out whether the node is to blame.
    pub(super) fn lost_with_caller(&self, node: &Node, why: &str) {
        tracing::info!(pool = self.name(), node = &*node.name, why, "login lost");
        node.count(LoginResult::Unreachable);
        node.suspected.store(true, Ordering::Relaxed);
        node.look.notify_one();
    }

    /// A check has found that it does not answer as it should.
    pub(super) fn check_failed(&self, node: &Node, why: &str) {
        if node.suspected.swap(false, Ordering::Relaxed) {
            self.suspend(node, why);
        }
        self.failed(node, why);
    }

    /// Has a node tried last for a while.
    fn suspend(&self, node: &Node, why: &str) {
        let pause = u64::try_from(self.config().retry_after.as_millis()).unwrap_or(u64::MAX);
        let was_healthy = node.is_healthy();
        node.suspended_until_ms.store(now_ms().saturating_add(pause), Ordering::Relaxed);
        if was_healthy {
            tracing::warn!(pool = self.name(), node = &*node.name, why, "node cannot be reached");
        }
    }

    fn failed(&self, node: &Node, why: &str) {
        *node.last_error.lock() = Some(why.into());
        node.successes.store(0, Ordering::Relaxed);
        let failures = node.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if self.config().health_check.is_some_and(|check| failures >= check.fall) && node.set_down(true) {
            tracing::warn!(pool = self.name(), node = &*node.name, why, "node is down");
        }
    }

    /// A login or a check has found a node well.
    pub(super) fn succeeded(&self, node: &Node) {
        // Nearly always there is nothing to forget.
        if node.suspected.load(Ordering::Relaxed) {
            node.suspected.store(false, Ordering::Relaxed);
        }
        if node.failures.load(Ordering::Relaxed) > 0 {
            node.failures.store(0, Ordering::Relaxed);
        }
        let was_suspended = node.suspended_until_ms.load(Ordering::Relaxed) > 0;
        if !was_suspended && !node.is_down() {
            return;
        }
        let successes = node.successes.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if node.is_down() {
            if self.config().health_check.is_some_and(|check| successes < check.rise) {
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
    use crate::config::{HealthCheckConfig, PoolConfig};
    use std::time::Duration;

    fn pool(check: Option<HealthCheckConfig>) -> Pool {
        let mut config = PoolConfig::new("mail", vec!["127.0.0.1:1".into()]);
        config.health_check = check;
        config.retry_after = Duration::ZERO;
        Pool::new(config).unwrap()
    }

    #[test]
    fn checks_bring_a_node_down_and_up_only_in_a_row() {
        let pool = pool(Some(HealthCheckConfig { interval: Duration::from_secs(1), rise: 2, fall: 3 }));
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
        config.health_check = None;
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
