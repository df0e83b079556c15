//! Signals while a new process takes over from a running one.

use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::SIGNALS;
use super::history::{Proxies, SiteSettings};
use crate::support::http::ask_at;
use crate::support::{mail_server, until};

#[test]
fn signals_are_answered_by_the_process_that_serves() {
    let mail = mail_server(1);
    let proxies = Proxies::start(SiteSettings::in_front_of(mail.address()));
    // Each over a connection of its own: the kernel gives it to one of the processes that listen.
    let signals = || -> Vec<u16> {
        let authorization = format!("Authorization: Bearer {SIGNALS}");
        let signal = |_| ask_at(proxies.admin(0), "POST /new-mail/mail", &[&authorization], "alice");
        (0..20).map(|number| signal(number).expect("an answer").status).collect()
    };
    let next = proxies.begin_takeover(0);
    next.signal("-STOP");
    assert_eq!(signals(), [503; 20], "the running process has handed over its users");
    next.signal("-CONT");
    proxies.finish_takeover(0, next);
    proxies.wait_for_retired();
    assert_eq!(signals(), [200; 20]);
}

/// Sends as long as a process takes over.
fn during_a_takeover<T: Send>(proxies: &Proxies, send: impl Fn() -> T + Sync) -> Vec<T> {
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
        sending.join().unwrap()
    })
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
    let sent = during_a_takeover(&proxies, || sender.send_to(b"alice", &path));
    let failed: Vec<_> = sent.iter().filter(|sent| sent.is_err()).collect();
    assert!(failed.is_empty(), "{} of {}: {:?}", failed.len(), sent.len(), failed[0]);
    let signals = || proxies.metric(0, "reprieve_new_mail_signals", "source=\"socket\"").unwrap();
    let before = signals();
    sender.send_to(b"alice", &path).unwrap();
    until("the new process reads the datagram", || signals() > before);
}
