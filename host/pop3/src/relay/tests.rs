//! The relay with scripted replies, which arrive in parts of every size.

use std::sync::Arc;

use super::replies::LINE_LIMIT;
use super::*;
use crate::capability::Capabilities;
use crate::snapshot::Row;

/// A relay between a scripted client and a scripted server.
struct Dialogue {
    relay: Relay,
    to_server: Vec<u8>,
    to_client: Vec<u8>,
    opened: bool,
    event: Option<RelayEvent>,
    error: Option<ProtocolError>,
}

impl Dialogue {
    fn new(relay: Relay) -> Self {
        Self { relay, to_server: Vec::new(), to_client: Vec::new(), opened: false, event: None, error: None }
    }

    /// Gives a command to the relay, and returns what is sent to the server.
    fn client(&mut self, line: &str) -> (CommandStatus, String) {
        self.to_server.clear();
        let taken = self.relay.command(
            line.as_bytes(),
            &Capabilities::default(),
            &mut self.to_server,
            &mut self.to_client,
        );
        (taken, String::from_utf8(self.to_server.clone()).unwrap())
    }

    /// Gives the server's bytes to the relay, and returns what the client gets.
    fn server(&mut self, bytes: &[u8]) -> String {
        self.to_server.clear();
        let mut rest = bytes;
        while !rest.is_empty() && self.error.is_none() {
            match self.relay.reply(rest, &mut self.to_server) {
                Ok(progress) => {
                    match progress.event {
                        Some(RelayEvent::Opened) => {
                            assert!(!self.opened && progress.consumed == 0);
                            self.opened = true;
                        }
                        Some(event) => assert!(self.event.replace(event).is_none()),
                        None => {}
                    }
                    if let Some(replacement) = progress.replacement {
                        self.to_client.extend_from_slice(&replacement);
                    } else if progress.forward {
                        self.to_client.extend_from_slice(&rest[..progress.consumed]);
                    }
                    rest = &rest[progress.consumed..];
                }
                Err(error) => self.error = Some(error),
            }
        }
        String::from_utf8(std::mem::take(&mut self.to_client)).unwrap()
    }

    /// The unique-ids of the snapshot that the session has left, if it has left one.
    fn snapshot_ids(&mut self) -> Option<Vec<String>> {
        match self.event.take() {
            Some(RelayEvent::Quit { snapshot, .. }) => snapshot.ok().map(|snapshot| unique_ids(&snapshot)),
            _ => panic!("the session is not over"),
        }
    }
}

fn unique_ids(snapshot: &Snapshot) -> Vec<String> {
    snapshot.rows().map(|(_, row)| String::from_utf8_lossy(row.unique_id).into_owned()).collect()
}

#[test]
fn a_client_that_asked_for_all_listings_quits_at_once_and_leaves_a_snapshot() {
    let mut dialogue = Dialogue::new(Relay::direct());
    assert_eq!(dialogue.client("list").1, "LIST\r\n");
    assert_eq!(dialogue.server(b"+OK\r\n1 10\r\n2 20\r\n.\r\n"), "+OK\r\n1 10\r\n2 20\r\n.\r\n");
    assert_eq!(dialogue.client("UIDL").1, "UIDL\r\n");
    assert_eq!(dialogue.server(b"+OK\r\n1 a\r\n2 b\r\n.\r\n"), "+OK\r\n1 a\r\n2 b\r\n.\r\n");
    assert_eq!(dialogue.client("DELE 1").1, "DELE 1\r\n");
    dialogue.server(b"+OK\r\n");
    assert_eq!(dialogue.client("QUIT").1, "QUIT\r\n");
    assert_eq!(dialogue.server(b"+OK bye\r\n"), "+OK bye\r\n");
    assert_eq!(dialogue.snapshot_ids().unwrap(), ["b"]);
}

#[test]
fn missing_listings_are_asked_for_before_quit_and_not_shown_to_the_client() {
    let mut dialogue = Dialogue::new(Relay::direct());
    dialogue.client("STAT");
    assert_eq!(dialogue.server(b"+OK 1 10\r\n"), "+OK 1 10\r\n");
    assert_eq!(dialogue.client("QUIT").1, "UIDL\r\n");
    assert_eq!(dialogue.server(b"+OK\r\n1 a\r\n.\r\n"), "");
    assert_eq!(dialogue.to_server, b"LIST\r\n");
    assert_eq!(dialogue.server(b"+OK\r\n1 10\r\n.\r\n"), "");
    assert_eq!(dialogue.to_server, b"QUIT\r\n");
    assert_eq!(dialogue.server(b"+OK\r\n"), "+OK\r\n");
    assert_eq!(dialogue.snapshot_ids().unwrap(), ["a"]);
}

#[test]
fn replies_to_what_the_client_has_not_asked_for_are_not_shown_however_they_arrive() {
    let replies = b"+OK\r\n1 a\r\n.\r\n";
    for cut in 1..replies.len() {
        let mut dialogue = Dialogue::new(Relay::direct());
        dialogue.client("QUIT");
        assert_eq!(dialogue.server(&replies[..cut]), "", "{cut}");
        assert_eq!(dialogue.server(&replies[cut..]), "", "{cut}");
        assert_eq!(dialogue.to_server, b"LIST\r\n", "{cut}");
    }
}

#[test]
fn a_line_may_be_as_long_as_the_limit_in_whatever_parts_it_arrives() {
    for part in [1, 700, 4096] {
        for (excess, is_accepted) in [(0, true), (1, false)] {
            let mut line = b"+OK ".to_vec();
            line.resize(LINE_LIMIT + excess - 2, b'x');
            line.extend_from_slice(b"\r\n");
            let mut dialogue = Dialogue::new(Relay::direct());
            dialogue.client("STAT");
            line.chunks(part).for_each(|part| drop(dialogue.server(part)));
            let expected = (!is_accepted).then_some(ProtocolError::TooLong);
            assert_eq!(dialogue.error, expected, "{} bytes in parts of {part}", line.len());
        }
    }
}

#[test]
fn a_row_without_an_end_takes_no_memory_and_makes_no_snapshot() {
    for (length, kept) in [(LINE_LIMIT, LINE_LIMIT), (LINE_LIMIT + 1, 0), (100_000, 0)] {
        for part in [1, 2047, 2048, 100_000] {
            let mut dialogue = Dialogue::new(Relay::direct());
            dialogue.client("UIDL");
            dialogue.server(b"+OK\r\n1 a\r\n");
            let row = vec![b'2'; length];
            for part in row.chunks(part) {
                assert_eq!(dialogue.server(part).len(), part.len());
                assert!(dialogue.relay.partial.len() <= LINE_LIMIT);
            }
            assert_eq!(dialogue.relay.partial.len(), kept, "{length} bytes in parts of {part}");
            // The rest of it would be a row.
            dialogue.server(b"\r\n.\r\n");
            dialogue.client("LIST");
            dialogue.server(b"+OK\r\n1 10\r\n.\r\n");
            assert_eq!(dialogue.client("QUIT").1, "QUIT\r\n");
            dialogue.server(b"+OK\r\n");
            assert_eq!(dialogue.snapshot_ids(), None, "{length} bytes in parts of {part}");
        }
    }
}

#[test]
fn missing_listings_are_asked_for_before_the_first_deletion() {
    let mut dialogue = Dialogue::new(Relay::direct());
    dialogue.client("STAT");
    dialogue.server(b"+OK 2 20\r\n");
    assert_eq!(dialogue.client("DELE 1"), (CommandStatus::Wait, "UIDL\r\n".to_owned()));
    assert_eq!(dialogue.server(b"+OK\r\n1 a\r\n2 b\r\n.\r\n"), "");
    assert_eq!(dialogue.to_server, b"LIST\r\n");
    assert_eq!(dialogue.client("DELE 1"), (CommandStatus::Wait, String::new()));
    assert_eq!(dialogue.server(b"+OK\r\n1 10\r\n2 10\r\n.\r\n"), "");
    assert_eq!(dialogue.client("DELE 1"), (CommandStatus::Done, "DELE 1\r\n".to_owned()));
    assert_eq!(dialogue.server(b"+OK\r\n"), "+OK\r\n");
    assert_eq!(dialogue.client("QUIT").1, "QUIT\r\n");
    dialogue.server(b"+OK\r\n");
    assert_eq!(dialogue.snapshot_ids().unwrap(), ["b"]);
}

#[test]
fn a_session_ends_without_a_snapshot_if_the_server_refuses_uidl() {
    let mut dialogue = Dialogue::new(Relay::direct());
    assert_eq!(dialogue.client("QUIT").1, "UIDL\r\n");
    assert_eq!(dialogue.server(b"-ERR what\r\n"), "");
    assert_eq!(dialogue.to_server, b"QUIT\r\n");
    assert_eq!(dialogue.server(b"+OK\r\n"), "+OK\r\n");
    assert_eq!(dialogue.snapshot_ids(), None);
}

#[test]
fn stat_alone_shows_that_a_maildrop_is_empty() {
    let mut dialogue = Dialogue::new(Relay::direct());
    dialogue.client("STAT");
    dialogue.server(b"+OK 0 0\r\n");
    assert_eq!(dialogue.client("QUIT").1, "QUIT\r\n");
    dialogue.server(b"+OK\r\n");
    assert_eq!(dialogue.snapshot_ids().unwrap(), Vec::<String>::new());
}

#[test]
fn a_refused_quit_leaves_no_snapshot() {
    let mut dialogue = Dialogue::new(Relay::direct());
    dialogue.client("STAT");
    dialogue.server(b"+OK 0 0\r\n");
    dialogue.client("QUIT");
    dialogue.server(b"-ERR some deleted messages not removed\r\n");
    assert_eq!(dialogue.snapshot_ids(), None);
}

#[test]
fn pipelined_commands_are_sent_on_and_local_answers_wait_for_their_turn() {
    let mut dialogue = Dialogue::new(Relay::direct());
    assert_eq!(dialogue.client("RETR 1").0, CommandStatus::Done);
    assert_eq!(dialogue.client("RETR 2").0, CommandStatus::Done);
    assert_eq!(dialogue.client("CAPA").0, CommandStatus::Wait);
    dialogue.server(b"+OK\r\nx\r\n.\r\n+OK\r\ny\r\n.\r\n");
    assert_eq!(dialogue.client("CAPA").0, CommandStatus::Done);
    assert!(String::from_utf8_lossy(&dialogue.to_client).contains("UIDL"));
}

#[test]
fn ambiguous_and_unknown_commands_are_not_sent_to_the_server() {
    let mut dialogue = Dialogue::new(Relay::direct());
    for line in ["XTND XMIT", "NOOP\rDELE 1", "RETR x", "PASS x", "AUTH PLAIN", "LIST 1 2", "STLS"] {
        assert_eq!(dialogue.client(line), (CommandStatus::Bad, String::new()), "{line}");
    }
}

#[test]
fn only_a_dot_between_crlfs_ends_a_message() {
    let body: &[u8] = b"+OK\r\n..dot\r\n\n.\n\r\n.x\r\n.\rx\r\n\r\r\n.\r\n";
    for cut in 0..body.len() {
        let mut dialogue = Dialogue::new(Relay::direct());
        dialogue.client("RETR 1");
        dialogue.client("NOOP");
        let mut seen = dialogue.server(&body[..cut]);
        assert!(dialogue.relay.pending.len() == 2, "cut at {cut}");
        seen += &dialogue.server(&body[cut..]);
        assert_eq!(seen.as_bytes(), body);
        assert_eq!(dialogue.relay.pending.len(), 1, "cut at {cut}");
        assert_eq!(dialogue.server(b"+OK\r\n"), "+OK\r\n");
    }
}

#[test]
fn an_empty_message_ends_directly_after_the_status_line() {
    let mut dialogue = Dialogue::new(Relay::direct());
    dialogue.client("TOP 1 0");
    dialogue.server(b"+OK\r\n.\r\n");
    assert!(!dialogue.relay.is_waiting());
}

#[test]
fn a_reply_that_is_not_pop3_is_a_protocol_error() {
    let mut dialogue = Dialogue::new(Relay::direct());
    dialogue.client("STAT");
    dialogue.server(b"HTTP/1.1 400\r\n");
    assert_eq!(dialogue.error, Some(ProtocolError::NoStatus));
    let mut dialogue = Dialogue::new(Relay::direct());
    dialogue.client("STAT");
    dialogue.server(&[b'x'; 5000]);
    assert_eq!(dialogue.error, Some(ProtocolError::TooLong));
}

/// An upgraded session whose maildrop has changed since the snapshot.
fn upgraded() -> Relay {
    let rows = [
        Row { size: 1, unique_id: b"a" },
        Row { size: 2, unique_id: b"b" },
        Row { size: 3, unique_id: b"c" },
    ];
    let maildrop = PosedMaildrop::new(Arc::new(Snapshot::pack(rows).unwrap()));
    // Another client has deleted `a`, and `d` is new.
    let now = [(1, b"b"[..].into()), (2, b"c"[..].into()), (3, b"d"[..].into())];
    Relay::translated(maildrop, &now)
}

#[test]
fn message_numbers_that_the_client_knows_stay_valid_after_an_upgrade() {
    let mut dialogue = Dialogue::new(upgraded());
    assert_eq!(dialogue.client("RETR 3").1, "RETR 2\r\n");
    dialogue.server(b"+OK\r\nc\r\n.\r\n");
    assert_eq!(dialogue.client("TOP 2 7").1, "TOP 1 7\r\n");
    dialogue.server(b"+OK\r\n.\r\n");
    assert!(!dialogue.opened, "the maildrop was looked at when the session was upgraded");
    assert_eq!(dialogue.client("RETR 1"), (CommandStatus::Done, String::new()));
    assert_eq!(dialogue.server(b""), "-ERR no such message\r\n");
    assert_eq!(dialogue.client("RETR 4").1, "");
    assert_eq!(dialogue.server(b""), "-ERR no such message\r\n");
}

#[test]
fn after_an_upgrade_dele_is_acknowledged_by_the_server_with_the_number_that_the_client_knows() {
    let mut dialogue = Dialogue::new(upgraded());
    assert_eq!(dialogue.client("DELE 2").1, "DELE 1\r\n");
    assert_eq!(dialogue.client("STAT").0, CommandStatus::Wait);
    assert_eq!(dialogue.server(b"+OK message 1 dele"), "");
    assert_eq!(dialogue.server(b"ted\r\n"), "+OK message 2 deleted\r\n");
    dialogue.client("STAT");
    assert_eq!(dialogue.server(b""), "+OK 2 4\r\n");
    assert_eq!(dialogue.client("DELE 3").1, "DELE 2\r\n");
    assert_eq!(dialogue.server(b"-ERR locked\r\n"), "-ERR locked\r\n");
    assert_eq!(dialogue.client("QUIT").1, "QUIT\r\n");
    assert_eq!(dialogue.server(b"+OK\r\n"), "+OK\r\n");
    // `a` is gone, `b` was deleted, `d` was never shown.
    assert_eq!(dialogue.snapshot_ids().unwrap(), ["c"]);
}

#[test]
fn rset_after_an_upgrade_restores_deleted_messages() {
    let mut dialogue = Dialogue::new(upgraded());
    dialogue.client("DELE 2");
    dialogue.server(b"+OK\r\n");
    assert_eq!(dialogue.client("RSET").1, "RSET\r\n");
    assert_eq!(dialogue.client("DELE 2").0, CommandStatus::Wait);
    dialogue.server(b"+OK\r\n");
    dialogue.client("UIDL");
    assert_eq!(dialogue.server(b""), "+OK\r\n1 a\r\n2 b\r\n3 c\r\n.\r\n");
}

proptest::proptest! {
    #[test]
    fn the_client_gets_the_same_bytes_however_replies_arrive(
        cuts in proptest::collection::vec(0usize..120, 0..12),
    ) {
        let replies: &[u8] = b"+OK 2 30\r\n+OK\r\n1 10\r\n2 20\r\n.\r\n+OK\r\n1 a\r\n2 b\r\n.\r\n-ERR\r\n+OK\r\n..\r\n\r\n.\r\n+OK\r\n";
        let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(replies.len())).collect();
        cuts.extend([0, replies.len()]);
        cuts.sort_unstable();
        let mut dialogue = Dialogue::new(Relay::direct());
        for line in ["STAT", "LIST", "UIDL", "RETR 9", "RETR 1", "NOOP"] {
            proptest::prop_assert_eq!(dialogue.client(line).0, CommandStatus::Done);
        }
        let mut seen = String::new();
        for pair in cuts.windows(2) {
            seen += &dialogue.server(&replies[pair[0]..pair[1]]);
        }
        proptest::prop_assert_eq!(seen.as_bytes(), replies);
        dialogue.client("QUIT");
        dialogue.server(b"+OK\r\n");
        proptest::prop_assert_eq!(dialogue.snapshot_ids().unwrap(), ["a", "b"]);
    }

    #[test]
    fn the_relay_panics_on_no_reply(bytes in proptest::collection::vec(0u8..=255, 0..400)) {
        let mut relay = Relay::direct();
        let (mut to_server, mut to_client) = (Vec::new(), Vec::new());
        for line in [&b"STAT"[..], b"LIST", b"UIDL", b"RETR 1"] {
            relay.command(line, &Capabilities::default(), &mut to_server, &mut to_client);
        }
        let mut rest = &bytes[..];
        while let (false, Ok(progress)) = (rest.is_empty(), relay.reply(rest, &mut to_server)) {
            proptest::prop_assert!(progress.consumed > 0 || progress.event == Some(RelayEvent::Opened));
            rest = &rest[progress.consumed..];
        }
    }
}

#[test]
fn only_the_message_that_is_the_last_pending_reply_may_be_spliced() {
    let mut dialogue = Dialogue::new(Relay::direct());
    assert_eq!(dialogue.relay.unspliced_end(), None);
    dialogue.client("RETR 1");
    assert_eq!(dialogue.relay.unspliced_end(), None, "its status line must be checked");
    dialogue.server(b"+OK\r\nSubject: x\r");
    assert_eq!(dialogue.relay.unspliced_end(), Some(5));
    // Bytes in the middle are spliced, then the last five are given to the relay.
    dialogue.relay.spliced();
    assert_eq!(dialogue.server(b"\n.\r\nx"), "\n.\r\nx", "the CR seen before belonged to another line");
    assert_eq!(dialogue.relay.unspliced_end(), Some(5));
    dialogue.relay.spliced();
    assert_eq!(dialogue.server(b"\r\n."), "\r\n.");
    assert_eq!(dialogue.server(b"\r\n"), "\r\n");
    assert_eq!(dialogue.relay.unspliced_end(), None);
    assert!(!dialogue.relay.is_waiting());

    dialogue.client("UIDL");
    dialogue.server(b"+OK\r\n1 a\r\n");
    assert_eq!(dialogue.relay.unspliced_end(), None, "rows of a listing must be parsed");
    dialogue.server(b".\r\n");
    dialogue.client("TOP 1 5");
    dialogue.server(b"+OK\r\n");
    assert_eq!(dialogue.relay.unspliced_end(), Some(5));
    dialogue.client("NOOP");
    assert_eq!(dialogue.relay.unspliced_end(), None, "another reply follows");
    dialogue.server(b"a\r\n.\r\n");
    dialogue.client("RETR 2");
    dialogue.server(b"+OK\r\n");
    assert_eq!(dialogue.relay.unspliced_end(), None, "its reply has not begun");
    dialogue.server(b"+OK\r\n");
    assert_eq!(dialogue.relay.unspliced_end(), Some(5));
}

#[test]
fn the_first_reply_that_depends_on_the_maildrop_is_announced_before_it_is_forwarded() {
    for (line, reply) in [
        ("STAT", &b"+OK 0 0\r\n"[..]),
        ("LIST", b"+OK\r\n.\r\n"),
        ("LIST 1", b"+OK 1 1\r\n"),
        ("UIDL", b"-ERR\r\n"),
        ("UIDL 1", b"-ERR\r\n"),
        ("RETR 1", b"-ERR\r\n"),
        ("TOP 1 0", b"-ERR\r\n"),
        ("RSET", b"+OK\r\n"),
    ] {
        let mut dialogue = Dialogue::new(Relay::direct());
        dialogue.client("NOOP");
        assert_eq!(dialogue.server(b"+OK\r\n"), "+OK\r\n");
        assert!(!dialogue.opened, "the reply to NOOP does not depend on the maildrop");
        dialogue.client(line);
        assert!(!dialogue.opened, "{line}");
        dialogue.server(&reply[..1]);
        assert!(dialogue.opened, "{line}");
        dialogue.server(&reply[1..]);
    }
    // The commands of Reprieve's own count too.
    let mut dialogue = Dialogue::new(Relay::direct());
    assert_eq!(dialogue.client("QUIT").1, "UIDL\r\n");
    dialogue.server(b"+OK\r\n");
    assert!(dialogue.opened);
}

impl Dialogue {
    /// What is sent to the server after the client is gone, and the result if there is one.
    fn wind_up(&mut self) -> (String, Option<Result<Vec<String>, SnapshotError>>) {
        self.to_server.clear();
        let result = self.relay.wind_up(&mut self.to_server);
        let ids = result.map(|snapshot| snapshot.map(|snapshot| unique_ids(&snapshot)));
        (String::from_utf8(self.to_server.clone()).unwrap(), ids)
    }
}

#[test]
fn a_client_that_disconnects_leaves_the_listing_at_login() {
    let mut dialogue = Dialogue::new(Relay::direct());
    dialogue.client("STAT");
    assert_eq!(dialogue.wind_up(), (String::new(), None), "the reply has not arrived");
    dialogue.server(b"+OK 2 30\r\n");
    assert_eq!(dialogue.wind_up(), ("UIDL\r\n".to_owned(), None));
    dialogue.server(b"+OK\r\n1 a\r\n2 b\r\n.\r\n");
    // The reply has already made the relay ask for the other listing.
    dialogue.wind_up();
    dialogue.server(b"+OK\r\n1 10\r\n2 20\r\n.\r\n");
    let ids = vec!["a".to_owned(), "b".to_owned()];
    assert_eq!(dialogue.wind_up(), (String::new(), Some(Ok(ids))));
}

#[test]
fn deletions_without_quit_are_reset_and_never_carried_out() {
    for (reply, expected) in [
        (&b"+OK\r\n"[..], Ok(vec!["a".to_owned(), "b".to_owned()])),
        (b"-ERR no\r\n", Err(SnapshotError::Refused)),
    ] {
        let mut dialogue = Dialogue::new(Relay::direct());
        dialogue.client("LIST");
        dialogue.server(b"+OK\r\n1 10\r\n2 20\r\n.\r\n");
        dialogue.client("UIDL");
        dialogue.server(b"+OK\r\n1 a\r\n2 b\r\n.\r\n");
        dialogue.client("DELE 1");
        dialogue.server(b"+OK\r\n");
        assert_eq!(dialogue.wind_up(), ("RSET\r\n".to_owned(), None));
        dialogue.server(reply);
        assert_eq!(dialogue.wind_up(), (String::new(), Some(expected)));
    }
    // A client that has sent QUIT before it disconnected has confirmed its deletions.
    let mut dialogue = Dialogue::new(Relay::direct());
    dialogue.client("LIST");
    dialogue.server(b"+OK\r\n1 10\r\n2 20\r\n.\r\n");
    dialogue.client("UIDL");
    dialogue.server(b"+OK\r\n1 a\r\n2 b\r\n.\r\n");
    dialogue.client("DELE 1");
    dialogue.server(b"+OK\r\n");
    assert_eq!(dialogue.client("QUIT").1, "QUIT\r\n");
    assert_eq!(dialogue.wind_up(), (String::new(), None));
    dialogue.server(b"+OK\r\n");
    assert_eq!(dialogue.snapshot_ids().unwrap(), ["b"]);
}

#[test]
fn an_upgraded_session_without_quit_leaves_the_posed_snapshot() {
    let rows = [Row { size: 10, unique_id: b"a" }, Row { size: 20, unique_id: b"b" }];
    let maildrop = PosedMaildrop::new(Arc::new(Snapshot::pack(rows).unwrap()));
    let listing = [(1, b"new"[..].into()), (2, b"b"[..].into()), (3, b"a"[..].into())];
    let mut dialogue = Dialogue::new(Relay::translated(maildrop, &listing));
    assert_eq!(dialogue.client("DELE 1").1, "DELE 3\r\n");
    dialogue.server(b"+OK\r\n");
    assert_eq!(dialogue.wind_up(), ("RSET\r\n".to_owned(), None));
    dialogue.server(b"+OK\r\n");
    let ids = vec!["a".to_owned(), "b".to_owned()];
    assert_eq!(dialogue.wind_up(), (String::new(), Some(Ok(ids))));
}

#[test]
fn rows_that_end_in_a_bare_lf_make_no_snapshot() {
    let mut dialogue = Dialogue::new(Relay::direct());
    dialogue.client("LIST");
    dialogue.server(b"+OK\r\n1 10\n2 20\r\n.\r\n");
    dialogue.client("UIDL");
    dialogue.server(b"+OK\r\n1 a\r\n2 b\r\n.\r\n");
    assert_eq!(dialogue.client("QUIT").1, "QUIT\r\n");
    dialogue.server(b"+OK\r\n");
    assert_eq!(dialogue.snapshot_ids(), None);
}

#[test]
fn the_totals_count_what_the_mail_server_has_confirmed() {
    let mut dialogue = Dialogue::new(Relay::direct());
    dialogue.client("LIST");
    dialogue.server(b"+OK\r\n1 10\r\n2 20\r\n.\r\n");
    dialogue.client("UIDL");
    dialogue.server(b"+OK\r\n1 a\r\n2 b\r\n.\r\n");
    for (command, reply) in [
        ("RETR 1", "+OK\r\nx\r\n.\r\n"),
        ("RETR 9", "-ERR no such message\r\n"),
        ("TOP 2 0", "+OK\r\nx\r\n.\r\n"),
        ("DELE 1", "+OK\r\n"),
        ("DELE 9", "-ERR no such message\r\n"),
    ] {
        dialogue.client(command);
        dialogue.server(reply.as_bytes());
    }
    assert_eq!(dialogue.relay.totals(), RelayTotals { fetched: 1, deleted: 0, quit: false });
    dialogue.client("QUIT");
    dialogue.server(b"+OK\r\n");
    assert_eq!(dialogue.relay.totals(), RelayTotals { fetched: 1, deleted: 1, quit: true });
}

#[test]
fn a_refused_quit_deletes_nothing_in_the_totals() {
    let mut dialogue = Dialogue::new(Relay::direct());
    dialogue.client("STAT");
    dialogue.server(b"+OK 0 0\r\n");
    dialogue.client("QUIT");
    dialogue.server(b"-ERR not all messages were deleted\r\n");
    assert_eq!(dialogue.relay.totals(), RelayTotals::default());
}

#[test]
fn deletions_of_the_session_do_not_change_what_it_has_found() {
    let listing = |delete: bool| {
        let mut dialogue = Dialogue::new(Relay::direct());
        dialogue.client("LIST");
        dialogue.server(b"+OK\r\n1 10\r\n2 20\r\n.\r\n");
        dialogue.client("UIDL");
        dialogue.server(b"+OK\r\n1 a\r\n2 b\r\n.\r\n");
        if delete {
            dialogue.client("DELE 1");
            dialogue.server(b"+OK\r\n");
        }
        dialogue.client("QUIT");
        dialogue.server(b"+OK\r\n");
        let Some(RelayEvent::Quit { snapshot: Ok(snapshot), .. }) = dialogue.event else { panic!() };
        (snapshot.digest(), dialogue.relay.found(&snapshot))
    };
    let ((all, found), (rest, found_with_deletion)) = (listing(false), listing(true));
    assert_eq!((found, found_with_deletion), (all, all));
    assert_ne!(rest, all);
}

#[test]
fn an_upgraded_session_has_found_the_posed_maildrop_only_if_it_is_the_same() {
    let rows = [Row { size: 10, unique_id: b"a" }, Row { size: 20, unique_id: b"b" }];
    let posed = PosedMaildrop::new(Arc::new(Snapshot::pack(rows).unwrap()));
    let found = |ids: &[&[u8]]| {
        let ids: Vec<_> = (1..).zip(ids).map(|(number, id)| (number, Box::from(*id))).collect();
        Relay::translated(posed.clone(), &ids).found(posed.snapshot())
    };
    assert_eq!(found(&[b"a", b"b"]), posed.snapshot().digest());
    for other in [&[&b"a"[..]][..], &[b"a", b"b", b"c"], &[b"b", b"a"], &[b"a", b"x"]] {
        assert_eq!(found(other), 0);
    }
}

#[test]
fn only_what_the_mail_server_has_listed_goes_beyond_a_snapshot() {
    let posed = |ids: &[&[u8]]| {
        Snapshot::pack(ids.iter().map(|id| Row { size: 1, unique_id: id })).expect("valid unique-ids")
    };
    let mut dialogue = Dialogue::new(Relay::direct());
    dialogue.client("UIDL");
    dialogue.server(b"+OK\r\n1 a\r\n2 b\r\n.\r\n");
    assert!(dialogue.relay.goes_beyond(&posed(&[b"a"])));
    assert!(!dialogue.relay.goes_beyond(&posed(&[b"a", b"b"])));
    // The mail server has `d`, but the client never sees it.
    assert!(!upgraded().goes_beyond(&posed(&[b"a", b"b", b"c"])));
}

#[test]
fn only_an_upgraded_session_answers_listings_by_itself() {
    assert_eq!(Relay::direct().local_rows(), 0);
    assert_eq!(upgraded().local_rows(), 3);
    let mut dialogue = Dialogue::new(upgraded());
    assert_eq!(dialogue.client("NOOP").1, "NOOP\r\n", "it keeps the mail server's session alive");
    assert_eq!(dialogue.server(b"+OK\r\n"), "+OK\r\n");
    assert_eq!(dialogue.client("LIST 3").1, "");
    assert_eq!(dialogue.server(b""), "+OK 3 3\r\n");
}

#[test]
fn a_quit_is_unanswered_until_its_reply_is_complete() {
    let mut dialogue = Dialogue::new(upgraded());
    dialogue.client("NOOP");
    assert!(!dialogue.relay.is_quit_unanswered());
    dialogue.server(b"+OK\r\n");
    dialogue.client("QUIT");
    assert!(dialogue.relay.is_quit_unanswered());
    dialogue.server(b"+OK");
    assert!(dialogue.relay.is_quit_unanswered());
    dialogue.server(b"\r\n");
    assert!(!dialogue.relay.is_quit_unanswered());
}

#[test]
fn a_relay_knows_what_is_under_way() {
    let capabilities = Capabilities::default();
    let (mut to_server, mut to_client) = (Vec::new(), Vec::new());
    let mut relay = Relay::direct().with_pipelining(false);
    let progress = relay.reply(b"-ERR idle\r\n", &mut to_server).unwrap();
    assert_eq!((progress.consumed, progress.forward), (11, true), "what nobody has asked for passes");
    let mut ask =
        |relay: &mut Relay, line: &[u8]| relay.command(line, &capabilities, &mut to_server, &mut to_client);
    assert_eq!(ask(&mut relay, b"RETR 1"), CommandStatus::Done);
    assert_eq!(ask(&mut relay, b"NOOP"), CommandStatus::Wait, "the mail server takes one at a time");
    assert!(relay.is_waiting() && !relay.is_in_message());
    let mut own = Vec::new();
    assert_eq!(relay.reply(b"+OK\r\n", &mut own).unwrap().event, Some(RelayEvent::Opened));
    assert_eq!(relay.reply(b"+OK\r\n", &mut own).unwrap().consumed, 5);
    assert!(relay.is_in_message());
    assert_eq!(relay.reply(b"text\r\n.\r\n", &mut own).unwrap().consumed, 9);
    assert!(!relay.is_in_message() && !relay.is_waiting() && !relay.is_quitting());
    assert_eq!(ask(&mut relay, b"QUIT"), CommandStatus::Done);
    assert!(relay.is_quitting());

    let mut relay = Relay::direct().with_pipelining(true);
    assert_eq!([b"NOOP", b"NOOP"].map(|line| ask(&mut relay, line)), [CommandStatus::Done; 2]);
}
