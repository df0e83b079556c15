//! Samples of the status, and the rates per second between them.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::admin::Status;
use crate::session::CountersSnapshot;

/// Period over which current rates are averaged.
const NOW: Duration = Duration::from_secs(10);

/// Number of samples kept; more than the columns of a wide terminal.
const MAX_SAMPLES: usize = 600;

/// Rates per second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Rates {
    /// Logins for which a verdict was required.
    pub(super) polls: f64,
    pub(super) passed: f64,
    pub(super) denied: f64,
    /// Polls that never reached a mail server.
    pub(super) relieved: f64,
    pub(super) upgrades: f64,
    /// Policy calls that failed or were skipped because of a pause.
    pub(super) failures: f64,
    /// Logins that reached no mail server, and refused connections.
    pub(super) lost: f64,
}

impl Rates {
    /// Rates between two snapshots that are `seconds` apart.
    fn between(before: &CountersSnapshot, after: &CountersSnapshot, seconds: f64) -> Self {
        let of = |count: fn(&CountersSnapshot) -> u64| {
            count(after).saturating_sub(count(before)) as f64 / seconds.max(1e-3)
        };
        Self {
            polls: of(polls),
            passed: of(|counters| counters.passed),
            denied: of(|counters| counters.denied),
            relieved: of(|counters| counters.relieved),
            upgrades: of(|counters| counters.upgrades),
            failures: of(|counters| counters.policy_failures + counters.policy_pauses),
            lost: of(|counters| counters.unreachable + counters.pool_full + counters.refused_connections),
        }
    }

    /// Share of polls that never reached a mail server; None without polls.
    pub(super) fn relief(&self) -> Option<f64> {
        (self.polls > 0.0).then(|| self.relieved / self.polls)
    }
}

/// Logins for which a verdict was required.
pub(super) fn polls(counters: &CountersSnapshot) -> u64 {
    counters.passed + counters.denied + counters.policy_failures + counters.policy_pauses
}

/// Totals of all virtual servers.
pub(super) fn total(status: &Status) -> CountersSnapshot {
    status.virtual_servers.iter().map(|server| server.counters).sum()
}

fn of(status: &Status, server: Option<&str>) -> Option<CountersSnapshot> {
    match server {
        None => Some(total(status)),
        Some(name) => {
            let mut servers = status.virtual_servers.iter();
            servers.find(|server| server.name == name).map(|server| server.counters)
        }
    }
}

/// Samples of one process, oldest first.
#[derive(Debug, Default)]
pub(super) struct History(VecDeque<(Instant, Status)>);

impl History {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Adds a sample. If it is from another process, earlier samples are dropped.
    pub(super) fn add(&mut self, at: Instant, status: Status) {
        let is_another = |before: &Status| {
            before.uptime_s > status.uptime_s || polls(&total(before)) > polls(&total(&status))
        };
        if self.last().is_some_and(is_another) {
            self.0.clear();
        }
        if self.0.len() == MAX_SAMPLES {
            self.0.pop_front();
        }
        self.0.push_back((at, status));
    }

    /// The latest sample.
    pub(super) fn last(&self) -> Option<&Status> {
        self.0.back().map(|(_, status)| status)
    }

    /// Current rates of a virtual server, or of all together; None after a single sample.
    pub(super) fn rates(&self, server: Option<&str>) -> Option<Rates> {
        let (now, status) = self.0.back()?;
        let older = self.0.iter().rev().skip(1);
        let recent = older.clone().take_while(|(at, _)| now.duration_since(*at) <= NOW).last();
        let (before, old) = recent.or_else(|| older.clone().next())?;
        let seconds = now.duration_since(*before).as_secs_f64();
        Some(Rates::between(&of(old, server)?, &of(status, server)?, seconds))
    }

    /// Rates between consecutive samples, oldest first.
    pub(super) fn sparkline(&self) -> impl DoubleEndedIterator<Item = Rates> + ExactSizeIterator {
        self.0.iter().zip(self.0.iter().skip(1)).map(|((before, old), (after, new))| {
            Rates::between(&total(old), &total(new), after.duration_since(*before).as_secs_f64())
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::admin::{PolicyStatus, VirtualServerStatus};

    /// Status of a server with two virtual servers.
    pub(in crate::top) fn status(uptime_s: u64, passed: u64, relieved: u64) -> Status {
        let server = |name: &str, passed, denied, relieved| VirtualServerStatus {
            name: name.to_owned(),
            addresses: vec!["127.0.0.1:110".to_owned()],
            pool: "mail".to_owned(),
            policy: PolicyStatus {
                component: "interval".to_owned(),
                sha256: "ab".repeat(32),
                version: 1,
                paused: false,
                calls: passed + denied,
                failures: 0,
            },
            shadow: None,
            counters: CountersSnapshot { passed, denied, relieved, ..CountersSnapshot::default() },
            unrelieved: Vec::new(),
            lookups: Vec::new(),
        };
        Status {
            version: "1.0.0".to_owned(),
            uptime_s,
            passed,
            denied: relieved,
            relieved,
            virtual_servers: vec![server("quiet", 0, 0, 0), server("busy", passed, relieved, relieved)],
            pools: Vec::new(),
            stores: Vec::new(),
            decision_log: None,
        }
    }

    #[test]
    fn rates_require_two_samples() {
        let (mut history, start) = (History::new(), Instant::now());
        history.add(start, status(100, 10, 90));
        assert_eq!(history.rates(None), None);
        history.add(start + Duration::from_secs(2), status(102, 20, 120));
        let rates = history.rates(None).unwrap();
        assert_eq!((rates.polls, rates.passed, rates.relieved), (20.0, 5.0, 15.0));
        assert_eq!(rates.relief(), Some(0.75));
        assert_eq!(history.rates(Some("busy")), Some(rates));
        let quiet = history.rates(Some("quiet")).unwrap();
        assert_eq!((quiet.polls, quiet.relief()), (0.0, None));
        assert_eq!(history.rates(Some("gone")), None);
    }

    #[test]
    fn current_rates_cover_the_last_seconds_only() {
        let (mut history, start) = (History::new(), Instant::now());
        for second in 0..60 {
            // Busy for 40 seconds, then idle.
            let polls = if second < 40 { second * 100 } else { 4000 };
            history.add(start + Duration::from_secs(second), status(second, polls, 0));
        }
        assert_eq!(history.rates(None).unwrap().polls, 0.0);
        assert_eq!(history.sparkline().len(), 59);
        assert_eq!(history.sparkline().next().unwrap().polls, 100.0);
    }

    #[test]
    fn samples_of_different_processes_are_not_compared() {
        let (mut history, start) = (History::new(), Instant::now());
        history.add(start, status(100, 10, 90));
        history.add(start + Duration::from_secs(1), status(0, 1, 0));
        assert_eq!(history.rates(None), None);
        assert_eq!(history.last().map(|status| status.uptime_s), Some(0));
    }
}
