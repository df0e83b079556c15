//! The AUTHORIZATION state (RFC 1939, section 4): from the banner to a complete login. The
//! host holds it alone; no mail server is asked before somebody has named himself and shown
//! a secret.

use super::capability::Capabilities;
use super::command::Command;
use super::credential::{Credentials, Mechanism, Secret};
use super::line::{COMMAND_LIMIT, CONTINUATION_LIMIT};
use super::{reply, sasl};

/// What a line led to. Replies have been written.
#[derive(Debug)]
pub enum Event {
    /// The exchange goes on.
    Continue,
    /// The line was no command that is possible here.
    Bad,
    /// The login is complete and waits for an answer.
    Login(Credentials),
    /// The client has said QUIT and was answered.
    Quit,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Start,
    UserGiven(Box<[u8]>),
    PlainAwaited,
    LoginUserAwaited,
    LoginSecretAwaited(Box<[u8]>),
}

/// Where a connection stands on its way to a login.
#[derive(Debug, Default)]
pub struct Authorization {
    state: State,
}

impl Authorization {
    /// The longest line that may come next, its end included.
    #[must_use]
    pub fn line_limit(&self) -> usize {
        match self.state {
            State::Start | State::UserGiven(_) => COMMAND_LIMIT,
            _ => CONTINUATION_LIMIT,
        }
    }

    /// Takes a line that was too long. A SASL exchange ends with it.
    pub fn too_long(&mut self, out: &mut Vec<u8>) -> Event {
        self.state = State::Start;
        out.extend_from_slice(reply::TOO_LONG);
        Event::Bad
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
        let (event, answer): (Event, &[u8]) = match Command::parse(line) {
            Command::User(name) => {
                self.state = State::UserGiven(name.into());
                out.extend_from_slice(reply::OK);
                return Event::Continue;
            }
            Command::Pass(secret) => match user {
                Some(user) => {
                    return login(user, Secret::new(secret), Mechanism::UserPass, out);
                }
                None => (Event::Bad, b"-ERR USER comes first\r\n"),
            },
            Command::Auth { mechanism: None, .. } => (Event::Continue, capabilities.mechanisms()),
            Command::Auth { mechanism: Some(mechanism), initial } => {
                return self.auth(mechanism, initial, out);
            }
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
            Command::Malformed => (Event::Bad, reply::MALFORMED),
            Command::Unknown => (Event::Bad, reply::UNKNOWN),
            Command::Stat
            | Command::List(_)
            | Command::Uidl(_)
            | Command::Retr(_)
            | Command::Top(..)
            | Command::Dele(_)
            | Command::Rset
            | Command::Last => (Event::Bad, reply::LOG_IN_FIRST),
        };
        out.extend_from_slice(answer);
        event
    }

    fn auth(&mut self, mechanism: &[u8], initial: Option<&[u8]>, out: &mut Vec<u8>) -> Event {
        if mechanism.eq_ignore_ascii_case(b"PLAIN") {
            self.state = State::PlainAwaited;
            match initial {
                Some(response) => self.resume(response, out),
                None => {
                    out.extend_from_slice(b"+ \r\n");
                    Event::Continue
                }
            }
        } else if mechanism.eq_ignore_ascii_case(b"LOGIN") {
            self.state = State::LoginUserAwaited;
            match initial {
                Some(response) => self.resume(response, out),
                None => {
                    out.extend_from_slice(b"+ VXNlcm5hbWU6\r\n");
                    Event::Continue
                }
            }
        } else {
            out.extend_from_slice(b"-ERR mechanism is not offered\r\n");
            Event::Bad
        }
    }

    fn resume(&mut self, response: &[u8], out: &mut Vec<u8>) -> Event {
        let state = std::mem::take(&mut self.state);
        self.continuation(response, state, out)
    }

    fn continuation(&mut self, line: &[u8], state: State, out: &mut Vec<u8>) -> Event {
        if line == b"*" {
            out.extend_from_slice(b"-ERR authentication cancelled\r\n");
            return Event::Continue;
        }
        let Some(message) = sasl::decode(line) else {
            out.extend_from_slice(b"-ERR not base64\r\n");
            return Event::Bad;
        };
        match state {
            State::PlainAwaited => match sasl::plain(&message) {
                Ok(credentials) => login(credentials.user, credentials.secret, Mechanism::Plain, out),
                Err(sasl::PlainError::Malformed) => {
                    out.extend_from_slice(b"-ERR not a PLAIN message\r\n");
                    Event::Bad
                }
                Err(sasl::PlainError::AuthorizationIdentity) => {
                    out.extend_from_slice(b"-ERR [AUTH] acting as another user is not offered\r\n");
                    Event::Bad
                }
            },
            State::LoginUserAwaited => {
                self.state = State::LoginSecretAwaited(message.as_slice().into());
                out.extend_from_slice(b"+ UGFzc3dvcmQ6\r\n");
                Event::Continue
            }
            State::LoginSecretAwaited(user) => login(user, Secret::new(&message), Mechanism::Login, out),
            State::Start | State::UserGiven(_) => Event::Bad,
        }
    }
}

fn login(user: Box<[u8]>, secret: Secret, mechanism: Mechanism, out: &mut Vec<u8>) -> Event {
    match (Credentials { user, secret, mechanism }).check() {
        Ok(credentials) => Event::Login(credentials),
        Err(why) => {
            out.extend_from_slice(format!("-ERR [AUTH] {why}\r\n").as_bytes());
            Event::Bad
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn talk(lines: &[&str]) -> (String, Option<Credentials>) {
        let capabilities = Capabilities::new(None);
        let mut authorization = Authorization::default();
        let mut out = Vec::new();
        for line in lines {
            if let Event::Login(credentials) = authorization.line(line.as_bytes(), &capabilities, &mut out) {
                return (String::from_utf8(out).unwrap(), Some(credentials));
            }
        }
        (String::from_utf8(out).unwrap(), None)
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
    }

    #[test]
    fn quit_is_answered_before_login() {
        let mut out = Vec::new();
        let event = Authorization::default().line(b"quit", &Capabilities::new(None), &mut out);
        assert!(matches!(event, Event::Quit));
        assert_eq!(out, b"+OK bye\r\n");
    }
}
