//! Plays a dialogue on twin maildrops, and compares.

use std::fmt::Write as _;

use super::allowed::straight_form;
use super::compare::difference;
use super::figures::Figures;
use super::maildrops::{Make, Pair};
use super::plan::{Leave, Plan, Say, SessionPlan, Write};
use super::site::Site;
use super::wire::{Reply, Wire, is_multi_line};
use crate::support::proxy::INTERVAL;
use reprieve::session::CountersSnapshot;

/// QUIT, and what must have no effect.
const MORE: &[u8] = b"QUIT\r\nDELE 1\r\nDELE 2\r\nQUIT\r\n";
/// What a client that hangs up sends last.
const UNREAD: &[u8] = b"RETR 1\r\nUIDL\r\nLIST\r\n";

/// Plays a dialogue with users whom nobody has used; the first difference, if there is one.
pub fn run(site: &mut Site<'_>, plan: &Plan, figures: &mut Figures) -> Option<String> {
    let pair = site.pair();
    for (number, message) in plan.messages.iter().enumerate() {
        site.server.deliver(&[&pair.straight, &pair.through], number, message);
    }
    figures.dialogues += 1;
    let mut before = site.settled();
    for (number, session) in plan.sessions.iter().enumerate() {
        if session.interval_over {
            site.proxy.clock.advance(INTERVAL);
        }
        let mut twins = TwinSession::open(site, &pair);
        let outcome = twins.play(session, figures);
        let transcript = std::mem::take(&mut twins.transcript);
        drop(twins);
        let after = site.settled();
        let kind = count(figures, before, after, session.leave);
        before = after;
        if let Err(why) = outcome {
            return Some(format!("session {number} ({kind}): {why}\n{transcript}"));
        }
        if session.leave != Leave::Quit {
            site.server.settle(&pair.straight);
            site.server.settle(&pair.through);
        }
        if let Some(why) = maildrops_differ(site, &pair, false, figures) {
            return Some(format!("after session {number} ({kind}): {why}\n{transcript}"));
        }
    }
    // A client that leaves without QUIT may have its messages marked as seen or not.
    if !plan.sessions.iter().all(|session| session.leave.quits()) {
        return None;
    }
    site.server.synchronize(&pair.straight);
    site.server.synchronize(&pair.through);
    maildrops_differ(site, &pair, true, figures).map(|why| format!("in the end: {why}"))
}

/// Counts a session that is over, and says what it was.
fn count(
    figures: &mut Figures,
    before: CountersSnapshot,
    after: CountersSnapshot,
    leave: Leave,
) -> &'static str {
    figures.sessions += 1;
    figures.without_quit += u64::from(!leave.quits());
    let (posed, upgraded) = (after.posed > before.posed, after.upgrades > before.upgrades);
    let passed = !posed && after.authenticated > before.authenticated;
    figures.posed += u64::from(posed);
    figures.upgraded += u64::from(upgraded);
    figures.passed += u64::from(passed);
    figures.refused += u64::from(!posed && !passed);
    match (posed, upgraded, passed) {
        (true, true, _) => "posed and upgraded",
        (true, false, _) => "posed",
        (_, _, true) => "passed",
        _ => "without a login",
    }
}

/// Both users have the same messages. A session that Reprieve poses moves no message from `new` to `cur`,
/// so that is not compared. `flags`: whether flags are, which the mail server writes when it pleases.
fn maildrops_differ(site: &Site<'_>, pair: &Pair, flags: bool, figures: &mut Figures) -> Option<String> {
    let stored = |user| {
        let mut stored = site.server.stored(user);
        if !flags {
            stored.iter_mut().for_each(|(name, _)| name.truncate(name.find(':').unwrap_or(name.len())));
        }
        stored
    };
    let (straight, through) = (stored(&pair.straight), stored(&pair.through));
    figures.maildrops += 1;
    if straight == through {
        return None;
    }
    let names = |stored: &[super::maildrops::Stored]| {
        stored
            .iter()
            .map(|(name, text)| format!("{name} ({} bytes)", text.len()))
            .collect::<Vec<_>>()
            .join(", ")
    };
    Some(format!("the messages differ\n  straight: {}\n  through:  {}", names(&straight), names(&through)))
}

/// Whether the mail server closes the connection because of too many bad commands. Reprieve has a limit of its
/// own.
fn is_closing(reply: &Reply) -> bool {
    reply.status().starts_with(b"-ERR Too many")
}

/// Where a client is in its login.
#[derive(Default)]
struct Progress {
    user: bool,
    challenged: bool,
    logged_in: bool,
}

impl Progress {
    /// Goes on by a line; whether the line is a response to a challenge.
    fn goes_on(&mut self, say: &Say, line: &[u8]) -> bool {
        if self.logged_in {
            return false;
        }
        if std::mem::take(&mut self.challenged) {
            self.logged_in = *say == Say::Response(true);
            return true;
        }
        match say {
            Say::User(_) => self.user = true,
            Say::Pass(right) => self.logged_in = std::mem::take(&mut self.user) && *right,
            Say::AuthPlain(right) => self.logged_in = *right,
            Say::Line(_) => self.challenged = line.eq_ignore_ascii_case(b"AUTH PLAIN"),
            Say::Response(_) => {}
        }
        false
    }
}

/// A session, straight and through Reprieve.
struct TwinSession<'a> {
    make: Make,
    pair: &'a Pair,
    straight: Wire,
    through: Wire,
    progress: Progress,
    ended: bool,
    transcript: String,
}

impl<'a> TwinSession<'a> {
    fn open(site: &Site<'_>, pair: &'a Pair) -> Self {
        Self {
            make: site.make(),
            pair,
            straight: Wire::open(site.server.address()),
            through: Wire::open(site.proxy.address()),
            progress: Progress::default(),
            ended: false,
            transcript: String::new(),
        }
    }

    /// The error says what differs.
    fn play(&mut self, session: &SessionPlan, figures: &mut Figures) -> Result<(), String> {
        let greetings = [self.straight.reply(false), self.through.reply(false)];
        if !greetings.iter().all(Reply::is_ok) {
            return Err(format!("the greetings: {greetings:?}"));
        }
        for write in &session.writes {
            self.write(write, false, figures)?;
        }
        self.leave(session.leave, figures)
    }

    /// Sends lines, and compares the replies.
    fn write(&mut self, write: &Write, then_half_close: bool, figures: &mut Figures) -> Result<(), String> {
        if self.ended {
            return Ok(());
        }
        let mut lines = Vec::new();
        for say in &write.says {
            let (straight, through) = (say.bytes(&self.pair.straight), say.bytes(&self.pair.through));
            let logged_in = self.progress.logged_in;
            let is_response = self.progress.goes_on(say, &through);
            let straight =
                if is_response { straight } else { straight_form(self.make, say, &straight, logged_in) };
            lines.push((say, straight, through));
        }
        let (straight, through): (Vec<_>, Vec<_>) =
            lines.iter().map(|(_, straight, through)| (straight.clone(), through.clone())).unzip();
        let loses_commands = self.make == Make::Cyrus;
        if !loses_commands {
            self.straight.send(&write.bytes(&straight), &write.pieces);
        }
        self.through.send(&write.bytes(&through), &write.pieces);
        if then_half_close {
            self.through.half_close();
        }
        for (at, (say, straight_line, line)) in lines.iter().enumerate() {
            if self.ended {
                return Ok(());
            }
            if loses_commands {
                self.straight.send(&write.bytes(&straight[at..=at]), &write.pieces);
            }
            if then_half_close && at + 1 == lines.len() {
                self.straight.half_close();
            }
            let straight = self.straight.reply(is_multi_line(straight_line));
            let through = self.through.reply(is_multi_line(line));
            figures.replies += 1;
            let verb = line.get(..4).unwrap_or_default();
            figures.deletions += u64::from(verb.eq_ignore_ascii_case(b"DELE") && through.is_ok());
            self.ended = straight == Reply::End && through == Reply::End;
            let _ = write!(self.transcript, "  C: {}\n  straight: {straight:?}\n", line.escape_ascii());
            let _ = writeln!(self.transcript, "  through:  {through:?}");
            if is_closing(&straight) {
                self.ended = true;
                return Ok(());
            }
            if let Some(why) = difference(say, line, &straight, &through) {
                return Err(why.to_owned());
            }
        }
        Ok(())
    }

    fn leave(&mut self, leave: Leave, figures: &mut Figures) -> Result<(), String> {
        let quit = Write::of(vec![Say::line("QUIT")]);
        match leave {
            Leave::Quit => self.write(&quit, false, figures)?,
            Leave::QuitAndHalfClose => self.write(&quit, true, figures)?,
            Leave::QuitAndGo => {
                self.through.send(b"QUIT\r\n", &[]);
                self.straight.send(b"QUIT\r\n", &[]);
                // The mail server has carried it out.
                self.straight.reply(false);
                return Ok(());
            }
            Leave::QuitAndMore => {
                for wire in [&mut self.straight, &mut self.through] {
                    wire.send(MORE, &[]);
                    // The connection may be reset because of what nobody reads, and the reply to QUIT with it.
                    while matches!(wire.reply(false), Reply::Line(..)) {}
                }
                return Ok(());
            }
            Leave::HalfClose => {
                self.straight.half_close();
                self.through.half_close();
            }
            Leave::HangUp => return Ok(()),
            Leave::HangUpUnread => {
                self.straight.send(UNREAD, &[]);
                self.through.send(UNREAD, &[]);
                return Ok(());
            }
        }
        if self.ended {
            return Ok(());
        }
        let ends = [self.straight.reply(false), self.through.reply(false)];
        let is_over = ends.iter().all(|end| *end == Reply::End);
        if is_over {
            Ok(())
        } else {
            Err(format!("after {leave:?}: straight {:?}, through {:?}", ends[0], ends[1]))
        }
    }
}
