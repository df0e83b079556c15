//! How a policy's call can fail, in words for the administrator that name the limit.

/// A call that gave no verdict. The virtual server's `on-failure` decides instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It computed for longer than it may.
    #[error("it took longer than its {0} ms of computing time (limits.time)")]
    Time(u128),
    /// Its start or its `configure` computed for longer than they may.
    #[error("its start took longer than its {0} ms of computing time (limits.start)")]
    StartTime(u128),
    /// It waited for longer than it may: for the store, or asleep.
    #[error("it waited longer than its {0} ms (limits.wait)")]
    Wait(u128),
    /// It asked for more memory than it may have.
    #[error("it asked for more than its {0} octets of memory (limits.memory)")]
    Memory(u64),
    /// It called itself too deeply.
    #[error("its stack overflowed {0} octets (limits.stack)")]
    Stack(u64),
    /// It passed more octets between guest and host than it may.
    #[error("it passed strings or lists of more than {0} octets (limits.strings)")]
    Strings(u64),
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
    #[error("all of its {0} instances are busy (limits.instances)")]
    Busy(usize),
    /// It needed the store, which did not answer.
    #[error("{0}")]
    Store(String),
    /// It was not called, because it has failed too often of late.
    #[error("it is not called for a while, because it failed again and again")]
    Paused,
}

impl Failure {
    /// The word for metrics of each kind.
    pub const KINDS: [&str; 13] = [
        "time",
        "start-time",
        "wait",
        "memory",
        "stack",
        "strings",
        "trap",
        "verdict",
        "start",
        "settings",
        "busy",
        "store",
        "paused",
    ];

    /// A word for metrics.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        Self::KINDS[self.index()]
    }

    /// Its place in [`Failure::KINDS`].
    pub(super) fn index(&self) -> usize {
        match self {
            Self::Time(_) => 0,
            Self::StartTime(_) => 1,
            Self::Wait(_) => 2,
            Self::Memory(_) => 3,
            Self::Stack(_) => 4,
            Self::Strings(_) => 5,
            Self::Trap(_) => 6,
            Self::Verdict(_) => 7,
            Self::Start(_) => 8,
            Self::Settings(_) => 9,
            Self::Busy(_) => 10,
            Self::Store(_) => 11,
            Self::Paused => 12,
        }
    }

    /// Whether it tells against the policy: that all instances are busy tells of the load, and
    /// the store has a breaker of its own.
    pub(super) fn is_the_policys(&self) -> bool {
        !matches!(self, Self::Busy(_) | Self::Paused | Self::Store(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_a_word_of_its_own() {
        let mut kinds = Failure::KINDS.to_vec();
        kinds.sort_unstable();
        kinds.dedup();
        assert_eq!(kinds.len(), Failure::KINDS.len());
        assert_eq!(Failure::Paused.kind(), "paused");
        assert_eq!(Failure::Verdict(String::new()).kind(), "verdict");
    }
}
