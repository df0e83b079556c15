//! A virtual server with a hostile policy, and its neighbour with the default policy.

use std::path::Path;
use std::sync::Arc;

use reprieve::config::Config;
use reprieve::server::{Options, Server};
use reprieve_store::clock::ManualClock;

use super::log::{lines_of, log};
use crate::support::account::{Account, PASSWORD, Security};
use crate::support::dialogue::Dialogue;
use crate::support::guests;
use crate::support::proxy::NOON;

/// Two virtual servers: one with a hostile policy, and `neighbour` with the default policy.
pub struct Pair {
    pub server: Server,
    pub clock: Arc<ManualClock>,
    pub name: String,
}

impl Pair {
    pub fn start(name: &str, policy: &str, node: std::net::SocketAddr) -> anyhow::Result<Self> {
        log();
        let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled");
        let text = format!(
            r#"
threads = 1
policy-cache = {cache:?}
[pool.mail]
nodes = ["{node}"]
health-check = "off"
[[virtual-server]]
name = "{name}"
listen = ["127.0.0.1:0"]
pool = "mail"
[virtual-server.policy]
{policy}
[[virtual-server]]
name = "neighbour"
listen = ["127.0.0.1:0"]
pool = "mail"
"#
        );
        let clock = ManualClock::new(NOON);
        let config = Config::parse(&text, "test.toml")?;
        let server = Server::start(config, Options { clock: Some(clock.clone()), ..Options::default() })?;
        Ok(Self { server, clock, name: name.to_owned() })
    }

    pub fn account(&self, server: &str) -> Account {
        Account {
            server: self.server.address(server),
            user: "alice".to_owned(),
            password: PASSWORD.to_owned(),
            security: Security::Cleartext,
        }
    }

    /// The reply to PASS.
    pub fn answer(&self) -> String {
        let mut session = Dialogue::open(self.server.address(&self.name));
        session.ok("USER alice");
        session.send(&format!("PASS {PASSWORD}"));
        let answer = session.line();
        if answer.starts_with("+OK") {
            assert!(session.ok("STAT").starts_with("1 "), "the maildrop itself");
            session.quit();
        }
        answer
    }

    pub fn neighbour_is_served(&self) {
        let mut session = Dialogue::log_in(&self.account("neighbour"));
        assert!(session.ok("STAT").starts_with("1 "));
        session.quit();
    }

    pub fn metrics(&self) -> reprieve_policy_host::MetricsSnapshot {
        self.server.policy_metrics(&self.name).expect("its metrics")
    }

    /// The log line of a failure or an overrun.
    pub fn told(&self) -> String {
        let lines = lines_of(&self.name);
        let failed = |line: &&serde_json::Value| {
            line["message"].as_str().is_some_and(|text| text.starts_with("policy failed"))
        };
        let counted = |line: &&serde_json::Value| !line["count"].is_null();
        let line = lines.iter().find(failed).or_else(|| lines.iter().find(counted));
        let line = line.unwrap_or_else(|| panic!("{}: the log says nothing", self.name));
        assert!(line["policy"].as_str().is_some_and(|policy| policy.ends_with("hostile.wasm")), "{line}");
        line["message"].as_str().expect("a message").to_owned()
    }
}

pub fn hostile(at: &str, how: &str, more: &str) -> String {
    format!("component = {:?}\nsettings = {{ at = \"{at}\", how = \"{how}\" }}\n{more}", guests::hostile())
}
