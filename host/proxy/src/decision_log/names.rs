//! User names in the decision log: plain or hashed.

use reprieve_secrets::Secret;

/// The context of the key derivation, so that a secret used elsewhere gives a different key there.
const CONTEXT: &str = "reprieve decision-log user names v1";

/// How user names are written.
pub(super) enum Names {
    /// Plain.
    Plain,
    /// As keyed hashes.
    Hashed(Box<[u8; 32]>),
}

/// A name as it is written.
pub(super) enum Shown<'a> {
    Plain(&'a str),
    /// 32 hexadecimal digits.
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

    /// The same name always gives the same result, so that a user can be followed.
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
    fn a_hash_depends_on_name_and_key() {
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
