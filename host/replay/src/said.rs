//! What a policy has said of a login, in a form that can be compared and written down.

use serde::Serialize;

use reprieve_policy_host::{Deny, Failure, Manner, Pass, ResponseCode, Verdict, Worded as _};

/// Which verdict it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Word {
    /// The login may pass.
    Pass,
    /// It may not.
    Deny,
    /// There was none: the policy failed.
    Failure,
}

/// What a policy has said, as far as it is known: logs do not tell all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Which verdict.
    pub word: Word,
    /// How a denial was to be shown.
    pub manner: Option<Manner>,
    /// The response code of a refusal.
    pub code: Option<ResponseCode>,
    /// The reason of a denial, or the kind of a failure.
    pub reason: Option<String>,
    /// Seconds after which a login would pass.
    pub retry_after: Option<u32>,
    /// The pool of a pass, where it is not the virtual server's own.
    pub pool: Option<String>,
    /// The user name of a pass at the mail server, where it is another.
    pub user: Option<String>,
}

impl Said {
    /// One of these words, of which nothing more is known.
    #[must_use]
    pub fn only(word: Word) -> Self {
        Self { word, manner: None, code: None, reason: None, retry_after: None, pool: None, user: None }
    }

    /// What a call came to.
    #[must_use]
    pub fn of(verdict: &Result<Verdict, Failure>) -> Self {
        match verdict {
            Ok(Verdict::Pass(Pass { pool, user, .. })) => {
                Self { pool: pool.clone(), user: user.clone(), ..Self::only(Word::Pass) }
            }
            Ok(Verdict::Deny(Deny { manner, code, retry_after, reason, .. })) => Self {
                manner: Some(*manner),
                code: *code,
                reason: Some(reason.clone()),
                retry_after: *retry_after,
                ..Self::only(Word::Deny)
            },
            Err(failure) => Self { reason: Some(failure.kind().to_owned()), ..Self::only(Word::Failure) },
        }
    }

    /// In words that tell kinds of verdicts apart: `pass`, `deny unchanged`, `failure time`.
    #[must_use]
    pub fn kind(&self) -> String {
        match self.word {
            Word::Pass => match (&self.pool, &self.user) {
                (None, None) => "pass".to_owned(),
                (Some(pool), _) => format!("pass to {pool}"),
                (None, Some(_)) => "pass as another user".to_owned(),
            },
            Word::Deny => format!("deny {}", self.manner.map_or("", Manner::word)).trim_end().to_owned(),
            Word::Failure => {
                format!("failure {}", self.reason.as_deref().unwrap_or("")).trim_end().to_owned()
            }
        }
    }

    /// How it differs from what another said, in a few words for each side; none where it does
    /// not, as far as both are known.
    #[must_use]
    pub fn differs(&self, other: &Self) -> Option<(String, String)> {
        let (own, others) = (self.kind(), other.kind());
        if own != others {
            return Some((own, others));
        }
        if self.word == Word::Deny
            && let (Some(a), Some(b)) = (&self.reason, &other.reason)
            && a != b
        {
            return Some((format!("{own} ({a})"), format!("{others} ({b})")));
        }
        None
    }

    /// Whether both tell after how many seconds a login would pass, and not the same.
    #[must_use]
    pub fn differs_in_retry_after(&self, other: &Self) -> bool {
        matches!((self.retry_after, other.retry_after), (Some(a), Some(b)) if a != b)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denied(reason: Option<&str>, retry_after: Option<u32>) -> Said {
        Said {
            manner: Some(Manner::Unchanged),
            reason: reason.map(str::to_owned),
            retry_after,
            ..Said::only(Word::Deny)
        }
    }

    #[test]
    fn what_only_one_side_tells_is_no_difference() {
        assert_eq!(denied(None, Some(3)).differs(&denied(Some("too-soon"), None)), None);
        let (a, b) = denied(Some("quota"), None).differs(&denied(Some("too-soon"), None)).unwrap();
        assert_eq!((&*a, &*b), ("deny unchanged (quota)", "deny unchanged (too-soon)"));
        assert_eq!(denied(None, Some(3)).differs(&denied(None, Some(4))), None);
        assert!(denied(None, Some(3)).differs_in_retry_after(&denied(None, Some(4))));
        assert!(!denied(None, Some(3)).differs_in_retry_after(&denied(None, None)));
        let (a, b) = Said::only(Word::Pass).differs(&denied(None, None)).unwrap();
        assert_eq!((&*a, &*b), ("pass", "deny unchanged"));
    }
}
