//! The reasons that a policy gives for its denials. It makes them up, so only so many are told
//! apart: the first ones that come.

use std::sync::OnceLock;

/// Reasons of a virtual server that are told apart.
pub(super) const MOST: usize = 64;

/// What stands for all others.
const OTHER: &str = "other";

/// Reasons that have been given, each with a number.
#[derive(Debug)]
pub(super) struct Reasons {
    known: [OnceLock<Box<str>>; MOST],
}

impl Default for Reasons {
    fn default() -> Self {
        Self { known: [const { OnceLock::new() }; MOST] }
    }
}

impl Reasons {
    /// The number of a reason; [`MOST`] where there were too many before. Only the first time
    /// of each is memory taken, and nothing is ever locked.
    pub(super) fn number(&self, reason: &str) -> usize {
        if reason == OTHER {
            return MOST;
        }
        let is_known = |known: &OnceLock<Box<str>>| **known.get_or_init(|| reason.into()) == *reason;
        self.known.iter().position(is_known).unwrap_or(MOST)
    }

    /// The reason of a number.
    pub(super) fn name(&self, number: usize) -> &str {
        self.known.get(number).and_then(OnceLock::get).map_or(OTHER, |reason| reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_that_makes_up_reasons_fills_no_memory() {
        let reasons = Reasons::default();
        assert_eq!(reasons.number("interval"), 0);
        assert_eq!(reasons.number(""), 1);
        assert_eq!(reasons.number("interval"), 0);
        assert_eq!(reasons.number("other"), MOST, "it is the name of the rest");
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
        let reasons = Reasons::default();
        let give = || -> Vec<_> { (0..50).map(|n| reasons.number(&format!("r{}", n % 20))).collect() };
        std::thread::scope(|scope| {
            let given: Vec<_> = (0..8).map(|_| scope.spawn(give)).map(|t| t.join().unwrap()).collect();
            assert!(given.windows(2).all(|two| two[0] == two[1]));
        });
    }
}
