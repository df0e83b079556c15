//! What a session found wrong, in words for the person who reads the report.

use std::fmt;

/// How an answer was wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// No connection came about, or none that could be written to.
    Connection,
    /// The TLS handshake failed.
    Tls,
    /// The session took too long; at `close`, the connection stayed open after QUIT.
    Timeout,
    /// The connection ended where an answer was due.
    Closed,
    /// The server said -ERR.
    Refused,
    /// What came is not POP3.
    Malformed,
    /// The answer is well formed and not what it must be.
    Wrong,
    /// Octets came that nobody had asked for.
    Unasked,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Connection => "no connection",
            Self::Tls => "TLS failed",
            Self::Timeout => "too late",
            Self::Closed => "closed",
            Self::Refused => "refused",
            Self::Malformed => "malformed",
            Self::Wrong => "wrong answer",
            Self::Unasked => "unasked octets",
        }
    }
}

/// Something that ended a session before its time.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// What was being done, such as `STAT`.
    pub(crate) stage: &'static str,
    pub(crate) kind: Kind,
    /// What came, or why.
    pub(crate) detail: String,
}

impl Fault {
    /// By what faults are counted.
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

/// Octets as they may be shown on a terminal: escaped, and not too many.
pub(crate) fn shown(octets: &[u8]) -> String {
    const MOST: usize = 120;
    let mut text = octets[..octets.len().min(MOST)].escape_ascii().to_string();
    if octets.len() > MOST {
        text.push('…');
    }
    text
}
