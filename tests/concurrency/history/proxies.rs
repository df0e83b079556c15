//! One proxy, or two that share a store, with one clock.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use reprieve_store::clock::ManualClock;
use tempfile::TempDir;

use crate::support::proxy::{NOON, Proxy, Setup};
use crate::support::redis::{Make, Redis};
use crate::support::until;

/// How long a user is denied after a login.
pub const INTERVAL: Duration = Duration::from_secs(600);

/// How many proxies there are, and what they know of each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// One, with all that it knows in its memory.
    Alone,
    /// Two that share credentials and snapshots.
    Snapshots,
    /// Two that share credentials, and which session saw a maildrop last.
    Tags,
}

/// Running proxies; dropping them ends them.
pub struct Proxies {
    proxies: Vec<Proxy>,
    share: Share,
    clock: Arc<ManualClock>,
    store: Option<Redis>,
    _folder: TempDir,
}

impl Proxies {
    /// Starts them in front of a mail server.
    #[track_caller]
    pub fn start(share: Share, node: SocketAddr) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let secret = folder.path().join("secret");
        crate::support::write_secret(&secret, "the secret that proxies of this site have\n");
        let (count, redis) = match share {
            Share::Alone => (1, None),
            Share::Snapshots | Share::Tags => (2, Some(Redis::start(Make::Valkey))),
        };
        let store = redis.as_ref().map_or_else(String::new, |redis| {
            let share = if share == Share::Tags { "tags" } else { "tags+snapshots" };
            let url = redis.url();
            format!(
                "[store]\nbackend = \"redis\"\nurl = \"{url}\"\ntimeout = \"10s\"\nshare = \"{share}\"\nsecret-file = {secret:?}\n"
            )
        });
        let policy = format!(
            "settings = {{ interval = \"{}s\", reset = \"never\" }}\nlimits = {{ wait = \"10s\", time = \"1s\" }}",
            INTERVAL.as_secs()
        );
        let setup = Setup { top: &store, policy: &policy, threads: 2, ..Setup::default() };
        let clock = ManualClock::new(NOON);
        let proxies = (0..count).map(|_| setup.with_clock(&[node], clock.clone())).collect();
        Self { proxies, share, clock, store: redis, _folder: folder }
    }

    /// What they share.
    pub fn share(&self) -> Share {
        self.share
    }

    /// Their clock.
    pub fn clock(&self) -> &Arc<ManualClock> {
        &self.clock
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.proxies.len()
    }

    /// Where one of them listens.
    pub fn address(&self, proxy: usize) -> SocketAddr {
        self.proxies[proxy].address()
    }

    /// The store that they share loses everything.
    pub fn lose_store(&self) {
        self.store.as_ref().expect("they share one").ask(&["flushall"]);
    }

    /// Counts something at all of them together.
    pub fn counted(&self, what: impl Fn(&reprieve::session::CountersSnapshot) -> u64) -> u64 {
        self.proxies.iter().map(|proxy| what(&proxy.server.counters())).sum()
    }

    /// Waits until all sessions but so many are over, with all that comes after a client has gone.
    #[track_caller]
    pub fn wait_for_open(&self, sessions: u64) {
        until("the other sessions are over", || {
            let begun = self.counted(|counters| counters.begun);
            begun - self.counted(|counters| counters.sessions) == sessions
        });
    }
}
