//! Limits on hostile clients and mail servers, without lost or invented mail.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::support::DEADLINE;
use crate::support::dialogue::Dialogue;
use crate::support::mail_server;
use crate::support::proxy::Setup;
use crate::support::scripted::Scripted;

#[test]
fn commands_of_255_bytes_pass_and_longer_ones_are_refused_unless_they_log_in() {
    let mail = mail_server(0);
    // "PASS " and CR LF leave 248 bytes.
    let longest = "p".repeat(248);
    mail.add_user("long", &longest);
    let reprieve = Setup::default().in_front_of(&[mail.address()]);
    let mut session = Dialogue::open(reprieve.address());
    assert_eq!(session.err(&format!("NOOP {}", "x".repeat(249))), "-ERR line too long");
    session.ok("USER long");
    // The mail server decides.
    session.err(&format!("PASS {longest}p"));
    session.ok("USER long");
    session.ok(&format!("PASS {longest}"));
    assert_eq!(session.err(&"X".repeat(300)), "-ERR line too long");
    assert_eq!(session.err(&format!("PASS {}", "x".repeat(300))), "-ERR line too long");
    session.quit();
}

#[test]
fn too_many_bad_commands_or_failed_logins_end_the_connection() {
    let mail = mail_server(0);
    let reprieve = Setup { server: "max-bad-commands = 3\nmax-failed-logins = 2", ..Setup::default() }
        .in_front_of(&[mail.address()]);
    let mut session = Dialogue::open(reprieve.address());
    for _ in 0..3 {
        session.err("NONSENSE");
    }
    assert_eq!(session.line(), "-ERR too many bad commands");
    session.closed();
    let mut session = Dialogue::open(reprieve.address());
    for _ in 0..2 {
        session.ok("USER alice");
        session.err("PASS wrong");
    }
    assert_eq!(session.line(), "-ERR too many failed logins");
    session.closed();
}

#[test]
fn known_commands_that_are_refused_do_not_count_as_bad() {
    let mail = mail_server(0);
    let reprieve = Setup::default().in_front_of(&[mail.address()]);
    let known = [
        "STLS",
        "AUTH NTLM",
        "UTF8",
        "LANG",
        "LANG *",
        "APOP alice 0123",
        "STAT",
        "LIST",
        "RSET",
        "LAST",
        "PASS x",
        "USER",
        "RETR x",
        "AUTH PLAIN !",
        "XTND XLST",
        "RPOP x",
        "XCLIENT ADDR=1.2.3.4",
    ];
    for line in known {
        let mut session = Dialogue::open(reprieve.address());
        for _ in 0..5 {
            session.err(line);
        }
        session.lines("AUTH");
        session.lines("CAPA");
        session.give_password("alice", crate::support::account::PASSWORD);
        session.quit();
    }
    // Together they count as bad commands after all.
    let mut session = Dialogue::open(reprieve.address());
    for _ in 0..20 {
        session.err("STAT");
    }
    assert_eq!(session.line(), "-ERR too many bad commands");
    session.closed();
}

#[test]
fn bad_commands_before_the_login_have_a_separate_limit() {
    let mail = mail_server(0);
    for (server, before) in [("", 3), ("max-bad-commands-before-login = 1", 1), ("max-bad-commands = 2", 2)] {
        let reprieve = Setup { server, ..Setup::default() }.in_front_of(&[mail.address()]);
        for line in ["NONSENSE", "", "EHLO mail.example", &"x".repeat(300)] {
            let mut session = Dialogue::open(reprieve.address());
            for _ in 0..before {
                session.err(line);
            }
            assert_eq!(session.line(), "-ERR too many bad commands", "{server} {line:.20}");
            session.closed();
        }
    }
    let reprieve = Setup::default().in_front_of(&[mail.address()]);
    for _ in 0..2 {
        let mut session = Dialogue::log_in(&reprieve.account("alice"));
        for _ in 0..19 {
            session.err("NONSENSE");
        }
        session.ok("STAT");
        session.err("NONSENSE");
        assert_eq!(session.line(), "-ERR too many bad commands", "the old limit after the login");
        session.closed();
    }
}

#[test]
fn connections_beyond_the_limits_get_the_reason() {
    let mail = mail_server(0);
    let reprieve = Setup { server: "max-connections-per-address = 2", ..Setup::default() }
        .in_front_of(&[mail.address()]);
    let _first = Dialogue::open(reprieve.address());
    let second = Dialogue::open(reprieve.address());
    let mut third = String::new();
    TcpStream::connect(reprieve.address()).unwrap().read_to_string(&mut third).unwrap();
    assert_eq!(third, "-ERR [SYS/TEMP] too many connections from your address, try again later\r\n");
    second.quit();
    crate::support::until("the place is free again", || {
        let mut word = [0; 4];
        let mut again = TcpStream::connect(reprieve.address()).unwrap();
        again.read_exact(&mut word).unwrap();
        word == *b"+OK "
    });

    let reprieve = Setup { top: "max-connections = 1", ..Setup::default() }.in_front_of(&[mail.address()]);
    // One that had not logged in could be closed for another.
    let _first = Dialogue::log_in(&reprieve.account("alice"));
    let mut second = String::new();
    TcpStream::connect(reprieve.address()).unwrap().read_to_string(&mut second).unwrap();
    assert_eq!(second, "-ERR [SYS/TEMP] too many connections, try again later\r\n");
}

#[test]
fn a_client_that_does_not_log_in_times_out_with_a_reply() {
    let mail = mail_server(0);
    let reprieve =
        Setup { server: "login-timeout = \"100ms\"", ..Setup::default() }.in_front_of(&[mail.address()]);
    let mut session = Dialogue::open(reprieve.address());
    assert_eq!(session.line(), "-ERR disconnected for inactivity");
    session.closed();
}

#[test]
fn a_node_that_dies_during_a_message_ends_the_session_without_a_final_dot() {
    let node = Scripted::start(|server| {
        server.accept_login();
        server.read_command();
        server.send(b"+OK\r\nhalf of a mess");
    });
    let reprieve = Setup::default().in_front_of(&[node.address()]);
    let mut stream = TcpStream::connect(reprieve.address()).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(b"USER alice\r\nPASS open sesame\r\nRETR 1\r\n").unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    assert_eq!(said, "+OK ready\r\n+OK\r\n+OK in\r\n+OK\r\nhalf of a mess");
}

#[test]
fn unreachable_nodes_are_skipped_and_if_all_are_the_client_gets_a_temporary_error() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mail = mail_server(1);
    let reprieve = Setup { policy: "settings = { interval = \"0s\" }", ..Setup::default() }
        .in_front_of(&[gone, mail.address()]);
    for _ in 0..4 {
        let mut session = Dialogue::log_in(&reprieve.account("alice"));
        session.ok("STAT");
        session.quit();
    }
    let reprieve = Setup::default().in_front_of(&[gone]);
    let mut session = Dialogue::open(reprieve.address());
    session.ok("USER alice");
    assert!(session.err("PASS open sesame").starts_with("-ERR [SYS/TEMP]"));
    session.quit();
    assert_eq!(reprieve.server.counters().unreachable, 1);
}

#[test]
fn a_secret_is_never_sent_to_a_second_node() {
    let lost = Scripted::start(|server| {
        server.send(b"+OK\r\n");
        server.read_command();
        server.send(b"+OK\r\n");
        server.read_command();
    });
    let other = Scripted::start(|server| server.accept_login());
    let reprieve = Setup::default().in_front_of(&[lost.address(), other.address()]);
    let mut session = Dialogue::open(reprieve.address());
    session.ok("USER alice");
    assert!(session.err("PASS open sesame").starts_with("-ERR [SYS/TEMP]"));
    assert_eq!((lost.connections(), other.connections()), (1, 0));
}

#[test]
fn a_node_that_does_not_greet_is_skipped_before_it_sees_a_name() {
    let rude = Scripted::start(|server| server.send(b"-ERR too busy\r\n"));
    let mail = mail_server(1);
    let reprieve = Setup::default().in_front_of(&[rude.address(), mail.address()]);
    Dialogue::log_in(&reprieve.account("alice")).quit();
    assert_eq!(mail.stats().logins, 1);
}

#[test]
fn contradictory_listings_leave_no_snapshot_and_the_next_login_passes() {
    let node = Scripted::start(|server| {
        server.accept_login();
        server.answer(&[
            ("STAT", "+OK 3 300\r\n"),
            ("UIDL", "+OK\r\n1 a\r\n2 b\r\n.\r\n"),
            ("LIST", "+OK\r\n1 100\r\n2 100\r\n.\r\n"),
            ("QUIT", "+OK\r\n"),
        ]);
    });
    let reprieve = Setup::default().in_front_of(&[node.address()]);
    for _ in 0..2 {
        let mut session = Dialogue::log_in(&reprieve.account("alice"));
        session.ok("STAT");
        session.quit();
    }
    assert_eq!(node.connections(), 2);
    assert_eq!(reprieve.server.counters().no_snapshot, 1);
}

#[test]
fn deletions_that_quit_did_not_confirm_leave_no_snapshot() {
    let node = Scripted::start(|server| {
        server.accept_login();
        server.answer(&[
            ("UIDL", "+OK\r\n1 a\r\n.\r\n"),
            ("LIST", "+OK\r\n1 100\r\n.\r\n"),
            ("DELE 1", "+OK\r\n"),
            ("QUIT", "-ERR some messages were not removed\r\n"),
        ]);
    });
    let reprieve = Setup::default().in_front_of(&[node.address()]);
    for _ in 0..2 {
        let mut session = Dialogue::log_in(&reprieve.account("alice"));
        session.lines("UIDL");
        session.ok("DELE 1");
        session.err("QUIT");
        session.closed();
    }
    assert_eq!(node.connections(), 2);
}

#[test]
fn a_client_that_is_idle_after_the_login_times_out_with_a_reply() {
    let mail = mail_server(2);
    let setup = Setup { idle_timeout: Some(Duration::from_secs(1)), ..Setup::default() };
    let reprieve = setup.in_front_of(&[mail.address()]);
    let account = reprieve.account("alice");
    // Relayed: the connection to the mail server ends too, and the snapshot is kept.
    let mut relayed = Dialogue::log_in(&account);
    relayed.ok("STAT");
    assert_eq!(relayed.line(), "-ERR disconnected for inactivity");
    relayed.closed();
    crate::support::until("the mail server is let go", || mail.stats().open == 0);
    // Posed.
    let mut posed = Dialogue::log_in(&account);
    posed.ok("STAT");
    assert_eq!(posed.line(), "-ERR disconnected for inactivity");
    assert_eq!(mail.stats().logins, 1);
    posed.closed();
}
