//! The AUTHORIZATION state (RFC 1939, section 4): from the banner to a complete login. Reprieve
//! conducts it without a mail server, except for mechanisms whose challenge must come from one.

use zeroize::Zeroizing;

use super::capability::Capabilities;
use super::command::{Command, is_http};
use super::credential::{Credentials, Mechanism, NAME_LIMIT, Secret, Unusable};
use super::line::{COMMAND_LIMIT, LOGIN_LIMIT};
use super::{reply, sasl};

/// The effect of a line. The reply has been written unless the variant says otherwise. Large
/// contents are boxed, because most lines have none.
#[derive(Debug)]
pub enum AuthorizationEvent {
    /// The client continues.
    Continue,
    /// The line was not a command.
    Bad,
    /// The command exists, but not here or not with these arguments.
    Refused,
    /// The client speaks HTTP.
    Http,
    /// The credentials cannot be sent to a mail server.
    Unusable(Box<UnusableLogin>),
    /// The login is complete. It has not been answered.
    Login(Box<Credentials>),
    /// The client logs in with its certificate, and may ask to act as this user. It has not been
    /// answered.
    External(Option<Box<[u8]>>),
    /// The client logs in with a mechanism that only the mail server can verify. It has not been
    /// answered.
    ChallengeResponse(Box<ChallengeResponse>),
    /// STLS was answered: the handshake comes next.
    StartTls,
    /// QUIT was answered.
    Quit,
}

/// A login whose credentials cannot be sent to a mail server.
#[derive(Debug)]
pub struct UnusableLogin {
    /// The user name, empty if it is not known, and truncated to [`NAME_LIMIT`].
    pub user: Box<[u8]>,
    /// The mechanism of the login.
    pub mechanism: Mechanism,
    /// Why the credentials cannot be sent.
    pub why: Unusable,
}

impl UnusableLogin {
    /// Truncates the user name.
    #[must_use]
    pub fn new(user: &[u8], mechanism: Mechanism, why: Unusable) -> Self {
        Self { user: user[..user.len().min(NAME_LIMIT)].into(), mechanism, why }
    }

    /// The reply to the client.
    #[must_use]
    pub fn reply(&self) -> Vec<u8> {
        format!("-ERR [AUTH] {}\r\n", self.why).into_bytes()
    }
}

/// A login with a mechanism that does not reveal the secret to Reprieve.
#[derive(Debug)]
pub enum ChallengeResponse {
    /// APOP: the response to the challenge in the banner. The login is complete.
    Apop {
        /// The user name.
        user: Box<[u8]>,
        /// The client's digest. It can be replayed while the challenge is valid, so it is a secret.
        digest: Secret,
    },
    /// CRAM-MD5: the client waits for a challenge.
    CramMd5,
    /// SCRAM: the client has sent its first message.
    Scram {
        /// The user name.
        user: Box<[u8]>,
        /// The user that they ask to act as.
        authorization_id: Option<Box<[u8]>>,
        /// The message, in base64.
        first: Zeroizing<Vec<u8>>,
    },
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Start,
    UserGiven(Box<[u8]>),
    /// The next line is the only message of this mechanism.
    MessageAwaited(Mechanism),
    LoginUserAwaited,
    LoginSecretAwaited(Box<[u8]>),
}

/// The progress of a connection towards a login.
#[derive(Debug, Default)]
pub struct Authorization {
    state: State,
    master_separator: Option<u8>,
}

impl Authorization {
    /// `master_separator`: the character between the names of a user and of a master user.
    #[must_use]
    pub fn new(master_separator: Option<u8>) -> Self {
        Self { state: State::Start, master_separator }
    }

    /// The limit in bytes of the next line, including its line end. `beginning`: the part of it that
    /// has arrived.
    #[must_use]
    pub fn line_limit(&self, beginning: &[u8]) -> usize {
        match self.state {
            // The command matters only if the line is longer than most.
            State::Start | State::UserGiven(_)
                if beginning.len() < COMMAND_LIMIT || !carries_login(beginning) =>
            {
                COMMAND_LIMIT
            }
            _ => LOGIN_LIMIT,
        }
    }

    /// Handles a line that was too long, of which `beginning` had arrived. It ends a SASL exchange.
    pub fn too_long(&mut self, beginning: &[u8], out: &mut Vec<u8>) -> AuthorizationEvent {
        // The part that has arrived in any case, so that the answer does not depend on the network.
        let beginning = &beginning[..beginning.len().min(COMMAND_LIMIT - 2)];
        let (user, mechanism) = match std::mem::take(&mut self.state) {
            State::Start | State::UserGiven(_) if is_http(beginning) => return not_http(out),
            State::UserGiven(user) if begins_with(beginning, b"PASS ") => (user, Mechanism::UserPass),
            State::Start | State::UserGiven(_) if begins_with(beginning, b"AUTH ") => {
                let name = beginning[5..].split(|&byte| byte == b' ').find(|word| !word.is_empty());
                match name.and_then(Mechanism::from_sasl) {
                    Some(mechanism) => (Box::default(), mechanism),
                    None => return refused(reply::NOT_OFFERED, out),
                }
            }
            State::Start | State::UserGiven(_) => {
                out.extend_from_slice(reply::TOO_LONG);
                return if carries_login(beginning) {
                    AuthorizationEvent::Refused
                } else {
                    AuthorizationEvent::Bad
                };
            }
            State::MessageAwaited(mechanism) => (Box::default(), mechanism),
            State::LoginUserAwaited => (Box::default(), Mechanism::Login),
            State::LoginSecretAwaited(user) => (user, Mechanism::Login),
        };
        unusable(&user, mechanism, Unusable::TooLong, out)
    }

    /// Handles a line of the client, without its line end.
    pub fn line(
        &mut self,
        line: &[u8],
        capabilities: &Capabilities,
        out: &mut Vec<u8>,
    ) -> AuthorizationEvent {
        match std::mem::take(&mut self.state) {
            State::Start => self.command(line, None, capabilities, out),
            State::UserGiven(user) => self.command(line, Some(user), capabilities, out),
            continuation => self.continuation(line, continuation, out),
        }
    }

    fn command(
        &mut self,
        line: &[u8],
        user: Option<Box<[u8]>>,
        capabilities: &Capabilities,
        out: &mut Vec<u8>,
    ) -> AuthorizationEvent {
        let offers_password = capabilities.offers(Mechanism::UserPass);
        let (event, reply): (AuthorizationEvent, &[u8]) = match Command::parse(line) {
            Command::User(_) | Command::Pass(_) if !offers_password => {
                (AuthorizationEvent::Refused, reply::TLS_FIRST)
            }
            Command::User(name) => {
                self.state = State::UserGiven(name.into());
                out.extend_from_slice(reply::OK);
                return AuthorizationEvent::Continue;
            }
            Command::Pass(secret) => match user {
                Some(user) => {
                    let credentials = Credentials::new(&user, Secret::new(secret), Mechanism::UserPass);
                    return self.login(credentials, out);
                }
                None => (AuthorizationEvent::Refused, b"-ERR USER comes first\r\n"),
            },
            Command::Apop(name, digest) if capabilities.offers(Mechanism::Apop) => {
                return apop(name, digest, out);
            }
            Command::Apop(..) => (AuthorizationEvent::Refused, reply::NOT_OFFERED),
            Command::Auth { mechanism: None, .. } => {
                (AuthorizationEvent::Continue, capabilities.mechanisms())
            }
            Command::Auth { mechanism: Some(mechanism), initial } => {
                return self.auth(mechanism, initial, capabilities, out);
            }
            Command::Stls if capabilities.has_stls() => (AuthorizationEvent::StartTls, reply::BEGIN_TLS),
            // Not counted as a bad command: some mail programs always try STLS.
            Command::Stls => (AuthorizationEvent::Continue, reply::NO_STLS),
            Command::Capa => {
                // CAPA is allowed between USER and PASS.
                self.state = user.map_or(State::Start, State::UserGiven);
                (AuthorizationEvent::Continue, capabilities.before_login())
            }
            Command::Noop => {
                self.state = user.map_or(State::Start, State::UserGiven);
                (AuthorizationEvent::Continue, reply::OK)
            }
            Command::Quit => (AuthorizationEvent::Quit, reply::BYE),
            Command::Malformed => (AuthorizationEvent::Refused, reply::MALFORMED),
            Command::Unsupported => (AuthorizationEvent::Refused, reply::UNKNOWN),
            Command::Unknown if is_http(line) => return not_http(out),
            Command::Unknown => (AuthorizationEvent::Bad, reply::UNKNOWN),
            Command::Stat
            | Command::List(_)
            | Command::Uidl(_)
            | Command::Retr(_)
            | Command::Top(..)
            | Command::Dele(_)
            | Command::Rset
            | Command::Last => (AuthorizationEvent::Refused, reply::LOG_IN_FIRST),
        };
        out.extend_from_slice(reply);
        event
    }

    fn auth(
        &mut self,
        name: &[u8],
        initial: Option<&[u8]>,
        capabilities: &Capabilities,
        out: &mut Vec<u8>,
    ) -> AuthorizationEvent {
        let mechanism = match Mechanism::from_sasl(name) {
            Some(mechanism) if capabilities.offers(mechanism) => mechanism,
            // The mechanism may be offered after STLS.
            Some(mechanism) if mechanism.reveals_secret() && capabilities.has_stls() => {
                return refused(reply::TLS_FIRST, out);
            }
            _ => return refused(reply::NOT_OFFERED, out),
        };
        let (state, challenge): (_, &[u8]) = match mechanism {
            Mechanism::CramMd5 if initial.is_none() => {
                return AuthorizationEvent::ChallengeResponse(Box::new(ChallengeResponse::CramMd5));
            }
            // CRAM-MD5 has no initial response: the server speaks first.
            Mechanism::CramMd5 => return refused(reply::NOT_A_MESSAGE, out),
            // "Username:"
            Mechanism::Login => (State::LoginUserAwaited, b"+ VXNlcm5hbWU6\r\n"),
            mechanism => (State::MessageAwaited(mechanism), b"+ \r\n"),
        };
        match initial {
            Some(response) => self.continuation(response, state, out),
            None => {
                self.state = state;
                out.extend_from_slice(challenge);
                AuthorizationEvent::Continue
            }
        }
    }

    fn continuation(&mut self, line: &[u8], state: State, out: &mut Vec<u8>) -> AuthorizationEvent {
        if line == b"*" {
            out.extend_from_slice(reply::CANCELLED);
            return AuthorizationEvent::Continue;
        }
        let Some(message) = sasl::decode(line) else { return refused(reply::NOT_BASE64, out) };
        let credentials = match state {
            State::MessageAwaited(Mechanism::External) => {
                return AuthorizationEvent::External(
                    (!message.is_empty()).then(|| message.as_slice().into()),
                );
            }
            State::MessageAwaited(Mechanism::ScramSha256) => {
                if let Some((user, acting)) = sasl::scram_user(&message) {
                    return AuthorizationEvent::ChallengeResponse(Box::new(ChallengeResponse::Scram {
                        user: user.into(),
                        authorization_id: acting.map(Into::into),
                        first: Zeroizing::new(line.to_vec()),
                    }));
                }
                None
            }
            State::MessageAwaited(Mechanism::Xoauth2) => sasl::parse_xoauth2(&message),
            State::MessageAwaited(Mechanism::OauthBearer) => sasl::parse_oauthbearer(&message),
            State::MessageAwaited(_) => sasl::parse_plain(&message),
            State::LoginUserAwaited => {
                self.state = State::LoginSecretAwaited(message.as_slice().into());
                // "Password:"
                out.extend_from_slice(b"+ UGFzc3dvcmQ6\r\n");
                return AuthorizationEvent::Continue;
            }
            State::LoginSecretAwaited(user) => {
                Some(Credentials::new(&user, Secret::new(&message), Mechanism::Login))
            }
            State::Start | State::UserGiven(_) => None,
        };
        match credentials {
            Some(credentials) => self.login(credentials, out),
            None => refused(reply::NOT_A_MESSAGE, out),
        }
    }

    fn login(&self, credentials: Credentials, out: &mut Vec<u8>) -> AuthorizationEvent {
        let credentials = credentials.split_master_user(self.master_separator);
        match credentials.check() {
            Ok(()) => AuthorizationEvent::Login(Box::new(credentials)),
            Err(why) => unusable(&credentials.user, credentials.mechanism, why, out),
        }
    }
}

fn apop(name: &[u8], digest: &[u8], out: &mut Vec<u8>) -> AuthorizationEvent {
    let credentials = Credentials::new(name, Secret::new(digest), Mechanism::Apop);
    match credentials.check() {
        Ok(()) => {
            let Credentials { user, secret, .. } = credentials;
            AuthorizationEvent::ChallengeResponse(Box::new(ChallengeResponse::Apop { user, digest: secret }))
        }
        Err(why) => unusable(name, Mechanism::Apop, why, out),
    }
}

fn begins_with(line: &[u8], verb: &[u8]) -> bool {
    line.get(..verb.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(verb))
}

/// Whether a line carries a user name or secret, and may be longer than other commands.
fn carries_login(beginning: &[u8]) -> bool {
    [&b"USER "[..], b"PASS ", b"AUTH ", b"APOP "].into_iter().any(|verb| begins_with(beginning, verb))
}

fn refused(reply: &[u8], out: &mut Vec<u8>) -> AuthorizationEvent {
    out.extend_from_slice(reply);
    AuthorizationEvent::Refused
}

fn not_http(out: &mut Vec<u8>) -> AuthorizationEvent {
    out.extend_from_slice(reply::NOT_HTTP);
    AuthorizationEvent::Http
}

fn unusable(user: &[u8], mechanism: Mechanism, why: Unusable, out: &mut Vec<u8>) -> AuthorizationEvent {
    let login = UnusableLogin::new(user, mechanism, why);
    out.extend_from_slice(&login.reply());
    AuthorizationEvent::Unusable(Box::new(login))
}

#[cfg(test)]
mod tests;
