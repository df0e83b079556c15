//! Parsed steps of a scenario.

use std::time::Duration;

use super::condition::Condition;
use super::expectation::{Expectation, ExpectedCounts, StoreExpectation};
use crate::Backend;
use crate::harness::{BackendOutcome, InjectedFault, LoginFacts, SessionTotals, TimeSpec};

/// Time of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// No time passes.
    Now,
    /// This long after the previous step.
    After(Duration),
    /// After the clock was set back by this much.
    SetBack(Duration),
    /// At a date and time, or at the next occurrence of a time of day.
    At(TimeSpec),
}

/// Number of repetitions, and the time from the start of one to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Repeat {
    pub(super) times: u64,
    pub(super) every: Duration,
}

#[derive(Clone, Debug)]
pub(super) struct Step {
    /// Line in the file.
    pub(super) line: usize,
    pub(super) when: When,
    pub(super) repeat: Repeat,
    pub(super) action: StepAction,
    pub(super) store: Option<StoreExpectation>,
}

#[derive(Clone, Debug)]
pub(super) enum StepAction {
    Login(Box<LoginStep>),
    Group(Vec<Step>),
    /// Changes that others make.
    Change(Change),
}

/// Changes that another proxy makes in the store, and mail that arrives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) write: Vec<(String, Vec<u8>)>,
    pub(super) forget: Vec<String>,
    /// Users who get new mail.
    pub(super) new_mail: Vec<String>,
}

#[derive(Clone, Debug)]
pub(super) struct LoginStep {
    pub(super) facts: LoginFacts,
    /// Whether the file sets the standing; otherwise the harness derives it.
    pub(super) standing_is_given: bool,
    pub(super) pool: Option<String>,
    pub(super) users: Users,
    pub(super) outcome: Option<BackendOutcome>,
    /// States of other pools.
    pub(super) other_pools: Vec<Backend>,
    pub(super) fault: Option<InjectedFault>,
    pub(super) upgrade: bool,
    pub(super) session: Option<SessionTotals>,
    pub(super) expect: Option<Expectation>,
    pub(super) disposition: Option<Condition<&'static str>>,
    pub(super) log: Vec<String>,
    pub(super) count: Option<ExpectedCounts>,
}

/// Users that log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Users {
    /// The user of the login.
    Single,
    /// Each of these.
    Listed(Vec<String>),
    /// Generated names with `{}` replaced by 1 to `count`.
    Numbered { count: u64, name: String },
}

impl LoginStep {
    /// Whether the step, without repetition, is a single login.
    pub(super) fn is_one(&self) -> bool {
        match &self.users {
            Users::Single => true,
            Users::Listed(names) => names.len() == 1,
            Users::Numbered { count, .. } => *count == 1,
        }
    }
}

impl Users {
    pub(super) fn names<'a>(&'a self, one: &'a str) -> Box<dyn Iterator<Item = String> + 'a> {
        match self {
            Self::Single => Box::new(std::iter::once(one.to_owned())),
            Self::Listed(names) => Box::new(names.iter().cloned()),
            Self::Numbered { count, name } => {
                Box::new((1..=*count).map(move |number| name.replace("{}", &number.to_string())))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_listed_or_numbered_from_one() {
        let names = |users: Users| users.names("alice").collect::<Vec<_>>();
        assert_eq!(names(Users::Single), ["alice"]);
        assert_eq!(names(Users::Listed(vec!["bob".to_owned(), "carol".to_owned()])), ["bob", "carol"]);
        assert_eq!(names(Users::Numbered { count: 2, name: "u{}@x".to_owned() }), ["u1@x", "u2@x"]);
    }
}
