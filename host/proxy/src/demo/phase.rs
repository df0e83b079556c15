//! The phases of a demo.

/// A phase of the demo.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Phase {
    /// Each client downloads its existing mail, or polls through Reprieve for the first time.
    WarmUp,
    /// The clients poll in one of the ways that are compared.
    Measured(Route),
    /// Wrong passwords are tried, and all maildrops are compared with the fetched messages.
    FinalCheck,
}

/// How the clients poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Route {
    /// The mail server directly.
    Direct,
    /// Through Reprieve, which learns of new mail only when it lets a poll through.
    Interval,
    /// Through Reprieve, to which the mail server signals new mail.
    Signals,
}

impl Route {
    /// All routes, in the order in which they are measured.
    pub(crate) const ALL: [Self; 3] = [Self::Direct, Self::Interval, Self::Signals];

    /// The heading of its column.
    pub(crate) const fn heading(self) -> &'static str {
        match self {
            Self::Direct => "directly",
            Self::Interval => "interval only",
            Self::Signals => "with signals",
        }
    }
}
