//! Metrics of a shadow policy.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::shadow::Opinion;

/// How the decisions of two policies differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difference {
    /// The policy in force denies, the shadow would pass.
    WouldPass,
    /// The policy in force passes, the shadow would deny.
    WouldDeny,
    /// Both pass, to different pools or users.
    Route,
    /// Both deny, in different manners.
    Manner,
    /// Both deny, for different reasons.
    Reason,
    /// One of them failed.
    Failure,
}

impl Difference {
    /// All kinds, in the order of the counts.
    pub const ALL: [Self; 6] =
        [Self::WouldPass, Self::WouldDeny, Self::Route, Self::Manner, Self::Reason, Self::Failure];

    /// The word in logs, status and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::WouldPass => "would-pass",
            Self::WouldDeny => "would-deny",
            Self::Route => "route",
            Self::Manner => "manner",
            Self::Reason => "reason",
            Self::Failure => "failure",
        }
    }

    /// The most important difference, if any. `retry-after` is not compared.
    #[must_use]
    pub fn between(actual: &Opinion, shadow: &Opinion) -> Option<Self> {
        match (actual, shadow) {
            (Opinion::Failed(_), Opinion::Failed(_)) => None,
            (Opinion::Failed(_), _) | (_, Opinion::Failed(_)) => Some(Self::Failure),
            (Opinion::Deny { .. }, Opinion::Pass { .. }) => Some(Self::WouldPass),
            (Opinion::Pass { .. }, Opinion::Deny { .. }) => Some(Self::WouldDeny),
            (Opinion::Pass { .. }, Opinion::Pass { .. }) => (actual != shadow).then_some(Self::Route),
            (
                Opinion::Deny { manner, reason, .. },
                Opinion::Deny { manner: other_manner, reason: other_reason, .. },
            ) => {
                if manner != other_manner {
                    Some(Self::Manner)
                } else {
                    (reason != other_reason).then_some(Self::Reason)
                }
            }
        }
    }
}

/// The counters of a shadow policy.
#[derive(Debug, Default)]
pub(super) struct ShadowMetrics {
    would_pass: AtomicU64,
    would_deny: AtomicU64,
    failed: AtomicU64,
    skipped: AtomicU64,
    cpu_us: AtomicU64,
    differences: [AtomicU64; Difference::ALL.len()],
}

impl ShadowMetrics {
    pub(super) fn judged(&self, own: &Opinion, difference: Option<Difference>) {
        let counter = match own {
            Opinion::Pass { .. } => &self.would_pass,
            Opinion::Deny { .. } => &self.would_deny,
            Opinion::Failed(_) => &self.failed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        if let Some(difference) = difference {
            self.differences[difference as usize].fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn skipped(&self) {
        self.skipped.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn computed(&self, cpu: Duration) {
        self.cpu_us.store(u64::try_from(cpu.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(super) fn snapshot(&self) -> ShadowMetricsSnapshot {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ShadowMetricsSnapshot {
            would_pass: count(&self.would_pass),
            would_deny: count(&self.would_deny),
            failed: count(&self.failed),
            skipped: count(&self.skipped),
            cpu: Duration::from_micros(count(&self.cpu_us)),
            differences: Difference::ALL.map(|kind| (kind, count(&self.differences[kind as usize]))),
        }
    }
}

/// The counters at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShadowMetricsSnapshot {
    /// Logins that it would have passed.
    pub would_pass: u64,
    /// Logins that it would have denied.
    pub would_deny: u64,
    /// Calls that failed.
    pub failed: u64,
    /// Logins that were skipped because it did not keep up.
    pub skipped: u64,
    /// CPU time used.
    pub cpu: Duration,
    /// Logins with a different decision, by kind.
    pub differences: [(Difference, u64); Difference::ALL.len()],
}

impl ShadowMetricsSnapshot {
    /// Logins with one kind of difference.
    #[must_use]
    pub fn differed(&self, kind: Difference) -> u64 {
        self.differences.iter().find(|(known, _)| *known == kind).map_or(0, |(_, count)| *count)
    }

    /// Logins that it decided about.
    #[must_use]
    pub fn judged(&self) -> u64 {
        self.would_pass + self.would_deny + self.failed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Manner;

    fn deny(manner: Manner, reason: &str, retry_after: u32) -> Opinion {
        Opinion::Deny { manner, reason: reason.to_owned().into(), retry_after: Some(retry_after) }
    }

    #[test]
    fn the_most_important_difference_counts_and_retry_after_does_not() {
        let pass = Opinion::Pass { pool: None, user: None };
        let elsewhere = Opinion::Pass { pool: Some("slow".to_owned()), user: None };
        let unchanged = deny(Manner::Unchanged, "interval", 60);
        for (actual, shadow, expected) in [
            (&pass, &pass, None),
            (&pass, &elsewhere, Some(Difference::Route)),
            (&pass, &unchanged, Some(Difference::WouldDeny)),
            (&unchanged, &elsewhere, Some(Difference::WouldPass)),
            (&unchanged, &deny(Manner::Unchanged, "interval", 59), None),
            (&unchanged, &deny(Manner::Unchanged, "quota", 60), Some(Difference::Reason)),
            (&unchanged, &deny(Manner::Busy, "quota", 60), Some(Difference::Manner)),
            (&unchanged, &Opinion::Failed("time"), Some(Difference::Failure)),
            (&Opinion::Failed("time"), &pass, Some(Difference::Failure)),
        ] {
            assert_eq!(Difference::between(actual, shadow), expected, "{actual:?} {shadow:?}");
        }
    }
}
