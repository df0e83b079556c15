//! Every manner, byte for byte, with and without pipelining.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use crate::support::account::PASSWORD;
use crate::support::dialogue::Dialogue;
use crate::support::mail_server;
use crate::support::proxy::{Proxy, Setup};
use crate::support::{DEADLINE, dialogue};

use reprieve_mailserver::MailServer;

const LOGIN: [&str; 2] = ["USER alice", "PASS open sesame"];
const GREETING: &str = "+OK ready\r\n";
const CAPABILITIES: &str = "+OK\r\nTOP\r\nUIDL\r\nRESP-CODES\r\nAUTH-RESP-CODE\r\nPIPELINING\r\n.\r\n";

/// Everything the server sends to these commands until it closes.
fn spoken(address: SocketAddr, commands: &[&str], pipelined: bool) -> String {
    if pipelined {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.write_all((commands.join("\r\n") + "\r\n").as_bytes()).unwrap();
        // A client that has sent everything may close its end.
        stream.shutdown(Shutdown::Write).unwrap();
        let mut all = String::new();
        stream.read_to_string(&mut all).unwrap();
        return all;
    }
    dialogue::spoken_one_by_one(address, commands)
}

fn known_user(manner: &str, messages: usize) -> (MailServer, Proxy) {
    known_user_with(manner, messages, "")
}

fn known_user_with(manner: &str, messages: usize, server: &str) -> (MailServer, Proxy) {
    let mail = mail_server(messages);
    let policy = format!("settings = {{ interval = \"10m\", manner = \"{manner}\" }}");
    let reprieve = Setup { server, policy: &policy, ..Setup::default() }.in_front_of(&[mail.address()]);
    Dialogue::log_in(&reprieve.account("alice")).quit();
    (mail, reprieve)
}

#[test]
fn unchanged_answers_every_command_as_a_mail_server_would() {
    let (mail, reprieve) = known_user("unchanged", 2);
    let messages = mail.messages("alice");
    let (ids, sizes): (Vec<_>, Vec<_>) =
        messages.iter().map(|message| (message.unique_id.clone(), message.bytes.len())).unzip();
    let total: usize = sizes.iter().sum();
    let commands = [
        "CAPA", LOGIN[0], LOGIN[1], "STAT", "LIST", "UIDL", "LIST 2", "uidl 1", "LIST 3", "UIDL 0", "RETR 3",
        "LAST", "NOOP", "RSET", "CAPA", "USER bob", "XTND", "LIST x", "QUIT",
    ];
    let before = mail.stats().logins;
    for pipelined in [false, true] {
        let expected = [
            GREETING.to_owned(),
            CAPABILITIES.replace("\r\n.\r\n", "\r\nUSER\r\nSASL PLAIN LOGIN\r\n.\r\n"),
            "+OK\r\n+OK Logged in.\r\n".to_owned(),
            format!("+OK 2 {total}\r\n"),
            format!("+OK 2 messages ({total} octets)\r\n1 {}\r\n2 {}\r\n.\r\n", sizes[0], sizes[1]),
            format!("+OK\r\n1 {}\r\n2 {}\r\n.\r\n", ids[0], ids[1]),
            format!("+OK 2 {}\r\n+OK 1 {}\r\n", sizes[1], ids[0]),
            "-ERR no such message\r\n".repeat(3),
            "-ERR unknown command\r\n+OK\r\n+OK\r\n".to_owned(),
            CAPABILITIES.to_owned(),
            "-ERR you are logged in\r\n-ERR unknown command\r\n-ERR wrong arguments\r\n+OK bye\r\n"
                .to_owned(),
        ]
        .concat();
        assert_eq!(spoken(reprieve.address(), &commands, pipelined), expected, "pipelined: {pipelined}");
    }
    assert_eq!(mail.stats().logins, before, "no session reached the mail server");
    crate::support::until("both sessions are counted", || reprieve.server.counters().relieved == 2);
}

#[test]
fn empty_is_a_complete_maildrop_without_messages() {
    let (mail, reprieve) = known_user("empty", 2);
    let before = mail.stats().logins;
    let commands = [LOGIN[0], LOGIN[1], "STAT", "LIST", "UIDL", "RETR 1", "TOP 1 0", "DELE 1", "QUIT"];
    for pipelined in [false, true] {
        assert_eq!(
            spoken(reprieve.address(), &commands, pipelined),
            "+OK ready\r\n+OK\r\n+OK Logged in.\r\n+OK 0 0\r\n+OK 0 messages (0 octets)\r\n.\r\n+OK\r\n.\r\n\
             -ERR no such message\r\n-ERR no such message\r\n-ERR no such message\r\n+OK bye\r\n"
        );
    }
    assert_eq!(mail.stats().logins, before);
}

#[test]
fn busy_accepts_the_login_and_refuses_commands() {
    let (mail, reprieve) = known_user("busy", 2);
    let before = mail.stats().logins;
    let commands =
        [LOGIN[0], LOGIN[1], "STAT", "LIST", "UIDL", "RETR 1", "TOP 1 0", "DELE 1", "RSET", "NOOP", "QUIT"];
    for pipelined in [false, true] {
        let expected = "+OK ready\r\n+OK\r\n+OK Logged in.\r\n".to_owned()
            + &"-ERR [SYS/TEMP] mailbox is busy, try again later\r\n".repeat(6)
            + "+OK\r\n+OK\r\n+OK bye\r\n";
        assert_eq!(spoken(reprieve.address(), &commands, pipelined), expected);
    }
    assert_eq!(mail.stats().logins, before);
}

#[test]
fn refuse_tells_the_seconds_to_wait_and_capa_announces_the_delay() {
    let (mail, reprieve) = known_user_with("refuse", 2, "login-delay = \"10m\"");
    let before = mail.stats().logins;
    reprieve.clock.advance(std::time::Duration::from_secs(60));
    for pipelined in [false, true] {
        assert_eq!(
            spoken(reprieve.address(), &[LOGIN[0], LOGIN[1], "STAT", "QUIT"], pipelined),
            "+OK ready\r\n+OK\r\n\
             -ERR [LOGIN-DELAY] too soon after your last login, try again in 540 seconds\r\n\
             -ERR log in first\r\n+OK bye\r\n"
        );
    }
    assert!(spoken(reprieve.address(), &["CAPA", "QUIT"], false).contains("LOGIN-DELAY 600\r\n"));
    assert_eq!(mail.stats().logins, before);
}

#[test]
fn disconnect_closes_without_a_reply() {
    let (_mail, reprieve) = known_user("disconnect", 2);
    for pipelined in [false, true] {
        assert_eq!(spoken(reprieve.address(), &LOGIN, pipelined), "+OK ready\r\n+OK\r\n");
    }
}

#[test]
fn manners_that_accept_the_login_require_the_known_secret() {
    for manner in ["unchanged", "empty", "busy"] {
        let (mail, reprieve) = known_user(manner, 2);
        let mut wrong = Dialogue::open(reprieve.address());
        wrong.ok("USER alice");
        let told = wrong.err("PASS wrong");
        let mut direct = Dialogue::open(mail.address());
        direct.ok("USER alice");
        assert_eq!(told, direct.err("PASS wrong"), "the mail server's own reply");
        wrong.quit();
        assert_eq!(reprieve.server.counters().unverified, 1, "{manner}");
    }
}

#[test]
fn the_default_policy_refuses_and_disconnects_only_the_known_user() {
    for manner in ["refuse", "disconnect"] {
        let (mail, reprieve) = known_user(manner, 2);
        let mut direct = Dialogue::open(mail.address());
        direct.ok("USER alice");
        let own_words = direct.err("PASS wrong");
        let mut wrong = Dialogue::open(reprieve.address());
        wrong.ok("USER alice");
        assert_eq!(wrong.err("PASS wrong"), own_words, "{manner}");
        wrong.quit();
        assert_eq!(reprieve.server.counters().denied, 0, "{manner}");
    }
}

#[test]
fn without_verification_anybody_sees_the_posed_listing_but_no_mail() {
    let (mail, reprieve) = known_user_with("unchanged", 2, "verify = \"off\"");
    let mut wrong = Dialogue::open(reprieve.address());
    wrong.ok("USER alice");
    wrong.ok("PASS wrong");
    assert_eq!(wrong.lines("UIDL").len(), 2);
    let refusal = wrong.err("RETR 1");
    assert!(refusal.starts_with("-ERR [SYS/TEMP] mail server refuses the login now"), "{refusal}");
    wrong.quit();
    assert_eq!(mail.messages("alice").len(), 2);
}

#[test]
fn without_a_snapshot_a_denied_login_passes() {
    let (mail, reprieve) = known_user("unchanged", 2);
    let before = mail.stats().logins;
    reprieve.clock.advance(std::time::Duration::from_secs(600));
    // A session that loses its mail server leaves no snapshot.
    let mut lost = Dialogue::log_in(&reprieve.account("alice"));
    lost.ok("STAT");
    reprieve.lose(mail.address(), lost);
    Dialogue::log_in(&reprieve.account("alice")).quit();
    assert_eq!(mail.stats().logins, before + 2);
    assert_eq!(reprieve.server.counters().no_snapshot, 1);
    // That one has left a snapshot.
    Dialogue::log_in(&reprieve.account("alice")).quit();
    assert_eq!(mail.stats().logins, before + 2);
}

#[test]
fn posed_sessions_are_the_same_for_every_mechanism() {
    let (mail, reprieve) = known_user("unchanged", 2);
    let before = mail.stats().logins;
    // NUL alice NUL open sesame
    let plain = "AGFsaWNlAG9wZW4gc2VzYW1l";
    let initial = format!("AUTH PLAIN {plain}");
    for login in [
        &["USER alice", "PASS open sesame"][..],
        &["user alice", "pass open sesame"],
        &[&initial],
        &["auth plain", plain],
        &["AUTH LOGIN", "YWxpY2U=", "b3BlbiBzZXNhbWU="],
        &["AUTH LOGIN YWxpY2U=", "b3BlbiBzZXNhbWU="],
    ] {
        let commands = [login, &["STAT", "QUIT"]].concat();
        for pipelined in [false, true] {
            let said = spoken(reprieve.address(), &commands, pipelined);
            assert!(said.contains("+OK Logged in.\r\n+OK 2 "), "{login:?}: {said}");
        }
    }
    assert_eq!(mail.stats().logins, before, "{PASSWORD}");
}

#[test]
fn an_upgraded_session_keeps_the_newer_snapshot_of_another_client() {
    let (mail, reprieve) = known_user("unchanged", 2);
    let account = reprieve.account("alice");
    let mut posed = Dialogue::log_in(&account);
    assert_eq!(posed.lines("UIDL").len(), 2);
    reprieve.clock.advance(std::time::Duration::from_secs(600));
    mail.deliver("alice", b"Subject: new\r\n\r\nnew\r\n");
    let mut other = Dialogue::log_in(&account);
    assert_eq!(other.lines("UIDL").len(), 3);
    other.quit();
    posed.lines("RETR 2");
    assert_eq!(posed.lines("UIDL").len(), 2, "its numbers stay valid");
    posed.quit();
    let mut denied = Dialogue::log_in(&account);
    assert_eq!(denied.lines("UIDL").len(), 3, "what the other client saw last");
    denied.quit();
    assert_eq!(reprieve.server.counters().denied, 2);
}

#[test]
fn sessions_cut_off_by_the_drain_timeout_are_counted() {
    let (_mail, reprieve) = known_user("unchanged", 1);
    reprieve.clock.advance(std::time::Duration::from_secs(600));
    crate::support::until("the session before is counted", || reprieve.server.counters().sessions == 1);
    let mut relayed = Dialogue::log_in(&reprieve.account("alice"));
    relayed.ok("STAT");
    let view = reprieve.server.view();
    reprieve.server.shutdown(std::time::Duration::ZERO);
    assert_eq!(view.counters().sessions, 2);
    relayed.closed();
}
