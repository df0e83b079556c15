//! What the end-to-end tests share: a real Dovecot, real clients, a client of single lines, and Reprieve.

pub mod account;
pub mod browser;
pub mod certificates;
pub mod clients;
pub mod components;
pub mod cyrus;
pub mod dialogue;
pub mod dovecot;
pub mod farm;
pub mod guests;
pub mod haproxy;
pub mod http;
pub mod memory;
pub mod ordinary;
pub mod prometheus;
pub mod proxy;
pub mod redis;
pub mod running;
pub mod scripted;
pub mod tool;

use std::time::{Duration, Instant};

use reprieve_mailserver::{MailServer, Settings};

use account::PASSWORD;

/// How long anything that a test waits for may take before the test calls it missing.
///
/// Nothing waits this long in a run that passes; it is generous for loaded machines.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Writes a file that only its owner can read, as Reprieve wants its secrets.
pub fn write_secret(path: &std::path::Path, text: &str) {
    use std::io::Write as _;
    use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path).expect("a file");
    file.set_permissions(std::fs::Permissions::from_mode(0o600)).expect("permissions");
    file.write_all(text.as_bytes()).expect("a file");
}

/// Waits until something holds that no event announces, looking again and again.
#[track_caller]
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < deadline, "still not so: {what}");
        std::thread::yield_now();
    }
}

/// The demo's mail server with a user `alice` who has this many messages.
pub fn mail_server(messages: usize) -> MailServer {
    let server = MailServer::start(Settings { password_rounds: 1, ..Settings::default() })
        .unwrap_or_else(|error| panic!("{error:#}"));
    server.add_user("alice", PASSWORD);
    for number in 0..messages {
        server.deliver("alice", format!("Subject: {number}\r\n\r\n.body {number}\r\n").as_bytes());
    }
    server
}
