//! What becomes of a verdict.

/// Whether posing needs a proven user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verify {
    /// A client is let in without the mail server only where its secret is known.
    On,
    /// Anybody who knows a user's name is shown the posed maildrop.
    Off,
}
