//! The AUTHORIZATION state: from the banner to a login. The first byte chooses what is offered, the
//! second one the parts in which the rest, the bytes of a client, arrives.
//!
//! However the bytes are cut, the client gets the same replies. Each line gets one reply, or none if the
//! session goes on with a login; each reply is one of a fixed set, so that no reply contains anything of
//! what the client has sent. A login has the name and secret of the lines that made it, and nothing in
//! them would end a line. No secret is in debug output.

use reprieve_pop3::authorization::{Authorization, AuthorizationEvent, ChallengeResponse};
use reprieve_pop3::capability::{Capabilities, Offer};
use reprieve_pop3::credential::{Credentials, Mechanism, Mechanisms, NAME_LIMIT, Secret, Unusable};
use reprieve_pop3::line::{LineBuffer, NextLine};
use reprieve_pop3::reply;

use crate::input::{Cut, Input};

/// See the head of this file.
pub fn authorization(data: &[u8]) {
    let mut input = Input::new(data);
    let server = Server::chosen(input.byte());
    let seed = Cut::Seed(input.byte());
    let sent = input.rest();
    let whole = server.converse(sent, Cut::Whole);
    for cut in [Cut::Bytes, seed] {
        let other = server.converse(sent, cut);
        let same = whole.iter().zip(&other).take_while(|(one, other)| one == other).count();
        assert!(
            whole.len() == same && other.len() == same,
            "{cut:?}: {:?} instead of {:?}",
            other.get(same),
            whole.get(same)
        );
    }
}

/// What a virtual server offers.
struct Server {
    capabilities: Capabilities,
    separator: Option<u8>,
}

/// What a line led to.
#[derive(Debug, PartialEq)]
struct Step {
    event: String,
    reply: Vec<u8>,
}

impl Server {
    fn chosen(flags: u8) -> Self {
        let mechanisms = match flags & 3 {
            0 => Mechanisms::of(&Mechanism::ALL),
            1 => Mechanisms::of(&[Mechanism::UserPass, Mechanism::Plain, Mechanism::Login]),
            2 => Mechanisms::of(&[Mechanism::External, Mechanism::ScramSha256, Mechanism::CramMd5]),
            _ => Mechanisms::default(),
        };
        let offer = Offer {
            login_delay: (flags & 4 != 0).then_some(600),
            stls: flags & 8 != 0,
            mechanisms,
            ..Offer::default()
        };
        Self { capabilities: Capabilities::new(&offer), separator: (flags & 16 != 0).then_some(b'*') }
    }

    /// Plays a connection until something else than a line must come.
    fn converse(&self, sent: &[u8], cut: Cut) -> Vec<Step> {
        let mut authorization = Authorization::new(self.separator);
        let mut buffer = LineBuffer::default();
        let mut steps = Vec::new();
        let mut user = None;
        for part in cut.parts(sent) {
            buffer.push(part);
            loop {
                let mut reply = Vec::new();
                let limit = authorization.line_limit(buffer.rest());
                let event = match buffer.next_line(limit) {
                    NextLine::Line => {
                        let event = authorization.line(buffer.line(), &self.capabilities, &mut reply);
                        self.check_password(buffer.line(), &mut user, &event);
                        event
                    }
                    NextLine::TooLong => {
                        user = None;
                        authorization.too_long(buffer.line(), &mut reply)
                    }
                    NextLine::Incomplete => break,
                };
                self.check(&event, &reply);
                let is_over = matches!(
                    event,
                    AuthorizationEvent::StartTls | AuthorizationEvent::Quit | AuthorizationEvent::Http
                );
                steps.push(Step { event: described(&event), reply });
                if is_over {
                    return steps;
                }
            }
        }
        steps
    }

    /// Checks a login with USER and PASS against the lines that made it. `user`: the argument of the
    /// last USER, while it counts.
    fn check_password(&self, line: &[u8], user: &mut Option<Vec<u8>>, event: &AuthorizationEvent) {
        let (verb, argument) = match line.iter().position(|&byte| byte == b' ') {
            Some(space) => (&line[..space], &line[space + 1..]),
            None => (line, &line[line.len()..]),
        };
        let verb = verb.to_ascii_uppercase();
        if let AuthorizationEvent::Login(credentials) = event
            && credentials.mechanism == Mechanism::UserPass
        {
            assert_eq!(verb, b"PASS");
            assert_eq!(credentials.secret.expose(), argument);
            assert_eq!(Some(credentials.user_argument(&credentials.user)), *user);
        }
        let continues = matches!(event, AuthorizationEvent::Continue);
        match &*verb {
            b"USER" if continues => *user = Some(argument.trim_ascii().to_vec()),
            b"CAPA" | b"NOOP" if continues => {}
            _ => *user = None,
        }
    }

    fn check(&self, event: &AuthorizationEvent, reply: &[u8]) {
        let offers = |mechanism| assert!(self.capabilities.offers(mechanism), "{mechanism:?} is not offered");
        let is_answered = match event {
            AuthorizationEvent::Login(credentials) => {
                offers(credentials.mechanism);
                check_credentials(credentials);
                false
            }
            AuthorizationEvent::External(_) => {
                offers(Mechanism::External);
                false
            }
            AuthorizationEvent::ChallengeResponse(login) => {
                match &**login {
                    ChallengeResponse::Apop { user, .. } => {
                        offers(Mechanism::Apop);
                        assert!(!ends_line(user) && !user.is_empty() && user.len() <= NAME_LIMIT);
                    }
                    ChallengeResponse::CramMd5 => offers(Mechanism::CramMd5),
                    ChallengeResponse::Scram { user, first, .. } => {
                        offers(Mechanism::ScramSha256);
                        assert!(!user.is_empty() && !ends_line(first));
                    }
                }
                false
            }
            AuthorizationEvent::StartTls => {
                assert!(self.capabilities.has_stls());
                true
            }
            AuthorizationEvent::Unusable(login) => {
                assert!(login.user.len() <= NAME_LIMIT);
                assert_eq!(login.reply(), reply);
                true
            }
            _ => true,
        };
        assert_eq!(is_answered, !reply.is_empty(), "{event:?}");
        assert!(reply.is_empty() || self.has_reply(reply), "{}", reply.escape_ascii());
    }

    /// Whether this is a reply of Reprieve's own: none of them depends on what the client has sent.
    fn has_reply(&self, reply: &[u8]) -> bool {
        let fixed: [&[u8]; 19] = [
            reply::OK,
            reply::UNKNOWN,
            reply::MALFORMED,
            reply::TOO_LONG,
            reply::NOT_OFFERED,
            reply::CANCELLED,
            reply::NOT_BASE64,
            reply::NOT_A_MESSAGE,
            b"-ERR USER comes first\r\n",
            b"-ERR cleartext login is not possible here, use TLS\r\n",
            b"+OK begin TLS negotiation\r\n",
            b"-ERR STLS is not possible here\r\n",
            b"-ERR log in first\r\n",
            b"-ERR this is a POP3 server\r\n",
            b"+OK bye\r\n",
            b"+ \r\n",
            b"+ VXNlcm5hbWU6\r\n",
            b"+ UGFzc3dvcmQ6\r\n",
            self.capabilities.mechanisms(),
        ];
        let unusable =
            [Unusable::ControlCharacter, Unusable::NameTooLong, Unusable::TooLong, Unusable::NoUser];
        fixed.contains(&reply)
            || reply == self.capabilities.before_login()
            || unusable.iter().any(|why| reply == format!("-ERR [AUTH] {why}\r\n").as_bytes())
    }
}

fn ends_line(bytes: &[u8]) -> bool {
    bytes.iter().any(|byte| matches!(byte, 0 | b'\r' | b'\n'))
}

fn check_credentials(credentials: &Credentials) {
    let acting = credentials.authorization_id.as_deref().unwrap_or_default();
    assert!(!credentials.user.trim_ascii().is_empty());
    assert!(credentials.user.len() + acting.len() <= NAME_LIMIT);
    assert!(!ends_line(&credentials.user) && !ends_line(acting) && !ends_line(credentials.secret.expose()));
    let other = Credentials { secret: Secret::new(b"another secret"), ..credentials.clone() };
    assert_eq!(format!("{credentials:?}"), format!("{other:?}"), "debug output depends on the secret");
}

/// An event with everything that the session does with it.
fn described(event: &AuthorizationEvent) -> String {
    match event {
        AuthorizationEvent::Login(credentials) => {
            format!("{credentials:?} {}", credentials.secret.expose().escape_ascii())
        }
        AuthorizationEvent::ChallengeResponse(login) => match &**login {
            ChallengeResponse::Apop { user, digest } => {
                format!("APOP {} {}", user.escape_ascii(), digest.expose().escape_ascii())
            }
            ChallengeResponse::CramMd5 => "CRAM-MD5".to_owned(),
            ChallengeResponse::Scram { user, authorization_id, first } => {
                format!("SCRAM {} {authorization_id:?} {}", user.escape_ascii(), first.escape_ascii())
            }
        },
        other => format!("{other:?}"),
    }
}
