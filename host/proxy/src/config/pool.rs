//! Pools and nodes: what can be set of them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::tls::{NodeTls, node_tls};
use reprieve_settings::Location;
use reprieve_settings::{Error, Value};

/// Which node a login goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    /// Each in its turn, by weight.
    RoundRobin,
    /// The one with the fewest sessions for its weight.
    LeastSessions,
    /// The same one for the same user (rendezvous hashing), as long as it can be reached.
    User,
}

/// Which PROXY header a node is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyHeader {
    /// None.
    Off,
    /// The line of version 1.
    V1,
    /// The octets of version 2.
    V2,
}

/// By which commands Reprieve logs in with a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeLogin {
    /// `USER` and `PASS`.
    User,
    /// `AUTH PLAIN`.
    Plain,
}

/// Whether a node gets logins, as the administrator wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum NodeMode {
    /// It gets logins
    Enabled,
    /// It gets no new ones; its sessions go on
    Drain,
    /// It gets none, and its sessions are ended
    Disabled,
}

impl NodeMode {
    /// As it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
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
    /// Its share beside the others'.
    pub weight: u32,
    /// Whether it gets logins only while no other can.
    pub backup: bool,
    /// Sessions that it may have at once, where that is limited.
    pub max_sessions: Option<u32>,
    /// How it begins.
    pub mode: NodeMode,
}

impl NodeConfig {
    /// A node with the usual settings.
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

/// How nodes are asked whether they are well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckConfig {
    /// Between two checks of a node that is up.
    pub interval: Duration,
    /// Checks that must succeed in a row before a node is up again.
    pub rise: u32,
    /// Checks or logins that must fail in a row before it is down.
    pub fall: u32,
}

/// Who logs in for users that are known by their certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MasterConfig {
    /// Name of the master user at the mail servers.
    pub user: String,
    /// The file whose first line is the password.
    pub password_file: PathBuf,
    /// Where it is named.
    pub location: Location,
}

/// A group of mail servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolConfig {
    /// Its name.
    pub name: String,
    /// Its mail servers.
    pub nodes: Vec<NodeConfig>,
    /// Which one a login goes to.
    pub balance: Balance,
    /// How long connecting to an address of a node and its greeting may take.
    pub connect_timeout: Duration,
    /// How long a node may take to judge a login.
    pub login_timeout: Duration,
    /// How long a node may be silent while a reply of its is awaited.
    pub reply_timeout: Duration,
    /// How long a node that could not be reached is tried last.
    pub retry_after: Duration,
    /// TLS towards them.
    pub tls: NodeTls,
    /// Which PROXY header they are sent.
    pub proxy_header: ProxyHeader,
    /// Whether they are told the client's address by XCLIENT where they offer it.
    pub xclient: bool,
    /// By which commands Reprieve logs in with a password.
    pub login: NodeLogin,
    /// Who logs in for users with certificates.
    pub master: Option<MasterConfig>,
    /// How they are asked whether they are well; None asks only by logins.
    pub check: Option<CheckConfig>,
    /// How long a node that comes back takes to get its whole share.
    pub slow_start: Duration,
    /// How long a login may wait while all nodes have as many sessions as they may.
    pub queue_timeout: Duration,
    /// How many may wait so.
    pub queue_length: u32,
}

impl PoolConfig {
    /// A pool with the usual settings.
    #[must_use]
    pub fn new(name: &str, nodes: Vec<String>) -> Self {
        Self {
            name: name.to_owned(),
            nodes: nodes.iter().map(|address| NodeConfig::new(address)).collect(),
            balance: Balance::RoundRobin,
            connect_timeout: Duration::from_secs(5),
            login_timeout: Duration::from_secs(60),
            reply_timeout: Duration::from_secs(300),
            retry_after: Duration::from_secs(5),
            tls: NodeTls::default(),
            proxy_header: ProxyHeader::Off,
            xclient: true,
            login: NodeLogin::User,
            master: None,
            check: Some(CheckConfig { interval: Duration::from_secs(30), rise: 2, fall: 3 }),
            slow_start: Duration::from_secs(10),
            queue_timeout: Duration::from_secs(10),
            queue_length: 1000,
        }
    }
}

pub(super) fn pool(name: &str, value: &Value<'_, '_>) -> Result<PoolConfig, Error> {
    let mut section = value.section()?;
    let nodes = section.required("nodes", "[\"10.0.0.5:110\"]")?;
    let mut pool = PoolConfig::new(name, Vec::new());
    let each = section.get("max-sessions").map(|value| value.count_u32(1, 1_000_000)).transpose()?;
    for value in nodes.list()? {
        let mut node = node(&value)?;
        node.max_sessions = node.max_sessions.or(each);
        if pool.nodes.iter().any(|other| other.address == node.address) {
            return Err(value.error(format!("has {:?} a second time", node.address)));
        }
        pool.nodes.push(node);
    }
    if pool.nodes.is_empty() {
        return Err(nodes.error("is empty; a pool needs at least one mail server"));
    }
    if pool.nodes.iter().all(|node| node.backup) {
        return Err(nodes.error("has only backups; at least one mail server must be none"));
    }
    if let Some(value) = section.get("balance") {
        pool.balance = value.choice(&[
            ("round-robin", Balance::RoundRobin),
            ("least-sessions", Balance::LeastSessions),
            ("user", Balance::User),
        ])?;
    }
    if let Some(value) = section.get("connect-timeout") {
        pool.connect_timeout = value.positive_duration()?;
    }
    if let Some(value) = section.get("login-timeout") {
        pool.login_timeout = value.positive_duration()?;
    }
    if let Some(value) = section.get("reply-timeout") {
        pool.reply_timeout = value.positive_duration()?;
    }
    if let Some(value) = section.get("retry-after") {
        pool.retry_after = value.duration()?;
    }
    if let Some(value) = section.get("tls") {
        pool.tls = node_tls(&value)?;
    }
    if let Some(value) = section.get("proxy-protocol") {
        pool.proxy_header =
            value.choice(&[("off", ProxyHeader::Off), ("v1", ProxyHeader::V1), ("v2", ProxyHeader::V2)])?;
    }
    if let Some(value) = section.get("xclient") {
        pool.xclient = value.boolean()?;
    }
    if let Some(value) = section.get("login") {
        pool.login = value.choice(&[("user", NodeLogin::User), ("plain", NodeLogin::Plain)])?;
    }
    if let Some(value) = section.get("master") {
        pool.master = Some(master(&value)?);
    }
    if let Some(value) = section.get("check") {
        pool.check = check(&value)?;
    }
    if let Some(value) = section.get("slow-start") {
        pool.slow_start = value.duration()?;
    }
    if let Some(value) = section.get("queue") {
        let mut section = value.section()?;
        if let Some(value) = section.get("timeout") {
            pool.queue_timeout = value.duration()?;
        }
        if let Some(value) = section.get("length") {
            pool.queue_length = value.count_u32(0, 1_000_000)?;
        }
        section.finish()?;
    }
    section.finish()?;
    Ok(pool)
}

fn node(value: &Value<'_, '_>) -> Result<NodeConfig, Error> {
    if !value.is_table() {
        let address = check_node(value.text()?).map_err(|why| value.error(why))?;
        return Ok(NodeConfig::new(&address));
    }
    let mut section = value.section()?;
    let address = section.required("address", "\"10.0.0.5:110\"")?;
    let mut node = NodeConfig::new(&check_node(address.text()?).map_err(|why| address.error(why))?);
    if let Some(value) = section.get("weight") {
        node.weight = value.count_u32(1, 1000)?;
    }
    if let Some(value) = section.get("backup") {
        node.backup = value.boolean()?;
    }
    if let Some(value) = section.get("max-sessions") {
        node.max_sessions = Some(value.count_u32(1, 1_000_000)?);
    }
    if let Some(value) = section.get("mode") {
        node.mode = value.choice(
            &[NodeMode::Enabled, NodeMode::Drain, NodeMode::Disabled].map(|mode| (mode.name(), mode)),
        )?;
    }
    section.finish()?;
    Ok(node)
}

fn master(value: &Value<'_, '_>) -> Result<MasterConfig, Error> {
    let mut section = value.section()?;
    let user = section.required("user", "\"reprieve\"")?.text()?.to_owned();
    let password_file = section.required("password-file", "\"/etc/reprieve/master\"")?.path()?;
    let location = section.location();
    section.finish()?;
    Ok(MasterConfig { user, password_file, location })
}

fn check(value: &Value<'_, '_>) -> Result<Option<CheckConfig>, Error> {
    if !value.is_table() {
        return match value.text()? {
            "off" => Ok(None),
            _ => Err(value.expected("\"off\" or a table such as { interval = \"30s\" }")),
        };
    }
    let mut section = value.section()?;
    let mut check = CheckConfig { interval: Duration::from_secs(30), rise: 2, fall: 3 };
    if let Some(value) = section.get("interval") {
        check.interval = value.positive_duration()?;
    }
    if let Some(value) = section.get("rise") {
        check.rise = value.count_u32(1, 1000)?;
    }
    if let Some(value) = section.get("fall") {
        check.fall = value.count_u32(1, 1000)?;
    }
    section.finish()?;
    Ok(Some(check))
}

/// Checks the `host:port` of a node.
pub(super) fn check_node(text: &str) -> Result<String, String> {
    let (host, port) = text.rsplit_once(':').unwrap_or((text, ""));
    let host_is_right = if host.starts_with('[') {
        text.parse::<SocketAddr>().is_ok()
    } else {
        !host.is_empty() && !host.contains([':', ' ', '/'])
    };
    if host_is_right && port.parse::<u16>().is_ok_and(|port| port != 0) {
        Ok(text.to_owned())
    } else {
        Err(format!("has {text:?}; a mail server is written as host and port, such as \"10.0.0.5:110\""))
    }
}
