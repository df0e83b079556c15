//! Labels for the reasons that a policy gives for its denials. Reasons are free text, so only the
//! first ones get a label of their own.

use std::sync::OnceLock;

/// Reasons per virtual server that get a label of their own.
pub(super) const MOST: usize = 64;

/// The label of all others.
const OTHER: &str = "other";

/// The reasons seen so far, each with its number.
#[derive(Debug)]
pub(super) struct ReasonLabels {
    known: [OnceLock<Box<str>>; MOST],
}

impl Default for ReasonLabels {
    fn default() -> Self {
        Self { known: [const { OnceLock::new() }; MOST] }
    }
}

impl ReasonLabels {
    /// The number of a reason; [`MOST`] if the table is full. Allocates only for a new reason, and
    /// takes no lock.
    pub(super) fn number(&self, reason: &str) -> usize {
        if reason == OTHER {
            return MOST;
        }
        let is_known = |known: &OnceLock<Box<str>>| **known.get_or_init(|| reason.into()) == *reason;
        self.known.iter().position(is_known).unwrap_or(MOST)
    }

    /// The label of a number.
    pub(super) fn name(&self, number: usize) -> &str {
        self.known.get(number).and_then(OnceLock::get).map_or(OTHER, |reason| reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_number_of_reasons_takes_bounded_memory() {
        let reasons = ReasonLabels::default();
        assert_eq!(reasons.number("interval"), 0);
        assert_eq!(reasons.number(""), 1);
        assert_eq!(reasons.number("interval"), 0);
        assert_eq!(reasons.number("other"), MOST, "`other` is the label of the rest");
        for number in 0..1000 {
            assert!(reasons.number(&format!("reason-{number}")) <= MOST);
        }
        assert_eq!((reasons.name(0), reasons.name(1), reasons.name(2)), ("interval", "", "reason-0"));
        assert_eq!(reasons.number("reason-61"), 63);
        assert_eq!(reasons.number("reason-62"), MOST);
        assert_eq!(reasons.name(MOST), "other");
    }

    #[test]
    fn threads_agree_on_the_numbers() {
        let reasons = ReasonLabels::default();
        let give = || -> Vec<_> { (0..50).map(|n| reasons.number(&format!("r{}", n % 20))).collect() };
        std::thread::scope(|scope| {
            let given: Vec<_> = (0..8).map(|_| scope.spawn(give)).map(|t| t.join().unwrap()).collect();
            assert!(given.windows(2).all(|two| two[0] == two[1]));
        });
    }
}
