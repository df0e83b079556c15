//! Totals of all sessions of a run.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::client::Fault;
use crate::histogram::Histogram;
use crate::scenario::Shown;

/// Examples kept per class of errors.
const EXAMPLES: usize = 3;

pub(crate) struct Outcome {
    pub(crate) shown: Result<Shown, Fault>,
    pub(crate) duration: Duration,
    pub(crate) login: Option<Duration>,
    pub(crate) received: u64,
}

#[derive(Default)]
pub(crate) struct Errors {
    pub(crate) count: u64,
    pub(crate) examples: Vec<String>,
}

#[derive(Default)]
pub(crate) struct Totals {
    /// Sessions that saw the mail server's maildrop.
    pub(crate) real: u64,
    pub(crate) denied: u64,
    /// All other sessions, by class.
    pub(crate) errors: BTreeMap<String, Errors>,
    /// Bytes received, also in sessions with errors.
    pub(crate) received: u64,
    /// Durations of the sessions without errors.
    pub(crate) sessions: Histogram,
    /// Durations of their logins.
    pub(crate) logins: Histogram,
}

impl Totals {
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

    /// Turns a session that was counted as good into an error: it failed while it was held.
    pub(crate) fn retract(&mut self, shown: Shown, fault: &Fault) {
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

    /// Number of sessions without errors.
    pub(crate) fn ok_count(&self) -> u64 {
        self.real + self.denied
    }

    /// Number of sessions with errors.
    pub(crate) fn error_count(&self) -> u64 {
        self.errors.values().map(|errors| errors.count).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::FaultKind;

    #[test]
    fn errors_are_counted_by_class_and_not_timed() {
        let mut totals = Totals::default();
        for number in 0..5 {
            let fault = Fault { stage: "STAT", kind: FaultKind::Closed, detail: number.to_string() };
            totals.add(Outcome {
                shown: Err(fault),
                duration: Duration::from_secs(9),
                login: Some(Duration::from_secs(1)),
                received: 10,
            });
        }
        assert_eq!((totals.ok_count(), totals.error_count(), totals.received), (0, 5, 50));
        let errors = &totals.errors["closed at STAT"];
        assert_eq!(errors.examples, ["closed at STAT: 0", "closed at STAT: 1", "closed at STAT: 2"]);
        assert_eq!(totals.sessions.largest(), None);
    }
}
