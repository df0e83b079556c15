//! What is counted of the sessions of a virtual server.

use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use super::kinds::{Kinds, KindsSnapshot};
use super::reasons::Reasons;
use reprieve_metrics::Sharded;
use reprieve_policy_host::{Deny, Ending};

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident),+ $(,)?) => {
        /// What one thread has counted.
        #[derive(Debug, Default)]
        pub struct Part {
            /// What is counted by kind.
            pub(super) kinds: Kinds,
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

        impl Part {
            fn snapshot(&self) -> CountersSnapshot {
                CountersSnapshot { $($name: self.$name.load(Ordering::Relaxed),)+ }
            }
        }
    };
}

counters! {
    /// Connections that came to a greeting.
    begun,
    /// Those that were served to their end.
    sessions,
    /// Connections that were not admitted.
    refused_connections,
    /// Connections that were refused or lost before a greeting: no PROXY header where one must
    /// be, or no TLS handshake.
    failed_handshakes,
    /// Those of them that had no PROXY header.
    without_proxy_header,
    /// Those of them that did not shake hands for TLS.
    without_tls,
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
    /// Logins whose client left before a mail server had judged.
    abandoned,
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
    /// Bytes that the clients of sessions that are over have sent.
    bytes_in,
    /// Bytes that they were sent.
    bytes_out,
}

/// Counts what has happened at a virtual server. It stands for the part of the thread that
/// looks at it; only what is read is of all threads.
#[derive(Debug, Default)]
pub struct Counters {
    parts: Sharded<Part>,
    reasons: Reasons,
}

impl Deref for Counters {
    type Target = Part;

    fn deref(&self) -> &Part {
        self.parts.local()
    }
}

impl Counters {
    /// Adds one.
    pub(super) fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// The counter of logins that ended so at the mail server.
    pub(super) fn outcome(&self, ending: Ending) -> &AtomicU64 {
        match ending {
            Ending::Authenticated => &self.authenticated,
            Ending::Rejected => &self.rejected,
            Ending::Unreachable => &self.unreachable,
            Ending::Abandoned => &self.abandoned,
        }
    }

    /// Counts a denial.
    pub(super) fn count_denial(&self, verdict: &Deny) {
        Self::count(&self.denied);
        self.kinds.denied(self.reasons.number(&verdict.reason), verdict.manner);
    }

    /// Reads them all.
    #[must_use]
    pub fn snapshot(&self) -> CountersSnapshot {
        self.parts.shards().map(Part::snapshot).sum()
    }

    /// Reads what is counted by kind.
    #[must_use]
    pub fn kinds(&self) -> KindsSnapshot {
        let parts: Vec<_> = self.parts.shards().map(|part| &part.kinds).collect();
        KindsSnapshot::of(parts.into_iter(), &self.reasons)
    }
}
