//! A history: logins at given times, which a policy is played.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::harness::{LoginFacts, TestLogin};
use crate::{Backend, Ending, Maildrop, Mechanism, Standing, TlsSession};

/// Name of the pool that all logins would go to, unless the fuzzer is given others.
const POOL: &str = "mail";

/// Logins in the order in which they are played.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct History {
    /// Time zone of the virtual server.
    pub(super) zone: &'static str,
    pub(super) events: Vec<Event>,
}

/// A login of a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    /// Unix time in milliseconds; earlier than that of the previous event if the clock was set back.
    pub(super) at_ms: u64,
    pub(super) user: String,
    pub(super) authorization_id: Option<String>,
    pub(super) details: Details,
    /// What is known about the secret; None if the host derives it from the earlier events.
    pub(super) standing: Option<Standing>,
    /// How the login ends if it passes.
    pub(super) ending: Ending,
    /// Whether somebody else tries this user's name with a wrong password.
    pub(super) is_guess: bool,
}

/// What a policy may ask about a login, beside the user and the time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Details {
    pub(super) mechanism: Mechanism,
    pub(super) peer: IpAddr,
    pub(super) tls: Option<TlsSession>,
    pub(super) backend: Backend,
    pub(super) maildrop: Maildrop,
    pub(super) earlier_logins: u32,
}

impl Details {
    /// The details of a step in a scenario that names none.
    pub(super) fn plain() -> Self {
        Self {
            mechanism: Mechanism::UserPass,
            peer: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
            tls: None,
            backend: Backend::idle(POOL),
            maildrop: Maildrop::default(),
            earlier_logins: 0,
        }
    }
}

impl Event {
    /// Whether both are logins to the same maildrop by the same user.
    pub(super) fn is_of_same_user(&self, other: &Self) -> bool {
        self.user == other.user && self.authorization_id == other.authorization_id
    }

    pub(super) fn login(&self) -> TestLogin {
        let details = self.details.clone();
        let facts = LoginFacts {
            authorization_id: self.authorization_id.clone(),
            mechanism: details.mechanism,
            peer: SocketAddr::new(details.peer, LoginFacts::new("").peer.port()),
            tls: details.tls,
            backend: details.backend,
            maildrop: details.maildrop,
            earlier_logins: details.earlier_logins,
            ..LoginFacts::new(&self.user)
        };
        let login = TestLogin::new(facts).outcome(self.ending);
        match self.standing {
            Some(standing) => login.standing(standing),
            None => login,
        }
    }
}

impl History {
    /// The history up to an event, which is included.
    pub(super) fn up_to(&self, index: usize) -> Self {
        Self { zone: self.zone, events: self.events[..=index].to_vec() }
    }

    /// The history without some of its events.
    pub(super) fn only(&self, keep: impl Fn(&Event) -> bool) -> Self {
        let events = self.events.iter().filter(|event| keep(event)).cloned().collect();
        Self { zone: self.zone, events }
    }

    /// The history with one more event.
    pub(super) fn followed_by(&self, event: Event) -> Self {
        let mut longer = self.clone();
        longer.events.push(event);
        longer
    }

    /// The latest time of an event.
    pub(super) fn latest_ms(&self) -> u64 {
        self.events.iter().map(|event| event.at_ms).max().unwrap_or(0)
    }
}
