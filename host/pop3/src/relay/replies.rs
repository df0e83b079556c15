//! Replies of the mail server: where each ends, and what it says about the maildrop.

use std::collections::VecDeque;

use super::{PendingReply, Phase, ProtocolError, Relay, RelayEvent, ReplyProgress, View};
use crate::listing::{Listing, Missing, SnapshotError};
use crate::message_end;
use crate::reply::{self, push_number};

/// The longest status line, or row of a listing, in bytes. RFC 2449 allows 512.
pub(super) const LINE_LIMIT: usize = 2048;

impl Relay {
    /// Consumes `bytes` of the mail server up to the end of one reply, or all of them.
    ///
    /// # Errors
    /// If they are not POP3.
    pub fn reply(&mut self, bytes: &[u8], to_server: &mut Vec<u8>) -> Result<ReplyProgress, ProtocolError> {
        let Some(&pending) = self.pending.front() else {
            // Some servers announce why they close an idle session.
            return Ok(ReplyProgress { consumed: bytes.len(), forward: true, ..Default::default() });
        };
        if !self.opened && pending.depends_on_maildrop() && !bytes.is_empty() {
            self.opened = true;
            return Ok(ReplyProgress { event: Some(RelayEvent::Opened), ..Default::default() });
        }
        let forward = !matches!(pending, PendingReply::Missing(_));
        match self.phase {
            Phase::Status => self.status(pending, bytes, to_server),
            Phase::Message(matched) => {
                let (consumed, matched) = message_end::find(bytes, matched);
                self.phase = Phase::Message(matched);
                if matched == message_end::END.len() {
                    self.end_reply();
                }
                Ok(ReplyProgress { consumed, forward, ..Default::default() })
            }
            Phase::Rows => {
                let consumed = self.take_rows(pending, bytes, to_server);
                Ok(ReplyProgress { consumed, forward, ..Default::default() })
            }
        }
    }

    fn status(
        &mut self,
        pending: PendingReply,
        bytes: &[u8],
        to_server: &mut Vec<u8>,
    ) -> Result<ReplyProgress, ProtocolError> {
        let end = memchr::memchr(b'\n', bytes);
        let consumed = end.map_or(bytes.len(), |end| end + 1);
        // The reply to DELE contains the message number, which the client knows by another one.
        let translated = matches!((&self.view, pending), (View::Translated { .. }, PendingReply::Dele(_)));
        let forward = !matches!(pending, PendingReply::Missing(_)) && !translated;
        if self.partial.len() + consumed > LINE_LIMIT {
            return Err(ProtocolError::TooLong);
        }
        if end.is_none() {
            self.partial.extend_from_slice(bytes);
            // The client gets a status line only when it is complete and valid.
            return Ok(ReplyProgress { consumed, ..Default::default() });
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
        if positive && pending == PendingReply::Retr {
            self.totals.fetched = self.totals.fetched.saturating_add(1);
        }
        if positive && pending.is_multi_line() {
            // CR LF of the status line can be the beginning of CR LF . CR LF.
            self.phase = if pending.is_listing() { Phase::Rows } else { Phase::Message(2) };
        } else {
            // Not trimmed further: a posed session would not show white space at the end.
            event = self.single_line(pending, positive, line.strip_suffix(b"\r\n").unwrap_or(line));
            self.end_reply();
            if let PendingReply::Missing(_) = pending {
                self.ask_missing_or_quit(to_server);
            }
        }
        let replacement = match pending {
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
    fn single_line(&mut self, pending: PendingReply, positive: bool, line: &[u8]) -> Option<RelayEvent> {
        match (&mut self.view, pending, positive) {
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
                if positive {
                    self.totals.quit = true;
                    self.totals.deleted = u32::try_from(self.deletions()).unwrap_or(u32::MAX);
                }
                let snapshot = if positive { self.snapshot() } else { Err(SnapshotError::Refused) };
                return Some(RelayEvent::Quit { snapshot, has_deletions: self.has_deletions() });
            }
            _ => {}
        }
        None
    }

    fn take_rows(&mut self, pending: PendingReply, bytes: &[u8], to_server: &mut Vec<u8>) -> usize {
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
            // One that is too long, but arrived with its end, is malformed.
            if std::mem::take(&mut self.overlong) {
                self.with_listing(|listing| listing.fail(SnapshotError::Malformed));
                continue;
            }
            let row = row.strip_suffix(b"\r").unwrap_or_else(|| {
                // The client gets a bare LF, which a posed session would not show.
                self.with_listing(|listing| listing.fail(SnapshotError::Malformed));
                row
            });
            if row == b"." {
                let is_own = matches!(pending, PendingReply::Missing(_));
                let are_sizes =
                    matches!(pending, PendingReply::Sizes | PendingReply::Missing(Missing::Sizes));
                self.with_listing(if are_sizes { Listing::end_sizes } else { Listing::end_unique_ids });
                self.end_reply();
                if is_own {
                    self.ask_missing_or_quit(to_server);
                }
                return consumed;
            }
            match pending {
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
}
