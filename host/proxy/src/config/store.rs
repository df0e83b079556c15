//! The state that lasts and is shared: where it is kept, and what proxies share.

use reprieve_secrets::Secret;
use reprieve_settings::{CertificateFiles, Error, Section};
use reprieve_store::{FileHome, RedisHome, RedisKind, Share, StoreConfig, StoreHome};

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
        reprieve_store::check_redis_url(text).map_err(|why| {
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
