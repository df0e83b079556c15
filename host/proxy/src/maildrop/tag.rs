//! Keyed hashes of users and of their secrets: enough to recognise them, not enough to learn
//! anything about them.

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use reprieve_pop3::credential::Credentials;

/// A keyed hash of 96 bits. Short, because there may be millions of them; long enough that among a
/// billion users the chance of two equal hashes is less than one in a hundred billion.
pub(super) type Hash = [u8; 12];

/// Follows a secret in what is hashed: BLAKE3 copies its last block to the stack, where it would stay.
const LAST_BLOCK: [u8; 64] = [0; 64];

/// Identifies a user of a pool without revealing their name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserKey(pub(super) Hash);

impl UserKey {
    /// For hash tables in a shard: the first four bytes have chosen the shard, so they are of no use there.
    pub(super) fn table_hash(self) -> u64 {
        u64::from_le_bytes(std::array::from_fn(|at| self.0[4 + at]))
    }
}

#[cfg(test)]
impl UserKey {
    pub(super) fn numbered(number: u128) -> Self {
        let mut key = Hash::default();
        key.copy_from_slice(&number.to_le_bytes()[..12]);
        Self(key)
    }
}

/// Keyed hash of a secret of one user.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Tag(Hash);

impl Tag {
    pub(super) fn from_bytes(bytes: Hash) -> Self {
        Self(bytes)
    }

    pub(super) fn bytes(&self) -> Hash {
        self.0
    }

    /// Compares in constant time.
    #[must_use]
    pub fn matches(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl std::fmt::Debug for Tag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tag(…)")
    }
}

/// Makes user keys and tags. Its key is either random and lost with the process, or derived from a
/// secret that all proxies of a site have.
pub struct Tagger {
    key: Zeroizing<[u8; 32]>,
}

impl Tagger {
    /// With a random key.
    ///
    /// # Errors
    /// If the system has no randomness.
    pub fn new() -> Result<Self, getrandom::Error> {
        let mut key = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *key)?;
        Ok(Self { key })
    }

    /// With a key derived from a secret: proxies with the same secret make the same tags.
    #[must_use]
    pub fn keyed(secret: &[u8]) -> Self {
        Self { key: Zeroizing::new(blake3::derive_key("reprieve 2026-11-24 users and tags", secret)) }
    }

    /// The key that seals shared records, derived from the same secret; useless for making tags.
    pub(super) fn sealing_key(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(blake3::derive_key("reprieve 2026-11-24 shared records", &*self.key))
    }

    /// The key of a user of a pool, which identifies a maildrop for all virtual servers that lead to
    /// it. `user` is compared byte for byte; [`Credentials::identity`] folds names that the mail
    /// server treats as one.
    #[must_use]
    pub fn user(&self, pool: &str, user: &[u8]) -> UserKey {
        UserKey(self.hash(&[b"user", pool.as_bytes(), user]))
    }

    /// The key of a mailbox under its name at the mail servers of a pool.
    #[must_use]
    pub fn mailbox(&self, pool: &str, name: &[u8]) -> UserKey {
        UserKey(self.hash(&[b"mailbox", pool.as_bytes(), name]))
    }

    /// The key of a pool.
    #[must_use]
    pub fn pool(&self, pool: &str) -> UserKey {
        UserKey(self.hash(&[b"pool", pool.as_bytes()]))
    }

    /// The tag of a user's secret.
    #[must_use]
    pub fn tag(&self, user: UserKey, credentials: &Credentials) -> Tag {
        Tag(self.hash(&[
            b"secret",
            &user.0,
            credentials.mechanism.family().name().as_bytes(),
            credentials.secret.expose(),
            &LAST_BLOCK,
        ]))
    }

    fn hash(&self, parts: &[&[u8]]) -> Hash {
        // Each part follows its length, so that different lists of parts give different inputs.
        let length = parts.iter().map(|part| part.len() + 8).sum();
        let mut input = Zeroizing::new(Vec::with_capacity(length));
        for part in parts {
            input.extend_from_slice(&(part.len() as u64).to_le_bytes());
            input.extend_from_slice(part);
        }
        let hash = blake3::keyed_hash(&self.key, &input);
        std::array::from_fn(|at| hash.as_bytes()[at])
    }
}

impl std::fmt::Debug for Tagger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tagger")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reprieve_pop3::credential::{Mechanism, Secret};

    fn credentials(secret: &[u8], mechanism: Mechanism) -> Credentials {
        Credentials::new(b"alice", Secret::new(secret), mechanism)
    }

    #[test]
    fn only_the_same_secret_of_the_same_user_has_the_same_tag() {
        let tagger = Tagger::new().unwrap();
        let alice = tagger.user("mail", b"alice");
        let tag = tagger.tag(alice, &credentials(b"right", Mechanism::UserPass));
        assert!(tag.matches(&tagger.tag(alice, &credentials(b"right", Mechanism::Plain))));
        assert!(!tag.matches(&tagger.tag(alice, &credentials(b"wrong", Mechanism::UserPass))));
        let bob = tagger.user("mail", b"bob");
        assert!(!tag.matches(&tagger.tag(bob, &credentials(b"right", Mechanism::UserPass))));
        assert_ne!(tagger.user("other", b"alice"), alice);
    }

    #[test]
    fn tags_of_another_process_never_match() {
        let (one, other) = (Tagger::new().unwrap(), Tagger::new().unwrap());
        let secret = credentials(b"right", Mechanism::UserPass);
        let (a, b) = (one.user("mail", b"a"), other.user("mail", b"a"));
        assert_ne!(a, b);
        assert!(!one.tag(a, &secret).matches(&other.tag(a, &secret)));
    }

    #[test]
    fn users_of_a_shard_have_different_hashes_and_the_shard_is_no_part_of_them() {
        let hash = |number| UserKey::numbered(number).table_hash();
        assert_eq!(hash(1), hash(2), "the first four bytes choose the shard");
        let hashes: Vec<_> = (32..96).map(|bit| hash(1 << bit)).collect();
        assert!((0..64).all(|bit| hashes.contains(&(1 << bit))), "{hashes:x?}");
    }

    #[test]
    fn proxies_with_the_same_secret_seal_with_the_same_key_and_others_do_not() {
        let key = |secret: &[u8]| Tagger::keyed(secret).sealing_key();
        assert_eq!(*key(b"one"), *key(b"one"));
        assert_ne!(*key(b"one"), *key(b"other"));
        assert_ne!(*key(b"one"), *Tagger::keyed(b"one").key, "those who can make tags can open no records");
    }

    #[test]
    fn users_mailboxes_and_pools_of_one_name_have_different_keys() {
        let tagger = Tagger::keyed(b"one");
        let keys = [
            tagger.user("mail", b"alice"),
            tagger.mailbox("mail", b"alice"),
            tagger.user("maila", b"lice"),
            tagger.pool("mail"),
            tagger.pool("other"),
        ];
        let distinct: std::collections::HashSet<_> = keys.into_iter().collect();
        assert_eq!(distinct.len(), keys.len());
    }

    #[test]
    fn no_key_and_no_tag_shows_in_debug_output() {
        let tagger = Tagger::keyed(b"one");
        let tag = tagger.tag(tagger.user("mail", b"alice"), &credentials(b"right", Mechanism::UserPass));
        assert_eq!(format!("{tagger:?} {tag:?}"), "Tagger Tag(…)");
    }
}
