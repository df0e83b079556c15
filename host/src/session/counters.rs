//! What is counted of the sessions of a virtual server.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident),+ $(,)?) => {
        /// Counts what has happened at a virtual server, on all threads.
        #[derive(Debug, Default)]
        pub struct Counters {
            $($(#[doc = $doc])+ pub $name: AtomicU64,)+
        }

        /// The counters at one moment.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        pub struct CountersSnapshot {
            $($(#[doc = $doc])+ pub $name: u64,)+
        }

        impl std::ops::Add for CountersSnapshot {
            type Output = Self;

            fn add(self, other: Self) -> Self {
                Self { $($name: self.$name + other.$name,)+ }
            }
        }

        impl std::iter::Sum for CountersSnapshot {
            fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
                all.fold(Self::default(), std::ops::Add::add)
            }
        }

        impl Counters {
            /// Reads them all.
            #[must_use]
            pub fn snapshot(&self) -> CountersSnapshot {
                CountersSnapshot { $($name: self.$name.load(Ordering::Relaxed),)+ }
            }
        }
    };
}

counters! {
    /// Connections that were served to their end.
    sessions,
    /// Connections that were not admitted.
    refused_connections,
    /// Connections that were refused or lost before a greeting: no PROXY header where one must
    /// be, or no TLS handshake.
    failed_handshakes,
    /// Verdicts `pass`.
    passed,
    /// Verdicts `deny`.
    denied,
    /// Denied logins that passed all the same, because the secret was not known.
    unverified,
    /// Denied logins that passed all the same, because there was no snapshot.
    no_snapshot,
    /// Logins that a mail server accepted, upgrades included.
    authenticated,
    /// Logins that a mail server refused.
    rejected,
    /// Logins that no mail server judged.
    unreachable,
    /// Logins that found all mail servers with as many sessions as they may have.
    pool_full,
    /// Denials that let the client in.
    posed,
    /// Posed sessions that went on at a mail server.
    upgrades,
    /// Upgrades that failed.
    failed_upgrades,
    /// Denied logins that never reached a mail server: the relief.
    relieved,
    /// Calls of a policy that failed.
    policy_failures,
    /// Calls of a policy that were not made, because the circuit breaker had paused it.
    policy_pauses,
}

impl Counters {
    /// Adds one.
    pub(super) fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}
