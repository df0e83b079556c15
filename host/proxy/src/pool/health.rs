//! The health of a node. Health checks mark it down after `fall` consecutive failures and up after
//! `rise` consecutive successes. A login that cannot connect suspends the node for `retry-after`:
//! other logins then try it last. A failure that may concern only one client suspends nothing; it
//! triggers a health check instead.

use std::sync::atomic::Ordering;

use super::node::{LoginResult, Node, now_ms};
use super::pool::Pool;

impl Pool {
    /// Records that a login could not connect to a node.
    pub(super) fn login_failed(&self, node: &Node, error: &str) {
        node.count(LoginResult::Unreachable);
        self.suspend(node, error);
        self.count_failure(node, error);
        node.check_now.notify_one();
    }

    /// Records that a connection was lost after the node had received the user's name or the
    /// client's address. The node may reject only this client, so it stays in use for others until
    /// a health check, which is started now, fails as well.
    pub(super) fn login_lost(&self, node: &Node, error: &str) {
        tracing::info!(pool = self.name(), node = &*node.name, error, "connection lost during login");
        node.count(LoginResult::Unreachable);
        node.suspected.store(true, Ordering::Relaxed);
        node.check_now.notify_one();
    }

    /// Records a failed health check.
    pub(super) fn check_failed(&self, node: &Node, error: &str) {
        if node.suspected.swap(false, Ordering::Relaxed) {
            self.suspend(node, error);
        }
        self.count_failure(node, error);
    }

    /// Puts a node last in the order for `retry-after`.
    fn suspend(&self, node: &Node, error: &str) {
        let retry_after_ms = u64::try_from(self.config().retry_after.as_millis()).unwrap_or(u64::MAX);
        let was_healthy = node.is_healthy();
        node.suspended_until_ms.store(now_ms().saturating_add(retry_after_ms), Ordering::Relaxed);
        if was_healthy {
            tracing::warn!(pool = self.name(), node = &*node.name, error, "node is unreachable");
        }
    }

    /// Counts a failure towards `fall`.
    fn count_failure(&self, node: &Node, error: &str) {
        *node.last_error.lock() = Some(error.into());
        node.consecutive_successes.store(0, Ordering::Relaxed);
        let consecutive_failures =
            node.consecutive_failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if self.config().health_check.is_some_and(|check| consecutive_failures >= check.fall)
            && node.set_down(true)
        {
            tracing::warn!(
                pool = self.name(),
                node = &*node.name,
                error,
                "node is down after {consecutive_failures} failures"
            );
        }
    }

    /// Records that a login reached the node or a health check succeeded.
    pub(super) fn succeeded(&self, node: &Node) {
        // Written only if set: every login comes through here, and writes would contend between threads.
        if node.suspected.load(Ordering::Relaxed) {
            node.suspected.store(false, Ordering::Relaxed);
        }
        if node.consecutive_failures.load(Ordering::Relaxed) > 0 {
            node.consecutive_failures.store(0, Ordering::Relaxed);
        }
        let was_suspended = node.suspended_until_ms.load(Ordering::Relaxed) > 0;
        if !was_suspended && !node.is_down() {
            return;
        }
        let consecutive_successes =
            node.consecutive_successes.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if node.is_down() {
            if self.config().health_check.is_some_and(|check| consecutive_successes < check.rise) {
                return;
            }
            node.set_down(false);
        }
        node.suspended_until_ms.store(0, Ordering::Relaxed);
        node.mark_recovered();
        *node.last_error.lock() = None;
        tracing::info!(pool = self.name(), node = &*node.name, "node is healthy again");
        self.assign_free_slots();
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
    fn only_consecutive_checks_mark_a_node_down_or_up() {
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
        assert!(!node.is_healthy(), "the consecutive_successes were not consecutive");
        pool.succeeded(node);
        assert!(node.is_healthy());
        assert_eq!(node.state().last_error, None);
    }

    #[test]
    fn a_failed_login_suspends_the_node_until_one_succeeds() {
        let mut config = PoolConfig::new("mail", vec!["127.0.0.1:1".into()]);
        config.health_check = None;
        let pool = Pool::new(config).unwrap();
        let node = &pool.nodes()[0];
        pool.login_failed(node, "refused");
        assert!(!node.is_healthy());
        pool.succeeded(node);
        assert!(node.is_healthy());
        assert!(node.effective_weight(Duration::from_secs(10)) < 1000, "its weight grows slowly");
        assert_eq!(node.effective_weight(Duration::ZERO), 1000);
    }
}
