//! What a client logs in with. A secret lives as long as its login needs it, is wiped when it
//! goes, and shows in no `Debug`.

use std::fmt;

use zeroize::Zeroizing;

/// A secret: wiped when dropped, never shown.
#[derive(Clone)]
pub struct Secret(Zeroizing<Box<[u8]>>);

impl Secret {
    /// Takes a copy; the caller wipes its own.
    #[must_use]
    pub fn new(octets: &[u8]) -> Self {
        Self(Zeroizing::new(octets.into()))
    }

    /// The octets themselves: only for comparing and for logging in at a node.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// How the secret was presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// `USER` and `PASS`.
    UserPass,
    /// SASL `PLAIN`.
    Plain,
    /// SASL `LOGIN`.
    Login,
}

impl Mechanism {
    /// The name for logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::UserPass => "USER",
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
        }
    }

    /// Mechanisms of one family present the same secret: a password accepted by way of PLAIN
    /// is known by way of USER too.
    #[must_use]
    pub fn family(self) -> &'static str {
        match self {
            Self::UserPass | Self::Plain | Self::Login => "password",
        }
    }
}

/// A complete login as the client presented it.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// User name, octet for octet.
    pub user: Box<[u8]>,
    /// The secret.
    pub secret: Secret,
    /// How it came.
    pub mechanism: Mechanism,
}

/// Why credentials cannot be presented to a mail server at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// The octet would end or cut a command line.
    #[error("user name or password contains a control character")]
    ControlCharacter,
    /// `USER` or `PASS` would be longer than RFC 2449 allows.
    #[error("user name or password is too long")]
    TooLong,
    /// There is no name.
    #[error("user name is empty")]
    NoUser,
}

/// The longest user name or password that fits into a command of 255 octets.
pub(crate) const LONGEST: usize = super::line::COMMAND_LIMIT - "PASS ".len() - "\r\n".len();

impl Credentials {
    /// Checks that `USER` and `PASS` can carry them, octet for octet.
    ///
    /// # Errors
    /// Where they cannot; then no mail server could have accepted them by these commands.
    pub fn check(self) -> Result<Self, Unusable> {
        let ends_line = |octets: &[u8]| octets.iter().any(|octet| matches!(octet, 0 | b'\r' | b'\n'));
        if self.user.trim_ascii().is_empty() {
            return Err(Unusable::NoUser);
        }
        if ends_line(&self.user) || ends_line(self.secret.expose()) {
            return Err(Unusable::ControlCharacter);
        }
        if self.user.len() > LONGEST || self.secret.expose().len() > LONGEST {
            return Err(Unusable::TooLong);
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(user: &[u8], secret: &[u8]) -> Credentials {
        Credentials { user: user.into(), secret: Secret::new(secret), mechanism: Mechanism::Plain }
    }

    #[test]
    fn a_secret_shows_in_no_debug_output() {
        let shown = format!("{:?}", credentials(b"alice", b"hunter2"));
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(!shown.contains(&format!("{:?}", b"hunter2")), "{shown}");
    }

    #[test]
    fn credentials_that_would_smuggle_a_command_are_unusable() {
        assert_eq!(credentials(b"a\r\nDELE 1", b"x").check().unwrap_err(), Unusable::ControlCharacter);
        assert_eq!(credentials(b"a", b"x\ny").check().unwrap_err(), Unusable::ControlCharacter);
        assert_eq!(credentials(b"a", b"x\0").check().unwrap_err(), Unusable::ControlCharacter);
        assert_eq!(credentials(b"", b"x").check().unwrap_err(), Unusable::NoUser);
        assert_eq!(credentials(b"a", &[b'x'; 249]).check().unwrap_err(), Unusable::TooLong);
        assert!(credentials(b"a", &[b'x'; 248]).check().is_ok());
    }
}
