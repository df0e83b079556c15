//! How a policy's call can fail, in words for the administrator.

/// A call that gave no verdict. The virtual server's `on-failure` decides instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It computed for longer than it may.
    #[error("it took longer than its {0} ms of computing time")]
    Time(u128),
    /// It waited for longer than it may: for the store, or asleep.
    #[error("it waited longer than its {0} ms")]
    Wait(u128),
    /// It asked for more memory than it may have.
    #[error("it asked for more than its {0} octets of memory")]
    Memory(u64),
    /// It called itself too deeply.
    #[error("its stack overflowed")]
    Stack,
    /// It passed more octets between guest and host than it may.
    #[error("it passed strings or lists that are too long")]
    Strings,
    /// It ended itself, for instance by a panic.
    #[error("it trapped: {0}")]
    Trap(String),
    /// Its verdict makes no sense.
    #[error("its verdict cannot be carried out: {0}")]
    Verdict(String),
    /// A new instance of it could not be made.
    #[error("it could not be started: {0}")]
    Start(String),
    /// It refused settings that it took at the start.
    #[error("it refused its settings: {0}")]
    Settings(String),
    /// As many calls as may be are under way.
    #[error("all of its {0} instances are busy")]
    Busy(usize),
}

impl Failure {
    /// A word for metrics.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Time(_) => "time",
            Self::Wait(_) => "wait",
            Self::Memory(_) => "memory",
            Self::Stack => "stack",
            Self::Strings => "strings",
            Self::Trap(_) => "trap",
            Self::Verdict(_) => "verdict",
            Self::Start(_) => "start",
            Self::Settings(_) => "settings",
            Self::Busy(_) => "busy",
        }
    }
}
