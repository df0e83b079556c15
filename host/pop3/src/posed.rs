//! The posed maildrop: the TRANSACTION state (RFC 1939, section 5) answered in the mail
//! server's place. What it cannot know it does not make up: it asks for an upgrade.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::capability::Capabilities;
use super::command::{Command, Number};
use super::reply::{self, push_number};
use super::snapshot::{Row, Snapshot};

/// What a command to a posed maildrop led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Answered.
    Answered,
    /// Answered with an error: no such command.
    Bad,
    /// QUIT, answered.
    Quit,
    /// Not answered: only the mail server can.
    Upgrade,
}

/// A maildrop as it is shown, with the messages that the session has marked as deleted.
#[derive(Clone, Debug)]
pub struct Maildrop {
    snapshot: Arc<Snapshot>,
    deleted: BTreeSet<Number>,
}

impl Maildrop {
    /// Shows a snapshot; the empty one shows a maildrop without messages.
    #[must_use]
    pub fn new(snapshot: Arc<Snapshot>) -> Self {
        Self { snapshot, deleted: BTreeSet::new() }
    }

    /// What is shown.
    #[must_use]
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// Whether the session can speak of that message.
    #[must_use]
    pub fn has(&self, number: Number) -> bool {
        (1..=self.snapshot.count()).contains(&number) && !self.deleted.contains(&number)
    }

    /// Marks a message as deleted, after the mail server has.
    pub fn mark_deleted(&mut self, number: Number) {
        self.deleted.insert(number);
    }

    /// Takes all marks back, after the mail server has.
    pub fn unmark(&mut self) {
        self.deleted.clear();
    }

    /// Whether any message is marked.
    #[must_use]
    pub fn has_deletions(&self) -> bool {
        !self.deleted.is_empty()
    }

    /// The messages that are not marked, with their numbers.
    pub fn rows(&self) -> impl Iterator<Item = (Number, Row<'_>)> {
        self.snapshot.rows().filter(|(number, _)| !self.deleted.contains(number))
    }

    /// Answers what a listing can answer: STAT, LIST, UIDL. False where it was none of them.
    pub fn list(&self, command: Command<'_>, out: &mut Vec<u8>) -> bool {
        match command {
            Command::Stat => {
                let (count, octets) = self.totals();
                out.extend_from_slice(b"+OK ");
                push_number(out, count);
                out.push(b' ');
                push_number(out, octets);
                out.extend_from_slice(b"\r\n");
            }
            Command::List(None) => {
                let (count, octets) = self.totals();
                out.extend_from_slice(b"+OK ");
                push_number(out, count);
                out.extend_from_slice(b" messages (");
                push_number(out, octets);
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
            Command::List(Some(wanted)) => self.one(wanted, push_size, out),
            Command::Uidl(Some(wanted)) => self.one(wanted, push_unique_id, out),
            _ => return false,
        }
        true
    }

    /// Answers a command, or tells that only the mail server can.
    pub fn command(&self, command: Command<'_>, capabilities: &Capabilities, out: &mut Vec<u8>) -> Event {
        if self.list(command, out) {
            return Event::Answered;
        }
        match command {
            Command::Retr(number) | Command::Top(number, _) | Command::Dele(number) => {
                if self.has(number) {
                    return Event::Upgrade;
                }
                out.extend_from_slice(reply::NO_SUCH_MESSAGE);
                Event::Answered
            }
            // Nothing is marked as long as the mail server has not been asked.
            Command::Rset => {
                out.extend_from_slice(reply::OK);
                Event::Answered
            }
            _ => anywhere(command, capabilities, out),
        }
    }

    fn totals(&self) -> (u64, u64) {
        if self.deleted.is_empty() {
            return (u64::from(self.snapshot.count()), self.snapshot.octets());
        }
        self.rows().fold((0, 0), |(count, octets), (_, row)| (count + 1, octets + row.size))
    }

    fn one(&self, wanted: Number, push: fn(Number, Row<'_>, &mut Vec<u8>), out: &mut Vec<u8>) {
        match self.rows().find(|(number, _)| *number == wanted) {
            Some((number, row)) => {
                out.extend_from_slice(b"+OK ");
                push(number, row, out);
            }
            None => out.extend_from_slice(reply::NO_SUCH_MESSAGE),
        }
    }
}

/// Answers a command in the manner `busy`: the login is good, the mail cannot be had now.
pub fn busy(command: Command<'_>, capabilities: &Capabilities, out: &mut Vec<u8>) -> Event {
    match command {
        Command::Stat
        | Command::List(_)
        | Command::Uidl(_)
        | Command::Retr(_)
        | Command::Top(..)
        | Command::Dele(_) => {
            out.extend_from_slice(reply::BUSY);
            Event::Answered
        }
        Command::Rset => {
            out.extend_from_slice(reply::OK);
            Event::Answered
        }
        _ => anywhere(command, capabilities, out),
    }
}

/// Answers the commands that are the same in every session after the login, relayed ones
/// included.
pub(crate) fn anywhere(command: Command<'_>, capabilities: &Capabilities, out: &mut Vec<u8>) -> Event {
    let (event, answer): (Event, &[u8]) = match command {
        Command::Noop => (Event::Answered, reply::OK),
        Command::Quit => (Event::Quit, reply::BYE),
        Command::Capa => (Event::Answered, capabilities.after_login()),
        Command::Last => (Event::Answered, reply::UNKNOWN),
        Command::User(_) | Command::Pass(_) | Command::Apop(..) | Command::Auth { .. } | Command::Stls => {
            (Event::Bad, reply::LOGGED_IN)
        }
        Command::Malformed => (Event::Bad, reply::MALFORMED),
        _ => (Event::Bad, reply::UNKNOWN),
    };
    out.extend_from_slice(answer);
    event
}

fn push_size(number: Number, row: Row<'_>, out: &mut Vec<u8>) {
    push_number(out, u64::from(number));
    out.push(b' ');
    push_number(out, row.size);
    out.extend_from_slice(b"\r\n");
}

fn push_unique_id(number: Number, row: Row<'_>, out: &mut Vec<u8>) {
    push_number(out, u64::from(number));
    out.push(b' ');
    out.extend_from_slice(row.unique_id);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three() -> Maildrop {
        let rows = [
            Row { size: 100, unique_id: b"aa" },
            Row { size: 20, unique_id: b"bb" },
            Row { size: 3, unique_id: b"cc" },
        ];
        Maildrop::new(Arc::new(Snapshot::pack(rows).unwrap()))
    }

    fn ask(maildrop: &Maildrop, line: &str) -> (Event, String) {
        let mut out = Vec::new();
        let event = maildrop.command(Command::parse(line.as_bytes()), &Capabilities::default(), &mut out);
        (event, String::from_utf8(out).unwrap())
    }

    #[test]
    fn the_listing_is_shown_octet_for_octet() {
        let maildrop = three();
        assert_eq!(ask(&maildrop, "STAT").1, "+OK 3 123\r\n");
        assert_eq!(ask(&maildrop, "LIST").1, "+OK 3 messages (123 octets)\r\n1 100\r\n2 20\r\n3 3\r\n.\r\n");
        assert_eq!(ask(&maildrop, "UIDL").1, "+OK\r\n1 aa\r\n2 bb\r\n3 cc\r\n.\r\n");
        assert_eq!(ask(&maildrop, "LIST 2").1, "+OK 2 20\r\n");
        assert_eq!(ask(&maildrop, "UIDL 3").1, "+OK 3 cc\r\n");
        assert_eq!(ask(&maildrop, "UIDL 4").1, "-ERR no such message\r\n");
        assert_eq!(ask(&maildrop, "LIST 0").1, "-ERR no such message\r\n");
        assert_eq!(ask(&maildrop, "LAST").1, "-ERR unknown command\r\n");
        assert_eq!(ask(&maildrop, "QUIT"), (Event::Quit, "+OK bye\r\n".to_owned()));
    }

    #[test]
    fn what_only_the_mail_server_knows_asks_for_an_upgrade_and_says_nothing() {
        let maildrop = three();
        for line in ["RETR 1", "TOP 3 0", "DELE 2"] {
            assert_eq!(ask(&maildrop, line), (Event::Upgrade, String::new()), "{line}");
        }
        for line in ["RETR 4", "TOP 0 0", "DELE 9"] {
            assert_eq!(
                ask(&maildrop, line),
                (Event::Answered, "-ERR no such message\r\n".to_owned()),
                "{line}"
            );
        }
    }

    #[test]
    fn marked_messages_are_gone_and_the_other_numbers_stay() {
        let mut maildrop = three();
        maildrop.mark_deleted(2);
        assert_eq!(ask(&maildrop, "STAT").1, "+OK 2 103\r\n");
        assert_eq!(ask(&maildrop, "UIDL").1, "+OK\r\n1 aa\r\n3 cc\r\n.\r\n");
        assert_eq!(ask(&maildrop, "LIST 2").1, "-ERR no such message\r\n");
        maildrop.unmark();
        assert_eq!(ask(&maildrop, "STAT").1, "+OK 3 123\r\n");
    }

    #[test]
    fn the_empty_maildrop_is_complete_pop3() {
        let empty = Maildrop::new(Arc::default());
        assert_eq!(ask(&empty, "STAT").1, "+OK 0 0\r\n");
        assert_eq!(ask(&empty, "LIST").1, "+OK 0 messages (0 octets)\r\n.\r\n");
        assert_eq!(ask(&empty, "UIDL").1, "+OK\r\n.\r\n");
        assert_eq!(ask(&empty, "RETR 1").1, "-ERR no such message\r\n");
    }

    #[test]
    fn busy_says_so_to_each_command_about_mail_and_to_no_other() {
        let capabilities = Capabilities::default();
        for (line, begins) in [
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
            assert!(out.starts_with(begins.as_bytes()), "{line}");
        }
    }
}
