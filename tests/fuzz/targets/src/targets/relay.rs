//! The relayed session, in both directions. The first byte chooses one of two.
//!
//! With a mail server that keeps to RFC 1939, the client gets what it would get from that server itself,
//! or, after an upgrade, the messages that it knows under the numbers that it knows; and the session
//! leaves the listing that is true then. With a server that sends anything, nothing but commands of one
//! form reaches the server, and the client gets the same bytes however the server's arrive.

mod honest;
mod model;
mod raw;

use crate::input::Input;

/// See the head of this file.
pub fn relay(data: &[u8]) {
    let mut input = Input::new(data);
    match input.below(4) {
        0 => raw::play(input),
        kind => honest::play(input, kind > 1),
    }
}

/// The parts of a command that is sent to a mail server: its verb and numbers.
///
/// # Panics
/// If it is not in the one form that Reprieve writes.
fn parts(line: &str) -> (&str, Vec<u32>) {
    let mut words = line.split(' ');
    let verb = words.next().unwrap_or_default();
    let numbers: Vec<u32> = words.map(|word| word.parse().unwrap_or_else(|_| panic!("{line:?}"))).collect();
    let arguments = match verb {
        "STAT" | "NOOP" | "RSET" | "QUIT" => 0..=0,
        "LIST" | "UIDL" => 0..=1,
        "RETR" | "DELE" => 1..=1,
        "TOP" => 2..=2,
        _ => panic!("{line:?} was sent"),
    };
    assert!(arguments.contains(&numbers.len()), "{line:?}");
    let canonical = numbers.iter().fold(verb.to_owned(), |line, number| format!("{line} {number}"));
    assert_eq!(canonical, line, "in one form");
    (verb, numbers)
}

/// The lines that were sent to a mail server.
fn sent_lines(to_server: &[u8]) -> Vec<&str> {
    if to_server.is_empty() {
        return Vec::new();
    }
    let text = std::str::from_utf8(to_server).expect("ASCII");
    text.strip_suffix("\r\n").unwrap_or_else(|| panic!("{text:?} does not end")).split("\r\n").collect()
}
