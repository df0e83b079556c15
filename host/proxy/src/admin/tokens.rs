//! Tokens for access over TCP, compared in constant time.

use serde::Serialize;

use crate::config::{AdminConfig, TokenFile};
use reprieve_secrets::secret_file;

const MIN_TOKEN_CHARS: usize = 16;

/// Rights of a request; each includes those before it, except that [`Rights::Read`] does not include
/// [`Rights::Signal`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Rights {
    /// Only the dashboard's page, which contains no data.
    None,
    /// Signals of new mail.
    Signal,
    /// Status and metrics.
    Read,
    /// Changes, and data of users.
    Change,
    /// Takeover by another process.
    Owner,
}

impl Rights {
    /// Whether these rights include others.
    pub(super) fn include(self, needed: Self) -> bool {
        self >= needed && (self, needed) != (Self::Read, Self::Signal)
    }
}

/// The configured tokens, kept as keyed hashes: comparing these takes the same time for every
/// token of any length.
#[derive(Debug)]
pub(super) struct Tokens {
    key: [u8; 32],
    change: Option<blake3::Hash>,
    read: Option<blake3::Hash>,
    signal: Option<blake3::Hash>,
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
        let signal = hash(&config.new_mail_token_file)?;
        if let (Some(file), true) =
            (&config.new_mail_token_file, signal.is_some() && (signal == change || signal == read))
        {
            anyhow::bail!(
                "{}: the token for signals of new mail is the same as another token; use different tokens",
                file.location
            );
        }
        Ok(Self { key, change, read, signal })
    }

    /// Rights that a token grants; None if it is wrong.
    pub(super) fn rights(&self, token: &[u8]) -> Option<Rights> {
        let hash = Some(blake3::keyed_hash(&self.key, token));
        if hash == self.change {
            Some(Rights::Change)
        } else if hash == self.read {
            Some(Rights::Read)
        } else if hash == self.signal {
            Some(Rights::Signal)
        } else {
            None
        }
    }

    /// Whether changes are possible over TCP.
    pub(super) fn allow_changes(&self) -> bool {
        self.change.is_some()
    }

    /// Whether signals of new mail are possible over TCP.
    pub(super) fn allow_signals(&self) -> bool {
        self.signal.is_some() || self.allow_changes()
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
        with_signals(change, read, None)
    }

    fn with_signals(
        change: Option<&str>,
        read: Option<&str>,
        signal: Option<&str>,
    ) -> anyhow::Result<Tokens> {
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
            new_mail_token_file: file("signal", signal),
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
    fn the_token_for_signals_allows_signals_only() {
        let token = "signals-0123456789";
        let tokens = with_signals(Some("0123456789abcdef"), Some("fedcba9876543210"), Some(token)).unwrap();
        let signal = tokens.rights(token.as_bytes()).unwrap();
        assert!(signal.include(Rights::Signal) && signal.include(Rights::None));
        assert!(!signal.include(Rights::Read) && !signal.include(Rights::Change));
        assert!(!Rights::Read.include(Rights::Signal));
        assert!(Rights::Change.include(Rights::Signal) && Rights::Owner.include(Rights::Signal));
        let error = with_signals(Some(token), None, Some(token)).unwrap_err().to_string();
        assert!(error.contains("use different tokens"), "{error}");
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
