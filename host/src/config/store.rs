//! The state that lasts and is shared: where it is kept, and what proxies share.

use std::path::PathBuf;
use std::time::Duration;

use super::place::Place;
use super::reader::{Error, Section};
use super::tls::CertificateFiles;
use crate::pop3::credential::Secret;

/// What proxies that use one store share of users, beside what policies keep there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// Nothing: each learns on its own.
    Off,
    /// Whose secrets were accepted, and which proxy has seen a maildrop last.
    Tags,
    /// These, and what clients saw of their maildrops.
    TagsAndSnapshots,
}

/// The store of a virtual server, or of all that have none of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreConfig {
    /// Where it is kept.
    pub home: StoreHome,
    /// What else is shared through it.
    pub share: Share,
    /// The file whose first line keys what is shared.
    pub secret_file: Option<PathBuf>,
    /// Where it is configured.
    pub place: Place,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self { home: StoreHome::Memory, share: Share::Off, secret_file: None, place: "store".into() }
    }
}

/// Where a store is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreHome {
    /// In this process, as long as it lives.
    Memory,
    /// In a file of this machine.
    File(FileHome),
    /// In Redis or Valkey, for many machines.
    Redis(Box<RedisHome>),
}

/// A store in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileHome {
    /// The file.
    pub path: PathBuf,
    /// The longest time for which something is in memory only.
    pub save_every: Duration,
    /// Octets of what was used lately that stay in memory.
    pub cache: u64,
}

/// What is at the addresses of a store in Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedisKind {
    /// A server; more than one address are tried in their order.
    One,
    /// Sentinels, which know the master of a service.
    Sentinel {
        /// The service's name.
        service: String,
    },
    /// Nodes of a cluster, which know the others.
    Cluster,
}

/// A store in Redis or Valkey.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisHome {
    /// What is there.
    pub kind: RedisKind,
    /// Addresses. They may hold passwords.
    pub urls: Vec<Secret>,
    /// The ACL user, where the URL has none.
    pub user: Option<String>,
    /// The file whose first line is the password.
    pub password_file: Option<PathBuf>,
    /// The ACL user at sentinels.
    pub sentinel_user: Option<String>,
    /// The file whose first line is the password at sentinels.
    pub sentinel_password_file: Option<PathBuf>,
    /// The number of the database, where the URL has none.
    pub database: Option<u32>,
    /// What every key begins with.
    pub prefix: String,
    /// How long an operation may take.
    pub timeout: Duration,
    /// Connections.
    pub connections: usize,
    /// Who signs the servers' certificates, where not whom the machine trusts.
    pub ca: Option<PathBuf>,
    /// What is shown to servers that ask for a certificate.
    pub certificate: Option<CertificateFiles>,
}

impl StoreHome {
    /// Its word in the configuration.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::File(_) => "file",
            Self::Redis(_) => "redis",
        }
    }
}

impl StoreConfig {
    /// A store by one word, as command lines name it: `memory`, `file:PATH`, or an address of
    /// Redis.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn by_word(word: &str) -> Result<Self, String> {
        let home = if word == "memory" {
            StoreHome::Memory
        } else if let Some(path) = word.strip_prefix("file:") {
            StoreHome::File(FileHome::at(path.into()))
        } else if crate::store::check_redis_url(word).is_ok() {
            StoreHome::Redis(Box::new(RedisHome::at(word)))
        } else {
            return Err(
                "a store is \"memory\", \"file:PATH\", or an address such as \"redis://127.0.0.1:6379\""
                    .to_owned(),
            );
        };
        Ok(Self { home, place: "--store".into(), ..Self::default() })
    }
}

impl FileHome {
    fn at(path: PathBuf) -> Self {
        Self { path, save_every: Duration::from_secs(1), cache: 64 << 20 }
    }
}

impl RedisHome {
    fn at(url: &str) -> Self {
        Self {
            kind: RedisKind::One,
            urls: vec![Secret::new(url.as_bytes())],
            user: None,
            password_file: None,
            sentinel_user: None,
            sentinel_password_file: None,
            database: None,
            prefix: "reprieve:".to_owned(),
            timeout: Duration::from_millis(100),
            connections: 2,
            ca: None,
            certificate: None,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Memory,
    File,
    Redis,
}

/// Reads a table of a store. What is left of the section is the caller's.
pub(super) fn store(section: &mut Section<'_, '_>) -> Result<StoreConfig, Error> {
    let kind = match section.get("home") {
        Some(value) => {
            value.choice(&[("memory", Kind::Memory), ("file", Kind::File), ("redis", Kind::Redis)])?
        }
        None => Kind::Memory,
    };
    let place = section.place();
    for (key, of, word) in [
        ("path", Kind::File, "file"),
        ("save-every", Kind::File, "file"),
        ("cache", Kind::File, "file"),
        ("url", Kind::Redis, "redis"),
        ("sentinel", Kind::Redis, "redis"),
        ("cluster", Kind::Redis, "redis"),
        ("user", Kind::Redis, "redis"),
        ("password-file", Kind::Redis, "redis"),
        ("sentinel-user", Kind::Redis, "redis"),
        ("sentinel-password-file", Kind::Redis, "redis"),
        ("database", Kind::Redis, "redis"),
        ("prefix", Kind::Redis, "redis"),
        ("timeout", Kind::Redis, "redis"),
        ("connections", Kind::Redis, "redis"),
        ("ca", Kind::Redis, "redis"),
        ("certificate", Kind::Redis, "redis"),
        ("key", Kind::Redis, "redis"),
    ] {
        if let Some(value) = section.get(key)
            && of != kind
        {
            return Err(value.error(format!("belongs to home = \"{word}\"")));
        }
    }
    let home = match kind {
        Kind::Memory => StoreHome::Memory,
        Kind::File => StoreHome::File(file(section)?),
        Kind::Redis => StoreHome::Redis(Box::new(redis(section)?)),
    };
    // In Redis policies share when users were let through: who was let through by another proxy
    // must not be shown what this one saw before.
    let share = if kind == Kind::Redis { Share::Tags } else { Share::Off };
    let mut config = StoreConfig { home, share, secret_file: None, place };
    if let Some(value) = section.get("share") {
        config.share = value.choice(&[
            ("off", Share::Off),
            ("tags", Share::Tags),
            ("tags+snapshots", Share::TagsAndSnapshots),
        ])?;
        if config.share != Share::Off && kind == Kind::Memory {
            return Err(value.error(
                "needs a store that lasts: home = \"file\", or home = \"redis\" for several proxies",
            ));
        }
        if config.share == Share::Off && kind == Kind::Redis {
            return Err(value.error(
                "cannot be \"off\" with home = \"redis\": policies share there when a user was let through, so a proxy that does not know of it would show an older maildrop; set it to \"tags\" or \"tags+snapshots\"",
            ));
        }
    }
    if config.share == Share::Off {
        if let Some(value) = section.get("secret-file") {
            return Err(value.error("is for `share`: set it to \"tags\" or \"tags+snapshots\""));
        }
    } else {
        let example = "\"/etc/reprieve/share.secret\", made by: openssl rand -base64 32";
        config.secret_file = Some(section.need("secret-file", example)?.path()?);
    }
    Ok(config)
}

fn file(section: &mut Section<'_, '_>) -> Result<FileHome, Error> {
    let path = section.need("path", "\"/var/lib/reprieve/store.redb\"")?.path()?;
    let mut home = FileHome::at(path);
    if let Some(value) = section.get("save-every") {
        home.save_every = value.positive()?;
    }
    if let Some(value) = section.get("cache") {
        home.cache = value.size()?;
        if home.cache < 1 << 20 {
            return Err(value.error("must be at least \"1MiB\""));
        }
    }
    Ok(home)
}

fn redis(section: &mut Section<'_, '_>) -> Result<RedisHome, Error> {
    let url = section.need("url", "\"redis://10.0.0.9:6379\"")?;
    let mut home = RedisHome {
        urls: Vec::new(),
        user: section.get("user").map(|value| value.text().map(str::to_owned)).transpose()?,
        password_file: section.get("password-file").map(|value| value.path()).transpose()?,
        ca: section.get("ca").map(|value| value.path()).transpose()?,
        ..RedisHome::at("")
    };
    let urls = if url.text().is_ok() { vec![url] } else { url.list()? };
    if urls.is_empty() {
        return Err(section.error("`store.url` is empty".to_owned()));
    }
    for url in urls {
        let text = url.text()?;
        crate::store::check_redis_url(text).map_err(|why| {
            // The URL may have a password, so it is not repeated.
            url.error(format!(
                "is no address of Redis ({why}); one is \"redis://10.0.0.9:6379\", or \"rediss://…\" for TLS"
            ))
        })?;
        home.urls.push(Secret::new(text.as_bytes()));
    }
    if let Some(value) = section.get("sentinel") {
        home.kind = RedisKind::Sentinel { service: value.text()?.to_owned() };
        home.sentinel_user =
            section.get("sentinel-user").map(|value| value.text().map(str::to_owned)).transpose()?;
        home.sentinel_password_file =
            section.get("sentinel-password-file").map(|value| value.path()).transpose()?;
    } else {
        for key in ["sentinel-user", "sentinel-password-file"] {
            if let Some(value) = section.get(key) {
                return Err(value.error("needs `sentinel`, the name of the service, beside it"));
            }
        }
    }
    if let Some(value) = section.get("cluster")
        && value.truth()?
    {
        if home.kind != RedisKind::One {
            return Err(value.error("cannot stand beside `sentinel`"));
        }
        home.kind = RedisKind::Cluster;
    }
    if let Some(value) = section.get("database") {
        home.database = Some(value.count_u32(0, 1_000_000)?);
        if home.kind == RedisKind::Cluster && home.database != Some(0) {
            return Err(value.error("must be 0: a cluster has one database"));
        }
    }
    if let Some(value) = section.get("prefix") {
        value.text()?.clone_into(&mut home.prefix);
        if home.prefix.len() > 64
            || !home.prefix.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-_.:/".contains(&octet))
        {
            return Err(value.error("must be made of up to 64 letters, digits and -_.:/"));
        }
    }
    if let Some(value) = section.get("timeout") {
        home.timeout = value.positive()?;
    }
    if let Some(value) = section.get("connections") {
        home.connections = usize::try_from(value.count(1, 64)?).unwrap_or(1);
    }
    let certificate = section.get("certificate");
    let key = section.get("key");
    home.certificate = match (certificate, key) {
        (Some(chain), Some(key)) => {
            Some(CertificateFiles { chain: chain.path()?, key: key.path()?, place: chain.place() })
        }
        (Some(alone), None) | (None, Some(alone)) => {
            return Err(alone.error("needs `certificate` and `key` together"));
        }
        (None, None) => None,
    };
    Ok(home)
}
