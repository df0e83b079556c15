//! Signals over HTTP.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use super::{ADMIN, READ, SIGNALS, Site, check_signal, with_alice};
use crate::support::DEADLINE;
use crate::support::http::{Answer, ask_at};
use crate::support::mail_server;

fn send(admin: SocketAddr, line: &str, authorization: &str, body: &str) -> Answer {
    let authorization = format!("Authorization: {authorization}");
    let headers: &[&str] = if authorization.ends_with(' ') { &[] } else { &[&authorization] };
    ask_at(admin, line, headers, body).unwrap()
}

fn signal(site: &Site, line: &str, body: &str) -> Answer {
    send(site.admin, line, &format!("Bearer {SIGNALS}"), body)
}

#[test]
fn each_form_of_a_signal_lets_the_next_login_pass() {
    let (mail, site) = with_alice();
    let by_dovecot = r#"{"user":"alice","event":"messageNew","folder":"INBOX","imap-uidvalidity":1,"imap-uid":7,"from":"a@b","subject":"secret","snippet":"secret","unseen":1}"#;
    for (line, body, remembered, unknown) in [
        ("POST /new-mail", r#"{"users": ["alice", "bob"]}"#, 1, 1),
        ("PUT /new-mail/mail", r#"{"users": ["alice"]}"#, 1, 0),
        ("POST /new-mail/mail", "alice\r\nbob\r\ncarol\r\n", 1, 2),
        ("POST /new-mail", r#"{"pool": "mail", "users": ["alice"]}"#, 1, 0),
        ("PUT /new-mail/mail", by_dovecot, 1, 0),
    ] {
        check_signal(&site, &mail, "alice", || {
            let answer = signal(&site, line, body);
            assert_eq!(answer.status, 200, "{answer:?}");
            let counts: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
            assert_eq!(counts, serde_json::json!({"remembered": remembered, "unknown": unknown}));
        });
    }
    let logins = mail.logins("alice");
    let elsewhere = signal(&site, "PUT /new-mail", &by_dovecot.replace("INBOX", "Junk"));
    assert_eq!(elsewhere.status, 200, "{elsewhere:?}");
    site.poll("alice");
    assert_eq!(mail.logins("alice"), logins, "mail in another mailbox does not count");
    site.reprieve.signal("-TERM");
    let mut site = site;
    let log = site.reprieve.rest_of_log();
    assert!(!log.contains("secret") && !log.contains(SIGNALS), "{log}");
}

#[test]
fn the_token_for_signals_allows_signals_only() {
    let (mail, site) = with_alice();
    let body = r#"{"users": ["alice"]}"#;
    let basic = |token: &str| {
        use base64::Engine as _;
        format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("reprieve:{token}")))
    };
    for (line, authorization, status, said) in [
        ("POST /new-mail", String::new(), 401, "admin.new-mail-token-file"),
        ("POST /new-mail", format!("Bearer {READ}"), 403, "does not allow signals"),
        ("POST /new-mail", "Bearer wrong-token-0123456789".to_owned(), 401, "wrong"),
        ("POST /new-mail", basic(ADMIN), 401, "wrong"),
        ("GET /status", format!("Bearer {SIGNALS}"), 403, "signals of new mail only"),
        ("POST /reload", format!("Bearer {SIGNALS}"), 403, "signals of new mail only"),
        ("GET /store/users/alice", format!("Bearer {SIGNALS}"), 403, "signals of new mail only"),
        ("POST /takeover", format!("Bearer {SIGNALS}"), 403, "signals of new mail only"),
        ("POST /new-mail", format!("Bearer {ADMIN}"), 200, ""),
        ("POST /new-mail", basic(SIGNALS), 200, ""),
    ] {
        let answer = send(site.admin, line, &authorization, body);
        assert_eq!(answer.status, status, "{line} {authorization}: {answer:?}");
        assert!(answer.body.contains(said), "{answer:?}");
    }
    assert_eq!(mail.logins("alice"), 2, "the signals themselves log nobody in");
}

#[test]
fn a_signal_that_cannot_be_used_is_refused_with_a_reason() {
    let (_mail, site) = with_alice();
    let large = "a".repeat((64 << 10) + 1);
    let many = "user\n".repeat(1_001);
    for (line, body, status, said) in [
        ("POST /new-mail", "", 400, "names no user"),
        ("POST /new-mail", r#"{"users": "alice"}"#, 400, "JSON object is invalid"),
        ("POST /new-mail", r#"{"users": ["alice""#, 400, "JSON object is invalid"),
        ("POST /new-mail", &large, 413, "too large"),
        ("POST /new-mail", &many, 413, "1001 users"),
        ("POST /new-mail/male", "alice", 404, "the pools with signals of new mail are mail"),
        ("GET /new-mail", "", 405, ""),
    ] {
        let answer = signal(&site, line, body);
        assert_eq!(answer.status, status, "{line}: {answer:?}");
        assert!(answer.body.contains(said), "{answer:?}");
    }
    let gaps = |reason: &str| site.metric("reprieve_new_mail_gaps", &format!("reason=\"{reason}\""));
    assert_eq!((gaps("malformed"), gaps("limit")), (3.0, 2.0), "what was refused may be missing");
    let mail = mail_server(0);
    let without = Site::with(mail.address(), "", "");
    let answer = signal(&without, "POST /new-mail", "alice");
    assert_eq!(answer.status, 404, "{answer:?}");
    assert!(answer.body.contains("no pool has `notifications`"), "{answer:?}");
}

#[test]
fn a_flood_of_signals_is_limited() {
    let (_mail, site) = with_alice();
    let batch = "nobody\n".repeat(1_000);
    let limited =
        (0..200).map(|_| signal(&site, "POST /new-mail", &batch)).find(|answer| answer.status != 200);
    let limited = limited.expect("a limit");
    assert_eq!(limited.status, 429, "{limited:?}");
    assert!(limited.body.contains("fewer per second"), "{limited:?}");
    assert_eq!(site.metric("reprieve_new_mail_gaps", "reason=\"limit\""), 1.0);
}

/// What Dovecot's HTTP client does: it keeps the connection, and waits before it sends the body.
#[test]
fn one_connection_takes_many_signals_in_each_way_of_http() {
    let (mail, site) = with_alice();
    let mut stream = TcpStream::connect(site.admin).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut received = Vec::new();
    // Reads until the text has arrived, and returns everything up to its end.
    let mut expect = |stream: &mut TcpStream, text: &str| {
        loop {
            let said = String::from_utf8_lossy(&received).into_owned();
            if let Some(at) = said.find(text) {
                received.drain(..at + text.len());
                return said[..at + text.len()].to_owned();
            }
            let mut some = [0; 1024];
            let length = stream.read(&mut some).unwrap();
            assert!(length > 0, "the connection ended after {said:?}");
            received.extend_from_slice(&some[..length]);
        }
    };
    let head = format!(
        "POST /new-mail HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {SIGNALS}\r\nConnection: Keep-Alive\r\n",
        site.admin
    );
    let counts = r#"{"remembered":1,"unknown":0}"#;
    check_signal(&site, &mail, "alice", || {
        stream
            .write_all(format!("{head}Expect: 100-continue\r\nContent-Length: 5\r\n\r\n").as_bytes())
            .unwrap();
        let interim = expect(&mut stream, "\r\n\r\n");
        assert!(interim.starts_with("HTTP/1.1 100 "), "{interim}");
        stream.write_all(b"alice").unwrap();
        assert!(expect(&mut stream, counts).starts_with("HTTP/1.1 200 OK\r\n"));
    });
    check_signal(&site, &mail, "alice", || {
        let chunks = "2\r\nal\r\n3\r\nice\r\n0\r\n\r\n";
        stream.write_all(format!("{head}Transfer-Encoding: chunked\r\n\r\n{chunks}").as_bytes()).unwrap();
        assert!(expect(&mut stream, counts).starts_with("HTTP/1.1 200 OK\r\n"));
    });
}
