//! How stressed the pool is, and the interval that follows, free of the host.

/// A signal: quiet up to `begins`, at its worst from `full` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Signal {
    pub(crate) begins: u64,
    pub(crate) full: u64,
}

/// Stress is told in thousandths: 0 is quiet, 1,000 the worst.
pub(crate) const WORST: u64 = 1000;

impl Signal {
    pub(crate) fn stress(self, value: u64) -> u64 {
        let above = value.saturating_sub(self.begins);
        let span = self.full.saturating_sub(self.begins).max(1);
        (above.saturating_mul(WORST) / span).min(WORST)
    }
}

/// What a policy is told of the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pool {
    pub(crate) healthy_nodes: u32,
    pub(crate) sessions: u32,
    pub(crate) waiting: u32,
    pub(crate) latency_ms: Option<u32>,
}

/// Signals, by what they watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Signals {
    /// Sessions at a node that can be reached.
    pub(crate) sessions: Signal,
    /// Logins that wait for a node.
    pub(crate) waiting: Signal,
    /// Milliseconds that logins take at the nodes.
    pub(crate) latency: Signal,
}

impl Signals {
    /// The worst of the signals: a server that is slow is stressed, however few its sessions.
    pub(crate) fn stress(self, pool: Pool) -> u64 {
        if pool.healthy_nodes == 0 {
            return WORST;
        }
        let sessions = u64::from(pool.sessions) / u64::from(pool.healthy_nodes);
        [
            self.sessions.stress(sessions),
            self.waiting.stress(u64::from(pool.waiting)),
            pool.latency_ms.map_or(0, |ms| self.latency.stress(u64::from(ms))),
        ]
        .into_iter()
        .max()
        .unwrap_or(0)
    }
}

/// Seconds that a user waits between logins at such a stress.
pub(crate) fn interval_s(longest_s: u64, stress: u64) -> u64 {
    longest_s.saturating_mul(stress) / WORST
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIGNALS: Signals = Signals {
        sessions: Signal { begins: 100, full: 400 },
        waiting: Signal { begins: 0, full: 50 },
        latency: Signal { begins: 200, full: 2000 },
    };
    const QUIET: Pool = Pool { healthy_nodes: 2, sessions: 200, waiting: 0, latency_ms: Some(200) };

    #[test]
    fn a_quiet_pool_is_not_stressed() {
        assert_eq!(SIGNALS.stress(QUIET), 0);
        assert_eq!(SIGNALS.stress(Pool { latency_ms: None, sessions: 0, ..QUIET }), 0);
    }

    #[test]
    fn the_worst_signal_counts_and_grows_evenly() {
        assert_eq!(SIGNALS.stress(Pool { sessions: 500, ..QUIET }), 500);
        assert_eq!(SIGNALS.stress(Pool { sessions: 500, waiting: 40, ..QUIET }), 800);
        assert_eq!(SIGNALS.stress(Pool { latency_ms: Some(1100), ..QUIET }), 500);
        assert_eq!(SIGNALS.stress(Pool { sessions: u32::MAX, ..QUIET }), WORST);
    }

    #[test]
    fn fewer_nodes_make_the_same_sessions_worse_and_none_is_the_worst() {
        assert_eq!(SIGNALS.stress(Pool { healthy_nodes: 1, ..QUIET }), 333);
        assert_eq!(SIGNALS.stress(Pool { healthy_nodes: 0, ..QUIET }), WORST);
    }

    #[test]
    fn the_interval_follows_the_stress() {
        assert_eq!([0, 1, 500, 1000].map(|stress| interval_s(600, stress)), [0, 0, 300, 600]);
    }
}
