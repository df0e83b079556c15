//! Tokens for access over TCP, compared in constant time.

use serde::Serialize;

use crate::config::{AdminConfig, TokenFile};
use reprieve_secrets::secret_file;

const MIN_TOKEN_CHARS: usize = 16;

/// Rights of a request; each includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Rights {
    /// Only the dashboard's page, which contains no data.
    None,
    /// Status and metrics.
    Read,
    /// Changes, and data of users.
    Change,
    /// Takeover by another process.
    Owner,
}

/// The configured tokens, kept as keyed hashes: comparing these takes the same time for every
/// token of any length.
#[derive(Debug)]
pub(super) struct Tokens {
    key: [u8; 32],
    change: Option<blake3::Hash>,
    read: Option<blake3::Hash>,
}

impl Tokens {
    /// Reads the files that the configuration names.
    ///
    /// # Errors
    /// If a file contains no token of sufficient length; the error names its line in the
    /// configuration.
    pub(super) fn read(config: &AdminConfig) -> anyhow::Result<Self> {
        let mut key = [0; 32];
        getrandom::fill(&mut key)?;
        let hash = |file: &Option<TokenFile>| file.as_ref().map(|file| token(file, &key)).transpose();
        let (change, read) = (hash(&config.token_file)?, hash(&config.read_token_file)?);
        if let (Some(file), true) = (&config.read_token_file, read.is_some() && read == change) {
            anyhow::bail!(
                "{}: the read-only token is the same as the token for changes; use different tokens, or remove this key",
                file.location
            );
        }
        Ok(Self { key, change, read })
    }

    /// Rights that a token grants; None if it is wrong.
    pub(super) fn rights(&self, token: &[u8]) -> Option<Rights> {
        let hash = Some(blake3::keyed_hash(&self.key, token));
        if hash == self.change {
            Some(Rights::Change)
        } else if hash == self.read {
            Some(Rights::Read)
        } else {
            None
        }
    }

    /// Whether changes are possible over TCP.
    pub(super) fn allow_changes(&self) -> bool {
        self.change.is_some()
    }

    /// Whether a read-only token is configured; reading then requires a token even on loopback.
    pub(super) fn require_read_token(&self) -> bool {
        self.read.is_some()
    }
}

fn token(file: &TokenFile, key: &[u8; 32]) -> anyhow::Result<blake3::Hash> {
    let token =
        secret_file::first_line(&file.path).map_err(|why| anyhow::anyhow!("{}: {why}", file.location))?;
    let token = token.expose();
    if token.len() < MIN_TOKEN_CHARS || !token.iter().all(u8::is_ascii_graphic) {
        anyhow::bail!(
            "{}: the first line of {} must be a token of {MIN_TOKEN_CHARS} characters or more, without spaces; \
             for example from: openssl rand -base64 24",
            file.location,
            file.path.display()
        );
    }
    Ok(blake3::keyed_hash(key, token))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(change: Option<&str>, read: Option<&str>) -> anyhow::Result<Tokens> {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str, text: Option<&str>| {
            let path = directory.path().join(name);
            text.map(|text| {
                std::fs::write(&path, text).unwrap();
                std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
                TokenFile { path, location: "reprieve.toml:3".into() }
            })
        };
        Tokens::read(&AdminConfig {
            token_file: file("change", change),
            read_token_file: file("see", read),
            ..AdminConfig::default()
        })
    }

    #[test]
    fn each_token_grants_its_rights_and_others_grant_none() {
        let tokens = tokens(Some("0123456789abcdef\nmore\n"), Some("fedcba9876543210")).unwrap();
        assert_eq!(tokens.rights(b"0123456789abcdef"), Some(Rights::Change));
        assert_eq!(tokens.rights(b"fedcba9876543210"), Some(Rights::Read));
        for wrong in [&b""[..], b"0123456789abcde", b"0123456789abcdef\nmore"] {
            assert_eq!(tokens.rights(wrong), None);
        }
    }

    #[test]
    fn without_configured_tokens_every_token_is_wrong() {
        let tokens = tokens(None, None).unwrap();
        assert_eq!(tokens.rights(b""), None);
        assert!(!tokens.allow_changes());
    }

    #[test]
    fn a_weak_token_is_refused_with_a_remedy() {
        for weak in ["short", "", "with spaces in the middle"] {
            let error = tokens(Some(weak), None).unwrap_err().to_string();
            assert!(error.starts_with("reprieve.toml:3: "), "{error}");
        }
        let error = tokens(Some("short"), None).unwrap_err().to_string();
        assert!(error.contains("openssl rand") && error.contains("16 characters"), "{error}");
        let error = tokens(Some("0123456789abcdef"), Some("0123456789abcdef")).unwrap_err().to_string();
        assert!(error.contains("use different tokens"), "{error}");
    }
}
