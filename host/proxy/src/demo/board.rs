//! What has happened so far, written by the clients' thread and read by the view.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::client::Poll;
use super::phase::Phase;
use reprieve_mailserver::{MailServer, Stats};
use reprieve_metrics::ThreadCpu;
use reprieve_metrics::cpu_time;

/// Polls that are remembered of each client: more than a wide terminal shows.
const REMEMBERED: usize = 400;

/// Faults that are kept word for word; the rest is counted.
const FAULTS_KEPT: usize = 8;

/// What one poll looks like in the view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// It reached the mail server and found nothing new.
    Reached,
    /// It did not reach the mail server.
    Relieved,
    /// It fetched a new message.
    Fetched,
    /// It found the maildrop locked.
    PutOff,
    /// Something was wrong.
    Fault,
    /// No poll: from here on the client polls through Reprieve.
    Change,
}

/// All clocks and counters at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    at: Instant,
    server: Stats,
    /// CPU time of this process without the mail server, the clients and the view: Reprieve's.
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

/// What was measured in one phase.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// How long it took.
    pub elapsed: Duration,
    /// Sessions that clients began.
    pub polls: u64,
    /// Of them, those that found the maildrop locked by the user's other client.
    pub put_off: u64,
    /// What the mail server did in that time. Its logins are the polls that reached it.
    pub server: Stats,
    /// CPU time that Reprieve took.
    pub reprieve_cpu: Duration,
    /// How long each poll took its client, shortest first.
    pub took: Vec<Duration>,
    /// How long each message waited that was delivered in that time, shortest first.
    pub waits: Vec<Duration>,
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

    /// CPU time of the mail server a poll.
    #[must_use]
    pub fn server_cpu_a_poll(&self) -> Duration {
        a_poll(self.server.cpu, self.polls)
    }

    /// CPU time of Reprieve a poll.
    #[must_use]
    pub fn reprieve_cpu_a_poll(&self) -> Duration {
        a_poll(self.reprieve_cpu, self.polls)
    }
}

/// The share of one poll in a time.
pub(crate) fn a_poll(cpu: Duration, polls: u64) -> Duration {
    cpu.checked_div(u32::try_from(polls).unwrap_or(u32::MAX)).unwrap_or_default()
}

/// A phase that is measured, from its first reading on.
#[derive(Debug, Default)]
struct Measured {
    start: Option<Reading>,
    end: Option<Reading>,
    polls: u64,
    put_off: u64,
    took: Vec<Duration>,
}

/// The state of the demo.
#[derive(Debug)]
pub(crate) struct Board {
    pub(crate) phase: Phase,
    direct: Measured,
    relieved: Measured,
    /// A strip of polls a client, oldest first.
    pub(crate) strips: Vec<VecDeque<Mark>>,
    /// Replies that clients read and checked.
    pub(crate) replies: u64,
    /// What was wrong, with the client's name.
    pub(crate) faults: Vec<String>,
    pub(crate) fault_count: u64,
    /// Wrong passwords tried, and those that were refused as they must be.
    pub(crate) mistyped: u64,
    pub(crate) mistyped_refused: u64,
    /// The user asked for the end before the time was up.
    pub(crate) interrupted: bool,
}

impl Board {
    pub(crate) fn new(clients: usize) -> Self {
        Self {
            phase: Phase::Arrival,
            direct: Measured::default(),
            relieved: Measured::default(),
            strips: vec![VecDeque::new(); clients],
            replies: 0,
            faults: Vec::new(),
            fault_count: 0,
            mistyped: 0,
            mistyped_refused: 0,
            interrupted: false,
        }
    }

    fn measured(&mut self, phase: Phase) -> Option<&mut Measured> {
        match phase {
            Phase::Direct => Some(&mut self.direct),
            Phase::Relieved => Some(&mut self.relieved),
            Phase::Arrival | Phase::Closing => None,
        }
    }

    /// Begins a phase. Nothing may be under way.
    pub(crate) fn begin(&mut self, phase: Phase, reading: Reading) {
        self.phase = phase;
        if let Some(measured) = self.measured(phase) {
            measured.start = Some(reading);
        }
        if phase == Phase::Relieved {
            for strip in &mut self.strips {
                strip.push_back(Mark::Change);
            }
        }
    }

    /// Ends a phase. Nothing may be under way any more.
    pub(crate) fn end(&mut self, phase: Phase, reading: Reading) {
        if let Some(measured) = self.measured(phase) {
            measured.end = Some(reading);
        }
    }

    /// Notes a poll of the present phase. `reached`: the mail server saw it.
    pub(crate) fn poll(&mut self, client: usize, name: &str, poll: Poll, reached: bool) {
        let mark = match &poll {
            Poll { fault: Some(_), .. } => Mark::Fault,
            Poll { put_off: true, .. } => Mark::PutOff,
            Poll { fetched: 1.., .. } => Mark::Fetched,
            _ if reached => Mark::Reached,
            _ => Mark::Relieved,
        };
        self.replies += poll.replies;
        if let Some(measured) = self.measured(self.phase) {
            measured.polls += 1;
            measured.put_off += u64::from(poll.put_off);
            measured.took.push(poll.took);
            let strip = &mut self.strips[client];
            strip.push_back(mark);
            if strip.len() > REMEMBERED {
                strip.pop_front();
            }
        }
        if let Some(fault) = poll.fault {
            self.fault(name, &fault);
        }
    }

    /// Notes that something was wrong.
    pub(crate) fn fault(&mut self, name: &str, fault: &str) {
        self.fault_count += 1;
        if self.faults.len() < FAULTS_KEPT {
            self.faults.push(format!("{name}: {fault}"));
        }
    }

    /// What a phase has come to, up to its end or to `now`; nothing before it has begun.
    pub(crate) fn figures(&self, phase: Phase, now: &Reading) -> Option<Figures> {
        let measured = match phase {
            Phase::Direct => &self.direct,
            Phase::Relieved => &self.relieved,
            Phase::Arrival | Phase::Closing => return None,
        };
        let start = measured.start.as_ref()?;
        let end = measured.end.as_ref().unwrap_or(now);
        Some(Figures {
            elapsed: end.at.saturating_duration_since(start.at),
            polls: measured.polls,
            put_off: measured.put_off,
            server: end.server.since(&start.server),
            reprieve_cpu: end.reprieve.saturating_sub(start.reprieve),
            took: Vec::new(),
            waits: Vec::new(),
        })
    }

    /// How long the polls of a phase took, shortest first.
    pub(crate) fn took(&self, phase: Phase) -> Vec<Duration> {
        let mut took = match phase {
            Phase::Direct => self.direct.took.clone(),
            Phase::Relieved => self.relieved.took.clone(),
            Phase::Arrival | Phase::Closing => Vec::new(),
        };
        took.sort_unstable();
        took
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
    fn relief_and_cost_come_from_what_the_server_saw() {
        let mut board = Board::new(1);
        board.begin(Phase::Relieved, reading(1000, 7));
        for reached in [true, false, false, false] {
            board.poll(0, "anna", Poll::default(), reached);
        }
        board.end(Phase::Relieved, reading(1800, 8));
        let figures = board.figures(Phase::Relieved, &reading(9999, 99)).unwrap();
        assert_eq!((figures.polls, figures.server.logins), (4, 1));
        assert!((figures.relief() - 0.75).abs() < 1e-9);
        assert_eq!(figures.server_cpu_a_poll(), Duration::from_micros(200));
        assert!(board.figures(Phase::Direct, &reading(0, 0)).is_none());
        use Mark::{Change, Reached, Relieved};
        assert_eq!(board.strips[0], [Change, Reached, Relieved, Relieved, Relieved]);
    }

    #[test]
    fn polls_outside_the_measured_phases_count_nowhere_but_their_faults_do() {
        let mut board = Board::new(1);
        let poll = Poll { fault: Some("no answer".to_owned()), ..Poll::default() };
        board.poll(0, "anna", poll, true);
        assert!(board.strips[0].is_empty());
        assert_eq!((board.fault_count, board.faults.as_slice()), (1, &["anna: no answer".to_owned()][..]));
    }
}
