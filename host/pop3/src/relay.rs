//! The relayed TRANSACTION state: which commands are sent to the mail server, with which message
//! numbers, and where each reply ends.
//!
//! Commands are parsed and written again in one form, so that client and mail server always agree on what was
//! asked. Replies pass unchanged. A [`Relay`] keeps no bytes of replies except an incomplete line.

mod commands;
mod replies;

use std::collections::VecDeque;

use super::command::{Command, MessageNumber};
use super::listing::{Listing, Missing, SnapshotError};
use super::message_end;
use super::posed::PosedMaildrop;
use super::snapshot::Snapshot;

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
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ReplyProgress {
    /// Number of bytes that were consumed.
    pub consumed: usize,
    /// Whether these bytes are sent to the client.
    pub forward: bool,
    /// What is sent to the client in their place.
    pub replacement: Option<Vec<u8>>,
    /// To be handled before anything is sent to the client.
    pub event: Option<RelayEvent>,
}

/// The mail server has violated the protocol. The session cannot continue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// A reply begins with neither `+OK` nor `-ERR`.
    #[error("the mail server's reply is neither +OK nor -ERR")]
    NoStatus,
    /// A status line has no end within 2,048 bytes.
    #[error("the mail server's status line is too long")]
    TooLong,
}

/// What the commands of a relayed session have achieved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RelayTotals {
    /// Messages that the mail server has sent in reply to RETR.
    pub fetched: u32,
    /// Messages that were deleted; 0 without the mail server's +OK to QUIT.
    pub deleted: u32,
    /// Whether the mail server has answered QUIT with +OK.
    pub quit: bool,
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
    Retr,
    Top,
    /// With the number as the client has sent it.
    Dele(MessageNumber),
    Rset,
    Quit,
}

impl PendingReply {
    fn is_multi_line(self) -> bool {
        matches!(self, Self::Sizes | Self::UniqueIds | Self::Missing(_) | Self::Retr | Self::Top)
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
        /// [`Snapshot::digest`] of the posed maildrop if the mail server has the same messages,
        /// otherwise 0.
        found: u64,
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
    /// The incomplete line at the end of the received bytes.
    partial: Vec<u8>,
    /// Whether the incomplete line is a row over the limit, whose bytes were dropped.
    overlong: bool,
    quitting: bool,
    /// Whether [`RelayEvent::Opened`] was reported.
    opened: bool,
    /// Whether Reprieve itself has sent RSET, because the client is gone.
    resetting: bool,
    totals: RelayTotals,
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
        let snapshot = maildrop.snapshot();
        let numbers: Vec<_> =
            snapshot.rows().map(|(_, row)| by_id.get(row.unique_id).copied().unwrap_or(0)).collect();
        let is_unchanged =
            unique_ids.len() == numbers.len() && numbers.iter().copied().eq(1..=snapshot.count());
        let found = if is_unchanged { snapshot.digest() } else { 0 };
        Self { opened: true, ..Self::new(View::Translated { maildrop, numbers, found }) }
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
            totals: RelayTotals::default(),
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

    /// How many of the last received bytes must go to [`reply`](Self::reply), if the bytes before
    /// them can be spliced. None if they cannot: only a message that is the last pending reply can
    /// be spliced, because its end can only be at the end of the received bytes.
    #[must_use]
    pub fn unspliced_end(&self) -> Option<usize> {
        let is_last =
            self.pending.len() == 1 && matches!(self.pending[0], PendingReply::Retr | PendingReply::Top);
        (is_last && matches!(self.phase, Phase::Message(_))).then_some(message_end::END.len())
    }

    /// Notes that bytes of the message were spliced: the next ones do not follow those seen last.
    pub fn spliced(&mut self) {
        if let Phase::Message(matched) = &mut self.phase {
            *matched = 0;
        }
    }

    /// Whether the mail server has confirmed any deletion.
    fn has_deletions(&self) -> bool {
        self.deletions() > 0
    }

    fn deletions(&self) -> usize {
        match &self.view {
            View::Direct(listing) => listing.deletions(),
            View::Translated { maildrop, .. } => maildrop.deletions(),
        }
    }

    /// What the session has achieved so far.
    #[must_use]
    pub fn totals(&self) -> RelayTotals {
        self.totals
    }

    /// [`Snapshot::digest`] of the maildrop as the session found it, 0 if an upgraded session found
    /// something else than what it goes on showing. `left`: the maildrop as the session leaves it.
    #[must_use]
    pub fn found(&self, left: &Snapshot) -> u64 {
        match &self.view {
            View::Direct(listing) => listing.found(left),
            View::Translated { found, .. } => *found,
        }
    }

    /// Whether the mail server has listed a message that is not in a snapshot. Upgraded sessions show no
    /// such message.
    #[must_use]
    pub fn goes_beyond(&self, snapshot: &Snapshot) -> bool {
        match &self.view {
            View::Direct(listing) => listing.goes_beyond(snapshot),
            View::Translated { .. } => false,
        }
    }

    /// The maildrop as the session leaves it.
    fn snapshot(&self) -> Result<Snapshot, SnapshotError> {
        match &self.view {
            View::Direct(listing) => listing.snapshot(),
            View::Translated { maildrop, numbers, .. } => {
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

    /// Number of rows that a local answer goes through, as a measure of its cost. 0 if the mail server
    /// answers.
    #[must_use]
    pub fn local_rows(&self) -> u32 {
        match &self.view {
            View::Direct(_) => 0,
            View::Translated { maildrop, .. } => maildrop.snapshot().count(),
        }
    }

    fn send(&mut self, reply: PendingReply, command: Command<'_>, to_server: &mut Vec<u8>) {
        command.write(to_server);
        self.pending.push_back(reply);
    }
}

#[cfg(test)]
mod tests;
