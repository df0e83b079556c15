//! Clients and mail servers that send or request too much take no memory.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::alone::alone;
use crate::resident;
use crate::support::DEADLINE;
use crate::support::dialogue::Dialogue;
use crate::support::mail_server;
use crate::support::proxy::Setup;
use crate::support::scripted::Scripted;

#[test]
fn ten_megabytes_without_a_line_end_are_one_error_and_take_no_memory() {
    let _alone = alone();
    let mail = mail_server(0);
    let reprieve = Setup::default().in_front_of(&[mail.address()]);
    let mut stream = TcpStream::connect(reprieve.address()).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let before = resident();
    for _ in 0..640 {
        stream.write_all(&[b'A'; 16 << 10]).unwrap();
    }
    stream.write_all(b"\r\nNOOP\r\nQUIT\r\n").unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    assert_eq!(said, "+OK ready\r\n-ERR line too long\r\n+OK\r\n+OK bye\r\n");
    let grown = resident().saturating_sub(before);
    assert!(grown < 5 << 20, "{grown} bytes more are resident");
}

#[test]
fn a_client_that_asks_a_lot_and_reads_nothing_takes_no_memory() {
    let _alone = alone();
    let mail = mail_server(200);
    let reprieve = Setup { policy: "settings = { interval = \"10m\" }", ..Setup::default() }
        .in_front_of(&[mail.address()]);
    Dialogue::log_in(&reprieve.account("alice")).quit();
    let mut stream = TcpStream::connect(reprieve.address()).unwrap();
    stream.write_all(b"USER alice\r\nPASS open sesame\r\n").unwrap();
    let before = resident();
    stream.set_nonblocking(true).unwrap();
    let asked = "UIDL\r\n".repeat(1000);
    // Until the kernel's buffers are full, or 200 megabytes of replies are due.
    for _ in 0..30 {
        if stream.write_all(asked.as_bytes()).is_err() {
            break;
        }
    }
    // The proxy still serves others, and does not buffer the replies.
    Dialogue::log_in(&reprieve.account("alice")).quit();
    let grown = resident().saturating_sub(before);
    assert!(grown < 20 << 20, "{grown} bytes more are resident");
}

#[test]
fn an_endless_listing_fails_an_upgrade_and_takes_no_memory() {
    let _alone = alone();
    let endless = AtomicBool::new(false);
    let node = Scripted::start(move |server| {
        server.accept_login();
        if endless.swap(true, Ordering::SeqCst) {
            server.read_command();
            server.send(b"+OK\r\n");
            // Far more than any maildrop has, but finite, so that a failing test ends.
            let rows: String = (1..=1000).map(|row| format!("{row} {row:070}\r\n")).collect();
            for _ in 0..2000 {
                server.send(rows.as_bytes());
            }
        } else {
            server.answer(&[
                ("UIDL", "+OK\r\n1 a\r\n.\r\n"),
                ("LIST", "+OK\r\n1 100\r\n.\r\n"),
                ("QUIT", "+OK\r\n"),
            ]);
        }
    });
    let reprieve = Setup::default().in_front_of(&[node.address()]);
    Dialogue::log_in(&reprieve.account("alice")).quit();
    let mut posed = Dialogue::log_in(&reprieve.account("alice"));
    let before = resident();
    assert!(posed.err("RETR 1").starts_with("-ERR [SYS/TEMP]"));
    let grown = resident().saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} bytes more are resident");
    assert_eq!(posed.lines("UIDL"), ["1 a"], "it stays posed");
    posed.quit();
    assert_eq!(reprieve.server.counters().failed_upgrades, 1);
}
