//! Reprieve in any set-up, before the demo's small mail server or a scripted one, for tests of
//! octets and failures that no real mail server is needed for.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use reprieve::config::{Config, NodeMode};
use reprieve::server::{Options, Server};
use reprieve_mailserver::{MailServer, Settings};
use reprieve_store::clock::ManualClock;

use super::account::{Account, PASSWORD, Security};
use super::dialogue::Dialogue;

/// 10 March 2026, 12:00 in Berlin, in Unix milliseconds.
pub const NOON: u64 = 1_773_140_400_000;

/// What is set otherwise than usual.
#[derive(Default)]
pub struct Setup<'a> {
    /// Keys of the virtual server, as TOML lines.
    pub server: &'a str,
    /// Keys of its policy, as TOML lines.
    pub policy: &'a str,
    /// Keys at the top, as TOML lines.
    pub top: &'a str,
    /// An idle time-out, which a configuration cannot set as short as a test wants it.
    pub idle_timeout: Option<Duration>,
}

/// A running Reprieve; dropping it ends it.
pub struct Reprieve {
    /// The server itself.
    pub server: Server,
    /// Its clock, which stands at noon.
    pub clock: Arc<ManualClock>,
}

impl Setup<'_> {
    /// Starts Reprieve on a free port before these nodes.
    #[track_caller]
    pub fn before(&self, nodes: &[SocketAddr]) -> Reprieve {
        self.try_before(nodes).unwrap_or_else(|error| panic!("{error:#}"))
    }

    /// Starts it, or tells what the administrator is told.
    pub fn try_before(&self, nodes: &[SocketAddr]) -> anyhow::Result<Reprieve> {
        let nodes: Vec<_> = nodes.iter().map(|node| format!("{:?}", node.to_string())).collect();
        let text = format!(
            r#"
threads = 1
{top}
[pool.mail]
nodes = [{nodes}]
check = "off"

[[virtual-server]]
name = "pop3"
listen = ["127.0.0.1:0"]
pool = "mail"
time-zone = "Europe/Berlin"
banner = "ready"
{server}
[virtual-server.policy]
{policy}
"#,
            top = self.top,
            nodes = nodes.join(", "),
            server = self.server,
            policy = self.policy
        );
        let clock = ManualClock::new(NOON);
        let mut config = Config::parse(&text, "test.toml")?;
        if let Some(timeout) = self.idle_timeout {
            config.virtual_servers[0].idle_timeout = timeout;
        }
        let server = Server::start(config, Options { clock: Some(clock.clone()), ..Options::default() })?;
        Ok(Reprieve { server, clock })
    }
}

impl Reprieve {
    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.server.address("pop3")
    }

    /// Has this session lose its mail server in the middle: it leaves no snapshot.
    #[track_caller]
    pub fn lose(&self, node: SocketAddr, session: Dialogue) {
        let pool = self.server.pool("mail").expect("the pool");
        let set = |mode| pool.set_mode(&node.to_string(), mode).expect("the node");
        set(NodeMode::Disabled);
        session.closed();
        set(NodeMode::Enabled);
    }

    /// A user's account here.
    pub fn account(&self, user: &str) -> Account {
        Account {
            server: self.address(),
            user: user.to_owned(),
            password: PASSWORD.to_owned(),
            security: Security::Cleartext,
        }
    }
}

/// The demo's mail server with a user `alice` who has so many messages.
pub fn mail_server(messages: usize) -> MailServer {
    let server = MailServer::start(Settings { password_rounds: 1, ..Settings::default() })
        .unwrap_or_else(|error| panic!("{error:#}"));
    server.add_user("alice", PASSWORD);
    for number in 0..messages {
        server.deliver("alice", format!("Subject: {number}\r\n\r\n.body {number}\r\n").as_bytes());
    }
    server
}
