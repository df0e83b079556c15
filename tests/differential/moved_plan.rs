//! What happens to a maildrop that others change as well. A step that makes no sense where it stands is
//! left out, so that any part of a plan is a plan.

use std::fmt;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};

/// A step. Numbers of messages go from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A message is delivered, with this many lines.
    Deliver(usize),
    /// Somebody removes this message, counted in the maildrop as it is; by a file's end or by a session at
    /// the mail server itself.
    Expunge(usize, By),
    /// The policy's interval is over.
    IntervalPasses,
    /// A login, with the right password or a wrong one.
    LogIn(bool),
    Stat,
    List(Option<usize>),
    Uidl(Option<usize>),
    Retr(usize),
    Top(usize, usize),
    Dele(usize),
    Rset,
    Noop,
    Quit,
    HangUp,
}

/// How a message is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// Its file is gone, as after an EXPUNGE by IMAP.
    File,
    /// A session at the mail server deletes it.
    Session,
}

/// Steps, one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MovedPlan {
    /// The steps.
    pub steps: Vec<Step>,
}

impl MovedPlan {
    /// Plans with fewer steps.
    pub fn smaller(&self) -> Vec<Self> {
        let without = |from: usize, to: usize| {
            let mut steps = self.steps.clone();
            steps.drain(from..to);
            Self { steps }
        };
        let count = self.steps.len();
        let mut all = Vec::new();
        let mut length = count / 2;
        while length > 0 {
            all.extend((0..count).step_by(length).map(|from| without(from, (from + length).min(count))));
            length /= 2;
        }
        all
    }
}

impl fmt::Display for MovedPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.steps.iter().try_for_each(|step| writeln!(f, "  {step:?}"))
    }
}

/// The plan of a seed.
pub fn plan(seed: u64) -> MovedPlan {
    let mut chance = StdRng::seed_from_u64(seed);
    let mut steps: Vec<_> = (0..chance.random_range(0..5)).map(|_| deliver(&mut chance)).collect();
    for _ in 0..chance.random_range(2..7) {
        between(&mut chance, &mut steps);
        if chance.random_bool(0.08) {
            steps.push(Step::LogIn(false));
        }
        steps.push(Step::LogIn(true));
        for _ in 0..chance.random_range(0..10) {
            steps.push(command(&mut chance));
            if chance.random_bool(0.12) {
                steps.push(change(&mut chance));
            }
        }
        steps.push(if chance.random_bool(0.75) { Step::Quit } else { Step::HangUp });
    }
    MovedPlan { steps }
}

fn between(chance: &mut StdRng, steps: &mut Vec<Step>) {
    for _ in 0..chance.random_range(0..3) {
        if chance.random_bool(0.5) {
            steps.push(change(chance));
        }
    }
    if chance.random_bool(0.3) {
        steps.push(Step::IntervalPasses);
    }
}

fn deliver(chance: &mut StdRng) -> Step {
    Step::Deliver(chance.random_range(0..30))
}

fn change(chance: &mut StdRng) -> Step {
    if chance.random_bool(0.55) {
        return deliver(chance);
    }
    Step::Expunge(chance.random_range(1..6), *[By::File, By::Session].choose(chance).unwrap())
}

fn command(chance: &mut StdRng) -> Step {
    let number = chance.random_range(1..6);
    let some = chance.random_bool(0.4).then_some(number);
    match chance.random_range(0..20) {
        0..3 => Step::Stat,
        3..6 => Step::List(some),
        6..10 => Step::Uidl(some),
        10..13 => Step::Retr(number),
        13 => Step::Top(number, chance.random_range(0..9)),
        14..17 => Step::Dele(number),
        17 => Step::Rset,
        _ => Step::Noop,
    }
}
