//! A mail server that stops sessions where a test wants it.

use std::sync::{Arc, Condvar, Mutex};

use super::client::Client;
use super::mail_server::{Behavior, LoginReply, MailServer, Moment, ServerSession};
use super::proxies::{INTERVAL, Proxies, Share};
use super::record::Login;
use crate::support::DEADLINE;
use crate::support::account::PASSWORD;

/// Where sessions stop until the test lets them go on.
pub struct Script {
    /// What becomes of the right password.
    pub accepts: LoginReply,
    holds: Mutex<Vec<(String, Moment, Arc<Gate>)>>,
    refusals: Mutex<Vec<(String, LoginReply)>>,
}

impl Behavior for Script {
    fn check_password(&self, session: &ServerSession, password: &str) -> LoginReply {
        let mut refusals = self.refusals.lock().unwrap();
        if let Some(place) = refusals.iter().position(|(user, _)| *user == session.user) {
            return refusals.remove(place).1;
        }
        if password == PASSWORD { self.accepts } else { LoginReply::Refuse("-ERR [AUTH] wrong\r\n") }
    }

    fn wait(&self, session: &ServerSession, moment: Moment) {
        let mut holds = self.holds.lock().unwrap();
        let place = holds.iter().position(|(user, held, _)| *user == session.user && *held == moment);
        let gate = place.map(|place| holds.remove(place).2);
        drop(holds);
        if let Some(gate) = gate {
            gate.reach();
        }
    }
}

/// Stops one session, once.
#[derive(Default)]
pub struct Gate {
    reached_and_open: Mutex<(bool, bool)>,
    changed: Condvar,
}

impl Gate {
    fn until(&self, holds: impl Fn((bool, bool)) -> bool) -> bool {
        let state = self.reached_and_open.lock().unwrap();
        let waited = self.changed.wait_timeout_while(state, DEADLINE, |state| !holds(*state)).unwrap();
        !waited.1.timed_out()
    }

    fn reach(&self) {
        self.reached_and_open.lock().unwrap().0 = true;
        self.changed.notify_all();
        self.until(|(_, open)| open);
    }

    /// Waits until the session stands here.
    #[track_caller]
    pub fn reached(&self) {
        assert!(self.until(|(reached, _)| reached), "no session has come so far");
    }

    /// Lets it go on.
    pub fn open(&self) {
        self.reached_and_open.lock().unwrap().1 = true;
        self.changed.notify_all();
    }
}

/// Proxies in front of a mail server that goes by a script.
pub struct Site {
    /// The proxies; they end before the mail server.
    pub proxies: Proxies,
    /// The mail server.
    pub server: MailServer<Script>,
}

impl Site {
    /// A mail server that accepts the right password in this way.
    pub fn new(share: Share, accepts: LoginReply) -> Self {
        let script = Script { accepts, holds: Mutex::default(), refusals: Mutex::default() };
        let server = MailServer::start(script);
        Self { proxies: Proxies::start(share, server.address()), server }
    }

    /// Each way in which so many sessions can come to the proxies, with a user of its own who
    /// has two messages.
    pub fn ways(&self, case: &str, sessions: u32) -> Vec<(String, Vec<usize>)> {
        let proxies = self.proxies.count();
        let ways = (0..proxies.pow(sessions)).map(|way| {
            let user = format!("{case}-{way}");
            self.server.deliver(&user);
            self.server.deliver(&user);
            (user, (0..sessions).map(|place| way / proxies.pow(place) % proxies).collect())
        });
        ways.collect()
    }

    /// Stops the next session of this user that comes to this moment.
    pub fn hold(&self, user: &str, moment: Moment) -> Arc<Gate> {
        let gate = Arc::new(Gate::default());
        self.server.behavior().holds.lock().unwrap().push((user.to_owned(), moment, gate.clone()));
        gate
    }

    /// The next login of this user comes to this.
    pub fn refuse(&self, user: &str, reply: LoginReply) {
        self.server.behavior().refusals.lock().unwrap().push((user.to_owned(), reply));
    }

    /// A session of which the password has been sent.
    #[track_caller]
    pub fn begin(&self, proxy: usize, user: &str) -> Client {
        Client::begin(&self.proxies, self.server.sequence(), proxy, user, PASSWORD)
    }

    /// A session that has passed.
    #[track_caller]
    pub fn pass(&self, proxy: usize, user: &str) -> Client {
        let mut client = self.begin(proxy, user);
        let login = client.answered();
        assert!(matches!(login, Login::Passed(_)), "{login:?}");
        client
    }

    /// A whole poll: what became of the login, and the unique-ids.
    #[track_caller]
    pub fn poll(&self, proxy: usize, user: &str) -> (Login, Vec<String>) {
        let mut client = self.begin(proxy, user);
        let login = client.answered();
        let ids = client.unique_ids();
        client.quit();
        (login, ids)
    }

    /// A poll that the policy denies.
    #[track_caller]
    pub fn denied(&self, proxy: usize, user: &str) -> (Login, Vec<String>) {
        let denied = self.proxies.counted(|counters| counters.denied);
        let poll = self.poll(proxy, user);
        assert_eq!(self.proxies.counted(|counters| counters.denied), denied + 1, "it is not denied");
        poll
    }

    /// After a session of its own, the user is relieved at that proxy.
    #[track_caller]
    pub fn is_relieved(&self, proxy: usize, user: &str) {
        self.proxies.clock().advance(INTERVAL);
        let (passed, seen) = self.poll(proxy, user);
        assert!(matches!(passed, Login::Passed(_)), "{passed:?}");
        assert_eq!(self.denied(proxy, user), (Login::Posed, seen));
    }
}
