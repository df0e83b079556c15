//! How the mail server keeps passwords: never themselves, and costly to guess. The cost is
//! paid at each login, here as on a real server.

/// Rounds of the derivation: the least that RFC 7677 asks for. Real servers take more.
pub(crate) const ROUNDS: u32 = 4096;

/// A password as the server keeps it.
#[derive(Clone)]
pub(crate) struct StoredPassword {
    salt: [u8; 16],
    rounds: u32,
    derived: blake3::Hash,
}

impl StoredPassword {
    pub(crate) fn new(password: &[u8], rounds: u32) -> Self {
        let mut salt = [0; 16];
        getrandom::fill(&mut salt).expect("the system gives random octets");
        Self { salt, rounds, derived: derive(password, salt, rounds) }
    }

    /// Whether the password is this one, in a time that does not depend on where it differs.
    pub(crate) fn matches(&self, password: &[u8]) -> bool {
        derive(password, self.salt, self.rounds) == self.derived
    }
}

/// PBKDF2 (RFC 8018, section 5.2) of one block, with keyed BLAKE3 as its function.
fn derive(password: &[u8], salt: [u8; 16], rounds: u32) -> blake3::Hash {
    let key = blake3::derive_key("Reprieve demo mail server: password of a maildrop", password);
    let mut round = *blake3::keyed_hash(&key, &salt).as_bytes();
    let mut derived = round;
    for _ in 1..rounds {
        round = *blake3::keyed_hash(&key, &round).as_bytes();
        for (sum, octet) in derived.iter_mut().zip(round) {
            *sum ^= octet;
        }
    }
    blake3::Hash::from_bytes(derived)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_password_itself_matches() {
        let stored = StoredPassword::new(b"STAT QUIT", 16);
        assert!(stored.matches(b"STAT QUIT"));
        for wrong in [&b"stat quit"[..], b"STAT QUIT ", b"STAT", b""] {
            assert!(!stored.matches(wrong));
        }
    }

    #[test]
    fn the_same_password_is_kept_differently_each_time() {
        let (one, other) = (StoredPassword::new(b"same", 4), StoredPassword::new(b"same", 4));
        assert_ne!(one.derived, other.derived);
    }
}
