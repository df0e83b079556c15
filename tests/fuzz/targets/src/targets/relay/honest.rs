//! A session with a mail server that keeps to RFC 1939.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use reprieve_pop3::command::Command;
use reprieve_pop3::listing::SnapshotError;
use reprieve_pop3::posed::PosedMaildrop;
use reprieve_pop3::relay::{CommandStatus, Relay, RelayEvent};
use reprieve_pop3::snapshot::{Row, Snapshot};

use super::model::{Maildrop, Message, REFUSED, Server, body, own_reply, posed_listing};
use super::{parts, sent_lines};
use crate::input::{Cut, Input, capabilities};

/// What the client knows: in an upgraded session, the maildrop that it was shown.
enum Client {
    Direct,
    /// The maildrop that the client was shown, and the mail server's number of each message in it.
    Upgraded(Maildrop, Vec<Option<u32>>),
}

struct Session {
    relay: Relay,
    server: Server,
    client: Client,
    /// Which commands the mail server refuses.
    refusals: u8,
    commands: u8,
    /// Whether it has refused a listing that a snapshot needs.
    listing_refused: bool,
    cut: Cut,
    splices: bool,
    to_client: Vec<u8>,
    to_server: Vec<u8>,
    /// The client's commands that no reply was expected of yet: the mail server's decision to refuse is
    /// known only when it answers.
    unanswered: VecDeque<Vec<u8>>,
    expected: Vec<u8>,
    quit: Option<(Result<Snapshot, SnapshotError>, bool)>,
    fetched: u32,
}

pub fn play(mut input: Input<'_>, is_upgraded: bool) {
    let flags = input.byte();
    let refusals = input.byte();
    let cut = match input.byte() {
        0 => Cut::Whole,
        1 => Cut::Bytes,
        seed => Cut::Seed(seed),
    };
    let maildrop = Maildrop { messages: messages(&mut input), deleted: BTreeSet::new() };
    let server = Server { maildrop, is_over: false };
    let (relay, client) =
        if is_upgraded { upgraded(&mut input, &server) } else { (Relay::direct(), Client::Direct) };
    let mut session = Session {
        relay: relay.with_pipelining(flags & 1 == 0),
        server,
        client,
        refusals: if flags & 2 == 0 { 0 } else { refusals | 1 },
        commands: 0,
        listing_refused: false,
        cut,
        splices: flags & 4 != 0,
        to_client: Vec::new(),
        to_server: Vec::new(),
        unanswered: VecDeque::new(),
        expected: Vec::new(),
        quit: None,
        fetched: 0,
    };
    let mut lines: VecDeque<_> = lines(input).into();
    while session.quit.is_none() && !lines.is_empty() {
        session.turn(&mut lines);
    }
    if session.quit.is_none() {
        session.wind_up();
    }
}

/// The messages of a maildrop. Two never have the same unique-id.
fn messages(input: &mut Input<'_>) -> Vec<Message> {
    let count = input.below(6);
    let mut messages: Vec<Message> = Vec::new();
    for _ in 0..count {
        let choice = input.byte();
        let unique_id = format!("id-{}", choice & 0x0F);
        if messages.iter().all(|message| message.unique_id != unique_id) {
            let body = body(usize::from(choice >> 4));
            messages.push(Message { size: u64::from(input.byte()) * 37, unique_id, body });
        }
    }
    messages
}

/// Lines of the client.
fn lines(mut input: Input<'_>) -> Vec<Vec<u8>> {
    let mut lines = Vec::new();
    while !input.is_empty() {
        let choice = input.byte();
        let number = choice >> 4 & 7;
        let line = match choice & 0x0F {
            0 => "STAT".to_owned(),
            1 => "LIST".to_owned(),
            2 => "UIDL".to_owned(),
            3 => format!("list {number}"),
            4 => format!("UIDL {number}"),
            5 | 6 => format!("RETR {number}"),
            7 => format!("TOP {number} 5"),
            8..=10 => format!("DELE {number}"),
            11 => "RSET".to_owned(),
            12 => "NOOP".to_owned(),
            13 => "QUIT".to_owned(),
            14 => "CAPA".to_owned(),
            _ => {
                lines.push(input.chunk().to_vec());
                continue;
            }
        };
        lines.push(line.into_bytes());
    }
    lines
}

/// A client that was shown other messages, some of which the mail server still has.
fn upgraded(input: &mut Input<'_>, server: &Server) -> (Relay, Client) {
    let mut shown = messages(input);
    for message in &mut shown {
        // The same message has the same body.
        let same = server.maildrop.messages.iter().find(|other| other.unique_id == message.unique_id);
        if let Some(same) = same {
            message.body.clone_from(&same.body);
        }
    }
    let listed: Vec<(u32, Box<[u8]>)> =
        (1..).zip(&server.maildrop.messages).map(|(number, it)| (number, it.unique_id.as_bytes().into())).collect();
    let number = |message: &Message| {
        let same = listed.iter().find(|(_, id)| **id == *message.unique_id.as_bytes());
        same.map(|(number, _)| *number)
    };
    let numbers = shown.iter().map(number).collect();
    let snapshot = pack(shown.iter()).expect("a snapshot");
    let relay = Relay::translated(PosedMaildrop::new(Arc::new(snapshot)), &listed);
    (relay, Client::Upgraded(Maildrop { messages: shown, deleted: BTreeSet::new() }, numbers))
}

fn pack<'a>(messages: impl Iterator<Item = &'a Message>) -> Option<Snapshot> {
    Snapshot::pack(messages.map(|message| Row { size: message.size, unique_id: message.unique_id.as_bytes() }))
}

impl Session {
    /// Takes commands until one has to wait, and lets the mail server answer.
    fn turn(&mut self, lines: &mut VecDeque<Vec<u8>>) {
        while let Some(line) = lines.front() {
            let before = self.to_client.len();
            let status = self.relay.command(line, capabilities(), &mut self.to_server, &mut self.to_client);
            if status == CommandStatus::Wait {
                assert_eq!(self.to_client.len(), before, "nothing is answered out of turn");
                assert!(self.relay.is_waiting(), "waiting for nothing: {}", line.escape_ascii());
                break;
            }
            let line = lines.pop_front().unwrap_or_default();
            let answered = self.to_client.split_off(before);
            if !answered.is_empty() {
                assert!(self.unanswered.is_empty(), "an answer out of turn");
            }
            self.unanswered.push_back(line);
            if !answered.is_empty() || !self.relay.is_waiting() {
                self.expect_own();
                self.to_client.extend(answered);
            }
            if self.relay.is_quitting() {
                break;
            }
        }
        self.server_answers();
        assert!(
            self.to_client == self.expected,
            "the client gets {} instead of {}",
            self.to_client.escape_ascii(),
            self.expected.escape_ascii()
        );
    }

    /// Expects Reprieve's own reply to the oldest command.
    fn expect_own(&mut self) {
        let Some(line) = self.unanswered.pop_front() else { return };
        let command = Command::parse(&line);
        let reply = match (&self.client, command) {
            (Client::Upgraded(maildrop, numbers), Command::Retr(n) | Command::Top(n, _) | Command::Dele(n)) => {
                let exists = maildrop.find(n).is_some_and(|index| numbers[index].is_some());
                assert!(!exists, "{command:?} was not sent");
                b"-ERR no such message\r\n".to_vec()
            }
            (Client::Upgraded(maildrop, ..), _) => posed_listing(maildrop, command)
                .unwrap_or_else(|| own_reply(command, capabilities())),
            (Client::Direct, _) => own_reply(command, capabilities()),
        };
        self.expected.extend(reply);
    }

    /// The mail server answers everything that was sent to it.
    fn server_answers(&mut self) {
        while !self.to_server.is_empty() {
            let sent = std::mem::take(&mut self.to_server);
            let mut replies = Vec::new();
            for line in sent_lines(&sent) {
                let (verb, numbers) = parts(line);
                assert!(!self.server.is_over, "{line} after QUIT");
                let is_refused = self.refusals >> (self.commands & 7) & 1 != 0;
                self.commands = self.commands.wrapping_add(1);
                let reply =
                    if is_refused { REFUSED.to_vec() } else { self.server.answer(verb, &numbers) };
                self.listing_refused |= is_refused && matches!(verb, "LIST" | "UIDL") && numbers.is_empty();
                self.fetched += u32::from(verb == "RETR" && reply.starts_with(b"+OK"));
                self.expect_reply(verb, &numbers, &reply);
                replies.extend(reply);
            }
            self.deliver(&replies);
        }
    }

    /// Expects the reply of the mail server, if the client has sent this command.
    fn expect_reply(&mut self, verb: &str, numbers: &[u32], reply: &[u8]) {
        let Some(line) = self.unanswered.front() else { return };
        let command = Command::parse(line);
        let positive = reply.starts_with(b"+OK");
        let (wanted, number): (&str, Option<u32>) = match command {
            Command::Stat => ("STAT", None),
            Command::List(number) => ("LIST", number),
            Command::Uidl(number) => ("UIDL", number),
            Command::Retr(number) => ("RETR", Some(number)),
            Command::Top(number, _) => ("TOP", Some(number)),
            Command::Dele(number) => ("DELE", Some(number)),
            Command::Rset => ("RSET", None),
            Command::Noop => ("NOOP", None),
            Command::Quit => ("QUIT", None),
            other => panic!("{verb} was sent for {other:?}"),
        };
        // Reprieve asks for listings of its own before QUIT.
        if wanted == "QUIT" && verb != "QUIT" {
            return;
        }
        self.unanswered.pop_front();
        assert_eq!(verb, wanted);
        match &mut self.client {
            Client::Direct => {
                assert_eq!(numbers.first().copied(), number);
                self.expected.extend_from_slice(reply);
            }
            Client::Upgraded(maildrop, theirs) => {
                if let Some(number) = number {
                    let index = maildrop.find(number).expect("a message that the client sees");
                    assert_eq!(numbers.first().copied(), theirs[index], "the message that the client means");
                    if verb == "DELE" && positive {
                        maildrop.deleted.insert(index);
                        self.expected.extend(format!("+OK message {number} deleted\r\n").into_bytes());
                        return;
                    }
                }
                if verb == "RSET" && positive {
                    maildrop.deleted.clear();
                }
                self.expected.extend_from_slice(reply);
            }
        }
    }

    /// Gives bytes of the mail server to the relay.
    fn deliver(&mut self, replies: &[u8]) {
        for part in self.cut.parts(replies) {
            let mut rest = part;
            while !rest.is_empty() {
                if let Some(kept) = self.relay.unspliced_end().filter(|&kept| self.splices && rest.len() > kept) {
                    let (spliced, end) = rest.split_at(rest.len() - kept);
                    self.to_client.extend_from_slice(spliced);
                    self.relay.spliced();
                    rest = end;
                }
                let progress = self.relay.reply(rest, &mut self.to_server).expect("POP3");
                assert!(progress.consumed > 0 || progress.event == Some(RelayEvent::Opened));
                match progress.event {
                    Some(RelayEvent::Quit { snapshot, has_deletions }) => {
                        assert!(self.quit.replace((snapshot, has_deletions)).is_none());
                    }
                    Some(RelayEvent::Opened) | None => {}
                }
                let (consumed, after) = rest.split_at(progress.consumed);
                match progress.replacement {
                    Some(replacement) => self.to_client.extend(replacement),
                    None if progress.forward => self.to_client.extend_from_slice(consumed),
                    None => {}
                }
                rest = after;
            }
        }
        if self.quit.is_some() {
            self.check_end();
        }
    }

    /// Checks what the session leaves after QUIT.
    fn check_end(&mut self) {
        let Some((snapshot, has_deletions)) = &self.quit else { return };
        let deleted = match &self.client {
            Client::Direct => self.server.maildrop.deleted.len(),
            Client::Upgraded(maildrop, ..) => maildrop.deleted.len(),
        };
        assert_eq!(*has_deletions, deleted > 0);
        let totals = self.relay.totals();
        assert_eq!((totals.quit, totals.fetched), (self.server.is_over, self.fetched));
        assert_eq!(totals.deleted as usize, if self.server.is_over { deleted } else { 0 });
        match snapshot {
            Ok(snapshot) => {
                assert!(self.server.is_over, "QUIT was refused");
                assert_eq!(rows(snapshot), self.left(true));
            }
            Err(_) => assert!(!self.server.is_over || self.listing_refused),
        }
    }

    /// The messages that the session leaves, as far as the client knows them.
    fn left(&self, has_quit: bool) -> Vec<(u64, String)> {
        let row = |message: &Message| (message.size, message.unique_id.clone());
        match &self.client {
            Client::Direct => {
                let all = self.server.maildrop.messages.iter().enumerate();
                let is_left = |index: &usize| !has_quit || !self.server.maildrop.deleted.contains(index);
                all.filter(|(index, _)| is_left(index)).map(|(_, message)| row(message)).collect()
            }
            Client::Upgraded(maildrop, numbers) => {
                let all = maildrop.messages.iter().enumerate();
                let is_left = |index: &usize| {
                    numbers[*index].is_some() && (!has_quit || !maildrop.deleted.contains(index))
                };
                all.filter(|(index, _)| is_left(index)).map(|(_, message)| row(message)).collect()
            }
        }
    }

    /// The client has gone without QUIT.
    fn wind_up(&mut self) {
        self.server_answers();
        let mut result = None;
        for _ in 0..5 {
            result = self.relay.wind_up(&mut self.to_server);
            if result.is_some() {
                break;
            }
            assert!(self.relay.is_waiting() && !self.to_server.is_empty(), "it waits for nothing");
            // Nobody gets these replies.
            self.unanswered.clear();
            self.server_answers();
        }
        if self.quit.is_some() {
            return;
        }
        assert!(self.to_server.is_empty());
        match result.expect("an end") {
            Ok(snapshot) => assert_eq!(rows(&snapshot), self.left(false)),
            Err(_) => assert!(self.listing_refused || self.refusals != 0),
        }
        assert!(!self.server.is_over, "deletions without QUIT are never carried out");
    }
}

fn rows(snapshot: &Snapshot) -> Vec<(u64, String)> {
    let text = |row: Row<'_>| String::from_utf8_lossy(row.unique_id).into_owned();
    snapshot.rows().map(|(_, row)| (row.size, text(row))).collect()
}
