//! What can be configured, with its defaults.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use jiff::tz::TimeZone;

use super::reader::{Error, Section, Source, Value};
use crate::policy::{BreakerSettings, Isolation, Limits, OnFailure, digest};

/// Whether posing needs a proven user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verify {
    /// A client is let in without the mail server only where its secret is known.
    On,
    /// Anybody who knows a user's name is shown the posed maildrop.
    Off,
}

/// What a user of good standing is shown when no node can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnUnreachable {
    /// `-ERR [SYS/TEMP]`.
    Error,
    /// The maildrop unchanged, where there is a snapshot of it.
    Pose,
}

/// Where compiled policies are kept, so that a start does not compile them again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicyCache {
    /// Where such things are usually kept; nowhere if there is no such place.
    Usual,
    /// In this folder.
    Folder(PathBuf),
    /// Nowhere.
    Off,
}

/// Everything that `reprieve run` needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// Threads that serve connections.
    pub threads: usize,
    /// Connections of all virtual servers together, where that is set.
    pub max_connections: Option<u32>,
    /// How long sessions may go on after a signal to end.
    pub drain_timeout: Duration,
    /// Octets for credential tags and snapshots.
    pub maildrop_memory: u64,
    /// How long a secret is known after a mail server has accepted it.
    pub maildrop_trust: Duration,
    /// Where compiled policies are kept.
    pub policy_cache: PolicyCache,
    /// The listeners.
    pub virtual_servers: Vec<VirtualServerConfig>,
    /// The groups of mail servers, by name.
    pub pools: Vec<PoolConfig>,
}

/// A listener with its protocol settings, its policy and its default pool.
#[derive(Clone, Debug)]
pub struct VirtualServerConfig {
    /// Its name in logs, metrics and to policies.
    pub name: String,
    /// Where it listens. Port 0 takes a free one.
    pub listen: Vec<SocketAddr>,
    /// Name of its pool.
    pub pool: String,
    /// Text of the greeting, without `+OK`.
    pub banner: String,
    /// Where its days change.
    pub time_zone: TimeZone,
    /// Whether posing needs a proven user.
    pub verify: Verify,
    /// What a known user is shown when no node can be reached.
    pub on_unreachable: OnUnreachable,
    /// Delay between logins that CAPA announces.
    pub login_delay: Option<Duration>,
    /// How long a client may take to log in.
    pub login_timeout: Duration,
    /// How long a client that is logged in may be silent.
    pub idle_timeout: Duration,
    /// Commands that are none, before the connection is closed.
    pub max_bad_commands: u32,
    /// Logins that fail, before the connection is closed.
    pub max_failed_logins: u32,
    /// Connections from one address.
    pub max_connections_per_address: u32,
    /// Who decides.
    pub policy: PolicyConfig,
}

/// A virtual server's policy.
#[derive(Clone, Debug)]
pub struct PolicyConfig {
    /// A built-in policy's name or a file's path.
    pub component: String,
    /// SHA-256 that the component must have.
    pub sha256: Option<[u8; 32]>,
    /// Settings in their order.
    pub settings: Vec<(String, String)>,
    /// How long its instances live.
    pub isolation: Isolation,
    /// When it is paused.
    pub breaker: BreakerSettings,
    /// What happens when it fails.
    pub on_failure: OnFailure,
    /// What it may use.
    pub limits: Limits,
    /// Octets that it may keep in the store.
    pub store_quota: u64,
    /// Where the component is named, for errors that show only when it is loaded.
    pub place: String,
}

/// A group of mail servers.
#[derive(Clone, Debug)]
pub struct PoolConfig {
    /// Its name.
    pub name: String,
    /// `host:port` of each.
    pub nodes: Vec<String>,
    /// How long connecting to a node and its greeting may take.
    pub connect_timeout: Duration,
    /// How long a node may take to judge a login.
    pub login_timeout: Duration,
    /// How long a node that could not be reached is tried last.
    pub retry_after: Duration,
}

impl Default for PolicyConfig {
    fn default() -> Self {
        Self {
            component: "interval".to_owned(),
            sha256: None,
            settings: Vec::new(),
            isolation: Isolation::default(),
            breaker: BreakerSettings::default(),
            on_failure: OnFailure::Pass,
            limits: Limits::default(),
            store_quota: 64 << 20,
            place: "policy".to_owned(),
        }
    }
}

impl PoolConfig {
    /// A pool with the usual time-outs.
    #[must_use]
    pub fn new(name: &str, nodes: Vec<String>) -> Self {
        Self {
            name: name.to_owned(),
            nodes,
            connect_timeout: Duration::from_secs(5),
            login_timeout: Duration::from_secs(60),
            retry_after: Duration::from_secs(5),
        }
    }
}

impl VirtualServerConfig {
    /// A virtual server with the usual settings and the default policy.
    #[must_use]
    pub fn new(name: &str, listen: Vec<SocketAddr>, pool: &str) -> Self {
        Self {
            name: name.to_owned(),
            listen,
            pool: pool.to_owned(),
            banner: "POP3 server ready".to_owned(),
            time_zone: TimeZone::system(),
            verify: Verify::On,
            on_unreachable: OnUnreachable::Error,
            login_delay: None,
            login_timeout: Duration::from_secs(180),
            idle_timeout: Duration::from_secs(600),
            max_bad_commands: 20,
            max_failed_logins: 3,
            max_connections_per_address: 1000,
            policy: PolicyConfig::default(),
        }
    }
}

impl Config {
    /// Connections of all virtual servers together, where nothing is set.
    pub const MAX_CONNECTIONS: u32 = 20_000;

    /// A configuration without virtual servers and pools.
    #[must_use]
    pub fn empty() -> Self {
        Self {
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            max_connections: None,
            drain_timeout: Duration::from_secs(30),
            maildrop_memory: 256 << 20,
            maildrop_trust: Duration::from_secs(24 * 3600),
            policy_cache: PolicyCache::Usual,
            virtual_servers: Vec::new(),
            pools: Vec::new(),
        }
    }

    /// Reads and checks a configuration. `file`: its name, for errors.
    ///
    /// # Errors
    /// The first thing that is wrong, with its line, its key and a remedy.
    pub fn parse(text: &str, file: &str) -> Result<Self, Error> {
        let source = Source { file, text };
        let document = source.parse()?;
        let mut top = Section::new(source, "", document.span(), document.get_ref());
        let mut config = Self::empty();
        if let Some(value) = top.get("threads") {
            config.threads = usize::try_from(value.count(1, 1024)?).unwrap_or(1);
        }
        if let Some(value) = top.get("max-connections") {
            config.max_connections = Some(to_u32(value.count(1, 10_000_000)?));
        }
        if let Some(value) = top.get("drain-timeout") {
            config.drain_timeout = value.duration()?;
        }
        if let Some(value) = top.get("policy-cache") {
            config.policy_cache = policy_cache(&value)?;
        }
        if let Some(value) = top.get("maildrop") {
            let mut maildrop = value.section()?;
            if let Some(value) = maildrop.get("memory") {
                config.maildrop_memory = value.size()?;
            }
            if let Some(value) = maildrop.get("trust") {
                config.maildrop_trust = value.duration()?;
            }
            maildrop.finish()?;
        }
        for (name, value) in top.need("pool", "{ mail = { nodes = [\"10.0.0.5:110\"] } }")?.section()?.named()
        {
            config.pools.push(pool(name, &value)?);
        }
        let servers = top.need("virtual-server", "[{ … }], or better a table [[virtual-server]]")?;
        for value in servers.list()? {
            let server = virtual_server(&value, &config.pools)?;
            if config.virtual_servers.iter().any(|other| other.name == server.name) {
                return Err(value.error(format!("has the name {:?} a second time", server.name)));
            }
            config.virtual_servers.push(server);
        }
        top.finish()?;
        if config.virtual_servers.is_empty() {
            return Err(servers.error("is empty; nothing would listen"));
        }
        Ok(config)
    }
}

fn policy_cache(value: &Value<'_, '_>) -> Result<PolicyCache, Error> {
    match value.text()? {
        "off" => Ok(PolicyCache::Off),
        folder if folder.starts_with('/') => Ok(PolicyCache::Folder(PathBuf::from(folder))),
        other => Err(value.error(format!(
            "is {other:?}; it is \"off\" or the absolute path of a folder, such as \"/var/cache/reprieve\""
        ))),
    }
}

fn pool(name: &str, value: &Value<'_, '_>) -> Result<PoolConfig, Error> {
    let mut section = value.section()?;
    let nodes = section.need("nodes", "[\"10.0.0.5:110\"]")?;
    let mut pool = PoolConfig::new(name, Vec::new());
    for node in nodes.list()? {
        pool.nodes.push(check_node(node.text()?).map_err(|why| node.error(why))?);
    }
    if pool.nodes.is_empty() {
        return Err(nodes.error("is empty; a pool needs at least one mail server"));
    }
    if let Some(value) = section.get("connect-timeout") {
        pool.connect_timeout = positive(&value)?;
    }
    if let Some(value) = section.get("login-timeout") {
        pool.login_timeout = positive(&value)?;
    }
    if let Some(value) = section.get("retry-after") {
        pool.retry_after = value.duration()?;
    }
    section.finish()?;
    Ok(pool)
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

fn virtual_server(value: &Value<'_, '_>, pools: &[PoolConfig]) -> Result<VirtualServerConfig, Error> {
    let mut section = value.section()?;
    let name = section.need("name", "\"pop3\"")?;
    let name_text = name.text()?;
    if name_text.is_empty()
        || name_text.len() > 64
        || !name_text
            .bytes()
            .all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_' | b'.'))
    {
        return Err(name.error("must be made of up to 64 letters, digits, dots, hyphens and underscores"));
    }
    let listen = section.need("listen", "[\"0.0.0.0:110\", \"[::]:110\"]")?;
    let mut addresses = Vec::new();
    for address in listen.list()? {
        let text = address.text()?;
        addresses.push(text.parse().map_err(|_| {
            address.error(format!(
                "has {text:?}; an address to listen on is written with its port, such as \"0.0.0.0:110\" or \"[::]:110\""
            ))
        })?);
    }
    if addresses.is_empty() {
        return Err(listen.error("is empty; nothing would listen"));
    }
    let pool = section.need("pool", "\"mail\"")?;
    let pool_text = pool.text()?;
    if !pools.iter().any(|known| known.name == pool_text) {
        let known: Vec<_> = pools.iter().map(|known| known.name.as_str()).collect();
        return Err(pool.error(format!(
            "is {pool_text:?}, which is not defined; defined are: {}. Add a table [pool.{pool_text}]",
            known.join(", ")
        )));
    }
    let mut server = VirtualServerConfig::new(name_text, addresses, pool_text);
    if let Some(value) = section.get("banner") {
        let banner = value.text()?;
        if banner.len() > 400 || banner.chars().any(char::is_control) {
            return Err(value.error("must be one line of up to 400 octets"));
        }
        if banner.contains('<') {
            return Err(value.error("must not contain `<`: clients would take it for an APOP challenge"));
        }
        banner.clone_into(&mut server.banner);
    }
    if let Some(value) = section.get("time-zone") {
        let zone = value.text()?;
        server.time_zone = TimeZone::get(zone).map_err(|_| {
            value.error(format!(
                "is {zone:?}, which is no time zone; an example is \"Europe/Berlin\" or \"UTC\""
            ))
        })?;
    }
    if let Some(value) = section.get("verify") {
        server.verify = value.choice(&[("on", Verify::On), ("off", Verify::Off)])?;
    }
    if let Some(value) = section.get("on-unreachable") {
        server.on_unreachable =
            value.choice(&[("error", OnUnreachable::Error), ("pose", OnUnreachable::Pose)])?;
    }
    if let Some(value) = section.get("login-delay") {
        server.login_delay = Some(value.duration()?);
    }
    if let Some(value) = section.get("login-timeout") {
        server.login_timeout = positive(&value)?;
    }
    if let Some(value) = section.get("idle-timeout") {
        server.idle_timeout = value.duration()?;
        if server.idle_timeout < Duration::from_secs(600) {
            return Err(
                value.error("must be at least \"10m\": RFC 1939 gives a client as long between commands")
            );
        }
    }
    if let Some(value) = section.get("max-bad-commands") {
        server.max_bad_commands = to_u32(value.count(1, 1_000_000)?);
    }
    if let Some(value) = section.get("max-failed-logins") {
        server.max_failed_logins = to_u32(value.count(1, 1_000_000)?);
    }
    if let Some(value) = section.get("max-connections-per-address") {
        server.max_connections_per_address = to_u32(value.count(1, 10_000_000)?);
    }
    if let Some(value) = section.get("policy") {
        server.policy = policy(&value)?;
    }
    section.finish()?;
    Ok(server)
}

fn policy(value: &Value<'_, '_>) -> Result<PolicyConfig, Error> {
    let mut section = value.section()?;
    let mut policy = PolicyConfig::default();
    if let Some(value) = section.get("component") {
        value.text()?.clone_into(&mut policy.component);
        policy.place = value.error("").to_string().split(": ").next().unwrap_or_default().to_owned();
    } else {
        policy.place =
            section.error(String::new()).to_string().split(": ").next().unwrap_or_default().to_owned();
    }
    if let Some(value) = section.get("sha256") {
        let pinned = digest::from_hex(value.text()?);
        policy.sha256 = Some(pinned.ok_or_else(|| {
            value.error("must be the 64 hexadecimal digits that `reprieve policy inspect` or sha256sum print")
        })?);
    }
    if let Some(value) = section.get("isolation") {
        policy.isolation = value.choice(&[("reuse", Isolation::Reuse), ("call", Isolation::Call)])?;
    }
    if let Some(value) = section.get("breaker") {
        breaker(&value, &mut policy.breaker)?;
    }
    if let Some(value) = section.get("settings") {
        for (key, value) in value.section()?.named() {
            policy.settings.push((key.to_owned(), value.setting()?));
        }
    }
    if let Some(value) = section.get("on-failure") {
        policy.on_failure = value.choice(&[("pass", OnFailure::Pass), ("deny", OnFailure::Deny)])?;
    }
    if let Some(value) = section.get("store-quota") {
        policy.store_quota = value.size()?;
    }
    if let Some(value) = section.get("limits") {
        limits(&value, &mut policy.limits)?;
    }
    section.finish()?;
    Ok(policy)
}

fn breaker(value: &Value<'_, '_>, breaker: &mut BreakerSettings) -> Result<(), Error> {
    let mut section = value.section()?;
    if let Some(value) = section.get("failures") {
        breaker.failures = to_u32(value.count(0, 1_000_000)?);
    }
    if let Some(value) = section.get("pause") {
        breaker.pause = positive(&value)?;
        breaker.longest_pause = breaker.longest_pause.max(breaker.pause);
    }
    if let Some(value) = section.get("longest-pause") {
        breaker.longest_pause = positive(&value)?;
        if breaker.longest_pause < breaker.pause {
            return Err(value.error("is shorter than `pause`"));
        }
    }
    section.finish()
}

/// Reads the table of a policy's limits.
pub(crate) fn limits(value: &Value<'_, '_>, limits: &mut Limits) -> Result<(), Error> {
    let mut section = value.section()?;
    for (key, limit) in [("time", &mut limits.time), ("start", &mut limits.start)] {
        if let Some(value) = section.get(key) {
            *limit = positive(&value)?;
        }
    }
    for (key, limit) in [("wait", &mut limits.wait), ("delay", &mut limits.delay)] {
        if let Some(value) = section.get(key) {
            *limit = value.duration()?;
        }
    }
    for (key, limit, range, words) in [
        ("component", &mut limits.component, 1 << 10..=1 << 30, "from \"1KiB\" to \"1GiB\""),
        ("memory", &mut limits.memory, 1 << 20..=1 << 30, "from \"1MiB\" to \"1GiB\""),
        ("stack", &mut limits.stack, 64 << 10..=16 << 20, "from \"64KiB\" to \"16MiB\""),
        ("strings", &mut limits.strings, 64 << 10..=64 << 20, "from \"64KiB\" to \"64MiB\""),
    ] {
        if let Some(value) = section.get(key) {
            *limit = value.size()?;
            if !range.contains(limit) {
                return Err(value.error(format!("must be {words}")));
            }
        }
    }
    if let Some(value) = section.get("instances") {
        limits.instances = usize::try_from(value.count(1, 1000)?).unwrap_or(1);
    }
    if let Some(value) = section.get("calls") {
        limits.calls = value.count(1, u64::MAX)?;
    }
    if let Some(value) = section.get("log-lines") {
        limits.log_lines = to_u32(value.count(0, 10_000)?);
    }
    if let Some(value) = section.get("log-rate") {
        limits.log_rate = to_u32(value.count(0, 1_000_000)?);
    }
    if let Some(value) = section.get("log-line") {
        limits.log_line = to_u32(value.size()?);
        if !(80..=64 << 10).contains(&limits.log_line) {
            return Err(value.error("must be from \"80B\" to \"64KiB\""));
        }
    }
    section.finish()
}

fn positive(value: &Value<'_, '_>) -> Result<Duration, Error> {
    let duration = value.duration()?;
    if duration.is_zero() { Err(value.error("must be longer than nothing")) } else { Ok(duration) }
}

fn to_u32(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = r#"
threads = 2
max-connections = 100
drain-timeout = "5s"
policy-cache = "off"
maildrop = { memory = "16MiB" }

[[virtual-server]]
name = "pop3"
listen = ["0.0.0.0:110", "[::]:110"]
pool = "mail"
banner = "Example mail"
time-zone = "Europe/Berlin"
login-delay = "10m"
verify = "off"

[virtual-server.policy]
component = "interval"
settings = { manner = "busy", interval = "10m" }
on-failure = "deny"
limits = { time = "5ms", memory = "32MiB", stack = "1MiB", strings = "2MiB", log-line = "2KiB" }
sha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
isolation = "call"
breaker = { failures = 3, pause = "10m" }

[pool.mail]
nodes = ["10.0.0.5:110", "mail.example:110"]
"#;

    fn error_of(text: &str) -> String {
        Config::parse(text, "reprieve.toml").unwrap_err().to_string()
    }

    #[test]
    fn a_whole_configuration_is_read() {
        let config = Config::parse(WHOLE, "reprieve.toml").unwrap();
        let server = &config.virtual_servers[0];
        assert_eq!(server.listen.len(), 2);
        assert_eq!(server.verify, Verify::Off);
        assert_eq!(server.policy.on_failure, OnFailure::Deny);
        assert_eq!(server.policy.limits.time, Duration::from_millis(5));
        assert_eq!((server.policy.limits.stack, server.policy.limits.log_line), (1 << 20, 2048));
        assert_eq!(server.policy.sha256.map(|digest| digest[0]), Some(0xe3));
        assert_eq!(server.policy.isolation, Isolation::Call);
        assert_eq!(
            server.policy.breaker.longest_pause,
            Duration::from_secs(600),
            "not shorter than the first"
        );
        assert_eq!(config.policy_cache, PolicyCache::Off);
        let settings: Vec<_> = server.policy.settings.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(settings, ["manner", "interval"], "in the order of the file");
        assert_eq!(config.pools[0].nodes.len(), 2);
        assert_eq!(config.maildrop_memory, 16 << 20);
    }

    #[test]
    fn an_unknown_key_is_told_with_its_line_and_the_nearest_known_one() {
        let text = WHOLE.replace("on-failure =", "on-failur =");
        assert_eq!(
            error_of(&text),
            "reprieve.toml:20: `virtual-server.policy.on-failur` is not known; did you mean `on-failure`?"
        );
    }

    #[test]
    fn each_mistake_names_line_key_and_remedy() {
        for (right, wrong, expected) in [
            (
                "pool = \"mail\"",
                "pool = \"male\"",
                ["reprieve.toml:11", "`virtual-server.pool`", "[pool.male]"],
            ),
            (
                "\"0.0.0.0:110\"",
                "\"0.0.0.0\"",
                ["reprieve.toml:10", "`virtual-server.listen`", "0.0.0.0:110"],
            ),
            ("\"Europe/Berlin\"", "\"Berlin\"", ["reprieve.toml:13", "time-zone", "Europe/Berlin"]),
            ("\"5s\"", "5", ["reprieve.toml:4", "`drain-timeout`", "90s"]),
            ("\"16MiB\"", "\"16MB\"", ["reprieve.toml:6", "`maildrop.memory`", "64MiB"]),
            ("threads = 2", "threads = 0", ["reprieve.toml:2", "`threads`", "1 to 1024"]),
            ("\"10.0.0.5:110\"", "\"10.0.0.5\"", ["reprieve.toml:27", "`pool.mail.nodes`", "10.0.0.5:110"]),
            ("verify = \"off\"", "verify = \"no\"", ["reprieve.toml:15", "verify", "\"on\" or \"off\""]),
            ("\"call\"", "\"always\"", ["isolation", "\"reuse\"", "\"call\""]),
            ("sha256 = \"e3", "sha256 = \"3", ["sha256", "64 hexadecimal", "inspect"]),
            ("stack = \"1MiB\"", "stack = \"1GiB\"", ["limits.stack", "\"64KiB\"", "\"16MiB\""]),
            ("\"off\"\nmaildrop", "\"cache\"\nmaildrop", ["policy-cache", "absolute", "\"off\""]),
            ("name = \"pop3\"", "", ["reprieve.toml:8", "`virtual-server.name`", "name = \"pop3\""]),
        ] {
            let error = error_of(&WHOLE.replace(right, wrong));
            for part in expected {
                assert!(error.contains(part), "{error:?} lacks {part:?}");
            }
        }
    }

    #[test]
    fn broken_toml_names_its_line() {
        assert!(error_of("threads = 2\n[[virtual-server\n").starts_with("reprieve.toml:2"));
    }
}
