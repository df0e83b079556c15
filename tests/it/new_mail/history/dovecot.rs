//! A real Dovecot, to which mail is delivered by LMTP, and real mail programs that keep what they fetch.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::sessions::Sessions;
use super::{CLIENTS_PER_USER, History, Program, Scale, name};
use crate::new_mail::dovecot::{deliver_message, folder, script_in, write_script};
use crate::support::account::{Account, PASSWORD};
use crate::support::clients::{Fetchmail, Getmail, Keeps, Mpop, Poplib};
use crate::support::dovecot::{Dovecot, Features, NewMail};

/// A Dovecot with some users.
pub struct DovecotSystem {
    pub dovecot: Dovecot,
    folder: tempfile::TempDir,
    delivered: Mutex<Vec<Delivered>>,
}

struct Delivered {
    id: String,
    at: Instant,
    /// The session of LMTP, as Dovecot's log names it.
    session: String,
}

/// Where signals come from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The script in Dovecot.
    Script,
    /// The log that Dovecot writes.
    Log,
}

impl DovecotSystem {
    pub fn start(source: Source, scale: Scale) -> Self {
        let folder = folder();
        let driver = match source {
            Source::Script => format!("lua:file={}", script_in(folder.path()).display()),
            Source::Log => String::new(),
        };
        let features = Features {
            new_mail: Some(NewMail::by(driver)),
            xclient: true,
            logs_to_file: source == Source::Log,
            ..Features::default()
        };
        let names = scale.names();
        let users: Vec<_> = names.iter().map(|user| (user.as_str(), PASSWORD)).collect();
        let dovecot = Dovecot::start_with(&users, features);
        Self { dovecot, folder, delivered: Mutex::default() }
    }

    /// The pool's table of sources, with this log as one that signals every delivery.
    pub fn log_table(&self) -> String {
        let path = self.dovecot.log_file();
        format!(
            "[pool.mail.new-mail]\nnotifications = {{ complete = false }}\n\
             log = {{ path = {path:?}, position = \"@POSITION@\", complete = true }}\n"
        )
    }

    /// Makes the script signal to all proxies in turn.
    pub fn signal_to(&self, history: &History) {
        let urls: Vec<_> = (0..history.proxies.count()).map(|proxy| history.proxies.url(proxy)).collect();
        let urls: Vec<_> = urls.iter().map(String::as_str).collect();
        write_script(self.folder.path(), &urls, &["--pool", "mail"]);
    }

    /// Makes the script signal to an address where nobody listens.
    pub fn signal_to_nobody(&self) {
        let nobody = format!("http://{}", crate::support::dovecot::free_address());
        write_script(self.folder.path(), &[&nobody], &[]);
    }

    /// Delivers a message by LMTP.
    pub fn deliver(&self, history: &History, user: usize, number: usize) {
        let id = format!("<{number}@example.org>");
        let message = format!("From: Sender <sender@example.org>\r\nMessage-ID: {id}\r\n\r\n{number}\r\n.");
        let answers = deliver_message(&self.dovecot, &[&name(user)], &message);
        // `250 2.0.0 <user3> QIRvA9M2DWu8AAAAg+zDdQ Saved`
        let session = answers[0].split(' ').nth(3).expect("the session of LMTP").to_owned();
        let at = Instant::now();
        history.checker.delivered(user, &id, Some(at));
        self.delivered.lock().push(Delivered { id, at, session });
    }

    /// Takes the messages whose signal nobody accepted, according to the script, from those that every
    /// later login must show; `bound`: after this time, it must show these, too. Returns their number.
    pub fn except_lost_signals(&self, history: &History, bound: Option<Duration>) -> usize {
        let lost = self.dovecot.log_lines(&["Error", "reprieve: the signal of new mail for"]);
        let delivered = self.delivered.lock();
        let ids: HashMap<&str, &str> =
            delivered.iter().map(|one| (one.session.as_str(), one.id.as_str())).collect();
        let lost: Vec<&str> = lost.iter().map(|line| ids[lmtp_session(line).expect("a session")]).collect();
        history.checker.set_due(|id, delivered| match lost.contains(&id) {
            true => bound.map(|bound| delivered + bound),
            false => Some(delivered),
        });
        lost.len()
    }

    /// When each delivery had been read in the log. `read`: how many there were at which time, in order.
    pub fn set_read(&self, history: &History, read: &[(Instant, usize)]) -> Vec<Duration> {
        let delivered = self.delivered.lock();
        let mut lags = Vec::new();
        let mut due: HashMap<&str, Instant> = HashMap::new();
        for (number, Delivered { id, at, .. }) in delivered.iter().enumerate() {
            let was_read = read.iter().find(|(_, count)| *count > number).map(|(at, _)| *at);
            let was_read = was_read.unwrap_or_else(|| panic!("{id} was not read in the log"));
            lags.push(was_read.saturating_duration_since(*at));
            due.insert(id, was_read);
        }
        history.checker.set_due(|id, _| due.get(id).copied());
        lags.sort_unstable();
        lags
    }

    /// The mail programs of all users.
    pub fn programs(scale: Scale) -> Vec<Vec<RealProgram>> {
        let of_user = |user| (0..CLIENTS_PER_USER).map(move |client| RealProgram::number(user + client));
        (0..scale.users).map(|user| of_user(user).collect()).collect()
    }

    /// Ends all proxies, and counts what reached Dovecot.
    pub fn sessions(&self, history: &History) -> Sessions {
        let decisions = history.proxies.decision_logs();
        let ends = self.dovecot.log_lines(&["Disconnected: ", "retr="]);
        let sessions = Sessions::of(&decisions, &ends, history.over_ms.load(Ordering::Relaxed));
        println!("{sessions:?}, {:.2} % in vain", sessions.vain_percent());
        sessions
    }
}

/// `lmtp(user3)<812><QIRvA9M2DWu8AAAAg+zDdQ>: Error: …`
fn lmtp_session(line: &str) -> Option<&str> {
    line.split_once(">: Error: ")?.0.rsplit_once('<').map(|(_, session)| session)
}

/// A mail program of a kind that leaves messages on the server.
pub struct RealProgram {
    program: Box<dyn Keeps + Send>,
    name: &'static str,
    /// Exit codes of a poll without an error.
    done: &'static [i32],
}

impl RealProgram {
    fn number(number: usize) -> Self {
        let (program, name, done): (Box<dyn Keeps + Send>, _, &[i32]) = match number % 5 {
            0 => (Box::new(Fetchmail::that_keeps_by_unique_id()), "fetchmail with uidl", &[0, 1]),
            1 => (Box::new(Mpop::that_keeps()), "mpop", &[0]),
            2 => (Box::new(Poplib::that_keeps()), "poplib", &[0, 1]),
            3 => (Box::new(Fetchmail::that_keeps()), "fetchmail", &[0, 1]),
            _ => (Box::new(Getmail::that_keeps()), "getmail", &[0]),
        };
        Self { program, name, done }
    }
}

impl Program for RealProgram {
    fn poll(&mut self, account: &Account) -> Option<Vec<String>> {
        let poll = self.program.poll(account);
        // An exception of Python has the code of a poll without new mail.
        let is_done = self.done.contains(&poll.exit) && !poll.said.contains("Traceback");
        is_done.then(|| self.program.message_ids())
    }

    fn name(&self) -> &'static str {
        self.name
    }
}
