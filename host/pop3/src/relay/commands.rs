//! Commands of the client: which are sent to the mail server, and which are answered here.

use super::{CommandStatus, PendingReply, Relay, View};
use crate::capability::Capabilities;
use crate::command::{Command, MessageNumber};
use crate::posed::{self, PosedEvent};
use crate::reply;

impl Relay {
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
        match self.view {
            View::Direct(_) => self.direct_command(command, capabilities, to_server, to_client),
            View::Translated { .. } => self.translated_command(command, capabilities, to_server, to_client),
        }
    }

    /// Sends a command on as it is.
    fn direct_command(
        &mut self,
        command: Command<'_>,
        capabilities: &Capabilities,
        to_server: &mut Vec<u8>,
        to_client: &mut Vec<u8>,
    ) -> CommandStatus {
        let pending = match command {
            Command::Stat => PendingReply::Stat,
            Command::List(None) => PendingReply::Sizes,
            Command::Uidl(None) => PendingReply::UniqueIds,
            Command::List(Some(_)) | Command::Uidl(Some(_)) => PendingReply::SingleRow,
            Command::Noop => PendingReply::Noop,
            Command::Retr(_) => PendingReply::Retr,
            Command::Top(..) => PendingReply::Top,
            Command::Dele(number) => PendingReply::Dele(number),
            Command::Rset => PendingReply::Rset,
            _ => return self.answer_locally(command, capabilities, to_client),
        };
        self.send(pending, command, to_server);
        CommandStatus::Done
    }

    /// Sends a command with the mail server's message number, or answers it from the posed maildrop.
    fn translated_command(
        &mut self,
        command: Command<'_>,
        capabilities: &Capabilities,
        to_server: &mut Vec<u8>,
        to_client: &mut Vec<u8>,
    ) -> CommandStatus {
        let (pending, number) = match command {
            Command::Noop => (PendingReply::Noop, None),
            Command::Rset => (PendingReply::Rset, None),
            Command::Retr(number) => (PendingReply::Retr, Some(number)),
            Command::Top(number, _) => (PendingReply::Top, Some(number)),
            Command::Dele(number) => (PendingReply::Dele(number), Some(number)),
            _ => return self.answer_locally(command, capabilities, to_client),
        };
        let Some(number) = number else {
            self.send(pending, command, to_server);
            return CommandStatus::Done;
        };
        // Whether the message is deleted is known when previous DELEs and RSETs are answered.
        let is_changing =
            |pending: &PendingReply| matches!(pending, PendingReply::Dele(_) | PendingReply::Rset);
        if self.pending.iter().any(is_changing) {
            return CommandStatus::Wait;
        }
        let Some(number) = self.backend_number(number) else {
            if self.is_waiting() {
                return CommandStatus::Wait;
            }
            to_client.extend_from_slice(reply::NO_SUCH_MESSAGE);
            return CommandStatus::Done;
        };
        let command = match command {
            Command::Top(_, lines) => Command::Top(number, lines),
            Command::Dele(_) => Command::Dele(number),
            _ => Command::Retr(number),
        };
        self.send(pending, command, to_server);
        CommandStatus::Done
    }

    /// The mail server's number of a message in the posed maildrop, if it exists there and is not
    /// deleted.
    fn backend_number(&self, number: MessageNumber) -> Option<MessageNumber> {
        let View::Translated { maildrop, numbers, .. } = &self.view else { return None };
        let index = number.checked_sub(1)? as usize;
        numbers.get(index).copied().filter(|&backend| backend != 0 && maildrop.contains(number))
    }

    /// Handles a line of the client that was too long for a command.
    pub fn too_long(&self, to_client: &mut Vec<u8>) -> CommandStatus {
        if self.is_waiting() {
            return CommandStatus::Wait;
        }
        to_client.extend_from_slice(reply::TOO_LONG);
        CommandStatus::Bad
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
