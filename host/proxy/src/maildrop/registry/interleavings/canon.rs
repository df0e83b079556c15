//! A fingerprint of a state. Two states have the same one if everything that follows is the same:
//! tokens and epochs are only compared, so each counts as the number of its first occurrence. The numbers
//! of signals are counted on, so they count as what they are.

use std::hash::{DefaultHasher, Hasher as _};

use super::super::super::maildrop_session::MaildropSession;
use super::super::super::mode::Fetched;
use super::super::super::user::{LastSeen, User};
use super::model::messages_of;
use super::site::SIGNALS;
use super::state::{Login, Messages, Phase, State};

#[derive(Default)]
struct Fingerprint<'a> {
    words: Vec<u64>,
    tokens: Vec<u64>,
    epochs: Vec<u64>,
    sealed: Vec<Option<&'a [u8]>>,
}

/// The number of an item's first occurrence.
fn number<T: PartialEq>(known: &mut Vec<T>, item: T) -> u64 {
    let at = known.iter().position(|known| *known == item).unwrap_or_else(|| {
        known.push(item);
        known.len() - 1
    });
    at as u64
}

/// 128 bits: with a few million states, a collision is out of the question.
pub fn fingerprint(state: &State) -> (u64, u64) {
    let mut print = Fingerprint { tokens: vec![0], ..Fingerprint::default() };
    print.epoch(state.content.epoch);
    print.sealed(state.content.sealed.as_deref());
    print.sealed(state.persisted.as_deref());
    print.user(state.content.stored.as_ref());
    for here in &state.content.here {
        print.user(here.as_ref());
        print.epoch(here.as_ref().map_or(0, |here| u64::from(here.heard_s) << 32));
    }
    for login in &state.logins {
        print.login(login, state.visible);
    }
    let deliveries = state.deliveries.iter().map(|&delivery| delivery as u64);
    print.words.extend(deliveries);
    print.words.extend([state.evictions, state.failures, state.saves, state.rollbacks].map(u64::from));
    print.words.extend([state.visible, state.known & state.visible, state.deleted].map(u64::from));
    let hash = |seed: u64| {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(seed);
        print.words.iter().for_each(|&word| hasher.write_u64(word));
        hasher.finish()
    };
    (hash(1), hash(2))
}

impl<'a> Fingerprint<'a> {
    fn token(&mut self, token: u64) {
        let number = number(&mut self.tokens, token);
        self.words.push(number);
    }

    fn maybe_token(&mut self, token: Option<u64>) {
        self.words.push(token.is_some().into());
        self.token(token.unwrap_or_default());
    }

    fn heard(&mut self, heard: Option<u64>) {
        self.words.push(heard.unwrap_or_default().min(SIGNALS + 1));
        self.maybe_token(heard);
    }

    fn epoch(&mut self, epoch: u64) {
        let number = number(&mut self.epochs, epoch);
        self.words.push(number);
    }

    fn sealed(&mut self, sealed: Option<&'a [u8]>) {
        let number = number(&mut self.sealed, sealed);
        self.words.push(number);
    }

    fn user(&mut self, user: Option<&User>) {
        let Some(user) = user else { return self.words.push(0) };
        let snapshot = user.snapshot.as_ref();
        let messages = snapshot.map_or(0, |dated| 1 + u64::from(messages_of(&dated.snapshot)));
        let is_up_to_date = snapshot.is_some_and(|dated| dated.is_up_to_date);
        self.words.extend([1, messages, is_up_to_date.into()]);
        self.token(user.latest);
        self.heard(Some(user.heard));
    }

    fn fetched(&mut self, fetched: &'a Fetched) {
        self.maybe_token(fetched.latest);
        self.heard(fetched.heard);
        self.epoch(fetched.store_epoch);
        self.words.push(fetched.generation.into());
        self.sealed(fetched.record.as_ref().and_then(|record| record.sealed.as_deref()));
    }

    fn session(&mut self, session: &'a MaildropSession) {
        self.token(session.token);
        self.heard(session.heard);
        self.epoch(session.store_epoch);
        self.sealed(session.written.as_deref());
    }

    fn shown(&mut self, shown: &LastSeen, epoch: u64) {
        self.token(shown.token);
        self.heard(shown.heard);
        self.words.push(messages_of(&shown.snapshot).into());
        self.epoch(epoch);
    }

    fn login(&mut self, login: &'a Login, visible: Messages) {
        self.words.push(login.proxy as u64);
        match &login.phase {
            Phase::NotStarted => self.words.push(0),
            Phase::Looked(fetched) => {
                self.words.extend([1, u64::from(login.owed & visible), login.gone.into()]);
                self.fetched(fetched);
                self.user(fetched.stored_user());
            }
            Phase::Reserved(fetched) | Phase::Accepted(fetched) => {
                self.words.push(if matches!(login.phase, Phase::Reserved(_)) { 2 } else { 7 });
                self.fetched(fetched);
            }
            Phase::Fixed(fetched, listing) => {
                self.words.extend([3, (*listing).into()]);
                self.fetched(fetched);
            }
            Phase::Begun(session, listing) => {
                self.words.extend([4, listing.map_or(0, |listing| 1 + u64::from(listing))]);
                self.session(session);
            }
            Phase::Quitting(session, left, deleted) => {
                self.words.extend([5, (*left).into(), (*deleted).into()]);
                self.session(session);
            }
            Phase::Posed(shown, epoch) => {
                self.words.push(6);
                self.shown(shown, *epoch);
            }
            Phase::UpgradeFixed(shown, epoch, listing) => {
                self.words.extend([8, (*listing).into()]);
                self.shown(shown, *epoch);
            }
            Phase::UpgradeBegun(session, shown, listing) => {
                self.words.extend([9, (*listing).into()]);
                self.session(session);
                self.shown(shown, 0);
            }
            Phase::Over => self.words.push(10),
        }
    }
}
