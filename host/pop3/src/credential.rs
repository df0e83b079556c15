//! Mechanisms, and the credentials of a login. A secret is kept only while its login needs it, and is
//! wiped after that.

use std::borrow::Cow;

pub use reprieve_secrets::Secret;

use super::line::LOGIN_LIMIT;
use super::user_name::NameSpelling;

/// How a client logs in.
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
    /// All mechanisms.
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

    /// The name of the SASL mechanism, or of the command.
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

    /// The family, whose mechanisms present the same secret: a password that was accepted with PLAIN
    /// is also known with USER.
    #[must_use]
    pub const fn family(self) -> MechanismFamily {
        match self {
            Self::UserPass | Self::Plain | Self::Login => MechanismFamily::Password,
            Self::Xoauth2 | Self::OauthBearer => MechanismFamily::Token,
            Self::External => MechanismFamily::Certificate,
            Self::Apop | Self::CramMd5 | Self::ScramSha256 => MechanismFamily::ChallengeResponse,
        }
    }

    /// The SASL mechanism of this name, in upper or lower case.
    #[must_use]
    pub(crate) fn from_sasl(name: &[u8]) -> Option<Self> {
        Self::ALL
            .into_iter()
            .filter(|mechanism| mechanism.is_sasl())
            .find(|mechanism| name.eq_ignore_ascii_case(mechanism.name().as_bytes()))
    }

    fn is_sasl(self) -> bool {
        !matches!(self, Self::UserPass | Self::Apop)
    }

    /// Whether a login without TLS would reveal the secret to anyone who can read the connection.
    #[must_use]
    pub fn reveals_secret(self) -> bool {
        matches!(self.family(), MechanismFamily::Password | MechanismFamily::Token)
    }
}

/// What a mechanism proves a login with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MechanismFamily {
    /// The password itself.
    Password,
    /// An access token.
    Token,
    /// A client certificate.
    Certificate,
    /// The response to a challenge, which does not reveal the password.
    ChallengeResponse,
}

impl MechanismFamily {
    /// A name that does not change, because hashes of secrets are kept under it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::Token => "token",
            Self::Certificate => "certificate",
            Self::ChallengeResponse => "challenge-response",
        }
    }
}

/// A set of mechanisms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Mechanisms(u16);

impl Mechanisms {
    /// The set of these mechanisms.
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

    /// Adds a mechanism.
    pub fn insert(&mut self, mechanism: Mechanism) {
        self.0 |= 1 << mechanism as u16;
    }

    /// The set without the mechanisms for which `unwanted` is true.
    #[must_use]
    pub fn without(self, unwanted: impl Fn(Mechanism) -> bool) -> Self {
        let mut rest = Self::default();
        self.iter().filter(|&mechanism| !unwanted(mechanism)).for_each(|mechanism| rest.insert(mechanism));
        rest
    }

    /// Whether the set has this mechanism.
    #[must_use]
    pub const fn contains(self, mechanism: Mechanism) -> bool {
        self.0 & 1 << mechanism as u16 != 0
    }

    /// The mechanisms that are in both sets.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The mechanisms, in the order of [`Mechanism::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Mechanism> {
        Mechanism::ALL.into_iter().filter(move |&mechanism| self.contains(mechanism))
    }

    /// The SASL mechanisms, which AUTH can name.
    pub fn sasl(self) -> impl Iterator<Item = Mechanism> {
        self.iter().filter(|mechanism| mechanism.is_sasl())
    }
}

/// A complete login as the client has presented it.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The user name that the secret belongs to.
    pub user: Box<[u8]>,
    /// The user that they ask to act as, if it is another one: a login of a master user.
    pub authorization_id: Option<Box<[u8]>>,
    /// The separator, if the client has sent both names joined by one.
    pub separator: Option<u8>,
    /// The password, token or digest.
    pub secret: Secret,
    /// The mechanism with which it was presented.
    pub mechanism: Mechanism,
}

/// Why credentials cannot be sent to a mail server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// A NUL, CR or LF would end the command line.
    #[error("user name or password contains a control character")]
    ControlCharacter,
    /// The user name, with that of the user to act as, is longer than [`NAME_LIMIT`].
    #[error("user name is longer than {NAME_LIMIT} bytes")]
    NameTooLong,
    /// A line of the login is longer than [`LOGIN_LIMIT`].
    #[error("login is longer than {LOGIN_LIMIT} bytes")]
    TooLong,
    /// The user name is empty.
    #[error("user name is empty")]
    NoUser,
}

impl Unusable {
    /// The reason in log lines.
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

/// The longest user name in bytes: that of a mail address with the longest local part, `@`, and the
/// longest domain (RFC 5321, section 4.5.3.1).
pub const NAME_LIMIT: usize = 64 + 1 + 255;

/// The names that identify a user, in the spelling of the virtual server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CanonicalNames {
    /// The user whose secret was presented.
    pub user: Vec<u8>,
    /// The user that they act as, if it is another.
    pub authorization_id: Option<Vec<u8>>,
}

impl CanonicalNames {
    /// Bytes that are different for any two identities.
    #[must_use]
    pub fn bytes(&self) -> Cow<'_, [u8]> {
        match &self.authorization_id {
            // NUL cannot be part of a user name: see `Credentials::check`.
            Some(acting) => [&self.user, &[0][..], acting].concat().into(),
            None => (&self.user).into(),
        }
    }
}

impl Credentials {
    /// Credentials of a user who does not ask to act as another one.
    #[must_use]
    pub fn new(user: &[u8], secret: Secret, mechanism: Mechanism) -> Self {
        Self { user: user.into(), authorization_id: None, separator: None, secret, mechanism }
    }

    /// Splits a user name of the form `user*master` at the first separator, as Dovecot does.
    #[must_use]
    pub fn split_master_user(mut self, separator: Option<u8>) -> Self {
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

    /// The argument of USER for a mail server, with the user name replaced by `user`.
    #[must_use]
    pub fn user_argument(&self, user: &[u8]) -> Vec<u8> {
        match (&self.authorization_id, self.separator) {
            (Some(acting), Some(separator)) => [acting, &[separator][..], user].concat(),
            _ => user.to_vec(),
        }
    }

    /// What identifies the user: a master user has a different identity for each user that they act
    /// as.
    #[must_use]
    pub fn identity(&self, spelling: &NameSpelling) -> CanonicalNames {
        CanonicalNames {
            user: spelling.canonical(&self.user),
            authorization_id: self.authorization_id.as_deref().map(|name| spelling.canonical(name)),
        }
    }

    /// Checks that the user name can be sent in a command, for a login without a secret.
    ///
    /// # Errors
    /// Why it cannot be sent.
    pub fn check_user(&self) -> Result<(), Unusable> {
        if self.user.trim_ascii().is_empty() {
            return Err(Unusable::NoUser);
        }
        if self.user.iter().any(|byte| byte.is_ascii_control()) {
            return Err(Unusable::ControlCharacter);
        }
        if self.user.len() > NAME_LIMIT { Err(Unusable::NameTooLong) } else { Ok(()) }
    }

    /// Checks that user name and secret can be sent in commands unchanged. The length of the secret is
    /// limited only by the line that it arrived in; mail servers have limits of their own.
    ///
    /// # Errors
    /// Why they cannot be sent; no mail server would have received them from the client either.
    pub fn check(&self) -> Result<(), Unusable> {
        let ends_line = |bytes: &[u8]| bytes.iter().any(|byte| matches!(byte, 0 | b'\r' | b'\n'));
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
    fn debug_output_does_not_contain_the_secret() {
        let shown = format!("{:?}", credentials(b"alice", b"hunter2"));
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(!shown.contains(&format!("{:?}", b"hunter2")), "{shown}");
    }

    #[test]
    fn credentials_that_would_inject_a_command_are_unusable() {
        assert_eq!(credentials(b"a\r\nDELE 1", b"x").check().unwrap_err(), Unusable::ControlCharacter);
        assert_eq!(credentials(b"a", b"x\ny").check().unwrap_err(), Unusable::ControlCharacter);
        assert_eq!(credentials(b"a", b"x\0").check().unwrap_err(), Unusable::ControlCharacter);
        assert_eq!(credentials(b"", b"x").check().unwrap_err(), Unusable::NoUser);
        assert_eq!(credentials(&[b'x'; 321], b"x").check().unwrap_err(), Unusable::NameTooLong);
        assert!(credentials(&[b'x'; 320], &[b'x'; 9000]).check().is_ok());
    }

    #[test]
    fn the_name_of_a_master_user_is_split_and_joined_again() {
        let login = |name: &[u8]| {
            Credentials::new(name, Secret::new(b"x"), Mechanism::UserPass).split_master_user(Some(b'*'))
        };
        let master = login(b"alice*root*2");
        assert_eq!(
            (&*master.user, master.authorization_id.as_deref()),
            (&b"root*2"[..], Some(&b"alice"[..]))
        );
        assert_eq!(master.user_argument(&master.user), b"alice*root*2");
        for name in [&b"alice"[..], b"*root", b"alice*"] {
            let plain = login(name);
            assert_eq!((&*plain.user, plain.authorization_id.as_deref()), (name, None));
        }
    }

    #[test]
    fn a_set_contains_the_mechanisms_that_it_was_made_of() {
        let set = Mechanisms::of(&[Mechanism::UserPass, Mechanism::Apop, Mechanism::ScramSha256]);
        assert!(set.contains(Mechanism::Apop) && !set.contains(Mechanism::Plain));
        assert_eq!(set.sasl().collect::<Vec<_>>(), [Mechanism::ScramSha256]);
        assert_eq!(set.without(Mechanism::reveals_secret).iter().count(), 2);
        assert_eq!(Mechanism::from_sasl(b"xoauth2"), Some(Mechanism::Xoauth2));
        assert_eq!(Mechanism::from_sasl(b"USER"), None);
    }

    /// Hashes of secrets are kept under these names.
    #[test]
    fn the_names_of_families_never_change() {
        for (mechanism, family) in [
            (Mechanism::UserPass, "password"),
            (Mechanism::Plain, "password"),
            (Mechanism::Login, "password"),
            (Mechanism::Xoauth2, "token"),
            (Mechanism::OauthBearer, "token"),
            (Mechanism::External, "certificate"),
            (Mechanism::Apop, "challenge-response"),
            (Mechanism::CramMd5, "challenge-response"),
            (Mechanism::ScramSha256, "challenge-response"),
        ] {
            assert_eq!(mechanism.family().name(), family, "{mechanism:?}");
        }
    }

    #[test]
    fn an_intersection_has_the_mechanisms_of_both_sets() {
        let [one, other] = [[Mechanism::Plain, Mechanism::Login], [Mechanism::Login, Mechanism::Apop]];
        let both = Mechanisms::of(&one).intersection(Mechanisms::of(&other));
        assert_eq!(both.iter().collect::<Vec<_>>(), [Mechanism::Login]);
    }

    #[test]
    fn logs_say_why_credentials_are_unusable() {
        for (why, reason) in [
            (Unusable::ControlCharacter, "control-character"),
            (Unusable::NameTooLong, "name-too-long"),
            (Unusable::TooLong, "login-too-long"),
            (Unusable::NoUser, "no-user-name"),
        ] {
            assert_eq!(why.reason(), reason);
        }
    }

    #[test]
    fn no_two_identities_have_the_same_bytes() {
        let names = |user: &str, acting: Option<&str>| CanonicalNames {
            user: user.into(),
            authorization_id: acting.map(Into::into),
        };
        let identities = [
            names("alice", None),
            names("bob", None),
            names("alice", Some("")),
            names("alice", Some("bob")),
            names("bob", Some("alice")),
            names("alic", Some("ebob")),
            names("alicebob", None),
        ];
        let distinct: std::collections::HashSet<_> = identities.iter().map(CanonicalNames::bytes).collect();
        assert_eq!(distinct.len(), identities.len());
    }

    #[test]
    fn a_user_name_that_no_command_can_carry_is_unusable_with_and_without_a_secret() {
        for (user, why) in [
            (&b""[..], Some(Unusable::NoUser)),
            (b" \t", Some(Unusable::NoUser)),
            (b"a\nb", Some(Unusable::ControlCharacter)),
            (&[b'x'; NAME_LIMIT + 1], Some(Unusable::NameTooLong)),
            (&[b'x'; NAME_LIMIT], None),
            ("m\u{fc}ller".as_bytes(), None),
        ] {
            let login = credentials(user, b"x");
            assert_eq!(
                [login.check().err(), login.check_user().err()],
                [why, why],
                "{}",
                user.escape_ascii()
            );
        }
        assert_eq!(credentials(b"a\x1b", b"x").check_user().err(), Some(Unusable::ControlCharacter));
    }

    #[test]
    fn a_master_user_and_the_user_that_they_act_as_have_room_for_one_name() {
        for (user, acting, is_usable) in [(160, 160, true), (160, 161, false), (1, 320, false)] {
            let mut login = credentials(&vec![b'x'; user], b"x");
            login.authorization_id = Some(vec![b'y'; acting].into());
            assert_eq!(login.check().is_ok(), is_usable, "{user} {acting}");
        }
        let mut login = credentials(b"root", b"x");
        login.authorization_id = Some((*b"alice\r\nDELE 1").into());
        assert_eq!(login.check().unwrap_err(), Unusable::ControlCharacter);
    }
}
