//! A history: what the clients of one user saw, and what happened to the maildrop meanwhile.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

/// Numbers events in the order in which they happened, across all threads of a test.
#[derive(Debug, Default)]
pub struct Sequence(AtomicU64);

impl Sequence {
    /// The number of what happens now.
    pub fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }
}

/// A message that the mail server has, or had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its unique-id.
    pub id: String,
    /// Its size in bytes.
    pub size: u64,
    /// When it was delivered.
    pub delivered: u64,
    /// When it went, and in which visit; without a visit it was expunged by something else.
    pub removed: Option<(u64, Option<u64>)>,
}

impl Message {
    /// Whether it was gone at that moment.
    pub fn is_gone(&self, at: u64) -> bool {
        self.removed.is_some_and(|(removed, _)| removed < at)
    }
}

/// A login that the mail server has accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Visit {
    /// Different for each.
    pub number: u64,
    /// When the password was there.
    pub began: u64,
    /// The messages that it shows, once the maildrop is open.
    pub opened: Option<Vec<usize>>,
    /// When it was over, for the mail server.
    pub ended: Option<u64>,
}

/// All that happened to a user's maildrop; messages stand in the order of their delivery.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Maildrop {
    /// All messages that ever were.
    pub messages: Vec<Message>,
    /// All logins that were accepted.
    pub visits: Vec<Visit>,
}

impl Maildrop {
    /// The messages that are there now.
    pub fn present(&self) -> Vec<usize> {
        (0..self.messages.len()).filter(|&index| self.messages[index].removed.is_none()).collect()
    }

    /// A visit by its number.
    pub fn visit(&self, number: u64) -> Option<&Visit> {
        self.visits.iter().find(|visit| visit.number == number)
    }

    /// Which message has this unique-id.
    pub fn index(&self, id: &str) -> Option<usize> {
        self.messages.iter().position(|message| message.id == id)
    }
}

/// What became of a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Login {
    /// The client left before it was answered.
    Unanswered,
    /// It was refused.
    Refused,
    /// The proxy answers in the mail server's place.
    Posed,
    /// The mail server answers, in this visit.
    Passed(u64),
}

/// What a client saw or did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// The reply to STAT.
    Totals(String),
    /// The rows of LIST.
    Sizes(Vec<String>),
    /// The rows of UIDL.
    UniqueIds(Vec<String>),
    /// RETR of a number gave the message with this unique-id.
    Retrieved(usize, String),
    /// DELE of a number was acknowledged.
    Deleted(usize),
    /// A command about this number was refused.
    Refused(String, usize),
    /// RSET was acknowledged.
    Reset,
    /// QUIT was sent.
    QuitSent,
    /// QUIT was answered, with +OK or not.
    QuitAnswered(bool),
}

/// What a client saw or did, and when: replies when they had come, commands before they went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When.
    pub at: u64,
    /// What.
    pub what: What,
}

/// One session of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The proxy that it came to.
    pub proxy: usize,
    /// When the password was about to be sent, and what the clock showed, in milliseconds.
    pub start: (u64, u64),
    /// When the password was answered, and what the clock showed then.
    pub answered: (u64, u64),
    /// What became of it.
    pub login: Login,
    /// What happened after that.
    pub events: Vec<Event>,
    /// When the client was gone.
    pub end: u64,
}

impl Session {
    /// When the client had the +OK to its QUIT.
    pub fn quit_answered(&self) -> Option<u64> {
        self.events.iter().find(|event| event.what == What::QuitAnswered(true)).map(|event| event.at)
    }

    /// The numbers that are marked as deleted before that moment.
    pub fn marked(&self, before: u64) -> BTreeSet<usize> {
        let mut marked = BTreeSet::new();
        for event in self.events.iter().take_while(|event| event.at < before) {
            match event.what {
                What::Deleted(number) => _ = marked.insert(number),
                What::Reset => marked.clear(),
                _ => {}
            }
        }
        marked
    }
}

/// A time in which a proxy was without the store that it shares with others, at least now and then. When it
/// is over, the proxy has removed from the store what was out of date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outage {
    /// The proxy.
    pub proxy: usize,
    /// Before the store was lost.
    pub from: u64,
    /// When all was well again.
    pub to: u64,
}

/// All that the clients of one user saw.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// The user's name.
    pub user: String,
    /// The sessions, by their starts.
    pub sessions: Vec<Session>,
    /// What happened at the mail server.
    pub maildrop: Maildrop,
    /// How long a login is denied after the last one that passed, in milliseconds.
    pub interval_ms: u64,
    /// When no session was open, with all that follows when a client has hung up; 0 if that is
    /// not known.
    pub settled: u64,
    /// Whether each proxy can show what a session at another has left.
    pub shares_snapshots: bool,
    /// When proxies were without the store.
    pub outages: Vec<Outage>,
}

impl History {
    /// From when on the other proxies know what a client saw at this one: if it was without the store,
    /// they know it when all was well again.
    pub fn known_elsewhere(&self, proxy: usize, at: u64) -> u64 {
        let mut without = self.outages.iter().filter(|outage| outage.proxy == proxy);
        without.find(|outage| (outage.from..=outage.to).contains(&at)).map_or(at, |outage| outage.to)
    }
}
