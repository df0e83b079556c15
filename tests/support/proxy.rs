//! Reprieve inside the test process, with a clock that stands still until the test moves it.

use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use reprieve::config::{Config, NodeMode};
use reprieve::server::{Options, Server};
use reprieve_store::clock::ManualClock;

use super::account::{Account, PASSWORD, Security};
use super::dialogue::Dialogue;
use super::dovecot::Dovecot;

/// The default policy's interval, for tests that let it pass.
pub const INTERVAL: Duration = Duration::from_secs(600);

/// 10 March 2026, 12:00 in Berlin, in Unix milliseconds: far from the next day.
pub const NOON: u64 = 1_773_140_400_000;

/// The name of the virtual server.
const NAME: &str = "pop3";

/// A configuration of one virtual server, `pop3`, with one pool, `mail`. The fields are lines of
/// TOML.
#[derive(Clone, Copy)]
pub struct Setup<'a> {
    /// Top-level keys.
    pub top: &'a str,
    /// Keys and tables of the virtual server.
    pub server: &'a str,
    /// Keys of its policy.
    pub policy: &'a str,
    /// Keys of the pool other than its nodes; by default, health checks are off.
    pub pool: &'a str,
    /// Worker threads.
    pub threads: usize,
    /// An idle timeout shorter than a configuration may set.
    pub idle_timeout: Option<Duration>,
}

impl Default for Setup<'_> {
    fn default() -> Self {
        Self {
            top: "",
            server: "",
            policy: "",
            pool: "health-check = \"off\"",
            threads: 1,
            idle_timeout: None,
        }
    }
}

impl Setup<'_> {
    /// The configuration with these nodes, as TOML. A node is an address, or a table in braces.
    pub fn text<N: Display>(&self, nodes: &[N]) -> String {
        let nodes = nodes.iter().map(|node| match node.to_string() {
            table if table.starts_with('{') => table,
            address => format!("\"{address}\""),
        });
        let nodes: Vec<_> = nodes.collect();
        format!(
            r#"
threads = {threads}
{top}
[pool.mail]
nodes = [{nodes}]
{pool}

[[virtual-server]]
name = "{NAME}"
listen = ["127.0.0.1:0"]
pool = "mail"
time-zone = "Europe/Berlin"
banner = "ready"
{server}
[virtual-server.policy]
{policy}
"#,
            threads = self.threads,
            top = self.top,
            nodes = nodes.join(", "),
            pool = self.pool,
            server = self.server,
            policy = self.policy
        )
    }

    /// Starts Reprieve in front of these nodes.
    #[track_caller]
    pub fn in_front_of<N: Display>(&self, nodes: &[N]) -> Proxy {
        self.try_in_front_of(nodes).unwrap_or_else(|error| panic!("{error:#}"))
    }

    /// Starts Reprieve in front of these nodes with a clock that several proxies share.
    #[track_caller]
    pub fn with_clock<N: Display>(&self, nodes: &[N], clock: Arc<ManualClock>) -> Proxy {
        self.start(nodes, clock).unwrap_or_else(|error| panic!("{error:#}"))
    }

    /// Starts Reprieve in front of these nodes; the error is the one that an administrator sees.
    pub fn try_in_front_of<N: Display>(&self, nodes: &[N]) -> anyhow::Result<Proxy> {
        self.start(nodes, ManualClock::new(NOON))
    }

    fn start<N: Display>(&self, nodes: &[N], clock: Arc<ManualClock>) -> anyhow::Result<Proxy> {
        let mut config = Config::parse(&self.text(nodes), "test.toml")?;
        if let Some(timeout) = self.idle_timeout {
            config.virtual_servers[0].idle_timeout = timeout;
        }
        Proxy::run(config, clock)
    }
}

/// A running Reprieve; dropping it stops it.
pub struct Proxy {
    /// The server itself.
    pub server: Server,
    /// Its clock, which starts at noon.
    pub clock: Arc<ManualClock>,
}

impl Proxy {
    /// Starts Reprieve with a configuration.
    #[track_caller]
    pub fn start(text: &str) -> Self {
        Self::with(text, |_| {})
    }

    /// Starts Reprieve with a configuration and with settings that a configuration may not have,
    /// such as very short timeouts.
    #[track_caller]
    pub fn with(text: &str, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::parse(text, "test.toml").unwrap_or_else(|error| panic!("{error}"));
        change(&mut config);
        Self::run(config, ManualClock::new(NOON)).unwrap_or_else(|error| panic!("{error:#}"))
    }

    /// Starts Reprieve with this clock.
    pub fn run(config: Config, clock: Arc<ManualClock>) -> anyhow::Result<Self> {
        let server = Server::start(config, Options { clock: Some(clock.clone()), ..Options::default() })?;
        Ok(Self { server, clock })
    }

    /// Starts Reprieve with the default policy and its default interval in front of a Dovecot.
    #[track_caller]
    pub fn in_front_of(dovecot: &Dovecot) -> Self {
        Setup::default().in_front_of(&[dovecot.address()])
    }

    /// Where clients connect in cleartext.
    pub fn address(&self) -> SocketAddr {
        self.server.address(NAME)
    }

    /// Where clients connect with implicit TLS.
    pub fn tls_address(&self) -> SocketAddr {
        self.server.addresses_of(NAME)[1]
    }

    /// The account of a user of the demo's mail server, through this proxy.
    pub fn account(&self, user: &str) -> Account {
        Account {
            server: self.address(),
            user: user.to_owned(),
            password: PASSWORD.to_owned(),
            security: Security::Cleartext,
        }
    }

    /// Cuts this session off from its mail server, so that it leaves no snapshot.
    #[track_caller]
    pub fn lose(&self, node: SocketAddr, session: Dialogue) {
        let pool = self.server.pool("mail").expect("the pool");
        let set = |mode| pool.set_mode(&node.to_string(), mode).expect("the node");
        set(NodeMode::Disabled);
        session.closed();
        set(NodeMode::Enabled);
    }

    /// Moves the clock past the interval, so that everybody's next login passes.
    pub fn let_the_interval_pass(&self) {
        self.clock.advance(INTERVAL);
    }

    /// Logins that the policy has denied.
    pub fn denied(&self) -> u64 {
        self.server.counters().denied
    }

    /// Posed sessions that were upgraded.
    pub fn upgrades(&self) -> u64 {
        self.server.counters().upgrades
    }
}
