//! TLS for clients: implicit TLS and STLS, certificates and their reload, client certificates.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use crate::support::DEADLINE;
use crate::support::account::PASSWORD;
use crate::support::certificates::{Age, Authority, Files};
use crate::support::dialogue::{Dialogue, handshake};
use crate::support::farm::FarmNode;
use crate::support::guests;
use crate::support::mail_server;
use crate::support::memory::in_memory;
use crate::support::proxy::{Proxy, Setup};
use crate::support::running::Running;
use crate::support::tool::Tool;
use crate::support::until;
use reprieve_mailserver::MailServer;

const OPENSSL: Tool = Tool { program: "openssl", package: "openssl" };

/// A proxy with implicit TLS and STLS; `server` and `tls` are lines of its configuration.
fn front(mail: &MailServer, files: &Files, server: &str, tls: &str) -> Proxy {
    Proxy::start(&configuration(mail.address(), files, server, tls))
}

fn configuration(node: SocketAddr, files: &Files, server: &str, tls: &str) -> String {
    let server = format!("{server}\n{}{tls}", files.virtual_server());
    Setup { server: &server, ..Setup::default() }.text(&[node])
}

#[test]
fn implicit_tls_and_stls_work_for_passed_and_denied_logins() {
    let (authority, mail) = (Authority::new(), mail_server(2));
    let files = authority.server("front", &["localhost"], Age::Valid);
    let front = front(&mail, &files, "", "");
    let config = authority.trusted(None);

    let mut first = Dialogue::open_tls(front.tls_address(), &config, "localhost");
    first.give_password("alice", PASSWORD);
    let seen = first.maildrop();
    first.quit();

    let mut denied = Dialogue::open(front.address());
    denied.start_tls(&config, "localhost");
    denied.give_password("alice", PASSWORD);
    assert_eq!(denied.maildrop(), seen);
    assert_eq!(denied.lines("RETR 1").len(), 3, "an upgrade under TLS");
    denied.quit();
    let counters = front.server.counters();
    assert_eq!((counters.denied, counters.upgrades), (1, 1));
}

#[test]
fn a_large_message_arrives_complete_over_tls() {
    let (authority, mail) = (Authority::new(), mail_server(0));
    let body: String = (0..200_000).map(|line| format!("{line:030}\r\n")).collect();
    mail.deliver("alice", format!("Subject: large\r\n\r\n{body}").as_bytes());
    let files = authority.server("front", &["localhost"], Age::Valid);
    let front = front(&mail, &files, "", "");
    let mut session = Dialogue::open_tls(front.tls_address(), &authority.trusted(None), "localhost");
    session.give_password("alice", PASSWORD);
    let lines = session.lines("RETR 1");
    assert_eq!(lines.len(), 200_002);
    assert_eq!(lines.last().map(String::as_str), Some(format!("{:030}", 199_999).as_str()));
    session.quit();
}

#[test]
fn commands_injected_before_the_handshake_are_discarded() {
    let (authority, mail) = (Authority::new(), mail_server(1));
    let files = authority.server("front", &["localhost"], Age::Valid);
    let front = front(&mail, &files, "cleartext-login = \"allow\"", "");
    let mut tcp = TcpStream::connect(front.address()).unwrap();
    tcp.set_read_timeout(Some(DEADLINE)).unwrap();
    // An attacker on the path appends a login and a command to the client's STLS.
    tcp.write_all(format!("STLS\r\nUSER alice\r\nPASS {PASSWORD}\r\nSTAT\r\n").as_bytes()).unwrap();
    let mut said = Vec::new();
    while !said.ends_with(b"negotiation\r\n") {
        let mut byte = [0];
        tcp.read_exact(&mut byte).unwrap();
        said.push(byte[0]);
    }
    let mut stream = handshake(tcp, &authority.trusted(None), "localhost").expect("a handshake");
    stream.write_all(b"NOOP\r\nSTAT\r\nQUIT\r\n").unwrap();
    let mut said = String::new();
    let _ = stream.read_to_string(&mut said);
    assert_eq!(
        said, "+OK\r\n-ERR log in first\r\n+OK bye\r\n",
        "what was said in cleartext counts for nothing"
    );
    assert_eq!(front.server.counters().authenticated, 0);
}

#[test]
fn a_user_name_given_before_the_handshake_is_forgotten() {
    let (authority, mail) = (Authority::new(), mail_server(0));
    let files = authority.server("front", &["localhost"], Age::Valid);
    let front = front(&mail, &files, "cleartext-login = \"allow\"", "");
    let mut session = Dialogue::open(front.address());
    session.ok("USER alice");
    session.start_tls(&authority.trusted(None), "localhost");
    assert_eq!(session.err(&format!("PASS {PASSWORD}")), "-ERR USER comes first");
    assert_eq!(session.err("STLS"), "-ERR STLS is not possible here");
    session.quit();
}

#[test]
fn cleartext_logins_are_accepted_only_if_allowed() {
    let (authority, mail) = (Authority::new(), mail_server(0));
    let files = authority.server("front", &["localhost"], Age::Valid);
    let refused = "-ERR cleartext login is not possible here, use TLS";
    for (setting, allowed) in [("", false), ("deny", false), ("loopback", true), ("allow", true)] {
        let line = if setting.is_empty() { String::new() } else { format!("cleartext-login = {setting:?}") };
        let front = front(&mail, &files, &line, "");
        let mut session = Dialogue::open(front.address());
        let capabilities = session.lines("CAPA");
        assert!(capabilities.contains(&"STLS".to_owned()), "{setting}: {capabilities:?}");
        assert_eq!(capabilities.contains(&"USER".to_owned()), allowed, "{setting}");
        assert_eq!(capabilities.iter().any(|line| line.starts_with("SASL")), allowed, "{setting}");
        if allowed {
            session.give_password("alice", PASSWORD);
        } else {
            assert_eq!(session.err("USER alice"), refused);
            assert_eq!(session.err("AUTH PLAIN AGFsaWNlAG9wZW4gc2VzYW1l"), refused);
        }
        session.quit();
        let mut session = Dialogue::open_tls(front.tls_address(), &authority.trusted(None), "localhost");
        let capabilities = session.lines("CAPA");
        assert!(!capabilities.contains(&"STLS".to_owned()));
        assert!(capabilities.contains(&"SASL PLAIN LOGIN".to_owned()));
        session.give_password("alice", PASSWORD);
        session.quit();
    }
}

#[test]
fn each_server_name_has_its_certificate_and_versions_are_as_configured() {
    let (authority, mail) = (Authority::new(), mail_server(0));
    let one = authority.server("one", &["one.example", "localhost"], Age::Valid);
    let two = authority.server("two", &["*.two.example"], Age::Valid);
    let more =
        format!("additional-certificates = [{{ certificate = {:?}, key = {:?} }}]", two.chain, two.key);
    let front = front(&mail, &one, "", &more);
    for name in ["one.example", "pop.two.example", "localhost"] {
        // The client verifies the name in the certificate.
        Dialogue::open_tls(front.tls_address(), &authority.trusted(None), name).quit();
    }
    let wrong = handshake(
        TcpStream::connect(front.tls_address()).unwrap(),
        &authority.trusted(None),
        "other.example",
    );
    assert!(wrong.is_err(), "a client that asks for another name gets the first certificate");
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let config = authority.trusted_with(None, &[version]);
        let session = Dialogue::open_tls(front.tls_address(), &config, "localhost");
        assert_eq!(session.tls().protocol_version(), Some(version.version));
        session.quit();
    }
    let strict = self::front(&mail, &one, "", "min-version = \"1.3\"");
    let old = authority.trusted_with(None, &[&rustls::version::TLS12]);
    assert!(handshake(TcpStream::connect(strict.tls_address()).unwrap(), &old, "localhost").is_err());
}

#[test]
fn sessions_are_resumed() {
    let (authority, mail) = (Authority::new(), mail_server(0));
    let files = authority.server("front", &["localhost"], Age::Valid);
    let front = front(&mail, &files, "", "");
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let config = authority.trusted_with(None, &[version]);
        let kinds: Vec<_> = (0..2)
            .map(|_| {
                let session = Dialogue::open_tls(front.tls_address(), &config, "localhost");
                let kind = session.tls().handshake_kind();
                session.quit();
                kind
            })
            .collect();
        assert_eq!(
            kinds,
            [Some(rustls::HandshakeKind::Full), Some(rustls::HandshakeKind::Resumed)],
            "{version:?}"
        );
    }
}

#[test]
fn a_certificate_is_replaced_without_affecting_200_open_sessions() {
    let (authority, node) = (Authority::new(), FarmNode::start());
    let files = authority.server("front", &["localhost"], Age::Valid);
    let front = Proxy::start(&configuration(node.address(), &files, "", ""));
    let config = authority.trusted(None);
    let shown = |session: &Dialogue| session.tls().peer_certificates().unwrap()[0].to_vec();
    let mut open: Vec<_> = (0..200)
        .map(|number| {
            let mut session = Dialogue::open_tls(front.tls_address(), &config, "localhost");
            if number % 2 == 0 {
                session.give_password("alice", PASSWORD);
            }
            session
        })
        .collect();
    let before = shown(&open[0]);

    // An invalid file changes nothing.
    let right = std::fs::read_to_string(&files.chain).unwrap();
    crate::support::certificates::write(&files.chain, "no certificate");
    assert!(!front.server.reload_certificates());
    assert_eq!(
        shown(&Dialogue::open_tls(front.tls_address(), &authority.trusted(None), "localhost")),
        before
    );
    crate::support::certificates::write(&files.chain, &right);

    authority.server("front", &["localhost"], Age::Valid);
    front.server.reload_changed_certificates();
    let fresh = Dialogue::open_tls(front.tls_address(), &authority.trusted(None), "localhost");
    assert_ne!(shown(&fresh), before, "new connections get the new certificate");
    fresh.quit();
    for (number, session) in open.iter_mut().enumerate() {
        session.ok("NOOP");
        if number % 2 == 0 {
            session.ok("STAT");
        }
        assert_eq!(shown(session), before);
    }
    open.into_iter().for_each(Dialogue::quit);
    assert_eq!(front.server.counters().failed_handshakes, 0);
}

#[test]
fn a_client_certificate_logs_in_its_user_only() {
    let (authority, stranger, mail) = (Authority::new(), Authority::new(), mail_server(1));
    // The password file has the master password of the node.
    let folder = tempfile::tempdir().unwrap();
    let password = folder.path().join("master");
    crate::support::write_secret(&password, "master's secret\n");
    let node = crate::support::scripted::Scripted::start(|conversation| {
        conversation.send(b"+OK ready\r\n");
        let (auth, message) = (conversation.read_command(), conversation.send(b"+ \r\n"));
        let () = message;
        let said = conversation.read_command();
        // alice NUL reprieve NUL master's secret
        if (auth.as_deref(), said.as_deref())
            == (Some("AUTH PLAIN"), Some("YWxpY2UAcmVwcmlldmUAbWFzdGVyJ3Mgc2VjcmV0"))
        {
            conversation.send(b"+OK in\r\n");
            conversation.answer(&[
                ("STAT", "+OK 0 0\r\n"),
                ("LIST", "+OK\r\n.\r\n"),
                ("UIDL", "+OK\r\n.\r\n"),
                ("QUIT", "+OK\r\n"),
            ]);
        } else {
            conversation.send(b"-ERR [AUTH] no\r\n");
        }
    });
    drop(mail);
    let files = authority.server("front", &["localhost"], Age::Valid);
    let pool =
        format!("health-check = \"off\"\nmaster = {{ user = \"reprieve\", password-file = {password:?} }}\n");
    let ca = authority.file();
    for wanted in ["optional", "required"] {
        let server = format!(
            "mechanisms = [\"USER\", \"PLAIN\", \"EXTERNAL\"]\n{}client-ca = {ca:?}\nclient-certificates = {wanted:?}",
            files.virtual_server()
        );
        let front = Setup { server: &server, pool: &pool, ..Setup::default() }.in_front_of(&[node.address()]);
        let alice = authority.trusted(Some(&authority.client("alice")));
        let bob = authority.trusted(Some(&authority.client("bob")));
        // Alice logs in; her second login is denied and answered by Reprieve, because of her certificate.
        for denied in [0, 1] {
            let mut session = Dialogue::open_tls(front.tls_address(), &alice, "localhost");
            assert!(session.lines("CAPA").contains(&"SASL PLAIN EXTERNAL".to_owned()));
            session.send("AUTH EXTERNAL =");
            session.accepted();
            session.ok("STAT");
            session.quit();
            assert_eq!(front.server.counters().denied, denied);
        }
        until("the denial is counted", || front.server.counters().relieved == 1);
        let mut session = Dialogue::open_tls(front.tls_address(), &bob, "localhost");
        assert!(session.err("AUTH EXTERNAL YWxpY2U=").contains("another user's"));
        assert!(session.err("AUTH EXTERNAL =").starts_with("-ERR [AUTH] no"), "the mail server has no bob");
        session.quit();
        // Without a certificate, and with one of another authority.
        let without = handshake_and_read(front.tls_address(), &authority.trusted(None));
        let strange =
            handshake_and_read(front.tls_address(), &authority.trusted(Some(&stranger.client("alice"))));
        assert_eq!(without, wanted == "optional", "{wanted}");
        assert!(!strange);
    }
}

/// Whether the handshake succeeds and the greeting arrives.
fn handshake_and_read(server: SocketAddr, config: &std::sync::Arc<rustls::ClientConfig>) -> bool {
    let tcp = TcpStream::connect(server).unwrap();
    tcp.set_read_timeout(Some(DEADLINE)).unwrap();
    let Ok(mut stream) = handshake(tcp, config, "localhost") else { return false };
    let mut bytes = [0; 3];
    stream.read_exact(&mut bytes).is_ok() && &bytes == b"+OK"
}

#[test]
fn a_client_that_does_not_complete_the_handshake_is_disconnected() {
    let (authority, mail) = (Authority::new(), mail_server(0));
    let files = authority.server("front", &["localhost"], Age::Valid);
    let front = front(&mail, &files, "", "handshake-timeout = \"200ms\"");
    // One sends nothing, one sends POP3 commands, one stops during the handshake.
    let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    for words in [&b""[..], b"USER alice\r\n", hello] {
        let mut tcp = TcpStream::connect(front.tls_address()).unwrap();
        tcp.set_read_timeout(Some(DEADLINE)).unwrap();
        tcp.write_all(words).unwrap();
        let mut said = Vec::new();
        let _ = tcp.read_to_end(&mut said);
        assert!(!said.starts_with(b"+OK") && !said.starts_with(b"-ERR"), "{}", said.escape_ascii());
    }
    until("all failed handshakes are counted", || front.server.counters().failed_handshakes == 3);
    // The same after STLS.
    let mut session = Dialogue::open(front.address());
    session.ok("STLS");
    session.closed();
    until("the failed handshake is counted", || front.server.counters().failed_handshakes == 4);
}

#[test]
fn a_session_ends_with_close_notify() {
    let (authority, mail) = (Authority::new(), mail_server(0));
    let files = authority.server("front", &["localhost"], Age::Valid);
    let front = front(&mail, &files, "", "");
    let tcp = TcpStream::connect(front.tls_address()).unwrap();
    tcp.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut stream = handshake(tcp, &authority.trusted(None), "localhost").unwrap();
    stream.write_all(b"QUIT\r\n").unwrap();
    let mut said = String::new();
    // Without close_notify, this fails with UnexpectedEof.
    stream.read_to_string(&mut said).expect("close_notify before the end");
    assert!(said.ends_with("+OK bye\r\n"), "{said}");
}

#[test]
fn a_wrong_certificate_file_is_reported_with_its_location() {
    let authority = Authority::new();
    let (one, other) = (
        authority.server("one", &["localhost"], Age::Valid),
        authority.server("other", &["localhost"], Age::Valid),
    );
    // Key files must be private, even invalid ones.
    std::fs::set_permissions(&one.chain, std::fs::Permissions::from_mode(0o600)).unwrap();
    let node = "127.0.0.1:1".parse().unwrap();
    for (files, tls, expected) in [
        (Files { chain: "/nowhere.pem".into(), key: one.key.clone() }, "", "cannot read /nowhere.pem"),
        (Files { chain: one.key.clone(), key: one.key.clone() }, "", "contains no PEM certificate"),
        (Files { chain: one.chain.clone(), key: one.chain.clone() }, "", "contains no PEM private key"),
        (Files { chain: one.chain.clone(), key: other.key.clone() }, "", "does not match the certificate"),
        (one.clone(), "client-ca = \"/nowhere.pem\"", "cannot read /nowhere.pem"),
    ] {
        let text = configuration(node, &files, "", tls);
        let config = reprieve::config::Config::parse(&text, "test.toml").unwrap();
        let options = reprieve::server::Options::default();
        let error = reprieve::server::Prepared::new(config, options).unwrap_err().to_string();
        let table = text.lines().position(|line| line == "[virtual-server.tls]").expect("the table") + 1;
        assert!(error.starts_with(&format!("test.toml:{table}: ")) && error.contains(expected), "{error}");
    }
}

#[test]
fn openssl_verifies_the_certificate() {
    let (authority, mail) = (Authority::new(), mail_server(0));
    let files = authority.server("front", &["localhost"], Age::Valid);
    let front = front(&mail, &files, "", "");
    let home = tempfile::tempdir().unwrap();
    let ca = authority.file();
    for (address, more) in [(front.address(), &["-starttls", "pop3"][..]), (front.tls_address(), &[])] {
        let address = address.to_string();
        let common = ["s_client", "-brief", "-verify_return_error", "-verify_hostname", "localhost"];
        let rest = ["-CAfile", ca.to_str().unwrap(), "-connect", &address];
        let script = home.path().join("quit");
        std::fs::write(&script, "QUIT\n").unwrap();
        let line: Vec<&str> = common.iter().chain(&rest).chain(more).copied().collect();
        let command = format!("{} {} < quit", OPENSSL.path().display(), line.join(" "));
        let shell = Tool { program: "sh", package: "dash" };
        let ending = shell.run(home.path(), ["-c", &command]);
        assert_eq!(ending.code, 0, "{}", ending.said);
        assert!(ending.said.contains("Verification: OK"), "{}", ending.said);
        assert!(ending.said.contains("Protocol version: TLSv1.3"), "{}", ending.said);
    }
}

#[test]
fn a_policy_sees_the_tls_session_and_the_client_certificate() {
    let (authority, mail) = (Authority::new(), mail_server(0));
    let files = authority.server("front", &["localhost"], Age::Valid);
    let folder = tempfile::tempdir().unwrap();
    let server = format!("{}client-ca = {:?}", files.virtual_server(), authority.file());
    let policy = format!("component = {:?}", guests::mirror());
    let text = Setup { server: &server, policy: &policy, ..Setup::default() }.text(&[mail.address()]);
    let mut reprieve = Running::with_configuration(folder.path(), &text);
    let (_, encrypted) = (reprieve.address(), reprieve.address());
    for (certificate, expected) in [
        (None, r#"server-name: Some(\"localhost\"), client-subject: None"#),
        (
            Some(authority.client("alice")),
            r#"server-name: Some(\"localhost\"), client-subject: Some(\"CN=alice"#,
        ),
    ] {
        let config = authority.trusted(certificate.as_ref());
        let mut session = Dialogue::open_tls(encrypted, &config, "localhost");
        session.give_password("alice", PASSWORD);
        session.quit();
        let told = reprieve.line_with(expected);
        assert!(told.contains(r#"version: \"TLSv1.3\""#), "{told}");
    }
    assert!(reprieve.line_with("\"session\"").contains("\"tls\":\"TLSv1.3\""));
}

/// The TLS library frees its decrypted buffers, not Reprieve.
#[test]
fn no_secret_is_in_memory_after_a_session_under_tls() {
    let (authority, mail) = (Authority::new(), mail_server(0));
    mail.add_user("bob", "W1pe-me-under-tls");
    let files = authority.server("front", &["localhost"], Age::Valid);
    let folder = tempfile::tempdir().unwrap();
    let text = configuration(mail.address(), &files, "", "");
    let mut reprieve = Running::with_configuration(folder.path(), &text);
    let (cleartext, encrypted) = (reprieve.address(), reprieve.address());
    let config = authority.trusted(None);
    // bob NUL bob NUL W1pe-me-under-tls
    let plain = "Ym9iAGJvYgBXMXBlLW1lLXVuZGVyLXRscw==";
    let auth = format!("AUTH PLAIN {plain}");
    let mut left = Vec::new();
    for lines in [&["USER bob", "PASS W1pe-me-under-tls"][..], &[&auth], &["AUTH PLAIN", plain]] {
        for by_stls in [false, true] {
            let mut session = if by_stls {
                let mut session = Dialogue::open(cleartext);
                session.start_tls(&config, "localhost");
                session
            } else {
                Dialogue::open_tls(encrypted, &config, "localhost")
            };
            for line in lines {
                session.send(line);
                assert!(!session.line().starts_with("-ERR"), "{line}");
            }
            session.ok("STAT");
            session.quit();
            reprieve.line_with("\"session\"");
            // A session is counted shortly before its memory is freed.
            let after = Dialogue::open(cleartext);
            after.quit();
            reprieve.line_with("\"session\"");
            left.extend(in_memory(reprieve.id(), &["W1pe-me-under-tls", &plain[10..]]));
        }
    }
    assert!(left.is_empty(), "{left:#?}");
}

/// A browser that is redirected here (ALPACA) offers other protocols in ALPN, and is refused.
#[test]
fn clients_that_use_alpn_must_offer_pop3() {
    let (authority, mail) = (Authority::new(), mail_server(0));
    let files = authority.server("front", &["localhost"], Age::Valid);
    let front = front(&mail, &files, "cleartext-login = \"allow\"", "");
    for (protocols, let_in) in [
        (&[][..], true),
        (&["pop3"], true),
        (&["http/1.1", "pop3"], true),
        (&["http/1.1"], false),
        (&["h2", "http/1.1"], false),
        (&["imap"], false),
        (&["POP3"], false),
    ] {
        let mut config = (*authority.trusted(None)).clone();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        let config = std::sync::Arc::new(config);
        let plain = TcpStream::connect(front.tls_address()).unwrap();
        let mut stls = Dialogue::open(front.address());
        stls.ok("STLS");
        for tcp in [plain, stls.tcp().try_clone().unwrap()] {
            tcp.set_read_timeout(Some(DEADLINE)).unwrap();
            match handshake(tcp, &config, "localhost") {
                Ok(stream) => {
                    assert!(let_in, "{protocols:?}");
                    let chosen = stream.conn.alpn_protocol();
                    assert_eq!(chosen, protocols.contains(&"pop3").then_some(&b"pop3"[..]), "{protocols:?}");
                }
                Err(error) => {
                    assert!(!let_in, "{protocols:?}: {error}");
                    assert!(error.to_string().contains("NoApplicationProtocol"), "{protocols:?}: {error}");
                }
            }
        }
    }
}

/// Unknown or unusual server names get the first certificate, as with Dovecot. rustls refuses invalid
/// names (the last ones) with the alert `illegal_parameter`, which Reprieve cannot change.
#[test]
fn unknown_server_names_get_the_first_certificate() {
    let (authority, mail) = (Authority::new(), mail_server(0));
    let first = authority.server("first", &["first.example"], Age::Valid);
    let second = authority.server("second", &["second.example"], Age::Valid);
    let more =
        format!("additional-certificates = [{{ certificate = {:?}, key = {:?} }}]", second.chain, second.key);
    let front = front(&mail, &first, "", &more);
    for (name, shown) in [
        ("first.example", Some("first.example")),
        ("second.example", Some("second.example")),
        ("SECOND.example", Some("second.example")),
        ("second.example.", Some("second.example")),
        ("other.example", Some("first.example")),
        ("127.0.0.1", Some("first.example")),
        ("::1", Some("first.example")),
        ("my_mail.second.example", Some("first.example")),
        ("mail_", Some("first.example")),
        ("a b", None),
        ("[::1]", None),
        ("fe80::1%eth0", None),
        ("m\u{fc}ller.example", None),
    ] {
        let client = OPENSSL.command();
        let said = shown_to(client, front.tls_address(), name);
        let subject = said.lines().find_map(|line| line.split_once("subject=CN = ").map(|(_, name)| name));
        assert_eq!(subject, shown, "{name}: {said}");
    }
}

/// The output of OpenSSL's client after a handshake with this server name.
fn shown_to(mut client: std::process::Command, server: SocketAddr, name: &str) -> String {
    let ran = client
        .args(["s_client", "-connect", &server.to_string(), "-servername", name])
        .stdin(std::process::Stdio::null())
        .output()
        .expect("running openssl");
    String::from_utf8_lossy(&[ran.stdout, ran.stderr].concat()).into_owned()
}

#[test]
fn the_login_timeout_applies_over_tls() {
    let (authority, mail) = (Authority::new(), mail_server(0));
    let files = authority.server("front", &["localhost"], Age::Valid);
    let text = configuration(mail.address(), &files, "", "");
    let front = Proxy::with(&text, |config| {
        config.virtual_servers[0].login_timeout = Duration::from_millis(200);
    });
    let mut session = Dialogue::open_tls(front.tls_address(), &authority.trusted(None), "localhost");
    assert_eq!(session.refused(), "-ERR disconnected for inactivity");
    session.closed();
}
