//! The stress of the pool and the interval that follows from it, without host calls.

/// Thresholds of a signal: stress is zero up to `low` and at its maximum from `high` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Signal {
    pub(crate) low: u64,
    pub(crate) high: u64,
}

/// Stress is measured in thousandths.
pub(crate) const MAX_STRESS: u64 = 1000;

impl Signal {
    pub(crate) fn stress(self, value: u64) -> u64 {
        let above = value.saturating_sub(self.low);
        let span = self.high.saturating_sub(self.low).max(1);
        (above.saturating_mul(MAX_STRESS) / span).min(MAX_STRESS)
    }
}

/// The state of the pool at a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pool {
    pub(crate) healthy_nodes: u32,
    pub(crate) sessions: u32,
    pub(crate) waiting: u32,
    pub(crate) latency_ms: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Signals {
    /// Sessions per healthy node.
    pub(crate) sessions: Signal,
    /// Logins waiting for a node.
    pub(crate) waiting: Signal,
    /// Milliseconds that a login takes at a node.
    pub(crate) latency: Signal,
}

impl Signals {
    /// The highest of the signals: a slow server is stressed even if it has few sessions.
    pub(crate) fn stress(self, pool: Pool) -> u64 {
        if pool.healthy_nodes == 0 {
            return MAX_STRESS;
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

/// Seconds that a user waits between logins at this stress.
pub(crate) fn interval_s(longest_s: u32, stress: u64) -> u32 {
    let interval_s = u64::from(longest_s) * stress / MAX_STRESS;
    u32::try_from(interval_s).unwrap_or(longest_s)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIGNALS: Signals = Signals {
        sessions: Signal { low: 100, high: 400 },
        waiting: Signal { low: 0, high: 50 },
        latency: Signal { low: 200, high: 2000 },
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
        assert_eq!(SIGNALS.stress(Pool { sessions: u32::MAX, ..QUIET }), MAX_STRESS);
    }

    #[test]
    fn fewer_nodes_make_the_same_sessions_worse_and_none_is_the_worst() {
        assert_eq!(SIGNALS.stress(Pool { healthy_nodes: 1, ..QUIET }), 333);
        assert_eq!(SIGNALS.stress(Pool { healthy_nodes: 0, ..QUIET }), MAX_STRESS);
    }

    #[test]
    fn the_interval_follows_the_stress() {
        assert_eq!([0, 1, 500, 1000].map(|stress| interval_s(600, stress)), [0, 0, 300, 600]);
    }
}
