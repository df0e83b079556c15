//! Result of a played login.

use std::fmt;
use std::time::Duration;

use jiff::tz::TimeZone;
use tracing::Level;

use super::time::format_time;
use crate::{Action, Deny, Disposition, Ending, Failure, Freshness, Pass, Standing, Verdict, Worded as _};

/// A log line of the policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// Severity of the line.
    pub level: Level,
    /// Text with control characters escaped.
    pub text: String,
}

impl fmt::Display for LogLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<5} {}", self.level.as_str().to_lowercase(), self.text)
    }
}

/// Verdict and disposition of a login, with log lines, store operations and cost.
#[derive(Clone, Debug)]
pub struct Decision {
    /// Time of the decision, as Unix time in milliseconds.
    pub at_ms: u64,
    /// User name as the client sent it.
    pub user: String,
    /// What the host knew about the secret.
    pub standing: Standing,
    /// What the host knew about changes of the maildrop.
    pub freshness: Freshness,
    /// Verdict, or how `decide` failed.
    pub verdict: Result<Verdict, Failure>,
    /// What the host does with the login.
    pub disposition: Disposition,
    /// Outcome that was reported to the policy, and how `observe` failed, if it did.
    pub observed: Option<(Ending, Option<Failure>)>,
    /// How `ended` failed, if it did.
    pub end_failure: Option<Failure>,
    /// Log lines of all calls.
    pub log: Vec<LogLine>,
    /// Store operations of all calls with their results, as text.
    pub store: Vec<String>,
    /// CPU time of `decide`, including the creation of an instance if one was needed.
    pub decide_cpu: Duration,
    /// CPU time of `observe`, including the creation of an instance; zero if it was not called.
    pub observe_cpu: Duration,
    /// Memory of the instance in bytes; zero if the instance is gone.
    pub memory_bytes: u64,
}

impl Decision {
    /// The disposition without its reason.
    #[must_use]
    pub fn action(&self) -> Action {
        self.disposition.action
    }

    /// The verdict, if it is a pass.
    #[must_use]
    pub fn pass(&self) -> Option<&Pass> {
        match &self.verdict {
            Ok(Verdict::Pass(pass)) => Some(pass),
            _ => None,
        }
    }

    /// The verdict, if it is a denial.
    #[must_use]
    pub fn deny(&self) -> Option<&Deny> {
        match &self.verdict {
            Ok(Verdict::Deny(deny)) => Some(deny),
            _ => None,
        }
    }

    /// Asserts that the verdict is a pass and that no call failed.
    ///
    /// # Panics
    /// Otherwise; the message describes the login.
    #[track_caller]
    pub fn expect_pass(&self) -> &Pass {
        match (self.pass(), self.failure()) {
            (Some(pass), None) => pass,
            _ => panic!("expected a pass without failure\n{self}"),
        }
    }

    /// Asserts that the verdict is a denial and that no call failed.
    ///
    /// # Panics
    /// Otherwise; the message describes the login.
    #[track_caller]
    pub fn expect_deny(&self) -> &Deny {
        match (self.deny(), self.failure()) {
            (Some(deny), None) => deny,
            _ => panic!("expected a denial without failure\n{self}"),
        }
    }

    /// Asserts that a call failed.
    ///
    /// # Panics
    /// No call failed; the message describes the login.
    #[track_caller]
    pub fn expect_failure(&self) -> &Failure {
        self.failure().unwrap_or_else(|| panic!("expected a failure\n{self}"))
    }

    /// How the first call that failed did.
    #[must_use]
    pub fn failure(&self) -> Option<&Failure> {
        self.failed_call().map(|(_, failure)| failure)
    }

    /// The name of the first call that failed, and how it failed.
    pub(crate) fn failed_call(&self) -> Option<(&'static str, &Failure)> {
        let at_outcome = self.observed.as_ref().and_then(|(_, failure)| failure.as_ref());
        let calls = [
            ("decide", self.verdict.as_ref().err()),
            ("observe", at_outcome),
            ("ended", self.end_failure.as_ref()),
        ];
        calls.into_iter().find_map(|(call, failure)| Some((call, failure?)))
    }

    /// The verdict with all its fields, or the failure, on one line.
    #[must_use]
    pub fn describe_verdict(&self) -> String {
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
                words.extend(deny.otherwise.map(|manner| format!("otherwise {}", manner.word())));
                words.extend(deny.despite_new_mail.then(|| "despite-new-mail".to_owned()));
                words.extend(deny.code.map(|code| format!("code {}", code.word())));
                words.extend(deny.text.as_ref().map(|text| format!("text {text:?}")));
                words.extend(deny.retry_after.map(|seconds| format!("retry-after {seconds}")));
                words.push(format!("reason {:?}", deny.reason));
                words.extend(deny.note.as_ref().map(|note| format!("note {note:?}")));
                words.extend((deny.delay_ms > 0).then(|| format!("delay-ms {}", deny.delay_ms)));
                words.join(", ")
            }
            Err(failure) => format!("failure {}: {failure}", failure.kind()),
        }
    }
}

/// The login with its decision, outcome, store operations and log, on several lines.
impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = format_time(self.at_ms, &TimeZone::UTC);
        let (standing, freshness) = (self.standing.word(), self.freshness.name());
        writeln!(f, "{:?}, secret {standing}, freshness {freshness}, at {at} UTC", self.user)?;
        write!(f, "decision: {} → {}", self.describe_verdict(), self.disposition.action.name())?;
        if let Some((ended, failure)) = &self.observed {
            write!(f, "\noutcome: {}", ended.word())?;
            if let Some(failure) = failure {
                write!(f, ", failure {}: {failure}", failure.kind())?;
            }
        }
        if let Some(failure) = &self.end_failure {
            write!(f, "\nend of the session: failure {}: {failure}", failure.kind())?;
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
