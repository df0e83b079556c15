//! Connections to nodes: TLS and certificates, capabilities, and name resolution.

use std::fmt::Display;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::Receiver;

use crate::support::account::PASSWORD;
use crate::support::certificates::{Age, Authority, Files};
use crate::support::dialogue::Dialogue;
use crate::support::dovecot::{Dovecot, Features, Tls};
use crate::support::farm::FarmNode;
use crate::support::proxy::{Proxy, Setup};
use crate::support::scripted::Scripted;
use crate::support::until;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

fn front<N: Display>(nodes: &[N], pool: &str) -> Proxy {
    Setup { pool, ..Setup::default() }.in_front_of(nodes)
}

fn tls(mode: &str, ca: &Path) -> String {
    format!("health-check = \"off\"\ntls = {{ mode = {mode:?}, ca = {ca:?} }}")
}

fn dovecot(authority: &Authority, names: &[&str], age: Age) -> Dovecot {
    let files = authority.server("dovecot", names, age);
    let features = Features { tls: Some(Tls::with(files)), ..Features::default() };
    let dovecot = Dovecot::start_with(&[("alice", PASSWORD)], features);
    dovecot.deliver("alice");
    dovecot
}

#[test]
fn dovecot_is_reached_in_cleartext_with_stls_and_with_implicit_tls() {
    let authority = Authority::new();
    let dovecot = dovecot(&authority, &["localhost", "127.0.0.1"], Age::Valid);
    for (mode, address, encrypted) in [
        ("off", dovecot.address(), false),
        ("stls", dovecot.address(), true),
        ("implicit", dovecot.tls_address(), true),
    ] {
        let pool = if encrypted { tls(mode, &authority.file()) } else { "health-check = \"off\"".to_owned() };
        let front = front(&[address], &pool);
        let before = dovecot.log_lines(&["Login: user=<alice>", "TLS"]).len();
        let mut session = Dialogue::open(front.address());
        session.give_password("alice", PASSWORD);
        assert_eq!(session.lines("RETR 1").first().map(|line| line.starts_with("From: ")), Some(true));
        session.quit();
        let after = dovecot.log_lines(&["Login: user=<alice>", "TLS"]).len();
        assert_eq!(after - before, usize::from(encrypted), "{mode}");
    }
}

#[test]
fn a_node_with_an_expired_certificate_gets_no_password() {
    let authority = Authority::new();
    let dovecot = dovecot(&authority, &["localhost", "127.0.0.1"], Age::Expired);
    expect_login_error(&dovecot, &tls("stls", &authority.file()), dovecot.address(), "certificate expired");
    expect_login_error(
        &dovecot,
        &tls("implicit", &authority.file()),
        dovecot.tls_address(),
        "certificate expired",
    );
}

#[test]
fn a_node_with_a_certificate_for_another_name_gets_no_password() {
    let authority = Authority::new();
    let dovecot = dovecot(&authority, &["other.example"], Age::Valid);
    expect_login_error(&dovecot, &tls("stls", &authority.file()), dovecot.address(), "not valid for name");
    // A name can be configured, or verification switched off.
    for more in ["server-name = \"other.example\"", "verify = false"] {
        let pool = format!(
            "health-check = \"off\"\ntls = {{ mode = \"implicit\", ca = {:?}, {more} }}",
            authority.file()
        );
        let front = front(&[dovecot.tls_address()], &pool);
        Dialogue::log_in(&dovecot.account_at(front.address(), "alice")).quit();
    }
}

#[test]
fn a_node_with_an_untrusted_certificate_gets_no_password() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let dovecot = dovecot(&authority, &["127.0.0.1"], Age::Valid);
    expect_login_error(
        &dovecot,
        &tls("implicit", &stranger.file()),
        dovecot.tls_address(),
        "invalid peer certificate",
    );
}

#[track_caller]
fn expect_login_error(dovecot: &Dovecot, pool: &str, address: SocketAddr, why: &str) {
    let front = front(&[address], pool);
    let mut session = Dialogue::open(front.address());
    session.ok("USER alice");
    assert!(session.err(&format!("PASS {PASSWORD}")).starts_with("-ERR [SYS/TEMP]"));
    session.quit();
    let state = front.server.pool("mail").unwrap().node_states().next().unwrap();
    let error = state.last_error.expect("an error");
    assert!(error.contains(why), "{error}");
    assert_eq!(dovecot.logins("alice"), 0);
}

#[test]
fn a_client_certificate_is_presented_to_a_node_that_requests_one() {
    let authority = Authority::new();
    let files = authority.server("node", &["127.0.0.1"], Age::Valid);
    let (node, shown) = node_that_asks_for_certificates(&authority, &files);
    let own = authority.client("reprieve");
    let with = format!(
        "health-check = \"off\"\ntls = {{ mode = \"implicit\", ca = {:?}, certificate = {:?}, key = {:?} }}",
        authority.file(),
        own.chain,
        own.key
    );
    let front = front(&[node], &with);
    let mut session = Dialogue::open(front.address());
    session.give_password("alice", PASSWORD);
    session.quit();
    let certificate = CertificateDer::from_pem_file(&own.chain).unwrap();
    assert_eq!(shown.recv_timeout(crate::support::DEADLINE).unwrap(), certificate.to_vec());
}

/// A mail server for one session that requires a client certificate, which is sent to the test.
fn node_that_asks_for_certificates(authority: &Authority, files: &Files) -> (SocketAddr, Receiver<Vec<u8>>) {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority.file()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier =
        rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(
            vec![CertificateDer::from_pem_file(&files.chain).unwrap()],
            PrivateKeyDer::from_pem_file(&files.key).unwrap(),
        )
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (show, shown) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let (tcp, _) = listener.accept().unwrap();
        let connection = rustls::ServerConnection::new(Arc::new(config)).unwrap();
        let mut stream = BufReader::new(rustls::StreamOwned::new(connection, tcp));
        stream.get_mut().write_all(b"+OK ready\r\n").unwrap();
        let mut line = String::new();
        while stream.read_line(&mut line).is_ok_and(|length| length > 0) {
            let rows = matches!(line.trim_end(), "LIST" | "UIDL");
            stream.get_mut().write_all(if rows { b"+OK\r\n.\r\n" } else { b"+OK 0 0\r\n" }).unwrap();
            line.clear();
        }
        let certificates = stream.get_ref().conn.peer_certificates().unwrap();
        show.send(certificates[0].to_vec()).unwrap();
    });
    (address, shown)
}

#[test]
fn a_node_that_sends_data_before_the_handshake_gets_no_password() {
    let node = Scripted::start(|conversation| {
        conversation.send(b"+OK ready\r\n");
        if conversation.read_command().as_deref() == Some("STLS") {
            // An attacker on the path adds a reply that could be taken for an encrypted one.
            conversation.send(b"+OK\r\n+OK in\r\n");
            assert_eq!(conversation.read_command(), None, "no command is sent in cleartext after STLS");
        }
    });
    let authority = Authority::new();
    let front = front(&[node.address()], &tls("stls", &authority.file()));
    let mut session = Dialogue::open(front.address());
    session.ok("USER alice");
    assert!(session.err("PASS x").starts_with("-ERR [SYS/TEMP]"));
    let state = front.server.pool("mail").unwrap().node_states().next().unwrap();
    assert!(state.last_error.unwrap().contains("unexpected data before the TLS handshake"));
}

/// A node with this reply to CAPA, for consecutive connections.
fn with_capabilities(answer: &'static [u8]) -> Scripted {
    Scripted::start(move |conversation| {
        conversation.send(b"+OK ready\r\n");
        while let Some(command) = conversation.read_command() {
            match command.split(' ').next() {
                Some("CAPA") => conversation.send(answer),
                Some("QUIT") => return conversation.send(b"+OK\r\n"),
                _ => conversation.send(b"+OK\r\n"),
            }
        }
    })
}

#[test]
fn only_capabilities_of_all_nodes_are_offered() {
    let poor = with_capabilities(b"+OK\r\nTOP\r\nUSER\r\nSASL PLAIN\r\n.\r\n");
    let rich = with_capabilities(
        b"+OK\r\nTOP\r\nUIDL\r\nUTF8\r\nLANG\r\nPIPELINING\r\nUSER\r\nSASL PLAIN XOAUTH2\r\n.\r\n",
    );
    let setup = Setup {
        server: "mechanisms = [\"USER\", \"PLAIN\", \"XOAUTH2\"]",
        pool: "health-check = { interval = \"1h\" }",
        ..Setup::default()
    };
    let promised = |nodes: &[SocketAddr]| {
        let front = setup.in_front_of(nodes);
        let mut session = Dialogue::open(front.address());
        let lines = session.lines("CAPA");
        session.quit();
        lines.join(" ")
    };
    let (poor, rich) = (poor.address(), rich.address());
    assert_eq!(
        promised(&[rich]),
        "TOP UIDL RESP-CODES AUTH-RESP-CODE PIPELINING USER SASL PLAIN XOAUTH2",
        "the host's own, and never what is not relayed"
    );
    assert_eq!(promised(&[rich, poor]), "TOP RESP-CODES AUTH-RESP-CODE PIPELINING USER SASL PLAIN");
}

/// Dovecot takes passwords without TLS only from its own addresses. These are its answers to others.
#[test]
fn a_node_that_takes_no_passwords_here_rejects_no_user() {
    let node = Scripted::start(|conversation| {
        conversation.send(b"+OK Dovecot ready.\r\n");
        while let Some(command) = conversation.read_command() {
            conversation.send(match command.as_str() {
                "CAPA" => b"+OK\r\nTOP\r\nUIDL\r\nRESP-CODES\r\nPIPELINING\r\nAUTH-RESP-CODE\r\nSASL\r\n.\r\n",
                "QUIT" => b"+OK Logging out\r\n",
                _ => b"-ERR [AUTH] Plaintext authentication disallowed on non-secure (SSL/TLS) connections.\r\n",
            });
        }
    });
    for login in ["user", "plain"] {
        let pool = format!("health-check = {{ interval = \"1h\" }}\nlogin = {login:?}");
        let front = front(&[node.address()], &pool);
        let mut session = Dialogue::open(front.address());
        session.ok("USER alice");
        let refusal = session.err(&format!("PASS {PASSWORD}"));
        assert!(refusal.starts_with("-ERR [SYS/TEMP] mail server is not available"), "{login}: {refusal}");
        session.quit();
        let state = front.server.pool("mail").unwrap().node_states().next().unwrap();
        let why = state.last_error.expect("an error");
        assert!(why.contains("refuses passwords on this connection"), "{why}");
    }
}

#[test]
fn a_node_without_pipelining_gets_one_command_at_a_time() {
    let (checked, overrun) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let node = Scripted::start({
        let (checked, overrun) = (checked.clone(), overrun.clone());
        move |conversation| {
            if !checked.swap(true, Ordering::SeqCst) {
                // The health check: CAPA is not supported.
                conversation.send(b"+OK old\r\n");
                conversation.read_command();
                conversation.send(b"-ERR what?\r\n");
                conversation.read_command();
                return conversation.send(b"+OK\r\n");
            }
            conversation.accept_login();
            while let Some(command) = conversation.read_command() {
                // Bytes that have already arrived were sent before this reply.
                overrun.fetch_or(conversation.has_more(), Ordering::SeqCst);
                let rows = matches!(&*command, "LIST" | "UIDL");
                conversation.send(if rows { b"+OK\r\n.\r\n" } else { b"+OK 0 0\r\n" });
                if command == "QUIT" {
                    return;
                }
            }
        }
    });
    let front = front(&[node.address()], "health-check = { interval = \"1h\" }");
    let mut session = Dialogue::open(front.address());
    assert!(
        session.lines("CAPA").contains(&"PIPELINING".to_owned()),
        "Reprieve offers it to the client all the same"
    );
    session.give_password("alice", PASSWORD);
    session.send_at_once(&["STAT", "NOOP", "LIST", "UIDL", "NOOP", "QUIT"]);
    for multi in [false, false, true, true, false, false] {
        session.accepted();
        if multi {
            session.body();
        }
    }
    session.closed();
    assert!(!overrun.load(Ordering::SeqCst));
}

/// A node that lists TOP and UIDL only after the login, which RFC 2449, section 5, allows. `after`
/// is its reply to that CAPA; `None` hangs up. `asked` counts these CAPAs.
fn listing_more_after_the_login(after: Option<&'static [u8]>, asked: &Arc<AtomicU32>) -> Scripted {
    let asked = asked.clone();
    Scripted::start(move |conversation| {
        conversation.send(b"+OK ready\r\n");
        let mut logged_in = false;
        while let Some(command) = conversation.read_command() {
            match command.split(' ').next().unwrap() {
                "CAPA" if logged_in => {
                    asked.fetch_add(1, Ordering::SeqCst);
                    match after {
                        Some(answer) => conversation.send(answer),
                        None => return,
                    }
                }
                "CAPA" => conversation.send(b"+OK\r\nUSER\r\nPIPELINING\r\nRESP-CODES\r\n.\r\n"),
                "PASS" => {
                    logged_in = true;
                    conversation.send(b"+OK in\r\n");
                }
                "STAT" => conversation.send(b"+OK 0 0\r\n"),
                "LIST" | "UIDL" => conversation.send(b"+OK\r\n.\r\n"),
                "QUIT" => return conversation.send(b"+OK\r\n"),
                _ => conversation.send(b"+OK\r\n"),
            }
        }
    })
}

/// A proxy in front of these nodes that passes every login.
fn passing(nodes: &[SocketAddr], pool: &str) -> Proxy {
    Setup { policy: "settings = { interval = \"0s\" }", pool, ..Setup::default() }.in_front_of(nodes)
}

fn promised(front: &Proxy) -> String {
    let mut session = Dialogue::open(front.address());
    let lines = session.lines("CAPA");
    session.quit();
    lines.join(" ")
}

#[test]
fn capabilities_after_the_login_are_learned_once_and_offered() {
    const MORE: &[u8] = b"+OK\r\nTOP\r\nUIDL\r\nEXPIRE NEVER\r\n.\r\n";
    let asked = Arc::new(AtomicU32::new(0));
    let node = listing_more_after_the_login(Some(MORE), &asked);
    let front = passing(&[node.address()], "health-check = { interval = \"1h\" }");
    assert_eq!(promised(&front), "RESP-CODES AUTH-RESP-CODE PIPELINING USER SASL PLAIN LOGIN");
    for login in 1..=5 {
        let mut session = Dialogue::open(front.address());
        // The client does not see the proxy's own CAPA.
        session.send_at_once(&["USER alice", "PASS x", "STAT", "UIDL", "CAPA", "QUIT"]);
        session.accepted();
        assert_eq!(session.accepted(), "in");
        assert_eq!(session.accepted(), "0 0");
        session.accepted();
        assert!(session.body().is_empty());
        session.accepted();
        assert_eq!(
            session.body().join(" "),
            "TOP UIDL RESP-CODES AUTH-RESP-CODE PIPELINING",
            "login {login}"
        );
        session.accepted();
        session.closed();
    }
    assert_eq!(promised(&front), "TOP UIDL RESP-CODES AUTH-RESP-CODE PIPELINING USER SASL PLAIN LOGIN");
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    assert_eq!(node.connections(), 6, "one check, five logins");
}

#[test]
fn a_failed_capa_after_the_login_costs_at_most_one_login() {
    for (after, first_fails) in
        [(Some(&b"-ERR what?\r\n"[..]), false), (Some(b"rubbish\r\n"), true), (None, true)]
    {
        let asked = Arc::new(AtomicU32::new(0));
        let node = listing_more_after_the_login(after, &asked);
        let front = passing(&[node.address()], "health-check = { interval = \"1h\" }");
        for login in 1..=4 {
            let mut session = Dialogue::open(front.address());
            session.ok("USER alice");
            session.send("PASS x");
            let reply = session.line();
            let fails = first_fails && login == 1;
            assert_eq!(
                reply,
                if fails {
                    "-ERR [SYS/TEMP] mail server is not available, try again later"
                } else {
                    "+OK in"
                }
            );
            session.quit();
        }
        assert_eq!(asked.load(Ordering::SeqCst), 1, "{after:?}");
        assert!(!promised(&front).contains("UIDL"));
        assert!(front.server.pool("mail").unwrap().node_states().all(|node| node.healthy));
    }
}

#[test]
fn capabilities_after_the_login_are_offered_only_if_all_nodes_have_them() {
    let asked = Arc::new(AtomicU32::new(0));
    let more = listing_more_after_the_login(Some(b"+OK\r\nTOP\r\nUIDL\r\n.\r\n"), &asked);
    let less = listing_more_after_the_login(Some(b"+OK\r\nUIDL\r\n.\r\n"), &asked);
    let (more, less) = (more.address(), less.address());
    let front = passing(&[more, less], "health-check = { interval = \"1h\" }");
    for _ in 0..4 {
        let mut session = Dialogue::open(front.address());
        session.give_password("alice", "x");
        session.quit();
    }
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    assert_eq!(promised(&front), "UIDL RESP-CODES AUTH-RESP-CODE PIPELINING USER SASL PLAIN LOGIN");
}

#[test]
fn a_name_is_resolved_again_after_its_time_to_live() {
    let mut first = FarmNode::start();
    // The same port at another address of this machine.
    let address = format!("127.0.0.2:{}", first.address().port()).parse().unwrap();
    let second = FarmNode::at_address(address);
    let last_number = Arc::new(AtomicU32::new(1));
    let names = name_server(last_number.clone());
    let setup = Setup {
        top: &format!("name-servers = [\"{names}\"]"),
        pool: "health-check = { interval = \"1h\" }\nretry-after = \"1s\"",
        ..Setup::default()
    };
    let front = setup.in_front_of(&[format!("mail.example:{}", first.address().port())]);
    let log_in = || {
        let mut session = Dialogue::open(front.address());
        session.give_password("alice", PASSWORD);
        session.quit();
        front.clock.advance(std::time::Duration::from_secs(3600));
    };
    log_in();
    assert_eq!((first.logins(), second.logins()), (1, 0));
    last_number.store(2, Ordering::SeqCst);
    first.kill();
    until("the new address is resolved", || {
        let state = front.server.pool("mail").unwrap().node_states().next().unwrap();
        let mut session = Dialogue::open(front.address());
        // Not alice: Reprieve would answer her login itself while no node can be reached.
        session.ok("USER bob");
        session.send(&format!("PASS {PASSWORD}"));
        let accepted = session.line().starts_with("+OK");
        assert!(accepted || !state.healthy || state.last_error.is_some() || first.logins() == 1);
        accepted
    });
    assert_eq!(second.logins(), 1);
}

/// A name server with one address for every name and a time to live of one second.
fn name_server(last_number: Arc<AtomicU32>) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((length, client)) = socket.recv_from(&mut query) {
            let query = &query[..length];
            // The question ends with a root label, a type and a class.
            let Some(end) = query[12..].iter().position(|&byte| byte == 0).map(|at| 12 + at + 5) else {
                continue;
            };
            let is_a = query[end - 4..end - 2] == [0, 1];
            let mut answer = query[..2].to_vec();
            answer.extend_from_slice(&[0x81, 0x80, 0, 1, 0, u8::from(is_a), 0, 0, 0, 0]);
            answer.extend_from_slice(&query[12..end]);
            if is_a {
                answer.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 127, 0, 0]);
                answer.push(u8::try_from(last_number.load(Ordering::SeqCst)).unwrap());
            }
            let _ = socket.send_to(&answer, client);
        }
    });
    address
}
