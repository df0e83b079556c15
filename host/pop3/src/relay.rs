//! The relayed TRANSACTION state: which commands go to the mail server, in which numbers, and
//! where each of its replies ends. Every command is parsed and written anew, so both sides
//! always agree on what was asked; replies pass as they are.
//!
//! The session feeds it octets and carries out what it says; it holds no reply's octets but
//! the line that is not whole yet.

use std::collections::VecDeque;

use super::capability::Capabilities;
use super::command::{Command, Number};
use super::listing::{Listing, Missing, Unknowable};
use super::message_end;
use super::posed::{self, Maildrop};
use super::reply::{self, push_number};
use super::snapshot::Snapshot;

/// The longest status line or row of a listing that is looked at, in octets. RFC 2449 allows
/// 512.
const LINE_LIMIT: usize = 2048;
/// Commands that may be under way at once: more wait, so that neither side can make the other
/// hold much.
const PIPELINE_LIMIT: usize = 64;

/// What a command led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Sent on or answered.
    Done,
    /// Answered with an error: no such command.
    Bad,
    /// Not taken: replies that are under way come first. Try again after the next one.
    Wait,
}

/// What became of the session with a reply.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// The first reply that shows the maildrop has begun to arrive. None of it was read.
    Opened,
    /// The mail server has answered QUIT: the session is over.
    Quit {
        /// The maildrop as the session leaves it, or why that is not known.
        leaves: Result<Snapshot, Unknowable>,
        /// Whether deletions were confirmed, or may have been.
        deleted: bool,
    },
}

/// How far [`Relay::reply`] has come.
#[derive(Debug, PartialEq, Eq)]
pub struct Fed {
    /// Octets that were read.
    pub used: usize,
    /// Whether they are for the client.
    pub forward: bool,
    /// What the client is told instead.
    pub instead: Option<Vec<u8>>,
    /// What it led to. It must be carried out before the client sees the octets.
    pub event: Option<Event>,
}

/// The mail server said something that is no POP3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A reply begins neither with +OK nor with -ERR.
    #[error("the mail server's reply is neither +OK nor -ERR")]
    NoStatus,
    /// A status line without an end.
    #[error("the mail server's status line is too long")]
    TooLong,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Stat,
    Sizes,
    UniqueIds,
    /// The same, for the host's own snapshot.
    Missing(Missing),
    /// LIST n, UIDL n.
    Line,
    Noop,
    /// RETR, TOP.
    Message,
    /// The number as the client knows it.
    Dele(Number),
    Rset,
    Quit,
}

impl Asked {
    fn is_multi_line(self) -> bool {
        matches!(self, Self::Sizes | Self::UniqueIds | Self::Missing(_) | Self::Message)
    }

    /// Whether the reply depends on what is in the maildrop.
    fn shows_maildrop(self) -> bool {
        !matches!(self, Self::Noop | Self::Quit)
    }

    fn is_listing(self) -> bool {
        matches!(self, Self::Sizes | Self::UniqueIds | Self::Missing(_))
    }
}

/// What the client sees of the maildrop.
#[derive(Debug)]
enum View {
    /// The mail server's own numbers.
    Direct(Listing),
    /// The numbers of the posed maildrop that the session began with.
    Translated {
        maildrop: Maildrop,
        /// The mail server's number of each posed message; 0 where it is gone.
        numbers: Vec<Number>,
    },
}

#[derive(Debug, Default)]
enum Phase {
    #[default]
    Status,
    /// In a message: octets of CR LF . CR LF that were just seen.
    Message(usize),
    Rows,
}

/// A relayed session between the login and the end.
#[derive(Debug)]
pub struct Relay {
    view: View,
    pending: VecDeque<Asked>,
    phase: Phase,
    /// A line of the mail server's that is not whole yet.
    partial: Vec<u8>,
    /// The row that is coming is longer than it may be.
    overlong: bool,
    quitting: bool,
    /// Whether a reply that shows the maildrop was announced by [`Event::Opened`].
    opened: bool,
    /// Whether the host has taken the marks of deletion back itself.
    taking_back: bool,
    /// Commands that may be under way at once.
    most_pending: usize,
}

impl Relay {
    /// A session that shows the mail server's own maildrop.
    #[must_use]
    pub fn direct() -> Self {
        Self::new(View::Direct(Listing::default()))
    }

    /// A session that began posed and goes on at the mail server. `unique_ids`: the mail
    /// server's listing now, by its numbers.
    #[must_use]
    pub fn translated(maildrop: Maildrop, unique_ids: &[(Number, Box<[u8]>)]) -> Self {
        let mut by_id = std::collections::HashMap::with_capacity(unique_ids.len());
        for (number, id) in unique_ids {
            // An id that stands there twice tells no message.
            by_id.entry(&**id).and_modify(|known| *known = 0).or_insert(*number);
        }
        let numbers = maildrop
            .snapshot()
            .rows()
            .map(|(_, row)| by_id.get(row.unique_id).copied().unwrap_or(0))
            .collect();
        Self { opened: true, ..Self::new(View::Translated { maildrop, numbers }) }
    }

    fn new(view: View) -> Self {
        Self {
            view,
            pending: VecDeque::new(),
            phase: Phase::Status,
            partial: Vec::new(),
            overlong: false,
            quitting: false,
            opened: false,
            taking_back: false,
            most_pending: PIPELINE_LIMIT,
        }
    }

    /// Sends one command at a time: the mail server does not promise to read more.
    #[must_use]
    pub fn one_by_one(mut self, one_by_one: bool) -> Self {
        if one_by_one {
            self.most_pending = 1;
        }
        self
    }

    /// Whether a reply is under way.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Whether a message is under way.
    #[must_use]
    pub fn is_in_message(&self) -> bool {
        matches!(self.phase, Phase::Message(_))
    }

    /// Whether QUIT was taken: nothing that the client sends after it counts.
    #[must_use]
    pub fn is_quitting(&self) -> bool {
        self.quitting
    }

    /// Octets that the end of the reply under way needs, where the octets before them may pass
    /// unseen: in a message after which nothing was asked for, so that the last ones that have
    /// arrived tell whether it is over.
    #[must_use]
    pub fn unseen_but(&self) -> Option<usize> {
        let alone = self.pending.len() == 1 && self.pending[0] == Asked::Message;
        (alone && matches!(self.phase, Phase::Message(_))).then_some(message_end::END.len())
    }

    /// Octets before the last ones have passed unseen.
    pub fn passed_unseen(&mut self) {
        if let Phase::Message(matched) = &mut self.phase {
            *matched = 0;
        }
    }

    /// Takes a command of the client's: writes to the mail server, or answers.
    pub fn command(
        &mut self,
        line: &[u8],
        capabilities: &Capabilities,
        to_server: &mut Vec<u8>,
        to_client: &mut Vec<u8>,
    ) -> Taken {
        if self.pending.len() >= self.most_pending {
            return Taken::Wait;
        }
        let command = Command::parse(line);
        if let Command::Quit = command {
            // Deletions that are under way decide what the snapshot lacks.
            if self.is_waiting() {
                return Taken::Wait;
            }
            self.quitting = true;
            self.ask_missing_or_quit(to_server);
            return Taken::Done;
        }
        if let (Command::Dele(_), Some(_)) = (command, self.missing()) {
            // The host's questions come before the first deletion: should the mail server not
            // survive them, nothing is undone that the client was told is done.
            if !self.is_waiting() {
                self.ask_missing_or_quit(to_server);
            }
            return Taken::Wait;
        }
        match &mut self.view {
            View::Direct(_) => {
                let asked = match command {
                    Command::Stat => Asked::Stat,
                    Command::List(None) => Asked::Sizes,
                    Command::Uidl(None) => Asked::UniqueIds,
                    Command::List(Some(_)) | Command::Uidl(Some(_)) => Asked::Line,
                    Command::Noop => Asked::Noop,
                    Command::Retr(_) | Command::Top(..) => Asked::Message,
                    Command::Dele(number) => Asked::Dele(number),
                    Command::Rset => Asked::Rset,
                    _ => return self.answer(command, capabilities, to_client),
                };
                self.ask(asked, command, to_server);
                Taken::Done
            }
            View::Translated { maildrop, numbers } => {
                let (asked, wanted) = match command {
                    Command::Noop => (Asked::Noop, None),
                    Command::Rset => (Asked::Rset, None),
                    Command::Retr(number) | Command::Top(number, _) => (Asked::Message, Some(number)),
                    Command::Dele(number) => (Asked::Dele(number), Some(number)),
                    _ => return self.answer(command, capabilities, to_client),
                };
                let Some(wanted) = wanted else {
                    self.ask(asked, command, to_server);
                    return Taken::Done;
                };
                // Whether the message is marked is known once the DELEs before are answered.
                if self.pending.iter().any(|asked| matches!(asked, Asked::Dele(_) | Asked::Rset)) {
                    return Taken::Wait;
                }
                let there = wanted
                    .checked_sub(1)
                    .and_then(|index| numbers.get(index as usize))
                    .copied()
                    .filter(|&number| number != 0 && maildrop.has(wanted));
                match there {
                    Some(number) => {
                        let command = match command {
                            Command::Top(_, lines) => Command::Top(number, lines),
                            Command::Dele(_) => Command::Dele(number),
                            _ => Command::Retr(number),
                        };
                        self.ask(asked, command, to_server);
                        Taken::Done
                    }
                    None if self.is_waiting() => Taken::Wait,
                    None => {
                        to_client.extend_from_slice(reply::NO_SUCH_MESSAGE);
                        Taken::Done
                    }
                }
            }
        }
    }

    /// A line of the client's was too long to be a command.
    pub fn too_long(&self, to_client: &mut Vec<u8>) -> Taken {
        if self.is_waiting() {
            return Taken::Wait;
        }
        to_client.extend_from_slice(reply::TOO_LONG);
        Taken::Bad
    }

    /// Reads what the mail server says, up to the end of one reply or of the octets.
    ///
    /// # Errors
    /// Where it is no POP3: the session cannot go on.
    pub fn reply(&mut self, octets: &[u8], to_server: &mut Vec<u8>) -> Result<Fed, Fault> {
        let Some(&asked) = self.pending.front() else {
            // Some servers say why before they close an idle session.
            return Ok(Fed { used: octets.len(), forward: true, instead: None, event: None });
        };
        if !self.opened && asked.shows_maildrop() && !octets.is_empty() {
            self.opened = true;
            return Ok(Fed { used: 0, forward: false, instead: None, event: Some(Event::Opened) });
        }
        let forward = !matches!(asked, Asked::Missing(_));
        match self.phase {
            Phase::Status => self.status(asked, octets, to_server),
            Phase::Message(matched) => {
                let (used, matched) = message_end::find(octets, matched);
                self.phase = Phase::Message(matched);
                if matched == message_end::END.len() {
                    self.end();
                }
                Ok(Fed { used, forward, instead: None, event: None })
            }
            Phase::Rows => {
                let used = self.take_rows(asked, octets, to_server);
                Ok(Fed { used, forward, instead: None, event: None })
            }
        }
    }

    fn status(&mut self, asked: Asked, octets: &[u8], to_server: &mut Vec<u8>) -> Result<Fed, Fault> {
        let end = memchr::memchr(b'\n', octets);
        let used = end.map_or(octets.len(), |end| end + 1);
        // A DELE by a translated number is answered in the client's numbers.
        let replaced = matches!((&self.view, asked), (View::Translated { .. }, Asked::Dele(_)));
        let forward = !matches!(asked, Asked::Missing(_)) && !replaced;
        if self.partial.len() + used > LINE_LIMIT {
            return Err(Fault::TooLong);
        }
        if end.is_none() {
            self.partial.extend_from_slice(octets);
            // A status line is judged before the client sees any of it.
            return Ok(Fed { used, forward: false, instead: None, event: None });
        }
        let held = std::mem::take(&mut self.partial);
        let whole;
        let line = if held.is_empty() {
            &octets[..used]
        } else {
            whole = [&held, &octets[..used]].concat();
            &whole
        };
        let positive = reply::status(line).ok_or(Fault::NoStatus)?;
        let mut event = None;
        if positive && asked.is_multi_line() {
            // The end of the status line may be the beginning of the end.
            self.phase = if asked.is_listing() { Phase::Rows } else { Phase::Message(2) };
        } else {
            // Exactly: a posed session would not show a blank at the end either.
            event = self.single(asked, positive, line.strip_suffix(b"\r\n").unwrap_or(line));
            self.end();
            if let Asked::Missing(_) = asked {
                self.ask_missing_or_quit(to_server);
            }
        }
        let instead = match asked {
            Asked::Dele(number) if replaced && positive => {
                let mut text = b"+OK message ".to_vec();
                push_number(&mut text, u64::from(number));
                text.extend_from_slice(b" deleted\r\n");
                Some(text)
            }
            _ if replaced => Some(line.to_vec()),
            // What was held back goes out with the rest of its line.
            _ if forward && !held.is_empty() => Some(line.to_vec()),
            _ => None,
        };
        Ok(Fed { used, forward: forward && instead.is_none(), instead, event })
    }

    /// A reply that is over with its status line.
    fn single(&mut self, asked: Asked, positive: bool, line: &[u8]) -> Option<Event> {
        match (&mut self.view, asked, positive) {
            (View::Direct(listing), Asked::Stat, true) => listing.stat(line),
            (View::Direct(listing), Asked::Dele(number), true) => listing.deleted(number),
            (View::Direct(listing), Asked::Rset, true) => listing.reset(),
            (View::Direct(listing), Asked::Sizes | Asked::UniqueIds | Asked::Missing(_), false) => {
                listing.cannot_be_known(Unknowable::Refused);
            }
            (View::Translated { maildrop, .. }, Asked::Dele(number), true) => {
                maildrop.mark_deleted(number);
            }
            (View::Translated { maildrop, .. }, Asked::Rset, true) => maildrop.unmark(),
            (_, Asked::Quit, positive) => {
                let leaves = if positive { self.leaves() } else { Err(Unknowable::Refused) };
                return Some(Event::Quit { leaves, deleted: self.has_deletions() });
            }
            _ => {}
        }
        None
    }

    fn take_rows(&mut self, asked: Asked, octets: &[u8], to_server: &mut Vec<u8>) -> usize {
        let mut used = 0;
        while let Some(end) = memchr::memchr(b'\n', &octets[used..]) {
            let part = &octets[used..used + end];
            used += end + 1;
            let held = std::mem::take(&mut self.partial);
            let whole;
            let row = if held.is_empty() {
                part
            } else {
                whole = [&held, part].concat();
                &whole
            };
            if std::mem::take(&mut self.overlong) || row.len() > LINE_LIMIT {
                self.with_listing(|listing| listing.cannot_be_known(Unknowable::Malformed));
                continue;
            }
            let row = row.strip_suffix(b"\r").unwrap_or_else(|| {
                // The client sees a bare LF, which a posed session would not show.
                self.with_listing(|listing| listing.cannot_be_known(Unknowable::Malformed));
                row
            });
            if row == b"." {
                let host_asked = matches!(asked, Asked::Missing(_));
                let of_sizes = matches!(asked, Asked::Sizes | Asked::Missing(Missing::Sizes));
                self.with_listing(if of_sizes { Listing::sizes_end } else { Listing::unique_ids_end });
                self.end();
                if host_asked {
                    self.ask_missing_or_quit(to_server);
                }
                return used;
            }
            match asked {
                Asked::Sizes | Asked::Missing(Missing::Sizes) => {
                    self.with_listing(|listing| listing.size_row(row));
                }
                _ => self.with_listing(|listing| listing.unique_id_row(row)),
            }
        }
        let rest = &octets[used..];
        if self.overlong || self.partial.len() + rest.len() > LINE_LIMIT {
            self.overlong = true;
            self.partial = Vec::new();
        } else {
            self.partial.extend_from_slice(rest);
        }
        octets.len()
    }

    /// Whether messages are marked as deleted, as far as the mail server has confirmed it.
    fn has_deletions(&self) -> bool {
        match &self.view {
            View::Direct(listing) => listing.has_deletions(),
            View::Translated { maildrop, .. } => maildrop.has_deletions(),
        }
    }

    /// The maildrop as the session leaves it.
    fn leaves(&self) -> Result<Snapshot, Unknowable> {
        match &self.view {
            View::Direct(listing) => listing.snapshot(),
            View::Translated { maildrop, numbers } => {
                let is_there =
                    |number: Number| numbers.get(number as usize - 1).is_some_and(|&there| there != 0);
                let rows = maildrop.rows().filter(|(number, _)| is_there(*number)).map(|(_, row)| row);
                Snapshot::pack(rows).ok_or(Unknowable::Malformed)
            }
        }
    }

    /// The client is gone without QUIT: nothing that it deleted is deleted (RFC 1939, section
    /// 6), so the listing at login is still true. Takes the marks back, and asks what is
    /// missing. Returns what the session leaves; None as long as replies are awaited. The
    /// deletions of a client that has sent QUIT are carried out.
    pub fn wind_up(&mut self, to_server: &mut Vec<u8>) -> Option<Result<Snapshot, Unknowable>> {
        if self.is_waiting() {
            return None;
        }
        if self.has_deletions() && !self.quitting {
            if self.taking_back {
                // The mail server has refused to.
                return Some(Err(Unknowable::Refused));
            }
            self.taking_back = true;
            self.ask(Asked::Rset, Command::Rset, to_server);
            return None;
        }
        self.ask_missing_or_quit(to_server);
        if self.is_waiting() { None } else { Some(self.leaves()) }
    }

    fn with_listing(&mut self, note: impl FnOnce(&mut Listing)) {
        if let View::Direct(listing) = &mut self.view {
            note(listing);
        }
    }

    fn end(&mut self) {
        self.pending.pop_front();
        self.phase = Phase::Status;
        if self.pending.is_empty() {
            self.pending = VecDeque::new();
        }
    }

    /// What the host lacks for a snapshot.
    fn missing(&self) -> Option<Missing> {
        match &self.view {
            View::Direct(listing) => listing.missing(),
            View::Translated { .. } => None,
        }
    }

    /// Asks what the client did not; then lets a session go that waits for it.
    fn ask_missing_or_quit(&mut self, to_server: &mut Vec<u8>) {
        match self.missing() {
            Some(Missing::UniqueIds) => {
                self.ask(Asked::Missing(Missing::UniqueIds), Command::Uidl(None), to_server);
            }
            Some(Missing::Sizes) => {
                self.ask(Asked::Missing(Missing::Sizes), Command::List(None), to_server);
            }
            None if self.quitting => self.ask(Asked::Quit, Command::Quit, to_server),
            None => {}
        }
    }

    /// Whether QUIT was sent and not answered: deletions may have been carried out.
    #[must_use]
    pub fn is_quit_unanswered(&self) -> bool {
        self.pending.contains(&Asked::Quit)
    }

    /// Messages of the listing that local answers look at; 0 where the mail server answers.
    #[must_use]
    pub fn rows(&self) -> u32 {
        match &self.view {
            View::Direct(_) => 0,
            View::Translated { maildrop, .. } => maildrop.snapshot().count(),
        }
    }

    fn ask(&mut self, asked: Asked, command: Command<'_>, to_server: &mut Vec<u8>) {
        command.write(to_server);
        self.pending.push_back(asked);
    }

    /// Answers a command that no mail server needs to see.
    fn answer(
        &mut self,
        command: Command<'_>,
        capabilities: &Capabilities,
        to_client: &mut Vec<u8>,
    ) -> Taken {
        if self.is_waiting() {
            return Taken::Wait;
        }
        if let View::Translated { maildrop, .. } = &self.view
            && maildrop.list(command, to_client)
        {
            return Taken::Done;
        }
        match posed::anywhere(command, capabilities, to_client) {
            posed::Event::Bad => Taken::Bad,
            _ => Taken::Done,
        }
    }
}

#[cfg(test)]
mod tests;
