//! What a client logs in with. A secret lives as long as its login needs it, is wiped when it
//! goes, and shows in no `Debug`.

pub use reprieve_secrets::Secret;

use super::line::LOGIN_LIMIT;

use super::user_name::NameCase;

/// How the secret was presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Mechanism {
    /// `USER` and `PASS`.
    UserPass,
    /// SASL `PLAIN` (RFC 4616).
    Plain,
    /// SASL `LOGIN`.
    Login,
    /// SASL `XOAUTH2`.
    Xoauth2,
    /// SASL `OAUTHBEARER` (RFC 7628).
    OauthBearer,
    /// SASL `EXTERNAL` (RFC 4422, appendix A).
    External,
    /// `APOP` (RFC 1939, section 7).
    Apop,
    /// SASL `CRAM-MD5` (RFC 2195).
    CramMd5,
    /// SASL `SCRAM-SHA-256` (RFC 7677).
    ScramSha256,
}

impl Mechanism {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::UserPass,
        Self::Plain,
        Self::Login,
        Self::Xoauth2,
        Self::OauthBearer,
        Self::External,
        Self::Apop,
        Self::CramMd5,
        Self::ScramSha256,
    ];

    /// The name for logs; of SASL mechanisms the registered one.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::UserPass => "USER",
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
            Self::Xoauth2 => "XOAUTH2",
            Self::OauthBearer => "OAUTHBEARER",
            Self::External => "EXTERNAL",
            Self::Apop => "APOP",
            Self::CramMd5 => "CRAM-MD5",
            Self::ScramSha256 => "SCRAM-SHA-256",
        }
    }

    /// Mechanisms of one family present the same secret: a password accepted by way of PLAIN
    /// is known by way of USER too.
    #[must_use]
    pub fn family(self) -> &'static str {
        match self {
            Self::UserPass | Self::Plain | Self::Login => "password",
            Self::Xoauth2 | Self::OauthBearer => "token",
            Self::External => "certificate",
            Self::Apop | Self::CramMd5 | Self::ScramSha256 => "digest",
        }
    }

    /// The mechanism that `AUTH` names so, in whatever case.
    #[must_use]
    pub fn from_sasl(name: &[u8]) -> Option<Self> {
        Self::ALL
            .into_iter()
            .filter(|mechanism| mechanism.is_sasl())
            .find(|mechanism| name.eq_ignore_ascii_case(mechanism.name().as_bytes()))
    }

    fn is_sasl(self) -> bool {
        !matches!(self, Self::UserPass | Self::Apop)
    }

    /// Whether who listens on the line learns the secret from it.
    #[must_use]
    pub fn shows_secret(self) -> bool {
        !matches!(self.family(), "digest" | "certificate")
    }
}

/// A set of mechanisms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Mechanisms(u16);

impl Mechanisms {
    /// These.
    #[must_use]
    pub const fn of(mechanisms: &[Mechanism]) -> Self {
        let mut set = 0;
        let mut at = 0;
        while at < mechanisms.len() {
            set |= 1 << mechanisms[at] as u16;
            at += 1;
        }
        Self(set)
    }

    /// Adds one.
    pub fn insert(&mut self, mechanism: Mechanism) {
        self.0 |= 1 << mechanism as u16;
    }

    /// Takes those out of which it is true.
    #[must_use]
    pub fn without(self, unwanted: impl Fn(Mechanism) -> bool) -> Self {
        let mut rest = Self::default();
        self.iter().filter(|&mechanism| !unwanted(mechanism)).for_each(|mechanism| rest.insert(mechanism));
        rest
    }

    /// Whether it is there.
    #[must_use]
    pub const fn contains(self, mechanism: Mechanism) -> bool {
        self.0 & 1 << mechanism as u16 != 0
    }

    /// Those that are in both.
    #[must_use]
    pub const fn both(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = Mechanism> {
        Mechanism::ALL.into_iter().filter(move |&mechanism| self.contains(mechanism))
    }

    /// Those that AUTH can name.
    pub fn sasl(self) -> impl Iterator<Item = Mechanism> {
        self.iter().filter(|mechanism| mechanism.is_sasl())
    }
}

/// A complete login as the client presented it.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// Name of the user that the secret belongs to, byte for byte.
    pub user: Box<[u8]>,
    /// Whom he asks to act as, where that is somebody else.
    pub authorization_id: Option<Box<[u8]>>,
    /// Where that stood before the user's name, joined by this octet, rather than beside it.
    pub separator: Option<u8>,
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
    /// The name is longer than [`NAME_LIMIT`], together with the one that the user asks to act as.
    #[error("user name is longer than {NAME_LIMIT} bytes")]
    NameTooLong,
    /// The line that carries it is longer than [`LOGIN_LIMIT`].
    #[error("login is longer than {LOGIN_LIMIT} bytes")]
    TooLong,
    /// There is no name.
    #[error("user name is empty")]
    NoUser,
}

impl Unusable {
    /// The reason, as the session's log line has it.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::ControlCharacter => "control-character",
            Self::NameTooLong => "name-too-long",
            Self::TooLong => "login-too-long",
            Self::NoUser => "no-user-name",
        }
    }
}

/// The longest user name in bytes: as long as an address of RFC 5321, with the longest local
/// part, `@` and the longest domain.
pub const NAME_LIMIT: usize = 64 + 1 + 255;

impl Credentials {
    /// A login of somebody who acts as nobody else.
    #[must_use]
    pub fn new(user: &[u8], secret: Secret, mechanism: Mechanism) -> Self {
        Self { user: user.into(), authorization_id: None, separator: None, secret, mechanism }
    }

    /// Takes a master user's name apart, where it is `somebody`, the separator, `master`: as
    /// Dovecot reads it, at the first separator.
    #[must_use]
    pub fn separated_by(mut self, separator: Option<u8>) -> Self {
        if let Some(separator) = separator
            && self.authorization_id.is_none()
            && let Some(at) = memchr::memchr(separator, &self.user)
            && at > 0
            && at + 1 < self.user.len()
        {
            self.authorization_id = Some(self.user[..at].into());
            self.user = self.user[at + 1..].into();
            self.separator = Some(separator);
        }
        self
    }

    /// What USER carries to a mail server, with the user's name replaced by `user`.
    #[must_use]
    pub fn joined_name(&self, user: &[u8]) -> Vec<u8> {
        match (&self.authorization_id, self.separator) {
            (Some(acting), Some(separator)) => [acting, &[separator][..], user].concat(),
            _ => user.to_vec(),
        }
    }

    /// Who it is, for telling users apart: a master user is another one for each of those whom
    /// they act as.
    #[must_use]
    pub fn identity(&self, case: NameCase) -> Vec<u8> {
        match &self.authorization_id {
            // No name has a NUL in it.
            Some(acting) => case.apply(&[&self.user, &[0][..], acting].concat()),
            None => case.apply(&self.user),
        }
    }

    /// Checks that a command can carry the name, where no secret is presented.
    ///
    /// # Errors
    /// Why it cannot.
    pub fn check_user(&self) -> Result<(), Unusable> {
        if self.user.trim_ascii().is_empty() {
            return Err(Unusable::NoUser);
        }
        if self.user.iter().any(|octet| octet.is_ascii_control()) {
            return Err(Unusable::ControlCharacter);
        }
        if self.user.len() > NAME_LIMIT { Err(Unusable::NameTooLong) } else { Ok(()) }
    }

    /// Checks that commands can carry them, byte for byte. The secret may be as long as the line
    /// that it came in: how much a mail server takes, that server says itself.
    ///
    /// # Errors
    /// Why they cannot; then no mail server could have accepted them by these commands.
    pub fn check(&self) -> Result<(), Unusable> {
        let ends_line = |octets: &[u8]| octets.iter().any(|octet| matches!(octet, 0 | b'\r' | b'\n'));
        let acting = self.authorization_id.as_deref().unwrap_or_default();
        if self.user.trim_ascii().is_empty() {
            return Err(Unusable::NoUser);
        }
        if ends_line(&self.user) || ends_line(acting) || ends_line(self.secret.expose()) {
            return Err(Unusable::ControlCharacter);
        }
        if self.user.len() + acting.len() > NAME_LIMIT { Err(Unusable::NameTooLong) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(user: &[u8], secret: &[u8]) -> Credentials {
        Credentials::new(user, Secret::new(secret), Mechanism::Plain)
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
        assert_eq!(credentials(&[b'x'; 321], b"x").check().unwrap_err(), Unusable::NameTooLong);
        assert!(credentials(&[b'x'; 320], &[b'x'; 9000]).check().is_ok());
    }

    #[test]
    fn a_master_users_name_is_taken_apart_and_put_together_again() {
        let login = |name: &[u8]| {
            Credentials::new(name, Secret::new(b"x"), Mechanism::UserPass).separated_by(Some(b'*'))
        };
        let master = login(b"alice*root*2");
        assert_eq!(
            (&*master.user, master.authorization_id.as_deref()),
            (&b"root*2"[..], Some(&b"alice"[..]))
        );
        assert_eq!(master.joined_name(&master.user), b"alice*root*2");
        for name in [&b"alice"[..], b"*root", b"alice*"] {
            let plain = login(name);
            assert_eq!((&*plain.user, plain.authorization_id.as_deref()), (name, None));
        }
    }

    #[test]
    fn sets_of_mechanisms_hold_what_was_put_in() {
        let set = Mechanisms::of(&[Mechanism::UserPass, Mechanism::Apop, Mechanism::ScramSha256]);
        assert!(set.contains(Mechanism::Apop) && !set.contains(Mechanism::Plain));
        assert_eq!(set.sasl().collect::<Vec<_>>(), [Mechanism::ScramSha256]);
        assert_eq!(set.without(Mechanism::shows_secret).iter().count(), 2);
        assert_eq!(Mechanism::from_sasl(b"xoauth2"), Some(Mechanism::Xoauth2));
        assert_eq!(Mechanism::from_sasl(b"USER"), None);
    }
}
