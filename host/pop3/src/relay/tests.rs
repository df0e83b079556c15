//! The relay against scripted replies, cut in every way.

use std::sync::Arc;

use super::*;
use crate::snapshot::Row;

struct Talk {
    relay: Relay,
    to_server: Vec<u8>,
    to_client: Vec<u8>,
    opened: bool,
    event: Option<Event>,
    fault: Option<Fault>,
}

impl Talk {
    fn new(relay: Relay) -> Self {
        Self { relay, to_server: Vec::new(), to_client: Vec::new(), opened: false, event: None, fault: None }
    }

    fn client(&mut self, line: &str) -> (Taken, String) {
        self.to_server.clear();
        let taken = self.relay.command(
            line.as_bytes(),
            &Capabilities::default(),
            &mut self.to_server,
            &mut self.to_client,
        );
        (taken, String::from_utf8(self.to_server.clone()).unwrap())
    }

    /// What the client gets of what the server says.
    fn server(&mut self, octets: &[u8]) -> String {
        self.to_server.clear();
        let mut rest = octets;
        while !rest.is_empty() && self.fault.is_none() {
            match self.relay.reply(rest, &mut self.to_server) {
                Ok(fed) => {
                    match fed.event {
                        Some(Event::Opened) => {
                            assert!(!self.opened && fed.used == 0);
                            self.opened = true;
                        }
                        Some(event) => assert!(self.event.replace(event).is_none()),
                        None => {}
                    }
                    if let Some(instead) = fed.instead {
                        self.to_client.extend_from_slice(&instead);
                    } else if fed.forward {
                        self.to_client.extend_from_slice(&rest[..fed.used]);
                    }
                    rest = &rest[fed.used..];
                }
                Err(fault) => self.fault = Some(fault),
            }
        }
        String::from_utf8(std::mem::take(&mut self.to_client)).unwrap()
    }

    fn snapshot_ids(&mut self) -> Option<Vec<String>> {
        match self.event.take() {
            Some(Event::Quit { leaves, .. }) => leaves.ok().map(|snapshot| {
                snapshot.rows().map(|(_, row)| String::from_utf8_lossy(row.unique_id).into_owned()).collect()
            }),
            _ => panic!("the session is not over"),
        }
    }
}

#[test]
fn a_session_that_asked_for_everything_quits_at_once_and_leaves_a_snapshot() {
    let mut talk = Talk::new(Relay::direct());
    assert_eq!(talk.client("list").1, "LIST\r\n");
    assert_eq!(talk.server(b"+OK\r\n1 10\r\n2 20\r\n.\r\n"), "+OK\r\n1 10\r\n2 20\r\n.\r\n");
    assert_eq!(talk.client("UIDL").1, "UIDL\r\n");
    assert_eq!(talk.server(b"+OK\r\n1 a\r\n2 b\r\n.\r\n"), "+OK\r\n1 a\r\n2 b\r\n.\r\n");
    assert_eq!(talk.client("DELE 1").1, "DELE 1\r\n");
    talk.server(b"+OK\r\n");
    assert_eq!(talk.client("QUIT").1, "QUIT\r\n");
    assert_eq!(talk.server(b"+OK bye\r\n"), "+OK bye\r\n");
    assert_eq!(talk.snapshot_ids().unwrap(), ["b"]);
}

#[test]
fn what_the_client_did_not_ask_the_host_asks_before_quit_and_the_client_sees_none_of_it() {
    let mut talk = Talk::new(Relay::direct());
    talk.client("STAT");
    assert_eq!(talk.server(b"+OK 1 10\r\n"), "+OK 1 10\r\n");
    assert_eq!(talk.client("QUIT").1, "UIDL\r\n");
    assert_eq!(talk.server(b"+OK\r\n1 a\r\n.\r\n"), "");
    assert_eq!(talk.to_server, b"LIST\r\n");
    assert_eq!(talk.server(b"+OK\r\n1 10\r\n.\r\n"), "");
    assert_eq!(talk.to_server, b"QUIT\r\n");
    assert_eq!(talk.server(b"+OK\r\n"), "+OK\r\n");
    assert_eq!(talk.snapshot_ids().unwrap(), ["a"]);
}

#[test]
fn the_host_asks_before_the_first_deletion_and_not_between_it_and_quit() {
    let mut talk = Talk::new(Relay::direct());
    talk.client("STAT");
    talk.server(b"+OK 2 20\r\n");
    assert_eq!(talk.client("DELE 1"), (Taken::Wait, "UIDL\r\n".to_owned()));
    assert_eq!(talk.server(b"+OK\r\n1 a\r\n2 b\r\n.\r\n"), "");
    assert_eq!(talk.to_server, b"LIST\r\n");
    assert_eq!(talk.client("DELE 1"), (Taken::Wait, String::new()));
    assert_eq!(talk.server(b"+OK\r\n1 10\r\n2 10\r\n.\r\n"), "");
    assert_eq!(talk.client("DELE 1"), (Taken::Done, "DELE 1\r\n".to_owned()));
    assert_eq!(talk.server(b"+OK\r\n"), "+OK\r\n");
    assert_eq!(talk.client("QUIT").1, "QUIT\r\n");
    talk.server(b"+OK\r\n");
    assert_eq!(talk.snapshot_ids().unwrap(), ["b"]);
}

#[test]
fn a_server_without_uidl_still_lets_the_session_go() {
    let mut talk = Talk::new(Relay::direct());
    assert_eq!(talk.client("QUIT").1, "UIDL\r\n");
    assert_eq!(talk.server(b"-ERR what\r\n"), "");
    assert_eq!(talk.to_server, b"QUIT\r\n");
    assert_eq!(talk.server(b"+OK\r\n"), "+OK\r\n");
    assert_eq!(talk.snapshot_ids(), None);
}

#[test]
fn an_empty_maildrop_is_known_from_stat_alone() {
    let mut talk = Talk::new(Relay::direct());
    talk.client("STAT");
    talk.server(b"+OK 0 0\r\n");
    assert_eq!(talk.client("QUIT").1, "QUIT\r\n");
    talk.server(b"+OK\r\n");
    assert_eq!(talk.snapshot_ids().unwrap(), Vec::<String>::new());
}

#[test]
fn a_refused_quit_leaves_no_snapshot() {
    let mut talk = Talk::new(Relay::direct());
    talk.client("STAT");
    talk.server(b"+OK 0 0\r\n");
    talk.client("QUIT");
    talk.server(b"-ERR some deleted messages not removed\r\n");
    assert_eq!(talk.snapshot_ids(), None);
}

#[test]
fn pipelined_commands_go_on_and_local_answers_keep_their_place() {
    let mut talk = Talk::new(Relay::direct());
    assert_eq!(talk.client("RETR 1").0, Taken::Done);
    assert_eq!(talk.client("RETR 2").0, Taken::Done);
    assert_eq!(talk.client("CAPA").0, Taken::Wait);
    talk.server(b"+OK\r\nx\r\n.\r\n+OK\r\ny\r\n.\r\n");
    assert_eq!(talk.client("CAPA").0, Taken::Done);
    assert!(String::from_utf8_lossy(&talk.to_client).contains("UIDL"));
}

#[test]
fn nothing_that_could_be_read_in_two_ways_reaches_the_server() {
    let mut talk = Talk::new(Relay::direct());
    for line in ["XTND XMIT", "NOOP\rDELE 1", "RETR x", "PASS x", "AUTH PLAIN", "LIST 1 2", "STLS"] {
        assert_eq!(talk.client(line), (Taken::Bad, String::new()), "{line}");
    }
}

#[test]
fn a_message_ends_only_where_pop3_says() {
    let body: &[u8] = b"+OK\r\n..dot\r\n\n.\n\r\n.x\r\n.\rx\r\n\r\r\n.\r\n";
    for cut in 0..body.len() {
        let mut talk = Talk::new(Relay::direct());
        talk.client("RETR 1");
        talk.client("NOOP");
        let mut seen = talk.server(&body[..cut]);
        assert!(talk.relay.pending.len() == 2, "cut at {cut}");
        seen += &talk.server(&body[cut..]);
        assert_eq!(seen.as_bytes(), body);
        assert_eq!(talk.relay.pending.len(), 1, "cut at {cut}");
        assert_eq!(talk.server(b"+OK\r\n"), "+OK\r\n");
    }
}

#[test]
fn an_empty_message_body_ends_right_after_the_status() {
    let mut talk = Talk::new(Relay::direct());
    talk.client("TOP 1 0");
    talk.server(b"+OK\r\n.\r\n");
    assert!(!talk.relay.is_waiting());
}

#[test]
fn a_server_that_speaks_no_pop3_is_at_fault() {
    let mut talk = Talk::new(Relay::direct());
    talk.client("STAT");
    talk.server(b"HTTP/1.1 400\r\n");
    assert_eq!(talk.fault, Some(Fault::NoStatus));
    let mut talk = Talk::new(Relay::direct());
    talk.client("STAT");
    talk.server(&[b'x'; 5000]);
    assert_eq!(talk.fault, Some(Fault::TooLong));
}

fn moved() -> Relay {
    let rows = [
        Row { size: 1, unique_id: b"a" },
        Row { size: 2, unique_id: b"b" },
        Row { size: 3, unique_id: b"c" },
    ];
    let maildrop = Maildrop::new(Arc::new(Snapshot::pack(rows).unwrap()));
    // Another client has deleted `a`, and `d` is new.
    let now = [(1, b"b"[..].into()), (2, b"c"[..].into()), (3, b"d"[..].into())];
    Relay::translated(maildrop, &now)
}

#[test]
fn numbers_that_the_client_was_shown_stay_valid_after_an_upgrade() {
    let mut talk = Talk::new(moved());
    assert_eq!(talk.client("RETR 3").1, "RETR 2\r\n");
    talk.server(b"+OK\r\nc\r\n.\r\n");
    assert_eq!(talk.client("TOP 2 7").1, "TOP 1 7\r\n");
    talk.server(b"+OK\r\n.\r\n");
    assert_eq!(talk.client("RETR 1"), (Taken::Done, String::new()));
    assert_eq!(talk.server(b""), "-ERR no such message\r\n");
    assert_eq!(talk.client("RETR 4").1, "");
    assert_eq!(talk.server(b""), "-ERR no such message\r\n");
}

#[test]
fn a_translated_dele_is_acknowledged_only_by_the_server_and_in_the_clients_numbers() {
    let mut talk = Talk::new(moved());
    assert_eq!(talk.client("DELE 2").1, "DELE 1\r\n");
    assert_eq!(talk.client("STAT").0, Taken::Wait);
    assert_eq!(talk.server(b"+OK message 1 dele"), "");
    assert_eq!(talk.server(b"ted\r\n"), "+OK message 2 deleted\r\n");
    talk.client("STAT");
    assert_eq!(talk.server(b""), "+OK 2 4\r\n");
    assert_eq!(talk.client("DELE 3").1, "DELE 2\r\n");
    assert_eq!(talk.server(b"-ERR locked\r\n"), "-ERR locked\r\n");
    assert_eq!(talk.client("QUIT").1, "QUIT\r\n");
    assert_eq!(talk.server(b"+OK\r\n"), "+OK\r\n");
    // `a` is gone, `b` was deleted, `d` was never shown.
    assert_eq!(talk.snapshot_ids().unwrap(), ["c"]);
}

#[test]
fn a_reset_after_an_upgrade_brings_the_marked_messages_back() {
    let mut talk = Talk::new(moved());
    talk.client("DELE 2");
    talk.server(b"+OK\r\n");
    assert_eq!(talk.client("RSET").1, "RSET\r\n");
    assert_eq!(talk.client("DELE 2").0, Taken::Wait);
    talk.server(b"+OK\r\n");
    talk.client("UIDL");
    assert_eq!(talk.server(b""), "+OK\r\n1 a\r\n2 b\r\n3 c\r\n.\r\n");
}

proptest::proptest! {
    #[test]
    fn however_replies_are_cut_the_client_gets_the_same_octets(
        cuts in proptest::collection::vec(0usize..120, 0..12),
    ) {
        let replies: &[u8] = b"+OK 2 30\r\n+OK\r\n1 10\r\n2 20\r\n.\r\n+OK\r\n1 a\r\n2 b\r\n.\r\n-ERR\r\n+OK\r\n..\r\n\r\n.\r\n+OK\r\n";
        let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(replies.len())).collect();
        cuts.extend([0, replies.len()]);
        cuts.sort_unstable();
        let mut talk = Talk::new(Relay::direct());
        for line in ["STAT", "LIST", "UIDL", "RETR 9", "RETR 1", "NOOP"] {
            proptest::prop_assert_eq!(talk.client(line).0, Taken::Done);
        }
        let mut seen = String::new();
        for pair in cuts.windows(2) {
            seen += &talk.server(&replies[pair[0]..pair[1]]);
        }
        proptest::prop_assert_eq!(seen.as_bytes(), replies);
        talk.client("QUIT");
        talk.server(b"+OK\r\n");
        proptest::prop_assert_eq!(talk.snapshot_ids().unwrap(), ["a", "b"]);
    }

    #[test]
    fn no_server_makes_the_relay_panic(octets in proptest::collection::vec(0u8..=255, 0..400)) {
        let mut relay = Relay::direct();
        let (mut to_server, mut to_client) = (Vec::new(), Vec::new());
        for line in [&b"STAT"[..], b"LIST", b"UIDL", b"RETR 1"] {
            relay.command(line, &Capabilities::default(), &mut to_server, &mut to_client);
        }
        let mut rest = &octets[..];
        while let (false, Ok(fed)) = (rest.is_empty(), relay.reply(rest, &mut to_server)) {
            proptest::prop_assert!(fed.used > 0 || fed.event == Some(Event::Opened));
            rest = &rest[fed.used..];
        }
    }
}

#[test]
fn only_a_message_after_which_nothing_was_asked_for_may_pass_unseen() {
    let mut talk = Talk::new(Relay::direct());
    assert_eq!(talk.relay.unseen_but(), None);
    talk.client("RETR 1");
    assert_eq!(talk.relay.unseen_but(), None, "its status line is judged");
    talk.server(b"+OK\r\nSubject: x\r");
    assert_eq!(talk.relay.unseen_but(), Some(5));
    // Somewhere in the middle; then the last five that have arrived.
    talk.relay.passed_unseen();
    assert_eq!(talk.server(b"\n.\r\nx"), "\n.\r\nx", "the CR before it was another line's");
    assert_eq!(talk.relay.unseen_but(), Some(5));
    talk.relay.passed_unseen();
    assert_eq!(talk.server(b"\r\n."), "\r\n.");
    assert_eq!(talk.server(b"\r\n"), "\r\n");
    assert_eq!(talk.relay.unseen_but(), None);
    assert!(!talk.relay.is_waiting());

    talk.client("UIDL");
    talk.server(b"+OK\r\n1 a\r\n");
    assert_eq!(talk.relay.unseen_but(), None, "listings are looked at");
    talk.server(b".\r\n");
    talk.client("TOP 1 5");
    talk.server(b"+OK\r\n");
    assert_eq!(talk.relay.unseen_but(), Some(5));
    talk.client("NOOP");
    assert_eq!(talk.relay.unseen_but(), None, "another reply follows");
    talk.server(b"a\r\n.\r\n");
    talk.client("RETR 2");
    talk.server(b"+OK\r\n");
    assert_eq!(talk.relay.unseen_but(), None, "its reply has not begun");
    talk.server(b"+OK\r\n");
    assert_eq!(talk.relay.unseen_but(), Some(5));
}

#[test]
fn the_first_reply_that_shows_the_maildrop_is_announced_before_any_of_it_is_read() {
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
        let mut talk = Talk::new(Relay::direct());
        talk.client("NOOP");
        assert_eq!(talk.server(b"+OK\r\n"), "+OK\r\n");
        assert!(!talk.opened, "NOOP says nothing of the maildrop");
        talk.client(line);
        assert!(!talk.opened, "{line}");
        talk.server(&reply[..1]);
        assert!(talk.opened, "{line}");
        talk.server(&reply[1..]);
    }
    // What the host asks itself counts too: QUIT comes after it.
    let mut talk = Talk::new(Relay::direct());
    assert_eq!(talk.client("QUIT").1, "UIDL\r\n");
    talk.server(b"+OK\r\n");
    assert!(talk.opened);
}

impl Talk {
    /// The client is gone: what is asked, and what the session leaves.
    fn wind_up(&mut self) -> (String, Option<Result<Vec<String>, Unknowable>>) {
        self.to_server.clear();
        let leaves = self.relay.wind_up(&mut self.to_server).map(|leaves| {
            leaves.map(|snapshot| {
                snapshot.rows().map(|(_, row)| String::from_utf8_lossy(row.unique_id).into_owned()).collect()
            })
        });
        (String::from_utf8(self.to_server.clone()).unwrap(), leaves)
    }
}

#[test]
fn a_client_that_hangs_up_leaves_the_listing_at_login() {
    let mut talk = Talk::new(Relay::direct());
    talk.client("STAT");
    assert_eq!(talk.wind_up(), (String::new(), None), "the reply is under way");
    talk.server(b"+OK 2 30\r\n");
    assert_eq!(talk.wind_up(), ("UIDL\r\n".to_owned(), None));
    talk.server(b"+OK\r\n1 a\r\n2 b\r\n.\r\n");
    // Feeding the reply has asked for the other part already.
    talk.wind_up();
    talk.server(b"+OK\r\n1 10\r\n2 20\r\n.\r\n");
    let ids = vec!["a".to_owned(), "b".to_owned()];
    assert_eq!(talk.wind_up(), (String::new(), Some(Ok(ids))));
}

#[test]
fn deletions_that_the_client_did_not_confirm_are_taken_back_and_never_carried_out() {
    for (reply, leaves) in [
        (&b"+OK\r\n"[..], Ok(vec!["a".to_owned(), "b".to_owned()])),
        (b"-ERR no\r\n", Err(Unknowable::Refused)),
    ] {
        let mut talk = Talk::new(Relay::direct());
        talk.client("LIST");
        talk.server(b"+OK\r\n1 10\r\n2 20\r\n.\r\n");
        talk.client("UIDL");
        talk.server(b"+OK\r\n1 a\r\n2 b\r\n.\r\n");
        talk.client("DELE 1");
        talk.server(b"+OK\r\n");
        assert_eq!(talk.wind_up(), ("RSET\r\n".to_owned(), None));
        talk.server(reply);
        assert_eq!(talk.wind_up(), (String::new(), Some(leaves)));
    }
    // Those of a client that has sent QUIT before it went are carried out.
    let mut talk = Talk::new(Relay::direct());
    talk.client("LIST");
    talk.server(b"+OK\r\n1 10\r\n2 20\r\n.\r\n");
    talk.client("UIDL");
    talk.server(b"+OK\r\n1 a\r\n2 b\r\n.\r\n");
    talk.client("DELE 1");
    talk.server(b"+OK\r\n");
    assert_eq!(talk.client("QUIT").1, "QUIT\r\n");
    assert_eq!(talk.wind_up(), (String::new(), None));
    talk.server(b"+OK\r\n");
    assert_eq!(talk.snapshot_ids().unwrap(), ["b"]);
}

#[test]
fn an_upgraded_session_without_quit_leaves_what_was_posed() {
    let rows = [Row { size: 10, unique_id: b"a" }, Row { size: 20, unique_id: b"b" }];
    let maildrop = Maildrop::new(Arc::new(Snapshot::pack(rows).unwrap()));
    let there = [(1, b"new"[..].into()), (2, b"b"[..].into()), (3, b"a"[..].into())];
    let mut talk = Talk::new(Relay::translated(maildrop, &there));
    assert_eq!(talk.client("DELE 1").1, "DELE 3\r\n");
    talk.server(b"+OK\r\n");
    assert_eq!(talk.wind_up(), ("RSET\r\n".to_owned(), None));
    talk.server(b"+OK\r\n");
    let ids = vec!["a".to_owned(), "b".to_owned()];
    assert_eq!(talk.wind_up(), (String::new(), Some(Ok(ids))));
}

#[test]
fn rows_with_other_line_ends_make_no_snapshot() {
    let mut talk = Talk::new(Relay::direct());
    talk.client("LIST");
    talk.server(b"+OK\r\n1 10\n2 20\r\n.\r\n");
    talk.client("UIDL");
    talk.server(b"+OK\r\n1 a\r\n2 b\r\n.\r\n");
    assert_eq!(talk.client("QUIT").1, "QUIT\r\n");
    talk.server(b"+OK\r\n");
    assert_eq!(talk.snapshot_ids(), None);
}
