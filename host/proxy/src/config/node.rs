//! Nodes: the mail servers of a pool.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use reprieve_settings::format::{Format, Type, boolean, count, custom, optional, word};
use reprieve_settings::{Error, Key, Section, Table, Value};

/// Whether a node gets logins, as the administrator set it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum NodeMode {
    /// Receives logins
    Enabled,
    /// Receives no new logins; open sessions continue
    Drain,
    /// Receives no logins; open sessions are closed
    Disabled,
}

const MODES: &[(&str, NodeMode)] = &[
    (NodeMode::Enabled.name(), NodeMode::Enabled),
    (NodeMode::Drain.name(), NodeMode::Drain),
    (NodeMode::Disabled.name(), NodeMode::Disabled),
];

impl NodeMode {
    /// Its value in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::Drain => "drain",
            Self::Disabled => "disabled",
        }
    }
}

/// A mail server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeConfig {
    /// `host:port`.
    pub address: String,
    /// Its share of the logins, relative to the other nodes.
    pub weight: u32,
    /// Whether it gets logins only if no other node can.
    pub backup: bool,
    /// Maximum number of sessions, if there is one.
    pub max_sessions: Option<u32>,
    /// Its mode at the start.
    pub mode: NodeMode,
}

impl NodeConfig {
    /// A node with default settings.
    #[must_use]
    pub fn new(address: &str) -> Self {
        Self {
            address: address.to_owned(),
            weight: 1,
            backup: false,
            max_sessions: None,
            mode: NodeMode::Enabled,
        }
    }
}

/// A node in the form of a table.
impl Table for NodeConfig {
    type Output = Self;

    fn defaults() -> Self {
        Self::new("")
    }

    fn keys() -> Vec<Key<Self>> {
        vec![
            Key::new(
                "address",
                |node: &mut Self| &mut node.address,
                node_address(),
                "Host and port of the mail server.",
            )
            .required("\"10.0.0.6:110\""),
            Key::new(
                "weight",
                |node: &mut Self| &mut node.weight,
                count(1..=1000),
                "Its share of the logins, relative to the other nodes.",
            ),
            Key::new(
                "backup",
                |node: &mut Self| &mut node.backup,
                boolean(),
                "Whether it gets logins only if no other node can.",
            ),
            Key::new(
                "max-sessions",
                |node: &mut Self| &mut node.max_sessions,
                optional(count(1..=1_000_000)),
                "Maximum number of sessions.",
            )
            .default_text("the pool's `max-sessions`")
            .example("400"),
            Key::new(
                "mode",
                |node: &mut Self| &mut node.mode,
                word(MODES),
                "Mode at the start: `\"drain\"` gives it no new logins, `\"disabled\"` also closes its sessions.",
            ),
        ]
    }

    fn build(self, _: &Section<'_, '_>) -> Result<Self, Error> {
        Ok(self)
    }
}

struct Node;

/// `"HOST:PORT"`, or a table.
pub(super) fn node() -> impl Format<NodeConfig> {
    Node
}

impl Format<NodeConfig> for Node {
    fn parse(&self, value: &Value<'_, '_>) -> Result<NodeConfig, Error> {
        if value.is_table() {
            return NodeConfig::read(&value.section()?);
        }
        node_address().parse(value).map(|address| NodeConfig::new(&address))
    }

    fn print(&self, _: &NodeConfig) -> Option<String> {
        None
    }

    fn describe(&self) -> Type {
        Type::Either(vec![node_address().describe(), Type::Table(NodeConfig::describe())])
    }
}

fn node_address() -> impl Format<String> {
    custom(
        Type::String("host:port"),
        |value| parse_node_address(value.text()?).map_err(|why| value.error(why)),
        |_| None,
    )
}

/// Checks the `host:port` of a node.
pub(super) fn parse_node_address(text: &str) -> Result<String, String> {
    let (host, port) = text.rsplit_once(':').unwrap_or((text, ""));
    let host_is_valid = if host.starts_with('[') {
        text.parse::<SocketAddr>().is_ok()
    } else {
        !host.is_empty() && !host.contains([':', ' ', '/'])
    };
    if host_is_valid && port.parse::<u16>().is_ok_and(|port| port != 0) {
        Ok(text.to_owned())
    } else {
        Err(format!("has {text:?}; a mail server is written as host and port, such as \"10.0.0.5:110\""))
    }
}
