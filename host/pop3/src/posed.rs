//! The posed maildrop: the TRANSACTION state (RFC 1939, section 5), answered from a snapshot in the
//! mail server's place. A command that the snapshot cannot answer needs an upgrade.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::capability::Capabilities;
use super::command::{Command, MessageNumber};
use super::reply::{self, push_number};
use super::snapshot::{Row, Snapshot};

/// The effect of a command in a posed session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PosedEvent {
    /// The command was answered.
    Answered,
    /// The command was answered with an error: it does not exist.
    Bad,
    /// QUIT was answered.
    Quit,
    /// The command was not answered: only the mail server can do that.
    Upgrade,
}

/// A maildrop as the client sees it: a snapshot without the messages that the session has deleted.
#[derive(Clone, Debug)]
pub struct PosedMaildrop {
    snapshot: Arc<Snapshot>,
    deleted: BTreeSet<MessageNumber>,
}

impl PosedMaildrop {
    /// Shows a snapshot. The default one is an empty maildrop.
    #[must_use]
    pub fn new(snapshot: Arc<Snapshot>) -> Self {
        Self { snapshot, deleted: BTreeSet::new() }
    }

    /// The snapshot, including deleted messages.
    #[must_use]
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// Whether a message exists and is not deleted.
    #[must_use]
    pub(crate) fn contains(&self, number: MessageNumber) -> bool {
        (1..=self.snapshot.count()).contains(&number) && !self.deleted.contains(&number)
    }

    /// Marks a message as deleted. The mail server has done so already.
    pub(crate) fn mark_deleted(&mut self, number: MessageNumber) {
        self.deleted.insert(number);
    }

    /// Removes all marks of deletion. The mail server has done so already.
    pub(crate) fn reset(&mut self) {
        self.deleted.clear();
    }

    /// Number of messages that are marked as deleted.
    #[must_use]
    pub(crate) fn deletions(&self) -> usize {
        self.deleted.len()
    }

    /// The messages that are not deleted, with their numbers.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (MessageNumber, Row<'_>)> {
        self.snapshot.rows().filter(|(number, _)| !self.deleted.contains(number))
    }

    /// Answers STAT, LIST and UIDL. Returns false for any other command.
    pub(crate) fn answer_listing(&self, command: Command<'_>, out: &mut Vec<u8>) -> bool {
        match command {
            Command::Stat => {
                let (count, bytes) = self.totals();
                out.extend_from_slice(b"+OK ");
                push_number(out, count);
                out.push(b' ');
                push_number(out, bytes);
                out.extend_from_slice(b"\r\n");
            }
            Command::List(None) => {
                let (count, bytes) = self.totals();
                out.extend_from_slice(b"+OK ");
                push_number(out, count);
                out.extend_from_slice(b" messages (");
                push_number(out, bytes);
                out.extend_from_slice(b" octets)\r\n");
                for (number, row) in self.rows() {
                    push_size(number, row, out);
                }
                out.extend_from_slice(b".\r\n");
            }
            Command::Uidl(None) => {
                out.extend_from_slice(reply::OK);
                for (number, row) in self.rows() {
                    push_unique_id(number, row, out);
                }
                out.extend_from_slice(b".\r\n");
            }
            Command::List(Some(wanted)) => self.answer_single(wanted, push_size, out),
            Command::Uidl(Some(wanted)) => self.answer_single(wanted, push_unique_id, out),
            _ => return false,
        }
        true
    }

    /// Answers a command unless it needs an upgrade.
    pub fn command(
        &self,
        command: Command<'_>,
        capabilities: &Capabilities,
        out: &mut Vec<u8>,
    ) -> PosedEvent {
        if self.answer_listing(command, out) {
            return PosedEvent::Answered;
        }
        match command {
            Command::Retr(number) | Command::Top(number, _) | Command::Dele(number) => {
                if self.contains(number) {
                    return PosedEvent::Upgrade;
                }
                out.extend_from_slice(reply::NO_SUCH_MESSAGE);
                PosedEvent::Answered
            }
            // DELE needs an upgrade, so nothing is marked in a session without one.
            Command::Rset => {
                out.extend_from_slice(reply::OK);
                PosedEvent::Answered
            }
            _ => common_command(command, capabilities, out),
        }
    }

    fn totals(&self) -> (u64, u64) {
        if self.deleted.is_empty() {
            return (u64::from(self.snapshot.count()), self.snapshot.bytes());
        }
        self.rows().fold((0, 0), |(count, bytes), (_, row)| (count + 1, bytes + row.size))
    }

    fn answer_single(
        &self,
        wanted: MessageNumber,
        push: fn(MessageNumber, Row<'_>, &mut Vec<u8>),
        out: &mut Vec<u8>,
    ) {
        match self.rows().find(|(number, _)| *number == wanted) {
            Some((number, row)) => {
                out.extend_from_slice(b"+OK ");
                push(number, row, out);
            }
            None => out.extend_from_slice(reply::NO_SUCH_MESSAGE),
        }
    }
}

/// Answers a command in the manner `busy`: the login is accepted, the messages are not available.
pub fn busy(command: Command<'_>, capabilities: &Capabilities, out: &mut Vec<u8>) -> PosedEvent {
    match command {
        Command::Stat
        | Command::List(_)
        | Command::Uidl(_)
        | Command::Retr(_)
        | Command::Top(..)
        | Command::Dele(_) => {
            out.extend_from_slice(reply::BUSY);
            PosedEvent::Answered
        }
        Command::Rset => {
            out.extend_from_slice(reply::OK);
            PosedEvent::Answered
        }
        _ => common_command(command, capabilities, out),
    }
}

/// Answers the commands whose replies are the same in posed and relayed sessions.
pub(crate) fn common_command(
    command: Command<'_>,
    capabilities: &Capabilities,
    out: &mut Vec<u8>,
) -> PosedEvent {
    let (event, answer): (PosedEvent, &[u8]) = match command {
        Command::Noop => (PosedEvent::Answered, reply::OK),
        Command::Quit => (PosedEvent::Quit, reply::BYE),
        Command::Capa => (PosedEvent::Answered, capabilities.after_login()),
        Command::Last => (PosedEvent::Answered, reply::UNKNOWN),
        Command::User(_) | Command::Pass(_) | Command::Apop(..) | Command::Auth { .. } | Command::Stls => {
            (PosedEvent::Bad, reply::ALREADY_LOGGED_IN)
        }
        Command::Malformed => (PosedEvent::Bad, reply::MALFORMED),
        _ => (PosedEvent::Bad, reply::UNKNOWN),
    };
    out.extend_from_slice(answer);
    event
}

fn push_size(number: MessageNumber, row: Row<'_>, out: &mut Vec<u8>) {
    push_number(out, u64::from(number));
    out.push(b' ');
    push_number(out, row.size);
    out.extend_from_slice(b"\r\n");
}

fn push_unique_id(number: MessageNumber, row: Row<'_>, out: &mut Vec<u8>) {
    push_number(out, u64::from(number));
    out.push(b' ');
    out.extend_from_slice(row.unique_id);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three() -> PosedMaildrop {
        let rows = [
            Row { size: 100, unique_id: b"aa" },
            Row { size: 20, unique_id: b"bb" },
            Row { size: 3, unique_id: b"cc" },
        ];
        PosedMaildrop::new(Arc::new(Snapshot::pack(rows).unwrap()))
    }

    fn ask(maildrop: &PosedMaildrop, line: &str) -> (PosedEvent, String) {
        let mut out = Vec::new();
        let event = maildrop.command(Command::parse(line.as_bytes()), &Capabilities::default(), &mut out);
        (event, String::from_utf8(out).unwrap())
    }

    #[test]
    fn listings_are_shown_byte_for_byte() {
        let maildrop = three();
        assert_eq!(ask(&maildrop, "STAT").1, "+OK 3 123\r\n");
        assert_eq!(ask(&maildrop, "LIST").1, "+OK 3 messages (123 octets)\r\n1 100\r\n2 20\r\n3 3\r\n.\r\n");
        assert_eq!(ask(&maildrop, "UIDL").1, "+OK\r\n1 aa\r\n2 bb\r\n3 cc\r\n.\r\n");
        assert_eq!(ask(&maildrop, "LIST 2").1, "+OK 2 20\r\n");
        assert_eq!(ask(&maildrop, "UIDL 3").1, "+OK 3 cc\r\n");
        assert_eq!(ask(&maildrop, "UIDL 4").1, "-ERR no such message\r\n");
        assert_eq!(ask(&maildrop, "LIST 0").1, "-ERR no such message\r\n");
        assert_eq!(ask(&maildrop, "LAST").1, "-ERR unknown command\r\n");
        assert_eq!(ask(&maildrop, "QUIT"), (PosedEvent::Quit, "+OK bye\r\n".to_owned()));
    }

    #[test]
    fn commands_about_contents_need_an_upgrade_and_are_not_answered() {
        let maildrop = three();
        for line in ["RETR 1", "TOP 3 0", "DELE 2"] {
            assert_eq!(ask(&maildrop, line), (PosedEvent::Upgrade, String::new()), "{line}");
        }
        for line in ["RETR 4", "TOP 0 0", "DELE 9"] {
            assert_eq!(
                ask(&maildrop, line),
                (PosedEvent::Answered, "-ERR no such message\r\n".to_owned()),
                "{line}"
            );
        }
    }

    #[test]
    fn each_other_command_has_its_reply_and_some_count_as_bad() {
        let (answered, bad) = (PosedEvent::Answered, PosedEvent::Bad);
        for (line, event, reply) in [
            ("NOOP", answered, "+OK\r\n"),
            ("RSET", answered, "+OK\r\n"),
            ("LAST", answered, "-ERR unknown command\r\n"),
            ("USER alice", bad, "-ERR you are logged in\r\n"),
            ("STLS", bad, "-ERR you are logged in\r\n"),
            ("LIST x", bad, "-ERR wrong arguments\r\n"),
            ("XYZZY", bad, "-ERR unknown command\r\n"),
        ] {
            assert_eq!(ask(&three(), line), (event, reply.to_owned()), "{line}");
        }
        let (event, capabilities) = ask(&three(), "CAPA");
        assert_eq!(event, answered);
        assert_eq!(capabilities.as_bytes(), Capabilities::default().after_login());
    }

    #[test]
    fn deleted_messages_are_hidden_and_the_others_keep_their_numbers() {
        let mut maildrop = three();
        maildrop.mark_deleted(2);
        assert_eq!(ask(&maildrop, "STAT").1, "+OK 2 103\r\n");
        assert_eq!(ask(&maildrop, "UIDL").1, "+OK\r\n1 aa\r\n3 cc\r\n.\r\n");
        assert_eq!(ask(&maildrop, "LIST 2").1, "-ERR no such message\r\n");
        maildrop.reset();
        assert_eq!(ask(&maildrop, "STAT").1, "+OK 3 123\r\n");
    }

    #[test]
    fn an_empty_maildrop_answers_every_command() {
        let empty = PosedMaildrop::new(Arc::default());
        assert_eq!(ask(&empty, "STAT").1, "+OK 0 0\r\n");
        assert_eq!(ask(&empty, "LIST").1, "+OK 0 messages (0 octets)\r\n.\r\n");
        assert_eq!(ask(&empty, "UIDL").1, "+OK\r\n.\r\n");
        assert_eq!(ask(&empty, "RETR 1").1, "-ERR no such message\r\n");
    }

    #[test]
    fn busy_refuses_commands_about_messages_and_no_others() {
        let capabilities = Capabilities::default();
        for (line, beginning) in [
            ("STAT", "-ERR [SYS/TEMP]"),
            ("LIST", "-ERR [SYS/TEMP]"),
            ("UIDL 1", "-ERR [SYS/TEMP]"),
            ("RETR 1", "-ERR [SYS/TEMP]"),
            ("TOP 1 1", "-ERR [SYS/TEMP]"),
            ("DELE 1", "-ERR [SYS/TEMP]"),
            ("NOOP", "+OK"),
            ("RSET", "+OK"),
            ("CAPA", "+OK"),
            ("QUIT", "+OK"),
        ] {
            let mut out = Vec::new();
            busy(Command::parse(line.as_bytes()), &capabilities, &mut out);
            assert!(out.starts_with(beginning.as_bytes()), "{line}");
        }
    }
}
