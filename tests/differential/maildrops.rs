//! Mail servers with many users; each user serves one dialogue.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::wire::{Reply, Wire, is_multi_line};
use crate::support::account::PASSWORD;
use crate::support::cyrus::Cyrus;
use crate::support::dovecot::{Dovecot, Features};
use crate::support::until;

/// Which mail server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Make {
    /// Dovecot, from Debian.
    Dovecot,
    /// Cyrus, from Debian, unpacked by `tests/setup`.
    Cyrus,
}

impl Make {
    /// Pairs of users of one server.
    fn pairs(self) -> usize {
        match self {
            Self::Dovecot => 600,
            // Each takes a process that writes a password.
            Self::Cyrus => 60,
        }
    }
}

/// Dovecot's settings that make it quick, and that make unique-ids of the files' names.
const DOVECOT: &str = "mail_fsync = never\npop3_uidl_format = %f\n\
                       service pop3 {\n  service_count = 300\n  process_min_avail = 2\n}\n";
/// The same for Cyrus. Not `expunge_mode: immediate`: a process that has to remove deleted messages then waits,
/// before it greets its next client, until no other session has the mailbox open. Here that session may wait for
/// this client, its twin.
const CYRUS: &str = "uidl_format: uidonly\nduplicatesuppression: no\n";

/// A message as it lies in a maildrop: its name with flags, and its text.
pub type Stored = (String, Vec<u8>);

/// The user who goes straight to the mail server, and the one who goes through Reprieve.
pub struct Pair {
    /// Straight.
    pub straight: String,
    /// Through Reprieve.
    pub through: String,
}

/// Sends a command, and returns the reply.
type Ask<'a> = dyn FnMut(&str) -> Reply + 'a;

/// A running mail server.
pub struct MailServer {
    kind: Kind,
    used: AtomicUsize,
}

enum Kind {
    Dovecot(Box<Dovecot>),
    Cyrus(Cyrus),
}

/// Starts mail servers, one when the users of the last one are used up.
pub struct Servers {
    /// Which.
    pub make: Make,
    current: Mutex<Arc<MailServer>>,
}

impl Servers {
    /// Starts the first one.
    pub fn new(make: Make) -> Self {
        Self { make, current: Mutex::new(Arc::new(MailServer::start(make))) }
    }

    /// The current one.
    pub fn current(&self) -> Arc<MailServer> {
        self.current.lock().expect("no worker has panicked").clone()
    }

    /// A server that is not this one, whose users are used up.
    pub fn after(&self, last: &Arc<MailServer>) -> Arc<MailServer> {
        let mut current = self.current.lock().expect("no worker has panicked");
        if Arc::ptr_eq(&current, last) {
            *current = Arc::new(MailServer::start(self.make));
        }
        current.clone()
    }
}

impl MailServer {
    fn start(make: Make) -> Self {
        let users: Vec<String> =
            (0..make.pairs()).flat_map(|number| [format!("s{number:04}"), format!("t{number:04}")]).collect();
        let kind = match make {
            Make::Dovecot => {
                let users: Vec<_> = users.iter().map(|user| (user.as_str(), PASSWORD)).collect();
                let features = Features { settings: DOVECOT, ..Features::default() };
                Kind::Dovecot(Box::new(Dovecot::start_with(&users, features)))
            }
            Make::Cyrus => {
                let users: Vec<_> = users.iter().map(String::as_str).collect();
                Kind::Cyrus(Cyrus::start_with(&users, CYRUS))
            }
        };
        Self { kind, used: AtomicUsize::new(0) }
    }

    fn make(&self) -> Make {
        match self.kind {
            Kind::Dovecot(_) => Make::Dovecot,
            Kind::Cyrus(_) => Make::Cyrus,
        }
    }

    /// Its address.
    pub fn address(&self) -> std::net::SocketAddr {
        match &self.kind {
            Kind::Dovecot(dovecot) => dovecot.address(),
            Kind::Cyrus(cyrus) => cyrus.address(),
        }
    }

    /// Two users whom nobody has used; None if there are no more.
    pub fn pair(&self) -> Option<Pair> {
        let number = self.used.fetch_add(1, Ordering::Relaxed);
        let pair = Pair { straight: format!("s{number:04}"), through: format!("t{number:04}") };
        if number >= self.make().pairs() {
            return None;
        }
        if matches!(self.kind, Kind::Cyrus(_)) {
            // The first login creates the mailbox.
            self.settle(&pair.straight);
            self.settle(&pair.through);
        }
        Some(pair)
    }

    /// Delivers the message with this number to several users.
    pub fn deliver(&self, users: &[&str], number: usize, text: &[u8]) {
        match &self.kind {
            Kind::Dovecot(dovecot) => users.iter().for_each(|user| dovecot.deliver_file(user, number, text)),
            Kind::Cyrus(cyrus) => cyrus.deliver_text(users, text),
        }
    }

    /// Removes a message of Dovecot's by its unique-id, as another client of the user would.
    pub fn remove(&self, user: &str, id: &str) {
        match &self.kind {
            Kind::Dovecot(dovecot) => dovecot.remove_file(user, id),
            Kind::Cyrus(_) => unreachable!("maildrops of Cyrus are changed by their clients only"),
        }
    }

    /// Waits until no session of the user is left that would refuse another one.
    pub fn settle(&self, user: &str) {
        if matches!(self.kind, Kind::Cyrus(_)) {
            self.ask(user, &mut |_| {});
        }
    }

    /// Has the server write what it knows of a user's messages.
    pub fn synchronize(&self, user: &str) {
        self.ask(user, &mut |ask| _ = ask("STAT"));
    }

    /// A session straight at the server, as soon as it accepts one.
    fn ask(&self, user: &str, session: &mut dyn FnMut(&mut Ask<'_>)) {
        let mut wire = None;
        until("the mailbox is free", || {
            wire = self.log_in(user);
            wire.is_some()
        });
        let mut wire = wire.expect("it is free");
        let mut ask = |command: &str| {
            wire.send(format!("{command}\r\n").as_bytes(), &[]);
            wire.reply(is_multi_line(command.as_bytes()))
        };
        session(&mut ask);
        assert!(ask("QUIT").is_ok(), "QUIT is refused");
        assert_eq!(wire.reply(false), Reply::End);
    }

    fn log_in(&self, user: &str) -> Option<Wire> {
        let mut wire = Wire::open(self.address());
        wire.send(format!("USER {user}\r\nPASS {PASSWORD}\r\n").as_bytes(), &[]);
        let accepted = (0..3).all(|_| wire.reply(false).is_ok());
        accepted.then_some(wire)
    }

    /// All messages of a user.
    pub fn stored(&self, user: &str) -> Vec<Stored> {
        match &self.kind {
            Kind::Dovecot(dovecot) => dovecot.files(user),
            Kind::Cyrus(_) => {
                let mut stored = Vec::new();
                self.ask(user, &mut |ask| {
                    let mut lines =
                        |command: &str| ask(command).body().map(<[u8]>::to_vec).unwrap_or_default();
                    let ids = String::from_utf8(lines("UIDL")).expect("unique-ids");
                    stored = ids
                        .lines()
                        .filter_map(|row| row.split_once(' '))
                        .map(|(number, id)| (id.to_owned(), lines(&format!("RETR {number}"))))
                        .collect();
                });
                stored
            }
        }
    }
}
