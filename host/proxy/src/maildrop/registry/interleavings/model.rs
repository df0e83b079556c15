//! Takes the steps of logins, deliveries and accidents. Each calls the registry as a session does.

use super::super::*;
use super::Fault;
use super::site::{NOW_MS, Site, ready};
use super::state::{Delivery, Login, Messages, Phase, State, Step};
use reprieve_pop3::snapshot::{Row, Snapshot};

/// What the client of a posed login saw, and should not have.
pub type Violation = String;

pub struct Model {
    pub site: Site,
    pub fault: Option<Fault>,
}

pub fn snapshot_of(messages: Messages) -> Snapshot {
    let ids: Vec<_> = (0..8).filter(|id| messages >> id & 1 == 1).map(|id| [b'0' + id]).collect();
    Snapshot::pack(ids.iter().map(|id| Row { size: 1, unique_id: id })).unwrap()
}

pub fn messages_of(snapshot: &Snapshot) -> Messages {
    snapshot.rows().fold(0, |messages, (_, row)| messages | 1 << (row.unique_id[0] - b'0'))
}

/// Checks what a client is shown, and returns it.
fn check(shown: &LastSeen, owed: Messages, gone: Messages) -> Result<Messages, Violation> {
    let messages = messages_of(&shown.snapshot);
    let (missing, deleted) = (owed & !messages, gone & messages);
    if missing == 0 && deleted == 0 {
        return Ok(messages);
    }
    Err(format!("a client is shown {messages:08b}: {missing:08b} is missing, {deleted:08b} was deleted"))
}

impl Model {
    /// The world after a step. None if the step is not possible.
    pub fn take(&self, before: &State, step: Step) -> Result<Option<State>, Violation> {
        let mut state = before.clone();
        self.site.restore(&before.content);
        for (proxy, fetched) in state.lookups() {
            fetched.generation = self.site.generation(proxy).wrapping_sub(fetched.generation);
        }
        if !self.apply(&mut state, step)? {
            return Ok(None);
        }
        for (proxy, fetched) in state.lookups() {
            fetched.generation = u32::from(fetched.generation != self.site.generation(proxy));
        }
        state.content = self.site.save();
        Ok(Some(state))
    }

    fn apply(&self, state: &mut State, step: Step) -> Result<bool, Violation> {
        match step {
            Step::Look { login, proxy } => self.look(state, login, proxy),
            Step::Pose(login) => return self.pose(state, login),
            Step::Deliver(delivery) => {
                state.visible |= 2 << delivery;
                state.deliveries[delivery] = Delivery::Visible;
            }
            Step::Signal { delivery, proxy } => {
                self.hear(proxy);
                state.known |= 2 << delivery;
                state.deliveries[delivery] = Delivery::Signalled;
            }
            Step::Evict => {
                state.evictions -= 1;
                let forgotten = self.site.proxies[0].mode.forget(self.site.user);
                ready(forgotten.wait()).unwrap();
            }
            Step::EvictHere(proxy) => {
                state.evictions -= 1;
                self.site.proxies[proxy].users.forget(self.site.user);
            }
            Step::Save => {
                state.saves -= 1;
                state.persisted.clone_from(&state.content.sealed);
            }
            Step::RollBack => {
                state.rollbacks -= 1;
                let is_noticed = self.fault != Some(Fault::RollbackUnnoticed);
                self.site.roll_back(state.persisted.as_deref(), is_noticed);
            }
            Step::Abandon(login) | Step::Lose(login) | Step::LoseQuit(login) | Step::FailUpgrade(login) => {
                state.failures -= 1;
                self.advance(state, login, step);
            }
            Step::Reserve(login)
            | Step::Accept(login)
            | Step::Fix(login)
            | Step::Begin(login)
            | Step::End(login)
            | Step::Quit(login)
            | Step::Commit(login)
            | Step::BeginUpgraded(login)
            | Step::NoteUnseen(login) => self.advance(state, login, step),
        }
        Ok(true)
    }

    fn look(&self, state: &mut State, login: usize, proxy: usize) {
        let fetched = self.look_now(proxy);
        let (owed, gone) = (state.known, state.deleted);
        state.logins[login] = Login { proxy, phase: Phase::Looked(fetched), owed, gone };
    }

    pub fn look_now(&self, proxy: usize) -> Fetched {
        ready(self.site.proxies[proxy].look(self.site.user, Some(&self.site.tag), NOW_MS))
    }

    /// As in `session/login.rs`: shows the snapshot, if no signal has come since, and checks it.
    fn pose(&self, state: &mut State, at: usize) -> Result<bool, Violation> {
        let login = &mut state.logins[at];
        let Phase::Looked(fetched) = &login.phase else { return Ok(false) };
        let registry = &self.site.proxies[login.proxy];
        let Ok(shown) = registry.last_seen(fetched, self.site.user) else { return Ok(false) };
        if shown.heard.is_none() {
            return Ok(false);
        }
        let epoch = fetched.store_epoch();
        let messages = check(&shown, login.owed & state.visible, login.gone)?;
        registry.pose(self.site.user, NOW_MS);
        state.known |= messages;
        login.phase = Phase::Posed(shown, epoch);
        Ok(true)
    }

    /// Checks what a login would be shown that is posed now, at each proxy.
    pub fn check_login_now(&self, state: &State) -> Result<(), Violation> {
        self.site.restore(&state.content);
        for (proxy, registry) in self.site.proxies.iter().enumerate() {
            if let Ok(shown) = registry.last_seen(&self.look_now(proxy), self.site.user)
                && shown.heard.is_some()
            {
                check(&shown, state.known & state.visible, state.deleted)?;
            }
        }
        Ok(())
    }

    /// The next step of a session.
    fn advance(&self, state: &mut State, at: usize, step: Step) {
        let Login { proxy, phase, .. } = state.logins[at].clone();
        let registry = &self.site.proxies[proxy];
        state.logins[at].phase = match (phase, step) {
            (Phase::Looked(mut fetched), Step::Reserve(_)) => {
                ready(registry.reserve(&mut fetched, self.site.user));
                Phase::Reserved(fetched)
            }
            (Phase::Looked(fetched) | Phase::Reserved(fetched), Step::Accept(_)) => Phase::Accepted(fetched),
            (Phase::Looked(fetched) | Phase::Reserved(fetched), Step::Fix(_)) => {
                Phase::Fixed(fetched, state.visible)
            }
            (Phase::Looked(fetched) | Phase::Reserved(fetched), _) => {
                if let Some(forgetting) = registry.forget_opened(self.opening(fetched)) {
                    ready(forgetting);
                }
                Phase::Over
            }
            (Phase::Accepted(fetched), _) => Phase::Begun(self.begin(proxy, fetched), None),
            (Phase::Begun(session, None), _) => {
                state.known |= state.visible;
                Phase::Begun(session, Some(state.visible))
            }
            (Phase::Fixed(fetched, listing), _) => {
                let session = self.begin(proxy, fetched);
                state.known |= listing;
                Phase::Begun(session, Some(listing))
            }
            (Phase::Begun(session, Some(listing)), Step::End(_)) => {
                self.commit(proxy, session, LeftMaildrop::without_deletions(snapshot_of(listing), NOW_MS));
                Phase::Over
            }
            (Phase::Begun(session, _), Step::Lose(_)) => {
                self.commit(proxy, session, LeftMaildrop::without_snapshot(NoSnapshot::Incomplete, false));
                Phase::Over
            }
            (Phase::Begun(session, Some(listing)), _) => {
                let oldest = listing & listing.wrapping_neg();
                state.visible &= !oldest;
                Phase::Quitting(session, listing & !oldest, oldest)
            }
            (Phase::Quitting(session, left, deleted), Step::Commit(_)) => {
                let found = snapshot_of(left | deleted).digest();
                let snapshot = Ok(snapshot_of(left));
                let end = LeftMaildrop { snapshot, found, deleted: deleted != 0, now_ms: NOW_MS };
                self.commit(proxy, session, end);
                state.deleted |= deleted;
                Phase::Over
            }
            (Phase::Quitting(session, ..), _) => {
                self.commit(proxy, session, LeftMaildrop::without_snapshot(NoSnapshot::Incomplete, true));
                Phase::Over
            }
            (phase, step) => self.upgrade(state.visible, proxy, phase, step),
        };
    }

    /// As in `session/upgrade.rs`.
    fn upgrade(&self, visible: Messages, proxy: usize, phase: Phase, step: Step) -> Phase {
        let registry = &self.site.proxies[proxy];
        match (phase, step) {
            (Phase::Posed(shown, epoch), Step::Fix(_)) => Phase::UpgradeFixed(shown, epoch, visible),
            (Phase::Posed(..), _) => {
                ready(registry.forget_snapshot(self.site.user));
                Phase::Over
            }
            (Phase::UpgradeFixed(shown, store_epoch, listing), _) => {
                let heard = match self.fault {
                    Some(Fault::HeardAnewAtUpgrade) => self.look_now(proxy).heard,
                    _ => shown.heard,
                };
                let session = ready(registry.begin_upgraded(Upgrade {
                    user: self.site.user,
                    tag: self.site.tag,
                    posed: shown.token,
                    heard,
                    store_epoch,
                    looked_ms: NOW_MS,
                }));
                Phase::UpgradeBegun(session, shown, listing)
            }
            (Phase::UpgradeBegun(session, shown, listing), _) => {
                let shown = messages_of(&shown.snapshot);
                let goes_beyond = |snapshot: Messages| listing & !snapshot != 0;
                let has_unseen = if session.may_leave_snapshot() {
                    goes_beyond(shown)
                } else {
                    let fetched = ready(registry.look(self.site.user, None, NOW_MS));
                    let left = registry.last_seen(&fetched, self.site.user);
                    left.is_ok_and(|left| goes_beyond(messages_of(&left.snapshot)))
                };
                if has_unseen {
                    self.hear(proxy);
                }
                // It leaves what it has shown and the mail server still has.
                Phase::Begun(session, Some(shown & listing))
            }
            (phase, _) => phase,
        }
    }

    fn opening(&self, fetched: Fetched) -> Opening {
        let expects_signals = self.fault != Some(Fault::NewRecordNotInDoubt);
        let (user, tag) = (self.site.user, Some(self.site.tag));
        Opening { user, tag, route: None, accepted_ms: NOW_MS, fetched, expects_signals }
    }

    fn begin(&self, proxy: usize, fetched: Fetched) -> MaildropSession {
        let fetched = match self.fault {
            Some(Fault::HeardAtBegin) => Fetched { heard: self.look_now(proxy).heard, ..fetched },
            Some(Fault::BeginWithoutComparing) => Fetched { heard: fetched.heard, ..self.look_now(proxy) },
            _ => fetched,
        };
        ready(self.site.proxies[proxy].begin(self.opening(fetched)).wait())
    }

    fn commit(&self, proxy: usize, mut session: MaildropSession, end: LeftMaildrop) {
        if self.fault == Some(Fault::CurrentHeardAtCommit) {
            session.heard = self.look_now(proxy).heard;
        }
        let before = self.look_now(proxy).latest;
        let deleted = end.deleted;
        if let Some(committing) = self.site.proxies[proxy].commit(session, end) {
            ready(committing);
        }
        if deleted && self.fault == Some(Fault::DeletionKeepsLatest) {
            let fresh = self.look_now(proxy).latest;
            self.site.tamper(|user| {
                if Some(user.latest) == fresh {
                    user.latest = before.unwrap_or_default();
                }
            });
        }
    }

    pub fn hear(&self, proxy: usize) {
        if self.fault == Some(Fault::SignalClearsSnapshotOnly) {
            return self.site.tamper(|user| user.snapshot = None);
        }
        let before = self.look_now(proxy).latest;
        ready(self.site.proxies[proxy].hear(self.site.user, NOW_MS, NOW_MS)).unwrap();
        if self.fault == Some(Fault::NumberUsedAgain) {
            self.site.tamper(|user| user.latest = before.unwrap_or_default());
        }
    }
}
