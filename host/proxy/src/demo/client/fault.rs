//! What a client can complain of. Any of it means that the demo has failed.

/// A wrong answer, or none.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error("the connection failed: {0}")]
    Io(#[from] std::io::Error),
    #[error("the connection was closed in answer to {command}")]
    Closed { command: &'static str },
    #[error("no answer within {0} seconds")]
    Silent(u64),
    #[error("{command} was answered with {line:?}, which is no POP3")]
    Nonsense { command: &'static str, line: String },
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
