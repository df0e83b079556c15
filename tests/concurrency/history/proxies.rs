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
        let redis = (share != Share::Alone).then(|| Redis::start(Make::Valkey));
        let urls: Vec<_> = redis.iter().flat_map(|redis| [redis.url(), redis.url()]).collect();
        let proxies = Self::sharing(share, node, &urls, Duration::from_secs(10));
        Self { store: redis, ..proxies }
    }

    /// Starts one for each URL of a store, which is the same store by different ways; or one alone.
    #[track_caller]
    pub fn sharing(share: Share, node: SocketAddr, urls: &[String], timeout: Duration) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let secret = folder.path().join("secret");
        crate::support::write_secret(&secret, "the secret that proxies of this site have\n");
        let keeps = if share == Share::Tags { "tags" } else { "tags+snapshots" };
        let timeout = timeout.as_millis();
        let store = |url: &String| {
            format!(
                "[store]\nbackend = \"redis\"\nurl = \"{url}\"\ntimeout = \"{timeout}ms\"\nshare = \"{keeps}\"\nsecret-file = {secret:?}\n"
            )
        };
        let mut stores: Vec<_> = urls.iter().map(store).collect();
        if stores.is_empty() {
            stores.push(String::new());
        }
        let policy = format!(
            "settings = {{ interval = \"{}s\", reset = \"never\" }}\nlimits = {{ wait = \"10s\", time = \"1s\" }}",
            INTERVAL.as_secs()
        );
        let clock = ManualClock::new(NOON);
        let start = |top: &String| {
            let setup = Setup { top, policy: &policy, threads: 2, ..Setup::default() };
            setup.with_clock(&[node], clock.clone())
        };
        let proxies = stores.iter().map(start).collect();
        Self { proxies, share, clock, store: None, _folder: folder }
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

    /// State and counters of the store, as one of them sees it.
    pub fn store(&self, proxy: usize) -> reprieve_store::StoreStatus {
        self.proxies[proxy].server.view().stores()[0].store.status()
    }

    /// Whether a proxy has lost the store since it had lost it so often, has it again, and has removed from
    /// it what was out of date.
    pub fn has_recovered(&self, proxy: usize, outages: u64) -> bool {
        let store = self.store(proxy);
        let is_back = store.outages > outages && store.health == reprieve_store::Health::Healthy;
        is_back && self.proxies[proxy].server.registry().stale_users() == 0
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
