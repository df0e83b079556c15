//! Whether two replies to a command mean the same.

use super::plan::Say;
use super::wire::Reply;

/// What differs in the replies to a line; None if nothing does that is not allowed to.
pub fn difference(say: &Say, line: &[u8], straight: &Reply, through: &Reply) -> Option<&'static str> {
    // Cyrus refuses a second USER and keeps the first; the users of a dialogue are the same.
    if straight.status() == b"-ERR [AUTH] Must give PASS command" {
        return None;
    }
    if straight.sign() != through.sign() {
        return Some("the status differs");
    }
    let upper = line.to_ascii_uppercase();
    let verb = upper.split(|&byte| byte == b' ').next().unwrap_or_default();
    let is_login = !matches!(say, Say::Line(_) | Say::User(_));
    // Cyrus calls that a failed login, Reprieve and Dovecot a command that comes too early.
    let lacks_user = straight.status() == b"-ERR [AUTH] Must give USER command";
    if is_login && !lacks_user && code(straight) != code(through) {
        return Some("the response code differs");
    }
    if !straight.is_ok() {
        // Texts of refusals are Reprieve's own.
        return None;
    }
    match verb {
        // The list of capabilities is Reprieve's own, and so is the list of mechanisms.
        b"CAPA" | b"AUTH" => None,
        // Before the login the mail server is asked something else.
        b"NOOP" => None,
        // The totals, or the row of one message.
        b"STAT" => (straight.status() != through.status()).then_some("the totals differ"),
        b"LIST" | b"UIDL" if straight.body().is_none() => {
            (straight.status() != through.status()).then_some("the row differs")
        }
        _ => (straight.body() != through.body()).then_some("the lines differ"),
    }
}

/// The response code of a refusal.
fn code(reply: &Reply) -> Option<&[u8]> {
    let text = reply.status().strip_prefix(b"-ERR [")?;
    text.split(|&byte| byte == b']').next()
}

#[test]
fn each_difference_that_is_not_allowed_is_found() {
    let line = |status: &str| Reply::Line(status.as_bytes().to_vec(), None);
    let lines = |body: &str| Reply::Line(b"+OK".to_vec(), Some(body.as_bytes().to_vec()));
    for (command, straight, through, differs) in [
        ("NOOP", line("+OK"), line("+OK nothing"), false),
        ("NOOP", line("+OK"), line("-ERR"), true),
        ("NOOP", line("+OK"), Reply::End, true),
        ("STAT", line("+OK 2 20"), line("+OK 2 20"), false),
        ("stat x", line("+OK 2 20"), line("+OK 2 21"), true),
        ("List 1", line("+OK 1 20"), line("+OK 1 21"), true),
        ("UIDL", lines("1 a\r\n"), lines("1 b\r\n"), true),
        ("RETR 1", lines("a\r\n"), lines("a\r\n"), false),
        ("RETR 1", lines("a\r\n"), lines("a\r\n(cut)"), true),
        ("DELE 1", line("-ERR gone"), line("-ERR no such message"), false),
        ("CAPA", lines("TOP\r\n"), lines("UIDL\r\n"), false),
    ] {
        let found = difference(&Say::line(command), command.as_bytes(), &straight, &through);
        assert_eq!(found.is_some(), differs, "{command}: {straight:?}, {through:?}");
    }
    let (wrong, busy) = (line("-ERR [AUTH] wrong"), line("-ERR [SYS/TEMP] busy"));
    assert!(difference(&Say::Pass(true), b"PASS x", &wrong, &busy).is_some(), "response codes of a login");
    assert!(difference(&Say::line("DELE 1"), b"DELE 1", &wrong, &busy).is_none(), "those of a command");
}
