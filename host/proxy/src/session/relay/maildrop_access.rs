//! What a relayed session records in the registry of maildrops, and when the client has to wait for it.

use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, ready};
use std::time::Duration;

use super::super::session_record::SessionEnd;
use super::Pump;
use crate::maildrop::{
    LeftMaildrop, MaildropSession, MaybeReady, NoSnapshot, OpenSession, Opening, Pending, PendingWrite,
    Registry, UserKey, Wait,
};
use crate::new_mail::{Missed, PoolSignals};
#[cfg(test)]
use crate::simulation::{Fault, planted};
use reprieve_pop3::listing::SnapshotError;
#[cfg(doc)]
use reprieve_pop3::relay::Relay;
use reprieve_pop3::snapshot::Snapshot;
use reprieve_store::clock::Clock;

/// The session's state in the registry of maildrops.
pub(in super::super) enum MaildropAccess {
    /// The client has not seen the maildrop yet.
    Opening(Box<Opening>),
    /// The client has seen the maildrop, or is about to.
    Begun(Box<MaildropSession>),
    /// Nothing is left to commit.
    Over,
}

/// A write to the registry that both sides have to wait for.
pub(super) enum Waiting {
    Nothing,
    /// The old snapshot is being invalidated; then the client may see the maildrop.
    Beginning(Pending<MaildropSession>),
    /// The new snapshot is being committed; then the client may see the reply to QUIT.
    Committing(PendingWrite),
}

/// How long after a session that found a new message its signal may come: a message is visible before
/// it is signalled, and logs are read with a lag.
const SIGNAL_LAG: Duration = Duration::from_secs(10);

/// What a relayed session keeps open.
pub(in super::super) struct Opened {
    pub(in super::super) _session: OpenSession,
    /// Of the pool that it went to.
    pub(in super::super) signals: Arc<PoolSignals>,
}

/// A session has found a message before its signal. If the signal does not come, signals are missing.
/// `heard`: the last signal before the session.
async fn expect_signal(
    signals: Arc<PoolSignals>,
    registry: Arc<Registry>,
    (user, heard): (UserKey, Option<u64>),
    clock: Arc<dyn Clock>,
) {
    crate::time::sleep(SIGNAL_LAG).await;
    let now_ms = clock.now_ms();
    if registry.look(user, None, now_ms).await.heard() == heard {
        signals.missed(Missed::Unsignalled, now_ms);
    }
}

impl Pump<'_> {
    pub(super) fn poll_waiting(&mut self, task: &mut TaskContext<'_>) -> Poll<()> {
        match &mut self.waiting {
            Waiting::Nothing => {}
            Waiting::Committing(committing) => {
                ready!(committing.as_mut().poll(task));
                self.waiting = Waiting::Nothing;
            }
            Waiting::Beginning(beginning) => {
                self.access = MaildropAccess::Begun(Box::new(ready!(beginning.as_mut().poll(task))));
                self.waiting = Waiting::Nothing;
                let unread = std::mem::take(&mut self.unread);
                self.take_replies(&unread);
            }
        }
        Poll::Ready(())
    }

    pub(super) fn is_waiting(&self) -> bool {
        !matches!(self.waiting, Waiting::Nothing)
    }

    /// Records that the first reply that depends on the maildrop has arrived. The client sees it once
    /// the old snapshot is invalid everywhere.
    pub(super) fn begin(&mut self) {
        let MaildropAccess::Opening(opening) = std::mem::replace(&mut self.access, MaildropAccess::Over)
        else {
            return;
        };
        match self.context.registry.begin(*opening) {
            MaybeReady::Ready(session) => self.access = MaildropAccess::Begun(Box::new(session)),
            MaybeReady::Pending(beginning) => self.waiting = Waiting::Beginning(beginning),
        }
    }

    /// Commits the snapshot, and counts the session as over, after the mail server has answered QUIT and
    /// before the client sees the answer, because the client's next session can follow at once.
    pub(super) fn quit(&mut self, snapshot: Result<Snapshot, SnapshotError>, has_deletions: bool) {
        if let Some(committing) = self.commit(snapshot.map_err(NoSnapshot::from), has_deletions) {
            self.waiting = Waiting::Committing(committing);
        }
        #[cfg(test)]
        if planted(Fault::QuitBeforeCommit)
            && let Waiting::Committing(committing) = std::mem::replace(&mut self.waiting, Waiting::Nothing)
        {
            tokio::spawn(committing);
        }
        self.open = None;
        self.finished = Some(SessionEnd::Quit);
    }

    pub(super) fn commit(
        &mut self,
        snapshot: Result<Snapshot, NoSnapshot>,
        deleted: bool,
    ) -> Option<PendingWrite> {
        match std::mem::replace(&mut self.access, MaildropAccess::Over) {
            MaildropAccess::Begun(session) => {
                let found = snapshot.as_ref().map_or(0, |snapshot| self.relay.found(snapshot));
                self.count_waits(&session, found);
                let left = LeftMaildrop { snapshot, found, deleted, now_ms: self.context.clock.now_ms() };
                self.context.registry.commit(*session, left)
            }
            MaildropAccess::Opening(_) | MaildropAccess::Over => None,
        }
    }

    /// Counts how long new mail has waited for this session. `found`: see [`Relay::found`].
    fn count_waits(&self, session: &MaildropSession, found: u64) {
        let Some(Opened { signals, .. }) = self.open.as_deref() else { return };
        let Wait { heard_s, posed_s } = session.wait();
        let since = |time_s: u32| if time_s == 0 { 0 } else { session.looked_s().saturating_sub(time_s) };
        if heard_s != 0 {
            signals.waited(since(heard_s), since(posed_s));
            return;
        }
        let found_new = |previous| self.relay.goes_beyond(previous);
        if session.has_found_the_same(found) || !session.previous().is_some_and(found_new) {
            return;
        }
        signals.delayed_unsignalled(since(posed_s));
        #[cfg(test)]
        if planted(Fault::UnsignalledNotNoticed) {
            return;
        }
        if signals.has_source() {
            tokio::spawn(expect_signal(
                signals.clone(),
                self.context.registry.clone(),
                (session.user(), session.heard()),
                self.context.clock.clone(),
            ));
        }
    }

    /// The write to the registry that is left when the session has ended, however it ended.
    pub(super) fn commit_at_last(&mut self) -> Option<PendingWrite> {
        if let Waiting::Committing(committing) = std::mem::replace(&mut self.waiting, Waiting::Nothing) {
            return Some(committing);
        }
        match std::mem::replace(&mut self.access, MaildropAccess::Over) {
            // The policy knows of an accepted login, so the old snapshot must not be shown by the
            // denials that follow.
            MaildropAccess::Opening(opening) => return self.context.registry.forget_opened(*opening),
            begun => self.access = begun,
        }
        // After an unanswered QUIT it is unknown whether the deletions were carried out.
        self.commit(Err(NoSnapshot::Incomplete), self.relay.is_quit_unanswered())
    }
}
