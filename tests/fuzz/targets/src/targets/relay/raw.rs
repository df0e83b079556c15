//! A session with a mail server that sends anything. Lines of the client and bytes of the server take
//! turns; a NUL ends each turn.

use std::collections::VecDeque;

use reprieve_pop3::relay::{CommandStatus, Relay, RelayEvent};

use super::{parts, sent_lines};
use crate::input::{Cut, Input, capabilities};

/// Everything that comes of a session.
#[derive(Debug, Default, PartialEq)]
struct Transcript {
    to_server: String,
    to_client: Vec<u8>,
    events: Vec<String>,
    error: Option<String>,
    end: String,
}

pub fn play(mut input: Input<'_>) {
    let has_pipelining = input.byte() & 1 == 0;
    let seed = Cut::Seed(input.byte());
    let turns = input.rest();
    let whole = converse(turns, has_pipelining, Cut::Whole);
    for cut in [Cut::Bytes, seed] {
        let other = converse(turns, has_pipelining, cut);
        assert_eq!(other, whole, "{cut:?}");
    }
}

fn converse(turns: &[u8], has_pipelining: bool, cut: Cut) -> Transcript {
    let mut relay = Relay::direct().with_pipelining(has_pipelining);
    let mut transcript = Transcript::default();
    let mut lines: VecDeque<&[u8]> = VecDeque::new();
    for (number, turn) in turns.split(|&byte| byte == 0).enumerate() {
        if number % 2 == 0 {
            lines.extend(turn.split(|&byte| byte == b'\n'));
            take(&mut relay, &mut lines, &mut transcript);
            continue;
        }
        for part in cut.parts(turn) {
            if !receive(&mut relay, part, &mut transcript) {
                return transcript;
            }
        }
        take(&mut relay, &mut lines, &mut transcript);
    }
    // The client is gone.
    let mut to_server = Vec::new();
    let left = relay.wind_up(&mut to_server);
    check_commands(&to_server);
    transcript.end = format!("{left:?} {:?} {}", relay.totals(), relay.is_in_message());
    transcript
}

/// Takes commands until one has to wait.
fn take(relay: &mut Relay, lines: &mut VecDeque<&[u8]>, transcript: &mut Transcript) {
    while let Some(line) = lines.front().filter(|_| !relay.is_quitting()) {
        let mut to_server = Vec::new();
        let status =
            relay.command(line, capabilities(), &mut to_server, &mut transcript.to_client);
        check_commands(&to_server);
        transcript.to_server.push_str(&String::from_utf8_lossy(&to_server));
        if status == CommandStatus::Wait {
            assert!(relay.is_waiting(), "{} waits for nothing", line.escape_ascii());
            return;
        }
        lines.pop_front();
    }
}

/// Gives bytes of the server to the relay. Returns whether the session goes on.
fn receive(relay: &mut Relay, part: &[u8], transcript: &mut Transcript) -> bool {
    let mut rest = part;
    while !rest.is_empty() {
        let mut to_server = Vec::new();
        let progress = match relay.reply(rest, &mut to_server) {
            Ok(progress) => progress,
            Err(error) => {
                transcript.error = Some(error.to_string());
                return false;
            }
        };
        check_commands(&to_server);
        transcript.to_server.push_str(&String::from_utf8_lossy(&to_server));
        assert!(progress.consumed > 0 || progress.event == Some(RelayEvent::Opened), "no progress");
        let (consumed, after) = rest.split_at(progress.consumed);
        match progress.replacement {
            Some(replacement) => transcript.to_client.extend(replacement),
            None if progress.forward => transcript.to_client.extend_from_slice(consumed),
            None => {}
        }
        rest = after;
        if let Some(event) = progress.event {
            let is_over = matches!(event, RelayEvent::Quit { .. });
            transcript.events.push(format!("{event:?}"));
            if is_over {
                return false;
            }
        }
    }
    true
}

fn check_commands(to_server: &[u8]) {
    for line in sent_lines(to_server) {
        parts(line);
    }
}
