//! Commands that the RFCs leave open or forbid: how Dovecot answers each of them, and how Reprieve
//! does. If the two differ, the table says why.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::support::account::PASSWORD;
use crate::support::dialogue::Dialogue;
use crate::support::dovecot::{Dovecot, Features};
use crate::support::proxy::{Proxy, Setup};
use crate::support::scripted::Scripted;
use crate::support::until;

/// Whether a line is answered with `+OK` or `-ERR`.
use Sign::{Accepted, Refused};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    Accepted,
    Refused,
}

struct Row {
    line: &'static str,
    dovecot: Sign,
    reprieve: Sign,
    why: &'static str,
}

const fn row(line: &'static str, dovecot: Sign, reprieve: Sign, why: &'static str) -> Row {
    Row { line, dovecot, reprieve, why }
}

/// Before the login. RFC 1939 defines no arguments for these commands, and does not say what to do
/// with arguments.
const BEFORE: [Row; 20] = [
    row("QUIT x", Accepted, Accepted, "a client may always leave"),
    row("quit", Accepted, Accepted, "RFC 1939, section 3: keywords in any case"),
    row("CAPA x", Accepted, Accepted, "as Dovecot; arguments are dropped"),
    row("CAPA ", Accepted, Accepted, "trailing blanks are harmless"),
    row("NOOP", Refused, Accepted, "RFC 1939 has it after the login only; it is harmless"),
    row("STAT", Refused, Refused, "RFC 1939, section 5: after the login"),
    row("STAT x", Refused, Refused, "the same"),
    row("LAST", Refused, Refused, "of RFC 1460, gone since"),
    row(" STAT", Refused, Refused, "RFC 1939, section 3: a command begins with its keyword"),
    row("", Refused, Refused, "the same"),
    row("+ok", Refused, Refused, "a reply is not a command"),
    row("UTF8", Refused, Refused, "RFC 6856 is not relayed"),
    row("LANG *", Refused, Refused, "the same"),
    row("APOP alice 0123", Refused, Refused, "not offered"),
    row("AUTH NTLM", Refused, Refused, "not offered"),
    row(
        "AUTH",
        Accepted,
        Accepted,
        "before RFC 5034 it requested the list of mechanisms; clients still use it",
    ),
    row("USER alice", Accepted, Accepted, "RFC 1939, section 7"),
    row("USER al ice", Accepted, Accepted, "user names with blanks exist"),
    row("USER", Accepted, Refused, "RFC 1939, section 7: it needs a name"),
    row("PASS x", Refused, Refused, "RFC 1939, section 7: USER comes first"),
];

/// After the login, with one message in the maildrop.
const AFTER: [Row; 33] = [
    row("QUIT x", Accepted, Accepted, "after a refusal, a client that hangs up would lose its deletions"),
    row("STAT x", Accepted, Accepted, "as Dovecot; arguments are dropped"),
    row("STAT ", Accepted, Accepted, "the same"),
    row("NOOP x", Accepted, Accepted, "the same"),
    row("RSET x", Accepted, Accepted, "the same"),
    row("CAPA x", Accepted, Accepted, "the same"),
    row("LIST 1", Accepted, Accepted, "RFC 1939, section 5"),
    row("LIST  1", Accepted, Accepted, "both accept several blanks"),
    row("LIST 1 ", Refused, Accepted, "old clients send trailing blanks; only one number can be meant"),
    row("LIST 1 2", Refused, Refused, "ambiguous"),
    row("LIST 0000000001", Accepted, Accepted, "leading zeros do not change a number"),
    row("LIST 00000000000000000001", Accepted, Accepted, "any number of them"),
    row("LIST +1", Refused, Refused, "RFC 1939: digits"),
    row("LIST -1", Refused, Refused, "the same"),
    row("LIST 0", Refused, Refused, "there is no message 0"),
    row("LIST 4294967297", Refused, Refused, "it is not message 1"),
    row("LIST 18446744073709551617", Refused, Refused, "the same"),
    row("UIDL 0000000001", Accepted, Accepted, "as LIST"),
    row("UIDL 1 ", Refused, Accepted, "as LIST"),
    row("RETR 0000000001", Accepted, Accepted, "as LIST"),
    row("RETR 4294967297", Refused, Refused, "as LIST"),
    row("RETR", Refused, Refused, "RFC 1939, section 5: it needs a number"),
    row("TOP 1 0", Accepted, Accepted, "RFC 1939, section 7"),
    row("TOP 0000000001  00000000000000", Accepted, Accepted, "as LIST"),
    row("TOP 1 4294967296", Accepted, Accepted, "more lines than the message has means all of them"),
    row("TOP 1 18446744073709551615", Accepted, Accepted, "the same"),
    row("TOP 1 18446744073709551616", Refused, Refused, "neither accepts numbers beyond 64 bits"),
    row("TOP 1 -1", Refused, Refused, "RFC 1939, section 7: not negative"),
    row("TOP 1", Refused, Refused, "RFC 1939, section 7: it needs both"),
    row("LAST", Refused, Refused, "of RFC 1460, gone since"),
    row("+ok", Refused, Refused, "a reply is not a command"),
    row("USER alice", Refused, Refused, "RFC 1939, section 4: before the login"),
    row("STLS", Refused, Refused, "RFC 2595, section 4: before the login"),
];

fn front(node: SocketAddr, interval: &str) -> Proxy {
    let policy = format!("settings = {{ interval = \"{interval}\" }}");
    Setup { policy: &policy, ..Setup::default() }.in_front_of(&[node])
}

/// The reply to a line, with the rows of listings and messages.
fn answer(session: &mut Dialogue, line: &str) -> (Sign, Vec<String>) {
    session.send(line);
    let mut rows = vec![session.line()];
    let sign = if rows[0].starts_with("+OK") { Accepted } else { Refused };
    let verb = line.split(' ').next().unwrap().to_ascii_uppercase();
    if sign == Accepted && (matches!(&*verb, "CAPA" | "RETR" | "TOP") || line == "AUTH") {
        rows.extend(session.body());
    }
    (sign, rows)
}

#[test]
fn each_line_before_the_login_is_answered_as_the_table_says() {
    let dovecot = Dovecot::start(&["alice"]);
    let front = front(dovecot.address(), "1h");
    for Row { line, dovecot: theirs, reprieve: ours, why } in BEFORE {
        for (server, expected) in [(dovecot.address(), theirs), (front.address(), ours)] {
            let (sign, rows) = answer(&mut Dialogue::open(server), line);
            assert_eq!(sign, expected, "{line:?} at {server}: {rows:?}; decided: {why}");
        }
    }
}

#[test]
fn each_line_after_the_login_is_answered_as_the_table_says_relayed_and_posed() {
    let dovecot = Dovecot::start(&["alice"]);
    dovecot.deliver("alice");
    let (relaying, posing) = (front(dovecot.address(), "0s"), front(dovecot.address(), "1h"));
    let mut first = Dialogue::log_in(&dovecot.account_at(posing.address(), "alice"));
    first.maildrop();
    first.quit();
    for Row { line, dovecot: theirs, reprieve: ours, why } in AFTER {
        let mut said = Vec::new();
        for (server, expected) in
            [(dovecot.address(), theirs), (relaying.address(), ours), (posing.address(), ours)]
        {
            let mut session = Dialogue::log_in(&dovecot.account_at(server, "alice"));
            let (sign, rows) = answer(&mut session, line);
            assert_eq!(sign, expected, "{line:?} at {server}: {rows:?}; decided: {why}");
            said.push(rows);
            if line.starts_with("QUIT") {
                session.closed();
            } else {
                session.quit();
            }
        }
        // Every kind of session shows Dovecot's own content.
        if theirs == Accepted
            && ["STAT", "LIST", "UIDL", "TOP", "RETR"].contains(&line.split(' ').next().unwrap())
        {
            let shown =
                |rows: &[String]| rows.iter().skip(usize::from(rows.len() > 1)).cloned().collect::<Vec<_>>();
            assert_eq!(shown(&said[1]), shown(&said[0]), "{line:?} relayed");
            assert_eq!(shown(&said[2]), shown(&said[0]), "{line:?} posed");
        }
    }
    until("the sessions were posed", || posing.server.counters().posed >= AFTER.len() as u64 - 6);
}

#[test]
fn a_token_without_a_user_name_is_refused_as_dovecot_does() {
    let features = Features { mechanisms: "oauthbearer xoauth2", ..Features::default() };
    let dovecot = Dovecot::start_with(&[("alice", PASSWORD)], features);
    let setup = Setup {
        server: "mechanisms = [\"USER\", \"XOAUTH2\", \"OAUTHBEARER\"]",
        pool: "",
        ..Setup::default()
    };
    let front = setup.in_front_of(&[dovecot.address()]);
    // RFC 7628, section 3.1, allows a message without a user name if the token has it. Then only
    // the mail server could tell whose login it is; Dovecot refuses it too.
    for (mechanism, message) in [
        ("OAUTHBEARER", "n,,\x01auth=Bearer t0ken\x01\x01"),
        ("OAUTHBEARER", "y,,\x01host=mail\x01auth=Bearer t0ken\x01\x01"),
        ("OAUTHBEARER", "n,a=,\x01auth=Bearer t0ken\x01\x01"),
        ("XOAUTH2", "user=\x01auth=Bearer t0ken\x01\x01"),
    ] {
        let command = format!("AUTH {mechanism} {}", STANDARD.encode(message));
        let mut directly = Dialogue::open(dovecot.address());
        directly.send(&command);
        let mut reply = directly.line();
        if reply.starts_with("+ ") {
            directly.send("");
            reply = directly.line();
        }
        assert!(reply.starts_with("-ERR"), "{message:?}: {reply}");
        let mut session = Dialogue::open(front.address());
        assert_eq!(session.err(&command), "-ERR [AUTH] user name is empty", "{message:?}");
        session.quit();
    }
}

/// RFC 1939, section 3: servers must send `+OK` and `-ERR` in upper case. As with Dovecot's proxy,
/// logins fail at a server that does not.
#[test]
fn a_mail_server_that_replies_in_lower_case_is_rejected() {
    for (greeting, accepted) in [("+ok ready", "+OK in"), ("+OK ready", "+ok in"), ("+Ok ready", "+OK in")] {
        let node = Scripted::start(move |conversation| {
            conversation.send(format!("{greeting}\r\n").as_bytes());
            while let Some(command) = conversation.read_command() {
                let reply = if command.starts_with("PASS") { accepted } else { "+OK" };
                conversation.send(format!("{reply}\r\n").as_bytes());
            }
        });
        let front = front(node.address(), "1h");
        let mut session = Dialogue::open(front.address());
        session.ok("USER alice");
        assert!(session.err("PASS x").starts_with("-ERR [SYS/TEMP]"), "{greeting} {accepted}");
    }
}
