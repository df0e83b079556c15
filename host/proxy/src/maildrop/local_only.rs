//! `share = "off"`: users are remembered in this process alone.

use std::sync::Arc;

use super::maildrop_session::{MaildropSession, SessionResult};
use super::mode::{Fetched, MaybeReady, Mode, Opening, PendingWrite, Upgrade};
use super::names::{Learned, MailboxUsers, Names};
use super::no_snapshot::NoSnapshot;
use super::tag::{Tag, UserKey};
use super::user::{FIRST_SIGNAL, LastSeen, Signal, User};
use super::users::Users;
#[cfg(test)]
use crate::simulation::{Fault, planted};
use reprieve_store::Unavailable;

#[derive(Debug)]
pub(super) struct LocalOnly {
    users: Arc<Users>,
    names: Names,
    /// How many signals have numbers of their own: see [`User::count_signal`].
    signals: u64,
}

impl LocalOnly {
    pub fn new(users: Arc<Users>) -> Self {
        // They take one byte of a user.
        Self { users, names: Names::default(), signals: u8::MAX.into() }
    }

    #[cfg(test)]
    pub fn counting_to(users: Arc<Users>, signals: u64) -> Self {
        Self { signals, ..Self::new(users) }
    }
}

impl Mode for LocalOnly {
    fn look<'a>(&'a self, user: UserKey, tag: Option<&'a Tag>, oldest_s: u64) -> MaybeReady<'a, Fetched> {
        let mut fetched = Fetched::unknown();
        let look = self.users.look(user, |known| fetched.fill(known, tag, oldest_s));
        fetched.generation = look.generation;
        fetched.facts.open_sessions = look.open_sessions;
        MaybeReady::Ready(fetched)
    }

    fn reserve<'a>(&'a self, _: &'a mut Fetched, _: UserKey, _: u64) -> MaybeReady<'a, ()> {
        MaybeReady::Ready(())
    }

    fn last_seen(&self, _: &Fetched, user: UserKey) -> Result<LastSeen, NoSnapshot> {
        self.users.look(user, User::last_seen).found.unwrap_or(Err(NoSnapshot::NoneYet))
    }

    fn with_user(&self, _: &Fetched, user: UserKey, look: &mut dyn FnMut(&User)) {
        self.users.look(user, look);
    }

    fn begin(&self, opening: Opening, token: u64) -> MaybeReady<'static, MaildropSession> {
        let Fetched { latest, generation, .. } = opening.fetched;
        let begun = self.users.change_in(opening.user, |known, current_generation| {
            // Since the look-up, an unknown user may have had a session and been evicted again.
            let latest = latest.filter(|&latest| latest != 0 || current_generation == generation);
            opening.apply(known, (token, FIRST_SIGNAL), latest)
        });
        let session = opening.complete(MaildropSession::new(opening.user, token, begun));
        #[cfg(test)]
        if planted(Fault::HeardAtBegin) {
            let heard = self.users.look(opening.user, |known| known.heard).found;
            return MaybeReady::Ready(MaildropSession { heard, ..session });
        }
        MaybeReady::Ready(session)
    }

    fn begin_upgraded(&self, upgrade: Upgrade, token: u64) -> MaybeReady<'_, MaildropSession> {
        let begun = self.users.change(upgrade.user, |known| upgrade.apply(known, token));
        MaybeReady::Ready(MaildropSession::new(upgrade.user, token, begun))
    }

    fn commit(
        &self,
        session: MaildropSession,
        result: SessionResult,
        deleted: bool,
        fresh: u64,
    ) -> Option<PendingWrite> {
        let result = self.users.check_size(result);
        let tokens = (session.token, session.heard);
        self.users.change(session.user, |known| known.commit(tokens, fresh, result, deleted));
        None
    }

    fn reject<'a>(
        &'a self,
        _: &'a Fetched,
        user: UserKey,
        tag: Option<&'a Tag>,
        _: u8,
    ) -> MaybeReady<'a, ()> {
        self.users.update_existing(user, |known| known.reject(tag));
        MaybeReady::Ready(())
    }

    fn hear(&self, user: UserKey, signal: Signal) -> MaybeReady<'_, Result<bool, Unavailable>> {
        let heard = self.users.update_existing(user, |known| known.count_signal(signal, self.signals));
        MaybeReady::Ready(Ok(heard.is_some()))
    }

    fn learn(&self, mailbox: UserKey, user: UserKey) -> MaybeReady<'_, Learned> {
        MaybeReady::Ready(self.names.learn(mailbox, user))
    }

    fn users_of(&self, mailbox: UserKey) -> MaybeReady<'_, Result<MailboxUsers, Unavailable>> {
        MaybeReady::Ready(Ok(self.names.users_of(mailbox)))
    }

    fn pose(&self, user: UserKey, now_s: u32) {
        self.users.update_existing(user, |known| known.pose(now_s));
    }

    fn forget_snapshot(&self, user: UserKey, fresh: u64) -> MaybeReady<'_, ()> {
        self.users.update_existing(user, |known| known.forget_snapshot(fresh));
        MaybeReady::Ready(())
    }

    fn forget(&self, user: UserKey) -> MaybeReady<'_, Result<bool, Unavailable>> {
        MaybeReady::Ready(Ok(self.users.forget(user)))
    }
}
