//! Every user who can be posed to is, however their sessions end and whatever happens to the mail
//! server; the others are reported with the reason.

use std::net::SocketAddr;
use std::time::Duration;

use crate::support::account::{Account, PASSWORD};
use crate::support::dialogue::Dialogue;
use crate::support::dovecot::Dovecot;
use crate::support::mail_server;
use crate::support::proxy::{Proxy, Setup};
use crate::support::scripted::Scripted;
use rustix::net::sockopt::set_socket_linger;

/// How a client leaves without QUIT.
#[derive(Clone, Copy, Debug)]
enum Leaves {
    /// It closes the connection.
    Closes,
    /// It resets the connection.
    Resets,
}

#[test]
fn clients_that_hang_up_without_quit_are_relieved_and_delete_nothing() {
    let dialogues: [&[&str]; 9] = [
        &[],
        &["NOOP"],
        &["STAT"],
        &["STAT", "UIDL"],
        &["UIDL", "LIST"],
        &["LIST 2"],
        &["RETR 1"],
        &["UIDL", "LIST", "DELE 1", "DELE 3"],
        &["DELE 2", "RSET", "DELE 2"],
    ];
    let dovecot = Dovecot::start(&["alice"]);
    dovecot.deliver_many("alice", 3);
    let proxy = Proxy::in_front_of(&dovecot);
    let alice = dovecot.account_at(proxy.address(), "alice");
    let mut ended = 0;
    for leaves in [Leaves::Closes, Leaves::Resets] {
        for asked in dialogues {
            proxy.let_the_interval_pass();
            let mut real = Dialogue::log_in(&alice);
            for command in asked {
                match *command {
                    "LIST" | "UIDL" | "RETR 1" => drop(real.lines(command)),
                    _ => drop(real.ok(command)),
                }
            }
            hang_up(real, leaves);
            ended += 1;
            dovecot.wait_for_ended_sessions("alice", ended);
            let (denied, logins) = (proxy.denied(), dovecot.logins("alice"));
            let mut next = Dialogue::log_in(&alice);
            let shown = next.maildrop();
            next.quit();
            let context = format!("{leaves:?} after {asked:?}");
            assert_eq!((proxy.denied(), dovecot.logins("alice")), (denied + 1, logins), "{context}");
            assert_eq!(shown.uidl.len(), 3, "{context}");
            assert_eq!(dovecot.messages("alice"), 3, "{context}");
        }
    }
}

fn hang_up(session: Dialogue, leaves: Leaves) {
    if let Leaves::Resets = leaves {
        set_socket_linger(session.tcp(), Some(Duration::ZERO)).expect("a setting");
    }
    drop(session);
}

#[test]
fn an_upgraded_session_without_quit_keeps_the_snapshot() {
    let dovecot = Dovecot::start(&["alice"]);
    dovecot.deliver_many("alice", 3);
    let proxy = Proxy::in_front_of(&dovecot);
    let alice = dovecot.account_at(proxy.address(), "alice");
    let mut real = Dialogue::log_in(&alice);
    let seen = real.maildrop();
    real.quit();
    let mut upgraded = Dialogue::log_in(&alice);
    upgraded.ok("DELE 2");
    drop(upgraded);
    dovecot.wait_for_ended_sessions("alice", 2);
    let logins = dovecot.logins("alice");
    let mut next = Dialogue::log_in(&alice);
    assert_eq!(next.maildrop(), seen);
    next.quit();
    assert_eq!((dovecot.logins("alice"), dovecot.messages("alice")), (logins, 3));
}

/// A mail server with these listings.
fn listing(stat: &'static str, list: &'static str, uidl: &'static str) -> Scripted {
    Scripted::start(move |conversation| {
        conversation.accept_login();
        conversation.answer(&[
            ("STAT", stat),
            ("LIST", list),
            ("UIDL", uidl),
            ("NOOP", "+OK\r\n"),
            ("RSET", "+OK\r\n"),
            ("QUIT", "+OK\r\n"),
        ]);
    })
}

#[test]
fn users_who_can_never_be_relieved_are_reported_with_the_reason() {
    const STAT: &str = "+OK 1 10\r\n";
    const LIST: &str = "+OK\r\n1 10\r\n.\r\n";
    const UIDL: &str = "+OK\r\n1 a1\r\n.\r\n";
    for (stat, list, uidl, reason) in [
        (STAT, LIST, "+OK\r\n1 a1 x\r\n.\r\n", "malformed"),
        (STAT, LIST, "+OK\r\n1  a1\r\n.\r\n", "malformed"),
        (STAT, "+OK\r\n1 10 x\r\n.\r\n", UIDL, "malformed"),
        (STAT, "+OK\r\n1 10\n.\r\n", UIDL, "malformed"),
        (STAT, LIST, "-ERR not here\r\n", "refused"),
        ("+OK 2 10\r\n", LIST, UIDL, "contradictory"),
        ("+OK 1 11\r\n", LIST, UIDL, "contradictory"),
    ] {
        let node = listing(stat, list, uidl);
        let reprieve = Setup::default().in_front_of(&[node.address()]);
        let account = reprieve.account("alice");
        for _ in 0..3 {
            let mut session = Dialogue::log_in(&account);
            session.ok("STAT");
            session.quit();
        }
        assert_eq!(node.connections(), 3, "{reason}: none is posed");
        assert_eq!(unrelieved(&reprieve), [("alice".to_owned(), reason.to_owned(), 2)]);
    }
    // The same server without the fault: the second and third login are posed to.
    let node = listing(STAT, LIST, UIDL);
    let reprieve = Setup::default().in_front_of(&[node.address()]);
    for _ in 0..3 {
        let mut session = Dialogue::log_in(&reprieve.account("alice"));
        session.ok("STAT");
        session.quit();
    }
    assert_eq!((node.connections(), unrelieved(&reprieve).len()), (1, 0));
}

fn unrelieved(reprieve: &Proxy) -> Vec<(String, String, u64)> {
    let servers: Vec<_> = reprieve.server.view().virtual_servers().collect();
    servers[0].unrelieved.iter().map(|user| (user.user.clone(), user.reason.clone(), user.logins)).collect()
}

#[test]
fn an_outage_is_not_reported_as_a_wrong_password_to_known_users() {
    // For each value: the reply to a user with a snapshot, without one, and with another password.
    for (value, with, without) in [
        ("", "unchanged", "busy"),
        ("pose", "unchanged", "busy"),
        ("busy", "busy", "busy"),
        ("error", "error", "error"),
    ] {
        let mail = mail_server(2);
        mail.add_user("bob", PASSWORD);
        let server = if value.is_empty() { String::new() } else { format!("on-unreachable = \"{value}\"") };
        let reprieve =
            Setup { server: &server, policy: "settings = { interval = \"0s\" }", ..Setup::default() }
                .in_front_of(&[mail.address()]);
        let (alice, bob) = (reprieve.account("alice"), reprieve.account("bob"));
        let mut real = Dialogue::log_in(&alice);
        let seen = real.lines("UIDL");
        real.quit();
        let mut lost = Dialogue::log_in(&bob);
        lost.ok("STAT");
        drop(mail);
        lost.closed();
        for (account, shown) in [(&alice, with), (&bob, without)] {
            let mut session = Dialogue::open(account.server);
            session.ok(&format!("USER {}", account.user));
            session.send(&format!("PASS {}", account.password));
            let reply = session.line();
            match shown {
                "error" => assert!(reply.starts_with("-ERR [SYS/TEMP]"), "{value}: {reply}"),
                "busy" => {
                    assert!(reply.starts_with("+OK"), "{value}: {reply}");
                    assert!(session.err("STAT").starts_with("-ERR [SYS/TEMP]"));
                }
                _ => {
                    assert!(reply.starts_with("+OK"), "{value}: {reply}");
                    assert_eq!(session.lines("UIDL"), seen);
                    assert!(session.err("RETR 1").starts_with("-ERR [SYS/TEMP]"));
                }
            }
            session.quit();
        }
        let mut wrong = Dialogue::open(alice.server);
        wrong.ok("USER alice");
        assert!(wrong.err("PASS wrong").starts_with("-ERR [SYS/TEMP]"));
        wrong.quit();
    }
}

#[test]
fn if_configured_connections_are_closed_before_the_greeting_while_all_nodes_are_down() {
    let mut node = crate::support::farm::FarmNode::start();
    let setup = Setup {
        server: "on-unreachable = \"close\"",
        pool: "health-check = { interval = \"20ms\", rise = 1, fall = 1 }",
        ..Setup::default()
    };
    let front = setup.in_front_of(&[node.address()]);
    assert!(greeting(front.address()).starts_with("+OK"));
    node.kill();
    crate::support::until("connections are closed", || greeting(front.address()).is_empty());
    node.revive();
    crate::support::until("connections are greeted", || greeting(front.address()).starts_with("+OK"));
}

/// The greeting, or nothing if the server closes.
fn greeting(address: SocketAddr) -> String {
    use std::io::{BufRead as _, BufReader};
    let mut line = String::new();
    let stream = std::net::TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(crate::support::DEADLINE)).expect("a setting");
    BufReader::new(stream).read_line(&mut line).expect("a line or the end");
    line
}

#[test]
fn logins_that_no_node_judged_do_not_count_as_failed_and_have_a_separate_limit() {
    let nobody = crate::support::dovecot::free_address();
    let reprieve = Setup { server: "max-failed-logins = 2", ..Setup::default() }.in_front_of(&[nobody]);
    let mut session = Dialogue::open(reprieve.address());
    for _ in 0..20 {
        session.ok("USER alice");
        assert!(session.err("PASS x").starts_with("-ERR [SYS/TEMP]"));
    }
    assert!(session.line().starts_with("-ERR [SYS/TEMP]"));
    session.closed();
    // The same if the challenge has to come from the mail server.
    let server = "max-failed-logins = 2\nmechanisms = [\"CRAM-MD5\", \"SCRAM-SHA-256\"]";
    let reprieve = Setup { server, ..Setup::default() }.in_front_of(&[nobody]);
    let mut session = Dialogue::open(reprieve.address());
    for _ in 0..3 {
        assert!(session.err("AUTH CRAM-MD5").starts_with("-ERR [SYS/TEMP]"));
        // "n,,n=alice,r=nonce"
        let first = "AUTH SCRAM-SHA-256 biwsbj1hbGljZSxyPW5vbmNl";
        assert!(session.err(first).starts_with("-ERR [SYS/TEMP]"));
    }
    session.quit();
}

#[test]
fn an_upgrade_whose_login_is_refused_fails_with_the_mail_servers_reply() {
    let dovecot = Dovecot::start(&["alice"]);
    dovecot.deliver_many("alice", 2);
    let proxy = Proxy::in_front_of(&dovecot);
    let alice = dovecot.account_at(proxy.address(), "alice");
    Dialogue::log_in(&alice).quit();
    let mut posed = Dialogue::log_in(&alice);
    posed.lines("UIDL");
    dovecot.change_password("alice", "another one");
    for command in ["RETR 1", "TOP 1 0", "DELE 2"] {
        let reply = posed.err(command);
        assert!(
            reply.starts_with("-ERR [SYS/TEMP]")
                && reply.contains("refuses the login now: Authentication failed"),
            "{reply}"
        );
    }
    posed.quit();
    // The next login passes and gets the mail server's reply.
    let mut next = Dialogue::open(alice.server);
    next.ok("USER alice");
    assert!(next.err(&format!("PASS {}", alice.password)).contains("[AUTH]"));
    next.quit();
}

#[test]
fn after_too_many_rejected_logins_in_a_row_a_user_is_not_posed_to_until_one_is_accepted() {
    let mail = mail_server(1);
    let reprieve = Setup { server: "max-failed-logins = 100\nmax-rejected-logins = 3", ..Setup::default() }
        .in_front_of(&[mail.address()]);
    let account = reprieve.account("alice");
    let poll = || {
        Dialogue::log_in(&account).quit();
        mail.stats().logins
    };
    assert_eq!((poll(), poll()), (1, 1), "the second is posed");
    guess(&account, 2);
    let logins = mail.stats().logins;
    assert_eq!(poll(), logins, "two wrong guesses are few");
    guess(&account, 1);
    let logins = mail.stats().logins;
    assert_eq!(poll(), logins + 1, "the right password is judged by the mail server after three");
    assert_eq!(poll(), logins + 1, "and known again");
}

fn guess(account: &Account, times: usize) {
    let mut session = Dialogue::open(account.server);
    for _ in 0..times {
        session.ok(&format!("USER {}", account.user));
        session.err("PASS wrong");
    }
    session.quit();
}

#[test]
fn virtual_servers_of_one_pool_show_the_same_maildrop() {
    // with separate policy state, the second passes a user that the first would deny.
    for (namespace, seconds) in [("", 300), ("store = { namespace = \"site\" }", 600)] {
        let dovecot = Dovecot::start(&["alice"]);
        dovecot.deliver("alice");
        let server = |name: &str| {
            format!(
                r#"
[[virtual-server]]
name = "{name}"
listen = ["127.0.0.1:0"]
pool = "mail"
{namespace}
[virtual-server.policy]
settings = {{ interval = "10m" }}
"#
            )
        };
        let pool = format!("[pool.mail]\nnodes = [\"{}\"]\nhealth-check = \"off\"\n", dovecot.address());
        let front = Proxy::start(&[server("one"), server("two"), pool].concat());
        let poll = |name: &str| {
            let mut session = Dialogue::log_in(&dovecot.account_at(front.server.address(name), "alice"));
            let listed = session.lines("UIDL").len();
            session.quit();
            listed
        };
        assert_eq!(poll("one"), 1);
        dovecot.deliver("alice");
        front.clock.advance(Duration::from_secs(seconds));
        // The second has passed the user and shown more: the first must not show less.
        assert_eq!(poll("two"), 2, "{namespace}");
        let logins = dovecot.logins("alice");
        assert_eq!((poll("one"), poll("two")), (2, 2), "{namespace}");
        assert_eq!(dovecot.logins("alice"), logins, "both are denied, and shown what the second saw");
    }
}
