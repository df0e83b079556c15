//! Attacks that worked on the article's rule, in front of Dovecot: none of them works here.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::support::account::{Account, PASSWORD};
use crate::support::dialogue::Dialogue;
use crate::support::dovecot::Dovecot;
use crate::support::proxy::Proxy;

/// Repetitions of an attack that succeeded each time with the article's rule.
const TRIES: usize = 25;

/// Wrong passwords for alice, some of them similar to hers.
const WRONG: [&str; 8] = [
    "wrong",
    "open",
    "open sesam",
    "open sesame ",
    " open sesame",
    "Open Sesame",
    "open  sesame",
    BOBS_PASSWORD,
];

/// The password of another user.
const BOBS_PASSWORD: &str = "bob's own";

#[test]
fn a_user_name_alone_locks_nobody_out() {
    let (dovecot, proxy, alice) = a_victim();
    for login in 1..=TRIES {
        proxy.let_the_interval_pass();
        dovecot.deliver("alice");
        let mut polite = Dialogue::open(alice.server);
        polite.ok("USER alice");
        polite.quit();
        let mut abrupt = Dialogue::open(alice.server);
        abrupt.ok("USER alice");
        drop(abrupt);

        let mut victim = Dialogue::log_in(&alice);
        assert_eq!(victim.lines("UIDL").len(), login, "the victim was locked out");
        victim.quit();
        assert_eq!(dovecot.logins("alice"), login);
    }
    assert_eq!(proxy.denied(), 0);
}

#[test]
fn a_wrong_password_locks_nobody_out() {
    let (dovecot, proxy, alice) = a_victim();
    for (login, wrong) in WRONG.iter().enumerate() {
        proxy.let_the_interval_pass();
        rejection(alice.server, "alice", wrong);
        Dialogue::log_in(&alice).quit();
        assert_eq!(dovecot.logins("alice"), login + 1, "the victim was locked out");
    }
    assert_eq!(proxy.denied(), 0);
}

#[test]
fn a_wrong_password_during_the_interval_gets_the_mail_servers_own_reply() {
    let (dovecot, proxy, alice) = a_victim();
    Dialogue::log_in(&alice).quit();
    let (there, here) = (dovecot.address(), alice.server);
    assert_eq!(rejection(here, "alice", "wrong"), rejection(there, "alice", "wrong"));
    assert_eq!(rejection_of_plain(here, "alice", "wrong"), rejection_of_plain(there, "alice", "wrong"));
    assert_eq!(
        rejection(here, "nobody-of-this-name", "wrong"),
        rejection(there, "nobody-of-this-name", "wrong")
    );
    assert_eq!(dovecot.logins("alice"), 1);
    assert_eq!(proxy.upgrades(), 0);
}

#[test]
fn a_mistyped_password_does_not_start_the_interval() {
    let (dovecot, proxy, alice) = a_victim();
    rejection(alice.server, "alice", "open seasme");
    Dialogue::log_in(&alice).quit();
    assert_eq!(dovecot.logins("alice"), 1, "the first login");

    proxy.let_the_interval_pass();
    dovecot.deliver("alice");
    rejection(alice.server, "alice", "open seasme");
    let mut next = Dialogue::log_in(&alice);
    assert_eq!(next.lines("UIDL").len(), 1);
    next.quit();
    assert_eq!(dovecot.logins("alice"), 2, "the login after the interval");
    assert_eq!(proxy.denied(), 0);
}

#[test]
fn a_mistyped_password_can_be_corrected_on_the_same_connection() {
    let (dovecot, _proxy, alice) = a_victim();
    dovecot.deliver("alice");
    let mut session = Dialogue::open(alice.server);
    session.ok("USER alice");
    session.err("PASS open seasme");
    session.ok("USER alice");
    session.ok(&format!("PASS {PASSWORD}"));
    assert!(session.ok("STAT").starts_with("1 "));
    session.quit();
    assert_eq!(dovecot.logins("alice"), 1);
}

#[test]
fn a_wrong_password_does_not_make_the_right_one_unknown() {
    let (dovecot, proxy, alice) = a_victim();
    Dialogue::log_in(&alice).quit();
    // Fewer than `max-rejected-logins`, after which alice would not be posed to.
    at_once(&WRONG[..4], |wrong| drop(rejection(alice.server, "alice", wrong)));
    Dialogue::log_in(&alice).quit();
    assert_eq!(dovecot.logins("alice"), 1, "attackers bring the load back");
    assert_eq!(proxy.upgrades(), 0);
}

#[test]
fn no_wrong_password_is_ever_accepted() {
    let (dovecot, _proxy, alice) = a_victim();
    dovecot.deliver("alice");
    // After a successful session: until the interval ends, alice is posed to.
    Dialogue::log_in(&alice).quit();
    let long = "x".repeat(200);
    at_once(WRONG.into_iter().chain(["", &long]), |wrong| {
        rejection(alice.server, "alice", wrong);
        rejection_of_plain(alice.server, "alice", wrong);
        rejection_of_login(alice.server, "alice", wrong);
    });
    assert_eq!(dovecot.logins("alice"), 1);
}

#[test]
fn nobody_sees_a_maildrop_with_a_wrong_password() {
    let (dovecot, _proxy, alice) = a_victim();
    dovecot.deliver_many("alice", 2);
    Dialogue::log_in(&alice).quit();
    at_once(["STAT", "LIST", "UIDL", "RETR 1", "TOP 1 0", "DELE 1", "LIST 1", "UIDL 1"], |command| {
        let mut attacker = Dialogue::open(alice.server);
        attacker.send_at_once(&["USER alice", "PASS wrong", command]);
        attacker.accepted();
        attacker.refused();
        attacker.refused();
        let mut attacker = Dialogue::open(alice.server);
        attacker.ok("USER alice");
        attacker.err(command);
        let mut attacker = Dialogue::open(alice.server);
        attacker.err(command);
    });
    assert_eq!(dovecot.messages("alice"), 2);
}

#[test]
fn a_password_that_contains_commands_and_spaces_works() {
    let passwords =
        ["open STAT QUIT sesame", " STAT QUIT", "QUIT", "a  b ", "PASS", "s\u{e9}same", "\"quoted\\"];
    let users = ["ann", "ben", "cleo", "dan", "eve", "finn", "gus"];
    let dovecot = Dovecot::start_with_passwords(&users.into_iter().zip(passwords).collect::<Vec<_>>());
    let proxy = Proxy::in_front_of(&dovecot);
    for (user, denied) in users.into_iter().zip(0..) {
        dovecot.deliver(user);
        let account = dovecot.account_at(proxy.address(), user);
        for denied in [denied, denied + 1] {
            let mut session = Dialogue::log_in(&account);
            assert!(session.ok("STAT").starts_with("1 "));
            session.quit();
            assert_eq!((dovecot.logins(user), proxy.denied()), (1, denied), "{:?}", account.password);
        }
    }
}

#[test]
fn commands_may_be_written_in_lower_case() {
    let (dovecot, proxy, alice) = a_victim();
    dovecot.deliver("alice");
    for denied in [0, 1, 2] {
        let mut session = Dialogue::open(alice.server);
        session.lines("capa");
        if denied == 2 {
            session.ok(&format!("auth plain {}", plain("alice", PASSWORD)));
        } else {
            session.ok("user alice");
            session.ok(&format!("pass {PASSWORD}"));
        }
        assert!(session.ok("stat").starts_with("1 "));
        assert_eq!(session.lines("list").len(), 1);
        assert_eq!(session.lines("Uidl").len(), 1);
        session.ok("noop");
        session.ok("quit");
        session.closed();
        assert_eq!(proxy.denied(), denied);
    }
    assert_eq!(dovecot.logins("alice"), 1);
}

#[test]
fn a_line_end_in_a_credential_injects_no_command() {
    let (dovecot, proxy, _) = a_victim();
    dovecot.deliver("alice");
    let smuggled = [
        (format!("alice\r\nPASS {PASSWORD}\r\nDELE 1\r\nQUIT"), "x".to_owned()),
        ("bob".to_owned(), format!("{BOBS_PASSWORD}\r\nDELE 1\r\nQUIT")),
        ("bob".to_owned(), format!("wrong\r\nUSER alice\r\nPASS {PASSWORD}")),
        ("bob".to_owned(), format!("wrong\nUSER alice\nPASS {PASSWORD}")),
    ];
    at_once(smuggled, |(user, password)| {
        rejection_of_plain(proxy.address(), &user, &password);
        rejection_of_login(proxy.address(), &user, &password);
    });
    assert_eq!((dovecot.logins("alice"), dovecot.logins("bob")), (0, 0));
    assert_eq!(dovecot.messages("alice"), 1);
}

/// ALPACA: a web page makes a browser send a request to the POP3 port, with commands in its body.
#[test]
fn a_web_page_cannot_inject_commands() {
    let (dovecot, proxy, _) = a_victim();
    dovecot.deliver("alice");
    let body = format!("USER alice\r\nPASS {PASSWORD}\r\nDELE 1\r\nQUIT\r\n");
    let headers = "Host: mail.example\r\nContent-Type: text/plain\r\nContent-Length: 50\r\n\r\n";
    let long = format!("/{}", "x".repeat(300));
    let longer = format!("/{}", "x".repeat(20_000));
    let requests = [
        "POST / HTTP/1.1",
        "post / http/1.1",
        "PUT /a%20b HTTP/1.0",
        "GET /",
        "OPTIONS * HTTP/1.1",
        "PROPFIND / HTTP/1.1",
        "PRI * HTTP/2.0",
        "CONNECT mail.example:110 HTTP/1.1",
        &format!("POST {long} HTTP/1.1"),
        &format!("POST {longer} HTTP/1.1"),
        &format!("PROPFIND {long} HTTP/1.1"),
    ];
    for request in requests {
        let answer = said(proxy.address(), &format!("{request}\r\n{headers}{body}"));
        let mut lines = answer.lines();
        assert!(lines.next().is_some_and(|greeting| greeting.starts_with("+OK")), "{request:.40}");
        let last: Vec<_> = lines.collect();
        // An unknown method in a line that is too long is a bad command.
        let at_once = last == ["-ERR this is a POP3 server"];
        let in_time = last.len() == 4 && last[3] == "-ERR too many bad commands";
        assert!(at_once || request.starts_with("PROPFIND /x") && in_time, "{request:.40}: {answer}");
        assert!(!answer.contains("mail.example"), "nothing of the request is in the answer: {answer}");
    }
    // Without the request line, the headers are three bad commands.
    let answer = said(proxy.address(), &format!("{headers}{body}"));
    assert!(answer.ends_with("-ERR too many bad commands\r\n"), "{answer}");
    assert_eq!(answer.matches("-ERR unknown command").count(), 3, "{answer}");
    assert_eq!((dovecot.logins("alice"), dovecot.messages("alice")), (0, 1));
}

/// Everything the server sends; it may close the connection while the request is sent.
fn said(server: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(server).unwrap();
    stream.set_read_timeout(Some(crate::support::DEADLINE)).unwrap();
    let _ = stream.write_all(request.as_bytes());
    let mut said = Vec::new();
    let mut piece = [0; 1024];
    while let Ok(length) = stream.read(&mut piece)
        && length > 0
    {
        said.extend_from_slice(&piece[..length]);
    }
    String::from_utf8_lossy(&said).into_owned()
}

/// A server, a proxy in front of it, and the account that is attacked, which has not logged in yet.
fn a_victim() -> (Dovecot, Proxy, Account) {
    let dovecot = Dovecot::start_with_passwords(&[("alice", PASSWORD), ("bob", BOBS_PASSWORD)]);
    let proxy = Proxy::in_front_of(&dovecot);
    let alice = dovecot.account_at(proxy.address(), "alice");
    (dovecot, proxy, alice)
}

/// Makes all attempts at the same time: Dovecot delays each refusal by half a second.
fn at_once<T: Send>(tries: impl IntoIterator<Item = T>, attempt: impl Fn(T) + Sync) {
    thread::scope(|scope| {
        for one in tries {
            let attempt = &attempt;
            scope.spawn(move || attempt(one));
        }
    });
}

/// The reply to a wrong password with USER and PASS.
#[track_caller]
fn rejection(server: SocketAddr, user: &str, password: &str) -> String {
    let mut session = Dialogue::open(server);
    session.ok(&format!("USER {user}"));
    session.err(&format!("PASS {password}"))
}

/// The reply to a wrong password with AUTH PLAIN.
#[track_caller]
fn rejection_of_plain(server: SocketAddr, user: &str, password: &str) -> String {
    let mut session = Dialogue::open(server);
    session.send("AUTH PLAIN");
    assert_eq!(session.line(), "+ ");
    session.err(&plain(user, password))
}

/// The reply to a wrong password with AUTH LOGIN.
#[track_caller]
fn rejection_of_login(server: SocketAddr, user: &str, password: &str) -> String {
    let mut session = Dialogue::open(server);
    session.send("AUTH LOGIN");
    assert!(session.line().starts_with("+ "));
    session.send(&STANDARD.encode(user));
    let reply = session.line();
    if reply.starts_with("-ERR") {
        return reply;
    }
    assert!(reply.starts_with("+ "), "{reply}");
    session.err(&STANDARD.encode(password))
}

/// A SASL PLAIN response.
fn plain(user: &str, password: &str) -> String {
    STANDARD.encode(format!("\0{user}\0{password}"))
}
