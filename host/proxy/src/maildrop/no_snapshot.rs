//! Why there is no snapshot of a maildrop.

use reprieve_pop3::listing::SnapshotError;
use serde::{Deserialize, Serialize};

/// Why there is no snapshot of a user's maildrop: until there is one, their logins pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum NoSnapshot {
    /// No session has ended since the user became known, or the snapshot was forgotten.
    #[default]
    NoneYet,
    /// Another session of the user saw the maildrop at the same time.
    Overlap,
    /// The session ended before the listing was complete.
    Incomplete,
    /// The mail server refused a listing, RSET or QUIT.
    Refused,
    /// A reply does not have the form that RFC 1939 requires.
    Malformed,
    /// The listings contradict each other, or a unique-id occurs twice.
    Contradictory,
    /// The snapshot exceeds the limit for one user.
    TooLarge,
    /// The store is full: records of users take all of `maildrop.memory` there.
    NoRoom,
    /// Another proxy saw the maildrop last, and snapshots are not shared.
    Elsewhere,
}

impl NoSnapshot {
    /// All reasons.
    pub const ALL: [Self; 9] = [
        Self::NoneYet,
        Self::Overlap,
        Self::Incomplete,
        Self::Refused,
        Self::Malformed,
        Self::Contradictory,
        Self::TooLarge,
        Self::NoRoom,
        Self::Elsewhere,
    ];

    /// Its name in logs and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoneYet => "none-yet",
            Self::Overlap => "overlap",
            Self::Incomplete => "incomplete",
            Self::Refused => "refused",
            Self::Malformed => "malformed",
            Self::Contradictory => "contradictory",
            Self::TooLarge => "too-large",
            Self::NoRoom => "no-room",
            Self::Elsewhere => "elsewhere",
        }
    }
}

impl From<SnapshotError> for NoSnapshot {
    fn from(why: SnapshotError) -> Self {
        match why {
            SnapshotError::Incomplete => Self::Incomplete,
            SnapshotError::Refused => Self::Refused,
            SnapshotError::Malformed => Self::Malformed,
            SnapshotError::Contradictory => Self::Contradictory,
            SnapshotError::TooLarge => Self::TooLarge,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_has_the_same_name_in_logs_and_in_json() {
        for reason in NoSnapshot::ALL {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.name());
        }
    }

    #[test]
    fn a_listing_that_is_not_kept_says_why() {
        for (error, name) in [
            (SnapshotError::Incomplete, "incomplete"),
            (SnapshotError::Refused, "refused"),
            (SnapshotError::Malformed, "malformed"),
            (SnapshotError::Contradictory, "contradictory"),
            (SnapshotError::TooLarge, "too-large"),
        ] {
            assert_eq!(NoSnapshot::from(error).name(), name);
        }
    }
}
