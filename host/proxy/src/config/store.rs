//! The state that lasts and is shared: where it is kept, and what proxies share.

use reprieve_secrets::Secret;
use reprieve_settings::{CertificateFiles, Error, Section};
use reprieve_store::{FileSettings, RedisSettings, RedisKind, Share, StoreConfig, StoreBackend};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Memory,
    File,
    Redis,
}

/// Reads a table of a store. What is left of the section is the caller's.
pub(super) fn store(section: &mut Section<'_, '_>) -> Result<StoreConfig, Error> {
    let kind = match section.get("backend") {
        Some(value) => {
            value.choice(&[("memory", Kind::Memory), ("file", Kind::File), ("redis", Kind::Redis)])?
        }
        None => Kind::Memory,
    };
    let location = section.location();
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
            return Err(value.error(format!("belongs to backend = \"{word}\"")));
        }
    }
    let backend = match kind {
        Kind::Memory => StoreBackend::Memory,
        Kind::File => StoreBackend::File(file(section)?),
        Kind::Redis => StoreBackend::Redis(Box::new(redis(section)?)),
    };
    // In Redis policies share when users were let through: who was let through by another proxy
    // must not be shown what this one saw before.
    let share = if kind == Kind::Redis { Share::Tags } else { Share::Off };
    let mut config = StoreConfig { backend, share, secret_file: None, location };
    if let Some(value) = section.get("share") {
        config.share = value.choice(&[
            ("off", Share::Off),
            ("tags", Share::Tags),
            ("tags+snapshots", Share::TagsAndSnapshots),
        ])?;
        if config.share != Share::Off && kind == Kind::Memory {
            return Err(value.error(
                "needs a store that lasts: backend = \"file\", or backend = \"redis\" for several proxies",
            ));
        }
        if config.share == Share::Off && kind == Kind::Redis {
            return Err(value.error(
                "cannot be \"off\" with backend = \"redis\": policies share there when a user was let through, so a proxy that does not know of it would show an older maildrop; set it to \"tags\" or \"tags+snapshots\"",
            ));
        }
    }
    if config.share == Share::Off {
        if let Some(value) = section.get("secret-file") {
            return Err(value.error("is for `share`: set it to \"tags\" or \"tags+snapshots\""));
        }
    } else {
        let example = "\"/etc/reprieve/share.secret\", made by: openssl rand -base64 32";
        config.secret_file = Some(section.required("secret-file", example)?.path()?);
    }
    Ok(config)
}

fn file(section: &mut Section<'_, '_>) -> Result<FileSettings, Error> {
    let path = section.required("path", "\"/var/lib/reprieve/store.redb\"")?.path()?;
    let mut settings = FileSettings::at(path);
    if let Some(value) = section.get("save-every") {
        settings.save_every = value.positive_duration()?;
    }
    if let Some(value) = section.get("cache") {
        settings.cache = value.size()?;
        if settings.cache < 1 << 20 {
            return Err(value.error("must be at least \"1MiB\""));
        }
    }
    Ok(settings)
}

fn redis(section: &mut Section<'_, '_>) -> Result<RedisSettings, Error> {
    let url = section.required("url", "\"redis://10.0.0.9:6379\"")?;
    let mut settings = RedisSettings {
        urls: Vec::new(),
        user: section.get("user").map(|value| value.text().map(str::to_owned)).transpose()?,
        password_file: section.get("password-file").map(|value| value.path()).transpose()?,
        ca: section.get("ca").map(|value| value.path()).transpose()?,
        ..RedisSettings::at("")
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
        settings.urls.push(Secret::new(text.as_bytes()));
    }
    if let Some(value) = section.get("sentinel") {
        settings.kind = RedisKind::Sentinel { service: value.text()?.to_owned() };
        settings.sentinel_user =
            section.get("sentinel-user").map(|value| value.text().map(str::to_owned)).transpose()?;
        settings.sentinel_password_file =
            section.get("sentinel-password-file").map(|value| value.path()).transpose()?;
    } else {
        for key in ["sentinel-user", "sentinel-password-file"] {
            if let Some(value) = section.get(key) {
                return Err(value.error("needs `sentinel`, the name of the service, beside it"));
            }
        }
    }
    if let Some(value) = section.get("cluster")
        && value.boolean()?
    {
        if settings.kind != RedisKind::One {
            return Err(value.error("cannot stand beside `sentinel`"));
        }
        settings.kind = RedisKind::Cluster;
    }
    if let Some(value) = section.get("database") {
        settings.database = Some(value.count_u32(0, 1_000_000)?);
        if settings.kind == RedisKind::Cluster && settings.database != Some(0) {
            return Err(value.error("must be 0: a cluster has one database"));
        }
    }
    if let Some(value) = section.get("prefix") {
        value.text()?.clone_into(&mut settings.prefix);
        if settings.prefix.len() > 64
            || !settings.prefix.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-_.:/".contains(&octet))
        {
            return Err(value.error("must be made of up to 64 letters, digits and -_.:/"));
        }
    }
    if let Some(value) = section.get("timeout") {
        settings.timeout = value.positive_duration()?;
    }
    if let Some(value) = section.get("connections") {
        settings.connections = usize::try_from(value.count(1, 64)?).unwrap_or(1);
    }
    let certificate = section.get("certificate");
    let key = section.get("key");
    settings.certificate = match (certificate, key) {
        (Some(chain), Some(key)) => {
            Some(CertificateFiles { chain: chain.path()?, key: key.path()?, location: chain.location() })
        }
        (Some(alone), None) | (None, Some(alone)) => {
            return Err(alone.error("needs `certificate` and `key` together"));
        }
        (None, None) => None,
    };
    Ok(settings)
}
