//! Stores: where state is kept, and what proxies share.

use std::path::PathBuf;

use reprieve_secrets::Secret;
use reprieve_settings::format::{
    Format, Type, boolean, count, custom, optional, path, positive_duration, size, text, word,
};
use reprieve_settings::{Error, Key, Section, Table, Value};
use reprieve_store::{FileSettings, RedisKind, RedisSettings, Share, StoreBackend, StoreConfig};

use super::tls::certificate_files;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Backend {
    Memory,
    File,
    Redis,
}

/// `[store]`
pub(super) struct StoreTable {
    backend: Backend,
    share: Share,
    secret_file: Option<PathBuf>,
    file: FileSettings,
    redis: RedisSettings,
    sentinel: Option<String>,
    cluster: bool,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
}

impl Table for StoreTable {
    type Output = StoreConfig;

    fn defaults() -> Self {
        Self {
            backend: Backend::Memory,
            share: Share::Off,
            secret_file: None,
            file: FileSettings::at(PathBuf::new()),
            redis: RedisSettings { urls: Vec::new(), ..RedisSettings::at("") },
            sentinel: None,
            cluster: false,
            certificate: None,
            key: None,
        }
    }

    fn keys() -> Vec<Key<Self>> {
        let redis = [redis_keys(), redis_tls_keys(), redis_topology_keys()].into_iter().flatten();
        let redis = redis.map(|key| key.only_with("backend", "redis").alternative());
        common_keys().into_iter().chain(file_keys()).chain(redis).collect()
    }

    fn build(self, section: &Section<'_, '_>) -> Result<StoreConfig, Error> {
        let share = self.checked_share(section)?;
        let secret_file = self.secret_file.clone();
        let backend = match self.backend {
            Backend::Memory => StoreBackend::Memory,
            Backend::File => StoreBackend::File(self.file),
            Backend::Redis => StoreBackend::Redis(Box::new(self.redis(section)?)),
        };
        match (share, section.value("secret-file")) {
            (Share::Off, Some(value)) => {
                Err(value.error("is for `share`: set it to \"tags\" or \"tags+snapshots\""))
            }
            (Share::Tags | Share::TagsAndSnapshots, None) => Err(section.missing("secret-file", SECRET_FILE)),
            _ => Ok(StoreConfig { backend, share, secret_file, location: section.location() }),
        }
    }
}

const SECRET_FILE: &str = "\"/etc/reprieve/share.secret\" # openssl rand -base64 32";

impl StoreTable {
    /// Through Redis, policies know when another proxy let a user through. A proxy that did not see
    /// that session would show an older maildrop.
    fn checked_share(&self, section: &Section<'_, '_>) -> Result<Share, Error> {
        match (section.value("share"), self.backend) {
            (None, Backend::Redis) => Ok(Share::Tags),
            (Some(value), Backend::Redis) if self.share == Share::Off => Err(value.error(
                "cannot be \"off\" with backend = \"redis\": policies record in Redis when a user was let through, \
                 and a proxy that did not see that session would show an older maildrop; set it to \"tags\" or \
                 \"tags+snapshots\"",
            )),
            (Some(value), Backend::Memory) if self.share != Share::Off => Err(value.error(
                "needs a store that outlasts the process: backend = \"file\", or backend = \"redis\" for several \
                 proxies",
            )),
            _ => Ok(self.share),
        }
    }

    fn redis(self, section: &Section<'_, '_>) -> Result<RedisSettings, Error> {
        let kind = match (self.sentinel, self.cluster, section.value("cluster")) {
            (Some(_), true, Some(value)) => return Err(value.error("cannot stand beside `sentinel`")),
            (Some(service), ..) => RedisKind::Sentinel { service },
            (None, true, _) => RedisKind::Cluster,
            (None, false, _) => RedisKind::One,
        };
        if let Some(value) = section.value("database")
            && kind == RedisKind::Cluster
            && self.redis.database != Some(0)
        {
            return Err(value.error("must be 0: a cluster has one database"));
        }
        let certificate = certificate_files(section, self.certificate, self.key);
        Ok(RedisSettings { kind, certificate, ..self.redis })
    }
}

fn common_keys() -> Vec<Key<StoreTable>> {
    vec![
        Key::new(
            "backend",
            |store: &mut StoreTable| &mut store.backend,
            word(&[("memory", Backend::Memory), ("file", Backend::File), ("redis", Backend::Redis)]),
            "Where state is kept: `\"memory\"` is lost with the process, `\"file\"` outlasts it, `\"redis\"` \
             (Redis or Valkey) is shared by several proxies.",
        )
        .example("\"file\""),
        Key::new(
            "share",
            |store: &mut StoreTable| &mut store.share,
            word(&[("off", Share::Off), ("tags", Share::Tags), ("tags+snapshots", Share::TagsAndSnapshots)]),
            "What proxies learn from each other through the store: which passwords were accepted \
             (`\"tags\"`), and also what users' maildrops look like (`\"tags+snapshots\"`). With \
             `\"redis\"` it cannot be `\"off\"`: policies record in Redis when a user was let through, and a \
             proxy that did not see that session would show an older maildrop.",
        )
        .default_text("`\"tags\"` with `\"redis\"`, otherwise `\"off\"`")
        .example("\"tags\""),
        Key::new(
            "secret-file",
            |store: &mut StoreTable| &mut store.secret_file,
            optional(path()),
            "File whose first line, of 16 characters or more, is a secret that all proxies share.",
        )
        .default_text("required, unless `share` is `\"off\"`")
        .example(SECRET_FILE),
    ]
}

fn file_keys() -> impl Iterator<Item = Key<StoreTable>> {
    let keys = [
        Key::new(
            "path",
            |store: &mut StoreTable| &mut store.file.path,
            path(),
            "The file. The user that Reprieve runs as must be able to write to its directory.",
        )
        .required("\"/var/lib/reprieve/state.redb\""),
        Key::new(
            "save-every",
            |store: &mut StoreTable| &mut store.file.save_every,
            positive_duration(),
            "Longest time for which a change is in memory only, so that a crash loses it.",
        ),
        Key::new(
            "cache",
            |store: &mut StoreTable| &mut store.file.cache,
            size(1 << 20..=u64::MAX),
            "Memory for recently used entries.",
        ),
    ];
    keys.into_iter().map(|key| key.only_with("backend", "file"))
}

fn redis_keys() -> Vec<Key<StoreTable>> {
    vec![
        Key::new(
            "url",
            |store: &mut StoreTable| &mut store.redis.urls,
            redis_urls(),
            "`redis://HOST:PORT`, `rediss://HOST:PORT` with TLS, or `redis+unix:///PATH`; or a list of servers \
             to try in order, of sentinels, or of the nodes of a cluster.",
        )
        .required("\"redis://10.0.0.9:6379\""),
        Key::new(
            "user",
            |store: &mut StoreTable| &mut store.redis.user,
            optional(text()),
            "ACL user, for URLs without one.",
        )
        .example("\"reprieve\""),
        Key::new(
            "password-file",
            |store: &mut StoreTable| &mut store.redis.password_file,
            optional(path()),
            "File whose first line is the password.",
        )
        .example("\"/etc/reprieve/redis.password\""),
        Key::new(
            "database",
            |store: &mut StoreTable| &mut store.redis.database,
            optional(count(0..=1_000_000)),
            "Number of the database, for URLs without one.",
        )
        .default_text("0")
        .example("0"),
        Key::new(
            "prefix",
            |store: &mut StoreTable| &mut store.redis.prefix,
            redis_prefix(),
            "Prefix of every key.",
        ),
        Key::new(
            "timeout",
            |store: &mut StoreTable| &mut store.redis.timeout,
            positive_duration(),
            "Maximum duration of one operation. Keep it below `limits.wait` of the policy.",
        ),
        Key::new(
            "connections",
            |store: &mut StoreTable| &mut store.redis.connections,
            count(1..=64),
            "Number of connections. Many operations share each of them.",
        ),
    ]
}

fn redis_tls_keys() -> Vec<Key<StoreTable>> {
    vec![
        Key::new(
            "ca",
            |store: &mut StoreTable| &mut store.redis.ca,
            optional(path()),
            "Certificate authorities of servers with `rediss://` (PEM).",
        )
        .default_text("the system trust store")
        .example("\"/etc/reprieve/redis-ca.pem\""),
        Key::new(
            "certificate",
            |store: &mut StoreTable| &mut store.certificate,
            optional(path()),
            "Certificate chain (PEM) for servers that ask for a client certificate.",
        )
        .needs("key")
        .example("\"/etc/reprieve/redis.pem\""),
        Key::new(
            "key",
            |store: &mut StoreTable| &mut store.key,
            optional(path()),
            "Private key of `certificate` (PEM).",
        )
        .needs("certificate")
        .example("\"/etc/reprieve/redis.key\""),
    ]
}

fn redis_topology_keys() -> Vec<Key<StoreTable>> {
    vec![
        Key::new(
            "sentinel",
            |store: &mut StoreTable| &mut store.sentinel,
            optional(text()),
            "Name of the service that the sentinels at `url` monitor.",
        )
        .example("\"mymaster\""),
        Key::new(
            "sentinel-user",
            |store: &mut StoreTable| &mut store.redis.sentinel_user,
            optional(text()),
            "ACL user at the sentinels.",
        )
        .needs("sentinel")
        .example("\"reprieve\""),
        Key::new(
            "sentinel-password-file",
            |store: &mut StoreTable| &mut store.redis.sentinel_password_file,
            optional(path()),
            "File whose first line is the password at the sentinels.",
        )
        .needs("sentinel")
        .example("\"/etc/reprieve/sentinel.password\""),
        Key::new(
            "cluster",
            |store: &mut StoreTable| &mut store.cluster,
            boolean(),
            "Whether `url` names nodes of a cluster.",
        ),
    ]
}

/// One URL or a list of URLs. They may contain passwords, so errors do not repeat them.
fn redis_urls() -> impl Format<Vec<Secret>> {
    fn parse(value: &Value<'_, '_>) -> Result<Vec<Secret>, Error> {
        let Ok(items) = value.list() else { return Ok(vec![redis_url(value)?]) };
        if items.is_empty() {
            return Err(value.error("is empty; it needs an address of Redis"));
        }
        items.iter().map(redis_url).collect()
    }
    let url = Type::String("URL");
    custom(Type::Either(vec![url.clone(), Type::List(Box::new(url))]), parse, |_| None)
}

fn redis_url(value: &Value<'_, '_>) -> Result<Secret, Error> {
    let text = value.text()?;
    reprieve_store::check_redis_url(text).map_err(|why| {
        value.error(format!(
            "is not an address of Redis ({why}); examples are \"redis://10.0.0.9:6379\" and, with TLS, \
             \"rediss://10.0.0.9:6379\""
        ))
    })?;
    Ok(Secret::new(text.as_bytes()))
}

fn redis_prefix() -> impl Format<String> {
    fn parse(value: &Value<'_, '_>) -> Result<String, Error> {
        let prefix = value.text()?;
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/".contains(&byte);
        if prefix.len() > 64 || !prefix.bytes().all(is_plain) {
            return Err(value.error("must be made of up to 64 letters, digits and -_.:/"));
        }
        Ok(prefix.to_owned())
    }
    custom(Type::String("string"), parse, |prefix| Some(format!("{prefix:?}")))
}

/// `[virtual-server.store]`
pub(super) struct OwnStoreTable {
    namespace: Option<String>,
    store: StoreTable,
}

/// The store of one virtual server.
#[derive(Default)]
pub(super) struct OwnStore {
    /// The namespace of its policy, if it is not named after the virtual server.
    pub(super) namespace: Option<String>,
    /// A store of its own, if it does not use the one of all.
    pub(super) store: Option<StoreConfig>,
}

impl Table for OwnStoreTable {
    type Output = OwnStore;

    fn defaults() -> Self {
        Self { namespace: None, store: StoreTable::defaults() }
    }

    fn keys() -> Vec<Key<Self>> {
        let namespace = Key::new(
            "namespace",
            |own: &mut Self| &mut own.namespace,
            optional(plain_name()),
            "The part of the store that belongs to the policy. Virtual servers with the same pool can share \
             a namespace. With this key alone, the namespace is in the store of `[store]`.",
        )
        .default_text("the virtual server's name")
        .example("\"pop3\"");
        let within = |key: Key<StoreTable>| key.within(|own: &mut Self| &mut own.store);
        let store = StoreTable::keys().into_iter().map(|key| within(key).documented_in("[store]"));
        std::iter::once(namespace).chain(store).collect()
    }

    fn build(self, section: &Section<'_, '_>) -> Result<OwnStore, Error> {
        let has_own = section.entries().iter().any(|(key, _)| *key != "namespace");
        let store = has_own.then(|| self.store.build(section)).transpose()?;
        Ok(OwnStore { namespace: self.namespace, store })
    }
}

/// A name that can stand in keys, logs and metrics without quoting.
pub(super) fn plain_name() -> impl Format<String> {
    fn parse(value: &Value<'_, '_>) -> Result<String, Error> {
        let name = value.text()?;
        if is_plain_name(name) { Ok(name.to_owned()) } else { Err(value.error(PLAIN_NAME)) }
    }
    custom(Type::String("name"), parse, |_| None)
}

/// What a plain name must be.
pub(super) const PLAIN_NAME: &str = "must be made of up to 64 letters, digits, dots, hyphens and underscores";

/// Whether a name can stand in metrics and log lines without quotes.
pub(super) fn is_plain_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=64).contains(&name.len()) && name.bytes().all(is_plain)
}
