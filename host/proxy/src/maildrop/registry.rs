//! The registry of users: which users have proved their identity, and what their clients have seen.
//! The [mode](super::mode) decides where that is kept.
//!
//! Sessions take the steps look, begin and commit in this order, because a mail server may say
//! +OK to the login long before or after it fixes what the session sees of the maildrop (Dovecot
//! says it before it opens the INBOX). A user is looked up before their credentials are sent, and
//! the session begins when the first reply that shows the maildrop has arrived. If no other session
//! has begun in between, its listing is newer than every listing that a client was shown before.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::local_only::LocalOnly;
use super::maildrop_session::{LeftMaildrop, MaildropSession};
use super::mode::{Fetched, MaybeReady, Mode, Opening, PendingWrite, Upgrade};
use super::names::Learned;
use super::no_snapshot::NoSnapshot;
use super::records::Records;
use super::seal::Seal;
use super::shared_snapshots::SharedSnapshots;
use super::shared_tags::SharedTags;
use super::tag::{Tag, Tagger, UserKey};
use super::user::{LastSeen, Route, Signal, seconds};
use super::users::{MemoryUsage, OpenSession, Users};
#[cfg(test)]
use crate::simulation::{Fault, planted};
use reprieve_store::{NamespaceConfig, Share, Store, Unavailable};

/// Maximum size of a user's record in a store, in bytes: enough for some hundred thousand messages.
const RECORD_LIMIT: usize = 1 << 20;
/// Namespace of the users' records.
const NAMESPACE: &str = "maildrop";

/// Accepted secrets and snapshots of all users of a store.
#[derive(Debug)]
pub struct Registry {
    mode: Box<dyn Mode>,
    /// Users in this process; none if all is in a store.
    users: Arc<Users>,
    credential_ttl_s: u64,
    next_token: AtomicU64,
    is_shared: bool,
}

impl Registry {
    /// A registry of this process alone. `memory_limit`: bytes that all users may take together.
    /// `credential_ttl`: how long a secret stays known after the mail server has accepted it.
    #[must_use]
    pub fn new(memory_limit: u64, credential_ttl: Duration) -> Self {
        let users = Arc::new(Users::new(memory_limit));
        Self {
            mode: Box::new(LocalOnly::new(users.clone())),
            users,
            credential_ttl_s: credential_ttl.as_secs(),
            next_token: AtomicU64::new(1),
            is_shared: false,
        }
    }

    /// A registry that proxies share through a store. `memory_limit` also limits the users' records
    /// in the store.
    ///
    /// # Errors
    /// If the system has no randomness.
    pub fn shared(
        memory_limit: u64,
        credential_ttl: Duration,
        store: &Store,
        tagger: &Tagger,
        share: Share,
    ) -> anyhow::Result<Self> {
        let local = Self::new(memory_limit, credential_ttl);
        if share == Share::Off {
            return Ok(local);
        }
        let config =
            NamespaceConfig { name: NAMESPACE.to_owned(), quota: memory_limit, value_limit: RECORD_LIMIT };
        let seal = Seal::new(&tagger.sealing_key()).map_err(|_| anyhow::anyhow!("no key can be made"))?;
        let keeps_snapshots = share == Share::TagsAndSnapshots;
        let records =
            Records::new(store.namespace(config), seal, credential_ttl, store.epoch(), keeps_snapshots);
        // A token must never be used twice, in this process or another.
        let mut first = [0; 8];
        getrandom::fill(&mut first).map_err(|error| anyhow::anyhow!("no randomness: {error}"))?;
        Ok(local.sharing(records, keeps_snapshots, u64::from_le_bytes(first)))
    }

    /// The same registry with users in `records`. `first_token`: from which no other registry of these
    /// records counts.
    fn sharing(self, records: Records, keeps_snapshots: bool, first_token: u64) -> Self {
        let records = Arc::new(records);
        let mode: Box<dyn Mode> = if keeps_snapshots {
            Box::new(SharedSnapshots::new(records, self.users.clone()))
        } else {
            Box::new(SharedTags::new(records, self.users.clone()))
        };
        Self { mode, next_token: AtomicU64::new(first_token), is_shared: true, ..self }
    }

    /// A registry in the store of a simulation. `first_token`: a multiple of 2^48, of no other registry.
    #[cfg(test)]
    pub(crate) fn simulated(
        self,
        store: crate::simulation::Namespace,
        tagger: &Tagger,
        epoch: reprieve_store::StoreEpoch,
        keeps_snapshots: bool,
        first_token: u64,
    ) -> Self {
        let seal = Seal::new(&tagger.sealing_key()).expect("a key of this length");
        let ttl = Duration::from_secs(self.credential_ttl_s);
        self.sharing(Records::new(store, seal, ttl, epoch, keeps_snapshots), keeps_snapshots, first_token)
    }

    /// Looks up a user and the secret that a login presents, before the credentials are sent.
    /// `tag`: None if only the mail server sees the secret. `now_ms`: milliseconds since 1970.
    pub async fn look(&self, user: UserKey, tag: Option<&Tag>, now_ms: u64) -> Fetched {
        let fetched = self.mode.look(user, tag, self.oldest_s(now_ms)).wait().await;
        Fetched { looked_ms: now_ms, ..fetched }
    }

    /// Prepares for the session of a user without a record in the store, before their credentials
    /// are sent. Otherwise this session would not notice a record that another session created
    /// and that was lost again in between.
    pub async fn reserve(&self, fetched: &mut Fetched, user: UserKey) {
        if fetched.latest == Some(0) {
            self.mode.reserve(fetched, user, self.token()).wait().await;
        }
    }

    /// The maildrop as the user's clients last saw it.
    ///
    /// # Errors
    /// Why that is not known.
    pub fn last_seen(&self, fetched: &Fetched, user: UserKey) -> Result<LastSeen, NoSnapshot> {
        self.mode.last_seen(fetched, user)
    }

    /// Where the user's last session went, if that is not the usual pool and user name.
    #[must_use]
    pub fn route(&self, fetched: &Fetched, user: UserKey) -> Option<Arc<Route>> {
        let mut route = None;
        self.mode.with_user(fetched, user, &mut |known| route.clone_from(&known.route));
        route
    }

    /// Begins a session: the first reply that shows the maildrop has arrived. The client must not
    /// see it before the result is there. See `User::begin`.
    #[must_use = "the session begins when the result is there"]
    pub fn begin(&self, opening: Opening) -> MaybeReady<'static, MaildropSession> {
        self.mode.begin(opening, self.token())
    }

    /// Forgets the snapshot of a user whose login was accepted and failed before the session saw
    /// the maildrop.
    #[must_use = "it is done when the write has finished"]
    pub fn forget_opened(&self, opening: Opening) -> Option<PendingWrite> {
        match self.begin(opening) {
            MaybeReady::Ready(session) => {
                self.commit(session, LeftMaildrop::without_snapshot(NoSnapshot::Incomplete, false))
            }
            MaybeReady::Pending(beginning) => Some(Box::pin(async move {
                beginning.await;
            })),
        }
    }

    /// Begins the session of a client that was posed to until now, and whose secret the mail server
    /// has accepted. The client continues to see the snapshot that it was shown.
    /// See `User::begin_upgraded`.
    pub async fn begin_upgraded(&self, upgrade: Upgrade) -> MaildropSession {
        let session = self.mode.begin_upgraded(upgrade, self.token()).wait().await;
        #[cfg(test)]
        if planted(Fault::HeardAnewAtUpgrade) {
            let heard = self.look(upgrade.user, None, upgrade.looked_ms).await.heard;
            return session.looked(upgrade.looked_ms, heard).upgraded(upgrade.looked_ms);
        }
        session.looked(upgrade.looked_ms, upgrade.heard).upgraded(upgrade.looked_ms)
    }

    /// Notes a signal that a user has new mail: until a session has looked that begins later, their
    /// snapshot is out of date. Returns whether the user is known; nothing is kept for others.
    /// `delivered_ms`: when the message was delivered; a session that has looked well after that has
    /// seen it.
    ///
    /// # Errors
    /// If the store cannot be reached: the signal is not noted.
    pub async fn hear(&self, user: UserKey, now_ms: u64, delivered_ms: u64) -> Result<bool, Unavailable> {
        let signal =
            Signal { token: self.token(), now_s: seconds(now_ms), delivered_s: seconds(delivered_ms) };
        self.mode.hear(user, signal).wait().await
    }

    /// Notes that a [mailbox](Tagger::mailbox) with another name is a user's. If that was not known, the
    /// user's snapshot is out of date from now on: a signal may have come before.
    pub async fn learn(&self, mailbox: UserKey, user: UserKey, now_ms: u64) -> Learned {
        let learned = self.mode.learn(mailbox, user).wait().await;
        if learned == Learned::New && self.hear(user, now_ms, now_ms).await.is_err() {
            return Learned::Unavailable;
        }
        learned
    }

    /// The users whose mailbox it is under another name.
    ///
    /// # Errors
    /// If the store cannot be reached.
    pub async fn users_of(&self, mailbox: UserKey) -> Result<impl Iterator<Item = UserKey>, Unavailable> {
        Ok(self.mode.users_of(mailbox).wait().await?.into_iter())
    }

    /// Notes that signals of a [pool](Tagger::pool) may have been missed until now, for the proxies that
    /// share the store.
    ///
    /// # Errors
    /// If the store cannot be reached: they do not know, and it has to be noted again.
    pub async fn note_gap(&self, pool: UserKey, now_ms: u64) -> Result<(), Unavailable> {
        self.mode.note_gap(pool, now_ms).wait().await
    }

    /// When a proxy that shares the store last noted such a gap, in milliseconds since 1970.
    pub async fn last_gap(&self, pool: UserKey) -> Option<u64> {
        self.mode.last_gap(pool).wait().await
    }

    /// Whether other proxies share the users.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.is_shared
    }

    /// Notes that a login is shown the snapshot, to know later how long new mail has waited.
    pub fn pose(&self, user: UserKey, now_ms: u64) {
        self.mode.pose(user, seconds(now_ms));
    }

    /// Ends a session. Its snapshot counts if no other session has seen the maildrop since it began.
    /// Returns None if that is done, and else what has to finish before the client is answered.
    #[must_use = "it is done when the write has finished"]
    pub fn commit(&self, session: MaildropSession, end: LeftMaildrop) -> Option<PendingWrite> {
        let deleted = end.deleted;
        let result = session.result(end);
        self.mode.commit(session, result, deleted, self.token())
    }

    /// Counts a relayed session of a user until the result is dropped.
    #[must_use]
    pub fn open_session(&self, user: UserKey) -> OpenSession {
        OpenSession::new(self.users.clone(), user)
    }

    /// Relayed sessions of all users.
    #[cfg(test)]
    pub(crate) fn open_sessions(&self) -> u64 {
        self.users.all_open_sessions()
    }

    /// Forgets a secret that the mail server has rejected. With a shared store,
    /// rejections beyond `limit` are not written.
    pub async fn reject(&self, fetched: &Fetched, user: UserKey, tag: Option<&Tag>, limit: u8) {
        self.mode.reject(fetched, user, tag, limit).wait().await;
    }

    /// Forgets a user's snapshot, so that their next login passes.
    pub async fn forget_snapshot(&self, user: UserKey) {
        self.mode.forget_snapshot(user, self.token()).wait().await;
    }

    /// Forgets a user, and returns whether they were known.
    ///
    /// # Errors
    /// If the store cannot be reached.
    pub async fn forget(&self, user: UserKey) -> Result<bool, Unavailable> {
        self.mode.forget(user).wait().await
    }

    /// Describes a user for administrators; None if they are not known.
    pub async fn describe(&self, user: UserKey, now_ms: u64) -> Option<Description> {
        let fetched = self.look(user, None, now_ms).await;
        let oldest_s = self.oldest_s(now_ms);
        let last_seen = self.last_seen(&fetched, user);
        let snapshot = last_seen.as_ref().ok().map(|last_seen| &last_seen.snapshot);
        let mut description = None;
        self.mode.with_user(&fetched, user, &mut |known| {
            description = Some(Description {
                secrets: known.accepted.iter().filter(|accepted| accepted.at_s >= oldest_s).count(),
                accepted_at_s: known.accepted.first().map(|accepted| accepted.at_s),
                messages: snapshot.map(|snapshot| snapshot.count()),
                bytes: snapshot.map(|snapshot| snapshot.bytes()),
                no_snapshot: last_seen.as_ref().err().copied(),
                rejections: known.rejections,
                pool: known.route.as_ref().and_then(|route| route.pool.clone()),
            });
        });
        description
    }

    /// Numbers of users and snapshots in this process, and the memory that they take.
    #[must_use]
    pub fn memory_usage(&self) -> MemoryUsage {
        self.users.memory_usage()
    }

    /// Bytes that users take in this process.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.users.bytes()
    }

    /// Number of users in this process.
    #[must_use]
    pub fn users(&self) -> usize {
        self.users.count()
    }

    /// Number of users whose record in a shared store is out of date because a session could not be written.
    /// This process ignores it, and removes it as soon as the store can be reached.
    #[must_use]
    pub fn stale_users(&self) -> usize {
        self.mode.stale_users()
    }

    /// Secrets that were accepted before this time, in seconds since 1970, are not known any more.
    fn oldest_s(&self, now_ms: u64) -> u64 {
        (now_ms / 1000).saturating_sub(self.credential_ttl_s)
    }

    /// A token that was not used before; never 0.
    fn token(&self) -> u64 {
        match self.next_token.fetch_add(1, Ordering::Relaxed) {
            0 => self.next_token.fetch_add(1, Ordering::Relaxed),
            token => token,
        }
    }
}

/// What is known about a user, without secrets or listings.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Description {
    /// Number of secrets that are known.
    pub secrets: usize,
    /// When a secret was last accepted, in seconds since 1970; it may have expired since.
    pub accepted_at_s: Option<u64>,
    /// Number of messages in the snapshot.
    pub messages: Option<u32>,
    /// Sum of their sizes.
    pub bytes: Option<u64>,
    /// Why there is no snapshot, if there is none.
    pub no_snapshot: Option<NoSnapshot>,
    /// Logins that the mail server has rejected since it last accepted one.
    pub rejections: u8,
    /// Pool of the last session, if it is not the virtual server's own.
    pub pool: Option<String>,
}

#[cfg(test)]
mod interleavings;
#[cfg(test)]
mod tests;
