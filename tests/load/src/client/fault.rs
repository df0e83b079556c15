//! Errors of a session, as the report shows them.

use std::fmt;

/// What was wrong with a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum FaultKind {
    /// Connecting or writing failed.
    Connection,
    Tls,
    /// The session took too long; at the stage `close`, the connection stayed open after QUIT.
    Timeout,
    /// The server closed the connection instead of replying.
    Closed,
    /// The reply is -ERR.
    Refused,
    /// The reply is not POP3.
    Malformed,
    /// The reply is well-formed but not the expected one.
    Wrong,
    /// The server sent bytes without a command.
    Unsolicited,
}

impl FaultKind {
    fn name(self) -> &'static str {
        match self {
            Self::Connection => "no connection",
            Self::Tls => "TLS failed",
            Self::Timeout => "timeout",
            Self::Closed => "closed",
            Self::Refused => "refused",
            Self::Malformed => "malformed",
            Self::Wrong => "wrong reply",
            Self::Unsolicited => "unsolicited bytes",
        }
    }
}

/// An error that ended a session.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// The step of the session, such as `STAT`.
    pub(crate) stage: &'static str,
    pub(crate) kind: FaultKind,
    /// The reply or the reason.
    pub(crate) detail: String,
}

impl Fault {
    /// Faults are counted per class.
    pub(crate) fn class(&self) -> String {
        format!("{} at {}", self.kind.name(), self.stage)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.class())?;
        if self.detail.is_empty() { Ok(()) } else { write!(f, ": {}", self.detail) }
    }
}

/// Escapes bytes for a terminal, and truncates them.
pub(crate) fn escaped(bytes: &[u8]) -> String {
    const MAX_BYTES: usize = 120;
    let mut text = bytes[..bytes.len().min(MAX_BYTES)].escape_ascii().to_string();
    if bytes.len() > MAX_BYTES {
        text.push('…');
    }
    text
}
