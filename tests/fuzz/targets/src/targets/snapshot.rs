//! Snapshots: made of listings, packed, and unpacked. The first byte chooses one of three.
//!
//! Bytes that nobody has packed are refused, or have the promised rows. Rows that were packed come back. A snapshot
//! that is made of a mail server's replies shows them again byte by byte, without the messages that were
//! deleted: what cannot be shown like this makes no snapshot.

use std::sync::Arc;

use reprieve_pop3::command::Command;
use reprieve_pop3::posed::{PosedEvent, PosedMaildrop};
use reprieve_pop3::relay::{CommandStatus, Relay, RelayEvent};
use reprieve_pop3::snapshot::{Row, Snapshot};

use super::posed::unique_id;
use crate::input::{Input, capabilities};

/// See the head of this file.
pub fn snapshot(data: &[u8]) {
    let mut input = Input::new(data);
    match input.below(4) {
        0 => unpacked(&mut input),
        1 => packed(&mut input),
        _ => listed(input),
    }
}

/// Bytes that nobody has packed.
fn unpacked(input: &mut Input<'_>) {
    let (count, bytes) = (u32::try_from(input.number() & 0xFFFF_FFFF).unwrap_or(0), input.number());
    let packed = std::mem::replace(input, Input::new(&[])).rest();
    let Some(snapshot) = Snapshot::from_packed(packed.into(), count, bytes) else { return };
    let rows: Vec<_> = snapshot.rows().collect();
    assert!(rows.len() <= packed.len() / 2, "a row takes two bytes at least");
    assert_eq!(rows.len(), count as usize);
    assert_eq!(rows.iter().map(|(_, row)| row.size).sum::<u64>(), bytes);
    assert!(rows.iter().zip(1..).all(|((number, _), expected)| *number == expected));
    assert!(rows.is_empty() || !snapshot.lacks_any(rows.iter().map(|(_, row)| row.unique_id)));
    assert_ne!(snapshot.digest(), 0);
    let maildrop = PosedMaildrop::new(snapshot.shared());
    for line in [&b"STAT"[..], b"LIST", b"UIDL", b"LIST 1", b"UIDL 2", b"RETR 3"] {
        let mut out = Vec::new();
        maildrop.command(Command::parse(line), capabilities(), &mut out);
        assert!(out.len() <= 100 + packed.len() * 40, "{} bytes", out.len());
    }
}

fn packed(input: &mut Input<'_>) {
    let count = input.below(16);
    let rows: Vec<_> = (0..count)
        .map(|_| {
            let is_valid = input.byte() < 0xF0;
            let id = if is_valid { unique_id(input).into_bytes() } else { input.chunk().to_vec() };
            (input.number(), id)
        })
        .collect();
    let is_valid = |id: &[u8]| (1..=70).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic);
    let sum = rows.iter().try_fold(0_u64, |sum, (size, _)| sum.checked_add(*size));
    let can_be_packed = sum.is_some() && rows.iter().all(|(_, id)| is_valid(id));
    let snapshot = Snapshot::pack(rows.iter().map(|(size, id)| Row { size: *size, unique_id: id }));
    assert_eq!(snapshot.is_some(), can_be_packed);
    let Some(snapshot) = snapshot else { return };
    let copy = Snapshot::from_packed(snapshot.packed().into(), snapshot.count(), snapshot.bytes());
    let copy = copy.expect("what was packed");
    assert_eq!(copy, snapshot);
    assert_eq!((copy.digest(), Some(copy.bytes())), (snapshot.digest(), sum));
    let unpacked: Vec<_> = copy.rows().map(|(_, row)| (row.size, row.unique_id.to_vec())).collect();
    assert_eq!(unpacked, rows);
    assert!(!copy.lacks_any(rows.iter().map(|(_, id)| &**id)));
}

/// Replies of a mail server, in parts that a NUL ends: to STAT, LIST and UIDL, without their status
/// lines and their ends.
fn listed(mut input: Input<'_>) {
    let flags = input.byte();
    let deleted = u32::from(input.byte() & 7);
    let mut parts = input.rest().splitn(3, |&byte| byte == 0);
    let mut part = || parts.next().unwrap_or_default();
    let (stat, sizes, unique_ids) = (part(), part(), part());
    // A line end in a row would be one of the reply.
    if stat.contains(&b'\n') || [sizes, unique_ids].iter().any(|rows| ends_early(rows)) {
        return;
    }
    let mut session = Session { relay: Relay::direct(), snapshot: None };
    if flags & 1 != 0 {
        session.ask("STAT", &[b"+OK ", stat, b"\r\n"].concat());
    }
    let listings = [("LIST", sizes), ("UIDL", unique_ids)];
    for (command, rows) in listings {
        session.ask(command, &[b"+OK\r\n", rows, b".\r\n"].concat());
    }
    if deleted > 0 {
        session.ask(&format!("DELE {deleted}"), b"+OK\r\n");
    }
    session.ask("QUIT", b"+OK\r\n");
    let Some(snapshot) = session.snapshot else { return };
    let maildrop = PosedMaildrop::new(Arc::new(snapshot));
    if deleted == 0 {
        assert_eq!(shown(&maildrop, "LIST"), sizes);
        assert_eq!(shown(&maildrop, "UIDL"), unique_ids);
        if flags & 1 != 0 {
            assert_eq!(reply(&maildrop, "STAT"), [b"+OK ", stat, b"\r\n"].concat());
        }
    } else {
        // Numbered anew, as in the next session.
        let kept = |rows: &[u8]| {
            let rows = rows.split_inclusive(|&byte| byte == b'\n');
            let rows = rows.filter(|row| !row.starts_with(format!("{deleted} ").as_bytes()));
            let rows = rows.zip(1..).map(|(row, number)| {
                let space = row.iter().position(|&byte| byte == b' ').expect("a row");
                [format!("{number}").as_bytes(), &row[space..]].concat()
            });
            rows.flatten().collect::<Vec<u8>>()
        };
        assert_eq!(shown(&maildrop, "LIST"), kept(sizes));
        assert_eq!(shown(&maildrop, "UIDL"), kept(unique_ids));
    }
}

/// Whether rows contain the end of a listing, or do not end in a line end.
fn ends_early(rows: &[u8]) -> bool {
    let is_end = |row: &[u8]| row.strip_suffix(b"\r").unwrap_or(row) == b".";
    rows.split(|&byte| byte == b'\n').any(is_end) || !rows.is_empty() && !rows.ends_with(b"\n")
}

fn reply(maildrop: &PosedMaildrop, command: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let event = maildrop.command(Command::parse(command.as_bytes()), capabilities(), &mut out);
    assert_eq!(event, PosedEvent::Answered);
    out
}

/// The rows of a listing.
fn shown(maildrop: &PosedMaildrop, command: &str) -> Vec<u8> {
    let reply = reply(maildrop, command);
    let rows = reply.iter().position(|&byte| byte == b'\n').expect("a status line") + 1;
    reply[rows..].strip_suffix(b".\r\n").expect("the end of a listing").to_vec()
}

/// A relayed session whose every command gets the given reply.
struct Session {
    relay: Relay,
    snapshot: Option<Snapshot>,
}

impl Session {
    fn ask(&mut self, command: &str, reply: &[u8]) {
        let (mut to_server, mut to_client) = (Vec::new(), Vec::new());
        let mut status = CommandStatus::Wait;
        while status == CommandStatus::Wait {
            to_server.clear();
            status =
                self.relay.command(command.as_bytes(), capabilities(), &mut to_server, &mut to_client);
            // Listings that the relay asks for itself have been asked for before.
            assert!(self.relay.is_waiting(), "{command}");
            let mut rest = match &*to_server {
                asked if asked.starts_with(&command.as_bytes()[..4]) => reply,
                other => panic!("{command} became {}", other.escape_ascii()),
            };
            while !rest.is_empty() {
                let Ok(progress) = self.relay.reply(rest, &mut to_server) else { return };
                if let Some(RelayEvent::Quit { snapshot, .. }) = progress.event {
                    self.snapshot = snapshot.ok();
                }
                rest = &rest[progress.consumed..];
            }
        }
    }
}
