//! What is remembered of one user, and how sessions change it: the same wherever it is kept.

use std::sync::Arc;

use arrayvec::ArrayVec;

use super::tag::{Tag, UserKey};
use crate::pop3::snapshot::Snapshot;

/// Secrets that are remembered for one user: some give each device a password of its own.
pub(super) const MOST_TAGS: usize = 4;

/// What is known of a presented secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The mail server has accepted it.
    Known,
    /// The mail server has accepted another one of this user's.
    Changed,
    /// Nothing is known of this user.
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

/// What is remembered of a user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct User {
    pub accepted: Secrets,
    pub snapshot: Option<Arc<Snapshot>>,
    pub route: Option<Arc<Route>>,
    /// Number of the session that may leave a snapshot: the one that saw the maildrop last.
    pub latest: u64,
}

/// A session that has begun at the mail server, for committing what it leaves.
#[derive(Clone, Debug)]
pub struct Session {
    pub(super) user: UserKey,
    /// Different for each session; 0 where it may leave no snapshot.
    pub(super) number: u64,
    /// The user's record as it was written when the session began, where others share it: most
    /// often it still is so when the session ends.
    pub(super) written: Option<Box<[u8]>>,
}

/// A maildrop as the user's clients last saw it.
#[derive(Clone, Debug)]
pub struct Left {
    /// What they saw.
    pub snapshot: Arc<Snapshot>,
    /// Where the maildrop is.
    pub route: Option<Arc<Route>>,
    /// The session that has left it.
    pub by: u64,
}

impl User {
    /// What is known of a secret, where it counts if it was accepted at `oldest_s` or later.
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
    pub fn left(&self) -> Option<Left> {
        let snapshot = self.snapshot.clone()?;
        Some(Left { snapshot, route: self.route.clone(), by: self.latest })
    }

    pub fn accept(&mut self, tag: Tag, now_ms: u64) {
        self.accepted.retain(|accepted| !accepted.tag.matches(&tag));
        self.accepted.truncate(MOST_TAGS - 1);
        self.accepted.insert(0, Accepted { tag, at_s: now_ms / 1000 });
    }

    /// A session begins in which the client may see a newer maildrop.
    pub fn begin(&mut self, number: u64, tag: Option<Tag>, route: Option<Arc<Route>>, now_ms: u64) {
        if let Some(tag) = tag {
            self.accept(tag, now_ms);
        }
        self.route = route;
        self.snapshot = None;
        self.latest = number;
    }

    /// A posed session goes on at the mail server. True where nobody has seen something else
    /// since: then it may leave a snapshot.
    pub fn begin_upgraded(&mut self, number: u64, tag: Tag, posed_by: u64, now_ms: u64) -> bool {
        self.accept(tag, now_ms);
        let undisturbed = self.latest == posed_by && self.snapshot.take().is_some();
        if undisturbed {
            self.latest = number;
        }
        undisturbed
    }

    /// A session is over, and leaves a snapshot if it has seen the maildrop last. `fresh`: a
    /// number that no session has.
    pub fn commit(&mut self, number: u64, fresh: u64, snapshot: Option<Arc<Snapshot>>, deleted: bool) {
        if self.latest == number {
            self.snapshot = snapshot;
        } else if deleted {
            self.snapshot = None;
            self.latest = fresh;
        }
    }

    pub fn reject(&mut self, tag: &Tag) {
        self.accepted.retain(|accepted| !accepted.tag.matches(tag));
    }
}
