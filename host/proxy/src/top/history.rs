//! What was seen until now: from two looks comes what happens a second.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::admin::Status;
use crate::session::CountersSnapshot;

/// What "now" is: long enough that a poll now and then is no noise.
const NOW: Duration = Duration::from_secs(10);

/// Looks that are remembered: more than a wide terminal shows.
const REMEMBERED: usize = 600;

/// What happens a second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Flow {
    /// Logins that a verdict was sought for.
    pub(super) polls: f64,
    pub(super) passed: f64,
    pub(super) denied: f64,
    /// Denials that never reached a mail server.
    pub(super) relieved: f64,
    pub(super) upgrades: f64,
    /// Calls of policies that failed or were not made.
    pub(super) failures: f64,
    /// Logins that no mail server judged, and connections that were not admitted.
    pub(super) lost: f64,
}

impl Flow {
    /// What has happened between two counts, `seconds` apart.
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

    /// The share of polls that never reached a mail server; none where there was no poll.
    pub(super) fn relief(&self) -> Option<f64> {
        (self.polls > 0.0).then(|| self.relieved / self.polls)
    }
}

/// Logins that a verdict was sought for.
pub(super) fn polls(counters: &CountersSnapshot) -> u64 {
    counters.passed + counters.denied + counters.policy_failures + counters.policy_pauses
}

/// All virtual servers together.
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

/// Looks at one Reprieve, oldest first.
#[derive(Debug, Default)]
pub(super) struct History(VecDeque<(Instant, Status)>);

impl History {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Remembers a look. One at another process begins anew.
    pub(super) fn add(&mut self, at: Instant, status: Status) {
        let is_another = |before: &Status| {
            before.uptime_s > status.uptime_s || polls(&total(before)) > polls(&total(&status))
        };
        if self.last().is_some_and(is_another) {
            self.0.clear();
        }
        if self.0.len() == REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back((at, status));
    }

    /// What was seen last.
    pub(super) fn last(&self) -> Option<&Status> {
        self.0.back().map(|(_, status)| status)
    }

    /// What happens now at a virtual server, or at all of them; none after one look.
    pub(super) fn flow(&self, server: Option<&str>) -> Option<Flow> {
        let (now, status) = self.0.back()?;
        let older = self.0.iter().rev().skip(1);
        let recent = older.clone().take_while(|(at, _)| now.duration_since(*at) <= NOW).last();
        let (before, old) = recent.or_else(|| older.clone().next())?;
        let seconds = now.duration_since(*before).as_secs_f64();
        Some(Flow::between(&of(old, server)?, &of(status, server)?, seconds))
    }

    /// What has happened from each look to the next, oldest first.
    pub(super) fn strip(&self) -> impl DoubleEndedIterator<Item = Flow> + ExactSizeIterator {
        self.0.iter().zip(self.0.iter().skip(1)).map(|((before, old), (after, new))| {
            Flow::between(&total(old), &total(new), after.duration_since(*before).as_secs_f64())
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::admin::{PolicyStatus, VirtualServerStatus};

    /// A Reprieve of two virtual servers after so many seconds.
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
    fn two_looks_make_a_flow_and_one_makes_none() {
        let (mut history, start) = (History::new(), Instant::now());
        history.add(start, status(100, 10, 90));
        assert_eq!(history.flow(None), None);
        history.add(start + Duration::from_secs(2), status(102, 20, 120));
        let flow = history.flow(None).unwrap();
        assert_eq!((flow.polls, flow.passed, flow.relieved), (20.0, 5.0, 15.0));
        assert_eq!(flow.relief(), Some(0.75));
        assert_eq!(history.flow(Some("busy")), Some(flow));
        let quiet = history.flow(Some("quiet")).unwrap();
        assert_eq!((quiet.polls, quiet.relief()), (0.0, None));
        assert_eq!(history.flow(Some("gone")), None);
    }

    #[test]
    fn now_is_the_last_seconds_and_not_the_whole_day() {
        let (mut history, start) = (History::new(), Instant::now());
        for second in 0..60 {
            // It was busy, and is not any more.
            let polls = if second < 40 { second * 100 } else { 4000 };
            history.add(start + Duration::from_secs(second), status(second, polls, 0));
        }
        assert_eq!(history.flow(None).unwrap().polls, 0.0);
        assert_eq!(history.strip().len(), 59);
        assert_eq!(history.strip().next().unwrap().polls, 100.0);
    }

    #[test]
    fn another_process_is_not_compared_with_the_one_before() {
        let (mut history, start) = (History::new(), Instant::now());
        history.add(start, status(100, 10, 90));
        history.add(start + Duration::from_secs(1), status(0, 1, 0));
        assert_eq!(history.flow(None), None);
        assert_eq!(history.last().map(|status| status.uptime_s), Some(0));
    }
}
