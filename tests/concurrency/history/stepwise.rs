//! Sessions that go on step by step, in orders that a test chooses.

use std::sync::Arc;

use super::client::Client;
use super::mail_server::{LoginReply, Moment};
use super::proxies::INTERVAL;
use super::record::{Login, Session};
use super::script::{Gate, Site};

/// Steps of each session.
pub const STEPS: usize = 4;

/// What a session is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The policy lets it through.
    Passes,
    /// It is denied, and asks for a message.
    Upgrades,
}

/// How a session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// With QUIT.
    Quits,
    /// With QUIT, after it has deleted its first message.
    Deletes,
    /// Without QUIT, after it has deleted its first message.
    HangsUp,
}

/// A session that goes on step by step.
pub struct Stepwise {
    kind: Kind,
    ends: Ends,
    proxy: usize,
    client: Option<Client>,
    held: Option<Arc<Gate>>,
    step: usize,
}

impl Stepwise {
    /// One that has not begun.
    pub fn new(kind: Kind, ends: Ends, proxy: usize) -> Self {
        Self { kind, ends, proxy, client: None, held: None, step: 0 }
    }

    /// Whether its connection is open.
    pub fn is_open(&self) -> bool {
        self.client.is_some()
    }

    /// Whether it is over.
    pub fn is_over(&self) -> bool {
        self.step == STEPS
    }

    /// Goes on by one step; returns the session when it is over.
    #[track_caller]
    pub fn go_on(&mut self, site: &Site, user: &str) -> Option<Session> {
        self.step += 1;
        match (self.kind, self.step) {
            (Kind::Passes, 1) => self.log_in(site, user),
            (Kind::Passes, 2) => self.open(site, user),
            (Kind::Upgrades, 1) => {
                let mut client = site.begin(self.proxy, user);
                client.answered();
                client.unique_ids();
                self.client = Some(client);
            }
            (Kind::Upgrades, 2) => self.upgrade(site, user),
            (_, 3) => self.list(),
            _ => {
                let client = self.client.take().expect("it is under way");
                return Some(match self.ends {
                    Ends::HangsUp => client.hang_up(),
                    Ends::Quits | Ends::Deletes => client.quit(),
                });
            }
        }
        None
    }

    fn client(&mut self) -> &mut Client {
        self.client.as_mut().expect("it is under way")
    }

    /// The maildrop is opened, or the client is in: what comes first at this mail server.
    fn log_in(&mut self, site: &Site, user: &str) {
        site.proxies.clock().advance(INTERVAL);
        let held = opens_first(site).then(|| site.hold(user, Moment::Answer));
        let mut client = site.begin(self.proxy, user);
        if let Some(held) = &held {
            held.reached();
        } else {
            client.answered();
        }
        (self.client, self.held) = (Some(client), held);
    }

    /// What comes second.
    fn open(&mut self, site: &Site, user: &str) {
        if let Some(held) = self.held.take() {
            held.open();
            self.client().answered();
        } else {
            let held = site.hold(user, Moment::Reply);
            self.client().ask_totals();
            held.reached();
            self.held = Some(held);
        }
    }

    /// The mail server has the upgrade's login, and has opened the maildrop if it does so first.
    fn upgrade(&mut self, site: &Site, user: &str) {
        // Without a snapshot it has passed, and there is nothing to wait for at the login.
        let is_posed = self.client().login() == Login::Posed;
        let moment = if is_posed && opens_first(site) { Moment::Answer } else { Moment::Reply };
        let held = site.hold(user, moment);
        self.client().ask_for(1);
        held.reached();
        self.held = Some(held);
    }

    /// What was asked for comes, and the client looks at the maildrop.
    fn list(&mut self) {
        let held = self.held.take();
        if let Some(held) = &held {
            held.open();
        }
        let (kind, ends) = (self.kind, self.ends);
        let client = self.client();
        match kind {
            Kind::Upgrades => client.take_message(1),
            Kind::Passes if held.is_some() => client.take_totals(),
            Kind::Passes => {}
        }
        client.unique_ids();
        if ends != Ends::Quits {
            client.delete(1);
        }
    }
}

fn opens_first(site: &Site) -> bool {
    site.server.behavior().accepts == LoginReply::OpenThenAccept
}

/// All orders of so many steps of two sessions: which of them goes on.
pub fn orders(first: usize, second: usize) -> Vec<Vec<usize>> {
    if first == 0 || second == 0 {
        return vec![[vec![0; first], vec![1; second]].concat()];
    }
    let after = |which: usize, rest: Vec<Vec<usize>>| {
        rest.into_iter().map(move |order| [vec![which], order].concat()).collect::<Vec<_>>()
    };
    [after(0, orders(first - 1, second)), after(1, orders(first, second - 1))].concat()
}
