//! What followed from a login.

use std::fmt;
use std::time::Duration;

use jiff::tz::TimeZone;
use tracing::Level;

use super::time::in_words;
use crate::{Action, Deny, Disposition, Ending, Failure, Pass, Standing, Verdict, Worded as _};

/// A line that the policy wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// How much it matters.
    pub level: Level,
    /// What it says; control characters are escaped.
    pub text: String,
}

impl fmt::Display for LogLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<5} {}", self.level.as_str().to_lowercase(), self.text)
    }
}

/// What followed from a login.
#[derive(Clone, Debug)]
pub struct Decision {
    /// When it was judged, in milliseconds since 1970.
    pub at_ms: u64,
    /// Who logged in.
    pub user: String,
    /// What the host knew of the secret.
    pub standing: Standing,
    /// What the policy said.
    pub verdict: Result<Verdict, Failure>,
    /// What happens to the login, after the host's rules.
    pub disposition: Disposition,
    /// The outcome that the policy was told, and how it failed at that.
    pub observed: Option<(Ending, Option<Failure>)>,
    /// Lines that the policy wrote, at the outcome too.
    pub log: Vec<LogLine>,
    /// What it did to the store, in words, at the outcome too.
    pub store: Vec<String>,
    /// CPU time of `decide`, the making of an instance included where one was needed.
    pub computing: Duration,
    /// CPU time of `observe`, where it was called; an instance that it needed included.
    pub observing: Duration,
    /// Octets of memory of its instance; nothing where the instance is gone.
    pub memory: u64,
}

impl Decision {
    /// What happens to the login.
    #[must_use]
    pub fn action(&self) -> Action {
        self.disposition.action
    }

    /// The verdict `pass`, if it is one.
    #[must_use]
    pub fn pass(&self) -> Option<&Pass> {
        match &self.verdict {
            Ok(Verdict::Pass(pass)) => Some(pass),
            _ => None,
        }
    }

    /// The verdict `deny`, if it is one.
    #[must_use]
    pub fn deny(&self) -> Option<&Deny> {
        match &self.verdict {
            Ok(Verdict::Deny(deny)) => Some(deny),
            _ => None,
        }
    }

    /// The verdict `pass`, which must be one.
    ///
    /// # Panics
    /// Where it is none, or the outcome failed, with all that is known of the login.
    #[track_caller]
    pub fn expect_pass(&self) -> &Pass {
        match (self.pass(), self.failure()) {
            (Some(pass), None) => pass,
            _ => panic!("expected a pass without failure\n{self}"),
        }
    }

    /// The verdict `deny`, which must be one.
    ///
    /// # Panics
    /// Where it is none, or the outcome failed, with all that is known of the login.
    #[track_caller]
    pub fn expect_deny(&self) -> &Deny {
        match (self.deny(), self.failure()) {
            (Some(deny), None) => deny,
            _ => panic!("expected a denial without failure\n{self}"),
        }
    }

    /// The failure, of which there must be one.
    ///
    /// # Panics
    /// Where there is none, with all that is known of the login.
    #[track_caller]
    pub fn expect_failure(&self) -> &Failure {
        self.failure().unwrap_or_else(|| panic!("expected a failure\n{self}"))
    }

    /// How a call failed, at the verdict or at the outcome.
    #[must_use]
    pub fn failure(&self) -> Option<&Failure> {
        let at_outcome = self.observed.as_ref().and_then(|(_, failure)| failure.as_ref());
        self.verdict.as_ref().err().or(at_outcome)
    }

    /// The verdict in words, whole.
    #[must_use]
    pub fn verdict_in_words(&self) -> String {
        match &self.verdict {
            Ok(Verdict::Pass(pass)) => {
                let mut words = vec!["pass".to_owned()];
                words.extend(pass.pool.as_ref().map(|pool| format!("pool {pool:?}")));
                words.extend(pass.user.as_ref().map(|user| format!("user {user:?}")));
                words.extend(pass.note.as_ref().map(|note| format!("note {note:?}")));
                words.extend((pass.delay_ms > 0).then(|| format!("delay-ms {}", pass.delay_ms)));
                words.join(", ")
            }
            Ok(Verdict::Deny(deny)) => {
                let mut words = vec![format!("deny {}", deny.manner.word())];
                words.extend(deny.code.map(|code| format!("code {}", code.word())));
                words.extend(deny.retry_after.map(|seconds| format!("retry-after {seconds}")));
                words.push(format!("reason {:?}", deny.reason));
                words.extend((deny.delay_ms > 0).then(|| format!("delay-ms {}", deny.delay_ms)));
                words.join(", ")
            }
            Err(failure) => format!("failure {}: {failure}", failure.kind()),
        }
    }
}

/// All that is known of the login, on several lines.
impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = in_words(self.at_ms, &TimeZone::UTC);
        writeln!(f, "{:?}, secret {}, at {at} UTC", self.user, self.standing.word())?;
        write!(f, "decision: {} → {}", self.verdict_in_words(), self.disposition.action.name())?;
        if let Some((ended, failure)) = &self.observed {
            write!(f, "\noutcome: {}", ended.word())?;
            if let Some(failure) = failure {
                write!(f, ", failure {}: {failure}", failure.kind())?;
            }
        }
        for access in &self.store {
            write!(f, "\nstore: {access}")?;
        }
        for line in &self.log {
            write!(f, "\nlog: {line}")?;
        }
        Ok(())
    }
}
