//! Whole configurations, and the errors of wrong ones.

use std::time::Duration;

use super::{Config, NodeTlsMode, PolicyCache, ProxyHeader};
use reprieve_policy_host::{Isolation, OnFailure, Verify};
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
    assert_eq!(server.policy.breaker.max_pause, Duration::from_secs(600), "not shorter than the first");
    assert_eq!(config.policy_cache, PolicyCache::Off);
    let settings: Vec<_> = server.policy.settings.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(settings, ["manner", "interval"], "in the order of the file");
    assert_eq!(config.pools[0].nodes.len(), 2);
    assert_eq!(config.maildrop_memory, 16 << 20);
}

#[test]
fn an_unknown_key_is_reported_with_its_line_and_the_nearest_known_one() {
    let text = WHOLE.replace("on-failure =", "on-failur =");
    assert_eq!(
        error_of(&text),
        "reprieve.toml:20: unknown key `virtual-server.policy.on-failur`; did you mean `on-failure`?"
    );
}

#[test]
fn each_mistake_names_line_key_and_remedy() {
    for (right, wrong, expected) in [
        ("pool = \"mail\"", "pool = \"male\"", ["reprieve.toml:11", "`virtual-server.pool`", "[pool.male]"]),
        ("\"0.0.0.0:110\"", "\"0.0.0.0\"", ["reprieve.toml:10", "`virtual-server.listen`", "0.0.0.0:110"]),
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
certificate-check = "off"
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
additional-certificates = [{ certificate = "b.pem", key = "b.key" }]
min-version = "1.3"
client-ca = "ca.pem"

[pool.mail]
nodes = ["a:110", { address = "b:110", weight = 3, max-sessions = 9 }, { address = "c:110", backup = true }]
balance = "user"
max-sessions = 50
tls = { mode = "stls", ca = "ca.pem" }
proxy-protocol = "v2"
health-check = { interval = "1s", fall = 1 }
queue = { timeout = "2s", length = 7 }
"#;

#[test]
fn tls_mechanisms_and_nodes_are_read() {
    let config = Config::parse(FRONT, "reprieve.toml").unwrap();
    let server = &config.virtual_servers[0];
    let tls = server.tls.as_ref().unwrap();
    assert_eq!(tls.certificates.len(), 2);
    assert_eq!(server.listen_tls.len(), 1);
    assert!(server.proxy_from[1].contains(&"192.0.2.7".parse::<std::net::IpAddr>().unwrap()));
    assert!(server.mechanisms.contains(Mechanism::CramMd5) && !server.mechanisms.contains(Mechanism::Login));
    let pool = &config.pools[0];
    let limits: Vec<_> = pool.nodes.iter().map(|node| node.max_sessions).collect();
    assert_eq!(limits, [Some(50), Some(9), Some(50)]);
    assert_eq!((pool.tls.mode, pool.proxy_header), (NodeTlsMode::Stls, ProxyHeader::V2));
    assert!(pool.tls.verify, "certificates of nodes are verified by default");
    assert_eq!((pool.health_check.unwrap().fall, pool.health_check.unwrap().rise), (1, 2));
    assert_eq!(config.certificate_check, None);
}

#[test]
fn each_mistake_in_tls_mechanisms_or_nodes_names_line_key_and_remedy() {
    for (right, wrong, expected) in [
        ("certificate = \"a.pem\"", "", ["reprieve.toml:18", "tls.certificate", "fullchain.pem"]),
        ("client-ca = \"ca.pem\"", "", ["reprieve.toml:14", "EXTERNAL", "client-ca"]),
        ("client-ca =", "client-certificates = \"required\" #", ["reprieve.toml:23", "needs", "client-ca"]),
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
fn the_common_store_and_one_of_a_virtual_server_are_read() {
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
    // A namespace with the name of another virtual server is the one of that virtual server.
    let named_after = two("other", "one").replace("\nstore = { namespace = \"site\" }", "");
    for text in [two("other", "site"), named_after] {
        let error = error_of(&text);
        for part in ["reprieve.toml:", "shares the namespace", "\"mail\"", "\"other\"", "one pool"] {
            assert!(error.contains(part), "{error:?} lacks {part:?}");
        }
    }
}

#[test]
fn each_mistake_in_a_store_names_line_key_and_remedy() {
    for (right, wrong, expected) in [
        ("\"redis\"\n", "\"etcd\"\n", ["reprieve.toml:3", "`store.backend`", "\"redis\""]),
        ("\"rediss://a", "\"http://p4ssw0rd@a", ["reprieve.toml:4", "url", "rediss://"]),
        (
            "\"rediss://a.example:6379\", \"rediss://b.example:6379\"",
            "",
            ["reprieve.toml:4", "store.url", "empty"],
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
top-pollers = true

[pool.mail]
nodes = ["a:110"]

[[virtual-server]]
name = "one"
listen = ["127.0.0.1:110"]
pool = "mail"
"#;

#[test]
fn the_admin_interface_is_read() {
    let admin = Config::parse(ADMIN, "reprieve.toml").unwrap().admin;
    assert_eq!(admin.hosts, ["reprieve.example"]);
    assert!(admin.top_pollers && admin.tls.is_none() && admin.socket.is_some());
    let exposed: Vec<_> = admin.exposed().map(|address| address.to_string()).collect();
    assert_eq!(exposed, ["10.0.0.1:8110"]);
}

#[test]
fn each_mistake_in_the_admin_interface_names_line_key_and_remedy() {
    let tokens = "token-file = \"/etc/reprieve/token\"\nread-token-file = \"/etc/reprieve/viewers\"";
    let listen = "listen = [\"127.0.0.1:8110\", \"10.0.0.1:8110\"]";
    for (right, wrong, expected) in [
        (tokens, "", ["reprieve.toml:4", "10.0.0.1:8110", "`admin.token-file`"]),
        (listen, "", ["reprieve.toml:6", "`admin.token-file`", "`admin.listen`"]),
        ("127.0.0.1:8110", "localhost", ["reprieve.toml:4", "`admin.listen`", "127.0.0.1:8110"]),
        ("Reprieve.example", "http://a", ["reprieve.toml:5", "`admin.hosts`", "without a port"]),
        ("top-pollers = true", "top-poller = true", ["reprieve.toml:8", "top-poller", "did you mean"]),
        ("top-pollers = true", "key = \"k\"", ["reprieve.toml:8", "`admin.key`", "`admin.certificate`"]),
    ] {
        let error = error_of(&ADMIN.replace(right, wrong));
        for part in expected {
            assert!(error.contains(part), "{error:?} lacks {part:?}");
        }
    }
    let nowhere =
        ADMIN.replace(listen, "").replace(tokens, "").replace("socket =", "#").replace("hosts =", "#");
    assert!(error_of(&nowhere).contains("listens nowhere"));
}
