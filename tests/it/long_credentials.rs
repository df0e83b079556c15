//! Long user names and secrets: Dovecot accepts the same through Reprieve as directly; beyond the
//! documented limits, the reply and the log give the reason.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::support::dialogue::Dialogue;
use crate::support::dovecot::Dovecot;
use crate::support::mail_server;
use crate::support::proxy::{Proxy, Setup};
use crate::support::running::Running;
use crate::support::scripted::Scripted;
use crate::support::until;

/// Lengths: at RFC 2449's limit of 255 bytes per line, at Dovecot's limit, and of tokens.
const LENGTHS: [usize; 6] = [248, 249, 300, 1_000, 1_500, 4_000];

#[derive(Clone, Copy, Debug)]
enum Way {
    Pass,
    PlainAtOnce,
    Plain,
    Login,
}

fn configuration(node: SocketAddr, pool: &str) -> String {
    Setup { pool, ..Setup::default() }.text(&[node])
}

fn plain(user: &str, secret: &str) -> String {
    STANDARD.encode(format!("\0{user}\0{secret}"))
}

/// Logs in and returns the reply.
fn log_in(server: SocketAddr, way: Way, user: &str, secret: &str) -> String {
    let mut session = Dialogue::open(server);
    let last = match way {
        Way::Pass => {
            session.ok(&format!("USER {user}"));
            format!("PASS {secret}")
        }
        Way::PlainAtOnce => format!("AUTH PLAIN {}", plain(user, secret)),
        Way::Plain => {
            session.send("AUTH PLAIN");
            assert_eq!(session.line(), "+ ");
            plain(user, secret)
        }
        Way::Login => {
            session.send("AUTH LOGIN");
            assert!(session.line().starts_with("+ "));
            session.send(&STANDARD.encode(user));
            assert!(session.line().starts_with("+ "));
            STANDARD.encode(secret)
        }
    };
    session.send(&last);
    let reply = session.line();
    if reply.starts_with("+OK") {
        session.lines("UIDL");
        session.quit();
    }
    reply
}

#[test]
fn dovecot_accepts_the_same_credentials_through_reprieve() {
    let users: Vec<_> = LENGTHS.iter().map(|&length| (format!("u{length}"), "p".repeat(length))).collect();
    let pairs: Vec<_> = users.iter().map(|(user, secret)| (user.as_str(), secret.as_str())).collect();
    let dovecot = Dovecot::start_with_passwords(&pairs);
    let mut refused = Vec::new();
    for pool in ["", "health-check = \"off\"", "login = \"plain\""] {
        let front = Proxy::start(&configuration(dovecot.address(), pool));
        for (user, secret) in &users {
            for way in [Way::Pass, Way::PlainAtOnce, Way::Plain, Way::Login] {
                let directly = log_in(dovecot.address(), way, user, secret);
                let through = log_in(front.address(), way, user, secret);
                if directly.starts_with("+OK") && !through.starts_with("+OK") {
                    refused.push(format!("{pool} {way:?} {user}: {through}"));
                }
                // Beyond Dovecot's own limit, a different password is not accepted either.
                let wrong = log_in(front.address(), way, user, &format!("{secret}!"));
                assert!(wrong.starts_with("-ERR"), "{pool} {way:?} {user}");
            }
        }
        until("those known are posed for", || front.server.counters().posed >= LENGTHS.len() as u64);
    }
    assert!(refused.is_empty(), "{refused:#?}");
}

/// A mail server with USER and PASS only, which replies with the length of the secret.
fn without_plain() -> Scripted {
    Scripted::start(|conversation| {
        conversation.send(b"+OK ready\r\n");
        while let Some(command) = conversation.read_command() {
            match command.split_once(' ').unwrap_or((&command, "")) {
                ("CAPA", _) => conversation.send(b"+OK\r\nTOP\r\nUIDL\r\nUSER\r\n.\r\n"),
                ("USER", _) => conversation.send(b"+OK\r\n"),
                ("PASS", secret) => {
                    conversation.send(format!("-ERR [AUTH] {} bytes\r\n", secret.len()).as_bytes());
                }
                ("QUIT", _) => return conversation.send(b"+OK\r\n"),
                _ => conversation.send(b"-ERR unknown\r\n"),
            }
        }
    })
}

#[test]
fn a_node_without_auth_plain_decides_about_the_length_itself() {
    let node = without_plain();
    for pool in ["health-check = { interval = \"1h\" }", "health-check = \"off\""] {
        let front = Proxy::start(&configuration(node.address(), pool));
        for way in [Way::Pass, Way::PlainAtOnce, Way::Login] {
            let reply = log_in(front.address(), way, "alice", &"p".repeat(3_000));
            assert_eq!(reply, "-ERR [AUTH] 3000 bytes", "{pool} {way:?}");
        }
        let state = front.server.pool("mail").unwrap().node_states().next().unwrap();
        assert!(state.healthy, "{state:?}");
    }
}

#[test]
fn a_login_that_no_node_can_take_is_refused_and_the_reason_logged() {
    let mail = mail_server(0);
    let folder = tempfile::tempdir().unwrap();
    let text = configuration(mail.address(), "health-check = \"off\"");
    let mut reprieve = Running::with_configuration(folder.path(), &text);
    let server = reprieve.address();
    let (long, longest) = ("s3cret".repeat(2_200), "n".repeat(321));
    let (too_long, name) =
        ("-ERR [AUTH] login is longer than 12288 bytes", "-ERR [AUTH] user name is longer than 320 bytes");
    let control = "-ERR [AUTH] user name or password contains a control character";
    let lines: [(&[&str], &str, &str, &str); 8] = [
        (&["USER alice", &format!("PASS {long}")], too_long, "alice", "login-too-long"),
        (&[&format!("AUTH PLAIN {}", plain("alice", &long))], too_long, "", "login-too-long"),
        (&["AUTH PLAIN", &plain("alice", &long)], too_long, "", "login-too-long"),
        (&["AUTH LOGIN", "YWxpY2U=", &STANDARD.encode(&long)], too_long, "alice", "login-too-long"),
        (&[&format!("USER {longest}"), "PASS s3cret"], name, &longest[..320], "name-too-long"),
        (&["AUTH PLAIN", &plain(&longest, "s3cret")], name, &longest[..320], "name-too-long"),
        (&["AUTH PLAIN", &plain("alice", "s3cret\r\nQUIT")], control, "alice", "control-character"),
        (
            &["AUTH LOGIN", "=", &STANDARD.encode("s3cret")],
            "-ERR [AUTH] user name is empty",
            "",
            "no-user-name",
        ),
    ];
    for (lines, reply, user, reason) in lines {
        let mut session = Dialogue::open(server);
        let (last, before) = lines.split_last().unwrap();
        for line in before {
            session.send(line);
            session.line();
        }
        assert_eq!(session.err(last), reply);
        session.quit();
        let told = reprieve.line_with("\"session\"");
        assert!(told.contains(&format!("\"user\":\"{user}\"")), "{told}");
        assert!(told.contains(&format!("\"reason\":\"{reason}\"")), "{told}");
        assert!(!told.contains("s3cret") && !told.contains(&STANDARD.encode("s3cret")), "{told}");
    }
    // Each of them counts as a failed login.
    let mut session = Dialogue::open(server);
    for _ in 0..3 {
        session.ok(&format!("USER {longest}"));
        session.err("PASS x");
    }
    assert_eq!(session.line(), "-ERR too many failed logins");
    session.closed();
}
