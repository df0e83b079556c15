//! What clients must be shown and may be shown, from what clients, senders of signals and mail servers
//! have seen: rules 1 to 12 of the design. The order of events decides, not the clock.
//!
//! A client that sends its password is owed each message that was signalled, or received by a client,
//! before; it must not be shown a message whose deletion was confirmed to a client before. What the
//! documentation excepts is excepted here:
//!
//! - What was seen through a proxy that could not reach the store at that time counts only at this proxy.
//! - What was seen through a process after another had taken over, and that shares no store, counts for
//!   nobody.
//! - If no mail server answers, signals do not count.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;

use reprieve_policy_host::{Action, Because, Manner};

/// Where something was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    Everywhere,
    /// At the process with this number.
    Proxy(usize),
    Nowhere,
}

/// When something was seen, by scope.
#[derive(Clone, Debug, Default)]
struct Seen {
    everywhere: Option<u64>,
    at: BTreeMap<usize, u64>,
}

impl Seen {
    fn note(&mut self, now: u64, scope: Scope) {
        match scope {
            Scope::Everywhere => _ = self.everywhere.get_or_insert(now),
            Scope::Proxy(proxy) => _ = self.at.entry(proxy).or_insert(now),
            Scope::Nowhere => {}
        }
    }

    fn before(&self, then: u64, proxy: usize) -> bool {
        let is_before = |at: &u64| *at < then;
        self.everywhere.as_ref().is_some_and(is_before) || self.at.get(&proxy).is_some_and(is_before)
    }
}

/// What is known about a message.
#[derive(Clone, Debug, Default)]
struct Letter {
    user: usize,
    /// When the answer to a signal came.
    signalled: Option<u64>,
    /// When a client received a listing with it.
    shown: Seen,
    /// When a client received the confirmation of its deletion.
    deleted: Seen,
    /// Client sessions that have sent QUIT after their DELE was confirmed.
    deleters: u32,
    expunged: bool,
}

/// A secret of a user.
#[derive(Clone, Copy, Debug, Default)]
struct Secret {
    /// A mail server has accepted it.
    is_accepted: bool,
    /// When a client received its rejection, if no mail server has accepted it since.
    rejected: Option<u64>,
    /// Sessions at mail servers that have logged in with it.
    sessions: u32,
}

/// What a listing should not have shown, or should have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Complaint {
    /// Shown to a client before.
    pub unseen: Vec<String>,
    /// Only signalled before.
    pub unsignalled: Vec<String>,
    /// Deleted before.
    pub deleted: Vec<String>,
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            ("lacks what a client has received", &self.unseen),
            ("lacks what was signalled", &self.unsignalled),
            ("has what was deleted", &self.deleted),
        ];
        let parts: Vec<_> = parts
            .into_iter()
            .filter(|(_, messages)| !messages.is_empty())
            .map(|(what, messages)| format!("{what} ({})", messages.join(" ")))
            .collect();
        f.write_str(&parts.join(" and "))
    }
}

impl Complaint {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[derive(Debug, Default)]
pub(super) struct Oracle {
    events: u64,
    letters: BTreeMap<String, Letter>,
    secrets: BTreeMap<(usize, String), Secret>,
    complaints: BTreeMap<SocketAddr, Complaint>,
    /// Passwords that mail servers have judged, by the id of the proxy's session.
    pub judged: BTreeMap<String, u32>,
    pub ended: BTreeMap<SocketAddr, EndedSession>,
    pub violations: Vec<String>,
    pub server_connections: i64,
    /// Sessions of policies that insist on hiding new mail, by id.
    pub insisted: BTreeSet<String>,
}

impl Oracle {
    /// The number of an event: each is greater than the one before.
    pub fn now(&mut self) -> u64 {
        self.events += 1;
        self.events
    }

    pub fn delivered(&mut self, user: usize, id: &str) {
        self.letters.insert(id.to_owned(), Letter { user, ..Letter::default() });
    }

    pub fn signalled(&mut self, id: &str) {
        let now = self.now();
        if let Some(letter) = self.letters.get_mut(id) {
            letter.signalled.get_or_insert(now);
        }
    }

    pub fn is_signalled(&self, id: &str) -> bool {
        self.letters.get(id).is_some_and(|letter| letter.signalled.is_some())
    }

    /// A client has received a listing with this message.
    pub fn shown(&mut self, id: &str, scope: Scope) {
        let now = self.now();
        if let Some(letter) = self.letters.get_mut(id) {
            letter.shown.note(now, scope);
        }
    }

    /// A client, whose DELE of this message was confirmed, sends QUIT.
    pub fn wants_deleted(&mut self, id: &str) {
        if let Some(letter) = self.letters.get_mut(id) {
            letter.deleters += 1;
        }
    }

    /// A client has received the +OK to this QUIT.
    pub fn deletion_confirmed(&mut self, id: &str, scope: Scope) -> Option<String> {
        let now = self.now();
        let letter = self.letters.get_mut(id)?;
        letter.deleted.note(now, scope);
        (!letter.expunged).then(|| format!("the deletion of {id} was confirmed, and it is still there"))
    }

    /// A message is gone. Returns what is wrong with that.
    pub fn expunged(&mut self, id: &str, by_pop3: bool) -> Option<String> {
        let letter = self.letters.get_mut(id)?;
        letter.expunged = true;
        (by_pop3 && letter.deleters == 0)
            .then(|| format!("{id} was deleted, and no client has confirmed that with QUIT"))
    }

    /// Compares a listing with what the client is owed that has sent its password at `then`.
    pub fn compare(&self, user: usize, proxy: usize, then: u64, listing: &[String]) -> Complaint {
        let mut complaint = Complaint::default();
        for (id, letter) in self.letters.iter().filter(|(_, letter)| letter.user == user) {
            let is_shown = listing.contains(id);
            if is_shown && letter.deleted.before(then, proxy) {
                complaint.deleted.push(id.clone());
            } else if !is_shown && !letter.expunged {
                if letter.shown.before(then, proxy) {
                    complaint.unseen.push(id.clone());
                } else if letter.signalled.is_some_and(|signalled| signalled < then) {
                    complaint.unsignalled.push(id.clone());
                }
            }
        }
        complaint
    }

    /// A mail server has accepted a password.
    pub fn accepted(&mut self, user: usize, password: &str) {
        let secret = self.secrets.entry((user, password.to_owned())).or_default();
        secret.is_accepted = true;
        secret.rejected = None;
        secret.sessions += 1;
    }

    /// A session at a mail server has ended that had logged in with a password.
    pub fn closed(&mut self, user: usize, password: &str) {
        if let Some(secret) = self.secrets.get_mut(&(user, password.to_owned())) {
            secret.sessions -= 1;
        }
    }

    /// A client has received the rejection of a password by a mail server. It does not count while a
    /// session is open that has used it: that may be recorded later.
    pub fn rejected(&mut self, user: usize, password: &str) {
        let now = self.now();
        let secret = self.secrets.entry((user, password.to_owned())).or_default();
        if secret.sessions == 0 {
            secret.rejected.get_or_insert(now);
        }
    }

    /// The store may have lost what was noted about rejections.
    pub fn forget_rejections(&mut self) {
        self.secrets.values_mut().for_each(|secret| secret.rejected = None);
    }

    /// Whether a client that has sent this password at `then` may be logged in although it is not right
    /// now.
    pub fn may_be_known(&self, user: usize, password: &str, then: u64) -> bool {
        let secret = self.secrets.get(&(user, password.to_owned()));
        secret.is_some_and(|secret| {
            secret.is_accepted && secret.rejected.is_none_or(|rejected| rejected > then)
        })
    }

    /// What the listing of a connection should not have shown. The session's end tells whether that is
    /// excused.
    pub fn complain(&mut self, peer: SocketAddr, complaint: Complaint) {
        if !complaint.is_empty() {
            self.complaints.insert(peer, complaint);
            self.judge(peer);
        }
    }

    /// A session of the proxy has ended.
    pub fn ended(&mut self, session: EndedSession) {
        let peer = session.peer;
        if session.lacks_outcome {
            self.violations.push(format!("no outcome at the mail server is recorded of {session}"));
        }
        self.ended.insert(peer, session);
        self.judge(peer);
    }

    fn judge(&mut self, peer: SocketAddr) {
        let (Some(session), Some(complaint)) = (self.ended.get(&peer), self.complaints.get(&peer)) else {
            return;
        };
        let mut complaint = complaint.clone();
        let hides_all = matches!(session.manner, Some(Manner::Empty | Manner::Busy));
        let is_posed = session.action == Some(Action::Posed);
        if is_posed && hides_all && session.because.is_none() {
            self.complaints.remove(&peer);
            return;
        }
        let is_excused = session.because == Some(Because::Unreachable) || self.insisted.contains(&session.id);
        if is_posed && is_excused {
            complaint.unsignalled.clear();
        }
        self.complaints.remove(&peer);
        if !complaint.is_empty() {
            self.violations.push(format!("a listing {complaint}: {session}"));
        }
    }

    /// Complaints about sessions that have not ended.
    pub fn open_complaints(&self) -> usize {
        self.complaints.len()
    }
}

/// How a session of the proxy has ended, by its own record.
#[derive(Clone, Debug)]
pub(crate) struct EndedSession {
    pub(crate) id: String,
    pub(crate) peer: SocketAddr,
    pub(crate) action: Option<Action>,
    pub(crate) because: Option<Because>,
    pub(crate) manner: Option<Manner>,
    pub(crate) posed: bool,
    pub(crate) upgraded: bool,
    pub(crate) relief: bool,
    pub(crate) logins: u32,
    /// Its last login went to a mail server, and nothing is recorded of what became of it.
    pub(crate) lacks_outcome: bool,
    pub(crate) end: &'static str,
}

/// Without the id, which differs between runs.
impl fmt::Display for EndedSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { peer, action, because, manner, posed, upgraded, relief, end, .. } = self;
        write!(f, "session {} (", peer.port())?;
        let words = [
            action.map(|action| format!("{action:?}")),
            because.map(|because| format!("{because:?}")),
            manner.map(|manner| format!("{manner:?}").replace("Manner::", "")),
            (*posed && *action != Some(Action::Posed)).then(|| "posed before".to_owned()),
            upgraded.then(|| "upgraded".to_owned()),
            relief.then(|| "counted as relief".to_owned()),
        ];
        for word in words.into_iter().flatten() {
            write!(f, "{}, ", word.to_lowercase())?;
        }
        write!(f, "end: {end})")
    }
}

/// Called when a session of the proxy has ended.
pub(crate) fn session_ended(session: EndedSession) {
    if let Some(world) = super::world::world() {
        world.note(&session);
        world.oracle.lock().ended(session);
    }
}
