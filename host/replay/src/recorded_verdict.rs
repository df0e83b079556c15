//! A verdict as it stands in a log, so that a replayed verdict can be compared with it.

use serde::Serialize;

use reprieve_policy_host::{Deny, Failure, Manner, Pass, ResponseCode, Verdict, Worded as _};

/// The kind of a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum VerdictKind {
    /// The login passes.
    Pass,
    /// The login is denied.
    Deny,
    /// The policy failed.
    Failure,
}

/// A verdict, as far as it is known: a log may lack any of its details.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedVerdict {
    /// Pass, deny or failure.
    pub kind: VerdictKind,
    /// Manner of a denial.
    pub manner: Option<Manner>,
    /// Response code of a refusal.
    pub code: Option<ResponseCode>,
    /// Reason of a denial, or kind of a failure.
    pub reason: Option<String>,
    /// Seconds after which a login would pass.
    pub retry_after: Option<u32>,
    /// How long the policy made the client wait, in milliseconds.
    pub delay_ms: Option<u32>,
    /// Pool of a pass, if it is not the default pool.
    pub pool: Option<String>,
    /// User name at the mail server, if a pass changes it.
    pub user: Option<String>,
}

impl RecordedVerdict {
    /// A verdict without details.
    #[must_use]
    pub fn new(kind: VerdictKind) -> Self {
        Self {
            kind,
            manner: None,
            code: None,
            reason: None,
            retry_after: None,
            delay_ms: None,
            pool: None,
            user: None,
        }
    }

    /// The result of a call of the policy.
    #[must_use]
    pub fn of(verdict: &Result<Verdict, Failure>) -> Self {
        match verdict {
            Ok(Verdict::Pass(Pass { pool, user, delay_ms, .. })) => Self {
                pool: pool.clone(),
                user: user.clone(),
                delay_ms: Some(*delay_ms),
                ..Self::new(VerdictKind::Pass)
            },
            Ok(Verdict::Deny(Deny { manner, code, retry_after, reason, delay_ms, .. })) => Self {
                manner: Some(*manner),
                code: *code,
                reason: Some(reason.clone().into_owned()),
                retry_after: *retry_after,
                delay_ms: Some(*delay_ms),
                ..Self::new(VerdictKind::Deny)
            },
            Err(failure) => {
                Self { reason: Some(failure.kind().to_owned()), ..Self::new(VerdictKind::Failure) }
            }
        }
    }

    /// Kind and manner as text: `pass`, `deny unchanged`, `failure time`.
    #[must_use]
    pub fn describe(&self) -> String {
        match self.kind {
            VerdictKind::Pass => match (&self.pool, &self.user) {
                (None, None) => "pass".to_owned(),
                (Some(pool), _) => format!("pass to {pool}"),
                (None, Some(_)) => "pass as another user".to_owned(),
            },
            VerdictKind::Deny => {
                format!("deny {}", self.manner.map_or("", Manner::word)).trim_end().to_owned()
            }
            VerdictKind::Failure => {
                format!("failure {}", self.reason.as_deref().unwrap_or("")).trim_end().to_owned()
            }
        }
    }

    /// Descriptions of both verdicts if they differ. Details that only one of them has are not a
    /// difference; retry-after and delay are not compared.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Option<(String, String)> {
        let (own, others) = (self.describe(), other.describe());
        if own != others {
            return Some((own, others));
        }
        if self.kind == VerdictKind::Deny
            && let (Some(a), Some(b)) = (&self.reason, &other.reason)
            && a != b
        {
            return Some((format!("{own} ({a})"), format!("{others} ({b})")));
        }
        None
    }

    /// Whether both have a retry-after, and they differ.
    #[must_use]
    pub fn differs_in_retry_after(&self, other: &Self) -> bool {
        matches!((self.retry_after, other.retry_after), (Some(a), Some(b)) if a != b)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denied(reason: Option<&str>, retry_after: Option<u32>) -> RecordedVerdict {
        RecordedVerdict {
            manner: Some(Manner::Unchanged),
            reason: reason.map(str::to_owned),
            retry_after,
            ..RecordedVerdict::new(VerdictKind::Deny)
        }
    }

    #[test]
    fn a_detail_that_only_one_verdict_has_is_not_a_difference() {
        assert_eq!(denied(None, Some(3)).difference(&denied(Some("too-soon"), None)), None);
        let (a, b) = denied(Some("quota"), None).difference(&denied(Some("too-soon"), None)).unwrap();
        assert_eq!((&*a, &*b), ("deny unchanged (quota)", "deny unchanged (too-soon)"));
        assert_eq!(denied(None, Some(3)).difference(&denied(None, Some(4))), None);
        assert!(denied(None, Some(3)).differs_in_retry_after(&denied(None, Some(4))));
        assert!(!denied(None, Some(3)).differs_in_retry_after(&denied(None, None)));
        let (a, b) = RecordedVerdict::new(VerdictKind::Pass).difference(&denied(None, None)).unwrap();
        assert_eq!((&*a, &*b), ("pass", "deny unchanged"));
    }
}
