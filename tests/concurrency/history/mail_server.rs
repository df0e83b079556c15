//! A mail server whose test decides when a maildrop is opened, when a login is answered, and when a
//! reply is sent.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;

use super::record::{Maildrop, Message, Sequence, Visit};
use crate::support::DEADLINE;

/// What comes next in a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Moment {
    /// The maildrop is opened: what is in it then is what the session shows.
    Open,
    /// The login is answered.
    Answer,
    /// A command after the login is answered.
    Reply,
    /// Messages that are marked as deleted go.
    Delete,
}

/// How the server answers a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginReply {
    /// It is right, and the maildrop is opened before the client knows.
    OpenThenAccept,
    /// It is right, and the maildrop is opened when it is asked for first, as Dovecot does it.
    AcceptThenOpen,
    /// It is answered with this line.
    Refuse(&'static str),
    /// The connection is closed without an answer.
    Close,
}

/// A session, as far as its behavior depends on it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServerSession {
    /// The user who logs in.
    pub user: String,
    /// The number of the connection.
    pub number: u64,
    /// Moments that it has reached so far.
    pub moments: u64,
}

/// How a server answers, and when.
pub trait Behavior: Send + Sync + 'static {
    /// How a password is answered.
    fn check_password(&self, session: &ServerSession, password: &str) -> LoginReply;
    /// Returns when a session may go on.
    fn wait(&self, session: &ServerSession, moment: Moment);
}

/// The server; dropping it ends it.
pub struct MailServer<P: Behavior> {
    shared: Arc<Shared<P>>,
    address: SocketAddr,
    thread: Option<JoinHandle<()>>,
}

struct Shared<P> {
    behavior: P,
    sequence: Arc<Sequence>,
    maildrops: Mutex<HashMap<String, Maildrop>>,
    connections: AtomicU64,
    /// Those that are open, to be closed at the end.
    open: Mutex<HashMap<u64, TcpStream>>,
    closed: Condvar,
    ended: AtomicBool,
}

impl<P: Behavior> MailServer<P> {
    /// Starts one where every user has an empty maildrop.
    pub fn start(behavior: P) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("its address");
        let shared = Arc::new(Shared {
            behavior,
            sequence: Arc::default(),
            maildrops: Mutex::default(),
            connections: AtomicU64::new(0),
            open: Mutex::default(),
            closed: Condvar::new(),
            ended: AtomicBool::new(false),
        });
        let thread = std::thread::spawn({
            let shared = shared.clone();
            move || shared.accept(&listener)
        });
        Self { shared, address, thread: Some(thread) }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What says when things happen.
    pub fn behavior(&self) -> &P {
        &self.shared.behavior
    }

    /// What numbers the events.
    pub fn sequence(&self) -> &Arc<Sequence> {
        &self.shared.sequence
    }

    /// Delivers a message; its unique-id.
    pub fn deliver(&self, user: &str) -> String {
        let mut maildrops = self.shared.maildrops();
        let maildrop = maildrops.entry(user.to_owned()).or_default();
        let index = maildrop.messages.len();
        // A unique-id is in ASCII, whatever the name is.
        let id = format!("{}.{index}", user.escape_default());
        let size = text(&id, index).len() as u64;
        let delivered = self.shared.sequence.next();
        maildrop.messages.push(Message { id: id.clone(), size, delivered, removed: None });
        id
    }

    /// Takes the oldest message away, as by IMAP.
    pub fn expunge(&self, user: &str) {
        let mut maildrops = self.shared.maildrops();
        let Some(maildrop) = maildrops.get_mut(user) else { return };
        let now = self.shared.sequence.next();
        if let Some(message) = maildrop.messages.iter_mut().find(|message| message.removed.is_none()) {
            message.removed = Some((now, None));
        }
    }

    /// All that has happened to a user's maildrop.
    pub fn maildrop(&self, user: &str) -> Maildrop {
        self.shared.maildrops().get(user).cloned().unwrap_or_default()
    }

    /// Waits until no connection is open.
    #[track_caller]
    pub fn idle(&self) {
        let open = self.shared.open.lock().expect("no thread has panicked");
        let (_open, timeout) = self
            .shared
            .closed
            .wait_timeout_while(open, DEADLINE, |open| !open.is_empty())
            .expect("no thread has panicked");
        assert!(!timeout.timed_out(), "connections connection open");
    }
}

impl<P: Behavior> Drop for MailServer<P> {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        for stream in self.shared.open.lock().iter().flat_map(|open| open.values()) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl<P: Behavior> Shared<P> {
    fn maildrops(&self) -> MutexGuard<'_, HashMap<String, Maildrop>> {
        self.maildrops.lock().expect("no thread has panicked")
    }

    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        for stream in listener.incoming() {
            if self.ended.load(Ordering::SeqCst) {
                return;
            }
            let Ok(stream) = stream else { continue };
            stream.set_nodelay(true).expect("TCP_NODELAY");
            let number = self.connections.fetch_add(1, Ordering::SeqCst) + 1;
            let closing = stream.try_clone().expect("a second handle");
            self.open.lock().expect("no thread has panicked").insert(number, closing);
            let shared = self.clone();
            std::thread::spawn(move || {
                let session = ServerSession { user: String::new(), number, moments: 0 };
                let mut connection = Connection {
                    stream: BufReader::new(stream),
                    session,
                    shown: None,
                    marked: BTreeSet::new(),
                };
                shared.serve(&mut connection);
                shared.leave(&connection);
                let _ = connection.stream.get_ref().shutdown(Shutdown::Both);
                shared.open.lock().expect("no thread has panicked").remove(&number);
                shared.closed.notify_all();
            });
        }
    }

    fn wait(&self, connection: &mut Connection, moment: Moment) {
        connection.session.moments += 1;
        self.behavior.wait(&connection.session, moment);
    }

    /// Serves a connection to its end; None if the other side has ended it.
    fn serve(&self, connection: &mut Connection) -> Option<()> {
        connection.send("+OK at your pace\r\n");
        let reply = loop {
            let line = connection.read_command()?;
            let (command, argument) = line.split_once(' ').unwrap_or((&line, ""));
            match command {
                "CAPA" => connection.send("+OK\r\nUSER\r\nUIDL\r\nTOP\r\n.\r\n"),
                "USER" => {
                    argument.clone_into(&mut connection.session.user);
                    connection.send("+OK\r\n");
                }
                "PASS" => match self.behavior.check_password(&connection.session, argument) {
                    LoginReply::Refuse(why) => {
                        self.wait(connection, Moment::Answer);
                        connection.send(why);
                    }
                    reply => break reply,
                },
                "QUIT" => {
                    connection.send("+OK\r\n");
                    return Some(());
                }
                _ => connection.send("-ERR log in first\r\n"),
            }
        };
        if reply == LoginReply::Close {
            self.wait(connection, Moment::Answer);
            return None;
        }
        let visit = Visit {
            number: connection.session.number,
            began: self.sequence.next(),
            opened: None,
            ended: None,
        };
        self.maildrops().entry(connection.session.user.clone()).or_default().visits.push(visit);
        if reply == LoginReply::OpenThenAccept {
            self.open(connection);
        }
        self.wait(connection, Moment::Answer);
        connection.send(&format!("+OK visit {}\r\n", connection.session.number));
        self.transaction(connection)
    }

    /// Opens the maildrop, unless it is open.
    fn open(&self, connection: &mut Connection) {
        if connection.shown.is_some() {
            return;
        }
        self.wait(connection, Moment::Open);
        let mut maildrops = self.maildrops();
        let maildrop = maildrops.get_mut(&connection.session.user).expect("a user with a maildrop");
        let present = maildrop.present();
        let shown = present
            .iter()
            .map(|&index| (index, maildrop.messages[index].id.clone(), maildrop.messages[index].size));
        connection.shown = Some(shown.collect());
        if let Some(visit) =
            maildrop.visits.iter_mut().find(|visit| visit.number == connection.session.number)
        {
            visit.opened = Some(present);
        }
    }

    fn transaction(&self, connection: &mut Connection) -> Option<()> {
        loop {
            let line = connection.read_command()?;
            let (command, argument) = line.split_once(' ').unwrap_or((&line, ""));
            if command != "NOOP" {
                self.open(connection);
            }
            if command == "QUIT" {
                self.delete(connection);
                self.wait(connection, Moment::Reply);
                connection.send("+OK\r\n");
                return Some(());
            }
            let reply = connection.reply(command, argument);
            self.wait(connection, Moment::Reply);
            connection.send(&reply);
        }
    }

    /// Carries out the deletions of a session: it is over.
    fn delete(&self, connection: &mut Connection) {
        if !connection.marked.is_empty() {
            self.wait(connection, Moment::Delete);
        }
        let mut maildrops = self.maildrops();
        let maildrop = maildrops.get_mut(&connection.session.user).expect("a user with a maildrop");
        let now = self.sequence.next();
        for number in &connection.marked {
            let (index, ..) = connection.shown.as_ref().expect("it is open")[number - 1];
            maildrop.messages[index].removed.get_or_insert((now, Some(connection.session.number)));
        }
        drop(maildrops);
        self.leave(connection);
    }

    fn leave(&self, connection: &Connection) {
        let mut maildrops = self.maildrops();
        let Some(maildrop) = maildrops.get_mut(&connection.session.user) else { return };
        let now = self.sequence.next();
        if let Some(visit) =
            maildrop.visits.iter_mut().find(|visit| visit.number == connection.session.number)
        {
            visit.ended.get_or_insert(now);
        }
    }
}

/// One connection.
struct Connection {
    stream: BufReader<TcpStream>,
    session: ServerSession,
    /// What the session shows, once the maildrop is open: which messages, unique-ids, sizes.
    shown: Option<Vec<(usize, String, u64)>>,
    /// Numbers that are marked as deleted.
    marked: BTreeSet<usize>,
}

impl Connection {
    fn send(&mut self, text: &str) {
        // The proxy may have hung up: that is for the test to see at the other end.
        let _ = self.stream.get_mut().write_all(text.as_bytes());
    }

    /// The next command; each byte of it is one character.
    fn read_command(&mut self) -> Option<String> {
        let mut line = Vec::new();
        match self.stream.read_until(b'\n', &mut line) {
            Ok(length) if length > 0 => Some(line.trim_ascii_end().iter().copied().map(char::from).collect()),
            _ => None,
        }
    }

    fn reply(&mut self, command: &str, argument: &str) -> String {
        let shown = self.shown.as_deref().unwrap_or_default();
        let unmarked = || shown.iter().zip(1..).filter(|(_, number)| !self.marked.contains(number));
        let wanted = argument.split(' ').next().and_then(|number| number.parse().ok());
        let there =
            wanted.filter(|number| (1..=shown.len()).contains(number) && !self.marked.contains(number));
        match (command, there) {
            ("NOOP", _) => "+OK\r\n".to_owned(),
            ("STAT", _) => {
                let bytes: u64 = unmarked().map(|((.., size), _)| size).sum();
                format!("+OK {} {bytes}\r\n", unmarked().count())
            }
            ("LIST", None) if argument.is_empty() => {
                unmarked().fold("+OK\r\n".to_owned(), |mut all, ((.., size), number)| {
                    write!(all, "{number} {size}\r\n").expect("writing to a string");
                    all
                }) + ".\r\n"
            }
            ("UIDL", None) if argument.is_empty() => {
                unmarked().fold("+OK\r\n".to_owned(), |mut all, ((_, id, _), number)| {
                    write!(all, "{number} {id}\r\n").expect("writing to a string");
                    all
                }) + ".\r\n"
            }
            ("LIST", Some(number)) => format!("+OK {number} {}\r\n", shown[number - 1].2),
            ("UIDL", Some(number)) => format!("+OK {number} {}\r\n", shown[number - 1].1),
            ("RETR" | "TOP", Some(number)) => {
                let (index, id, _) = &shown[number - 1];
                format!("+OK\r\n{}.\r\n", text(id, *index))
            }
            ("DELE", Some(number)) => {
                self.marked.insert(number);
                "+OK\r\n".to_owned()
            }
            ("RSET", _) => {
                self.marked.clear();
                "+OK\r\n".to_owned()
            }
            _ => "-ERR no\r\n".to_owned(),
        }
    }
}

/// A message: its first line names it.
fn text(id: &str, index: usize) -> String {
    format!("Subject: {id}\r\n\r\n{}", "a line of the message\r\n".repeat(index % 7))
}
