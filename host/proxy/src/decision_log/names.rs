//! User names as the decision log shows them.

use reprieve_secrets::Secret;

/// What keys of hashes are derived for: a secret that is used elsewhere too gives another key
/// there.
const CONTEXT: &str = "reprieve decision-log user names v1";

/// How user names are shown.
pub(super) enum Names {
    /// As they are.
    Plain,
    /// As keyed hashes.
    Hashed(Box<[u8; 32]>),
}

/// A name as it is shown.
pub(super) enum Shown<'a> {
    Plain(&'a str),
    /// Thirty-two hexadecimal digits.
    Hash(String),
}

impl std::fmt::Debug for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Plain => "Plain",
            Self::Hashed(_) => "Hashed",
        })
    }
}

impl Names {
    pub(super) fn hashed(secret: &Secret) -> Self {
        Self::Hashed(Box::new(blake3::derive_key(CONTEXT, secret.expose())))
    }

    /// The same name is always shown the same, so that a user can be followed.
    pub(super) fn show<'a>(&self, name: &'a str) -> Shown<'a> {
        match self {
            Self::Plain => Shown::Plain(name),
            Self::Hashed(key) => {
                let hash = blake3::keyed_hash(key, name.as_bytes());
                Shown::Hash(hash.to_hex().as_str()[..32].to_owned())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_the_same_for_the_same_name_and_key_only() {
        let hash = |key: &str, name: &str| match Names::hashed(&Secret::new(key.as_bytes())).show(name) {
            Shown::Hash(hash) => hash,
            Shown::Plain(name) => panic!("{name} is shown"),
        };
        let one = hash("a key of enough characters", "alice");
        assert_eq!(one, hash("a key of enough characters", "alice"));
        // By b3sum, as docs/decision-log.md says.
        assert_eq!(one, "f7bb6adf4c95e640278c9946c90b94d1");
        assert_ne!(one, hash("a key of enough characters", "Alice"));
        assert_ne!(one, hash("another key, just as long", "alice"));
    }
}
