//! Statistics of the demo, written by the clients' thread and read by the view.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::client::Poll;
use super::phase::{Phase, Route};
use reprieve_mailserver::{MailServer, Stats};
use reprieve_metrics::ThreadCpu;
use reprieve_metrics::cpu_time;

/// Polls kept per client for the view, more than a wide terminal shows.
const MAX_STRIP_LEN: usize = 400;

/// Errors whose text is kept; further ones are only counted.
const MAX_FAULT_TEXTS: usize = 8;

/// Symbol of one poll in the view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// Reached the mail server and found no new mail.
    Reached,
    /// Answered by Reprieve.
    Relieved,
    /// Fetched new mail.
    Fetched,
    /// Found the maildrop locked by another client.
    Locked,
    /// Got a wrong reply or none.
    Fault,
    /// Not a poll: from here on the clients poll by another route.
    Switch,
}

/// Clocks and counters at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    at: Instant,
    server: Stats,
    /// CPU time of Reprieve: that of the process without mail server, clients and view.
    reprieve: Duration,
}

impl Reading {
    pub(crate) fn take(server: &MailServer, clients: &ThreadCpu, view: &ThreadCpu) -> Self {
        let stats = server.stats();
        let others = stats.cpu + clients.get() + view.get();
        Self {
            at: Instant::now(),
            server: stats,
            reprieve: cpu_time::of_this_process().saturating_sub(others),
        }
    }
}

/// Results of one phase.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Duration of the phase.
    pub elapsed: Duration,
    /// Number of polls.
    pub polls: u64,
    /// Activity of the mail server. Its logins are the polls that reached it.
    pub server: Stats,
    /// CPU time of Reprieve.
    pub reprieve_cpu: Duration,
    /// Durations of the polls as seen by the clients, sorted.
    pub durations: Vec<Duration>,
    /// Delays between delivery and fetch of messages delivered in this phase, sorted.
    pub delays: Vec<Duration>,
}

impl Figures {
    /// The share of polls that did not reach the mail server.
    #[must_use]
    pub fn relief(&self) -> f64 {
        if self.polls == 0 {
            return 0.0;
        }
        1.0 - self.server.logins as f64 / self.polls as f64
    }

    /// CPU time of the mail server per poll.
    #[must_use]
    pub fn server_cpu_per_poll(&self) -> Duration {
        per_poll(self.server.cpu, self.polls)
    }

    /// CPU time of Reprieve per poll.
    #[must_use]
    pub fn reprieve_cpu_per_poll(&self) -> Duration {
        per_poll(self.reprieve_cpu, self.polls)
    }
}

/// Divides a CPU time by the number of polls.
pub(crate) fn per_poll(cpu: Duration, polls: u64) -> Duration {
    cpu.checked_div(u32::try_from(polls).unwrap_or(u32::MAX)).unwrap_or_default()
}

/// Measurements of a phase, from its first reading on.
#[derive(Debug, Default)]
struct Measured {
    start: Option<Reading>,
    end: Option<Reading>,
    polls: u64,
    durations: Vec<Duration>,
}

/// The state of the demo that the view shows.
#[derive(Debug)]
pub(crate) struct DemoStats {
    pub(crate) phase: Phase,
    measured: [Measured; Route::ALL.len()],
    /// The latest polls of each client, oldest first.
    pub(crate) strips: Vec<VecDeque<Mark>>,
    /// Number of replies that clients have checked.
    pub(crate) replies: u64,
    /// Texts of the first errors, with the client's name.
    pub(crate) faults: Vec<String>,
    pub(crate) fault_count: u64,
    /// Number of wrong passwords tried, and of those refused; both must be equal.
    pub(crate) wrong_passwords: u64,
    pub(crate) wrong_passwords_refused: u64,
    /// Whether the user ended the demo early.
    pub(crate) interrupted: bool,
}

impl DemoStats {
    pub(crate) fn new(clients: usize) -> Self {
        Self {
            phase: Phase::WarmUp,
            measured: Default::default(),
            strips: vec![VecDeque::new(); clients],
            replies: 0,
            faults: Vec::new(),
            fault_count: 0,
            wrong_passwords: 0,
            wrong_passwords_refused: 0,
            interrupted: false,
        }
    }

    fn measured(&mut self, phase: Phase) -> Option<&mut Measured> {
        match phase {
            Phase::Measured(route) => Some(&mut self.measured[route as usize]),
            Phase::WarmUp | Phase::FinalCheck => None,
        }
    }

    /// Begins a phase. No poll may be in progress.
    pub(crate) fn begin(&mut self, phase: Phase, reading: Reading) {
        self.phase = phase;
        if let Some(measured) = self.measured(phase) {
            measured.start = Some(reading);
        }
        if matches!(phase, Phase::Measured(Route::Interval | Route::Signals)) {
            for strip in &mut self.strips {
                strip.push_back(Mark::Switch);
            }
        }
    }

    /// Ends a phase. No poll may be in progress.
    pub(crate) fn end(&mut self, phase: Phase, reading: Reading) {
        if let Some(measured) = self.measured(phase) {
            measured.end = Some(reading);
        }
    }

    /// Records a poll of the current phase. `reached`: whether it reached the mail server.
    pub(crate) fn poll(&mut self, client: usize, name: &str, poll: Poll, reached: bool) {
        let mark = match &poll {
            Poll { fault: Some(_), .. } => Mark::Fault,
            Poll { locked: true, .. } => Mark::Locked,
            Poll { fetched: 1.., .. } => Mark::Fetched,
            _ if reached => Mark::Reached,
            _ => Mark::Relieved,
        };
        self.replies += poll.replies;
        if let Some(measured) = self.measured(self.phase) {
            measured.polls += 1;
            measured.durations.push(poll.duration);
            let strip = &mut self.strips[client];
            strip.push_back(mark);
            if strip.len() > MAX_STRIP_LEN {
                strip.pop_front();
            }
        }
        if let Some(fault) = poll.fault {
            self.fault(name, &fault);
        }
    }

    /// Records an error.
    pub(crate) fn fault(&mut self, name: &str, fault: &str) {
        self.fault_count += 1;
        if self.faults.len() < MAX_FAULT_TEXTS {
            self.faults.push(format!("{name}: {fault}"));
        }
    }

    /// Results of a route up to the end of its phase, or up to `now`. None before the phase begins.
    pub(crate) fn figures(&self, route: Route, now: &Reading) -> Option<Figures> {
        let measured = &self.measured[route as usize];
        let start = measured.start.as_ref()?;
        let end = measured.end.as_ref().unwrap_or(now);
        Some(Figures {
            elapsed: end.at.saturating_duration_since(start.at),
            polls: measured.polls,
            server: end.server.since(&start.server),
            reprieve_cpu: end.reprieve.saturating_sub(start.reprieve),
            durations: Vec::new(),
            delays: Vec::new(),
        })
    }

    /// Durations of the polls by a route, sorted.
    pub(crate) fn durations(&self, route: Route) -> Vec<Duration> {
        let mut durations = self.measured[route as usize].durations.clone();
        durations.sort_unstable();
        durations
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(cpu_us: u64, logins: u64) -> Reading {
        let server = Stats { cpu: Duration::from_micros(cpu_us), logins, ..Stats::default() };
        Reading { at: Instant::now(), server, reprieve: Duration::ZERO }
    }

    #[test]
    fn relief_and_cpu_time_come_from_the_counters_of_the_server() {
        let mut stats = DemoStats::new(1);
        stats.begin(Phase::Measured(Route::Signals), reading(1000, 7));
        for reached in [true, false, false, false] {
            stats.poll(0, "anna", Poll::default(), reached);
        }
        stats.end(Phase::Measured(Route::Signals), reading(1800, 8));
        let figures = stats.figures(Route::Signals, &reading(9999, 99)).unwrap();
        assert_eq!((figures.polls, figures.server.logins), (4, 1));
        assert!((figures.relief() - 0.75).abs() < 1e-9);
        assert_eq!(figures.server_cpu_per_poll(), Duration::from_micros(200));
        assert!(stats.figures(Route::Direct, &reading(0, 0)).is_none());
        use Mark::{Reached, Relieved, Switch};
        assert_eq!(stats.strips[0], [Switch, Reached, Relieved, Relieved, Relieved]);
    }

    #[test]
    fn polls_outside_the_measured_phases_count_only_their_errors() {
        let mut stats = DemoStats::new(1);
        let poll = Poll { fault: Some("no answer".to_owned()), ..Poll::default() };
        stats.poll(0, "anna", poll, true);
        assert!(stats.strips[0].is_empty());
        assert_eq!((stats.fault_count, stats.faults.as_slice()), (1, &["anna: no answer".to_owned()][..]));
    }
}
