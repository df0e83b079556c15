//! The relayed TRANSACTION state: which commands are sent to the mail server, with which message
//! numbers, and where each reply ends.
//!
//! Commands are parsed and written anew, so that client and mail server always agree on what was
//! asked. Replies pass unchanged. A [`Relay`] keeps no bytes of replies except an incomplete line.

use std::collections::VecDeque;

use super::capability::Capabilities;
use super::command::{Command, MessageNumber};
use super::listing::{Listing, Missing, SnapshotError};
use super::message_end;
use super::posed::{self, PosedEvent, PosedMaildrop};
use super::reply::{self, push_number};
use super::snapshot::Snapshot;

/// The longest status line, or row of a listing, in bytes. RFC 2449 allows 512.
const LINE_LIMIT: usize = 2048;
/// Commands that may be unanswered at once. Others wait, so that neither side can make Reprieve
/// buffer much for the other.
const PIPELINE_LIMIT: usize = 64;

/// What [`Relay::command`] did with a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandStatus {
    /// Sent to the mail server, or answered.
    Done,
    /// Answered with an error: it does not exist.
    Bad,
    /// Nothing: unanswered commands come first. Try again after the next reply.
    Wait,
}

/// An event that a reply of the mail server causes.
#[derive(Debug, PartialEq, Eq)]
pub enum RelayEvent {
    /// The first reply that depends on the maildrop has begun to arrive. No byte of it was consumed.
    Opened,
    /// QUIT was answered, and the session is over.
    Quit {
        /// The maildrop as the session leaves it, or why that is unknown.
        snapshot: Result<Snapshot, SnapshotError>,
        /// Whether messages were deleted, or may have been.
        has_deletions: bool,
    },
}

/// The result of [`Relay::reply`].
#[derive(Debug, PartialEq, Eq)]
pub struct ReplyProgress {
    /// MessageNumber of bytes that were consumed.
    pub consumed: usize,
    /// Whether these bytes are sent to the client.
    pub forward: bool,
    /// What is sent to the client in their place.
    pub replacement: Option<Vec<u8>>,
    /// To be handled before anything is sent to the client.
    pub event: Option<RelayEvent>,
}

/// The mail server has violated the protocol. The session cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// A reply begins with neither `+OK` nor `-ERR`.
    #[error("the mail server's reply is neither +OK nor -ERR")]
    NoStatus,
    /// A status line has no end within 2,048 bytes.
    #[error("the mail server's status line is too long")]
    TooLong,
}

/// The kind of reply that an unanswered command will get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PendingReply {
    Stat,
    Sizes,
    UniqueIds,
    /// A listing that Reprieve itself has asked for.
    Missing(Missing),
    /// LIST and UIDL with a number.
    SingleRow,
    Noop,
    /// RETR and TOP.
    Message,
    /// With the number as the client has sent it.
    Dele(MessageNumber),
    Rset,
    Quit,
}

impl PendingReply {
    fn is_multi_line(self) -> bool {
        matches!(self, Self::Sizes | Self::UniqueIds | Self::Missing(_) | Self::Message)
    }

    /// Whether the reply depends on the contents of the maildrop.
    fn depends_on_maildrop(self) -> bool {
        !matches!(self, Self::Noop | Self::Quit)
    }

    fn is_listing(self) -> bool {
        matches!(self, Self::Sizes | Self::UniqueIds | Self::Missing(_))
    }
}

/// How the client sees the maildrop.
#[derive(Debug)]
enum View {
    /// With the mail server's message numbers.
    Direct(Listing),
    /// With the message numbers of the posed maildrop with which the session began.
    Translated {
        maildrop: PosedMaildrop,
        /// The mail server's number of each posed message, or 0 if the message is gone.
        numbers: Vec<MessageNumber>,
    },
}

#[derive(Debug, Default)]
enum Phase {
    #[default]
    Status,
    /// In a message; how many bytes of its end, CR LF . CR LF, were matched last.
    Message(usize),
    Rows,
}

/// A relayed session after the login.
#[derive(Debug)]
pub struct Relay {
    view: View,
    /// The unanswered commands, in order.
    pending: VecDeque<PendingReply>,
    /// The part of the first pending reply that comes next.
    phase: Phase,
    /// The incomplete line at the end of what has arrived.
    partial: Vec<u8>,
    /// Whether the incomplete line is a row over the limit, whose bytes were dropped.
    overlong: bool,
    quitting: bool,
    /// Whether [`RelayEvent::Opened`] was reported.
    opened: bool,
    /// Whether Reprieve itself has sent RSET, because the client is gone.
    resetting: bool,
    max_pending: usize,
}

impl Relay {
    /// A session that was relayed from the start.
    #[must_use]
    pub fn direct() -> Self {
        Self::new(View::Direct(Listing::default()))
    }

    /// An upgraded session, which was posed with `maildrop`. `unique_ids`: the mail server's listing
    /// now.
    #[must_use]
    pub fn translated(maildrop: PosedMaildrop, unique_ids: &[(MessageNumber, Box<[u8]>)]) -> Self {
        let mut by_id = std::collections::HashMap::with_capacity(unique_ids.len());
        for (number, id) in unique_ids {
            // An id that occurs twice identifies no message.
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
            resetting: false,
            max_pending: PIPELINE_LIMIT,
        }
    }

    /// Sets whether the mail server supports PIPELINING. Without it, one command is sent at a time.
    #[must_use]
    pub fn with_pipelining(mut self, is_supported: bool) -> Self {
        if !is_supported {
            self.max_pending = 1;
        }
        self
    }

    /// Whether a command is unanswered.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Whether the reply that is arriving is in the middle of a message.
    #[must_use]
    pub fn is_in_message(&self) -> bool {
        matches!(self.phase, Phase::Message(_))
    }

    /// Whether the client has sent QUIT. Anything that it sends after that is ignored.
    #[must_use]
    pub fn is_quitting(&self) -> bool {
        self.quitting
    }

    /// How many bytes at the end of what has arrived must be given to [`reply`](Self::reply), if the
    /// bytes before them can be spliced. None if they cannot: they must belong to a message that is
    /// the last pending reply, so that its end can only be at the end of what has arrived.
    #[must_use]
    pub fn unspliced_end(&self) -> Option<usize> {
        let is_last = self.pending.len() == 1 && self.pending[0] == PendingReply::Message;
        (is_last && matches!(self.phase, Phase::Message(_))).then_some(message_end::END.len())
    }

    /// Notes that bytes of the message were spliced: the next ones do not follow those seen last.
    pub fn spliced(&mut self) {
        if let Phase::Message(matched) = &mut self.phase {
            *matched = 0;
        }
    }

    /// Handles a command of the client: sends it to the mail server or answers it.
    pub fn command(
        &mut self,
        line: &[u8],
        capabilities: &Capabilities,
        to_server: &mut Vec<u8>,
        to_client: &mut Vec<u8>,
    ) -> CommandStatus {
        if self.pending.len() >= self.max_pending {
            return CommandStatus::Wait;
        }
        let command = Command::parse(line);
        if let Command::Quit = command {
            // Which listings are missing depends on the replies to pending deletions.
            if self.is_waiting() {
                return CommandStatus::Wait;
            }
            self.quitting = true;
            self.ask_missing_or_quit(to_server);
            return CommandStatus::Done;
        }
        if let (Command::Dele(_), Some(_)) = (command, self.missing()) {
            // Reprieve asks for the listings that it lacks before the first deletion: if the mail
            // server fails on them, no confirmed deletion is lost.
            if !self.is_waiting() {
                self.ask_missing_or_quit(to_server);
            }
            return CommandStatus::Wait;
        }
        match &mut self.view {
            View::Direct(_) => {
                let asked = match command {
                    Command::Stat => PendingReply::Stat,
                    Command::List(None) => PendingReply::Sizes,
                    Command::Uidl(None) => PendingReply::UniqueIds,
                    Command::List(Some(_)) | Command::Uidl(Some(_)) => PendingReply::SingleRow,
                    Command::Noop => PendingReply::Noop,
                    Command::Retr(_) | Command::Top(..) => PendingReply::Message,
                    Command::Dele(number) => PendingReply::Dele(number),
                    Command::Rset => PendingReply::Rset,
                    _ => return self.answer_locally(command, capabilities, to_client),
                };
                self.send(asked, command, to_server);
                CommandStatus::Done
            }
            View::Translated { maildrop, numbers } => {
                let (asked, wanted) = match command {
                    Command::Noop => (PendingReply::Noop, None),
                    Command::Rset => (PendingReply::Rset, None),
                    Command::Retr(number) | Command::Top(number, _) => (PendingReply::Message, Some(number)),
                    Command::Dele(number) => (PendingReply::Dele(number), Some(number)),
                    _ => return self.answer_locally(command, capabilities, to_client),
                };
                let Some(wanted) = wanted else {
                    self.send(asked, command, to_server);
                    return CommandStatus::Done;
                };
                // Whether the message is deleted is known when previous DELEs and RSETs are answered.
                if self
                    .pending
                    .iter()
                    .any(|asked| matches!(asked, PendingReply::Dele(_) | PendingReply::Rset))
                {
                    return CommandStatus::Wait;
                }
                let backend_number = wanted
                    .checked_sub(1)
                    .and_then(|index| numbers.get(index as usize))
                    .copied()
                    .filter(|&number| number != 0 && maildrop.contains(wanted));
                match backend_number {
                    Some(number) => {
                        let command = match command {
                            Command::Top(_, lines) => Command::Top(number, lines),
                            Command::Dele(_) => Command::Dele(number),
                            _ => Command::Retr(number),
                        };
                        self.send(asked, command, to_server);
                        CommandStatus::Done
                    }
                    None if self.is_waiting() => CommandStatus::Wait,
                    None => {
                        to_client.extend_from_slice(reply::NO_SUCH_MESSAGE);
                        CommandStatus::Done
                    }
                }
            }
        }
    }

    /// Handles a line of the client that was too long for a command.
    pub fn too_long(&self, to_client: &mut Vec<u8>) -> CommandStatus {
        if self.is_waiting() {
            return CommandStatus::Wait;
        }
        to_client.extend_from_slice(reply::TOO_LONG);
        CommandStatus::Bad
    }

    /// Consumes `bytes` of the mail server up to the end of one reply, or all of them.
    ///
    /// # Errors
    /// If they are not POP3.
    pub fn reply(&mut self, bytes: &[u8], to_server: &mut Vec<u8>) -> Result<ReplyProgress, ProtocolError> {
        let Some(&asked) = self.pending.front() else {
            // Some servers announce why they close an idle session.
            return Ok(ReplyProgress {
                consumed: bytes.len(),
                forward: true,
                replacement: None,
                event: None,
            });
        };
        if !self.opened && asked.depends_on_maildrop() && !bytes.is_empty() {
            self.opened = true;
            return Ok(ReplyProgress {
                consumed: 0,
                forward: false,
                replacement: None,
                event: Some(RelayEvent::Opened),
            });
        }
        let forward = !matches!(asked, PendingReply::Missing(_));
        match self.phase {
            Phase::Status => self.status(asked, bytes, to_server),
            Phase::Message(matched) => {
                let (consumed, matched) = message_end::find(bytes, matched);
                self.phase = Phase::Message(matched);
                if matched == message_end::END.len() {
                    self.end_reply();
                }
                Ok(ReplyProgress { consumed, forward, replacement: None, event: None })
            }
            Phase::Rows => {
                let consumed = self.take_rows(asked, bytes, to_server);
                Ok(ReplyProgress { consumed, forward, replacement: None, event: None })
            }
        }
    }

    fn status(
        &mut self,
        asked: PendingReply,
        bytes: &[u8],
        to_server: &mut Vec<u8>,
    ) -> Result<ReplyProgress, ProtocolError> {
        let end = memchr::memchr(b'\n', bytes);
        let consumed = end.map_or(bytes.len(), |end| end + 1);
        // The reply to DELE contains the message number, which the client knows by another one.
        let translated = matches!((&self.view, asked), (View::Translated { .. }, PendingReply::Dele(_)));
        let forward = !matches!(asked, PendingReply::Missing(_)) && !translated;
        if self.partial.len() + consumed > LINE_LIMIT {
            return Err(ProtocolError::TooLong);
        }
        if end.is_none() {
            self.partial.extend_from_slice(bytes);
            // The client gets a status line only when it is complete and valid.
            return Ok(ReplyProgress { consumed, forward: false, replacement: None, event: None });
        }
        let held = std::mem::take(&mut self.partial);
        let whole;
        let line = if held.is_empty() {
            &bytes[..consumed]
        } else {
            whole = [&held, &bytes[..consumed]].concat();
            &whole
        };
        let positive = reply::status(line).ok_or(ProtocolError::NoStatus)?;
        let mut event = None;
        if positive && asked.is_multi_line() {
            // CR LF of the status line can be the beginning of CR LF . CR LF.
            self.phase = if asked.is_listing() { Phase::Rows } else { Phase::Message(2) };
        } else {
            // Not trimmed further: a posed session would not show white space at the end.
            event = self.single_line(asked, positive, line.strip_suffix(b"\r\n").unwrap_or(line));
            self.end_reply();
            if let PendingReply::Missing(_) = asked {
                self.ask_missing_or_quit(to_server);
            }
        }
        let replacement = match asked {
            PendingReply::Dele(number) if translated && positive => {
                let mut text = b"+OK message ".to_vec();
                push_number(&mut text, u64::from(number));
                text.extend_from_slice(b" deleted\r\n");
                Some(text)
            }
            _ if translated => Some(line.to_vec()),
            // The part that arrived earlier was not forwarded.
            _ if forward && !held.is_empty() => Some(line.to_vec()),
            _ => None,
        };
        Ok(ReplyProgress { consumed, forward: forward && replacement.is_none(), replacement, event })
    }

    /// Handles a reply that consists of its status line.
    fn single_line(&mut self, asked: PendingReply, positive: bool, line: &[u8]) -> Option<RelayEvent> {
        match (&mut self.view, asked, positive) {
            (View::Direct(listing), PendingReply::Stat, true) => listing.stat(line),
            (View::Direct(listing), PendingReply::Dele(number), true) => listing.deleted(number),
            (View::Direct(listing), PendingReply::Rset, true) => listing.reset(),
            (
                View::Direct(listing),
                PendingReply::Sizes | PendingReply::UniqueIds | PendingReply::Missing(_),
                false,
            ) => {
                listing.fail(SnapshotError::Refused);
            }
            (View::Translated { maildrop, .. }, PendingReply::Dele(number), true) => {
                maildrop.mark_deleted(number);
            }
            (View::Translated { maildrop, .. }, PendingReply::Rset, true) => maildrop.reset(),
            (_, PendingReply::Quit, positive) => {
                let snapshot = if positive { self.snapshot() } else { Err(SnapshotError::Refused) };
                return Some(RelayEvent::Quit { snapshot, has_deletions: self.has_deletions() });
            }
            _ => {}
        }
        None
    }

    fn take_rows(&mut self, asked: PendingReply, bytes: &[u8], to_server: &mut Vec<u8>) -> usize {
        let mut consumed = 0;
        while let Some(end) = memchr::memchr(b'\n', &bytes[consumed..]) {
            let part = &bytes[consumed..consumed + end];
            consumed += end + 1;
            let held = std::mem::take(&mut self.partial);
            let whole;
            let row = if held.is_empty() {
                part
            } else {
                whole = [&held, part].concat();
                &whole
            };
            if std::mem::take(&mut self.overlong) || row.len() > LINE_LIMIT {
                self.with_listing(|listing| listing.fail(SnapshotError::Malformed));
                continue;
            }
            let row = row.strip_suffix(b"\r").unwrap_or_else(|| {
                // The client gets a bare LF, which a posed session would not show.
                self.with_listing(|listing| listing.fail(SnapshotError::Malformed));
                row
            });
            if row == b"." {
                let is_own = matches!(asked, PendingReply::Missing(_));
                let are_sizes = matches!(asked, PendingReply::Sizes | PendingReply::Missing(Missing::Sizes));
                self.with_listing(if are_sizes { Listing::end_sizes } else { Listing::end_unique_ids });
                self.end_reply();
                if is_own {
                    self.ask_missing_or_quit(to_server);
                }
                return consumed;
            }
            match asked {
                PendingReply::Sizes | PendingReply::Missing(Missing::Sizes) => {
                    self.with_listing(|listing| listing.add_size(row));
                }
                _ => self.with_listing(|listing| listing.add_unique_id(row)),
            }
        }
        let rest = &bytes[consumed..];
        if self.overlong || self.partial.len() + rest.len() > LINE_LIMIT {
            self.overlong = true;
            self.partial = Vec::new();
        } else {
            self.partial.extend_from_slice(rest);
        }
        bytes.len()
    }

    /// Whether the mail server has confirmed any deletion.
    fn has_deletions(&self) -> bool {
        match &self.view {
            View::Direct(listing) => listing.has_deletions(),
            View::Translated { maildrop, .. } => maildrop.has_deletions(),
        }
    }

    /// The maildrop as the session leaves it.
    fn snapshot(&self) -> Result<Snapshot, SnapshotError> {
        match &self.view {
            View::Direct(listing) => listing.snapshot(),
            View::Translated { maildrop, numbers } => {
                let exists = |number: MessageNumber| {
                    numbers.get(number as usize - 1).is_some_and(|&number| number != 0)
                };
                let rows = maildrop.rows().filter(|(number, _)| exists(*number)).map(|(_, row)| row);
                Snapshot::pack(rows).ok_or(SnapshotError::Malformed)
            }
        }
    }

    /// Completes the snapshot after the client is gone. Call it again after each reply until it
    /// returns the result.
    ///
    /// Without QUIT the mail server deletes nothing (RFC 1939, section 6), so the listing at login
    /// stays true: deletions are reset, and missing listings are asked for. If the client had sent
    /// QUIT, its deletions are carried out.
    pub fn wind_up(&mut self, to_server: &mut Vec<u8>) -> Option<Result<Snapshot, SnapshotError>> {
        if self.is_waiting() {
            return None;
        }
        if self.has_deletions() && !self.quitting {
            if self.resetting {
                // The mail server has refused RSET.
                return Some(Err(SnapshotError::Refused));
            }
            self.resetting = true;
            self.send(PendingReply::Rset, Command::Rset, to_server);
            return None;
        }
        self.ask_missing_or_quit(to_server);
        if self.is_waiting() { None } else { Some(self.snapshot()) }
    }

    fn with_listing(&mut self, change: impl FnOnce(&mut Listing)) {
        if let View::Direct(listing) = &mut self.view {
            change(listing);
        }
    }

    fn end_reply(&mut self) {
        self.pending.pop_front();
        self.phase = Phase::Status;
        if self.pending.is_empty() {
            self.pending = VecDeque::new();
        }
    }

    /// A listing that is needed for a snapshot, and that the client has not asked for.
    fn missing(&self) -> Option<Missing> {
        match &self.view {
            View::Direct(listing) => listing.missing(),
            View::Translated { .. } => None,
        }
    }

    /// Sends the next command of Reprieve's own: a missing listing, or QUIT if the client has sent it.
    fn ask_missing_or_quit(&mut self, to_server: &mut Vec<u8>) {
        match self.missing() {
            Some(Missing::UniqueIds) => {
                self.send(PendingReply::Missing(Missing::UniqueIds), Command::Uidl(None), to_server);
            }
            Some(Missing::Sizes) => {
                self.send(PendingReply::Missing(Missing::Sizes), Command::List(None), to_server);
            }
            None if self.quitting => self.send(PendingReply::Quit, Command::Quit, to_server),
            None => {}
        }
    }

    /// Whether QUIT is unanswered: deletions may have been carried out.
    #[must_use]
    pub fn is_quit_unanswered(&self) -> bool {
        self.pending.contains(&PendingReply::Quit)
    }

    /// MessageNumber of rows that a local answer goes through, as a measure of its cost. 0 if the mail server
    /// answers.
    #[must_use]
    pub fn local_rows(&self) -> u32 {
        match &self.view {
            View::Direct(_) => 0,
            View::Translated { maildrop, .. } => maildrop.snapshot().count(),
        }
    }

    fn send(&mut self, asked: PendingReply, command: Command<'_>, to_server: &mut Vec<u8>) {
        command.write(to_server);
        self.pending.push_back(asked);
    }

    /// Answers a command without the mail server, in its turn.
    fn answer_locally(
        &mut self,
        command: Command<'_>,
        capabilities: &Capabilities,
        to_client: &mut Vec<u8>,
    ) -> CommandStatus {
        if self.is_waiting() {
            return CommandStatus::Wait;
        }
        if let View::Translated { maildrop, .. } = &self.view
            && maildrop.answer_listing(command, to_client)
        {
            return CommandStatus::Done;
        }
        match posed::common_command(command, capabilities, to_client) {
            PosedEvent::Bad => CommandStatus::Bad,
            _ => CommandStatus::Done,
        }
    }
}

#[cfg(test)]
mod tests;
