//! The parts of a demo.

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Phase {
    /// Each client downloads what lies in its maildrop. Not measured.
    Arrival,
    /// The clients poll the mail server itself.
    Direct,
    /// The same clients poll through Reprieve.
    Relieved,
    /// What must be true in the end is checked. Not measured.
    Closing,
}
