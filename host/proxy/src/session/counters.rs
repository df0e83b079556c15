//! The counters of a virtual server's sessions.

use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use super::labeled_counters::{LabeledCounters, LabeledSnapshot};
use super::reason_labels::ReasonLabels;
use reprieve_metrics::Sharded;
use reprieve_policy_host::{Deny, Ending};

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident),+ $(,)?) => {
        /// The counters of one thread.
        #[derive(Debug, Default)]
        pub struct Part {
            /// Counters with a label.
            pub(super) labeled: LabeledCounters,
            $($(#[doc = $doc])+ pub $name: AtomicU64,)+
        }

        /// The counters at one moment, summed over all threads.
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
    /// Sessions that were greeted.
    begun,
    /// Sessions that have ended.
    sessions,
    /// Connections refused because of a limit, or because no node is healthy.
    refused_connections,
    /// Connections closed before their login, because others needed their place.
    shed,
    /// Connections lost before the greeting: no PROXY header although one is required, or no TLS
    /// handshake.
    failed_handshakes,
    /// Connections lost before the greeting for want of a PROXY header.
    without_proxy_header,
    /// Connections whose TLS handshake failed.
    without_tls,
    /// Verdicts `pass`.
    passed,
    /// Verdicts `deny`.
    denied,
    /// Denied logins that passed because the secret was not known.
    unverified,
    /// Denied logins that passed because there was no snapshot.
    no_snapshot,
    /// Logins that a mail server accepted, upgrades included.
    authenticated,
    /// Logins that a mail server rejected.
    rejected,
    /// Logins that no mail server judged.
    unreachable,
    /// Logins whose client disconnected before the mail server answered.
    abandoned,
    /// Logins that found all nodes at their session limit.
    pool_full,
    /// Logins that were posed.
    posed,
    /// Posed sessions that continued at a mail server.
    upgrades,
    /// Upgrades that failed.
    failed_upgrades,
    /// Denied logins that never reached a mail server: the relief.
    relieved,
    /// Calls of a policy that failed.
    policy_failures,
    /// Calls of a policy that were not made because its circuit breaker was open.
    policy_pauses,
    /// Bytes received from clients, in sessions that have ended.
    bytes_in,
    /// Bytes sent to clients, in sessions that have ended.
    bytes_out,
}

/// The counters of a virtual server. It dereferences to the part of the calling thread, which
/// counts without contention; reading sums all parts.
#[derive(Debug, Default)]
pub struct Counters {
    parts: Sharded<Part>,
    reasons: ReasonLabels,
}

impl Deref for Counters {
    type Target = Part;

    fn deref(&self) -> &Part {
        self.parts.local()
    }
}

impl Counters {
    /// Adds one to a counter.
    pub(super) fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// The counter of logins with this outcome at the mail server.
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
        self.labeled.denied(self.reasons.number(&verdict.reason), verdict.manner);
    }

    /// Sums the counters of all threads.
    #[must_use]
    pub fn snapshot(&self) -> CountersSnapshot {
        self.parts.shards().map(Part::snapshot).sum()
    }

    /// Sums the labeled counters of all threads.
    #[must_use]
    pub fn labeled(&self) -> LabeledSnapshot {
        let parts: Vec<_> = self.parts.shards().map(|part| &part.labeled).collect();
        LabeledSnapshot::of(parts.into_iter(), &self.reasons)
    }
}
