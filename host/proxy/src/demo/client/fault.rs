//! Errors that a client can detect. Any of them fails the demo.

/// A wrong reply, or none.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error("the connection failed: {0}")]
    Io(#[from] std::io::Error),
    #[error("the connection was closed in reply to {command}")]
    Closed { command: &'static str },
    #[error("no reply within {0} seconds")]
    Timeout(u64),
    #[error("{command} got an invalid reply: {line:?}")]
    Invalid { command: &'static str, line: String },
    #[error("{command} was refused: {text:?}")]
    Refused { command: &'static str, text: String },
    #[error("{0}")]
    Contradiction(String),
}

impl Fault {
    pub(crate) fn contradiction(text: impl Into<String>) -> Self {
        Self::Contradiction(text.into())
    }
}
