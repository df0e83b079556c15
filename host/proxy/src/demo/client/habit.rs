//! What mail programs ask when they check for mail. Each does it in its own way, and a proxy
//! has to stand them all.

/// A question about the whole maildrop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    Stat,
    List,
    Uidl,
}

/// One program's way of checking for mail.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Habit {
    /// The program that was seen to ask like this.
    pub(crate) program: &'static str,
    /// Asks for capabilities before the login.
    pub(crate) capabilities_first: bool,
    /// Asks for capabilities after the login.
    pub(crate) capabilities_after: bool,
    /// Sends what it can without waiting for answers.
    pub(crate) pipelines: bool,
    /// Asks for one message's size by its number before fetching it.
    pub(crate) sizes_one_by_one: bool,
    /// What it asks once it is in, in this order.
    pub(crate) questions: &'static [Question],
}

use Question::{List, Stat, Uidl};

/// As recorded from real programs that found nothing new.
pub(crate) const HABITS: [Habit; 5] = [
    Habit {
        program: "Thunderbird",
        capabilities_first: true,
        capabilities_after: false,
        pipelines: false,
        sizes_one_by_one: false,
        questions: &[Stat, List, Uidl],
    },
    Habit {
        program: "Claws Mail",
        capabilities_first: false,
        capabilities_after: false,
        pipelines: false,
        sizes_one_by_one: true,
        questions: &[Stat, Uidl],
    },
    Habit {
        program: "Evolution",
        capabilities_first: true,
        capabilities_after: true,
        pipelines: false,
        sizes_one_by_one: false,
        questions: &[List, Uidl],
    },
    Habit {
        program: "getmail",
        capabilities_first: false,
        capabilities_after: false,
        pipelines: false,
        sizes_one_by_one: false,
        questions: &[Uidl, List, Uidl, List],
    },
    Habit {
        program: "mpop",
        capabilities_first: true,
        capabilities_after: false,
        pipelines: true,
        sizes_one_by_one: false,
        questions: &[Stat, List, Uidl],
    },
];
