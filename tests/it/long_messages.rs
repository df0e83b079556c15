//! Messages that are long enough to be spliced: each arrives complete, whatever its content and
//! timing, and later commands are answered in order.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;

use crate::support::account::PASSWORD;
use crate::support::dialogue::Dialogue;
use crate::support::proxy::{Proxy, Setup};
use crate::support::scripted::{Conversation, Scripted};

/// A deterministic random number generator.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).unwrap()
    }
}

/// A message on the wire, full of sequences that resemble its end.
fn message(number: u64) -> Vec<u8> {
    let mut chance = Chance(0x9E37_79B9_7F4A_7C15 ^ (number << 20));
    let parts: [&[u8]; 8] = [
        b"..\r\n",
        b".. \r\n",
        b"x\n.\n",
        b"y\n.\r\n\r\n",
        b"z.\r\n",
        b"\r\n",
        b"\r\r\n..",
        b"a long line \r\n",
    ];
    let mut bytes = b"+OK it follows\r\n".to_vec();
    let length = 300_000 + chance.below(5_000_000);
    while bytes.len() < length {
        if chance.below(50) == 0 {
            bytes.extend_from_slice(parts[chance.below(parts.len())]);
        } else {
            bytes.extend_from_slice(b"Lorem ipsum dolor sit amet, consectetur adipisici elit. ");
        }
    }
    bytes.extend_from_slice(b"\r\n.\r\n");
    bytes
}

/// A mail server that sends messages in pieces of random size.
fn node(chance: u64) -> Scripted {
    Scripted::start(move |conversation: &mut Conversation| {
        let mut chance = Chance(chance);
        conversation.accept_login();
        while let Some(command) = conversation.read_command() {
            match command.strip_prefix("RETR ") {
                Some(number) => {
                    let message = message(number.parse().unwrap());
                    let mut rest = &message[..];
                    while !rest.is_empty() {
                        let piece = match chance.below(8) {
                            0 => chance.below(10),
                            1 => chance.below(5_000),
                            _ => chance.below(900_000),
                        };
                        let (now, later) = rest.split_at(piece.min(rest.len()));
                        conversation.send(now);
                        rest = later;
                    }
                }
                // It has no listing, so that the proxy need not complete one.
                None if command == "UIDL" || command == "LIST" => conversation.send(b"-ERR no\r\n"),
                None => conversation.send(format!("+OK {command}\r\n").as_bytes()),
            }
            if command == "QUIT" {
                return;
            }
        }
    })
}

fn front(node: SocketAddr) -> Proxy {
    Setup::default().in_front_of(&[node])
}

fn log_in(front: &Proxy) -> Dialogue {
    let mut session = Dialogue::open(front.address());
    session.give_password("alice", PASSWORD);
    session
}

/// Reads the expected bytes in pieces of random size.
fn expect(session: &mut Dialogue, expected: &[u8], chance: &mut Chance) {
    let mut read = vec![0; 200_000];
    let mut at = 0;
    while at < expected.len() {
        let piece = 1 + chance.below(read.len());
        let piece = piece.min(expected.len() - at);
        let count = session.tcp().read(&mut read[..piece]).unwrap();
        assert!(count > 0, "closed after {at} of {} bytes", expected.len());
        assert!(read[..count] == expected[at..at + count], "other bytes from {at} on");
        at += count;
    }
}

#[test]
fn long_messages_arrive_whole_and_in_order() {
    for seed in 1..=6 {
        let node = node(seed);
        let front = front(node.address());
        let mut session = log_in(&front);
        let mut chance = Chance(seed << 8);
        for number in 1..=3 {
            session.tcp().write_all(format!("RETR {number}\r\n").as_bytes()).unwrap();
            expect(&mut session, &message(number), &mut chance);
            session.tcp().write_all(b"NOOP\r\n").unwrap();
            expect(&mut session, b"+OK NOOP\r\n", &mut chance);
        }
        session.tcp().write_all(b"QUIT\r\n").unwrap();
        expect(&mut session, b"+OK QUIT\r\n", &mut chance);
        assert_eq!(session.tcp().read(&mut [0]).unwrap(), 0, "nothing after it");
    }
}

#[test]
fn commands_during_a_message_are_answered_after_it() {
    for seed in 1..=6 {
        let node = node(seed);
        let front = front(node.address());
        let mut session = log_in(&front);
        let mut chance = Chance(seed << 16);
        let messages: Vec<_> = (1..=3).map(message).collect();
        session.tcp().write_all(b"RETR 1\r\n").unwrap();
        // During the message, more commands are sent: whole ones, and one in two halves.
        let part = 1 + chance.below(messages[0].len() - 1);
        expect(&mut session, &messages[0][..part], &mut chance);
        session.tcp().write_all(b"RETR 2\r\nRET").unwrap();
        expect(&mut session, &messages[0][part..], &mut chance);
        let part = 1 + chance.below(messages[1].len() - 1);
        expect(&mut session, &messages[1][..part], &mut chance);
        session.tcp().write_all(b"R 3\r\nQUIT\r\n").unwrap();
        expect(&mut session, &messages[1][part..], &mut chance);
        expect(&mut session, &messages[2], &mut chance);
        expect(&mut session, b"+OK QUIT\r\n", &mut chance);
    }
}

#[test]
fn a_truncated_message_is_relayed_as_far_as_it_came() {
    let sent = {
        let mut whole = message(1);
        whole.truncate(250_000);
        whole
    };
    let node = Scripted::start({
        let sent = sent.clone();
        move |conversation| {
            conversation.accept_login();
            conversation.read_command();
            conversation.send(&sent);
        }
    });
    let front = front(node.address());
    let session = log_in(&front);
    session.tcp().write_all(b"RETR 1\r\n").unwrap();
    let mut got = Vec::new();
    session.tcp().read_to_end(&mut got).unwrap();
    assert!(got == sent, "{} of {} bytes", got.len(), sent.len());
}
