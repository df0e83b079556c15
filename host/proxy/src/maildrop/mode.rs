//! What each mode of the registry has to do. There is one mode per value of `store.share`:
//!
//! | `share` | mode | accepted secrets, and who saw a maildrop last | snapshots |
//! | --- | --- | --- | --- |
//! | `off` | [`LocalOnly`](super::local_only::LocalOnly) | in this process | in this process |
//! | `tags` | [`SharedTags`](super::shared_tags::SharedTags) | in the store | in this process |
//! | `tags+snapshots` | [`SharedSnapshots`](super::shared_snapshots::SharedSnapshots) | in the store | in the store |

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::maildrop_session::{Begun, MaildropSession, SessionResult};
use super::names::{Learned, MailboxUsers};
use super::no_snapshot::NoSnapshot;
use super::records::FetchedRecord;
use super::tag::{Tag, UserKey};
use super::user::{DatedSnapshot, LastSeen, Route, Signal, SnapshotTimes, TagStanding, User};
#[cfg(test)]
use crate::simulation::{Fault, planted};
use reprieve_store::Unavailable;

/// A store operation in progress.
pub type Pending<T> = Pin<Box<dyn Future<Output = T> + Send>>;
/// A write that must be finished before the client sees the reply.
pub type PendingWrite = Pending<()>;

/// A result that is either ready (users in this process) or must be awaited (users in a store).
pub enum MaybeReady<'a, T> {
    /// The result.
    Ready(T),
    /// The work that leads to it.
    Pending(Pin<Box<dyn Future<Output = T> + Send + 'a>>),
}

impl<T> MaybeReady<'_, T> {
    /// Waits for the result, if necessary.
    pub async fn wait(self) -> T {
        match self {
            Self::Ready(result) => result,
            Self::Pending(work) => work.await,
        }
    }
}

/// What is known about a user's maildrop, besides the listing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MaildropFacts {
    /// The snapshot, if there is one.
    pub snapshot: Option<SnapshotFacts>,
    /// Sessions of the user that are relayed by this process.
    pub open_sessions: u32,
}

/// What is known about a snapshot, besides the listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotFacts {
    /// Messages in it.
    pub messages: u32,
    /// Size of these messages in bytes.
    pub total_bytes: u64,
    /// What happened to the maildrop when.
    pub times: SnapshotTimes,
    /// Whether a signal of new mail has come since.
    pub has_new_mail: bool,
    /// Whether it is of a maildrop in another pool than the virtual server's.
    pub is_elsewhere: bool,
}

impl SnapshotFacts {
    /// Of a user's snapshot.
    pub(super) fn of(user: &User) -> Option<Self> {
        let DatedSnapshot { snapshot, times, is_up_to_date } = user.snapshot.as_ref()?;
        Some(Self {
            messages: snapshot.count(),
            total_bytes: snapshot.bytes(),
            times: *times,
            has_new_mail: !is_up_to_date,
            is_elsewhere: user.is_elsewhere(),
        })
    }
}

/// What was known about a user before their credentials were sent to the mail server.
#[derive(Debug, Default)]
#[cfg_attr(test, derive(Clone))]
pub struct Fetched {
    /// Standing of the presented secret.
    pub standing: TagStanding,
    /// Logins that the mail server has rejected since it last accepted one.
    pub rejections: u8,
    /// What is known about the maildrop.
    pub facts: MaildropFacts,
    /// [`User::latest`]; 0 for an unknown user, None if the store could not be reached.
    pub(super) latest: Option<u64>,
    /// [`User::heard`]; 0 for an unknown user, None if the store could not be reached.
    pub(super) heard: Option<u64>,
    /// When they were looked up, in milliseconds since 1970.
    pub(super) looked_ms: u64,
    /// For users in a store: its epoch.
    pub(super) store_epoch: u64,
    /// For users in this process: see [`Table::generation`](super::table::Table::generation).
    pub(super) generation: u32,
    /// For users in a store: their record.
    pub(super) record: Option<Box<FetchedRecord>>,
}

impl Fetched {
    /// An unknown user, whose maildrop no session has seen.
    pub(super) fn unknown() -> Self {
        Self { latest: Some(0), heard: Some(0), ..Self::default() }
    }

    /// Fills in what is known. `oldest_s`: secrets that were accepted before are not known.
    pub(super) fn fill(&mut self, known: &User, tag: Option<&Tag>, oldest_s: u64) {
        self.standing = tag.map_or(TagStanding::Unknown, |tag| known.standing(tag, oldest_s));
        self.rejections = known.rejections;
        self.latest = Some(known.latest);
        self.heard = Some(known.heard);
        self.facts.snapshot = SnapshotFacts::of(known);
    }

    /// Epoch of the store that the users are in.
    #[must_use]
    pub fn store_epoch(&self) -> u64 {
        self.store_epoch
    }

    /// Token of the last signal of new mail; None if that is not known.
    #[must_use]
    pub fn heard(&self) -> Option<u64> {
        self.heard
    }

    /// The session that begins may leave no snapshot.
    pub fn leave_no_snapshot(&mut self) {
        self.latest = None;
    }

    /// The user as the store has them.
    pub(super) fn stored_user(&self) -> Option<&User> {
        self.record.as_ref()?.user.as_deref()
    }
}

/// A login that the mail server has accepted, before the client has seen anything of the maildrop.
#[derive(Debug)]
pub struct Opening {
    /// The user.
    pub user: UserKey,
    /// Of the secret; None if only the mail server has seen it.
    pub tag: Option<Tag>,
    /// Where the session went, if that is not the usual pool and user name.
    pub route: Option<Arc<Route>>,
    /// When the mail server accepted the login, in milliseconds since 1970.
    pub accepted_ms: u64,
    /// What was known before that.
    pub fetched: Fetched,
    /// Whether new mail of the pool is signalled.
    pub expects_signals: bool,
}

impl Opening {
    /// Applies the login to its user, and begins its session under `token`; `latest` is
    /// [`User::latest`] before the credentials were sent, if it is still known. `heard`: a signal that no
    /// session can have heard, if there is no record of any.
    pub(super) fn apply(&self, known: &mut User, (token, heard): (u64, u64), latest: Option<u64>) -> Begun {
        known.accept(self.tag, self.accepted_ms);
        known.route.clone_from(&self.route);
        #[cfg(test)]
        if planted(Fault::NewRecordNotInDoubt) {
            return known.begin(token, latest);
        }
        if self.expects_signals && known.heard == 0 {
            // A signal may have come while there was no record, so the next login has to pass, too.
            known.heard = heard;
        }
        known.begin(token, latest)
    }

    /// Completes a session that has begun.
    pub(super) fn complete(&self, session: MaildropSession) -> MaildropSession {
        session.looked(self.fetched.looked_ms, self.fetched.heard)
    }
}

/// A posed session that continues at the mail server, which has accepted its secret.
#[derive(Clone, Copy, Debug)]
pub struct Upgrade {
    /// The user.
    pub user: UserKey,
    /// Of their secret.
    pub tag: Tag,
    /// [`LastSeen::token`] of the snapshot that the session has shown.
    pub posed: u64,
    /// [`LastSeen::heard`] of that snapshot.
    pub heard: Option<u64>,
    /// [`Fetched::store_epoch`] of the login.
    pub store_epoch: u64,
    /// When the session asked the mail server, before its secret was sent, in milliseconds since 1970.
    pub looked_ms: u64,
}

impl Upgrade {
    /// Applies the upgrade to its user.
    pub(super) fn apply(&self, known: &mut User, token: u64) -> Begun {
        known.accept(Some(self.tag), self.looked_ms);
        known.begin_upgraded(token, self.posed)
    }
}

/// Where users are remembered. See the methods of [`Registry`](super::Registry) for what each
/// operation means; tokens come from there.
pub(super) trait Mode: std::fmt::Debug + Send + Sync {
    /// Fetches what is known about a user. `oldest_s`: secrets that were accepted before, in
    /// seconds since 1970, are not known any more.
    fn look<'a>(&'a self, user: UserKey, tag: Option<&'a Tag>, oldest_s: u64) -> MaybeReady<'a, Fetched>;

    /// Makes sure that a user without a record has one, if users are in a store.
    fn reserve<'a>(&'a self, fetched: &'a mut Fetched, user: UserKey, token: u64) -> MaybeReady<'a, ()>;

    /// The maildrop as the user's clients last saw it.
    fn last_seen(&self, fetched: &Fetched, user: UserKey) -> Result<LastSeen, NoSnapshot>;

    /// Calls `look` with the user, if they are known.
    fn with_user(&self, fetched: &Fetched, user: UserKey, look: &mut dyn FnMut(&User));

    /// Begins a session.
    fn begin(&self, opening: Opening, token: u64) -> MaybeReady<'static, MaildropSession>;

    /// Begins an upgraded session.
    fn begin_upgraded(&self, upgrade: Upgrade, token: u64) -> MaybeReady<'_, MaildropSession>;

    /// Ends a session. `deleted`: messages were deleted, or may have been. `fresh`: a token that no
    /// session has. Returns None if that is done.
    fn commit(
        &self,
        session: MaildropSession,
        result: SessionResult,
        deleted: bool,
        fresh: u64,
    ) -> Option<PendingWrite>;

    /// Forgets a secret that the mail server has rejected, and counts the rejection, up to `limit`.
    fn reject<'a>(
        &'a self,
        fetched: &'a Fetched,
        user: UserKey,
        tag: Option<&'a Tag>,
        limit: u8,
    ) -> MaybeReady<'a, ()>;

    /// Notes a signal of new mail. Returns whether the user is known.
    fn hear(&self, user: UserKey, signal: Signal) -> MaybeReady<'_, Result<bool, Unavailable>>;

    /// Notes that a mailbox with another name is a user's.
    fn learn(&self, mailbox: UserKey, user: UserKey) -> MaybeReady<'_, Learned>;

    /// The users of a mailbox with another name.
    fn users_of(&self, mailbox: UserKey) -> MaybeReady<'_, Result<MailboxUsers, Unavailable>>;

    /// Notes that signals of a pool may have been missed until now, for the proxies that share the store.
    fn note_gap(&self, _pool: UserKey, _now_ms: u64) -> MaybeReady<'_, Result<(), Unavailable>> {
        MaybeReady::Ready(Ok(()))
    }

    /// When a proxy that shares the store last noted a gap in the signals of a pool.
    fn last_gap(&self, _pool: UserKey) -> MaybeReady<'_, Option<u64>> {
        MaybeReady::Ready(None)
    }

    /// Number of users whose record in the store is out of date.
    fn stale_users(&self) -> usize {
        0
    }

    /// Notes that a login is shown the snapshot, if users are in this process.
    fn pose(&self, user: UserKey, now_s: u32);

    /// Forgets a user's snapshot. `fresh`: a token that no session has.
    fn forget_snapshot(&self, user: UserKey, fresh: u64) -> MaybeReady<'_, ()>;

    /// Forgets a user. Returns whether they were known.
    fn forget(&self, user: UserKey) -> MaybeReady<'_, Result<bool, Unavailable>>;
}
