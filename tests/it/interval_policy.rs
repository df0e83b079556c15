//! The default policy's rule over POP3, with a clock that the test controls.

use std::io::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::dialogue::Dialogue;
use crate::support::mail_server;
use crate::support::proxy::{Proxy, Setup};
use crate::support::scripted::Scripted;

use reprieve_mailserver::MailServer;

/// 1 July 2026, 23:59:00 in Berlin, which is 21:59:00 UTC.
const A_MINUTE_TO_MIDNIGHT: u64 = 1_782_943_140_000;

fn polled(mail: &MailServer, reprieve: &Proxy) -> &'static str {
    let before = mail.stats().logins;
    Dialogue::log_in(&reprieve.account("alice")).quit();
    if mail.stats().logins > before { "passed" } else { "denied" }
}

#[test]
fn at_midnight_in_the_servers_time_zone_everybody_passes_once() {
    let mail = mail_server(1);
    let reprieve = Setup { policy: "settings = { interval = \"6h\" }", ..Setup::default() }
        .in_front_of(&[mail.address()]);
    reprieve.clock.set(A_MINUTE_TO_MIDNIGHT);
    assert_eq!(polled(&mail, &reprieve), "passed");
    reprieve.clock.advance(Duration::from_secs(59));
    assert_eq!(polled(&mail, &reprieve), "denied");
    reprieve.clock.advance(Duration::from_secs(1));
    assert_eq!(polled(&mail, &reprieve), "passed");
    assert_eq!(polled(&mail, &reprieve), "denied");
    // Midnight in UTC does not count.
    reprieve.clock.advance(Duration::from_secs(2 * 3600));
    assert_eq!(polled(&mail, &reprieve), "denied");
}

#[test]
fn without_the_daily_reset_only_the_interval_counts() {
    let mail = mail_server(1);
    let policy = "settings = { interval = \"10m\", reset = \"never\" }";
    let reprieve = Setup { policy, ..Setup::default() }.in_front_of(&[mail.address()]);
    reprieve.clock.set(A_MINUTE_TO_MIDNIGHT);
    assert_eq!(polled(&mail, &reprieve), "passed");
    reprieve.clock.advance(Duration::from_secs(599));
    assert_eq!(polled(&mail, &reprieve), "denied");
    reprieve.clock.advance(Duration::from_secs(1));
    assert_eq!(polled(&mail, &reprieve), "passed");
}

#[test]
fn over_the_memory_limit_all_users_are_forgotten_and_the_policy_continues() {
    let mail = mail_server(1);
    for user in 0..30 {
        mail.add_user(&format!("user{user}"), crate::support::account::PASSWORD);
    }
    let policy = "settings = { interval = \"10m\", memory-limit = \"1KiB\" }";
    let reprieve = Setup { policy, ..Setup::default() }.in_front_of(&[mail.address()]);
    assert_eq!(polled(&mail, &reprieve), "passed");
    assert_eq!(polled(&mail, &reprieve), "denied");
    for user in 0..30 {
        Dialogue::log_in(&reprieve.account(&format!("user{user}"))).quit();
    }
    assert_eq!(polled(&mail, &reprieve), "passed", "alice was forgotten");
    assert_eq!(polled(&mail, &reprieve), "denied", "and is remembered again");
}

#[test]
fn the_interval_starts_when_the_mail_server_accepts_the_login() {
    let mail = mail_server(1);
    let reprieve = Setup { policy: "settings = { interval = \"10m\" }", ..Setup::default() }
        .in_front_of(&[mail.address()]);
    let mut wrong = Dialogue::open(reprieve.address());
    wrong.ok("USER alice");
    wrong.err("PASS wrong");
    wrong.quit();
    assert_eq!(polled(&mail, &reprieve), "passed");
    // The end of a long session does not restart the interval.
    assert_eq!(polled(&mail, &reprieve), "denied");
    reprieve.clock.advance(Duration::from_secs(600));
    assert_eq!(polled(&mail, &reprieve), "passed");
}

#[test]
fn spellings_of_a_name_are_different_users_unless_folded() {
    for (server, logins, listed) in
        [("", 2, 0), ("user-name-case = \"exact\"", 2, 0), ("user-name-case = \"fold\"", 1, 1)]
    {
        let mail = mail_server(1);
        mail.add_user("Alice", crate::support::account::PASSWORD);
        let policy = "settings = { interval = \"10m\" }";
        let reprieve = Setup { server, policy, ..Setup::default() }.in_front_of(&[mail.address()]);
        for round in 1..=3 {
            Dialogue::log_in(&reprieve.account("alice")).quit();
            let mut other = Dialogue::log_in(&reprieve.account("Alice"));
            // Their maildrop at the mail server is empty.
            assert_eq!(other.lines("UIDL").len(), listed, "{server}");
            other.quit();
            assert_eq!(mail.stats().logins, logins * round, "{server}");
            assert_eq!(reprieve.server.counters().denied, (2 - logins) * round, "{server}");
            reprieve.clock.advance(Duration::from_secs(600));
        }
    }
}

/// A mail server that accepts any user and password, and has one message per user name.
fn anybodys_mail_server() -> (Scripted, Arc<Mutex<Vec<Vec<u8>>>>) {
    let heard: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
    let names = heard.clone();
    let scripted = Scripted::start(move |conversation| {
        conversation.send(b"+OK ready\r\n");
        let Some(name) =
            conversation.read_command_bytes().and_then(|line| line.strip_prefix(b"USER ").map(Vec::from))
        else {
            return;
        };
        conversation.send(b"+OK\r\n");
        conversation.read_command();
        conversation.send(b"+OK in\r\n");
        let uidl = format!("+OK\r\n{}\r\n.\r\n", row(&name));
        names.lock().unwrap().push(name);
        conversation.answer(&[
            ("STAT", "+OK 1 10\r\n"),
            ("LIST", "+OK\r\n1 10\r\n.\r\n"),
            ("UIDL", &uidl),
            ("QUIT", "+OK\r\n"),
        ]);
    });
    (scripted, heard)
}

/// A row of UIDL that identifies the maildrop.
fn row(name: &[u8]) -> String {
    let unique_id: String = name.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("1 {unique_id}")
}

fn listed(reprieve: &Proxy, name: &[u8]) -> Vec<String> {
    let mut session = Dialogue::open(reprieve.address());
    session.tcp().write_all(&[b"USER ", name, b"\r\n"].concat()).unwrap();
    session.accepted();
    session.ok("PASS open sesame");
    let rows = session.lines("UIDL");
    session.quit();
    rows
}

#[test]
fn users_that_differ_at_the_mail_server_differ_here() {
    let pairs: [[&[u8]; 2]; 7] = [
        // Latin-1, which is not UTF-8.
        [b"m\xFCller", b"m\xF6ller"],
        [b"m\xFCller", "m\u{FFFD}ller".as_bytes()],
        [b"m\xFCller", b"m\\xFCller"],
        ["MÜLLER".as_bytes(), "MüLLER".as_bytes()],
        // A master user for two other users.
        [b"alice*root", b"bob*root"],
        [b"alice*root", b"root"],
        [b"m\xFCller*root", b"m\xF6ller*root"],
    ];
    for (pair, case) in pairs.iter().flat_map(|pair| [(pair, "exact"), (pair, "fold")]) {
        let shown = pair.map(<[u8]>::escape_ascii);
        let (mail, heard) = anybodys_mail_server();
        let server = format!("user-name-case = \"{case}\"\nmaster-separator = \"*\"");
        let policy = "settings = { interval = \"10m\" }";
        let reprieve = Setup { server: &server, policy, ..Setup::default() }.in_front_of(&[mail.address()]);
        for round in 1..=3 {
            for name in pair {
                assert_eq!(listed(&reprieve, name), [row(name)], "{shown:?} {case}");
                assert_eq!(heard.lock().unwrap().last().unwrap(), name, "{shown:?} {case}");
            }
            assert_eq!(heard.lock().unwrap().len(), 2 * round, "{shown:?} {case}");
            // Denied, each is shown their own maildrop.
            for name in pair {
                assert_eq!(listed(&reprieve, name), [row(name)], "{shown:?} {case}");
            }
            assert_eq!(mail.connections(), 2 * round, "{shown:?} {case}");
            reprieve.clock.advance(Duration::from_secs(600));
        }
    }
}
