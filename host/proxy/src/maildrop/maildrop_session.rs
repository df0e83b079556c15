//! A session that has seen a maildrop: what it knows of it, and what it leaves.

use std::sync::Arc;

use reprieve_pop3::snapshot::Snapshot;

use super::no_snapshot::NoSnapshot;
use super::tag::UserKey;
use super::user::{DatedSnapshot, SnapshotTimes, seconds};

/// What a session leaves: a snapshot, or the reason why there is none.
pub(super) type SessionResult = Result<DatedSnapshot, NoSnapshot>;

/// A session that has seen the maildrop, and has to be committed when it ends.
#[derive(Clone, Debug)]
pub struct MaildropSession {
    pub(super) user: UserKey,
    /// Unique to the session; 0 if it may leave no snapshot.
    pub(super) token: u64,
    /// [`User::heard`] when the session looked; None if the next login has to pass in any case.
    pub(super) heard: Option<u64>,
    /// When it looked, in seconds since 1970.
    pub(super) looked_s: u32,
    /// For users in a store: its epoch when the session began.
    pub(super) store_epoch: u64,
    /// For users in a store: their record as it was written when the session began. Most often it
    /// is unchanged when the session ends, which saves fetching it.
    pub(super) written: Option<Box<[u8]>>,
    /// The snapshot that the session before it had left; the default if that is not known.
    pub(super) previous: PreviousSnapshot,
    /// What the user had waited for when the session began.
    pub(super) wait: Wait,
}

/// Since when a user has waited for new mail when a session of theirs begins, in seconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wait {
    /// The last signal that no session had seen; 0 if there is none.
    pub heard_s: u32,
    /// The first login that was posed after the signal, or after the snapshot if there was no signal;
    /// 0 if none was.
    pub posed_s: u32,
}

/// What a session keeps of the snapshot that the session before it had left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PreviousSnapshot {
    /// Its [`Snapshot::digest`]; 0 if there was none.
    pub digest: u64,
    pub times: SnapshotTimes,
    /// The snapshot itself, if no signal has come since.
    pub up_to_date: Option<Arc<Snapshot>>,
}

impl PreviousSnapshot {
    /// Not to be called under the lock of a shard: the time that it takes grows with the maildrop.
    pub fn of(dated: Option<DatedSnapshot>) -> Self {
        dated.map_or_else(Self::default, |DatedSnapshot { snapshot, times, is_up_to_date }| Self {
            digest: snapshot.digest(),
            times,
            up_to_date: is_up_to_date.then_some(snapshot),
        })
    }

    /// The times of the next snapshot. `found`: digest of the maildrop as the session found it.
    fn times_after(&self, found: u64, looked_s: u32, now_s: u32) -> SnapshotTimes {
        let is_unchanged = self.digest == found && self.digest != 0;
        let changed_s = if is_unchanged { self.times.changed_s } else { now_s };
        SnapshotTimes { seen_s: looked_s, changed_s, ..self.times }
    }
}

/// A session that has begun.
#[derive(Debug, Default)]
pub(super) struct Begun {
    /// Whether it may leave a snapshot.
    pub is_undisturbed: bool,
    /// The snapshot that the session before it had left.
    pub previous: Option<DatedSnapshot>,
    /// Since when the user has waited for new mail.
    pub wait: Wait,
}

/// What a session knows about the maildrop when it ends.
#[derive(Debug)]
pub struct LeftMaildrop {
    /// The maildrop as the session leaves it.
    pub snapshot: Result<Snapshot, NoSnapshot>,
    /// [`Snapshot::digest`] of the maildrop as the session found it; 0 if that is not known.
    pub found: u64,
    /// Whether messages were deleted, or may have been, that other sessions still list.
    pub deleted: bool,
    /// When the session ended, in milliseconds since 1970.
    pub now_ms: u64,
}

impl LeftMaildrop {
    /// A session that leaves what it found.
    #[must_use]
    pub fn without_deletions(snapshot: Snapshot, now_ms: u64) -> Self {
        Self { found: snapshot.digest(), snapshot: Ok(snapshot), deleted: false, now_ms }
    }

    /// A session that leaves no snapshot.
    #[must_use]
    pub fn without_snapshot(why: NoSnapshot, deleted: bool) -> Self {
        Self { snapshot: Err(why), found: 0, deleted, now_ms: 0 }
    }
}

impl MaildropSession {
    /// A session of a user in this process.
    pub(super) fn new(user: UserKey, token: u64, begun: Begun) -> Self {
        let Begun { is_undisturbed, previous, wait } = begun;
        let token = if is_undisturbed { token } else { 0 };
        let previous = PreviousSnapshot::of(previous);
        Self { user, token, heard: None, looked_s: 0, store_epoch: 0, written: None, previous, wait }
    }

    /// A session of a user in a store; `begun` is None if the store could not be reached, and
    /// otherwise has the record.
    pub(super) fn written(user: UserKey, token: u64, begun: Option<(Begun, Box<[u8]>)>) -> Self {
        match begun {
            Some((begun, written)) => Self { written: Some(written), ..Self::new(user, token, begun) },
            None => Self::new(user, token, Begun::default()),
        }
    }

    /// Notes when the session looked, and which signal was the last one then.
    pub(super) fn looked(self, looked_ms: u64, heard: Option<u64>) -> Self {
        Self { heard, looked_s: seconds(looked_ms), ..self }
    }

    /// Notes that it is an upgraded session.
    pub(super) fn upgraded(mut self, now_ms: u64) -> Self {
        self.previous.times.upgraded_s = seconds(now_ms);
        self
    }

    /// The user whose session it is.
    #[must_use]
    pub fn user(&self) -> UserKey {
        self.user
    }

    /// Whether no other session has seen the maildrop, or deleted from it, since it looked.
    #[must_use]
    pub fn may_leave_snapshot(&self) -> bool {
        self.token != 0
    }

    /// What the user had waited for when the session began.
    #[must_use]
    pub fn wait(&self) -> Wait {
        self.wait
    }

    /// The snapshot that the session before it had left, if no signal had come since: messages beyond it
    /// came without a signal.
    #[must_use]
    pub fn previous(&self) -> Option<&Snapshot> {
        self.previous.up_to_date.as_deref()
    }

    /// Whether the session has found what the session before it had left. `found`: the
    /// [`Snapshot::digest`] of what it has found.
    #[must_use]
    pub fn has_found_the_same(&self, found: u64) -> bool {
        self.previous.digest == found
    }

    /// Token of the last signal when the session looked; None if that is not known.
    #[must_use]
    pub fn heard(&self) -> Option<u64> {
        self.heard
    }

    /// When the session looked, in seconds since 1970.
    #[must_use]
    pub fn looked_s(&self) -> u32 {
        self.looked_s
    }

    /// What the session leaves.
    pub(super) fn result(&self, end: LeftMaildrop) -> SessionResult {
        let times = self.previous.times_after(end.found, self.looked_s, seconds(end.now_ms));
        let snapshot = end.snapshot?.shared();
        Ok(DatedSnapshot { snapshot, times, is_up_to_date: self.heard.is_some() })
    }
}
