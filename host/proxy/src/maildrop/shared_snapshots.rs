//! `share = "tags+snapshots"`: users and their snapshots are in a store that proxies share, and only
//! the open sessions are counted in this process.

use std::sync::Arc;

use super::maildrop_session::{MaildropSession, SessionResult};
use super::mode::{Fetched, MaybeReady, Mode, Opening, PendingWrite, Upgrade};
use super::names::{Learned, MailboxUsers};
use super::no_snapshot::NoSnapshot;
use super::records::Records;
use super::tag::{Tag, UserKey};
use super::user::{LastSeen, Signal, User};
use super::users::Users;
use reprieve_store::Unavailable;

#[derive(Debug)]
pub(super) struct SharedSnapshots {
    records: Arc<Records>,
    users: Arc<Users>,
}

impl SharedSnapshots {
    pub fn new(records: Arc<Records>, users: Arc<Users>) -> Self {
        Self { records, users }
    }
}

impl Mode for SharedSnapshots {
    fn look<'a>(&'a self, user: UserKey, tag: Option<&'a Tag>, oldest_s: u64) -> MaybeReady<'a, Fetched> {
        MaybeReady::Pending(Box::pin(async move {
            let mut fetched = self.records.look(user, tag, oldest_s).await;
            fetched.facts.open_sessions = self.users.open_sessions(user);
            fetched
        }))
    }

    fn reserve<'a>(&'a self, fetched: &'a mut Fetched, user: UserKey, token: u64) -> MaybeReady<'a, ()> {
        MaybeReady::Pending(Box::pin(self.records.reserve(fetched, user, token)))
    }

    fn last_seen(&self, fetched: &Fetched, _: UserKey) -> Result<LastSeen, NoSnapshot> {
        fetched.stored_user().ok_or(NoSnapshot::NoneYet)?.last_seen()
    }

    fn with_user(&self, fetched: &Fetched, _: UserKey, look: &mut dyn FnMut(&User)) {
        fetched.stored_user().map(look);
    }

    fn begin(&self, opening: Opening, token: u64) -> MaybeReady<'static, MaildropSession> {
        let records = self.records.clone();
        MaybeReady::Pending(Box::pin(async move { records.begin(&opening, token).await }))
    }

    fn begin_upgraded(&self, upgrade: Upgrade, token: u64) -> MaybeReady<'_, MaildropSession> {
        MaybeReady::Pending(Box::pin(self.records.begin_upgraded(upgrade, token)))
    }

    fn commit(
        &self,
        session: MaildropSession,
        result: SessionResult,
        deleted: bool,
        fresh: u64,
    ) -> Option<PendingWrite> {
        if session.token == 0 && !deleted {
            return None;
        }
        let records = self.records.clone();
        Some(Box::pin(async move {
            records.commit(&session, &result, deleted, fresh).await;
        }))
    }

    fn hear(&self, user: UserKey, signal: Signal) -> MaybeReady<'_, Result<bool, Unavailable>> {
        MaybeReady::Pending(Box::pin(self.records.hear(user, signal)))
    }

    fn note_gap(&self, pool: UserKey, now_ms: u64) -> MaybeReady<'_, Result<(), Unavailable>> {
        MaybeReady::Pending(Box::pin(self.records.note_gap(pool, now_ms)))
    }

    fn last_gap(&self, pool: UserKey) -> MaybeReady<'_, Option<u64>> {
        MaybeReady::Pending(Box::pin(self.records.last_gap(pool)))
    }

    fn stale_users(&self) -> usize {
        self.records.stale_users()
    }

    fn learn(&self, mailbox: UserKey, user: UserKey) -> MaybeReady<'_, Learned> {
        MaybeReady::Pending(Box::pin(self.records.learn(mailbox, user)))
    }

    fn users_of(&self, mailbox: UserKey) -> MaybeReady<'_, Result<MailboxUsers, Unavailable>> {
        MaybeReady::Pending(Box::pin(self.records.users_of(mailbox)))
    }

    // A poll must not cost a write in the store.
    fn pose(&self, _: UserKey, _: u32) {}

    fn reject<'a>(
        &'a self,
        fetched: &'a Fetched,
        user: UserKey,
        tag: Option<&'a Tag>,
        limit: u8,
    ) -> MaybeReady<'a, ()> {
        MaybeReady::Pending(Box::pin(self.records.reject(fetched, user, tag, limit)))
    }

    fn forget_snapshot(&self, user: UserKey, fresh: u64) -> MaybeReady<'_, ()> {
        MaybeReady::Pending(Box::pin(self.records.forget_snapshot(user, fresh)))
    }

    fn forget(&self, user: UserKey) -> MaybeReady<'_, Result<bool, Unavailable>> {
        MaybeReady::Pending(Box::pin(self.records.forget(user)))
    }
}
