//! Plays a plan in which the maildrop moves, and compares each reply with the model.

use std::fmt::Write as _;

use super::figures::Figures;
use super::moved_model::{Delivery, Expected, Model, stuffed, top};
use super::moved_plan::{By, MovedPlan, Step};
use super::site::Site;
use super::wire::{Reply, Wire, is_multi_line};
use crate::support::account::PASSWORD;
use crate::support::proxy::INTERVAL;
use reprieve::session::CountersSnapshot;

/// Plays a plan with a user whom nobody has used; the first difference, if there is one.
pub fn run(site: &mut Site<'_>, plan: &MovedPlan, figures: &mut Figures) -> Option<String> {
    let user = site.pair().through;
    let counters = site.settled();
    let mut play = Play {
        site,
        user,
        model: Model::default(),
        wire: None,
        counters,
        figures,
        transcript: String::new(),
    };
    play.figures.dialogues += 1;
    let result = plan.steps.iter().try_for_each(|&step| play.step(step));
    let result = result.and_then(|()| play.step(Step::HangUp));
    let transcript = play.transcript;
    result.err().map(|why| format!("{why}\n{transcript}"))
}

/// A plan that is played.
struct Play<'a, 'b> {
    site: &'a Site<'b>,
    user: String,
    model: Model,
    /// The session under way.
    wire: Option<Wire>,
    /// The counters when it began.
    counters: CountersSnapshot,
    figures: &'a mut Figures,
    transcript: String,
}

impl Play<'_, '_> {
    /// The error says what differs.
    fn step(&mut self, step: Step) -> Result<(), String> {
        let is_open = self.wire.is_some();
        match step {
            Step::Deliver(lines) => self.deliver(lines),
            Step::Expunge(place, by) => self.expunge(place - 1, by),
            Step::IntervalPasses if !is_open => {
                self.site.proxy.clock.advance(INTERVAL);
                self.model.let_the_interval_pass();
                let _ = writeln!(self.transcript, "  the interval is over");
            }
            Step::LogIn(right) if !is_open => return self.log_in(right),
            _ if !is_open => {}
            Step::Stat => return self.ask("STAT", self.model.totals()),
            Step::List(number) => {
                let rows = self.model.rows_of(number, |message| self.model.size_row(message));
                return self.ask(&with_number("LIST", number), rows);
            }
            Step::Uidl(number) => {
                return self.ask(&with_number("UIDL", number), self.model.rows_of(number, id));
            }
            Step::Retr(number) => {
                let expected = self.model.about(number, |text| Expected::Lines(stuffed(text)));
                return self.ask(&format!("RETR {number}"), expected);
            }
            Step::Top(number, lines) => {
                let expected = self.model.about(number, |text| Expected::Lines(stuffed(&top(text, lines))));
                return self.ask(&format!("TOP {number} {lines}"), expected);
            }
            Step::Dele(number) => return self.delete(number),
            Step::Rset => {
                self.ask("RSET", Expected::Ok)?;
                self.model.reset();
            }
            Step::Noop => return self.ask("NOOP", Expected::Ok),
            Step::Quit => return self.quit(),
            Step::HangUp => self.end(false),
            Step::IntervalPasses | Step::LogIn(_) => {}
        }
        Ok(())
    }

    fn deliver(&mut self, lines: usize) {
        let number = self.model.present.len();
        let body = ".a line\n".repeat(lines);
        let text = format!("From: <a@example.org>\nSubject: {lines} lines, {number} before\n\n{body}");
        let delivery = self.model.deliver(text.replace('\n', "\r\n"));
        self.site.server.deliver(&[&self.user], delivery, text.as_bytes());
        self.figures.deliveries += 1;
        let _ = writeln!(self.transcript, "  {} is delivered", id(delivery));
    }

    fn expunge(&mut self, place: usize, by: By) {
        if place >= self.model.present.len() {
            return;
        }
        let id = id(self.model.remove(place));
        self.figures.expunges += 1;
        let _ = writeln!(self.transcript, "  somebody removes {id}, {by:?}");
        match by {
            By::File => self.site.server.remove(&self.user, &id),
            By::Session => {
                let mut wire = Wire::open(self.site.server.address());
                let lines =
                    format!("USER {}\r\nPASS {PASSWORD}\r\nDELE {}\r\nQUIT\r\n", self.user, place + 1);
                wire.send(lines.as_bytes(), &[]);
                let replies: Vec<_> = (0..5).map(|_| wire.reply(false)).collect();
                assert!(replies.iter().all(Reply::is_ok), "another client deletes {id}: {replies:?}");
            }
        }
    }

    fn log_in(&mut self, right: bool) -> Result<(), String> {
        self.counters = self.site.settled();
        let mut wire = Wire::open(self.site.proxy.address());
        let password = if right { PASSWORD } else { "wrong" };
        wire.send(format!("USER {}\r\nPASS {password}\r\n", self.user).as_bytes(), &[]);
        let replies = [wire.reply(false), wire.reply(false), wire.reply(false)];
        let _ = writeln!(self.transcript, "  C: login\n  S: {:?}", replies[2]);
        if replies[2].is_ok() != right {
            return Err("the login".to_owned());
        }
        self.wire = Some(wire);
        if !right {
            self.model.refuse();
            self.end(false);
            return Ok(());
        }
        // The verdict is counted before the login is answered.
        let posed = self.site.proxy.server.counters().posed > self.counters.posed;
        let _ = writeln!(self.transcript, "  ({})", if posed { "posed" } else { "passed" });
        if posed && self.model.must_pass() {
            return Err("the login is posed, although it must pass".to_owned());
        }
        if !posed && self.model.must_be_posed() {
            return Err("the login passes, although nothing is new to Reprieve".to_owned());
        }
        self.model.log_in(posed);
        self.figures.passed += u64::from(!posed);
        self.figures.posed += u64::from(posed);
        // Dovecot opens the maildrop after its +OK: now it has.
        self.ask("STAT", self.model.totals())
    }

    fn delete(&mut self, number: usize) -> Result<(), String> {
        let expected = self.model.about(number, |_| Expected::Ok);
        let reply = self.reply(&format!("DELE {number}"));
        if reply.is_ok() && expected != Expected::Refused {
            self.model.mark(number);
        }
        self.judge(&reply, expected)
    }

    fn quit(&mut self) -> Result<(), String> {
        let expected = match self.model.is_disturbed() {
            true => Expected::Perhaps(Box::new(Expected::Ok)),
            false => Expected::Ok,
        };
        let deletions = self.model.open.as_ref().map_or(0, |open| open.marked.len());
        let reply = self.reply("QUIT");
        self.judge(&reply, expected)?;
        if self.wire.is_none() {
            return Ok(());
        }
        self.figures.deletions += deletions as u64;
        if reply.is_ok() {
            self.end(true);
            return self.maildrop_is_right();
        }
        self.lose();
        Ok(())
    }

    /// The messages of the maildrop are those of the model.
    fn maildrop_is_right(&mut self) -> Result<(), String> {
        self.figures.maildrops += 1;
        let stored = self.site.server.stored(&self.user);
        let base = |name: &str| name.split(':').next().unwrap_or_default().to_owned();
        let stored: Vec<_> = stored.iter().map(|(name, _)| base(name)).collect();
        let right: Vec<_> = self.model.present.iter().map(|&message| id(message)).collect();
        if stored == right { Ok(()) } else { Err(format!("the maildrop has {stored:?}, not {right:?}")) }
    }

    /// The session is over.
    fn end(&mut self, quit: bool) {
        if self.wire.take().is_none() {
            return;
        }
        let _ = writeln!(self.transcript, "  (the client has gone)");
        self.model.end(quit);
        self.count(quit);
    }

    /// The connection has ended although the client did not ask for it.
    fn lose(&mut self) {
        self.wire = None;
        self.model.lose();
        self.count(false);
    }

    fn count(&mut self, quit: bool) {
        self.figures.sessions += 1;
        self.figures.without_quit += u64::from(!quit);
        let after = self.site.settled();
        self.figures.upgraded += u64::from(after.upgrades > self.counters.upgrades);
        self.counters = after;
    }

    fn reply(&mut self, command: &str) -> Reply {
        let wire = self.wire.as_mut().expect("a session is open");
        wire.send(format!("{command}\r\n").as_bytes(), &[]);
        let reply = wire.reply(is_multi_line(command.as_bytes()));
        self.figures.replies += 1;
        let _ = write!(self.transcript, "  C: {command}\n  S: {reply:?}\n");
        reply
    }

    fn ask(&mut self, command: &str, expected: Expected) -> Result<(), String> {
        let reply = self.reply(command);
        self.judge(&reply, expected)
    }

    fn judge(&mut self, reply: &Reply, expected: Expected) -> Result<(), String> {
        let is_cut = *reply == Reply::End || reply.body().is_some_and(|body| body.ends_with(b"(cut)"));
        if is_cut && self.model.is_disturbed() {
            // Dovecot closes a session under which messages were removed, with any command.
            self.lose();
            return Ok(());
        }
        let is_right = match &expected {
            Expected::Text(text) => reply.status() == format!("+OK {text}").as_bytes(),
            Expected::Lines(lines) => reply.is_ok() && reply.body() == Some(&lines[..]),
            Expected::Ok => reply.is_ok(),
            Expected::Refused => reply.sign() == b"-ERR",
            Expected::Perhaps(_) if reply.sign() == b"-ERR" => true,
            Expected::Perhaps(expected) => return self.judge(reply, (**expected).clone()),
        };
        if is_right { Ok(()) } else { Err(format!("expected {expected:?}, got {reply:?}")) }
    }
}

fn with_number(verb: &str, number: Option<usize>) -> String {
    number.map_or_else(|| verb.to_owned(), |number| format!("{verb} {number}"))
}

/// The unique-id of a message: its file's name.
fn id(message: Delivery) -> String {
    crate::support::dovecot::file_name(message)
}
