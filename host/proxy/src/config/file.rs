//! The configuration file as a whole.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::admin::{AdminConfig, AdminTable};
use super::decision_log::{DecisionLogConfig, DecisionLogTable};
use super::pool::{PoolConfig, pools};
use super::store::StoreTable;
use super::traces::TracesConfig;
use super::virtual_server::{VirtualServerConfig, VirtualServerTable};
use reprieve_settings::format::{
    Format, Type, boolean, count, custom, duration, list, optional, or_off, positive_duration, quoted, size,
    table, text,
};
use reprieve_settings::{Error, Key, KeyDescription, Section, Source, Table, Value};
use reprieve_store::StoreConfig;

/// Where compiled policies are kept, so that the next start does not compile them again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicyCache {
    /// In the cache directory that the service manager or the user has for it, if there is one.
    Default,
    /// In this directory.
    Directory(PathBuf),
    /// Nowhere.
    Off,
}

/// The configuration of `reprieve run`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Threads that serve connections.
    pub threads: usize,
    /// Maximum number of connections of all virtual servers; `None` for
    /// [`Self::MAX_CONNECTIONS`], or fewer if file descriptors do not suffice.
    pub max_connections: Option<u32>,
    /// How long sessions may continue after a signal to stop.
    pub drain_timeout: Duration,
    /// Bytes for credential tags and snapshots.
    pub maildrop_memory: u64,
    /// Time to live of a secret that a mail server has accepted.
    pub credential_ttl: Duration,
    /// Where compiled policies are kept.
    pub policy_cache: PolicyCache,
    /// The admin interface.
    pub admin: AdminConfig,
    /// The user to run as once the ports are open.
    pub user: Option<String>,
    /// The group to run as, if it is not the user's own.
    pub group: Option<String>,
    /// Time between two checks whether the files of certificates have changed; `None` leaves it to
    /// a reload.
    pub certificate_check: Option<Duration>,
    /// Whether this file and the components that it names are reloaded when they change.
    pub watch: bool,
    /// Name servers, instead of the machine's.
    pub name_servers: Vec<SocketAddr>,
    /// The decision log, if there is one.
    pub decision_log: Option<DecisionLogConfig>,
    /// Traces of sessions, if there are any.
    pub traces: Option<TracesConfig>,
    /// The store of all virtual servers that have none of their own.
    pub store: StoreConfig,
    /// The virtual servers.
    pub virtual_servers: Vec<VirtualServerConfig>,
    /// The pools.
    pub pools: Vec<PoolConfig>,
}

impl Config {
    /// Maximum number of connections of all virtual servers, if none is set.
    pub const MAX_CONNECTIONS: u32 = 20_000;

    /// A configuration without virtual servers and pools.
    #[must_use]
    pub fn empty() -> Self {
        Self {
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            max_connections: None,
            drain_timeout: Duration::from_secs(30),
            maildrop_memory: 256 << 20,
            credential_ttl: Duration::from_secs(24 * 3600),
            policy_cache: PolicyCache::Default,
            admin: AdminConfig::default(),
            user: None,
            group: None,
            certificate_check: Some(Duration::from_secs(60)),
            watch: false,
            name_servers: Vec::new(),
            decision_log: None,
            traces: None,
            store: StoreConfig::default(),
            virtual_servers: Vec::new(),
            pools: Vec::new(),
        }
    }

    /// Parses and checks a configuration. `file`: its path, for errors.
    ///
    /// # Errors
    /// The first mistake, with its line, its key and a remedy.
    pub fn parse(text: &str, file: &str) -> Result<Self, Error> {
        let source = Source { file, text };
        let document = source.parse()?;
        Self::read(&Section::new(source, "", document.span(), document.get_ref()))
    }

    /// Describes all keys.
    #[must_use]
    pub fn describe_keys() -> Vec<KeyDescription> {
        Self::describe()
    }
}

impl Table for Config {
    type Output = Self;

    fn defaults() -> Self {
        Self::empty()
    }

    fn keys() -> Vec<Key<Self>> {
        [process_keys(), file_keys(), table_keys()].into_iter().flatten().collect()
    }

    fn build(self, section: &Section<'_, '_>) -> Result<Self, Error> {
        let Some(value) = section.value("virtual-server") else { return Ok(self) };
        if self.virtual_servers.is_empty() {
            return Err(value.error("is empty; nothing would listen"));
        }
        for (index, (server, item)) in self.virtual_servers.iter().zip(value.list()?).enumerate() {
            let others = &self.virtual_servers[..index];
            if others.iter().any(|other| other.name == server.name) {
                return Err(item
                    .error(format!("has the name {:?}, which another virtual server has too", server.name)));
            }
            check_pool(&self, server, &item.section()?)?;
            check_shared_namespace(&item, server, others)?;
        }
        Ok(self)
    }
}

fn process_keys() -> Vec<Key<Config>> {
    vec![
        Key::new(
            "threads",
            |config: &mut Config| &mut config.threads,
            count(1..=1024),
            "Threads that serve connections. Each has its own listeners and policy instances.",
        )
        .default_text("one per core")
        .example("4"),
        Key::new(
            "max-connections",
            |config: &mut Config| &mut config.max_connections,
            max_connections(),
            "Maximum number of connections of all virtual servers together. The default is lower if the limit of \
             file descriptors does not allow so many.",
        ),
        Key::new(
            "drain-timeout",
            |config: &mut Config| &mut config.drain_timeout,
            duration(),
            "How long sessions may continue after a signal to stop.",
        ),
        Key::new(
            "user",
            |config: &mut Config| &mut config.user,
            optional(text()),
            "User to run as once the ports are open, if Reprieve starts as root. The systemd unit starts as \
             `reprieve` and does not need it.",
        )
        .example("\"reprieve\""),
        Key::new(
            "group",
            |config: &mut Config| &mut config.group,
            optional(text()),
            "Group to run as, if it is not the user's own.",
        )
        .needs("user")
        .example("\"reprieve\""),
        Key::new(
            "name-servers",
            |config: &mut Config| &mut config.name_servers,
            list(name_server()),
            "Name servers that resolve the host names of nodes.",
        )
        .default_text("the machine's name servers")
        .example("[\"10.0.0.53:53\"]"),
    ]
}

fn file_keys() -> Vec<Key<Config>> {
    vec![
        Key::new(
            "watch",
            |config: &mut Config| &mut config.watch,
            boolean(),
            "Whether this file and the components that it names are reloaded when they change.",
        ),
        Key::new(
            "certificate-check",
            |config: &mut Config| &mut config.certificate_check,
            or_off(positive_duration()),
            "Interval at which the files of certificates are checked for changes. With `\"off\"`, they are read \
             again only at a reload.",
        ),
        Key::new(
            "policy-cache",
            |config: &mut Config| &mut config.policy_cache,
            policy_cache(),
            "Directory for compiled policies. No other user may have write access to it. With `\"off\"`, policies are \
             compiled at each start.",
        )
        .default_text("the cache directory of the service or of the user")
        .example("\"/var/cache/reprieve\""),
        Key::group(
            "maildrop",
            maildrop_keys(),
            "What Reprieve remembers about users: keyed hashes of accepted passwords, and listings of their \
             maildrops.",
        ),
    ]
}

fn maildrop_keys() -> Vec<Key<Config>> {
    vec![
        Key::new(
            "memory",
            |config: &mut Config| &mut config.maildrop_memory,
            size(0..=u64::MAX),
            "Memory for all users together; the least recently used ones are forgotten first. One listing may take a \
             sixteenth of it and have 200,000 messages; a larger one is not kept, and the user's logins pass. \
             With `store.share`, it also limits what the store has about users: while that is full, new users \
             pass.",
        ),
        Key::new(
            "credential-ttl",
            |config: &mut Config| &mut config.credential_ttl,
            duration(),
            "How long an accepted password is trusted without asking the mail server again.",
        ),
    ]
}

fn table_keys() -> Vec<Key<Config>> {
    vec![
        Key::new(
            "admin",
            |config: &mut Config| &mut config.admin,
            table::<AdminTable>(),
            "The admin interface: `reprieve ctl`, `reprieve top`, the dashboard and metrics. Without this table \
             there is none.",
        ),
        Key::new(
            "decision-log",
            |config: &mut Config| &mut config.decision_log,
            optional(table::<DecisionLogTable>()),
            "A record in JSON for each session, with everything that its decisions depended on and without \
             secrets. `reprieve replay` reads it.",
        ),
        Key::new(
            "traces",
            |config: &mut Config| &mut config.traces,
            optional(table::<TracesConfig>()),
            "OpenTelemetry traces of sessions.",
        ),
        Key::new(
            "store",
            |config: &mut Config| &mut config.store,
            table::<StoreTable>(),
            "The store: where policies keep their state, and what proxies share about users. All virtual \
             servers use it, unless they have a `[virtual-server.store]` of their own.",
        ),
        Key::new(
            "virtual-server",
            |config: &mut Config| &mut config.virtual_servers,
            list(table::<VirtualServerTable>()),
            "A virtual server: a listener with its protocol settings, its policy and its pool. There can be \
             several.",
        )
        .required("[{ … }], or better a table [[virtual-server]]"),
        Key::new(
            "pool",
            |config: &mut Config| &mut config.pools,
            pools(),
            "A pool: a group of mail servers. There can be several; `NAME` is the pool's name.",
        )
        .required("{ mail = { nodes = [\"10.0.0.5:110\"] } }"),
    ]
}

fn max_connections() -> impl Format<Option<u32>> {
    const MOST: u32 = 10_000_000;
    custom(
        Type::Integer(1..=MOST.into()),
        |value| value.count_u32(1, MOST).map(Some),
        |number| Some(number.unwrap_or(Config::MAX_CONNECTIONS).to_string()),
    )
}

fn name_server() -> impl Format<SocketAddr> {
    custom(
        Type::String("address:port"),
        |value| {
            let expected = "a name server's address with its port, such as \"10.0.0.53:53\"";
            value.text()?.parse().map_err(|_| value.expected(expected))
        },
        |_| None,
    )
}

fn policy_cache() -> impl Format<PolicyCache> {
    custom(
        Type::Either(vec![Type::String("path"), Type::Word(vec!["off"])]),
        |value| match value.text()? {
            "off" => Ok(PolicyCache::Off),
            directory if directory.starts_with('/') => Ok(PolicyCache::Directory(PathBuf::from(directory))),
            _ => Err(value
                .expected("\"off\" or the absolute path of a directory, such as \"/var/cache/reprieve\"")),
        },
        |cache| match cache {
            PolicyCache::Default => None,
            PolicyCache::Directory(directory) => Some(quoted(&directory.display().to_string())),
            PolicyCache::Off => Some(quoted("off")),
        },
    )
}

fn check_pool(config: &Config, server: &VirtualServerConfig, section: &Section<'_, '_>) -> Result<(), Error> {
    let name = &server.pool;
    match section.value("pool") {
        Some(value) if !config.pools.iter().any(|pool| pool.name == *name) => {
            let defined: Vec<_> = config.pools.iter().map(|pool| pool.name.as_str()).collect();
            Err(value.error(format!(
                "is {name:?}, which is not defined; defined pools: {}. Add a table [pool.{name}]",
                defined.join(", ")
            )))
        }
        _ => Ok(()),
    }
}

/// A policy keeps in its namespace when a user was let through; the host keeps what the user saw
/// then, for each pool. Virtual servers that share the namespace but not the pool would each show
/// an older maildrop than the one that the denial is based on.
fn check_shared_namespace(
    value: &Value<'_, '_>,
    server: &VirtualServerConfig,
    others: &[VirtualServerConfig],
) -> Result<(), Error> {
    let namespace = |server: &VirtualServerConfig| server.namespace.clone().unwrap_or(server.name.clone());
    let shares = |other: &&VirtualServerConfig| {
        other.store.is_none() && server.store.is_none() && namespace(other) == namespace(server)
    };
    match others.iter().filter(shares).find(|other| other.pool != server.pool) {
        None => Ok(()),
        Some(other) => Err(value.error(format!(
            "{:?} shares the namespace {:?} with {:?}, which has another pool ({:?} and {:?}): a user would be denied because of a session at the one and shown what was seen at the other; give them namespaces of their own, or one pool",
            server.name,
            namespace(server),
            other.name,
            server.pool,
            other.pool
        ))),
    }
}
