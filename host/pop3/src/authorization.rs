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
    /// The client goes on.
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
    /// The client logs in with its certificate; the user that it asks to act as, if any. It has not
    /// been answered.
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
    /// Why they cannot be sent.
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
    /// The client sends the message of a mechanism with a single one.
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
                let login = Credentials::new(name, Secret::new(digest), Mechanism::Apop);
                return match login.check() {
                    Ok(()) => {
                        let login = ChallengeResponse::Apop { user: login.user, digest: login.secret };
                        AuthorizationEvent::ChallengeResponse(Box::new(login))
                    }
                    Err(why) => unusable(name, Mechanism::Apop, why, out),
                };
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
mod tests {
    use super::*;
    use crate::capability::Offer;
    use crate::credential::Mechanisms;

    fn events(lines: &[&str], capabilities: &Capabilities) -> (String, AuthorizationEvent) {
        let mut authorization = Authorization::new(Some(b'*'));
        let mut out = Vec::new();
        let mut last = AuthorizationEvent::Continue;
        for line in lines {
            last = authorization.line(line.as_bytes(), capabilities, &mut out);
            if !matches!(
                last,
                AuthorizationEvent::Continue | AuthorizationEvent::Bad | AuthorizationEvent::Refused
            ) {
                break;
            }
        }
        (String::from_utf8(out).unwrap(), last)
    }

    fn talk(lines: &[&str]) -> (String, Option<Credentials>) {
        match events(lines, &Capabilities::default()) {
            (out, AuthorizationEvent::Login(credentials)) => (out, Some(*credentials)),
            (out, _) => (out, None),
        }
    }

    fn everything() -> Capabilities {
        let mechanisms = Mechanisms::of(&Mechanism::ALL);
        Capabilities::new(&Offer { mechanisms, stls: true, ..Offer::default() })
    }

    #[test]
    fn user_and_pass_complete_a_login() {
        let (out, credentials) = talk(&["user alice", "pass  a STAT QUIT b "]);
        let credentials = credentials.unwrap();
        assert_eq!(out, "+OK\r\n");
        assert_eq!(&*credentials.user, b"alice");
        assert_eq!(credentials.secret.expose(), b" a STAT QUIT b ");
    }

    #[test]
    fn plain_works_with_and_without_an_initial_response() {
        let (out, credentials) = talk(&["AUTH PLAIN", "AGEAYg=="]);
        assert_eq!(out, "+ \r\n");
        assert_eq!(credentials.unwrap().secret.expose(), b"b");
        let (out, credentials) = talk(&["AUTH PLAIN AGEAYg=="]);
        assert_eq!(out, "");
        assert_eq!(&*credentials.unwrap().user, b"a");
    }

    #[test]
    fn login_asks_for_user_name_and_password() {
        let (out, credentials) = talk(&["AUTH LOGIN", "YQ==", "Yg=="]);
        assert_eq!(out, "+ VXNlcm5hbWU6\r\n+ UGFzc3dvcmQ6\r\n");
        assert_eq!(credentials.unwrap().secret.expose(), b"b");
        assert!(talk(&["AUTH LOGIN YQ==", "Yg=="]).1.is_some());
    }

    #[test]
    fn a_star_cancels_a_sasl_exchange_and_commands_go_on() {
        let (out, credentials) = talk(&["AUTH PLAIN", "*", "NOOP"]);
        assert_eq!(out, "+ \r\n-ERR authentication cancelled\r\n+OK\r\n");
        assert!(credentials.is_none());
    }

    #[test]
    fn commands_about_messages_need_a_login() {
        for command in ["STAT", "LIST", "UIDL", "RETR 1", "DELE 1", "RSET", "TOP 1 1", "LAST"] {
            assert_eq!(talk(&[command]).0, "-ERR log in first\r\n", "{command}");
        }
    }

    #[test]
    fn pass_needs_user_before_it() {
        assert_eq!(talk(&["PASS x"]).0, "-ERR USER comes first\r\n");
        assert!(talk(&["USER a", "STAT", "PASS x"]).1.is_none());
        assert!(talk(&["USER a", "CAPA", "PASS x"]).1.is_some());
    }

    #[test]
    fn auth_without_arguments_lists_the_mechanisms() {
        assert_eq!(talk(&["AUTH"]).0, "+OK\r\nPLAIN\r\nLOGIN\r\n.\r\n");
        assert_eq!(talk(&["AUTH CRAM-MD5"]).0, "-ERR mechanism is not offered\r\n");
        assert_eq!(talk(&["APOP a 0123"]).0, "-ERR mechanism is not offered\r\n");
    }

    #[test]
    fn quit_is_answered_before_login() {
        let (out, event) = events(&["quit"], &Capabilities::default());
        assert!(matches!(event, AuthorizationEvent::Quit));
        assert_eq!(out, "+OK bye\r\n");
    }

    #[test]
    fn mechanisms_that_reveal_the_secret_are_refused_on_cleartext_connections() {
        let mechanisms = Mechanisms::of(&[Mechanism::CramMd5]);
        let cleartext = Capabilities::new(&Offer { mechanisms, stls: true, ..Offer::default() });
        for line in ["USER a", "PASS b", "AUTH PLAIN AGEAYg==", "AUTH LOGIN", "AUTH XOAUTH2"] {
            let (out, event) = events(&[line], &cleartext);
            assert_eq!(out, "-ERR cleartext login is not possible here, use TLS\r\n", "{line}");
            assert!(matches!(event, AuthorizationEvent::Refused));
        }
        assert!(
            matches!(events(&["AUTH CRAM-MD5"], &cleartext).1, AuthorizationEvent::ChallengeResponse(login) if matches!(*login, ChallengeResponse::CramMd5))
        );
        assert!(matches!(events(&["STLS"], &cleartext).1, AuthorizationEvent::StartTls));
        assert_eq!(talk(&["STLS"]).0, "-ERR STLS is not possible here\r\n");
    }

    #[test]
    fn master_users_are_recognised_by_separator_and_by_authorization_identity() {
        let by_name = talk(&["USER alice*root", "PASS x"]).1.unwrap();
        assert_eq!(
            (&*by_name.user, by_name.authorization_id.as_deref()),
            (&b"root"[..], Some(&b"alice"[..]))
        );
        // alice NUL root NUL x
        let by_plain = talk(&["AUTH PLAIN YWxpY2UAcm9vdAB4"]).1.unwrap();
        assert_eq!(
            (&*by_plain.user, by_plain.authorization_id.as_deref(), by_plain.separator),
            (&b"root"[..], Some(&b"alice"[..]), None)
        );
    }

    #[test]
    fn every_other_mechanism_leads_to_its_own_event() {
        let all = everything();
        let encoded = |message: &[u8]| String::from_utf8(sasl::encode(message).to_vec()).unwrap();
        let token = encoded(b"user=a\x01auth=Bearer t\x01\x01");
        let AuthorizationEvent::Login(login) = events(&[&format!("AUTH XOAUTH2 {token}")], &all).1 else {
            panic!()
        };
        assert_eq!((&*login.user, login.mechanism), (&b"a"[..], Mechanism::Xoauth2));
        assert!(matches!(events(&["AUTH EXTERNAL ="], &all).1, AuthorizationEvent::External(None)));
        assert!(matches!(events(&["AUTH EXTERNAL", "YQ=="], &all).1, AuthorizationEvent::External(Some(_))));
        let first = encoded(b"n,,n=a,r=nonce");
        let (out, event) = events(&["AUTH SCRAM-SHA-256", &first], &all);
        assert_eq!(out, "+ \r\n");
        let AuthorizationEvent::ChallengeResponse(login) = event else { panic!() };
        assert!(matches!(&*login, ChallengeResponse::Scram { user, .. } if &**user == b"a"));
        let event = events(&["APOP a 0123456789abcdef"], &all).1;
        let AuthorizationEvent::ChallengeResponse(login) = event else { panic!() };
        assert!(matches!(&*login, ChallengeResponse::Apop { user, .. } if &**user == b"a"));
        assert_eq!(events(&["AUTH CRAM-MD5 YQ=="], &all).0, "-ERR not a message of this mechanism\r\n");
    }

    #[test]
    fn only_lines_that_carry_a_login_may_be_longer_than_commands() {
        let mut authorization = Authorization::default();
        for (beginning, limit) in [
            ("STAT x", COMMAND_LIMIT),
            ("", COMMAND_LIMIT),
            ("PASS", COMMAND_LIMIT),
            ("auth plain ", LOGIN_LIMIT),
            ("USER x", LOGIN_LIMIT),
            ("pass x", LOGIN_LIMIT),
            ("APOP x", LOGIN_LIMIT),
        ] {
            assert_eq!(
                authorization.line_limit(beginning.as_bytes()),
                COMMAND_LIMIT,
                "{beginning}: a short line needs no other limit"
            );
            let long = beginning.to_owned() + &"x".repeat(COMMAND_LIMIT);
            assert_eq!(authorization.line_limit(long.as_bytes()), limit, "{beginning}");
        }
        authorization.line(b"AUTH PLAIN", &Capabilities::default(), &mut Vec::new());
        assert_eq!(authorization.line_limit(b""), LOGIN_LIMIT);
    }
}
