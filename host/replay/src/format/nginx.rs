//! The login lines of nginx as a mail proxy: its error log at level `info`, as `ngx_mail_handler.c`
//! and `ngx_mail_proxy_module.c` write it (checked against nginx 1.22):
//!
//! ```text
//! 2026/11/27 22:11:26 [info] 812#812: *56 client logged in, client: 192.0.2.7, server: 0.0.0.0:110, login: "alice", upstream: 127.0.0.1:1110, [192.0.2.7:50312-198.51.100.1:110] <=> [127.0.0.1:50400-127.0.0.1:1110]
//! 2026/11/27 22:11:26 [info] 812#812: *57 client login failed: "Invalid login or password" while in http auth state, client: 192.0.2.7, server: 0.0.0.0:110, login: "alice"
//! ```

use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::fields::{address, between};
use super::{ParsedLine, timestamp, user_name};
use crate::calendar::Calendar;
use crate::entry::Entry;
use reprieve_policy_host::Ending;

static CLIENT: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(", client: "));
/// Ports of SMTP and IMAP: nginx does not log the protocol.
const OTHER_PROTOCOLS: [u16; 6] = [25, 143, 465, 587, 993, 2525];

/// Parses a line of the error log.
pub(super) fn parse(line: &str, calendar: &mut Calendar) -> ParsedLine {
    if CLIENT.find(line.as_bytes()).is_none() {
        return ParsedLine::NoLogin;
    }
    let Some((timestamp, rest)) = timestamp::parse_prefix(line) else { return ParsedLine::NoLogin };
    // [info] 812#812: *56 message
    let Some((_, message)) = rest.strip_prefix('[').and_then(|rest| rest.split_once(": *")) else {
        return ParsedLine::NoLogin;
    };
    let Some((_, message)) = message.split_once(' ') else { return ParsedLine::NoLogin };
    let ending = if message.starts_with("client logged in") {
        Ending::Authenticated
    } else if message.starts_with("client login failed: ")
        || message.starts_with("upstream sent invalid response: \"-ERR")
    {
        Ending::Rejected
    } else {
        return ParsedLine::NoLogin;
    };
    let (Some(server), Some(peer)) =
        (between(message, ", server: ", ","), between(message, ", client: ", ","))
    else {
        return ParsedLine::Malformed("a login without client, server and login");
    };
    let local = address(server);
    if OTHER_PROTOCOLS.contains(&local.port()) {
        return ParsedLine::NoLogin;
    }
    let Some((_, rest)) = message.split_once(", login: \"") else {
        return ParsedLine::Malformed("a login without login: \"…\"");
    };
    let user =
        rest.rsplit_once("\", upstream: ").or_else(|| rest.rsplit_once('"')).map_or(rest, |(user, _)| user);
    let Some(user) = user_name(user) else { return ParsedLine::InvalidUserName };
    let Some(at_ms) = timestamp.resolve(calendar) else { return ParsedLine::Malformed("no such date") };
    // The client's port is only in the pair of addresses at the end.
    let mut peer = address(peer);
    if let Some(pair) = rest.rsplit_once(", [").and_then(|(_, pair)| pair.split_once('-')) {
        let with_port = address(pair.0);
        if with_port.ip() == peer.ip() {
            peer = with_port;
        }
    }
    ParsedLine::login(Entry { peer, local, ..Entry::new(at_ms, user, ending) })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{calendar, one, utc_ms};
    use super::*;

    fn parse_message(rest: &str) -> ParsedLine {
        parse(&format!("2026/11/27 22:11:26 [info] 812#812: *56 {rest}"), &mut calendar())
    }

    #[test]
    fn lines_of_nginx_1_22_are_parsed() {
        for (line, user, ending) in [
            (
                "2026/11/27 22:33:02 [info] 15168#15168: *1 client logged in, client: 127.0.0.1, server: 127.0.0.1:18110, login: \"alice\", upstream: 127.0.0.1:18992",
                "alice",
                Ending::Authenticated,
            ),
            (
                "2026/11/27 22:33:02 [info] 15168#15168: *4 client login failed: \"Invalid login or password\" while in http auth state, client: 127.0.0.1, server: 127.0.0.1:18110, login: \"mallory\"",
                "mallory",
                Ending::Rejected,
            ),
            (
                "2026/11/27 22:33:02 [info] 15168#15168: *6 upstream sent invalid response: \"-ERR [AUTH] no\" while reading response from upstream, client: 127.0.0.1, server: 127.0.0.1:18110, login: \"bob\", upstream: 127.0.0.1:18992",
                "bob",
                Ending::Rejected,
            ),
        ] {
            let login = one(parse(line, &mut calendar()));
            assert_eq!((&*login.user, login.outcome), (user, Some(ending)));
            assert_eq!(login.local.to_string(), "127.0.0.1:18110");
        }
    }

    #[test]
    fn accepted_and_rejected_logins_are_parsed() {
        let login = one(parse_message(
            "client logged in, client: 192.0.2.7, server: 0.0.0.0:110, login: \"alice\", upstream: 127.0.0.1:1110, [192.0.2.7:50312-198.51.100.1:110] <=> [127.0.0.1:50400-127.0.0.1:1110]",
        ));
        assert_eq!((&*login.user, login.outcome), ("alice", Some(Ending::Authenticated)));
        assert_eq!(login.peer.to_string(), "192.0.2.7:50312");
        assert_eq!((login.local.port(), login.at_ms), (110, utc_ms("2026-11-27T22:11:26Z")));
        for rest in [
            "client login failed: \"Invalid login or password\" while in http auth state, client: 192.0.2.7, server: 0.0.0.0:110, login: \"alice\"",
            "upstream sent invalid response: \"-ERR [AUTH] no\" while reading response from upstream, client: 192.0.2.7, server: 0.0.0.0:995, login: \"alice\", upstream: 127.0.0.1:1110",
        ] {
            let login = one(parse_message(rest));
            assert_eq!((&*login.user, login.outcome), ("alice", Some(Ending::Rejected)), "{rest}");
        }
    }

    #[test]
    fn other_lines_are_ignored() {
        for rest in [
            "client 192.0.2.7:50312 connected to 0.0.0.0:110",
            "proxied session done, client: 192.0.2.7, server: 0.0.0.0:110, login: \"alice\", upstream: 127.0.0.1:1110",
            "client logged in, client: 192.0.2.7, server: 0.0.0.0:143, login: \"alice\", upstream: 127.0.0.1:143",
            "open() \"/x\" failed, client: 192.0.2.7, server: _, request: \"GET / HTTP/1.1\"",
        ] {
            assert!(matches!(parse_message(rest), ParsedLine::NoLogin), "{rest}");
        }
        let without_login =
            parse_message("client logged in, client: 192.0.2.7, server: 0.0.0.0:110, upstream: x");
        assert!(matches!(without_login, ParsedLine::Malformed(_)));
    }
}
