//! What is remembered about one user, and how sessions change it; the same in every mode.

use std::sync::Arc;

use arrayvec::ArrayVec;

use super::maildrop_session::{Begun, SessionResult, Wait};
use super::no_snapshot::NoSnapshot;
use super::tag::Tag;
#[cfg(test)]
use crate::simulation::{Fault, planted};
use reprieve_pop3::snapshot::Snapshot;

/// Maximum number of secrets remembered for one user. Some sites give each device its own password.
pub(super) const MAX_SECRETS: usize = 8;

/// The number of the first signal of a user in this process.
pub(super) const FIRST_SIGNAL: u64 = 1;

/// What is known about a presented secret.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TagStanding {
    /// The mail server has accepted it.
    Known,
    /// The mail server has accepted another secret of this user within `maildrop.credential-ttl`.
    Changed,
    /// The mail server has accepted no secret of this user within `maildrop.credential-ttl`.
    #[default]
    Unknown,
}

/// Where a policy has sent a user's session, so that an upgrade goes there too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Name of the pool; None for the virtual server's own.
    pub pool: Option<String>,
    /// User name at the mail server; None for the one that the client gave.
    pub user: Option<String>,
}

/// A secret that a mail server has accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Accepted {
    pub tag: Tag,
    /// When it was last accepted, in seconds since 1970.
    pub at_s: u64,
}

/// The accepted secrets of a user, the latest first.
pub(super) type Secrets = ArrayVec<Accepted, MAX_SECRETS>;

/// A snapshot, and what happened to the maildrop when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DatedSnapshot {
    pub snapshot: Arc<Snapshot>,
    pub times: SnapshotTimes,
    /// Whether the session that left it looked after the last signal: the `snapshot.heard == heard`
    /// of the protocol. A flag is enough, because tokens are never used twice.
    pub is_up_to_date: bool,
}

/// What happened to a maildrop when, in seconds since 1970; 0 if that is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SnapshotTimes {
    /// The session that left the snapshot looked, before its login.
    pub seen_s: u32,
    /// A session last found something else than the session before it had left.
    pub changed_s: u32,
    /// A posed session was last upgraded.
    pub upgraded_s: u32,
}

/// What is remembered about a user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct User {
    pub accepted: Secrets,
    pub snapshot: Option<DatedSnapshot>,
    pub route: Option<Arc<Route>>,
    /// Token of the session that saw the maildrop last. Only that session may leave a snapshot. Each
    /// confirmed deletion replaces the token, too, and [`count_signal`](Self::count_signal) now and then.
    /// 0 if no session has seen the maildrop.
    pub latest: u64,
    /// Token of the last signal of new mail, or its number if the user is in this process; 0 if there was
    /// none.
    pub heard: u64,
    /// When that was, in seconds since 1970; 0 if a session has seen the maildrop since.
    pub heard_s: u32,
    /// When a login of the user was first posed since the snapshot, in seconds since 1970; 0 if none was.
    pub posed_s: u32,
    /// Logins that the mail server has rejected since it last accepted one.
    pub rejections: u8,
    /// Why there is no snapshot, if there is none.
    pub no_snapshot: NoSnapshot,
}

/// By how many seconds the time that a log gives for a delivery may be wrong.
const LOG_TIME_ERROR_S: u32 = 5;

/// A signal of new mail.
#[derive(Clone, Copy, Debug)]
pub(super) struct Signal {
    /// Unique to the signal.
    pub token: u64,
    /// When it came, in seconds since 1970.
    pub now_s: u32,
    /// When the message was delivered: before that, if the signal was read in a log.
    pub delivered_s: u32,
}

/// A maildrop as the user's clients last saw it.
#[derive(Clone, Debug)]
pub struct LastSeen {
    /// What they saw.
    pub snapshot: Arc<Snapshot>,
    /// Where the maildrop is, if that is not the usual pool and user name.
    pub route: Option<Arc<Route>>,
    /// Token of the session that left it; an upgrade passes it to
    /// [`Registry::begin_upgraded`](super::Registry::begin_upgraded).
    pub token: u64,
    /// The last signal before the session that left it looked. None if there is new mail: a later
    /// signal.
    pub heard: Option<u64>,
    /// When that session looked, in seconds since 1970.
    pub looked_s: u32,
    /// Whether a login has been shown it already.
    pub was_posed: bool,
}

impl User {
    /// What is known about a secret. Secrets that were accepted before `oldest_s`, in seconds since
    /// 1970, do not count.
    pub fn standing(&self, tag: &Tag, oldest_s: u64) -> TagStanding {
        // All tags are compared, so that the duration does not reveal which one matched.
        let known = self
            .accepted
            .iter()
            .fold(false, |known, accepted| known | (accepted.tag.matches(tag) & (accepted.at_s >= oldest_s)));
        if known {
            TagStanding::Known
        } else if self.accepted.first().is_some_and(|latest| latest.at_s >= oldest_s) {
            TagStanding::Changed
        } else {
            TagStanding::Unknown
        }
    }

    /// Whether their maildrop is in another pool than the virtual server's.
    pub fn is_elsewhere(&self) -> bool {
        self.route.as_ref().is_some_and(|route| route.pool.is_some())
    }

    /// The maildrop as the user's clients last saw it.
    pub fn last_seen(&self) -> Result<LastSeen, NoSnapshot> {
        let DatedSnapshot { snapshot, times, is_up_to_date } =
            self.snapshot.clone().ok_or(self.no_snapshot)?;
        Ok(LastSeen {
            snapshot,
            route: self.route.clone(),
            token: self.latest,
            heard: is_up_to_date.then_some(self.heard),
            looked_s: times.seen_s,
            was_posed: self.posed_s != 0,
        })
    }

    /// Remembers a secret that the mail server has accepted. `tag`: None if only the mail server has
    /// seen it.
    pub fn accept(&mut self, tag: Option<Tag>, now_ms: u64) {
        self.rejections = 0;
        let Some(tag) = tag else { return };
        self.accepted.retain(|accepted| !accepted.tag.matches(&tag));
        self.accepted.truncate(MAX_SECRETS - 1);
        self.accepted.insert(0, Accepted { tag, at_s: now_ms / 1000 });
    }

    /// Begins a session: the first reply that shows the maildrop has arrived, and the client is about
    /// to see it. The old snapshot is no longer what the clients last saw. `latest_at_look`:
    /// `latest` before the credentials were sent; None if that is not known. The session may leave a
    /// snapshot if no other session has seen the maildrop or has deleted from it since.
    pub fn begin(&mut self, token: u64, latest_at_look: Option<u64>) -> Begun {
        let is_undisturbed = latest_at_look == Some(self.latest);
        #[cfg(test)]
        let is_undisturbed = is_undisturbed || planted(Fault::BeginWithoutComparing);
        let previous = self.snapshot.take();
        self.no_snapshot = if is_undisturbed { NoSnapshot::NoneYet } else { NoSnapshot::Overlap };
        // The other session may not leave one either: it is not known whose listing is newer.
        self.latest = token;
        Begun { is_undisturbed, previous, wait: self.take_wait() }
    }

    fn take_wait(&mut self) -> Wait {
        Wait { heard_s: std::mem::take(&mut self.heard_s), posed_s: std::mem::take(&mut self.posed_s) }
    }

    /// Notes a signal of new mail: what sessions have left that looked before is out of date, as is what
    /// such sessions will leave.
    pub fn hear(&mut self, Signal { token, now_s, delivered_s }: Signal) {
        let looked_s = self.snapshot.as_ref().map_or(0, |snapshot| snapshot.times.seen_s);
        // A look in the future tells only that the clock was set back.
        if looked_s > delivered_s.saturating_add(LOG_TIME_ERROR_S) && looked_s <= now_s {
            return;
        }
        #[cfg(test)]
        if self.snapshot.is_none() && planted(Fault::SignalLostDuringSession) {
            return;
        }
        self.heard = token;
        if self.heard_s == 0 {
            (self.heard_s, self.posed_s) = (now_s.max(1), 0);
        }
        if let Some(snapshot) = &mut self.snapshot {
            snapshot.is_up_to_date = false;
        }
    }

    /// As [`hear`](Self::hear), for users in this process: signals are known by their numbers, from 1 to
    /// `most` and then from 1 again, because these take less memory than tokens. Before a number is used
    /// again, `latest` changes. So no session can take a new signal for an old one: all that remember a
    /// number remember the `latest` of that time, too, and leave no snapshot once it has changed.
    pub fn count_signal(&mut self, signal: Signal, most: u64) {
        let number = if self.heard < most { self.heard + 1 } else { FIRST_SIGNAL };
        if number <= self.heard {
            self.latest = signal.token;
        }
        self.hear(Signal { token: number, ..signal });
    }

    /// Notes that a login is shown the snapshot.
    pub fn pose(&mut self, now_s: u32) {
        if self.posed_s == 0 {
            self.posed_s = now_s.max(1);
        }
    }

    /// Begins an upgraded session, which continues to show the snapshot with the token `posed`. It may
    /// leave a snapshot if no client has seen anything else since.
    pub fn begin_upgraded(&mut self, token: u64, posed: u64) -> Begun {
        let is_latest = self.latest == posed;
        #[cfg(test)]
        let is_latest = is_latest || planted(Fault::UpgradeWithoutComparing);
        if !is_latest {
            return Begun::default();
        }
        self.no_snapshot = NoSnapshot::NoneYet;
        self.latest = token;
        Begun { is_undisturbed: true, previous: self.snapshot.take(), wait: self.take_wait() }
    }

    /// Ends a session, which leaves a snapshot if it was the last one to see the maildrop. `heard`:
    /// of the session. `deleted`: messages were deleted, or may have been, that open sessions
    /// still list. `fresh`: a token that no session has. Returns whether the session was the last one.
    pub fn commit(
        &mut self,
        (token, heard): (u64, Option<u64>),
        fresh: u64,
        result: SessionResult,
        deleted: bool,
    ) -> bool {
        let is_latest = token != 0 && self.latest == token;
        #[cfg(test)]
        let is_latest = is_latest || token != 0 && planted(Fault::LateSessionOverwrites);
        #[cfg(test)]
        let fresh = if planted(Fault::DeletionKeepsLatest) { self.latest } else { fresh };
        if is_latest {
            match result {
                Ok(mut snapshot) => {
                    snapshot.is_up_to_date = heard == Some(self.heard);
                    self.snapshot = Some(snapshot);
                }
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

    /// Forgets the snapshot, and prevents open sessions from leaving one. `fresh`: a token that no
    /// session has.
    pub fn forget_snapshot(&mut self, fresh: u64) {
        (self.snapshot, self.no_snapshot) = (None, NoSnapshot::NoneYet);
        self.latest = fresh;
    }

    /// Counts a rejected login, and forgets the rejected secret.
    pub fn reject(&mut self, tag: Option<&Tag>) {
        self.rejections = self.rejections.saturating_add(1);
        #[cfg(test)]
        if planted(Fault::WrongPasswordRemembered) {
            return self.accept(tag.copied(), u64::from(u32::MAX) * 1000);
        }
        #[cfg(test)]
        let tag = tag.filter(|_| !planted(Fault::RejectedPasswordKept));
        if let Some(tag) = tag {
            self.accepted.retain(|accepted| !accepted.tag.matches(tag));
        }
    }
}

/// Milliseconds since 1970 in whole seconds.
pub(super) fn seconds(ms: u64) -> u32 {
    u32::try_from(ms / 1000).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::maildrop_session::{LeftMaildrop, MaildropSession};
    use super::super::tag::UserKey;
    use super::*;
    use reprieve_pop3::snapshot::Row;

    /// A user whose last session looked at this time, and left one message.
    fn seen_at(seen_s: u32) -> User {
        let mut user = User::default();
        let begun = user.begin(1, Some(0));
        let session =
            MaildropSession::new(UserKey::numbered(1), 1, begun).looked(u64::from(seen_s) * 1000, Some(0));
        let snapshot = Snapshot::pack([Row { size: 1, unique_id: b"x" }]).unwrap();
        let result = session.result(LeftMaildrop::without_deletions(snapshot, u64::from(seen_s) * 1000));
        assert!(user.commit((session.token, session.heard), 2, result, false));
        user
    }

    #[test]
    fn a_session_that_looked_well_after_a_delivery_has_seen_it() {
        for (delivered_s, now_s, is_new) in [
            (94, 200, false),
            // The log's time may be wrong by five seconds.
            (95, 200, true),
            (100, 200, true),
            (94, 100, false),
            // The clock was set back since the session looked.
            (94, 99, true),
        ] {
            let mut user = seen_at(100);
            user.hear(Signal { token: 7, now_s, delivered_s });
            let shown = user.last_seen().unwrap();
            assert_eq!(shown.heard, (!is_new).then_some(0), "{delivered_s} {now_s}");
            assert_eq!(user.heard, if is_new { 7 } else { 0 }, "{delivered_s} {now_s}");
        }
    }

    #[test]
    fn a_session_knows_since_when_its_user_has_waited() {
        let signal = |now_s| Signal { token: u64::from(now_s), now_s, delivered_s: now_s };
        let mut user = seen_at(100);
        assert!(!user.last_seen().unwrap().was_posed);
        user.pose(110);
        user.pose(120);
        assert!(user.last_seen().unwrap().was_posed);
        assert_eq!(user.begin(3, None).wait, Wait { heard_s: 0, posed_s: 110 });
        assert_eq!(user.begin(4, None).wait, Wait::default(), "it was another session that ended the wait");
        for is_upgrade in [false, true] {
            let mut user = seen_at(100);
            user.pose(110);
            user.hear(signal(130));
            assert!(!user.last_seen().unwrap().was_posed, "no login was posed since the signal");
            user.pose(140);
            user.hear(signal(150));
            user.pose(160);
            let latest = user.latest;
            let begun = if is_upgrade { user.begin_upgraded(3, latest) } else { user.begin(3, Some(latest)) };
            assert_eq!(begun.wait, Wait { heard_s: 130, posed_s: 140 });
        }
    }

    #[test]
    fn a_wait_that_began_at_the_epoch_is_a_wait() {
        let mut user = seen_at(0);
        user.hear(Signal { token: 7, now_s: 0, delivered_s: 0 });
        user.pose(0);
        assert_eq!(user.begin(3, None).wait, Wait { heard_s: 1, posed_s: 1 });
    }

    #[test]
    fn a_session_that_may_leave_no_snapshot_leaves_none_to_a_user_that_no_session_has_seen() {
        let left = seen_at(100).snapshot.unwrap();
        let mut user = User::default();
        assert!(!user.commit((0, None), 9, Ok(left), false));
        assert_eq!(user, User::default());
    }
}
