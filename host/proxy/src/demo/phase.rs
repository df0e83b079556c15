//! The phases of a demo.

/// A phase of the demo. Only `Direct` and `Relieved` are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Phase {
    /// Each client downloads its existing mail.
    InitialDownload,
    /// The clients poll the mail server directly.
    Direct,
    /// The same clients poll through Reprieve.
    Relieved,
    /// Wrong passwords are tried, and all maildrops are compared with the fetched messages.
    FinalCheck,
}
