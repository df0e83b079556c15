//! Reprieve before a Dovecot, with a clock that stands still until the test moves it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use reprieve::config::Config;
use reprieve::server::{Options, Server};
use reprieve_store::clock::ManualClock;

use super::account::Account;
use super::dovecot::Dovecot;

/// The interval of the policy in all of these tests.
pub const INTERVAL: Duration = Duration::from_secs(600);

/// 10 March 2026, 12:00 in Berlin, in Unix milliseconds: far from the next day.
const NOON: u64 = 1_773_140_400_000;

/// The name of the one virtual server.
const NAME: &str = "pop3";

/// Reprieve with the default policy; dropping it ends it.
pub struct Proxy {
    server: Server,
    clock: Arc<ManualClock>,
}

impl Proxy {
    /// Starts Reprieve on a free port before this server.
    #[track_caller]
    pub fn before(dovecot: &Dovecot) -> Self {
        let text = format!(
            r#"
[[virtual-server]]
name = "{NAME}"
listen = ["127.0.0.1:0"]
pool = "mail"
time-zone = "Europe/Berlin"

[virtual-server.policy]
component = "interval"
settings = {{ interval = "{interval}s" }}

[pool.mail]
nodes = ["{node}"]
check = "off"
"#,
            interval = INTERVAL.as_secs(),
            node = dovecot.address(),
        );
        let config = Config::parse(&text, "test.toml").unwrap_or_else(|error| panic!("{error}"));
        let clock = ManualClock::new(NOON);
        let options = Options { clock: Some(clock.clone()), ..Options::default() };
        let server = Server::start(config, options).unwrap_or_else(|error| panic!("{error:#}"));
        Self { server, clock }
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.server.address(NAME)
    }

    /// The account of a user of the server behind, for clients that come through the proxy.
    pub fn account(&self, dovecot: &Dovecot, user: &str) -> Account {
        dovecot.account_at(self.address(), user)
    }

    /// Lets so much time go by.
    pub fn advance(&self, time: Duration) {
        self.clock.advance(time);
    }

    /// Lets the interval go by: the next login of everybody passes.
    pub fn let_the_interval_pass(&self) {
        self.advance(INTERVAL);
    }

    /// The logins that the policy has denied so far.
    pub fn denied(&self) -> u64 {
        self.server.counters().denied
    }

    /// The posed sessions that had to go on at the server.
    pub fn upgrades(&self) -> u64 {
        self.server.counters().upgrades
    }
}
