//! What a relayed session records in the registry of maildrops, and when the client has to wait for it.

use std::task::{Context as TaskContext, Poll, ready};

use super::super::session_record::SessionEnd;
use super::Pump;
use crate::maildrop::{
    LeftMaildrop, MaildropSession, MaybeReady, NoSnapshot, Opening, Pending, PendingWrite,
};
use reprieve_pop3::listing::SnapshotError;
use reprieve_pop3::snapshot::Snapshot;

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
                let left = LeftMaildrop { snapshot, found, deleted, now_ms: self.context.clock.now_ms() };
                self.context.registry.commit(*session, left)
            }
            MaildropAccess::Opening(_) | MaildropAccess::Over => None,
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
