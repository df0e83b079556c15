//! What can be configured, with its defaults.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::admin::{AdminConfig, admin};
use super::decision_log::{DecisionLogConfig, decision_log};
use super::pool::{PoolConfig, pool};
use super::store::store;
use super::traces::{TracesConfig, traces};
use super::virtual_server::{VirtualServerConfig, virtual_server};
use reprieve_settings::{Error, Section, Source, Value};
use reprieve_store::StoreConfig;

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
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// How an administrator asks and tells it.
    pub admin: AdminConfig,
    /// Who the process becomes once it listens.
    pub user: Option<String>,
    /// The group of that user, where it is not his own.
    pub group: Option<String>,
    /// How often certificates' files are looked at; None leaves it to SIGHUP.
    pub certificate_check: Option<Duration>,
    /// Whether this configuration's file and the policies that it names are watched, and taken
    /// up when they change.
    pub watch: bool,
    /// Name servers to ask, instead of the machine's.
    pub name_servers: Vec<SocketAddr>,
    /// Where a line of each session goes; nowhere without it.
    pub decision_log: Option<DecisionLogConfig>,
    /// Where traces of sessions go; nowhere without it.
    pub traces: Option<TracesConfig>,
    /// Where policies keep their state, for virtual servers that have no store of their own.
    pub store: StoreConfig,
    /// The listeners.
    pub virtual_servers: Vec<VirtualServerConfig>,
    /// The groups of mail servers, by name.
    pub pools: Vec<PoolConfig>,
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
            config.max_connections = Some(value.count_u32(1, 10_000_000)?);
        }
        if let Some(value) = top.get("drain-timeout") {
            config.drain_timeout = value.duration()?;
        }
        if let Some(value) = top.get("policy-cache") {
            config.policy_cache = policy_cache(&value)?;
        }
        if let Some(value) = top.get("admin") {
            config.admin = admin(&value)?;
        }
        config.user = top.get("user").map(|value| value.text().map(str::to_owned)).transpose()?;
        if let Some(value) = top.get("group") {
            config.group = Some(value.text()?.to_owned());
            if config.user.is_none() {
                return Err(value.error("needs `user` beside it"));
            }
        }
        if let Some(value) = top.get("certificate-check") {
            config.certificate_check = Some(value.duration()?).filter(|every| !every.is_zero());
        }
        if let Some(value) = top.get("watch") {
            config.watch = value.boolean()?;
        }
        if let Some(value) = top.get("name-servers") {
            for server in value.list()? {
                config.name_servers.push(server.text()?.parse().map_err(|_| {
                    server.expected("a name server's address with its port, such as \"10.0.0.53:53\"")
                })?);
            }
        }
        config.decision_log = top.get("decision-log").map(|value| decision_log(&value)).transpose()?;
        config.traces = top.get("traces").map(|value| traces(&value)).transpose()?;
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
        if let Some(value) = top.get("store") {
            let mut section = value.section()?;
            config.store = store(&mut section)?;
            section.finish()?;
        }
        for (name, value) in top.required("pool", "{ mail = { nodes = [\"10.0.0.5:110\"] } }")?.section()?.entries()
        {
            config.pools.push(pool(name, &value)?);
        }
        let servers = top.required("virtual-server", "[{ … }], or better a table [[virtual-server]]")?;
        for value in servers.list()? {
            let server = virtual_server(&value, &config.pools)?;
            if config.virtual_servers.iter().any(|other| other.name == server.name) {
                return Err(value.error(format!("has the name {:?} a second time", server.name)));
            }
            check_shared_namespace(&value, &server, &config.virtual_servers)?;
            config.virtual_servers.push(server);
        }
        top.finish()?;
        if config.virtual_servers.is_empty() {
            return Err(servers.error("is empty; nothing would listen"));
        }
        Ok(config)
    }
}

/// Policies keep in a namespace when a user was let through, and the host keeps by pool what
/// they saw then. Of virtual servers that share the one and not the other, each would show an
/// older maildrop than the one that the denial rests on.
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

fn policy_cache(value: &Value<'_, '_>) -> Result<PolicyCache, Error> {
    match value.text()? {
        "off" => Ok(PolicyCache::Off),
        folder if folder.starts_with('/') => Ok(PolicyCache::Folder(PathBuf::from(folder))),
        other => Err(value.error(format!(
            "is {other:?}; it is \"off\" or the absolute path of a folder, such as \"/var/cache/reprieve\""
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{NodeTlsMode, ProxyHeader};
    use reprieve_policy_host::Verify;
    use reprieve_policy_host::{Isolation, OnFailure};
    use reprieve_pop3::credential::Mechanism;
    use reprieve_store::{RedisKind, Share, StoreBackend};

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
            "reprieve.toml:20: unknown key `virtual-server.policy.on-failur`; did you mean `on-failure`?"
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

    const FRONT: &str = r#"
user = "reprieve"
admin = { socket = "/run/reprieve/admin.sock" }
certificate-check = "0s"
name-servers = ["127.0.0.1:53"]

[[virtual-server]]
name = "front"
listen = ["0.0.0.0:110"]
listen-tls = ["0.0.0.0:995"]
pool = "mail"
cleartext-login = "loopback"
proxy-from = ["10.0.0.0/8", "192.0.2.7"]
mechanisms = ["USER", "PLAIN", "XOAUTH2", "EXTERNAL", "CRAM-MD5"]
unverifiable = "refuse"
master-separator = "*"

[virtual-server.tls]
certificate = "a.pem"
key = "a.key"
more = [{ certificate = "b.pem", key = "b.key" }]
least-version = "1.3"
client-ca = "ca.pem"

[pool.mail]
nodes = ["a:110", { address = "b:110", weight = 3, max-sessions = 9 }, { address = "c:110", backup = true }]
balance = "user"
max-sessions = 50
tls = { mode = "stls", ca = "ca.pem" }
proxy-protocol = "v2"
check = { interval = "1s", fall = 1 }
queue = { timeout = "2s", length = 7 }
"#;

    #[test]
    fn a_front_and_its_farm_are_read() {
        let config = Config::parse(FRONT, "reprieve.toml").unwrap();
        let server = &config.virtual_servers[0];
        let tls = server.tls.as_ref().unwrap();
        assert_eq!(tls.certificates.len(), 2);
        assert_eq!(server.listen_tls.len(), 1);
        assert!(server.proxy_from[1].contains(&"192.0.2.7".parse::<std::net::IpAddr>().unwrap()));
        assert!(
            server.mechanisms.contains(Mechanism::CramMd5) && !server.mechanisms.contains(Mechanism::Login)
        );
        let pool = &config.pools[0];
        let limits: Vec<_> = pool.nodes.iter().map(|node| node.max_sessions).collect();
        assert_eq!(limits, [Some(50), Some(9), Some(50)]);
        assert_eq!((pool.tls.mode, pool.proxy_header), (NodeTlsMode::Stls, ProxyHeader::V2));
        assert!(pool.tls.verify, "certificates of nodes are verified unless somebody says no");
        assert_eq!((pool.check.unwrap().fall, pool.check.unwrap().rise), (1, 2));
        assert_eq!(config.certificate_check, None);
    }

    #[test]
    fn each_mistake_of_a_front_names_line_key_and_remedy() {
        for (right, wrong, expected) in [
            ("certificate = \"a.pem\"", "", ["reprieve.toml:18", "tls.certificate", "fullchain.pem"]),
            ("client-ca = \"ca.pem\"", "", ["reprieve.toml:14", "EXTERNAL", "client-ca"]),
            (
                "client-ca =",
                "client-certificates = \"required\" #",
                ["reprieve.toml:23", "needs", "client-ca"],
            ),
            ("\"10.0.0.0/8\"", "\"10.0.0.0/33\"", ["reprieve.toml:13", "proxy-from", "10.0.0.0/8"]),
            ("\"loopback\"", "\"maybe\"", ["reprieve.toml:12", "cleartext-login", "\"loopback\""]),
            ("\"CRAM-MD5\"", "\"NTLM\"", ["reprieve.toml:14", "mechanisms", "\"CRAM-MD5\""]),
            ("weight = 3", "weight = 0", ["reprieve.toml:26", "weight", "1 to 1000"]),
            ("mode = \"stls\", ", "", ["reprieve.toml:29", "tls.mode", "stls"]),
            ("balance = \"user\"", "balance = \"random\"", ["reprieve.toml:27", "balance", "round-robin"]),
            ("user = \"reprieve\"", "group = \"mail\"", ["reprieve.toml:2", "group", "user"]),
        ] {
            let error = error_of(&FRONT.replace(right, wrong));
            for part in expected {
                assert!(error.contains(part), "{error:?} lacks {part:?}");
            }
        }
        let only_backups = FRONT.replace("\"a:110\", ", "").replace("weight = 3", "backup = true");
        assert!(error_of(&only_backups).contains("only backups"));
        let no_tls = FRONT.split("[virtual-server.tls]").next().unwrap().to_owned()
            + "\n[pool.mail]\nnodes = [\"a:110\"]\n";
        assert!(error_of(&no_tls).contains("[virtual-server.tls]"));
    }

    const STORES: &str = r#"
[store]
backend = "redis"
url = ["rediss://a.example:6379", "rediss://b.example:6379"]
sentinel = "mymaster"
user = "reprieve"
password-file = "/etc/reprieve/redis"
database = 2
timeout = "50ms"
share = "tags+snapshots"
secret-file = "/etc/reprieve/secret"

[pool.mail]
nodes = ["a:110"]

[[virtual-server]]
name = "one"
listen = ["127.0.0.1:110"]
pool = "mail"
store = { namespace = "site" }

[[virtual-server]]
name = "two"
listen = ["127.0.0.1:111"]
pool = "mail"
store = { backend = "file", path = "/var/lib/reprieve/two", save-every = "5s" }
"#;

    #[test]
    fn stores_are_read_for_all_and_for_one() {
        let config = Config::parse(STORES, "reprieve.toml").unwrap();
        let StoreBackend::Redis(redis) = &config.store.backend else { panic!("{:?}", config.store) };
        assert_eq!(redis.kind, RedisKind::Sentinel { service: "mymaster".to_owned() });
        assert_eq!((redis.urls.len(), redis.database, redis.timeout.as_millis()), (2, Some(2), 50));
        assert_eq!(config.store.share, Share::TagsAndSnapshots);
        let [one, two] = &config.virtual_servers[..] else { panic!() };
        assert_eq!((one.namespace.as_deref(), one.store.is_none()), (Some("site"), true));
        let StoreBackend::File(file) = &two.store.as_ref().unwrap().backend else { panic!() };
        assert_eq!((file.save_every.as_secs(), file.cache), (5, 64 << 20));
        assert!(!format!("{config:?}").contains("a.example"), "addresses may have passwords");
    }

    #[test]
    fn virtual_servers_share_a_namespace_only_if_they_have_one_pool() {
        let file = "store = { backend = \"file\", path = \"/var/lib/reprieve/two\", save-every = \"5s\" }";
        let two = |pool: &str, namespace: &str| {
            let store = format!("store = {{ namespace = \"{namespace}\" }}");
            let text = STORES
                .replace(file, &store)
                .replace("[pool.mail]", "[pool.other]\nnodes = [\"b:110\"]\n\n[pool.mail]");
            let (one, two) = text.rsplit_once("pool = \"mail\"").unwrap();
            format!("{one}pool = \"{pool}\"{two}")
        };
        assert!(Config::parse(&two("mail", "site"), "reprieve.toml").is_ok());
        assert!(Config::parse(&two("other", "two"), "reprieve.toml").is_ok());
        // A namespace that is named after another virtual server is that one's.
        let named_after = two("other", "one").replace("\nstore = { namespace = \"site\" }", "");
        for text in [two("other", "site"), named_after] {
            let error = error_of(&text);
            for part in ["reprieve.toml:", "shares the namespace", "\"mail\"", "\"other\"", "one pool"] {
                assert!(error.contains(part), "{error:?} lacks {part:?}");
            }
        }
    }

    #[test]
    fn each_mistake_of_a_store_names_line_key_and_remedy() {
        for (right, wrong, expected) in [
            ("\"redis\"\n", "\"etcd\"\n", ["reprieve.toml:3", "`store.backend`", "\"redis\""]),
            ("\"rediss://a", "\"http://p4ssw0rd@a", ["reprieve.toml:4", "url", "rediss://"]),
            (
                "\"rediss://a.example:6379\", \"rediss://b.example:6379\"",
                "",
                ["reprieve.toml:2", "store.url", "empty"],
            ),
            ("sentinel =", "sentinell =", ["reprieve.toml:5", "sentinell", "`sentinel`"]),
            ("database = 2", "cluster = true", ["reprieve.toml:8", "cluster", "sentinel"]),
            ("timeout = \"50ms\"", "timeout = \"0s\"", ["reprieve.toml:9", "timeout", ""]),
            ("secret-file = \"/etc", "#", ["reprieve.toml:2", "secret-file", "openssl rand"]),
            (
                "share = \"tags+snapshots\"\nsecret-file =",
                "#",
                ["reprieve.toml:2", "secret-file", "openssl rand"],
            ),
            ("\"tags+snapshots\"", "\"off\"", ["reprieve.toml:10", "share", "older maildrop"]),
            ("namespace = \"site\"", "namespace = \"a b\"", ["reprieve.toml:20", "namespace", "letters"]),
            (
                "save-every = \"5s\"",
                "url = \"redis://a\"",
                ["reprieve.toml:26", "store.url", "backend = \"redis\""],
            ),
        ] {
            let error = error_of(&STORES.replace(right, wrong));
            for part in expected {
                assert!(error.contains(part), "{error:?} lacks {part:?}");
            }
            assert!(!error.contains("p4ssw0rd"), "{error}");
        }
    }

    const ADMIN: &str = r#"
[admin]
socket = "/run/reprieve/admin.sock"
listen = ["127.0.0.1:8110", "10.0.0.1:8110"]
hosts = ["Reprieve.example"]
token-file = "/etc/reprieve/token"
read-token-file = "/etc/reprieve/viewers"
worst-pollers = true

[pool.mail]
nodes = ["a:110"]

[[virtual-server]]
name = "one"
listen = ["127.0.0.1:110"]
pool = "mail"
"#;

    #[test]
    fn an_admin_listener_is_read() {
        let admin = Config::parse(ADMIN, "reprieve.toml").unwrap().admin;
        assert_eq!(admin.hosts, ["reprieve.example"]);
        assert!(admin.worst_pollers && admin.tls.is_none() && admin.socket.is_some());
        let exposed: Vec<_> = admin.exposed().map(|address| address.to_string()).collect();
        assert_eq!(exposed, ["10.0.0.1:8110"]);
    }

    #[test]
    fn each_mistake_of_an_admin_listener_names_line_key_and_remedy() {
        let tokens = "token-file = \"/etc/reprieve/token\"\nread-token-file = \"/etc/reprieve/viewers\"";
        let listen = "listen = [\"127.0.0.1:8110\", \"10.0.0.1:8110\"]";
        for (right, wrong, expected) in [
            (tokens, "", ["reprieve.toml:4", "10.0.0.1:8110", "`admin.token-file`"]),
            (listen, "", ["reprieve.toml:5", "`admin.hosts`", "`admin.listen`"]),
            ("127.0.0.1:8110", "localhost", ["reprieve.toml:4", "`admin.listen`", "127.0.0.1:8110"]),
            ("Reprieve.example", "http://a", ["reprieve.toml:5", "`admin.hosts`", "without a port"]),
            (
                "worst-pollers = true",
                "worst-poller = true",
                ["reprieve.toml:8", "worst-poller", "did you mean"],
            ),
            ("worst-pollers = true", "key = \"k\"", ["reprieve.toml:8", "`admin.key`", "`certificate`"]),
        ] {
            let error = error_of(&ADMIN.replace(right, wrong));
            for part in expected {
                assert!(error.contains(part), "{error:?} lacks {part:?}");
            }
        }
        let nowhere = ADMIN.replace(listen, "").replace("socket =", "# socket =");
        assert!(error_of(&nowhere).contains("listens nowhere"));
    }
}
