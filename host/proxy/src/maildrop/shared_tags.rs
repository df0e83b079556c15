//! `share = "tags"`: accepted secrets, and the token of the session that saw a maildrop last, are in
//! a store that proxies share. Snapshots stay in this process. A snapshot counts only if the
//! store has the same token: then no session at another proxy has seen the maildrop since.

use std::sync::Arc;

use super::maildrop_session::{MaildropSession, PreviousSnapshot, SessionResult};
use super::mode::{Fetched, MaybeReady, Mode, Opening, PendingWrite, SnapshotFacts, Upgrade};
use super::names::{Learned, MailboxUsers};
use super::no_snapshot::NoSnapshot;
use super::records::Records;
use super::tag::{Tag, UserKey};
use super::user::{DatedSnapshot, LastSeen, Signal, User};
use super::users::Users;
#[cfg(test)]
use crate::simulation::{Fault, planted};
use reprieve_store::Unavailable;

#[derive(Debug)]
pub(super) struct SharedTags {
    records: Arc<Records>,
    /// Users with their snapshots.
    users: Arc<Users>,
}

impl SharedTags {
    pub fn new(records: Arc<Records>, users: Arc<Users>) -> Self {
        Self { records, users }
    }
}

/// Notes for the snapshot that a session leaves here which signals it has heard, and the store's epoch, in
/// which a later session cannot have been lost. [`User::heard_s`] has no other use here: signals are
/// noted in the store.
fn note_epoch(here: &mut User, session: &MaildropSession) {
    here.heard = session.heard.unwrap_or(0);
    here.heard_s = short(session.store_epoch);
}

/// Whether a snapshot here was left in this epoch of the store.
fn is_of(here: &User, epoch: u64) -> bool {
    #[cfg(test)]
    if planted(Fault::RollbackUnnoticed) {
        return true;
    }
    here.heard_s == short(epoch)
}

/// Notes when a login was first posed since the snapshot, which only this process knows. If that was before
/// the last signal, which only the store knows, it has not delayed what was signalled.
fn note_posed(session: &mut MaildropSession, posed_s: u32) {
    session.wait.posed_s = if posed_s < session.wait.heard_s { 0 } else { posed_s };
}

fn short(epoch: u64) -> u32 {
    u32::try_from((epoch >> 32) ^ (epoch & u64::from(u32::MAX))).unwrap_or_default()
}

impl Mode for SharedTags {
    fn look<'a>(&'a self, user: UserKey, tag: Option<&'a Tag>, oldest_s: u64) -> MaybeReady<'a, Fetched> {
        MaybeReady::Pending(Box::pin(async move {
            let mut fetched = self.records.look(user, tag, oldest_s).await;
            let latest = fetched.latest;
            let (heard, epoch) = (fetched.heard, fetched.store_epoch);
            // Only the store has the route.
            let is_elsewhere = fetched.stored_user().is_some_and(User::is_elsewhere);
            let facts = |here: &User| {
                let is_valid = latest == Some(here.latest) && is_of(here, epoch);
                let facts = SnapshotFacts::of(here).filter(|_| is_valid)?;
                let has_new_mail = facts.has_new_mail || heard != Some(here.heard);
                Some(SnapshotFacts { has_new_mail, is_elsewhere, ..facts })
            };
            let look = self.users.look(user, facts);
            fetched.facts.snapshot = look.found.flatten();
            fetched.facts.open_sessions = look.open_sessions;
            fetched
        }))
    }

    fn reserve<'a>(&'a self, fetched: &'a mut Fetched, user: UserKey, token: u64) -> MaybeReady<'a, ()> {
        MaybeReady::Pending(Box::pin(self.records.reserve(fetched, user, token)))
    }

    fn last_seen(&self, fetched: &Fetched, user: UserKey) -> Result<LastSeen, NoSnapshot> {
        let stored = fetched.stored_user().ok_or(NoSnapshot::NoneYet)?;
        let if_latest = |here: &User| {
            let is_valid = here.latest == stored.latest && is_of(here, fetched.store_epoch);
            is_valid.then(|| here.last_seen())
        };
        let up_to_date = |last_seen: LastSeen| LastSeen {
            heard: last_seen.heard.filter(|&heard| heard == stored.heard),
            // Only the store has it.
            route: stored.route.clone(),
            ..last_seen
        };
        match self.users.look(user, if_latest).found.flatten() {
            Some(last_seen) => last_seen.map(up_to_date),
            None if stored.latest == 0 => Err(NoSnapshot::NoneYet),
            None => Err(NoSnapshot::Elsewhere),
        }
    }

    fn with_user(&self, fetched: &Fetched, _: UserKey, look: &mut dyn FnMut(&User)) {
        fetched.stored_user().map(look);
    }

    fn begin(&self, opening: Opening, token: u64) -> MaybeReady<'static, MaildropSession> {
        let (records, users) = (self.records.clone(), self.users.clone());
        MaybeReady::Pending(Box::pin(async move {
            let mut session = records.begin(&opening, token).await;
            let is_undisturbed = session.token != 0;
            let Fetched { latest, heard, .. } = opening.fetched;
            let (previous, posed_s) = users.change(session.user, |here| {
                // Otherwise another proxy has seen the maildrop since.
                let is_latest = latest == Some(here.latest);
                let is_up_to_date = heard == Some(here.heard);
                let begun = here.begin(token, is_undisturbed.then_some(here.latest));
                let previous = begun.previous.filter(|_| is_latest).map(|previous| DatedSnapshot {
                    is_up_to_date: previous.is_up_to_date && is_up_to_date,
                    ..previous
                });
                (previous, if is_latest { begun.wait.posed_s } else { 0 })
            });
            session.previous = PreviousSnapshot::of(previous);
            note_posed(&mut session, posed_s);
            session
        }))
    }

    fn begin_upgraded(&self, upgrade: Upgrade, token: u64) -> MaybeReady<'_, MaildropSession> {
        MaybeReady::Pending(Box::pin(async move {
            let mut session = self.records.begin_upgraded(upgrade, token).await;
            if session.token != 0 {
                let begun = self.users.change(session.user, |here| here.begin(token, Some(here.latest)));
                session.previous = PreviousSnapshot::of(begun.previous);
                note_posed(&mut session, begun.wait.posed_s);
            }
            session
        }))
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
        let result = self.users.check_size(result);
        if !deleted {
            self.users.change(session.user, |here| {
                note_epoch(here, &session);
                here.commit((session.token, session.heard), fresh, result, false)
            });
            return None;
        }
        let (records, users) = (self.records.clone(), self.users.clone());
        Some(Box::pin(async move {
            let Some(is_latest) = records.commit(&session, &result, true, fresh).await else { return };
            let token = if is_latest { session.token } else { 0 };
            users.change(session.user, |here| {
                note_epoch(here, &session);
                here.commit((token, session.heard), fresh, result, true)
            });
        }))
    }

    fn reject<'a>(
        &'a self,
        fetched: &'a Fetched,
        user: UserKey,
        tag: Option<&'a Tag>,
        limit: u8,
    ) -> MaybeReady<'a, ()> {
        MaybeReady::Pending(Box::pin(self.records.reject(fetched, user, tag, limit)))
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

    fn pose(&self, user: UserKey, now_s: u32) {
        self.users.update_existing(user, |here| here.pose(now_s));
    }

    fn forget_snapshot(&self, user: UserKey, fresh: u64) -> MaybeReady<'_, ()> {
        self.users.update_existing(user, |here| here.forget_snapshot(fresh));
        MaybeReady::Pending(Box::pin(self.records.forget_snapshot(user, fresh)))
    }

    fn forget(&self, user: UserKey) -> MaybeReady<'_, Result<bool, Unavailable>> {
        let was_here = self.users.forget(user);
        MaybeReady::Pending(Box::pin(async move { Ok(self.records.forget(user).await? | was_here) }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_that_differ_in_one_bit_are_told_apart() {
        for epoch in [0, 1, u64::from(u32::MAX), 1 << 32, u64::MAX, 0x0123_4567_89ab_cdef] {
            let mut here = User::default();
            let mut session = MaildropSession::written(UserKey::numbered(1), 1, None);
            session.store_epoch = epoch;
            note_epoch(&mut here, &session);
            assert!(is_of(&here, epoch), "{epoch:x}");
            assert!((0..64).all(|bit| !is_of(&here, epoch ^ 1 << bit)), "{epoch:x}");
        }
    }
}
