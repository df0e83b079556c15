//! Signals while a new process takes over from a running one.

use std::net::SocketAddr;
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::SIGNALS;
use super::history::{Proxies, SiteSettings};
use crate::support::http::ask;
use crate::support::{mail_server, until};

/// As long as Dovecot's script waits for an answer.
const TIMEOUT: Duration = Duration::from_millis(500);

/// Signals over a new connection. Returns the status of the answer.
fn signal(admin: SocketAddr) -> std::io::Result<u16> {
    let stream = std::net::TcpStream::connect(admin)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    let authorization = format!("Authorization: Bearer {SIGNALS}");
    Ok(ask(stream, "POST /new-mail/mail", &[&authorization], "alice")?.status)
}

/// Sends as long as a process takes over, and once more for each of these. Returns the results.
fn during_a_takeover<T: Send>(proxies: &Proxies, more: usize, send: impl Fn() -> T + Sync) -> Vec<T> {
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let sending = scope.spawn(|| {
            let mut results = Vec::new();
            while !is_over.load(Ordering::Relaxed) {
                results.push(send());
                std::thread::sleep(Duration::from_millis(5));
            }
            results
        });
        proxies.take_over(0);
        is_over.store(true, Ordering::Relaxed);
        let mut results = sending.join().unwrap();
        results.extend((0..more).map(|_| send()));
        results
    })
}

#[test]
fn every_signal_over_http_is_answered_during_a_takeover() {
    let mail = mail_server(1);
    let proxies = Proxies::start(SiteSettings::in_front_of(mail.address()));
    let answers = during_a_takeover(&proxies, 50, || signal(proxies.admin(0)));
    let unanswered: Vec<_> = answers.iter().filter(|answer| answer.is_err()).collect();
    // The old process may close a connection that it has not accepted yet, once.
    assert!(unanswered.len() <= 1, "{} of {}: {:?}", unanswered.len(), answers.len(), unanswered[0]);
    let status: Vec<_> = answers.into_iter().flatten().collect();
    assert!(status.iter().all(|status| [200, 503].contains(status)), "{status:?}");
    assert_eq!(status[status.len() - 40..], [200; 40], "the new process serves");
}

#[test]
fn datagrams_find_a_socket_during_a_takeover() {
    let mail = mail_server(1);
    let proxies = Proxies::start(SiteSettings {
        admin: "new-mail-socket = \"@FOLDER@/new-mail.sock\"",
        ..SiteSettings::in_front_of(mail.address())
    });
    let path = proxies.file(0, "new-mail.sock");
    let sender = UnixDatagram::unbound().unwrap();
    let sent = during_a_takeover(&proxies, 0, || sender.send_to(b"alice", &path));
    let failed: Vec<_> = sent.iter().filter(|sent| sent.is_err()).collect();
    assert!(failed.is_empty(), "{} of {}: {:?}", failed.len(), sent.len(), failed[0]);
    let signals = || proxies.metric(0, "reprieve_new_mail_signals", "source=\"socket\"").unwrap();
    let before = signals();
    sender.send_to(b"alice", &path).unwrap();
    until("the new process reads the datagram", || signals() > before);
}
