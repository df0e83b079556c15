//! Dialogues before the login.

use super::*;
use crate::capability::Offer;
use crate::credential::Mechanisms;
use crate::line::{LineBuffer, NextLine};

fn events(lines: &[&str], capabilities: &Capabilities) -> (String, AuthorizationEvent) {
    let mut authorization = Authorization::new(Some(b'*'));
    let mut out = Vec::new();
    let mut last = AuthorizationEvent::Continue;
    for line in lines {
        last = authorization.line(line.as_bytes(), capabilities, &mut out);
        if !matches!(
            last,
            AuthorizationEvent::Continue | AuthorizationEvent::Bad | AuthorizationEvent::Refused
        ) {
            break;
        }
    }
    (String::from_utf8(out).unwrap(), last)
}

fn talk(lines: &[&str]) -> (String, Option<Credentials>) {
    match events(lines, &Capabilities::default()) {
        (out, AuthorizationEvent::Login(credentials)) => (out, Some(*credentials)),
        (out, _) => (out, None),
    }
}

fn everything() -> Capabilities {
    let mechanisms = Mechanisms::of(&Mechanism::ALL);
    Capabilities::new(&Offer { mechanisms, stls: true, ..Offer::default() })
}

#[test]
fn user_and_pass_complete_a_login() {
    let (out, credentials) = talk(&["user alice", "pass  a STAT QUIT b "]);
    let credentials = credentials.unwrap();
    assert_eq!(out, "+OK\r\n");
    assert_eq!(&*credentials.user, b"alice");
    assert_eq!(credentials.secret.expose(), b" a STAT QUIT b ");
}

#[test]
fn plain_works_with_and_without_an_initial_response() {
    let (out, credentials) = talk(&["AUTH PLAIN", "AGEAYg=="]);
    assert_eq!(out, "+ \r\n");
    assert_eq!(credentials.unwrap().secret.expose(), b"b");
    let (out, credentials) = talk(&["AUTH PLAIN AGEAYg=="]);
    assert_eq!(out, "");
    assert_eq!(&*credentials.unwrap().user, b"a");
}

#[test]
fn login_asks_for_user_name_and_password() {
    let (out, credentials) = talk(&["AUTH LOGIN", "YQ==", "Yg=="]);
    assert_eq!(out, "+ VXNlcm5hbWU6\r\n+ UGFzc3dvcmQ6\r\n");
    assert_eq!(credentials.unwrap().secret.expose(), b"b");
    assert!(talk(&["AUTH LOGIN YQ==", "Yg=="]).1.is_some());
}

#[test]
fn a_star_cancels_a_sasl_exchange_and_commands_go_on() {
    let (out, credentials) = talk(&["AUTH PLAIN", "*", "NOOP"]);
    assert_eq!(out, "+ \r\n-ERR authentication cancelled\r\n+OK\r\n");
    assert!(credentials.is_none());
}

#[test]
fn commands_about_messages_need_a_login() {
    for command in ["STAT", "LIST", "UIDL", "RETR 1", "DELE 1", "RSET", "TOP 1 1", "LAST"] {
        assert_eq!(talk(&[command]).0, "-ERR log in first\r\n", "{command}");
    }
}

#[test]
fn pass_needs_user_before_it() {
    assert_eq!(talk(&["PASS x"]).0, "-ERR USER comes first\r\n");
    assert!(talk(&["USER a", "STAT", "PASS x"]).1.is_none());
    assert!(talk(&["USER a", "CAPA", "PASS x"]).1.is_some());
}

#[test]
fn auth_without_arguments_lists_the_mechanisms() {
    assert_eq!(talk(&["AUTH"]).0, "+OK\r\nPLAIN\r\nLOGIN\r\n.\r\n");
    assert_eq!(talk(&["AUTH CRAM-MD5"]).0, "-ERR mechanism is not offered\r\n");
    assert_eq!(talk(&["APOP a 0123"]).0, "-ERR mechanism is not offered\r\n");
}

#[test]
fn quit_is_answered_before_login() {
    let (out, event) = events(&["quit"], &Capabilities::default());
    assert!(matches!(event, AuthorizationEvent::Quit));
    assert_eq!(out, "+OK bye\r\n");
}

#[test]
fn mechanisms_that_reveal_the_secret_are_refused_on_cleartext_connections() {
    let mechanisms = Mechanisms::of(&[Mechanism::CramMd5]);
    let cleartext = Capabilities::new(&Offer { mechanisms, stls: true, ..Offer::default() });
    for line in ["USER a", "PASS b", "AUTH PLAIN AGEAYg==", "AUTH LOGIN", "AUTH XOAUTH2"] {
        let (out, event) = events(&[line], &cleartext);
        assert_eq!(out, "-ERR cleartext login is not possible here, use TLS\r\n", "{line}");
        assert!(matches!(event, AuthorizationEvent::Refused));
    }
    assert!(
        matches!(events(&["AUTH CRAM-MD5"], &cleartext).1, AuthorizationEvent::ChallengeResponse(login) if matches!(*login, ChallengeResponse::CramMd5))
    );
    assert!(matches!(events(&["STLS"], &cleartext).1, AuthorizationEvent::StartTls));
    assert_eq!(talk(&["STLS"]).0, "-ERR STLS is not possible here\r\n");
}

#[test]
fn master_users_are_recognised_by_separator_and_by_authorization_identity() {
    let by_name = talk(&["USER alice*root", "PASS x"]).1.unwrap();
    assert_eq!((&*by_name.user, by_name.authorization_id.as_deref()), (&b"root"[..], Some(&b"alice"[..])));
    // alice NUL root NUL x
    let by_plain = talk(&["AUTH PLAIN YWxpY2UAcm9vdAB4"]).1.unwrap();
    assert_eq!(
        (&*by_plain.user, by_plain.authorization_id.as_deref(), by_plain.separator),
        (&b"root"[..], Some(&b"alice"[..]), None)
    );
}

#[test]
fn every_other_mechanism_leads_to_its_own_event() {
    let all = everything();
    let encoded = |message: &[u8]| String::from_utf8(sasl::encode(message).to_vec()).unwrap();
    let token = encoded(b"user=a\x01auth=Bearer t\x01\x01");
    let AuthorizationEvent::Login(login) = events(&[&format!("AUTH XOAUTH2 {token}")], &all).1 else {
        panic!()
    };
    assert_eq!((&*login.user, login.mechanism), (&b"a"[..], Mechanism::Xoauth2));
    assert!(matches!(events(&["AUTH EXTERNAL ="], &all).1, AuthorizationEvent::External(None)));
    assert!(matches!(events(&["AUTH EXTERNAL", "YQ=="], &all).1, AuthorizationEvent::External(Some(_))));
    let first = encoded(b"n,,n=a,r=nonce");
    let (out, event) = events(&["AUTH SCRAM-SHA-256", &first], &all);
    assert_eq!(out, "+ \r\n");
    let AuthorizationEvent::ChallengeResponse(login) = event else { panic!() };
    assert!(matches!(&*login, ChallengeResponse::Scram { user, .. } if &**user == b"a"));
    let event = events(&["APOP a 0123456789abcdef"], &all).1;
    let AuthorizationEvent::ChallengeResponse(login) = event else { panic!() };
    assert!(matches!(&*login, ChallengeResponse::Apop { user, .. } if &**user == b"a"));
    assert_eq!(events(&["AUTH CRAM-MD5 YQ=="], &all).0, "-ERR not a message of this mechanism\r\n");
}

#[test]
fn only_lines_that_carry_a_login_may_be_longer_than_commands() {
    let mut authorization = Authorization::default();
    for (beginning, limit) in [
        ("STAT x", COMMAND_LIMIT),
        ("", COMMAND_LIMIT),
        ("PASS", COMMAND_LIMIT),
        ("auth plain ", LOGIN_LIMIT),
        ("USER x", LOGIN_LIMIT),
        ("pass x", LOGIN_LIMIT),
        ("APOP x", LOGIN_LIMIT),
    ] {
        assert_eq!(
            authorization.line_limit(beginning.as_bytes()),
            COMMAND_LIMIT,
            "{beginning}: a short line needs no other limit"
        );
        let long = beginning.to_owned() + &"x".repeat(COMMAND_LIMIT);
        assert_eq!(authorization.line_limit(long.as_bytes()), limit, "{beginning}");
    }
    authorization.line(b"AUTH PLAIN", &Capabilities::default(), &mut Vec::new());
    assert_eq!(authorization.line_limit(b""), LOGIN_LIMIT);
}

/// The replies to what arrives in these parts, with the events that end a session.
fn conversation(parts: &[&[u8]]) -> Vec<String> {
    let mut authorization = Authorization::default();
    let mut buffer = LineBuffer::default();
    let mut steps = Vec::new();
    for part in parts {
        buffer.push(part);
        loop {
            let mut out = Vec::new();
            let limit = authorization.line_limit(buffer.rest());
            let event = match buffer.next_line(limit) {
                NextLine::Line => authorization.line(buffer.line(), &everything(), &mut out),
                NextLine::TooLong => authorization.too_long(buffer.line(), &mut out),
                NextLine::Incomplete => break,
            };
            steps.push(format!("{event:?} {}", out.escape_ascii()));
        }
    }
    steps
}

#[test]
fn the_line_after_one_that_is_too_long_has_a_limit_of_its_own() {
    // What is left of the long line arrives with the next one, or before it.
    let long = [b'x'; 300];
    let more = [&[b'x'; 10][..], b"\r\nPASS ", &[b'y'; 300], b"\r\n"].concat();
    let apart = conversation(&[b"USER a\r\n", &long, &more[..12], &more[12..]]);
    assert!(apart.last().unwrap().starts_with("Refused -ERR USER comes first"), "{apart:?}");
    assert_eq!(conversation(&[b"USER a\r\n", &long, &more]), apart);
}

#[test]
fn a_line_that_is_too_long_means_the_same_however_it_arrives() {
    let lines = [
        [&[b'x'; 280][..], b" / HTTP/1.1\r\n"].concat(),
        [&b"GET /"[..], &[b'x'; 280], b" HTTP/1.1\r\n"].concat(),
        [&b"AUTH"[..], &[b' '; LOGIN_LIMIT], b"PLAIN\r\n"].concat(),
    ];
    for line in lines {
        let single: Vec<&[u8]> = line.chunks(1).collect();
        assert_eq!(conversation(&single), conversation(&[&line]));
    }
}

/// The reply to lines of which the last is too long, and how the session goes on.
fn too_long(lines: &[&str], beginning: &str) -> (String, String) {
    let mut authorization = Authorization::default();
    let mut out = Vec::new();
    for line in lines {
        authorization.line(line.as_bytes(), &everything(), &mut out);
    }
    out.clear();
    let line = beginning.to_owned() + &"x".repeat(COMMAND_LIMIT);
    let event = match authorization.too_long(line.as_bytes(), &mut out) {
        AuthorizationEvent::Unusable(login) => {
            assert_eq!(out, login.reply());
            format!("{:?} of {:?}", login.mechanism, login.user.escape_ascii().to_string())
        }
        event => format!("{event:?}"),
    };
    assert!(matches!(authorization.state, State::Start), "{beginning}");
    (String::from_utf8(out).unwrap(), event)
}

#[test]
fn what_a_line_that_is_too_long_means_depends_on_its_beginning() {
    let unusable = format!("-ERR [AUTH] login is longer than {LOGIN_LIMIT} bytes\r\n");
    for (lines, beginning, reply, event) in [
        (&[][..], "NOOP ", "-ERR line too long\r\n", "Bad"),
        (&[], "PASS ", "-ERR line too long\r\n", "Refused"),
        (&[], "USER ", "-ERR line too long\r\n", "Refused"),
        (&[], "GET /", "-ERR this is a POP3 server\r\n", "Http"),
        (&["USER a"], "POST /", "-ERR this is a POP3 server\r\n", "Http"),
        (&["USER a"], "pass ", &unusable, "UserPass of \"a\""),
        (&["USER a"], "DELE ", "-ERR line too long\r\n", "Bad"),
        (&[], "AUTH PLAIN ", &unusable, "Plain of \"\""),
        (&["USER a"], "AUTH   xoauth2 ", &unusable, "Xoauth2 of \"\""),
        (&[], "AUTH PLAIN", "-ERR mechanism is not offered\r\n", "Refused"),
        (&["AUTH PLAIN"], "GET /", &unusable, "Plain of \"\""),
        (&["AUTH LOGIN"], "", &unusable, "Login of \"\""),
        (&["AUTH LOGIN", "YQ=="], "", &unusable, "Login of \"a\""),
    ] {
        let expected = (reply.to_owned(), event.to_owned());
        assert_eq!(too_long(lines, beginning), expected, "{lines:?} {beginning}");
    }
}

#[test]
fn of_a_line_that_is_too_long_only_the_first_253_bytes_count() {
    let at = |position: usize| {
        let line = format!("AUTH {}PLAIN {}", " ".repeat(position - 5), "x".repeat(COMMAND_LIMIT));
        let event = Authorization::default().too_long(line.as_bytes(), &mut Vec::new());
        matches!(event, AuthorizationEvent::Unusable(_))
    };
    // The mechanism and the blank after it end at byte 253.
    assert!(at(COMMAND_LIMIT - 2 - 6));
    assert!(!at(COMMAND_LIMIT - 2 - 4));
}

#[test]
fn http_is_told_from_unknown_commands() {
    for (line, reply, event) in [
        ("GET / HTTP/1.1", "-ERR this is a POP3 server\r\n", "Http"),
        ("XYZ a", "-ERR unknown command\r\n", "Bad"),
    ] {
        let (out, found) = events(&[line], &Capabilities::default());
        assert_eq!((&*out, format!("{found:?}")), (reply, event.to_owned()));
    }
}

#[test]
fn mechanisms_that_tls_would_not_bring_are_not_offered() {
    // Without STLS, and one that does not reveal the secret.
    for (mechanism, stls) in [("XOAUTH2", false), ("CRAM-MD5", true)] {
        let offer = Offer { mechanisms: Mechanisms::default(), stls, ..Offer::default() };
        let (out, _) = events(&[&format!("AUTH {mechanism}")], &Capabilities::new(&offer));
        assert_eq!(out, "-ERR mechanism is not offered\r\n", "{mechanism}");
    }
}

#[test]
fn the_limit_of_a_command_counts_its_line_end() {
    let authorization = Authorization::default();
    let beginning = |length: usize| [b"PASS ", &*vec![b'x'; length - 5]].concat();
    assert_eq!(authorization.line_limit(&beginning(COMMAND_LIMIT - 1)), COMMAND_LIMIT);
    assert_eq!(authorization.line_limit(&beginning(COMMAND_LIMIT)), LOGIN_LIMIT);
}
