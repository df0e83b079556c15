//! A worker's place: a mail server that it shares with the others, and a Reprieve of its own in front.

use std::sync::Arc;

use super::maildrops::{MailServer, Make, Pair, Servers};
use crate::support::proxy::{Proxy, Setup};
use crate::support::until;
use reprieve::session::CountersSnapshot;

/// Reprieve closes no connection because of what this test sends. An interval ends only if a dialogue
/// says so.
const SERVER: &str =
    "max-bad-commands = 1000\nmax-bad-commands-before-login = 1000\nmax-failed-logins = 1000";
const POLICY: &str = "settings = { interval = \"600s\", reset = \"never\" }";

/// Where a worker's dialogues take place.
pub struct Site<'a> {
    servers: &'a Servers,
    /// The mail server.
    pub server: Arc<MailServer>,
    /// Reprieve; no other worker uses it, so its counters are those of this worker's sessions.
    pub proxy: Proxy,
}

impl<'a> Site<'a> {
    /// Starts Reprieve in front of the current mail server.
    pub fn new(servers: &'a Servers) -> Self {
        let server = servers.current();
        let proxy = in_front_of(&server);
        Self { servers, server, proxy }
    }

    /// Which mail server it is.
    pub fn make(&self) -> Make {
        self.servers.make
    }

    /// Users whom nobody has used.
    pub fn pair(&mut self) -> Pair {
        loop {
            if let Some(pair) = self.server.pair() {
                return pair;
            }
            self.server = self.servers.after(&self.server);
            self.proxy = in_front_of(&self.server);
        }
    }

    /// The counters when no session is open, with all that follows when a client has gone.
    pub fn settled(&self) -> CountersSnapshot {
        let counters = || self.proxy.server.counters();
        until("no session is open", || {
            let now = counters();
            now.begun == now.sessions
        });
        counters()
    }
}

fn in_front_of(server: &MailServer) -> Proxy {
    Setup { server: SERVER, policy: POLICY, ..Setup::default() }.in_front_of(&[server.address()])
}
