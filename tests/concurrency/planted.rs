//! Invented histories: each breaks one rule, which the checker has to report.

use crate::history::checker::{Rule, violations};
use crate::history::record::{Event, History, Login, Message, Outage, Session, Visit, What};

/// Builds a history: each call is the next event.
struct Planted {
    now: u64,
    clock: u64,
    history: History,
}

impl Planted {
    /// Starts with a user who has two messages.
    fn new() -> Self {
        let history =
            History { user: "u".to_owned(), interval_ms: 1000, shares_snapshots: true, ..History::default() };
        let mut planted = Self { now: 0, clock: 0, history };
        planted.deliver();
        planted.deliver();
        planted
    }

    fn next(&mut self) -> u64 {
        self.now += 1;
        self.now
    }

    fn deliver(&mut self) {
        let delivered = self.next();
        let index = self.history.maildrop.messages.len();
        let message =
            Message { id: format!("u.{index}"), size: 100 + index as u64, delivered, removed: None };
        self.history.maildrop.messages.push(message);
    }

    fn remove(&mut self, index: usize, by: Option<usize>) {
        let now = self.next();
        self.history.maildrop.messages[index].removed = Some((now, by.map(|session| session as u64)));
    }

    /// A login; the mail server gets the password between its start and its reply.
    fn begin(&mut self, login: Login) -> usize {
        let (start, began, answered) = (self.next(), self.next(), self.next());
        if let Login::Passed(number) = login {
            let opened = Some(self.history.maildrop.present());
            self.history.maildrop.visits.push(Visit { number, began, opened, ended: None });
        }
        let clock = self.clock;
        let session = Session {
            proxy: 0,
            start: (start, clock),
            answered: (answered, clock),
            login,
            events: Vec::new(),
            end: u64::MAX,
        };
        self.history.sessions.push(session);
        self.history.sessions.len() - 1
    }

    /// A passed session; its visit has its number.
    fn pass(&mut self) -> usize {
        self.begin(Login::Passed(self.history.sessions.len() as u64))
    }

    fn pose(&mut self) -> usize {
        self.begin(Login::Posed)
    }

    fn see(&mut self, session: usize, what: What) {
        let at = self.next();
        self.history.sessions[session].events.push(Event { at, what });
    }

    fn ids(&mut self, session: usize, messages: &[usize]) {
        let rows = messages.iter().zip(1..).map(|(index, number)| format!("{number} u.{index}"));
        self.see(session, What::UniqueIds(rows.collect()));
    }

    fn end(&mut self, session: usize) {
        let now = self.next();
        self.history.sessions[session].end = now;
        for visit in self.history.maildrop.visits.iter_mut().filter(|visit| visit.number == session as u64) {
            visit.ended = Some(now);
        }
    }

    /// A regular QUIT.
    fn quit(&mut self, session: usize) {
        self.see(session, What::QuitSent);
        let shown = self.history.maildrop.visit(session as u64).and_then(|visit| visit.opened.clone());
        for number in self.history.sessions[session].marked(u64::MAX) {
            self.remove(shown.as_ref().expect("it has passed")[number - 1], Some(session));
        }
        self.see(session, What::QuitAnswered(true));
        self.end(session);
    }

    /// A complete passed session that lists the maildrop.
    fn poll(&mut self) {
        self.clock += self.history.interval_ms;
        let session = self.pass();
        let present = self.history.maildrop.present();
        self.ids(session, &present);
        self.quit(session);
    }

    /// A complete posed session that shows these messages.
    fn shown(&mut self, messages: &[usize]) {
        let session = self.pose();
        self.ids(session, messages);
        self.quit(session);
    }
}

impl Planted {
    /// A session at another proxy, which is without the store meanwhile, is shown a new message, and a
    /// session at this proxy or at that one is not. The proxy has the store again before, or it has not.
    fn shown_less(&mut self, proxy: usize, is_over: bool) {
        self.poll();
        self.deliver();
        let from = self.next();
        let session = self.pass();
        self.history.sessions[session].proxy = 1;
        self.ids(session, &[0, 1, 2]);
        let to = if is_over { self.next() } else { u64::MAX };
        self.history.outages.push(Outage { proxy: 1, from, to });
        self.shown(&[0, 1]);
        self.history.sessions.last_mut().expect("a session").proxy = proxy;
        self.quit(session);
    }

    /// A posed session at another proxy, which is without the store meanwhile, is upgraded and finds new
    /// mail, and the next session at this proxy is posed. The other proxy has the store again before, or it
    /// has not.
    fn upgraded_without_the_store(&mut self, is_over: bool) {
        self.poll();
        self.deliver();
        let from = self.next();
        let session = self.pose();
        self.history.sessions[session].proxy = 1;
        self.ids(session, &[0, 1]);
        let (began, opened) = (self.next(), Some(self.history.maildrop.present()));
        self.see(session, What::Retrieved(1, "u.0".to_owned()));
        self.quit(session);
        let ended = Some(self.next());
        self.history.maildrop.visits.push(Visit { number: 99, began, opened, ended });
        let to = if is_over { self.next() } else { u64::MAX };
        self.history.outages.push(Outage { proxy: 1, from, to });
        self.shown(&[0, 1]);
    }
}

type Plant = (&'static str, &'static [Rule], fn(&mut Planted));

fn check(plants: &[Plant]) {
    for (name, rules, plant) in plants {
        let mut planted = Planted::new();
        plant(&mut planted);
        let found = violations(&planted.history);
        let mut broken: Vec<_> = found.iter().map(|violation| violation.rule).collect();
        broken.dedup();
        assert_eq!(broken, *rules, "{name}:\n{}\n{found:#?}", planted.history);
    }
}

#[test]
fn a_correct_history_has_no_violation() {
    check(&[
        ("a poll, and the same shown", &[], |it| {
            it.poll();
            it.shown(&[0, 1]);
        }),
        ("a message that no session showed", &[], |it| {
            it.poll();
            it.deliver();
            it.shown(&[0, 1]);
        }),
        ("a message that is gone without a deletion", &[], |it| {
            it.poll();
            it.remove(0, None);
            it.shown(&[0, 1]);
        }),
        ("a deletion, and what it left", &[], |it| {
            let session = it.pass();
            it.ids(session, &[0, 1]);
            it.see(session, What::Deleted(1));
            it.quit(session);
            it.shown(&[1]);
        }),
        ("a deletion that another session has not seen", &[], |it| {
            let (first, second) = (it.pass(), it.pass());
            it.ids(second, &[0, 1]);
            it.see(second, What::Deleted(1));
            it.quit(second);
            it.ids(first, &[0, 1]);
            it.quit(first);
            it.poll();
        }),
        ("a login that started before a deletion was acknowledged", &[], |it| {
            it.poll();
            let session = it.pass();
            it.ids(session, &[0, 1]);
            it.see(session, What::Deleted(1));
            let posed = it.pose();
            it.quit(session);
            it.ids(posed, &[0, 1]);
            it.quit(posed);
        }),
        ("an interval later", &[], |it| {
            it.poll();
            it.poll();
        }),
        ("after a session without QUIT", &[], |it| {
            let session = it.pass();
            it.ids(session, &[0, 1]);
            it.see(session, What::Deleted(1));
            it.end(session);
            it.poll();
        }),
    ]);
}

#[test]
fn an_older_maildrop_is_a_violation() {
    check(&[
        ("than that of a session that is over", &[Rule::NeverOlder], |it| {
            it.poll();
            it.deliver();
            it.poll();
            let other = it.pass();
            it.shown(&[0, 1]);
            it.ids(other, &[0, 1, 2]);
            it.quit(other);
        }),
        ("than that of a session under way", &[Rule::NeverOlder], |it| {
            it.poll();
            it.deliver();
            let session = it.pass();
            it.ids(session, &[0, 1, 2]);
            it.shown(&[0, 1]);
            it.quit(session);
        }),
        ("than STAT's totals in a session that passed", &[Rule::NeverOlder], |it| {
            it.deliver();
            let session = it.pass();
            it.see(session, What::Totals("3 303".to_owned()));
            it.shown(&[0, 1]);
            it.quit(session);
        }),
        ("than one that was posed", &[Rule::NeverOlder], |it| {
            it.deliver();
            let session = it.pass();
            let posed = it.pose();
            it.ids(posed, &[0, 1, 2]);
            it.shown(&[0, 1]);
            it.quit(posed);
            it.quit(session);
        }),
        ("by its totals", &[Rule::NeverOlder], |it| {
            let session = it.pass();
            it.ids(session, &[0, 1]);
            let posed = it.pose();
            it.see(posed, What::Totals("1 100".to_owned()));
            it.quit(posed);
            it.quit(session);
        }),
        ("by the rows of LIST", &[Rule::NeverOlder], |it| {
            let session = it.pass();
            it.ids(session, &[0, 1]);
            let posed = it.pose();
            it.see(posed, What::Sizes(vec!["1 100".to_owned()]));
            it.quit(posed);
            it.quit(session);
        }),
        ("with a message that was seen to be gone", &[Rule::NeverOlder], |it| {
            it.poll();
            it.remove(0, None);
            let session = it.pass();
            it.ids(session, &[1]);
            it.shown(&[0, 1]);
            it.quit(session);
        }),
        ("with a hole", &[Rule::NeverOlder], |it| {
            let session = it.pass();
            it.shown(&[1]);
            it.quit(session);
        }),
    ]);
}

#[test]
fn a_deleted_message_that_comes_back_is_a_violation() {
    check(&[
        ("in its place", &[Rule::NeverDeleted], |it| {
            let late = it.pass();
            let session = it.pass();
            it.ids(session, &[0, 1]);
            it.see(session, What::Deleted(1));
            it.quit(session);
            it.shown(&[0, 1]);
            it.quit(late);
        }),
        ("by the totals", &[Rule::NeverDeleted], |it| {
            let late = it.pass();
            let session = it.pass();
            it.ids(session, &[0, 1]);
            it.see(session, What::Deleted(1));
            it.quit(session);
            let posed = it.pose();
            it.see(posed, What::Totals("2 201".to_owned()));
            it.quit(posed);
            it.quit(late);
        }),
    ]);
}

#[test]
fn different_bytes_are_a_violation() {
    check(&[
        ("a word less", &[Rule::ByteForByte], |it| {
            it.poll();
            let posed = it.pose();
            it.see(posed, What::UniqueIds(vec!["1 u.0 x".to_owned(), "2 u.1".to_owned()]));
            it.quit(posed);
        }),
        ("numbers in another order", &[Rule::ByteForByte], |it| {
            it.poll();
            let posed = it.pose();
            it.see(posed, What::UniqueIds(vec!["2 u.0".to_owned(), "3 u.1".to_owned()]));
            it.quit(posed);
        }),
        ("another user's unique-id", &[Rule::ByteForByte], |it| {
            it.poll();
            let posed = it.pose();
            it.see(posed, What::UniqueIds(vec!["1 u.0".to_owned(), "2 u.1".to_owned(), "3 v.0".to_owned()]));
            it.quit(posed);
        }),
        ("another size", &[Rule::ByteForByte], |it| {
            it.poll();
            let posed = it.pose();
            it.ids(posed, &[0, 1]);
            it.see(posed, What::Sizes(vec!["1 100".to_owned(), "2 102".to_owned()]));
            it.quit(posed);
        }),
        ("another sum", &[Rule::ByteForByte], |it| {
            it.poll();
            let posed = it.pose();
            it.ids(posed, &[0, 1]);
            it.see(posed, What::Totals("2 202".to_owned()));
            it.quit(posed);
        }),
        ("a message that the session has marked", &[Rule::ByteForByte], |it| {
            let session = it.pass();
            it.ids(session, &[0, 1]);
            it.see(session, What::Deleted(1));
            it.ids(session, &[0, 1]);
            it.quit(session);
        }),
    ]);
}

#[test]
fn a_deletion_committed_after_the_reply_to_quit_is_a_violation() {
    check(&[
        ("a login that passes without need", &[Rule::Committed], |it| {
            it.poll();
            let session = it.pass();
            it.ids(session, &[0, 1]);
            it.quit(session);
        }),
        ("a login that passes without need when all have gone", &[Rule::Committed], |it| {
            let session = it.pass();
            it.end(session);
            it.history.settled = it.next();
            it.poll();
            let session = it.pass();
            it.ids(session, &[0, 1]);
            it.quit(session);
        }),
        ("a listing without what the client did not ask for", &[Rule::Committed], |it| {
            let session = it.pass();
            it.quit(session);
            it.shown(&[0]);
        }),
    ]);
}

#[test]
fn unconfirmed_and_missing_deletions_are_violations() {
    check(&[
        ("without QUIT", &[Rule::Confirmed], |it| {
            let session = it.pass();
            it.ids(session, &[0, 1]);
            it.see(session, What::Deleted(1));
            it.remove(0, Some(session));
            it.end(session);
        }),
        ("after RSET", &[Rule::Confirmed], |it| {
            let session = it.pass();
            it.ids(session, &[0, 1]);
            it.see(session, What::Deleted(1));
            it.see(session, What::Reset);
            it.see(session, What::QuitSent);
            it.remove(0, Some(session));
            it.see(session, What::QuitAnswered(true));
            it.end(session);
        }),
        ("of another message", &[Rule::Confirmed], |it| {
            let session = it.pass();
            it.ids(session, &[0, 1]);
            it.see(session, What::Deleted(1));
            it.see(session, What::QuitSent);
            it.remove(0, Some(session));
            it.remove(1, Some(session));
            it.see(session, What::QuitAnswered(true));
            it.end(session);
        }),
        ("acknowledged, and still there", &[Rule::Confirmed], |it| {
            let session = it.pass();
            it.ids(session, &[0, 1]);
            it.see(session, What::Deleted(1));
            it.see(session, What::QuitSent);
            it.see(session, What::QuitAnswered(true));
            it.end(session);
        }),
    ]);
}

#[test]
fn a_wrong_message_is_a_violation() {
    check(&[
        ("another one", &[Rule::RightMessage], |it| {
            it.poll();
            let posed = it.pose();
            it.ids(posed, &[0, 1]);
            it.see(posed, What::Retrieved(1, "u.1".to_owned()));
            it.quit(posed);
        }),
        ("none", &[Rule::RightMessage], |it| {
            it.poll();
            let posed = it.pose();
            it.ids(posed, &[0, 1]);
            it.see(posed, What::Refused("RETR".to_owned(), 1));
            it.quit(posed);
        }),
    ]);
}

#[test]
fn what_a_proxy_without_the_store_has_shown_the_others_need_not_know_until_that_is_over() {
    check(&[
        ("less at another proxy, meanwhile", &[], |it| it.shown_less(0, false)),
        ("less at another proxy, afterwards", &[Rule::NeverOlder], |it| it.shown_less(0, true)),
        ("less at the same proxy, meanwhile", &[Rule::NeverOlder], |it| it.shown_less(1, false)),
        ("an upgrade at another proxy, meanwhile", &[], |it| it.upgraded_without_the_store(false)),
        ("an upgrade at another proxy, afterwards", &[Rule::Committed], |it| {
            it.upgraded_without_the_store(true);
        }),
        ("a login that passes because the store was lost", &[], |it| {
            it.poll();
            let (from, to) = (it.next(), it.next());
            it.history.outages.push(Outage { proxy: 0, from, to });
            let session = it.pass();
            it.ids(session, &[0, 1]);
            it.quit(session);
        }),
        ("a login that passes although the store was lost before", &[Rule::Committed], |it| {
            let (from, to) = (it.next(), it.next());
            it.history.outages.push(Outage { proxy: 0, from, to });
            it.poll();
            let session = it.pass();
            it.ids(session, &[0, 1]);
            it.quit(session);
        }),
    ]);
}
