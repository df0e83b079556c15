//! Salted password hashes. Checking one takes CPU time, as on a real server.

/// Default number of rounds: the minimum of RFC 7677. Real servers use more.
pub(crate) const ROUNDS: u32 = 4096;

/// The salted hash of a password.
#[derive(Clone)]
pub(crate) struct StoredPassword {
    salt: [u8; 16],
    rounds: u32,
    derived: blake3::Hash,
}

impl StoredPassword {
    pub(crate) fn new(password: &[u8], rounds: u32) -> Self {
        let mut salt = [0; 16];
        getrandom::fill(&mut salt).expect("the system provides random bytes");
        Self { salt, rounds, derived: derive(password, salt, rounds) }
    }

    /// Whether a password has this hash. The time does not depend on where they differ.
    pub(crate) fn matches(&self, password: &[u8]) -> bool {
        derive(password, self.salt, self.rounds) == self.derived
    }
}

/// PBKDF2 (RFC 8018, section 5.2) of one block, with keyed BLAKE3 as pseudorandom function.
fn derive(password: &[u8], salt: [u8; 16], rounds: u32) -> blake3::Hash {
    let key = blake3::derive_key("Reprieve demo mail server: password of a maildrop", password);
    let mut round = *blake3::keyed_hash(&key, &salt).as_bytes();
    let mut derived = round;
    for _ in 1..rounds {
        round = *blake3::keyed_hash(&key, &round).as_bytes();
        for (sum, byte) in derived.iter_mut().zip(round) {
            *sum ^= byte;
        }
    }
    blake3::Hash::from_bytes(derived)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_password_matches() {
        let stored = StoredPassword::new(b"STAT QUIT", 16);
        assert!(stored.matches(b"STAT QUIT"));
        for wrong in [&b"stat quit"[..], b"STAT QUIT ", b"STAT", b""] {
            assert!(!stored.matches(wrong));
        }
    }

    #[test]
    fn hashes_of_the_same_password_differ_by_their_salt() {
        let (one, other) = (StoredPassword::new(b"same", 4), StoredPassword::new(b"same", 4));
        assert_ne!(one.derived, other.derived);
    }
}
