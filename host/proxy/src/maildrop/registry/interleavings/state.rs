//! What there is between two steps, and what can happen next.

use super::super::*;
use super::site::{Content, Site};
use super::{Bounds, Fault};

/// Messages: bit N is the one with the unique-id N.
pub type Messages = u8;

/// How far a login is.
#[derive(Clone)]
pub enum Phase {
    NotStarted,
    Looked(Fetched),
    /// The login passes, and the registry has prepared for it.
    Reserved(Fetched),
    /// The mail server has said +OK, and does not show the maildrop yet.
    Accepted(Fetched),
    /// The mail server has fixed what the session sees.
    Fixed(Fetched, Messages),
    /// The registry has begun the session. The listing is None only if it begins too early.
    Begun(MaildropSession, Option<Messages>),
    /// The mail server has carried out QUIT: what is left, and what was deleted.
    Quitting(MaildropSession, Messages, Messages),
    /// The client is shown the snapshot, of the store in this epoch.
    Posed(LastSeen, u64),
    UpgradeFixed(LastSeen, u64, Messages),
    /// It is not noted yet that the mail server lists more than the client is shown.
    UpgradeBegun(MaildropSession, LastSeen, Messages),
    Over,
}

#[derive(Clone)]
pub struct Login {
    pub proxy: usize,
    pub phase: Phase,
    /// Messages that it must show if it is posed: they were signalled or shown before it looked.
    pub owed: Messages,
    /// Messages that it must not show if it is posed: their deletion was confirmed before it looked.
    pub gone: Messages,
}

/// How far a delivery is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    Expected,
    Visible,
    /// The signal is noted and answered.
    Signalled,
}

/// The whole world between two steps.
#[derive(Clone)]
pub struct State {
    pub content: Content,
    /// What the store has saved, and would have after a restart.
    pub persisted: Option<Vec<u8>>,
    pub logins: Vec<Login>,
    pub deliveries: Vec<Delivery>,
    /// How often each accident may still happen.
    pub evictions: u8,
    pub failures: u8,
    pub saves: u8,
    pub rollbacks: u8,
    /// Messages in the maildrop.
    pub visible: Messages,
    /// Messages that were signalled or shown to a client.
    pub known: Messages,
    /// Messages that a client has deleted: its QUIT was answered with +OK.
    pub deleted: Messages,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Look {
        login: usize,
        proxy: usize,
    },
    Pose(usize),
    /// The login passes, and has no record in the store yet.
    Reserve(usize),
    /// The mail server says +OK.
    Accept(usize),
    /// The mail server fixes what the session sees, at any time after it got the credentials.
    Fix(usize),
    Begin(usize),
    /// The mail server accepted the login, and the connection was lost before the first reply.
    Abandon(usize),
    /// The session ends, and has deleted nothing.
    End(usize),
    /// The mail server closes the connection before the listing is complete.
    Lose(usize),
    /// The mail server carries out QUIT, and deletes the oldest message.
    Quit(usize),
    /// The session's snapshot is committed, and its client gets the +OK to QUIT.
    Commit(usize),
    /// The reply to QUIT is lost.
    LoseQuit(usize),
    BeginUpgraded(usize),
    FailUpgrade(usize),
    NoteUnseen(usize),
    Deliver(usize),
    Signal {
        delivery: usize,
        proxy: usize,
    },
    /// The record is lost where it is authoritative.
    Evict,
    /// What one proxy remembers is lost, of a user in a store.
    EvictHere(usize),
    /// The store saves its content.
    Save,
    RollBack,
}

impl State {
    pub fn new(site: &Site, bounds: Bounds) -> Self {
        let login = Login { proxy: 0, phase: Phase::NotStarted, owed: 0, gone: 0 };
        Self {
            content: site.save(),
            persisted: None,
            logins: vec![login; bounds.logins],
            deliveries: vec![Delivery::Expected; bounds.deliveries],
            evictions: bounds.evictions,
            failures: bounds.failures,
            saves: bounds.rollbacks,
            rollbacks: bounds.rollbacks,
            visible: 1,
            known: 0,
            deleted: 0,
        }
    }

    /// Everything has ended: from now on nothing disturbs the user.
    pub fn is_quiet(&self) -> bool {
        let has_ended = |login: &Login| matches!(login.phase, Phase::Over | Phase::Posed(..));
        self.logins.iter().all(has_ended)
            && self.deliveries.iter().all(|&delivery| delivery == Delivery::Signalled)
    }

    /// What can happen next.
    pub fn steps(&self, share: Share, fault: Option<Fault>) -> Vec<Step> {
        let mut steps = Vec::new();
        let proxies = self.content.here.len();
        for (at, login) in self.logins.iter().enumerate() {
            match &login.phase {
                // Logins that have not started are all the same, and so are the proxies before the first.
                Phase::NotStarted => {
                    let is_next = at == 0 || !matches!(self.logins[at - 1].phase, Phase::NotStarted);
                    let proxies = if at == 0 { 1 } else { proxies };
                    steps.extend(
                        (0..proxies).filter(|_| is_next).map(|proxy| Step::Look { login: at, proxy }),
                    );
                }
                Phase::Looked(fetched) => {
                    steps.push(Step::Pose(at));
                    if share != Share::Off && fetched.latest == Some(0) {
                        steps.push(Step::Reserve(at));
                    } else {
                        self.passing(at, fault, &mut steps);
                    }
                }
                Phase::Reserved(_) => self.passing(at, fault, &mut steps),
                Phase::Accepted(_) => steps.push(Step::Begin(at)),
                Phase::Fixed(..) => steps.push(Step::Begin(at)),
                Phase::Begun(_, None) => steps.push(Step::Fix(at)),
                Phase::Begun(_, Some(_)) => {
                    steps.extend([Step::End(at), Step::Quit(at)]);
                    self.failing(Step::Lose(at), &mut steps);
                }
                Phase::Quitting(..) => {
                    steps.push(Step::Commit(at));
                    self.failing(Step::LoseQuit(at), &mut steps);
                }
                Phase::Posed(shown, _) if shown.snapshot.count() > 0 => {
                    steps.push(Step::Fix(at));
                    self.failing(Step::FailUpgrade(at), &mut steps);
                }
                Phase::UpgradeFixed(..) => steps.push(Step::BeginUpgraded(at)),
                Phase::UpgradeBegun(..) => steps.push(Step::NoteUnseen(at)),
                Phase::Posed(..) | Phase::Over => {}
            }
        }
        for (at, delivery) in self.deliveries.iter().enumerate() {
            match delivery {
                Delivery::Expected if at == 0 || self.deliveries[at - 1] != Delivery::Expected => {
                    steps.push(Step::Deliver(at));
                }
                Delivery::Visible => {
                    steps.extend((0..proxies).map(|proxy| Step::Signal { delivery: at, proxy }));
                }
                Delivery::Expected | Delivery::Signalled => {}
            }
        }
        self.accidents(share, &mut steps);
        steps
    }

    fn passing(&self, at: usize, fault: Option<Fault>, steps: &mut Vec<Step>) {
        steps.push(Step::Fix(at));
        if fault == Some(Fault::BeginAtOk) {
            steps.push(Step::Accept(at));
        }
        self.failing(Step::Abandon(at), steps);
    }

    fn failing(&self, step: Step, steps: &mut Vec<Step>) {
        if self.failures > 0 {
            steps.push(step);
        }
    }

    fn accidents(&self, share: Share, steps: &mut Vec<Step>) {
        if self.evictions > 0 {
            if share == Share::Off || self.content.sealed.is_some() {
                steps.push(Step::Evict);
            }
            if share == Share::Tags {
                let is_here = |&proxy: &usize| self.content.here[proxy].is_some();
                steps.extend((0..self.content.here.len()).filter(is_here).map(Step::EvictHere));
            }
        }
        if self.saves > 0 {
            steps.push(Step::Save);
        }
        if self.rollbacks > 0 {
            steps.push(Step::RollBack);
        }
    }

    /// The look-ups that sessions still need. How many users were forgotten since is kept as 0 or 1,
    /// for none and some: it is only compared.
    pub fn lookups(&mut self) -> impl Iterator<Item = (usize, &mut Fetched)> {
        self.logins.iter_mut().filter_map(|login| match &mut login.phase {
            Phase::Looked(fetched)
            | Phase::Reserved(fetched)
            | Phase::Accepted(fetched)
            | Phase::Fixed(fetched, _) => Some((login.proxy, fetched)),
            _ => None,
        })
    }
}
