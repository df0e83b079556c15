//! What is remembered of one user, and how sessions change it: the same wherever it is kept.

use std::sync::Arc;

use arrayvec::ArrayVec;
use serde::{Deserialize, Serialize};

use super::tag::{Tag, UserKey};
use reprieve_pop3::listing::SnapshotError;
use reprieve_pop3::snapshot::Snapshot;

/// Secrets that are remembered for one user: some give each device a password of its own.
pub(super) const MOST_TAGS: usize = 8;

/// What is known of a presented secret.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// The mail server has accepted it.
    Known,
    /// The mail server has accepted another one of this user's.
    Changed,
    /// Nothing is known of this user.
    #[default]
    Unknown,
}

/// Where a user's session went, where that is not the virtual server's own pool or the name
/// that the client gave: an upgrade goes there too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Name of the pool.
    pub pool: Option<String>,
    /// User name at the mail server.
    pub user: Option<String>,
}

/// A secret that a mail server has accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Accepted {
    pub tag: Tag,
    /// When it was accepted last, in seconds since 1970.
    pub at_s: u64,
}

/// Secrets of a user, the latest first.
pub(super) type Secrets = ArrayVec<Accepted, MOST_TAGS>;

/// Why a user's last session left no snapshot: as long as that is so, they cannot be relieved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum NoSnapshot {
    /// None has ended yet since the user became known, or it was forgotten.
    #[default]
    NoneYet,
    /// Another session of the user looked at the maildrop at the same time.
    Overlap,
    /// The session ended before the listing was complete.
    Incomplete,
    /// The mail server refused to list.
    Refused,
    /// A row of a listing is not what RFC 1939 allows.
    Malformed,
    /// The listings contradict each other, or a unique-id stands there twice.
    Contradictory,
    /// The listing is larger than what may be kept of one user.
    TooLarge,
    /// What is kept of users takes all the room that it may take in the store.
    NoRoom,
    /// Another proxy saw the maildrop last, and listings are not shared.
    Elsewhere,
}

impl NoSnapshot {
    /// All of them.
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

    /// Its word in logs and metrics.
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

/// What is remembered of a user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct User {
    pub accepted: Secrets,
    pub snapshot: Option<Arc<Snapshot>>,
    pub route: Option<Arc<Route>>,
    /// Token of the session that may leave a snapshot: the one that saw the maildrop last. It
    /// also changes with each confirmed deletion. 0: no session has seen the maildrop.
    pub latest: u64,
    /// Logins that the mail server has rejected since it accepted one.
    pub rejections: u8,
    /// Why there is no snapshot, if there is none.
    pub no_snapshot: NoSnapshot,
}

/// What a session leaves of the maildrop.
pub type Leaves = Result<Arc<Snapshot>, NoSnapshot>;

/// A session that has seen the maildrop, for committing what it leaves.
#[derive(Clone, Debug)]
pub struct Session {
    pub(super) user: UserKey,
    /// Different for each session; 0 if it may leave no snapshot.
    pub(super) token: u64,
    /// The user's record as it was written when the session began, if it is shared: most often
    /// it still is so when the session ends.
    pub(super) written: Option<Box<[u8]>>,
}

/// A maildrop as the user's clients last saw it.
#[derive(Clone, Debug)]
pub struct Left {
    /// What they saw.
    pub snapshot: Arc<Snapshot>,
    /// Where the maildrop is.
    pub route: Option<Arc<Route>>,
    /// The token under which it was left.
    pub by: u64,
}

impl User {
    /// What is known of a secret, if it counts when it was accepted at `oldest_s` or later.
    pub fn standing(&self, tag: &Tag, oldest_s: u64) -> Standing {
        // Each tag is compared, so that the time tells nothing about which one matched.
        let known = self
            .accepted
            .iter()
            .fold(false, |known, accepted| known | (accepted.tag.matches(tag) & (accepted.at_s >= oldest_s)));
        if known {
            Standing::Known
        } else if self.accepted.is_empty() {
            Standing::Unknown
        } else {
            Standing::Changed
        }
    }

    /// The maildrop as it was left, if that is known.
    pub fn left(&self) -> Result<Left, NoSnapshot> {
        let snapshot = self.snapshot.clone().ok_or(self.no_snapshot)?;
        Ok(Left { snapshot, route: self.route.clone(), by: self.latest })
    }

    /// The mail server has accepted a login. `tag`: None if only it has seen the secret.
    pub fn accept(&mut self, tag: Option<Tag>, now_ms: u64) {
        self.rejections = 0;
        let Some(tag) = tag else { return };
        self.accepted.retain(|accepted| !accepted.tag.matches(&tag));
        self.accepted.truncate(MOST_TAGS - 1);
        self.accepted.insert(0, Accepted { tag, at_s: now_ms / 1000 });
    }

    /// The first reply that shows the maildrop has arrived, and the client is about to see it:
    /// the old snapshot is no longer what the clients saw last. `looked`: `latest` as it was
    /// before the credentials were sent; None if that is not known any more. Returns whether
    /// the session may leave a snapshot: no other has seen the maildrop, or has deleted from
    /// it, since then.
    pub fn begin(&mut self, token: u64, looked: Option<u64>) -> bool {
        let undisturbed = looked == Some(self.latest);
        self.snapshot = None;
        self.no_snapshot = if undisturbed { NoSnapshot::NoneYet } else { NoSnapshot::Overlap };
        // The other session may not leave one either: nobody knows which listing is newer.
        self.latest = token;
        undisturbed
    }

    /// A posed session goes on at the mail server, and goes on showing what was left under the
    /// token `posed`. Returns whether it may leave a snapshot: nobody has seen anything else
    /// since.
    pub fn begin_upgraded(&mut self, token: u64, posed: u64) -> bool {
        let undisturbed = self.latest == posed;
        if undisturbed {
            self.snapshot = None;
            self.no_snapshot = NoSnapshot::NoneYet;
            self.latest = token;
        }
        undisturbed
    }

    /// A session is over, and leaves a snapshot if it has seen the maildrop last. `deleted`:
    /// messages are gone, or may be, that sessions under way still list. `fresh`: a token that
    /// no session has. Returns whether it was the last one.
    pub fn commit(&mut self, token: u64, fresh: u64, leaves: Leaves, deleted: bool) -> bool {
        let is_latest = token != 0 && self.latest == token;
        if is_latest {
            match leaves {
                Ok(snapshot) => self.snapshot = Some(snapshot),
                Err(why) => (self.snapshot, self.no_snapshot) = (None, why),
            }
        } else if deleted {
            (self.snapshot, self.no_snapshot) = (None, NoSnapshot::Overlap);
        }
        if deleted {
            self.latest = fresh;
        }
        is_latest
    }

    /// Forgets the snapshot, and with it what sessions under way would leave.
    pub fn forget_snapshot(&mut self, fresh: u64) {
        (self.snapshot, self.no_snapshot) = (None, NoSnapshot::NoneYet);
        self.latest = fresh;
    }

    /// The mail server has judged a secret to be wrong.
    pub fn reject(&mut self, tag: Option<&Tag>) {
        self.rejections = self.rejections.saturating_add(1);
        if let Some(tag) = tag {
            self.accepted.retain(|accepted| !accepted.tag.matches(tag));
        }
    }
}
