//! Pools and their nodes.

use std::path::PathBuf;
use std::time::Duration;

use super::new_mail::NewMailConfig;
use super::node::{NodeConfig, node};
use super::tls::{NodeTls, node_tls};
use reprieve_settings::format::{
    Format, Type, boolean, count, duration, list, optional, or_off, path, positive_duration, table, text,
    word,
};
use reprieve_settings::{Error, Key, Location, Section, Table, Value};

/// How the node for a login is selected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    /// Each node in turn, by weight.
    RoundRobin,
    /// The node with the fewest sessions in proportion to its weight.
    LeastSessions,
    /// The same node for the same user (rendezvous hashing), as long as it can be reached.
    User,
}

/// The PROXY header that a node is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyHeader {
    /// None.
    Off,
    /// The line of version 1.
    V1,
    /// The binary header of version 2.
    V2,
}

/// How Reprieve presents a password to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeLogin {
    /// By `USER` and `PASS`.
    User,
    /// By `AUTH PLAIN`.
    Plain,
}

/// Health checks of nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthCheckConfig {
    /// Time between two checks of a node that is up.
    pub interval: Duration,
    /// Checks that must succeed in a row before a node that is down is up again.
    pub rise: u32,
    /// Checks or logins that must fail in a row before a node is down.
    pub fall: u32,
}

impl Default for HealthCheckConfig {
    fn default() -> Self {
        Self { interval: Duration::from_secs(30), rise: 2, fall: 3 }
    }
}

/// The master user that logs in for users who are identified by certificates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MasterConfig {
    /// Name of the master user at the mail servers.
    pub user: String,
    /// The file whose first line is the password.
    pub password_file: PathBuf,
    /// Where it is configured.
    pub location: Location,
}

/// A group of mail servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolConfig {
    /// Its name.
    pub name: String,
    /// Its mail servers.
    pub nodes: Vec<NodeConfig>,
    /// Maximum number of sessions of each node that sets none itself.
    pub max_sessions: Option<u32>,
    /// How the node for a login is selected.
    pub balance: Balance,
    /// Maximum duration of connecting to one address of a node, and again of waiting for its
    /// greeting.
    pub connect_timeout: Duration,
    /// Maximum duration of a node's answer to a login.
    pub login_timeout: Duration,
    /// Maximum time without data from a node while it owes a reply.
    pub reply_timeout: Duration,
    /// How long a node that could not be reached is used only if no other node is left.
    pub retry_after: Duration,
    /// TLS with the nodes.
    pub tls: NodeTls,
    /// The PROXY header that nodes are sent.
    pub proxy_header: ProxyHeader,
    /// Whether nodes that offer XCLIENT are sent the client's address by it.
    pub xclient: bool,
    /// How Reprieve presents a password.
    pub login: NodeLogin,
    /// The master user that logs in for users with certificates.
    pub master: Option<MasterConfig>,
    /// Health checks; `None` judges nodes only by their logins.
    pub health_check: Option<HealthCheckConfig>,
    /// Time in which a node that is up again reaches its full share of the logins.
    pub slow_start: Duration,
    /// How long a login may wait while all nodes have their maximum of sessions.
    pub queue_timeout: Duration,
    /// How many logins may wait.
    pub queue_length: u32,
    /// Where signals of new mail come from, if from anywhere.
    pub new_mail: Option<NewMailConfig>,
}

impl PoolConfig {
    /// A pool with default settings.
    #[must_use]
    pub fn new(name: &str, nodes: Vec<String>) -> Self {
        Self {
            name: name.to_owned(),
            nodes: nodes.iter().map(|address| NodeConfig::new(address)).collect(),
            max_sessions: None,
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
            health_check: Some(HealthCheckConfig::default()),
            slow_start: Duration::from_secs(10),
            queue_timeout: Duration::from_secs(10),
            queue_length: 1000,
            new_mail: None,
        }
    }
}

/// `[pool.NAME]`
impl Table for PoolConfig {
    type Output = Self;

    fn defaults() -> Self {
        Self::new("", Vec::new())
    }

    fn keys() -> Vec<Key<Self>> {
        [node_keys(), time_keys(), connection_keys(), health_keys()].into_iter().flatten().collect()
    }

    fn build(mut self, section: &Section<'_, '_>) -> Result<Self, Error> {
        if let Some(value) = section.value("nodes") {
            check_nodes(&self.nodes, &value)?;
        }
        for node in &mut self.nodes {
            node.max_sessions = node.max_sessions.or(self.max_sessions);
        }
        Ok(self)
    }
}

fn check_nodes(nodes: &[NodeConfig], value: &Value<'_, '_>) -> Result<(), Error> {
    if nodes.is_empty() {
        return Err(value.error("is empty; a pool needs at least one mail server"));
    }
    if nodes.iter().all(|node| node.backup) {
        return Err(value.error("has only backups; at least one mail server must not be a backup"));
    }
    for (index, (node, item)) in nodes.iter().zip(value.list()?).enumerate() {
        if nodes[..index].iter().any(|other| other.address == node.address) {
            return Err(item.error(format!("lists {:?} twice", node.address)));
        }
    }
    Ok(())
}

fn node_keys() -> Vec<Key<PoolConfig>> {
    vec![
        Key::new(
            "nodes",
            |pool: &mut PoolConfig| &mut pool.nodes,
            list(node()),
            "The mail servers. Each is written as `\"HOST:PORT\"` or as a table.",
        )
        .required("[\"10.0.0.5:110\"]"),
        Key::new(
            "balance",
            |pool: &mut PoolConfig| &mut pool.balance,
            word(&[
                ("round-robin", Balance::RoundRobin),
                ("least-sessions", Balance::LeastSessions),
                ("user", Balance::User),
            ]),
            "How the node for a login is selected: each in turn, the one with the fewest sessions in \
             proportion to its weight, or the same node for the same user.",
        ),
        Key::new(
            "max-sessions",
            |pool: &mut PoolConfig| &mut pool.max_sessions,
            optional(count(1..=1_000_000)),
            "Maximum number of sessions of each node that sets none itself.",
        )
        .default_text("unlimited")
        .example("400"),
        Key::group("queue", queue_keys(), "Logins that wait while all nodes have their maximum of sessions."),
    ]
}

fn queue_keys() -> Vec<Key<PoolConfig>> {
    vec![
        Key::new(
            "timeout",
            |pool: &mut PoolConfig| &mut pool.queue_timeout,
            duration(),
            "How long a login may wait.",
        ),
        Key::new(
            "length",
            |pool: &mut PoolConfig| &mut pool.queue_length,
            count(0..=1_000_000),
            "How many logins may wait.",
        ),
    ]
}

fn time_keys() -> Vec<Key<PoolConfig>> {
    vec![
        Key::new(
            "connect-timeout",
            |pool: &mut PoolConfig| &mut pool.connect_timeout,
            positive_duration(),
            "Maximum duration of connecting to one address of a node, and again of waiting for its \
             greeting, including TLS.",
        ),
        Key::new(
            "login-timeout",
            |pool: &mut PoolConfig| &mut pool.login_timeout,
            positive_duration(),
            "Maximum duration of a node's answer to a login.",
        ),
        Key::new(
            "reply-timeout",
            |pool: &mut PoolConfig| &mut pool.reply_timeout,
            positive_duration(),
            "Maximum time without data from a node while it owes a reply.",
        ),
        Key::new(
            "retry-after",
            |pool: &mut PoolConfig| &mut pool.retry_after,
            duration(),
            "How long a node that could not be reached is used only if no other node is left.",
        ),
    ]
}

fn connection_keys() -> Vec<Key<PoolConfig>> {
    vec![
        Key::new(
            "tls",
            |pool: &mut PoolConfig| &mut pool.tls,
            node_tls(),
            "TLS with the nodes. It is written as the mode alone or as a table.",
        ),
        Key::new(
            "proxy-protocol",
            |pool: &mut PoolConfig| &mut pool.proxy_header,
            word(&[("off", ProxyHeader::Off), ("v1", ProxyHeader::V1), ("v2", ProxyHeader::V2)]),
            "Version of the PROXY header that nodes are sent.",
        ),
        Key::new(
            "xclient",
            |pool: &mut PoolConfig| &mut pool.xclient,
            boolean(),
            "Whether nodes that offer XCLIENT are sent the client's address by it.",
        ),
        Key::new(
            "login",
            |pool: &mut PoolConfig| &mut pool.login,
            word(&[("user", NodeLogin::User), ("plain", NodeLogin::Plain)]),
            "How Reprieve presents a password: with USER and PASS, or with AUTH PLAIN. A name or password that \
             does not fit into a command of 255 bytes is always sent with AUTH PLAIN, unless the node lacks it.",
        ),
        Key::new(
            "master",
            |pool: &mut PoolConfig| &mut pool.master,
            optional(table::<MasterConfig>()),
            "The master user that logs in for users who are identified by certificates.",
        ),
        Key::new(
            "new-mail",
            |pool: &mut PoolConfig| &mut pool.new_mail,
            optional(table::<NewMailConfig>()),
            "Signals of new mail: a user with new mail passes at once.",
        ),
    ]
}

fn health_keys() -> Vec<Key<PoolConfig>> {
    vec![
        Key::new(
            "slow-start",
            |pool: &mut PoolConfig| &mut pool.slow_start,
            duration(),
            "Time in which a node that is up again reaches its full share of the logins.",
        ),
        Key::new(
            "health-check",
            |pool: &mut PoolConfig| &mut pool.health_check,
            or_off(table::<HealthCheckConfig>()),
            "Health checks of the nodes. `\"off\"` judges nodes only by their logins.",
        )
        .default_text("on, with the defaults of its table"),
    ]
}

/// `[pool.NAME.health-check]`
impl Table for HealthCheckConfig {
    type Output = Self;

    fn defaults() -> Self {
        Self::default()
    }

    fn keys() -> Vec<Key<Self>> {
        vec![
            Key::new(
                "interval",
                |check: &mut Self| &mut check.interval,
                positive_duration(),
                "Time between two checks of a node that is up.",
            ),
            Key::new(
                "rise",
                |check: &mut Self| &mut check.rise,
                count(1..=1000),
                "Checks that must succeed in a row before a node that is down is up again.",
            ),
            Key::new(
                "fall",
                |check: &mut Self| &mut check.fall,
                count(1..=1000),
                "Checks or logins that must fail in a row before a node is down.",
            ),
        ]
    }

    fn build(self, _: &Section<'_, '_>) -> Result<Self, Error> {
        Ok(self)
    }
}

/// `[pool.NAME.master]`
impl Table for MasterConfig {
    type Output = Self;

    fn defaults() -> Self {
        Self::default()
    }

    fn keys() -> Vec<Key<Self>> {
        vec![
            Key::new(
                "user",
                |master: &mut Self| &mut master.user,
                text(),
                "Name of the master user at the mail servers.",
            )
            .required("\"reprieve\""),
            Key::new(
                "password-file",
                |master: &mut Self| &mut master.password_file,
                path(),
                "File whose first line is the password of the master user.",
            )
            .required("\"/etc/reprieve/master.password\""),
        ]
    }

    fn build(self, section: &Section<'_, '_>) -> Result<Self, Error> {
        Ok(Self { location: section.location(), ..self })
    }
}

struct Pools;

/// Tables whose keys are the names of pools.
pub(super) fn pools() -> impl Format<Vec<PoolConfig>> {
    Pools
}

impl Format<Vec<PoolConfig>> for Pools {
    fn parse(&self, value: &Value<'_, '_>) -> Result<Vec<PoolConfig>, Error> {
        let named = |(name, value): (&str, Value<'_, '_>)| {
            let pool = PoolConfig::read(&value.section()?)?;
            Ok(PoolConfig { name: name.to_owned(), ..pool })
        };
        value.section()?.entries().into_iter().map(named).collect()
    }

    fn print(&self, _: &Vec<PoolConfig>) -> Option<String> {
        None
    }

    fn describe(&self) -> Type {
        Type::NamedTables(PoolConfig::describe())
    }
}
