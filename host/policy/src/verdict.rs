//! A policy's decision about a login, and what became of it.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use super::{Ending, Login, Manner, Moment, ResponseCode};
use reprieve_metrics::labels;

/// A policy's decision about a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The login goes to a mail server.
    Pass(Pass),
    /// Reprieve answers in the mail server's place.
    Deny(Deny),
}

/// How a login passes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pass {
    /// Pool to use instead of the default pool.
    pub pool: Option<String>,
    /// User name for the login at the mail server, instead of the client's.
    pub user: Option<String>,
    /// Returned in the outcome: up to 4,096 bytes.
    pub note: Option<String>,
    /// Reason for logs; empty if the policy gives none.
    pub reason: String,
    /// Milliseconds to wait before the login continues.
    pub delay_ms: u32,
}

/// How a login is denied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deny {
    /// How it is shown to the client.
    pub manner: Manner,
    /// The manner to use if the first one cannot be; None passes the login then.
    pub otherwise: Option<Manner>,
    /// For `unchanged`: the snapshot is shown in spite of new mail. Otherwise the login passes then.
    pub despite_new_mail: bool,
    /// For `refuse`: the response code. None means `login-delay`.
    pub code: Option<ResponseCode>,
    /// For `refuse`: the text after the response code, instead of the host's.
    pub text: Option<String>,
    /// Seconds after which a login would pass.
    pub retry_after: Option<u32>,
    /// Reason for logs and metrics: in lower case with hyphens, up to 64 characters.
    pub reason: Cow<'static, str>,
    /// Returned in the outcome if the login goes to a mail server after all: up to 4,096 bytes.
    pub note: Option<String>,
    /// Milliseconds to wait before the answer.
    pub delay_ms: u32,
}

impl Deny {
    /// A denial without details.
    #[must_use]
    pub fn new(manner: Manner, reason: impl Into<Cow<'static, str>>) -> Self {
        Self {
            manner,
            otherwise: None,
            despite_new_mail: false,
            code: None,
            text: None,
            retry_after: None,
            reason: reason.into(),
            note: None,
            delay_ms: 0,
        }
    }
}

impl Verdict {
    /// Milliseconds to wait before it is carried out.
    #[must_use]
    pub const fn delay_ms(&self) -> u32 {
        match self {
            Self::Pass(pass) => pass.delay_ms,
            Self::Deny(deny) => deny.delay_ms,
        }
    }

    /// The note for the outcome, by value.
    #[must_use]
    pub fn into_note(self) -> Option<String> {
        match self {
            Self::Pass(pass) => pass.note,
            Self::Deny(deny) => deny.note,
        }
    }

    /// Where a login that passes goes.
    #[must_use]
    pub fn pass(&self) -> Option<&Pass> {
        match self {
            Self::Pass(pass) => Some(pass),
            Self::Deny(_) => None,
        }
    }

    /// The note for the outcome.
    #[must_use]
    pub fn note(&self) -> Option<&str> {
        match self {
            Self::Pass(pass) => pass.note.as_deref(),
            Self::Deny(deny) => deny.note.as_deref(),
        }
    }
}

labels! {
    /// Why a login went to a mail server.
    pub enum Cause {
        /// The policy passed it.
        Verdict = "verdict",
        /// A denied login was upgraded.
        Upgrade = "upgrade",
        /// It was denied, and only the mail server can tell whether the secret is right.
        Unverified = "unverified",
        /// It was denied, and Reprieve never sees the secret.
        Unverifiable = "unverifiable",
        /// It was denied, and there is no snapshot to show.
        NoSnapshot = "no-snapshot",
        /// It was denied with `unchanged`, and there is new mail.
        NewMail = "new-mail",
        /// The policy failed.
        PolicyFailure = "policy-failure",
        /// The policy is paused.
        PolicyPaused = "policy-paused",
    }
}

/// The outcome of a login that went to a mail server.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The login.
    pub login: Arc<Login>,
    /// Why it went to a mail server.
    pub cause: Cause,
    /// When it ended; for `authenticated`, when the mail server sent +OK.
    pub time: Moment,
    /// Node that answered, if one did.
    pub node: Option<Arc<str>>,
    /// Milliseconds from the verdict to the outcome.
    pub latency_ms: u32,
    /// How it ended.
    pub ending: Ending,
    /// Response code of the mail server's rejection, without brackets.
    pub response_code: Option<Box<str>>,
    /// The note of the verdict.
    pub note: Option<String>,
}

impl Outcome {
    /// The outcome of a login that the policy has passed, at the time of the login and without
    /// details.
    #[must_use]
    pub fn new(login: Arc<Login>, ending: Ending) -> Self {
        Self {
            cause: Cause::Verdict,
            time: login.time,
            login,
            node: None,
            latency_ms: 0,
            ending,
            response_code: None,
            note: None,
        }
    }
}

/// How a session ended that was relayed to a mail server.
#[derive(Clone, Debug)]
pub struct SessionSummary {
    /// The login that it began with.
    pub login: Arc<Login>,
    /// When it ended.
    pub time: Moment,
    /// Whether it began as a denied login that was upgraded.
    pub upgrade: bool,
    /// Whether the client ended it with QUIT and the mail server agreed.
    pub quit: bool,
    /// From the login to the end.
    pub duration: Duration,
    /// Messages that were fetched (RETR).
    pub fetched: u32,
    /// Messages that were deleted.
    pub deleted: u32,
    /// Bytes that were sent to the client.
    pub sent_bytes: u64,
}
