//! How a call of a policy can fail. The messages name the limit for the administrator.

use reprieve_metrics::labels;

/// Declares [`Failure`] once: each kind with its word for metrics and its message.
macro_rules! failures {
    ($($(#[doc = $doc:literal])+ $variant:ident $(($detail:ty))? = $word:literal: $message:literal),+ $(,)?) => {
        /// A call that gave no verdict. The virtual server's `on-failure` decides instead.
        #[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
        pub enum Failure {
            $($(#[doc = $doc])+ #[error($message)] $variant $(($detail))?),+
        }

        labels! {
            /// A failure without its details.
            enum Kind { $($variant = $word),+ }
        }

        impl Failure {
            /// The words of all kinds, for metrics.
            pub const KINDS: [&str; Kind::COUNT] = [$($word),+];

            const fn of_kind(&self) -> Kind {
                match self {
                    $(Self::$variant { .. } => Kind::$variant),+
                }
            }
        }
    };
}

failures! {
    /// It used more CPU time than a call may.
    Time(u128) = "time": "it used more than {0} ms of CPU time (limits.time)",
    /// Its start or its `configure` used more CPU time than they may.
    StartTime(u128) = "start-time": "its start used more than {0} ms of CPU time (limits.start)",
    /// It waited longer than a call may: for the store, or asleep.
    Wait(u128) = "wait": "it waited longer than {0} ms (limits.wait)",
    /// It asked for more memory than it may have.
    Memory(u64) = "memory": "it asked for more than {0} bytes of memory (limits.memory)",
    /// Its calls were nested too deeply.
    Stack(u64) = "stack": "its stack needs more than {0} bytes (limits.stack)",
    /// It passed more bytes between guest and host than it may.
    Strings(u64) = "strings": "it passed strings or lists of more than {0} bytes (limits.strings)",
    /// It ended itself, for instance by a panic.
    Trap(String) = "trap": "it trapped: {0}",
    /// Its verdict is not valid.
    Verdict(String) = "verdict": "its verdict cannot be carried out: {0}",
    /// A new instance could not be made.
    Start(String) = "start": "it could not be started: {0}",
    /// It refused settings that it accepted at the start.
    Settings(String) = "settings": "it refused its settings: {0}",
    /// All instances that it may have are busy.
    Busy(usize) = "busy": "all of its {0} instances are busy (limits.instances)",
    /// It needed the store, which did not answer.
    Store(String) = "store": "{0}",
    /// It was not called, because the circuit breaker is open.
    Paused = "paused": "it is paused because it failed repeatedly",
}

impl Failure {
    /// The word for metrics.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.of_kind().name()
    }

    /// The place of the kind in [`Failure::KINDS`].
    pub(super) fn index(&self) -> usize {
        self.of_kind().index()
    }

    /// Whether it counts for the circuit breaker. Busy instances are a matter of load, and the store
    /// has a circuit breaker of its own.
    pub(super) fn counts_for_breaker(&self) -> bool {
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
