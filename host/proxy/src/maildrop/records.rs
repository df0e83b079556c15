//! Users in a store that proxies share: one sealed record per user. The store is authoritative: while it
//! cannot be reached, every user is unknown and passes.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::maildrop_session::{MaildropSession, SessionResult};
use super::mode::{Fetched, Opening, Upgrade};
use super::names::{Learned, MAX_USERS, MailboxUsers};
use super::no_snapshot::NoSnapshot;
use super::seal::Seal;
use super::stale_records::StaleRecords;
use super::tag::{Hash, Tag, UserKey};
use super::user::{Signal, TagStanding, User};
#[cfg(test)]
use crate::simulation::{Fault, Namespace, planted};
use crate::time::Instant;
#[cfg(not(test))]
use reprieve_store::Namespace;
use reprieve_store::{Refused, StoreEpoch, Unavailable};

/// Attempts at a change while others change the same user.
const MAX_ATTEMPTS: usize = 16;
/// Time to live of a reserved record: longest time that the session of a new user may take until
/// it sees the maildrop.
const RESERVATION_TTL: Duration = Duration::from_secs(600);
/// Pause between attempts to delete stale records.
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// Stale records that are deleted before the list is read again.
const DELETION_BATCH: usize = 1000;
/// Shortest time between two log lines about a full store.
const LOG_INTERVAL: Duration = Duration::from_secs(600);
/// After this time the name of a mailbox is written again, before it expires.
const NAME_RENEWAL: Duration = Duration::from_secs(3600);
/// Maximum number of mailboxes to remember as written.
const MAX_NAMES: usize = 200_000;

/// The records of all users.
#[derive(Debug)]
pub(super) struct Records {
    namespace: Namespace,
    seal: Seal,
    /// How long a secret stays known: the time to live of a record.
    credential_ttl: Duration,
    /// Of the store; see [`Seal::open`].
    epoch: StoreEpoch,
    /// Whether records have snapshots.
    keeps_snapshots: bool,
    stale: StaleRecords,
    /// Whether a task is deleting stale records.
    is_deleting: AtomicBool,
    /// When it was last logged that the store is full.
    full_logged: Mutex<Option<Instant>>,
    /// When mailboxes with other names were written, and in which epoch of the store, so that not each
    /// session writes them.
    names: Mutex<HashMap<(UserKey, UserKey), (u64, Instant)>>,
}

/// A user's record as it was fetched.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub(super) struct FetchedRecord {
    /// None if there is no valid record.
    pub user: Option<Box<User>>,
    /// The record as it is stored.
    pub sealed: Option<Vec<u8>>,
}

/// The record as last fetched or written, if known, so that it need not be fetched again.
type LastFetched<'a> = Option<Option<&'a [u8]>>;

impl Records {
    pub fn new(
        namespace: impl Into<Namespace>,
        seal: Seal,
        credential_ttl: Duration,
        epoch: StoreEpoch,
        keeps_snapshots: bool,
    ) -> Self {
        Self {
            namespace: namespace.into(),
            seal,
            credential_ttl,
            epoch,
            keeps_snapshots,
            stale: StaleRecords::default(),
            is_deleting: AtomicBool::new(false),
            full_logged: Mutex::default(),
            names: Mutex::default(),
        }
    }

    /// See [`Mode::look`](super::mode::Mode::look).
    pub async fn look(&self, user: UserKey, tag: Option<&Tag>, oldest_s: u64) -> Fetched {
        let epoch = self.epoch.get();
        let Some(record) = self.fetch(user).await else { return Fetched::default() };
        let mut fetched = Fetched { store_epoch: epoch, ..Fetched::unknown() };
        if let Some(known) = &record.user {
            fetched.fill(known, tag, oldest_s);
        }
        fetched.record = Some(Box::new(record));
        fetched
    }

    /// See [`Mode::reserve`](super::mode::Mode::reserve). The record lives for a limited time,
    /// because the mail server has not accepted the user yet.
    pub async fn reserve(&self, fetched: &mut Fetched, user: UserKey, token: u64) {
        let record = self.add_reservation(user, token).await;
        fetched.latest = record.as_ref().and_then(|record| Some(record.user.as_ref()?.latest));
        fetched.heard = record.as_ref().and_then(|record| Some(record.user.as_ref()?.heard));
        fetched.record = record.map(Box::new);
    }

    /// See [`Mode::begin`](super::mode::Mode::begin).
    pub async fn begin(self: &Arc<Self>, opening: &Opening, token: u64) -> MaildropSession {
        let Fetched { record, latest, store_epoch, .. } = &opening.fetched;
        let last = record.as_ref().map(|record| record.sealed.as_deref());
        let epoch = self.epoch.get();
        // Otherwise the store may have lost a session that has begun since.
        let latest = latest.filter(|_| *store_epoch == epoch);
        let begun =
            self.change(opening.user, last, |known| opening.apply(known, (token, token), latest)).await;
        let session = MaildropSession::written(opening.user, token, begun);
        opening.complete(MaildropSession { store_epoch: epoch, ..session })
    }

    /// See [`Mode::begin_upgraded`](super::mode::Mode::begin_upgraded).
    pub async fn begin_upgraded(self: &Arc<Self>, upgrade: Upgrade, token: u64) -> MaildropSession {
        let epoch = self.epoch.get();
        let posed = if upgrade.store_epoch == epoch { upgrade.posed } else { 0 };
        let upgrade = Upgrade { posed, ..upgrade };
        let begun = self.change(upgrade.user, None, |known| upgrade.apply(known, token)).await;
        let session = MaildropSession::written(upgrade.user, token, begun);
        MaildropSession { store_epoch: epoch, ..session }
    }

    /// See [`Mode::commit`](super::mode::Mode::commit). Returns whether the session was the latest;
    /// None if the store could not be reached.
    pub async fn commit(
        self: &Arc<Self>,
        session: &MaildropSession,
        result: &SessionResult,
        deleted: bool,
        fresh: u64,
    ) -> Option<bool> {
        let last = session.written.as_deref().map(Some);
        let is_same_store = session.store_epoch == self.epoch.get();
        let result = if is_same_store { result } else { &Err(NoSnapshot::NoneYet) };
        let commit =
            |known: &mut User| known.commit((session.token, session.heard), fresh, result.clone(), deleted);
        let (is_latest, _) = self.change(session.user, last, commit).await?;
        Some(is_latest)
    }

    /// See [`Mode::reject`](super::mode::Mode::reject). Guesses cost a limited number of writes, and
    /// none for users who are not known.
    pub async fn reject(self: &Arc<Self>, fetched: &Fetched, user: UserKey, tag: Option<&Tag>, limit: u8) {
        let is_known = fetched.stored_user().is_some_and(|known| !known.accepted.is_empty());
        if is_known && (fetched.standing == TagStanding::Known || fetched.rejections < limit) {
            self.change(user, None, |known| known.reject(tag)).await;
        }
    }

    /// See [`Mode::hear`](super::mode::Mode::hear).
    pub async fn hear(&self, user: UserKey, signal: Signal) -> Result<bool, Unavailable> {
        if self.is_stale(user) {
            // Without a record the user's next login passes, at all proxies.
            self.delete_stale(user).await?;
            return Ok(true);
        }
        for _ in 0..MAX_ATTEMPTS {
            let Some(before) = self.namespace.get(&record_key(user)).await? else { return Ok(false) };
            let Some(mut record) = self.seal.open(user, &before, self.epoch.get()) else {
                return Ok(false);
            };
            record.hear(signal);
            if self.replace(user, Some(&before), record).await?.is_some() {
                return Ok(true);
            }
        }
        Err(busy())
    }

    /// See [`Mode::learn`](super::mode::Mode::learn).
    pub async fn learn(&self, mailbox: UserKey, user: UserKey) -> Learned {
        // In another epoch the store may have lost the name.
        let epoch = self.epoch.get();
        let written = self.names.lock().get(&(mailbox, user)).copied();
        if written.is_some_and(|(written_in, at)| written_in == epoch && at.elapsed() < NAME_RENEWAL) {
            return Learned::Known;
        }
        let learned = self.write_name(mailbox, user).await.unwrap_or(Learned::Unavailable);
        if matches!(learned, Learned::Known | Learned::New) {
            let mut names = self.names.lock();
            if names.len() >= MAX_NAMES {
                names.clear();
            }
            names.insert((mailbox, user), (epoch, Instant::now()));
        }
        learned
    }

    async fn write_name(&self, mailbox: UserKey, user: UserKey) -> Result<Learned, Unavailable> {
        let (key, lifetime) = (mailbox_key(mailbox), Some(self.credential_ttl.max(2 * NAME_RENEWAL)));
        for _ in 0..MAX_ATTEMPTS {
            let before = self.namespace.get(&key).await?;
            let mut users = before.as_deref().map_or_else(MailboxUsers::default, mailbox_users);
            let learned = if users.contains(&user) { Learned::Known } else { Learned::New };
            if learned == Learned::New && users.try_push(user).is_err() {
                return Ok(Learned::Full);
            }
            let after: Vec<u8> = users.iter().flat_map(|user| user.0).collect();
            let written = match &before {
                None => self.namespace.add(&key, &after, lifetime).await?,
                Some(before) => self.namespace.compare_and_set(&key, before, &after, lifetime).await?,
            };
            match written {
                Ok(true) => return Ok(learned),
                Ok(false) => {}
                Err(_) => return Ok(Learned::Full),
            }
        }
        Err(busy())
    }

    /// See [`Mode::note_gap`](super::mode::Mode::note_gap).
    pub async fn note_gap(&self, pool: UserKey, now_ms: u64) -> Result<(), Unavailable> {
        let lifetime = Some(self.credential_ttl);
        let written = self.namespace.set(&gap_key(pool), &now_ms.to_be_bytes(), lifetime).await?;
        written.map_err(|refused| Unavailable(refused.to_string()))
    }

    /// See [`Mode::last_gap`](super::mode::Mode::last_gap).
    pub async fn last_gap(&self, pool: UserKey) -> Option<u64> {
        let bytes = self.namespace.get(&gap_key(pool)).await.ok()??;
        bytes.try_into().ok().map(u64::from_be_bytes)
    }

    /// See [`Mode::users_of`](super::mode::Mode::users_of).
    pub async fn users_of(&self, mailbox: UserKey) -> Result<MailboxUsers, Unavailable> {
        let users = self.namespace.get(&mailbox_key(mailbox)).await?;
        Ok(users.as_deref().map_or_else(MailboxUsers::default, mailbox_users))
    }

    /// See [`Mode::forget_snapshot`](super::mode::Mode::forget_snapshot).
    pub async fn forget_snapshot(self: &Arc<Self>, user: UserKey, fresh: u64) {
        self.change(user, None, |known| known.forget_snapshot(fresh)).await;
    }

    /// See [`Mode::forget`](super::mode::Mode::forget).
    pub async fn forget(&self, user: UserKey) -> Result<bool, Unavailable> {
        self.namespace.delete(&record_key(user)).await
    }

    /// See [`Mode::stale_users`](super::mode::Mode::stale_users).
    pub fn stale_users(&self) -> usize {
        self.stale.count()
    }

    /// Fetches a user's record. None if the store cannot be reached, or if the record is stale.
    async fn fetch(&self, user: UserKey) -> Option<FetchedRecord> {
        if self.is_stale(user) {
            return None;
        }
        let sealed = self.namespace.get(&record_key(user)).await.ok()?;
        let opened = sealed.as_ref().and_then(|sealed| self.seal.open(user, sealed, self.epoch.get()));
        Some(FetchedRecord { user: opened.map(Box::new), sealed })
    }

    /// Adds a record, and returns the one that is there then. None if the store cannot be reached
    /// or is full.
    async fn add_reservation(&self, user: UserKey, token: u64) -> Option<FetchedRecord> {
        if self.is_stale(user) {
            return None;
        }
        // Signals that come from now on change it again.
        let record = User { latest: token, heard: token, ..User::default() };
        let sealed = self.seal.close(user, &record, self.epoch.get())?;
        match self.namespace.add(&record_key(user), &sealed, Some(RESERVATION_TTL)).await {
            Ok(Ok(true)) => Some(FetchedRecord { user: Some(Box::new(record)), sealed: Some(sealed) }),
            // Another session was faster.
            Ok(Ok(false)) => self.fetch(user).await,
            _ => None,
        }
    }

    /// Changes a user. Returns the result of `change`, and the record as it is stored now. None if
    /// the store cannot be reached or is full: then the record is stale, and will be deleted.
    async fn change<T>(
        self: &Arc<Self>,
        user: UserKey,
        last: LastFetched<'_>,
        change: impl Fn(&mut User) -> T,
    ) -> Option<(T, Box<[u8]>)> {
        match self.try_change(user, last, change).await {
            Ok(changed) => Some(changed),
            Err(_) => {
                self.mark_stale(user);
                None
            }
        }
    }

    async fn try_change<T>(
        &self,
        user: UserKey,
        mut last: LastFetched<'_>,
        change: impl Fn(&mut User) -> T,
    ) -> Result<(T, Box<[u8]>), Unavailable> {
        if self.is_stale(user) {
            self.delete_stale(user).await?;
            last = None;
        }
        for _ in 0..MAX_ATTEMPTS {
            let before = match last.take() {
                Some(last) => last.map(<[u8]>::to_vec),
                None => self.namespace.get(&record_key(user)).await?,
            };
            let opened = before.as_ref().and_then(|sealed| self.seal.open(user, sealed, self.epoch.get()));
            let mut record = opened.unwrap_or_default();
            let result = change(&mut record);
            if !self.keeps_snapshots {
                record.snapshot = None;
            }
            if let Some(stored) = self.replace(user, before.as_deref(), record).await? {
                return Ok((result, stored));
            }
        }
        Err(busy())
    }

    /// Writes a record if the store still has `before`, and returns it as it is stored. If the store
    /// refuses it, writes it without its snapshot. None if the store has another record by now.
    async fn replace(
        &self,
        user: UserKey,
        before: Option<&[u8]>,
        mut record: User,
    ) -> Result<Option<Box<[u8]>>, Unavailable> {
        let key = record_key(user);
        loop {
            let sealed = self.seal.close(user, &record, self.epoch.get());
            let sealed = sealed.ok_or_else(|| Unavailable("no randomness".to_owned()))?;
            let written = match before {
                None => self.namespace.add(&key, &sealed, Some(self.credential_ttl)).await?,
                Some(before) => {
                    self.namespace.compare_and_set(&key, before, &sealed, Some(self.credential_ttl)).await?
                }
            };
            let refused = match written {
                Ok(true) => return Ok(Some(sealed.into_boxed_slice())),
                Ok(false) => return Ok(None),
                Err(refused) => refused,
            };
            self.log_full(refused);
            if record.snapshot.take().is_none() {
                return Err(Unavailable(refused.to_string()));
            }
            // Without the snapshot it is short, and still says which secrets are known.
            record.no_snapshot = match refused {
                Refused::Quota => NoSnapshot::NoRoom,
                Refused::TooLong | Refused::NotANumber => NoSnapshot::TooLarge,
            };
        }
    }

    /// Logs now and then that the store is full.
    fn log_full(&self, refused: Refused) {
        let mut logged = self.full_logged.lock();
        if refused == Refused::Quota && logged.is_none_or(|logged| logged.elapsed() >= LOG_INTERVAL) {
            *logged = Some(Instant::now());
            tracing::warn!(
                "user records in the store have reached `maildrop.memory`: logins of new users pass until older records expire, or raise it"
            );
        }
    }

    /// Marks a user's record as out of date: this proxy ignores it, and deletes it as soon as the
    /// store can be reached.
    fn mark_stale(self: &Arc<Self>, user: UserKey) {
        #[cfg(test)]
        if planted(Fault::StaleRecordTrusted) {
            return;
        }
        self.stale.mark(user);
        if self.is_deleting.swap(true, Ordering::AcqRel) {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            self.is_deleting.store(false, Ordering::Release);
            return;
        };
        runtime.spawn(self.clone().delete_all_stale());
    }

    /// The task that deletes stale records until there are none.
    async fn delete_all_stale(self: Arc<Self>) {
        loop {
            if self.stale.is_empty() {
                self.is_deleting.store(false, Ordering::Release);
                // A record may have become stale just before; then its session may have relied on
                // this task.
                if self.stale.is_empty() || self.is_deleting.swap(true, Ordering::AcqRel) {
                    return;
                }
            }
            if self.stale.are_all() {
                let failures = self.stale.failures();
                match self.namespace.clear().await {
                    Ok(()) => self.stale.all_deleted(failures),
                    Err(_) => crate::time::sleep(RETRY_PAUSE).await,
                }
                continue;
            }
            for user in self.stale.some(DELETION_BATCH) {
                if self.delete_stale(user).await.is_err() {
                    crate::time::sleep(RETRY_PAUSE).await;
                    break;
                }
            }
        }
    }

    /// Deletes a stale record.
    async fn delete_stale(&self, user: UserKey) -> Result<(), Unavailable> {
        let failures = self.stale.failures();
        self.forget(user).await?;
        self.stale.deleted(user, failures);
        Ok(())
    }

    fn is_stale(&self, user: UserKey) -> bool {
        self.stale.contains(user)
    }
}

/// The key of the entry with a mailbox's users: longer than that of a user's record.
fn mailbox_key(mailbox: UserKey) -> String {
    format!("mailbox:{}", record_key(mailbox))
}

/// The key of the entry with the time until which signals of a pool may have been missed.
fn gap_key(pool: UserKey) -> String {
    format!("gap:{}", record_key(pool))
}

fn mailbox_users(bytes: &[u8]) -> MailboxUsers {
    let keys = bytes.chunks_exact(size_of::<Hash>()).filter_map(|key| Hash::try_from(key).ok());
    keys.map(UserKey).take(MAX_USERS).collect()
}

fn busy() -> Unavailable {
    Unavailable("others keep changing the same user".to_owned())
}

/// The key of a user's record: their keyed hash in hexadecimal digits.
pub(super) fn record_key(user: UserKey) -> String {
    let mut bytes = [0; 16];
    bytes[..user.0.len()].copy_from_slice(&user.0);
    format!("{:024x}", u128::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests;
