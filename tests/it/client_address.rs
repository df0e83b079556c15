//! The client's own address: accepted from trusted proxies in front of Reprieve, and passed on to
//! the mail server.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use crate::support::DEADLINE;
use crate::support::account::PASSWORD;
use crate::support::certificates::{Age, Authority};
use crate::support::dialogue::Dialogue;
use crate::support::dovecot::{Dovecot, Features, free_address};
use crate::support::guests;
use crate::support::haproxy::HaProxy;
use crate::support::mail_server;
use crate::support::proxy::{Proxy, Setup};
use crate::support::running::Running;

/// The PROXY header of a remote client.
const CLIENT: &str = "PROXY TCP4 192.0.2.7 198.51.100.1 4711 110\r\n";

fn front(node: SocketAddr, server: &str, pool: &str) -> Proxy {
    let pool = format!("health-check = \"off\"\n{pool}");
    Setup { server, pool: &pool, ..Setup::default() }.in_front_of(&[node])
}

/// Connects, sends these bytes, and returns everything until the server closes.
fn said(server: SocketAddr, bytes: &[u8]) -> String {
    let mut tcp = TcpStream::connect(server).unwrap();
    tcp.set_read_timeout(Some(DEADLINE)).unwrap();
    tcp.write_all(bytes).unwrap();
    let mut said = String::new();
    let _ = tcp.read_to_string(&mut said);
    said
}

#[test]
fn a_proxy_header_is_accepted_only_from_trusted_networks() {
    let mail = mail_server(0);
    let commands = format!("{CLIENT}USER alice\r\nPASS {PASSWORD}\r\nQUIT\r\n");
    let trusting = front(mail.address(), "proxy-from = [\"127.0.0.0/8\"]", "");
    assert!(said(trusting.address(), commands.as_bytes()).ends_with("+OK bye\r\n"));
    assert_eq!(trusting.server.counters().authenticated, 1);
    // A trusted proxy must send it.
    assert_eq!(said(trusting.address(), b"USER alice\r\n"), "");
    assert_eq!(trusting.server.counters().failed_handshakes, 1);
    // From others it is an unknown command, and its address is ignored.
    let wary = front(mail.address(), "proxy-from = [\"192.0.2.0/24\"]", "");
    let answer = said(wary.address(), format!("{CLIENT}QUIT\r\n").as_bytes());
    assert!(answer.contains("-ERR unknown command\r\n+OK bye\r\n"), "{answer}");
}

#[test]
fn the_policy_and_the_log_see_the_clients_own_address() {
    let mail = mail_server(0);
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "[[virtual-server]]\nname = \"pop3\"\nlisten = [\"127.0.0.1:0\"]\npool = \"mail\"\n\
         proxy-from = [\"127.0.0.1\"]\n[virtual-server.policy]\ncomponent = {:?}\n\
         [pool.mail]\nnodes = [\"{}\"]\nhealth-check = \"off\"\n",
        guests::mirror(),
        mail.address()
    );
    let mut reprieve = Running::with_configuration(folder.path(), &text);
    let commands = format!("{CLIENT}USER alice\r\nPASS {PASSWORD}\r\nQUIT\r\n");
    assert!(said(reprieve.address(), commands.as_bytes()).ends_with("+OK bye\r\n"));
    let told = reprieve.line_with("Claim");
    assert!(told.contains(r#"peer: Endpoint { address: \"192.0.2.7\", port: 4711 }"#), "{told}");
    assert!(told.contains(r#"local: Endpoint { address: \"198.51.100.1\", port: 110 }"#), "{told}");
    assert!(reprieve.line_with("\"session\"").contains("\"peer\":\"192.0.2.7:4711\""));
}

#[test]
fn limits_apply_to_the_clients_own_address() {
    let mail = mail_server(0);
    let server = "proxy-from = [\"127.0.0.1\"]\nmax-connections-per-address = 1";
    let front = front(mail.address(), server, "");
    let open = |header: &str| {
        let mut tcp = TcpStream::connect(front.address()).unwrap();
        tcp.set_read_timeout(Some(DEADLINE)).unwrap();
        tcp.write_all(header.as_bytes()).unwrap();
        let mut said = vec![0; 200];
        let length = tcp.read(&mut said).unwrap();
        (tcp, String::from_utf8_lossy(&said[..length]).into_owned())
    };
    let (first, said) = open(CLIENT);
    assert!(said.starts_with("+OK"), "{said}");
    let (_, said) = open(CLIENT);
    assert!(said.starts_with("-ERR [SYS/TEMP] too many connections from your address"), "{said}");
    let (_, said) = open(&CLIENT.replace("192.0.2.7", "192.0.2.8"));
    assert!(said.starts_with("+OK"), "{said}");
    drop(first);
}

#[test]
fn dovecot_gets_the_address_by_a_proxy_header_of_either_version() {
    let dovecot = Dovecot::start(&["alice"]);
    for version in ["v1", "v2"] {
        let pool = format!("proxy-protocol = {version:?}");
        let front = front(dovecot.proxied_address(), "proxy-from = [\"127.0.0.1\"]", &pool);
        let commands = format!("{CLIENT}USER alice\r\nPASS {PASSWORD}\r\nQUIT\r\n");
        assert!(said(front.address(), commands.as_bytes()).contains("+OK Logged in"));
    }
    assert_eq!(dovecot.log_lines(&["Login: user=<alice>", "rip=192.0.2.7", "lip=198.51.100.1"]).len(), 2);
}

#[test]
fn dovecot_gets_the_address_by_xclient_if_it_offers_it() {
    for offered in [true, false] {
        let features = Features { xclient: offered, ..Features::default() };
        let dovecot = Dovecot::start_with(&[("alice", PASSWORD)], features);
        let front = front(dovecot.address(), "proxy-from = [\"127.0.0.1\"]", "");
        let commands = format!("{CLIENT}USER alice\r\nPASS {PASSWORD}\r\nQUIT\r\n");
        assert!(said(front.address(), commands.as_bytes()).contains("+OK Logged in"));
        let from_client = dovecot.log_lines(&["Login: user=<alice>", "rip=192.0.2.7"]).len();
        assert_eq!(from_client, usize::from(offered));
    }
}

#[test]
fn password_guesses_reach_dovecot_with_the_clients_address_and_are_limited() {
    let features = Features { xclient: true, ..Features::default() };
    let dovecot = Dovecot::start_with(&[("alice", PASSWORD)], features);
    let front = front(dovecot.address(), "proxy-from = [\"127.0.0.1\"]", "");
    // The mail server verifies each guess, and the session ends after a few.
    let guesses: String = (0..5).map(|guess| format!("USER alice\r\nPASS wrong{guess}\r\n")).collect();
    let answers = said(front.address(), format!("{CLIENT}{guesses}").as_bytes());
    assert_eq!(answers.matches("-ERR [AUTH]").count(), 3, "{answers}");
    assert!(answers.ends_with("-ERR too many failed logins\r\n"), "{answers}");
    let judged = dovecot.log_lines(&["auth failed", "user=<alice>", "rip=192.0.2.7"]);
    assert_eq!(judged.len(), 3, "the mail server verified each guess, with the client's address");
    // The same in the next session: no password is known, so Reprieve answers no login itself.
    let answers = said(front.address(), format!("{CLIENT}{guesses}").as_bytes());
    assert_eq!(answers.matches("-ERR [AUTH]").count(), 3, "{answers}");
}

#[test]
fn haproxy_in_front_passes_on_the_address_and_that_it_terminated_tls() {
    let (authority, dovecot) = (Authority::new(), Dovecot::start(&["alice"]));
    dovecot.deliver("alice");
    let files = authority.server("haproxy", &["localhost"], Age::Valid);
    // Cleartext logins are refused: only TLS connections to HAProxy may log in.
    let server = format!(
        "proxy-from = [\"127.0.0.1\"]\n[virtual-server.tls]\ncertificate = {:?}\nkey = {:?}\n",
        files.chain, files.key
    );
    let pool = "proxy-protocol = \"v2\"";
    let front = front(dovecot.proxied_address(), &server, pool);
    let folder = tempfile::tempdir().unwrap();
    let both = folder.path().join("both.pem");
    let text = std::fs::read_to_string(&files.chain).unwrap() + &std::fs::read_to_string(&files.key).unwrap();
    std::fs::write(&both, text).unwrap();
    let (plain, encrypted) = (free_address(), free_address());
    let sections = format!(
        "frontend plain\n bind {plain}\n default_backend reprieve\n\
         frontend encrypted\n bind {encrypted} ssl crt {both}\n default_backend reprieve\n\
         backend reprieve\n source 127.0.0.1\n server reprieve {at} send-proxy-v2-ssl\n",
        both = both.display(),
        at = front.address(),
    );
    let _haproxy = HaProxy::start(&sections, encrypted);

    let mut session = Dialogue::open(plain);
    assert!(session.err("USER alice").contains("use TLS"));
    session.quit();
    let mut session = Dialogue::open_tls(encrypted, &authority.trusted(None), "localhost");
    let from = session.tcp().local_addr().unwrap();
    session.give_password("alice", PASSWORD);
    session.lines("RETR 1");
    session.quit();
    let line =
        dovecot.log_lines(&["Login: user=<alice>", "rip=127.0.0.1", &format!("lip={}", encrypted.ip())]);
    assert_eq!(line.len(), 1, "from {from}");
}
