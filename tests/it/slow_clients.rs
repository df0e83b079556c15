//! Slow clients and mail servers: stalled ones are cut off in time, and slow ones are served.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::DEADLINE;
use crate::support::account::PASSWORD;
use crate::support::certificates::{Age, Authority};
use crate::support::dialogue::Dialogue;
use crate::support::mail_server;
use crate::support::proxy::{Proxy, Setup};
use crate::support::scripted::Scripted;
use crate::support::until;
use reprieve::config::Config;

fn front(node: SocketAddr, change: impl FnOnce(&mut Config)) -> Proxy {
    Proxy::with(&Setup::default().text(&[node]), change)
}

/// A mail server that sends an endless message until the connection closes.
fn flood() -> (Scripted, Arc<AtomicBool>) {
    let released = Arc::new(AtomicBool::new(false));
    let node = Scripted::start({
        let released = released.clone();
        move |conversation| {
            conversation.accept_login();
            conversation.read_command();
            conversation.send(b"+OK here it comes\r\n");
            let row = [b'x'; 1022];
            while conversation.try_send(&row).is_ok() && conversation.try_send(b"\r\n").is_ok() {}
            released.store(true, Ordering::SeqCst);
        }
    });
    (node, released)
}

/// A client that has requested a message, at a proxy with a short stall timeout.
fn retrieving(node: SocketAddr) -> (Proxy, Dialogue) {
    let front = front(node, |config| {
        config.virtual_servers[0].stall_timeout = Duration::from_millis(300);
    });
    let mut session = Dialogue::open(front.address());
    session.give_password("alice", PASSWORD);
    session.send("RETR 1");
    (front, session)
}

#[test]
fn a_client_that_does_not_read_is_cut_off_and_its_node_freed() {
    let (node, released) = flood();
    let (front, session) = retrieving(node.address());
    // Nothing is read, so the window fills up.
    until("the node is free", || released.load(Ordering::SeqCst));
    until("the session is over", || front.server.pool("mail").unwrap().state().sessions == 0);
    drop(session);
}

#[test]
fn a_client_that_reads_a_byte_per_tick_is_cut_off_too() {
    let (node, released) = flood();
    let (_front, session) = retrieving(node.address());
    let mut byte = [0];
    until("the node is free", || {
        let _ = session.tcp().read(&mut byte);
        std::thread::sleep(Duration::from_millis(5));
        released.load(Ordering::SeqCst)
    });
}

#[test]
fn a_client_that_reads_slowly_but_steadily_gets_everything() {
    let mail = mail_server(0);
    let body: String = (0..6000).map(|line| format!("{line:0998}\r\n")).collect();
    mail.deliver("alice", format!("Subject: six megabytes\r\n\r\n{body}").as_bytes());
    let front = front(mail.address(), |config| {
        config.virtual_servers[0].stall_timeout = Duration::from_millis(200);
    });
    let mut session = Dialogue::open(front.address());
    session.give_password("alice", PASSWORD);
    session.send("RETR 1");
    session.accepted();
    // Four times the timeout in total, with shorter pauses.
    let began = Instant::now();
    let mut lines = 0;
    while session.line() != "." {
        lines += 1;
        if lines % 750 == 0 {
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    assert_eq!(lines, 6002);
    assert!(began.elapsed() > Duration::from_millis(800));
    session.quit();
}

#[test]
fn a_command_that_comes_byte_by_byte_does_not_keep_a_session_alive() {
    let mail = mail_server(1);
    for posed in [false, true] {
        let front = front(mail.address(), |config| {
            config.virtual_servers[0].idle_timeout = Duration::from_millis(500);
        });
        if posed {
            let mut first = Dialogue::open(front.address());
            first.give_password("alice", PASSWORD);
            first.quit();
        }
        let mut session = Dialogue::open(front.address());
        session.give_password("alice", PASSWORD);
        let mut tcp = session.tcp().try_clone().unwrap();
        let writing = std::thread::spawn(move || {
            // One byte at a time of an endless command, until the connection closes.
            while tcp.write_all(b"N").is_ok() {
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        let began = Instant::now();
        assert_eq!(session.refused(), "-ERR disconnected for inactivity", "posed: {posed}");
        assert!(began.elapsed() < DEADLINE / 2);
        let _ = session.tcp().shutdown(Shutdown::Both);
        writing.join().unwrap();
        assert_eq!(front.server.counters().posed, u64::from(posed));
    }
}

#[test]
fn a_login_that_comes_byte_by_byte_has_a_time_limit() {
    let mail = mail_server(0);
    let front = front(mail.address(), |config| {
        config.virtual_servers[0].login_timeout = Duration::from_millis(400);
    });
    let mut session = Dialogue::open(front.address());
    let mut tcp = session.tcp().try_clone().unwrap();
    let writing = std::thread::spawn(move || {
        while tcp.write_all(b"CAPA").is_ok() {
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    // One error for the overlong command, then the timeout.
    let said = session.refused();
    let said = if said == "-ERR line too long" { session.refused() } else { said };
    assert_eq!(said, "-ERR disconnected for inactivity");
    let _ = session.tcp().shutdown(Shutdown::Both);
    writing.join().unwrap();
}

#[test]
fn a_posed_listing_that_the_client_does_not_read_ends_the_session() {
    let mail = mail_server(0);
    for _ in 0..20_000 {
        mail.deliver("alice", b"Subject: many\r\n\r\n");
    }
    let front = front(mail.address(), |config| {
        config.virtual_servers[0].stall_timeout = Duration::from_millis(300);
    });
    let mut first = Dialogue::open(front.address());
    first.give_password("alice", PASSWORD);
    first.quit();
    let mut session = Dialogue::open(front.address());
    session.give_password("alice", PASSWORD);
    let many = ["LIST"; 60];
    session.send_at_once(&many);
    let sessions = front.server.counters().sessions;
    until("the session is over", || front.server.counters().sessions > sessions);
    drop(session);
}

#[test]
fn a_node_that_stalls_during_a_message_ends_the_session_without_a_final_dot() {
    let node = Scripted::start(|conversation| {
        conversation.accept_login();
        conversation.read_command();
        conversation.send(b"+OK half of it\r\nSubject: half\r\n\r\nhalf");
        // Then nothing, until Reprieve gives up.
        conversation.read_command();
    });
    let pool = "health-check = \"off\"\nreply-timeout = \"300ms\"";
    let front = Setup { pool, ..Setup::default() }.in_front_of(&[node.address()]);
    let mut session = Dialogue::open(front.address());
    session.give_password("alice", PASSWORD);
    session.send("RETR 1");
    assert!(session.accepted().starts_with("half of it"));
    let mut rest = Vec::new();
    assert_eq!(session.line(), "Subject: half");
    assert_eq!(session.line(), "");
    let _ = session.rest(&mut rest);
    assert_eq!(rest, b"half", "no dot that ends what has no end");
}

#[test]
fn a_half_closed_tls_client_gets_everything_it_requested() {
    let (authority, mail) = (Authority::new(), mail_server(3));
    let files = authority.server("front", &["localhost"], Age::Valid);
    let front = Setup { server: &files.virtual_server(), ..Setup::default() }.in_front_of(&[mail.address()]);
    let tcp = TcpStream::connect(front.tls_address()).unwrap();
    tcp.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut stream = crate::support::dialogue::handshake(tcp, &authority.trusted(None), "localhost").unwrap();
    let commands = format!("USER alice\r\nPASS {PASSWORD}\r\nRETR 1\r\nRETR 2\r\nRETR 3\r\nQUIT\r\n");
    stream.write_all(commands.as_bytes()).unwrap();
    // The client closes its sending side properly.
    stream.conn.send_close_notify();
    stream.flush().unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).expect("an end that was announced");
    assert_eq!(said.matches("\r\n.\r\n").count(), 3, "{said}");
    assert!(said.trim_end().lines().last().is_some_and(|line| line.starts_with("+OK")), "{said}");
}
