use super::super::tests::{calendar, one, utc_ms};
use super::*;
use reprieve_policy_host::Mechanism;

const SYSLOG: &str = "Nov 27 22:11:26 mx dovecot: pop3-login: ";
/// The default `login_log_format_elements` without the user name.
const ELEMENTS: &str = "method=PLAIN, rip=192.0.2.7, lip=198.51.100.1, mpid=812, TLS, session=<Kx7f/2p9q>";

fn parse(line: &str) -> ParsedLine {
    Dovecot::default().parse(line, &mut calendar())
}

/// How the logins of a line ended: `authenticated 1`, `rejected 2, abandoned 1`, empty for none.
fn endings(parsed: &ParsedLine) -> String {
    use reprieve_policy_host::Worded as _;
    match parsed {
        ParsedLine::Logins(logins) => {
            let ended =
                logins.iter().map(|login| (login.outcome.map_or("none", |ending| ending.word()), login));
            let endings: Vec<_> = ended.map(|(ending, login)| format!("{ending} {}", login.times)).collect();
            endings.join(", ")
        }
        ParsedLine::NoLogin => String::new(),
        other => format!("{other:?}"),
    }
}

/// One table of lines from Dovecot's sources, so long.
#[test]
fn every_kind_of_login_line_is_parsed() {
    for (words, expected) in [
        // Accepted.
        ("Login", "authenticated 1"),     // 2.2, 2.3
        ("Logged in", "authenticated 1"), // 2.4
        // Accepted by the destination of a proxy.
        ("proxy(alice): started proxying to 10.0.0.5:110", "authenticated 1"), // up to 2.3.9
        ("proxy(alice): started proxying to 10.0.0.5:110/al (master adm)", "authenticated 1"),
        (
            "proxy(alice,10.0.0.5:110): Started proxying to 10.0.0.5 from 10.0.0.1 (0.012 secs)",
            "authenticated 1",
        ), // 2.3.11
        (
            "proxy(alice,10.0.0.5:110): Started proxying to <10.0.0.5> (<be>) as user al (0.1 secs, 2 reconnects)",
            "authenticated 1",
        ),
        ("proxy(alice,be:110): Started proxying to remote host (0.004 secs)", "authenticated 1"), // 2.4
        // Rejected by the destination of a proxy: a line for each, with auth_verbose.
        ("proxy(alice): Login failed to 10.0.0.5:110: [AUTH] Authentication failed.", "rejected 1"), // up to 2.3.9
        ("proxy(alice): Login failed to 10.0.0.5:110/al (master adm): no", "rejected 1"),
        ("proxy(alice,10.0.0.5:110): Login failed: [AUTH] Authentication failed.", "rejected 1"), // 2.3.11
        ("proxy(alice,10.0.0.5:110): Login failed from 10.0.0.1 as user al (master adm): no", "rejected 1"),
        ("proxy(alice,10.0.0.5:110): Login failed: [SYS/TEMP] later", "unreachable 1"),
        // Not allowed to log in without TLS.
        ("Login failed: SSL required for authentication", "rejected 1"),
        ("Login failed: Plaintext authentication disabled", "rejected 1"), // up to 2.3
        ("Login failed: Cleartext authentication disabled", "rejected 1"), // 2.4
        // Rejected, logged at the end of the connection: up to 2.3.
        ("Disconnected (auth failed, 1 attempts in 2 secs)", "rejected 1"),
        ("Disconnected (auth failed, 3 attempts)", "rejected 3"),
        ("Aborted login (auth failed, 2 attempts in 9 secs)", "rejected 2"),
        ("Disconnected: Inactivity (auth failed, 1 attempts in 180 secs)", "rejected 1"),
        ("Disconnected: Aborted login by logging out (auth failed, 1 attempts in 1 secs)", "rejected 1"),
        (
            "Disconnected: Connection closed: SSL_read() failed (auth failed, 2 attempts in 1 secs)",
            "rejected 2",
        ),
        ("Disconnected: Too many bad commands (auth failed, 1 attempts in 2 secs)", "rejected 1"),
        ("Disconnected: Shutting down (auth failed, 1 attempts in 2 secs)", "rejected 1"),
        ("Aborted login (auth failed, 99999999999999999999 attempts in 2 secs)", "rejected 100"),
        ("Aborted login (authorization failed, 4 attempts in 9 secs)", "rejected 4"),
        ("Aborted login (user disabled)", "rejected 1"),
        ("Aborted login (password expired)", "rejected 1"),
        ("Aborted login (login disabled)", "rejected 1"),
        ("Disconnected (proxy dest auth failed)", "rejected 1"),
        ("Aborted login (tried to use disallowed plaintext auth)", "rejected 1"),
        ("Aborted login (tried to use unsupported auth mechanism)", "rejected 1"),
        ("Aborted login (sent invalid base64 in response)", "rejected 1"),
        ("Aborted login (cert required, client didn't start TLS)", "rejected 1"),
        ("Disconnected (client sent an invalid cert)", "rejected 1"),
        ("Disconnected (client didn't send a cert)", "rejected 1"),
        (
            "Maximum number of connections from user+IP exceeded (mail_max_userip_connections=10)",
            "rejected 1",
        ),
        (
            "Disconnected: Maximum number of connections from user+IP exceeded (mail_max_userip_connections=3)",
            "rejected 1",
        ),
        // Also an account that may not log in (`nologin`): up to 2.3.
        ("Disconnected: Aborted login by logging out (internal failure, 1 successful auths)", "rejected 1"),
        // No server checked the credentials: up to 2.3.
        ("Disconnected (auth service reported temporary failure)", "unreachable 1"),
        ("Disconnected: Auth process broken (auth process communication failure)", "unreachable 1"),
        ("Internal login failure (pid=812 id=3) (internal failure, 1 successful auths)", "unreachable 1"), // 2.2
        ("Disconnected: Internal login failure (pid=812 id=3)", "unreachable 1"), // 2.3
        // The client disconnected before the answer: up to 2.3.
        ("Disconnected (disconnected while authenticating, waited 7 secs)", "abandoned 1"),
        (
            "Timeout while finishing login (waited 30 secs) (disconnected while finishing login, waited 30 secs)",
            "abandoned 1",
        ),
        // No login, although the line may name a user: up to 2.3.
        (
            "Disconnected: Inactivity during authentication (client didn't finish SASL auth, waited 60 secs)",
            "",
        ),
        ("Aborted login (aborted authentication)", ""),
        ("Disconnected (no auth attempts in 5 secs)", ""),
        ("Disconnected (disconnected before auth was ready, waited 3 secs)", ""),
        // 2.4
        ("Login aborted: Connection closed (auth failed, 1 attempts in 0 secs) (auth_failed)", "rejected 1"),
        ("Login aborted: Logged out (auth failed, 3 attempts in 12 secs) (auth_failed)", "rejected 3"),
        (
            "Login aborted: Logged out (authorization failed, 2 attempts in 1 secs) (authorization_failed)",
            "rejected 2",
        ),
        ("Login aborted: Logged out (user disabled, 2 attempts in 1 secs) (user_disabled)", "rejected 2"),
        (
            "Login aborted: Logged out (password expired, 1 attempts in 1 secs) (password_expired)",
            "rejected 1",
        ),
        ("Login aborted: Logged out (login disabled, 1 attempts in 1 secs) (login_disabled)", "rejected 1"),
        (
            "Login aborted: Logged out (anonymous logins disabled, 1 attempts in 1 secs) (anonymous_auth_disabled)",
            "rejected 1",
        ),
        (
            "Login aborted: Logged out (credentials contain control characters, 1 attempts in 1 secs) (x)",
            "rejected 1",
        ),
        (
            "Login aborted: Logged out (sent invalid base64 in response, 2 attempts in 1 secs) (invalid_base64)",
            "rejected 2",
        ),
        (
            "Login aborted: Logged out (tried to use unsupported auth mechanism, 1 attempts in 1 secs) (invalid_mech)",
            "rejected 1",
        ),
        (
            "Login aborted: Logged out (tried to use disallowed cleartext auth, 1 attempts in 1 secs) (cleartext_auth_disabled)",
            "rejected 1",
        ),
        (
            "Login aborted: Connection closed (cert required, client didn't start TLS) (client_ssl_not_started)",
            "rejected 1",
        ),
        (
            "Login aborted: Connection closed (client sent an untrusted cert) (client_ssl_cert_untrusted)",
            "rejected 1",
        ),
        (
            "Login aborted: Connection closed (client didn't send a cert) (client_ssl_cert_missing)",
            "rejected 1",
        ),
        (
            "Login aborted: Maximum number of connections from user+IP exceeded (mail_max_userip_connections=3) (connection limit reached, 1/1 successful auths in 0 secs) (connection_limit)",
            "rejected 1",
        ),
        (
            "Login aborted: Logged out (auth referral, 1/1 successful auths in 0 secs) (auth_nologin_referral)",
            "rejected 1",
        ),
        (
            "Login aborted: Connection closed (proxy dest authentication failure, 1/2 successful auths in 3 secs) (proxy_dest_auth_failed)",
            "rejected 2",
        ),
        (
            "proxy(alice,be:110): Login aborted: Connection closed (proxy dest authentication failure to be:110, 1/1 successful auths in 3 secs, last failure: no (really)) (proxy_dest_auth_failed)",
            "rejected 1",
        ),
        (
            "Login aborted: Logged out (proxy dest connection limit reached, 1/1 successful auths in 3 secs, last failure: [IN-USE] x) (proxy_dest_connection_limit)",
            "rejected 1",
        ),
        (
            "Login aborted: Logged out (proxy dest connection failed, 2/2 successful auths in 3 secs) (proxy_dest_connect_failed)",
            "unreachable 2",
        ),
        (
            "Login aborted: Logged out (proxy dest internal failure, 1/1 successful auths in 3 secs) (proxy_dest_internal_failure)",
            "unreachable 1",
        ),
        (
            "Login aborted: Logged out (proxy dest remote failure, 1/1 successful auths in 3 secs) (proxy_dest_remote_failure)",
            "unreachable 1",
        ),
        (
            "Login aborted: Logged out (proxy dest protocol failure, 1/1 successful auths in 3 secs) (proxy_dest_protocol_failure)",
            "unreachable 1",
        ),
        (
            "Login aborted: Logged out (proxy dest temporary authentication failure, 1/1 successful auths in 3 secs) (proxy_dest_auth_temp_failed)",
            "unreachable 1",
        ),
        (
            "Login aborted: Logged out (proxy dest redirected, 1/1 successful auths in 3 secs) (proxy_dest_redirected)",
            "unreachable 1",
        ),
        (
            "Login aborted: Logged out (auth service reported temporary failure, 2 attempts in 3 secs) (temp_fail)",
            "unreachable 2",
        ),
        (
            "Login aborted: Auth process broken (auth process communication failure, 1 attempts in 3 secs) (auth_process_comm_fail)",
            "unreachable 1",
        ),
        (
            "Login aborted: Internal login failure (pid=812 id=3) (internal failure, 1/1 successful auths in 0 secs) (internal_failure)",
            "unreachable 1",
        ),
        (
            "Login aborted: Connection closed (auth aborted by client, 1 attempts in 3 secs) (auth_aborted_by_client)",
            "",
        ),
        (
            "Login aborted: Inactivity during authentication (client didn't finish SASL auth, 1 attempts in 60 secs) (auth_waiting_client)",
            "",
        ),
        (
            "Login aborted: Inactivity during authentication (client didn't finish SASL auth, 3 attempts in 60 secs) (auth_waiting_client)",
            "rejected 2",
        ),
        ("Login aborted: Connection closed (no auth attempts in 5 secs) (no_auth_attempts)", ""),
        (
            "Login aborted: Connection closed (disconnected during TLS handshake) (tls_handshake_not_finished)",
            "",
        ),
        (
            "Login aborted: Connection closed (disconnected before auth was ready, waited 3 secs) (auth_process_not_ready)",
            "",
        ),
        (
            "Login aborted: Shutting down (The process is shutting down so the login is aborted.) (shutting_down)",
            "",
        ),
        (
            "Login aborted: Connection queue full (client_limit and process_limit was hit and this login session was killed.) (process_full)",
            "",
        ),
        // A reason that a later version may have.
        ("Login aborted: Logged out (moon too full, 2 attempts in 9 secs) (moon_phase)", "rejected 2"),
        // Other lines of these processes.
        (
            "proxy(alice,10.0.0.5:110): Disconnected by client (Connection closed) (3s idle, in=12, out=80)",
            "",
        ),
        ("proxy(alice): disconnecting 192.0.2.7 (Disconnected by server)", ""),
        (
            "Error: proxy(alice,10.0.0.5:110): connect(10.0.0.5, 110) failed: Connection refused (after 0 secs)",
            "",
        ),
        (
            "proxy(alice,10.0.0.5:110): connect(10.0.0.5, 110) failed: Connection refused (after 0 secs) - reconnecting (attempt #1)",
            "",
        ),
        ("APOP failed: APOP not enabled", ""),
        ("Authenticate PLAIN failed: Invalid base64 in response", ""),
        ("access(tcpwrap): Client refused (rip=192.0.2.7)", ""),
    ] {
        for level in ["", "Info: "] {
            let line = format!("{SYSLOG}{level}{words}: user=<alice>, {ELEMENTS}");
            let parsed = parse(&line);
            assert_eq!(endings(&parsed), expected, "{line}");
            if let ParsedLine::Logins(logins) = parsed {
                let login = &logins[0];
                assert_eq!((&*login.user, login.at_ms), ("alice", utc_ms("2026-11-27T22:11:26Z")), "{line}");
                assert_eq!((login.mechanism, login.tls.is_some()), (Mechanism::Plain, true), "{line}");
                assert_eq!(
                    (login.peer.ip(), login.local.ip()),
                    (address("192.0.2.7").ip(), address("198.51.100.1").ip())
                );
            }
            // The connection ended before a login.
            let no_user =
                parse(&format!("{SYSLOG}{level}{}: user=<>, {ELEMENTS}", words.replace("(alice", "(")));
            assert_eq!(endings(&no_user), "", "{line}");
        }
    }
}

#[test]
fn a_login_is_parsed_from_syslog_and_from_dovecots_own_log_file() {
    for prefix in [
        "Nov 27 22:11:26 mx dovecot: pop3-login: ",
        "<22>Nov 27 22:11:26 mx dovecot[812]: pop3-login: ",
        "2026-11-27T23:11:26.000000+01:00 mx dovecot: pop3-login: ",
        "<22>1 2026-11-27T22:11:26Z mx dovecot 812 - - pop3-login: ",
        "Nov 27 22:11:26 pop3-login: Info: ",
        "2026-11-27 22:11:26 pop3-login: Info: ",
        "dovecot: Nov 27 22:11:26 Info: pop3-login: ",
    ] {
        for words in ["Login", "Logged in"] {
            let line = format!(
                "{prefix}{words}: user=<alice@example.org>, method=PLAIN, rip=2001:db8::7, lip=198.51.100.1, mpid=812, TLS, session=<Kx7f/2p9q>"
            );
            let login = one(parse(&line));
            assert_eq!(
                (login.at_ms, &*login.user),
                (utc_ms("2026-11-27T22:11:26Z"), "alice@example.org"),
                "{line}"
            );
            assert_eq!(login.mechanism, Mechanism::Plain);
            assert_eq!(login.peer.to_string(), "[2001:db8::7]:0");
            assert_eq!(login.local.to_string(), "198.51.100.1:0");
            assert_eq!(login.outcome, Some(Ending::Authenticated));
            assert!(login.tls.is_some());
        }
    }
}

#[test]
fn old_proxies_name_the_user_only_at_the_beginning() {
    for (words, ending) in [
        ("proxy(alice): started proxying to 10.0.0.5:110", Ending::Authenticated),
        ("proxy(alice): Login failed to 10.0.0.5:110: [AUTH] no", Ending::Rejected),
    ] {
        let login = one(parse(&format!("{SYSLOG}{words}")));
        assert_eq!((&*login.user, login.outcome), ("alice", Some(ending)), "{words}");
    }
}

#[test]
fn a_rejected_login_with_its_own_line_is_not_counted_again_at_the_end() {
    let refused = "proxy(alice,be:110): Login failed: [AUTH] no";
    for (ends, counted) in [
        // The line about the end has no number.
        ("Disconnected (proxy dest auth failed)", "rejected 1 rejected 1 "),
        // One more was rejected without its own line.
        ("Disconnected (auth failed, 3 attempts in 9 secs)", "rejected 1 rejected 1 rejected 1"),
        (
            "Login aborted: Logged out (proxy dest authentication failure, 2/2 successful auths in 3 secs) (proxy_dest_auth_failed)",
            "rejected 1 rejected 1 ",
        ),
    ] {
        let mut dovecot = Dovecot::default();
        let mut read = |words: &str, session: &str| {
            let line =
                format!("{SYSLOG}{words}: user=<alice>, method=PLAIN, rip=192.0.2.7, session=<{session}>");
            endings(&dovecot.parse(&line, &mut calendar()))
        };
        let all = [read(refused, "one"), read(refused, "one"), read(ends, "one")].join(" ");
        assert_eq!(all, counted, "{ends}");
        // Another connection is counted separately.
        assert_ne!(read(ends, "two"), "", "{ends}");
    }
}

#[test]
fn a_login_that_an_error_prevented_is_unreachable_not_rejected() {
    // Written by Dovecot 2.3, with other names and addresses.
    for (error, ends, expected) in [
        (
            "Error: proxy(alice,10.0.0.5:110): connect(10.0.0.5, 110) failed: Connection refused (after 3 secs, 3 reconnects, local=10.0.0.1:35912)",
            "Disconnected: Aborted login by logging out (internal failure, 1 successful auths)",
            "unreachable 1",
        ),
        (
            "Error: proxy: Remote 10.0.0.5:110 disconnected: Connection closed (state=2, duration=3s)",
            "Aborted login (internal failure, 2 successful auths)",
            "unreachable 2",
        ),
        (
            "Info: Authenticate FOO failed: Unsupported authentication mechanism.",
            "Disconnected (internal failure, 1 successful auths)",
            "rejected 1",
        ),
    ] {
        let mut dovecot = Dovecot::default();
        let mut read = |words: &str| {
            let line = format!("{SYSLOG}{words}: user=<alice>, method=PLAIN, rip=192.0.2.7, session=<one>");
            endings(&dovecot.parse(&line, &mut calendar()))
        };
        assert_eq!((read(error), read(ends)), (String::new(), expected.to_owned()), "{error}");
    }
}

#[test]
fn other_lines_are_ignored() {
    for line in [
        "Nov 27 22:11:26 mx dovecot: imap-login: Login: user=<alice>, method=PLAIN, rip=192.0.2.7, lip=198.51.100.1",
        "Nov 27 22:11:26 mx dovecot: imap-login: Logged in: user=<alice>, method=PLAIN, rip=192.0.2.7, session=<pop3-login>",
        "Nov 27 22:11:26 mx dovecot: pop3(alice)<812><x>: Disconnected: Logged out top=0/0, retr=0/0, del=0/1, size=455",
        "Nov 27 22:11:26 mx postfix/smtpd[7]: warning: pop3-login: Login: user=<mallory>, method=PLAIN",
        "Nov 27 22:11:26 mx dovecot: pop3-login: Warning: Auth process not responding, delayed sending initial response: user=<alice>",
    ] {
        assert!(matches!(parse(line), ParsedLine::NoLogin), "{line}");
    }
}

#[test]
fn a_user_name_cannot_forge_other_fields() {
    // Written by Dovecot 2.3 for a client that sends this as its user name.
    let name = "a (auth failed, 50 attempts): user=<b>, method=APOP, rip=203.0.113.9, TLS";
    let login = one(parse(&format!(
        "2026-11-27 22:33:36.981634 pop3-login: Info: Disconnected: Connection closed (auth failed, 1 attempts in 4 secs): user=<{name}>, method=PLAIN, rip=127.0.0.1, lip=127.0.0.1, secured, session=<XgZmpklhnIx/AAAB>"
    )));
    assert_eq!((login.times, &*login.user, login.mechanism), (1, name, Mechanism::Plain));
    assert_eq!((login.peer.to_string(), login.tls.is_some()), ("127.0.0.1:0".to_owned(), false));
    assert_eq!(login.at_ms, utc_ms("2026-11-27T22:33:36.981Z"));
}

#[test]
fn a_login_line_that_cannot_be_parsed_is_malformed() {
    for line in [
        "pop3-login: Login: user=<alice>, method=PLAIN",
        "Nov 27 22:11:26 mx dovecot: pop3-login: Login: method=PLAIN, rip=192.0.2.7",
        "Nov 27 22:11:26 mx dovecot: pop3-login: Logged in: u=alice, method=PLAIN, rip=192.0.2.7",
        "Nov 27 22:11:26 mx dovecot: pop3-login: Aborted login (user disabled): u=alice, rip=192.0.2.7",
        "Feb 30 22:11:26 mx dovecot: pop3-login: Login: user=<alice>, method=PLAIN, rip=192.0.2.7",
        "Nov 27 22:11:26 mx dovecot: pop3-login: Login aborted: Connection closed (moon too full) (moon_phase): user=<alice>, method=PLAIN",
        "Nov 27 22:11:26 mx dovecot: pop3-login: Disconnected: Sunk: user=<alice>, method=PLAIN, rip=192.0.2.7",
    ] {
        assert!(matches!(parse(line), ParsedLine::Malformed(_)), "{line}");
    }
    let name = "Nov 27 22:11:26 mx dovecot: pop3-login: Login: user=<alice\0>, method=PLAIN, rip=192.0.2.7";
    assert!(matches!(parse(name), ParsedLine::InvalidUserName));
}
