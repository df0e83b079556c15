//! The AUTHORIZATION state (RFC 1939, section 4): from the banner to a complete login. The
//! host holds it alone; no mail server is asked before somebody has named himself and shown
//! a secret, except by mechanisms whose challenge only the mail server can give.

use zeroize::Zeroizing;

use super::capability::Capabilities;
use super::command::{Command, is_http};
use super::credential::{Credentials, Mechanism, NAME_LIMIT, Secret, Unusable};
use super::line::{COMMAND_LIMIT, LOGIN_LIMIT};
use super::{reply, sasl};

/// What a line led to. Replies have been written. What is large is in a box: a session waits for
/// many lines and gets one login.
#[derive(Debug)]
pub enum Event {
    /// The exchange goes on.
    Continue,
    /// The line was no command at all.
    Bad,
    /// A command that is known, and not possible here or not so.
    Refused,
    /// The client speaks HTTP, and was told that this is something else.
    Http,
    /// A login that no mail server can be asked about. The client was told why.
    Unusable(Box<UnusableLogin>),
    /// The login is complete and waits for an answer.
    Login(Box<Credentials>),
    /// The client wants to be known by its certificate; whom it asks to act as, if anybody.
    External(Option<Box<[u8]>>),
    /// The client logs in by a mechanism whose secret only the mail server can verify.
    Digest(Box<Digest>),
    /// The handshake begins.
    StartTls,
    /// The client has said QUIT and was answered.
    Quit,
}

/// A login that no mail server can be asked about.
#[derive(Debug)]
pub struct UnusableLogin {
    /// Name of the user, as far as it is known; cut where it is too long.
    pub user: Box<[u8]>,
    /// How the secret came.
    pub mechanism: Mechanism,
    /// What is wrong.
    pub why: Unusable,
}

impl UnusableLogin {
    /// Cuts a name that is too long.
    #[must_use]
    pub fn new(user: &[u8], mechanism: Mechanism, why: Unusable) -> Self {
        Self { user: user[..user.len().min(NAME_LIMIT)].into(), mechanism, why }
    }

    /// What the client is told.
    #[must_use]
    pub fn reply(&self) -> Vec<u8> {
        format!("-ERR [AUTH] {}\r\n", self.why).into_bytes()
    }
}

/// A login of which the host never sees the secret.
#[derive(Debug)]
pub enum Digest {
    /// Complete: an answer to the challenge in the banner.
    Apop {
        /// Name of the user.
        user: Box<[u8]>,
        /// The client's digest: it proves the secret, so it is kept as one.
        digest: Secret,
    },
    /// The client waits for a challenge.
    CramMd5,
    /// The client's first message is there.
    Scram {
        /// Name of the user.
        user: Box<[u8]>,
        /// Whom he asks to act as.
        authorization_id: Option<Box<[u8]>>,
        /// The message, in base64, as it came.
        first: Zeroizing<Vec<u8>>,
    },
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Start,
    UserGiven(Box<[u8]>),
    /// The only message of a mechanism that has one.
    MessageAwaited(Mechanism),
    LoginUserAwaited,
    LoginSecretAwaited(Box<[u8]>),
}

/// Where a connection stands on its way to a login.
#[derive(Debug, Default)]
pub struct Authorization {
    state: State,
    master_separator: Option<u8>,
}

impl Authorization {
    /// `master_separator`: what stands between a user's name and a master user's.
    #[must_use]
    pub fn new(master_separator: Option<u8>) -> Self {
        Self { state: State::Start, master_separator }
    }

    /// The longest line that may come next, its end included. `begun`: what is there of it.
    #[must_use]
    pub fn line_limit(&self, begun: &[u8]) -> usize {
        match self.state {
            // Nearly all lines are so short that nobody needs to know what they begin with.
            State::Start | State::UserGiven(_) if begun.len() < COMMAND_LIMIT || !carries_login(begun) => {
                COMMAND_LIMIT
            }
            _ => LOGIN_LIMIT,
        }
    }

    /// Takes a line that was too long; `begun`: what was there of it. A SASL exchange ends with
    /// it.
    pub fn too_long(&mut self, begun: &[u8], out: &mut Vec<u8>) -> Event {
        let (user, mechanism) = match std::mem::take(&mut self.state) {
            State::Start | State::UserGiven(_) if is_http(begun) => return not_http(out),
            State::UserGiven(user) if begins(begun, b"PASS ") => (user, Mechanism::UserPass),
            State::Start | State::UserGiven(_) if begins(begun, b"AUTH ") => {
                let name = begun[5..].split(|&octet| octet == b' ').find(|word| !word.is_empty());
                match name.and_then(Mechanism::from_sasl) {
                    Some(mechanism) => (Box::default(), mechanism),
                    None => return refused(reply::NOT_OFFERED, out),
                }
            }
            State::Start | State::UserGiven(_) => {
                out.extend_from_slice(reply::TOO_LONG);
                return if carries_login(begun) { Event::Refused } else { Event::Bad };
            }
            State::MessageAwaited(mechanism) => (Box::default(), mechanism),
            State::LoginUserAwaited => (Box::default(), Mechanism::Login),
            State::LoginSecretAwaited(user) => (user, Mechanism::Login),
        };
        unusable(&user, mechanism, Unusable::TooLong, out)
    }

    /// Takes one line of the client, without its end, and writes the reply, except that a
    /// complete login is answered by whoever judges it.
    pub fn line(&mut self, line: &[u8], capabilities: &Capabilities, out: &mut Vec<u8>) -> Event {
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
    ) -> Event {
        let by_password = capabilities.offers(Mechanism::UserPass);
        let (event, answer): (Event, &[u8]) = match Command::parse(line) {
            Command::User(_) | Command::Pass(_) if !by_password => (Event::Refused, reply::TLS_FIRST),
            Command::User(name) => {
                self.state = State::UserGiven(name.into());
                out.extend_from_slice(reply::OK);
                return Event::Continue;
            }
            Command::Pass(secret) => match user {
                Some(user) => {
                    let credentials = Credentials::new(&user, Secret::new(secret), Mechanism::UserPass);
                    return self.login(credentials, out);
                }
                None => (Event::Refused, b"-ERR USER comes first\r\n"),
            },
            Command::Apop(name, digest) if capabilities.offers(Mechanism::Apop) => {
                let login = Credentials::new(name, Secret::new(digest), Mechanism::Apop);
                return match login.check() {
                    Ok(()) => {
                        let digest = Digest::Apop { user: login.user, digest: login.secret };
                        Event::Digest(Box::new(digest))
                    }
                    Err(why) => unusable(name, Mechanism::Apop, why, out),
                };
            }
            Command::Apop(..) => (Event::Refused, reply::NOT_OFFERED),
            Command::Auth { mechanism: None, .. } => (Event::Continue, capabilities.mechanisms()),
            Command::Auth { mechanism: Some(mechanism), initial } => {
                return self.auth(mechanism, initial, capabilities, out);
            }
            Command::Stls if capabilities.has_stls() => (Event::StartTls, reply::BEGIN_TLS),
            // Some programs try it wherever they are.
            Command::Stls => (Event::Continue, reply::NO_STLS),
            Command::Capa => {
                // It may stand between USER and PASS.
                self.state = user.map_or(State::Start, State::UserGiven);
                (Event::Continue, capabilities.before_login())
            }
            Command::Noop => {
                self.state = user.map_or(State::Start, State::UserGiven);
                (Event::Continue, reply::OK)
            }
            Command::Quit => (Event::Quit, reply::BYE),
            Command::Malformed => (Event::Refused, reply::MALFORMED),
            Command::Unsupported => (Event::Refused, reply::UNKNOWN),
            Command::Unknown if is_http(line) => return not_http(out),
            Command::Unknown => (Event::Bad, reply::UNKNOWN),
            Command::Stat
            | Command::List(_)
            | Command::Uidl(_)
            | Command::Retr(_)
            | Command::Top(..)
            | Command::Dele(_)
            | Command::Rset
            | Command::Last => (Event::Refused, reply::LOG_IN_FIRST),
        };
        out.extend_from_slice(answer);
        event
    }

    fn auth(
        &mut self,
        name: &[u8],
        initial: Option<&[u8]>,
        capabilities: &Capabilities,
        out: &mut Vec<u8>,
    ) -> Event {
        let mechanism = match Mechanism::from_sasl(name) {
            Some(mechanism) if capabilities.offers(mechanism) => mechanism,
            // On a connection that can be encrypted, that may be all that is missing.
            Some(mechanism) if mechanism.shows_secret() && capabilities.has_stls() => {
                return refused(reply::TLS_FIRST, out);
            }
            _ => return refused(reply::NOT_OFFERED, out),
        };
        let (state, challenge): (_, &[u8]) = match mechanism {
            Mechanism::CramMd5 if initial.is_none() => return Event::Digest(Box::new(Digest::CramMd5)),
            // The server speaks first in it.
            Mechanism::CramMd5 => return refused(reply::NOT_A_MESSAGE, out),
            Mechanism::Login => (State::LoginUserAwaited, b"+ VXNlcm5hbWU6\r\n"),
            mechanism => (State::MessageAwaited(mechanism), b"+ \r\n"),
        };
        match initial {
            Some(response) => self.continuation(response, state, out),
            None => {
                self.state = state;
                out.extend_from_slice(challenge);
                Event::Continue
            }
        }
    }

    fn continuation(&mut self, line: &[u8], state: State, out: &mut Vec<u8>) -> Event {
        if line == b"*" {
            out.extend_from_slice(reply::CANCELLED);
            return Event::Continue;
        }
        let Some(message) = sasl::decode(line) else { return refused(reply::NOT_BASE64, out) };
        let credentials = match state {
            State::MessageAwaited(Mechanism::External) => {
                return Event::External((!message.is_empty()).then(|| message.as_slice().into()));
            }
            State::MessageAwaited(Mechanism::ScramSha256) => {
                if let Some((user, acting)) = sasl::scram_user(&message) {
                    return Event::Digest(Box::new(Digest::Scram {
                        user: user.into(),
                        authorization_id: acting.map(Into::into),
                        first: Zeroizing::new(line.to_vec()),
                    }));
                }
                None
            }
            State::MessageAwaited(Mechanism::Xoauth2) => sasl::read_xoauth2(&message),
            State::MessageAwaited(Mechanism::OauthBearer) => sasl::read_oauthbearer(&message),
            State::MessageAwaited(_) => sasl::read_plain(&message),
            State::LoginUserAwaited => {
                self.state = State::LoginSecretAwaited(message.as_slice().into());
                out.extend_from_slice(b"+ UGFzc3dvcmQ6\r\n");
                return Event::Continue;
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

    fn login(&self, credentials: Credentials, out: &mut Vec<u8>) -> Event {
        let credentials = credentials.separated_by(self.master_separator);
        match credentials.check() {
            Ok(()) => Event::Login(Box::new(credentials)),
            Err(why) => unusable(&credentials.user, credentials.mechanism, why, out),
        }
    }
}

fn begins(line: &[u8], verb: &[u8]) -> bool {
    line.get(..verb.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(verb))
}

/// Whether a line may be longer than other commands.
fn carries_login(begun: &[u8]) -> bool {
    [&b"USER "[..], b"PASS ", b"AUTH ", b"APOP "].into_iter().any(|verb| begins(begun, verb))
}

fn refused(word: &[u8], out: &mut Vec<u8>) -> Event {
    out.extend_from_slice(word);
    Event::Refused
}

fn not_http(out: &mut Vec<u8>) -> Event {
    out.extend_from_slice(reply::NOT_HTTP);
    Event::Http
}

fn unusable(user: &[u8], mechanism: Mechanism, why: Unusable, out: &mut Vec<u8>) -> Event {
    let login = UnusableLogin::new(user, mechanism, why);
    out.extend_from_slice(&login.reply());
    Event::Unusable(Box::new(login))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capability::Offer;
    use crate::credential::Mechanisms;

    fn events(lines: &[&str], capabilities: &Capabilities) -> (String, Event) {
        let mut authorization = Authorization::new(Some(b'*'));
        let mut out = Vec::new();
        let mut last = Event::Continue;
        for line in lines {
            last = authorization.line(line.as_bytes(), capabilities, &mut out);
            if !matches!(last, Event::Continue | Event::Bad | Event::Refused) {
                break;
            }
        }
        (String::from_utf8(out).unwrap(), last)
    }

    fn talk(lines: &[&str]) -> (String, Option<Credentials>) {
        match events(lines, &Capabilities::default()) {
            (out, Event::Login(credentials)) => (out, Some(*credentials)),
            (out, _) => (out, None),
        }
    }

    fn everything() -> Capabilities {
        let mechanisms = Mechanisms::of(&Mechanism::ALL);
        Capabilities::new(&Offer { mechanisms, stls: true, ..Offer::default() })
    }

    #[test]
    fn user_and_pass_make_a_login() {
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
    fn login_asks_for_both() {
        let (out, credentials) = talk(&["AUTH LOGIN", "YQ==", "Yg=="]);
        assert_eq!(out, "+ VXNlcm5hbWU6\r\n+ UGFzc3dvcmQ6\r\n");
        assert_eq!(credentials.unwrap().secret.expose(), b"b");
        assert!(talk(&["AUTH LOGIN YQ==", "Yg=="]).1.is_some());
    }

    #[test]
    fn a_star_cancels_and_commands_go_on() {
        let (out, credentials) = talk(&["AUTH PLAIN", "*", "NOOP"]);
        assert_eq!(out, "+ \r\n-ERR authentication cancelled\r\n+OK\r\n");
        assert!(credentials.is_none());
    }

    #[test]
    fn without_a_login_nothing_about_mail_is_said() {
        for command in ["STAT", "LIST", "UIDL", "RETR 1", "DELE 1", "RSET", "TOP 1 1", "LAST"] {
            assert_eq!(talk(&[command]).0, "-ERR log in first\r\n", "{command}");
        }
    }

    #[test]
    fn pass_needs_user_directly_before_it() {
        assert_eq!(talk(&["PASS x"]).0, "-ERR USER comes first\r\n");
        assert!(talk(&["USER a", "STAT", "PASS x"]).1.is_none());
        assert!(talk(&["USER a", "CAPA", "PASS x"]).1.is_some());
    }

    #[test]
    fn a_bare_auth_lists_the_mechanisms() {
        assert_eq!(talk(&["AUTH"]).0, "+OK\r\nPLAIN\r\nLOGIN\r\n.\r\n");
        assert_eq!(talk(&["AUTH CRAM-MD5"]).0, "-ERR mechanism is not offered\r\n");
        assert_eq!(talk(&["APOP a 0123"]).0, "-ERR mechanism is not offered\r\n");
    }

    #[test]
    fn quit_is_answered_before_login() {
        let (out, event) = events(&["quit"], &Capabilities::default());
        assert!(matches!(event, Event::Quit));
        assert_eq!(out, "+OK bye\r\n");
    }

    #[test]
    fn a_cleartext_connection_that_may_carry_no_secret_takes_none() {
        let mechanisms = Mechanisms::of(&[Mechanism::CramMd5]);
        let guarded = Capabilities::new(&Offer { mechanisms, stls: true, ..Offer::default() });
        for line in ["USER a", "PASS b", "AUTH PLAIN AGEAYg==", "AUTH LOGIN", "AUTH XOAUTH2"] {
            let (out, event) = events(&[line], &guarded);
            assert_eq!(out, "-ERR cleartext login is not possible here, use TLS\r\n", "{line}");
            assert!(matches!(event, Event::Refused));
        }
        assert!(
            matches!(events(&["AUTH CRAM-MD5"], &guarded).1, Event::Digest(digest) if matches!(*digest, Digest::CramMd5))
        );
        assert!(matches!(events(&["STLS"], &guarded).1, Event::StartTls));
        assert_eq!(talk(&["STLS"]).0, "-ERR STLS is not possible here\r\n");
    }

    #[test]
    fn master_users_are_kept_apart_however_they_are_written() {
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
    fn tokens_certificates_and_digests_tell_who_it_is() {
        let all = everything();
        let encoded = |message: &[u8]| String::from_utf8(sasl::encode(message).to_vec()).unwrap();
        let token = encoded(b"user=a\x01auth=Bearer t\x01\x01");
        let Event::Login(login) = events(&[&format!("AUTH XOAUTH2 {token}")], &all).1 else { panic!() };
        assert_eq!((&*login.user, login.mechanism), (&b"a"[..], Mechanism::Xoauth2));
        assert!(matches!(events(&["AUTH EXTERNAL ="], &all).1, Event::External(None)));
        assert!(matches!(events(&["AUTH EXTERNAL", "YQ=="], &all).1, Event::External(Some(_))));
        let first = encoded(b"n,,n=a,r=nonce");
        let (out, event) = events(&["AUTH SCRAM-SHA-256", &first], &all);
        assert_eq!(out, "+ \r\n");
        let Event::Digest(digest) = event else { panic!() };
        assert!(matches!(&*digest, Digest::Scram { user, .. } if &**user == b"a"));
        let event = events(&["APOP a 0123456789abcdef"], &all).1;
        let Event::Digest(digest) = event else { panic!() };
        assert!(matches!(&*digest, Digest::Apop { user, .. } if &**user == b"a"));
        assert_eq!(events(&["AUTH CRAM-MD5 YQ=="], &all).0, "-ERR not a message of this mechanism\r\n");
    }

    #[test]
    fn only_lines_that_carry_a_login_may_be_long() {
        let mut authorization = Authorization::default();
        for (begun, limit) in [
            ("STAT x", COMMAND_LIMIT),
            ("", COMMAND_LIMIT),
            ("PASS", COMMAND_LIMIT),
            ("auth plain ", LOGIN_LIMIT),
            ("USER x", LOGIN_LIMIT),
            ("pass x", LOGIN_LIMIT),
            ("APOP x", LOGIN_LIMIT),
        ] {
            assert_eq!(authorization.line_limit(begun.as_bytes()), COMMAND_LIMIT, "{begun}: it is short");
            let long = begun.to_owned() + &"x".repeat(COMMAND_LIMIT);
            assert_eq!(authorization.line_limit(long.as_bytes()), limit, "{begun}");
        }
        authorization.line(b"AUTH PLAIN", &Capabilities::default(), &mut Vec::new());
        assert_eq!(authorization.line_limit(b""), LOGIN_LIMIT);
    }
}
