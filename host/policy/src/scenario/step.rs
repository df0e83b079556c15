//! What a step says, before anything is played.

use std::time::Duration;

use super::expectation::{Counts, Expectation, StoreExpectation};
use crate::Action;
use crate::harness::{Happens, Injection, Moment, Who};

/// When a step happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// No time passes.
    Now,
    /// So long after what came before.
    After(Duration),
    /// At a moment, or at the next such time of the day.
    At(Moment),
}

/// How often, and how far apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Repeat {
    pub(super) times: u64,
    pub(super) every: Duration,
}

#[derive(Clone, Debug)]
pub(super) struct Step {
    /// Where it stands in the file.
    pub(super) line: usize,
    pub(super) when: When,
    pub(super) repeat: Repeat,
    pub(super) action: StepAction,
    pub(super) store: Option<StoreExpectation>,
}

#[derive(Clone, Debug)]
pub(super) enum StepAction {
    Login(Box<Login>),
    Group(Vec<Step>),
    /// What another proxy writes and forgets.
    Store {
        write: Vec<(String, Vec<u8>)>,
        forget: Vec<String>,
    },
}

#[derive(Clone, Debug)]
pub(super) struct Login {
    pub(super) who: Who,
    /// Whether the standing is the file's; else the host knows what it has seen.
    pub(super) standing_is_given: bool,
    pub(super) pool: Option<String>,
    pub(super) users: Users,
    pub(super) happens: Option<Happens>,
    pub(super) injection: Option<Injection>,
    pub(super) expect: Option<Expectation>,
    pub(super) disposition: Option<Action>,
    pub(super) log: Vec<String>,
    pub(super) count: Option<Counts>,
}

/// Who logs in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Users {
    /// The one of the login.
    One,
    /// Each of these.
    These(Vec<String>),
    /// So many, with numbers in the place of `{}`.
    Numbered { count: u64, name: String },
}

impl Login {
    /// Whether one step, played once, is one login.
    pub(super) fn is_one(&self) -> bool {
        match &self.users {
            Users::One => true,
            Users::These(names) => names.len() == 1,
            Users::Numbered { count, .. } => *count == 1,
        }
    }
}

impl Users {
    pub(super) fn names<'a>(&'a self, one: &'a str) -> Box<dyn Iterator<Item = String> + 'a> {
        match self {
            Self::One => Box::new(std::iter::once(one.to_owned())),
            Self::These(names) => Box::new(names.iter().cloned()),
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
    fn many_users_are_named_or_numbered_from_one() {
        let names = |users: Users| users.names("alice").collect::<Vec<_>>();
        assert_eq!(names(Users::One), ["alice"]);
        assert_eq!(names(Users::These(vec!["bob".to_owned(), "carol".to_owned()])), ["bob", "carol"]);
        assert_eq!(names(Users::Numbered { count: 2, name: "u{}@x".to_owned() }), ["u1@x", "u2@x"]);
    }
}
