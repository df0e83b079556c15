//! What came of all sessions.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::client::Fault;
use crate::histogram::Histogram;
use crate::scenario::Shown;

/// Examples kept of each class of errors.
const EXAMPLES: usize = 3;

/// What came of one session.
pub(crate) struct Outcome {
    pub(crate) shown: Result<Shown, Fault>,
    pub(crate) duration: Duration,
    pub(crate) login: Option<Duration>,
    pub(crate) received: u64,
}

/// Errors of one class.
#[derive(Default)]
pub(crate) struct Errors {
    pub(crate) count: u64,
    /// The first few.
    pub(crate) examples: Vec<String>,
}

/// Counts of many sessions.
#[derive(Default)]
pub(crate) struct Tally {
    /// Sessions that were shown the mail server's maildrop.
    pub(crate) real: u64,
    /// Sessions that were denied.
    pub(crate) denied: u64,
    /// All others, by class.
    pub(crate) errors: BTreeMap<String, Errors>,
    /// Octets that came, also in sessions that went wrong.
    pub(crate) received: u64,
    /// Durations of the sessions that went well.
    pub(crate) sessions: Histogram,
    /// Durations of their logins.
    pub(crate) logins: Histogram,
}

impl Tally {
    /// Counts a session.
    pub(crate) fn add(&mut self, outcome: Outcome) {
        self.received += outcome.received;
        match outcome.shown {
            Ok(Shown::Real) => self.real += 1,
            Ok(Shown::Denied) => self.denied += 1,
            Err(fault) => return self.add_fault(&fault),
        }
        self.sessions.record(outcome.duration);
        if let Some(login) = outcome.login {
            self.logins.record(login);
        }
    }

    /// Takes back that a session went well: it was held, and went wrong in the end.
    pub(crate) fn lose(&mut self, shown: Shown, fault: &Fault) {
        match shown {
            Shown::Real => self.real -= 1,
            Shown::Denied => self.denied -= 1,
        }
        self.add_fault(fault);
    }

    fn add_fault(&mut self, fault: &Fault) {
        let errors = self.errors.entry(fault.class()).or_default();
        errors.count += 1;
        if errors.examples.len() < EXAMPLES {
            errors.examples.push(fault.to_string());
        }
    }

    /// Sessions that went well.
    pub(crate) fn well(&self) -> u64 {
        self.real + self.denied
    }

    /// Sessions that did not.
    pub(crate) fn wrong(&self) -> u64 {
        self.errors.values().map(|errors| errors.count).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Kind;

    #[test]
    fn what_goes_wrong_is_counted_by_class_and_not_timed() {
        let mut tally = Tally::default();
        for number in 0..5 {
            let fault = Fault { stage: "STAT", kind: Kind::Closed, detail: number.to_string() };
            tally.add(Outcome {
                shown: Err(fault),
                duration: Duration::from_secs(9),
                login: Some(Duration::from_secs(1)),
                received: 10,
            });
        }
        assert_eq!((tally.well(), tally.wrong(), tally.received), (0, 5, 50));
        let errors = &tally.errors["closed at STAT"];
        assert_eq!(errors.examples, ["closed at STAT: 0", "closed at STAT: 1", "closed at STAT: 2"]);
        assert_eq!(tally.sessions.largest(), None);
    }
}
