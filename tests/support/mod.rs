//! What the end-to-end tests share: mail servers, mail clients, other programs, and Reprieve itself.

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

pub mod prometheus;
pub mod proxy;
pub mod redis;
pub mod running;
pub mod scripted;
pub mod tool;
pub mod unprivileged;

use std::time::{Duration, Instant};

use reprieve_mailserver::{MailServer, Settings};

use account::PASSWORD;

/// How long a test waits for something before it fails. Generous, for loaded machines: no test
/// that passes waits this long.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Writes a file that only its owner can read, as Reprieve requires for secrets.
pub fn write_secret(path: &std::path::Path, text: &str) {
    use std::io::Write as _;
    use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path).expect("a file");
    file.set_permissions(std::fs::Permissions::from_mode(0o600)).expect("permissions");
    file.write_all(text.as_bytes()).expect("a file");
}

/// Polls a condition that no event announces, until it holds.
#[track_caller]
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < deadline, "timed out waiting until {what}");
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
