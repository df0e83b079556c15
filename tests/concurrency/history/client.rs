//! A client that notes what it sees.

use std::sync::Arc;

use reprieve_store::clock::ManualClock;

use super::proxies::Proxies;
use super::record::{Event, Login, Sequence, Session, What};
use crate::support::dialogue::Dialogue;

/// A session under way.
pub struct Client {
    dialogue: Dialogue,
    sequence: Arc<Sequence>,
    clock: Arc<ManualClock>,
    session: Session,
}

impl Client {
    /// Connects and sends user and password; the answer to that is not taken yet.
    #[track_caller]
    pub fn begin(
        proxies: &Proxies,
        sequence: &Arc<Sequence>,
        proxy: usize,
        user: &str,
        password: &str,
    ) -> Self {
        let mut dialogue = Dialogue::open(proxies.address(proxy));
        dialogue.ok(&format!("USER {user}"));
        let clock = proxies.clock().clone();
        let start = (sequence.next(), clock.now_ms());
        dialogue.send(&format!("PASS {password}"));
        let session =
            Session { proxy, start, answered: start, login: Login::Unanswered, events: Vec::new(), end: 0 };
        Self { dialogue, sequence: sequence.clone(), clock, session }
    }

    /// Takes the answer to the password.
    #[track_caller]
    pub fn answered(&mut self) -> Login {
        let reply = self.dialogue.line();
        self.session.answered = (self.sequence.next(), self.clock.now_ms());
        self.session.login = match reply.strip_prefix("+OK") {
            None => Login::Refused,
            Some(text) => text
                .strip_prefix(" visit ")
                .map_or(Login::Posed, |number| Login::Passed(number.parse().expect("a number"))),
        };
        self.session.login
    }

    /// What became of the password.
    pub fn login(&self) -> Login {
        self.session.login
    }

    fn note(&mut self, what: What) {
        self.session.events.push(Event { at: self.sequence.next(), what });
    }

    /// STAT.
    #[track_caller]
    pub fn stat(&mut self) -> String {
        let totals = self.dialogue.ok("STAT");
        self.note(What::Totals(totals.clone()));
        totals
    }

    /// Sends STAT; the reply is not taken yet.
    #[track_caller]
    pub fn ask_totals(&mut self) {
        self.dialogue.send("STAT");
    }

    /// Takes the reply to STAT.
    #[track_caller]
    pub fn take_totals(&mut self) {
        let totals = self.dialogue.accepted();
        self.note(What::Totals(totals));
    }

    /// LIST.
    #[track_caller]
    pub fn list(&mut self) {
        let rows = self.dialogue.lines("LIST");
        self.note(What::Sizes(rows));
    }

    /// UIDL; the unique-ids.
    #[track_caller]
    pub fn unique_ids(&mut self) -> Vec<String> {
        let rows = self.dialogue.lines("UIDL");
        let ids = rows.iter().filter_map(|row| row.split(' ').nth(1)).map(str::to_owned).collect();
        self.note(What::UniqueIds(rows));
        ids
    }

    /// RETR.
    #[track_caller]
    pub fn retrieve(&mut self, number: usize) {
        self.ask_for(number);
        self.take_message(number);
    }

    /// Sends RETR; the reply is not taken yet.
    #[track_caller]
    pub fn ask_for(&mut self, number: usize) {
        self.dialogue.send(&format!("RETR {number}"));
    }

    /// Takes the reply to RETR.
    #[track_caller]
    pub fn take_message(&mut self, number: usize) {
        if self.dialogue.line().starts_with("+OK") {
            let lines = self.dialogue.body();
            let id = lines.first().and_then(|line| line.strip_prefix("Subject: ")).unwrap_or_default();
            self.note(What::Retrieved(number, id.to_owned()));
        } else {
            self.note(What::Refused("RETR".to_owned(), number));
        }
    }

    /// DELE.
    #[track_caller]
    pub fn delete(&mut self, number: usize) {
        self.dialogue.send(&format!("DELE {number}"));
        let deleted = self.dialogue.line().starts_with("+OK");
        self.note(if deleted { What::Deleted(number) } else { What::Refused("DELE".to_owned(), number) });
    }

    /// RSET.
    #[track_caller]
    pub fn reset(&mut self) {
        self.dialogue.ok("RSET");
        self.note(What::Reset);
    }

    /// NOOP.
    #[track_caller]
    pub fn nothing(&mut self) {
        self.dialogue.ok("NOOP");
    }

    /// QUIT, and the answer to it.
    #[track_caller]
    pub fn quit(mut self) -> Session {
        self.note(What::QuitSent);
        self.dialogue.send("QUIT");
        let reply = self.dialogue.line();
        self.note(What::QuitAnswered(reply.starts_with("+OK")));
        self.over()
    }

    /// QUIT, without waiting for the answer.
    #[track_caller]
    pub fn quit_and_hang_up(mut self) -> Session {
        self.note(What::QuitSent);
        self.dialogue.send("QUIT");
        self.over()
    }

    /// Hangs up as it is.
    pub fn hang_up(self) -> Session {
        self.over()
    }

    fn over(self) -> Session {
        let Self { dialogue, sequence, mut session, .. } = self;
        drop(dialogue);
        session.end = sequence.next();
        session
    }
}
