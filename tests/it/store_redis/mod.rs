//! Stores in Redis and Valkey: failures, TLS, passwords and sentinels, and transfers between
//! backends.

mod connections;
mod failures;
mod transfer;

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use reprieve_mailserver::{MailServer, Settings};

use crate::support::account::PASSWORD;
use crate::support::dialogue::Dialogue;
use crate::support::proxy::Setup;

const TIMEOUT: Duration = Duration::from_millis(250);

fn configuration(folder: &Path, node: SocketAddr, store: &str) -> String {
    let secret = folder.join("secret");
    crate::support::write_secret(&secret, "the secret that proxies of this site have\n");
    let top = format!(
        "[store]\nbackend = \"redis\"\n{store}\nshare = \"tags+snapshots\"\nsecret-file = {secret:?}\n"
    );
    Setup { top: &top, policy: "settings = { interval = \"1h\" }", ..Setup::default() }.text(&[node])
}

/// A mail server whose users have two messages each.
fn mail_server() -> MailServer {
    let server = MailServer::start(Settings { password_rounds: 1, ..Settings::default() }).unwrap();
    for user in 0..40 {
        let user = format!("user{user}");
        server.add_user(&user, PASSWORD);
        server.deliver(&user, b"Subject: one\r\n\r\none\r\n");
        server.deliver(&user, b"Subject: two\r\n\r\ntwo\r\n");
    }
    server
}

/// Logs in, lists and quits; returns the duration of the login.
fn poll(server: SocketAddr, user: usize) -> Duration {
    let mut dialogue = Dialogue::open(server);
    dialogue.ok(&format!("USER user{user}"));
    let began = Instant::now();
    dialogue.ok(&format!("PASS {PASSWORD}"));
    let took = began.elapsed();
    assert_eq!(dialogue.lines("UIDL").len(), 2);
    dialogue.quit();
    took
}
