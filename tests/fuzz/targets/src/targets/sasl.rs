//! SASL messages. The first byte chooses a mechanism and whether the rest is the message itself, or the
//! parts of one.
//!
//! Base64 has one form, so that a mail server decodes what Reprieve has decoded. What Reprieve writes
//! for a mail server is read again as the same login. A login contains only what its message contains.

use reprieve_pop3::authorization::{Authorization, AuthorizationEvent, ChallengeResponse};
use reprieve_pop3::capability::{Capabilities, Offer};
use reprieve_pop3::credential::{Credentials, Mechanism, Mechanisms};
use reprieve_pop3::sasl;

use crate::input::Input;

/// See the head of this file.
pub fn sasl(data: &[u8]) {
    let mut input = Input::new(data);
    let kind = input.byte();
    let mechanism =
        [Mechanism::Plain, Mechanism::Xoauth2, Mechanism::OauthBearer, Mechanism::ScramSha256, Mechanism::CramMd5]
            [usize::from(kind >> 2) % 5];
    match kind & 3 {
        0 => encoded(mechanism, input.rest()),
        1 => raw(mechanism, input.rest()),
        _ => written(mechanism, &mut input),
    }
}

/// What a client sends after AUTH.
fn log_in(mechanism: Mechanism, response: &[u8]) -> AuthorizationEvent {
    let offer = Offer { mechanisms: Mechanisms::of(&Mechanism::ALL), ..Offer::default() };
    let capabilities = Capabilities::new(&offer);
    let mut authorization = Authorization::new(None);
    let mut out = Vec::new();
    let command = format!("AUTH {}", mechanism.name());
    let event = authorization.line(command.as_bytes(), &capabilities, &mut out);
    if !matches!(event, AuthorizationEvent::Continue) {
        return event;
    }
    authorization.line(response, &capabilities, &mut out)
}

/// The client's line, base64 or not.
fn encoded(mechanism: Mechanism, line: &[u8]) {
    let decoded = sasl::decode(line);
    if let Some(message) = &decoded {
        let again = sasl::encode(message);
        assert!(again.as_slice() == line || line.is_empty(), "{} in two forms", line.escape_ascii());
    }
    let event = log_in(mechanism, line);
    let has_message =
        matches!(event, AuthorizationEvent::Login(_) | AuthorizationEvent::ChallengeResponse(_));
    assert!(decoded.is_some() || !has_message || mechanism == Mechanism::CramMd5);
}

/// A message: what comes of it is part of it.
fn raw(mechanism: Mechanism, message: &[u8]) {
    assert_eq!(sasl::decode(&sasl::encode(message)).expect("base64").as_slice(), message);
    let contains = |part: &[u8]| part.is_empty() || message.windows(part.len()).any(|window| window == part);
    if let Some(user) = sasl::cram_user(message) {
        assert!(message.starts_with(user) && message.len() == user.len() + 33);
    }
    match log_in(mechanism, &sasl::encode(message)) {
        AuthorizationEvent::Login(credentials) => {
            assert_eq!(credentials.mechanism, mechanism);
            assert!(contains(credentials.secret.expose()));
            // Names of OAUTHBEARER may be escaped.
            let is_escaped = mechanism == Mechanism::OauthBearer && message.contains(&b'=');
            assert!(is_escaped || contains(&credentials.user));
            let again = Message::of(&credentials).write();
            let Some(again) = login_of(mechanism, &again) else { panic!("{credentials:?} is not read again") };
            assert_same(&credentials, &again);
        }
        AuthorizationEvent::ChallengeResponse(login) => {
            if let ChallengeResponse::Scram { first, user, .. } = *login {
                assert_eq!(sasl::decode(&first).expect("base64").as_slice(), message);
                assert!(contains(&user) || message.contains(&b'='));
            }
        }
        _ => {}
    }
}

/// A login: its message leads back to it.
fn written(mechanism: Mechanism, input: &mut Input<'_>) {
    let mechanism = match mechanism {
        Mechanism::Xoauth2 | Mechanism::OauthBearer => mechanism,
        _ => Mechanism::Plain,
    };
    let message = Message { mechanism, acting: input.chunk(), user: input.chunk(), secret: input.chunk() };
    let is_plain = |bytes: &[u8]| !bytes.iter().any(|byte| matches!(byte, 0 | 1 | b'\r' | b'\n'));
    let is_possible = [message.acting, message.user, message.secret].into_iter().all(is_plain)
        && !message.user.trim_ascii().is_empty()
        && message.user.len() + message.acting.len() <= 320
        // RFC 6750: the characters of a token.
        && (mechanism == Mechanism::Plain
            || !message.secret.is_empty() && message.secret.iter().all(u8::is_ascii_graphic));
    let login = login_of(mechanism, &message.write());
    if is_possible {
        let login = login.expect("a login");
        assert_eq!(login.secret.expose(), message.secret);
        assert_eq!(&*login.user, message.user);
        let acts = mechanism == Mechanism::Plain && !message.acting.is_empty() && message.acting != message.user;
        assert_eq!(login.authorization_id.as_deref(), acts.then_some(message.acting));
    }
}

struct Message<'a> {
    mechanism: Mechanism,
    acting: &'a [u8],
    user: &'a [u8],
    secret: &'a [u8],
}

impl<'a> Message<'a> {
    fn of(credentials: &'a Credentials) -> Self {
        Self {
            mechanism: credentials.mechanism,
            acting: credentials.authorization_id.as_deref().unwrap_or_default(),
            user: &credentials.user,
            secret: credentials.secret.expose(),
        }
    }

    fn write(&self) -> Vec<u8> {
        match self.mechanism {
            Mechanism::Plain => sasl::write_plain(self.acting, self.user, self.secret).to_vec(),
            token => sasl::write_token(token, self.user, self.secret).to_vec(),
        }
    }
}

fn login_of(mechanism: Mechanism, message: &[u8]) -> Option<Credentials> {
    match log_in(mechanism, &sasl::encode(message)) {
        AuthorizationEvent::Login(credentials) => Some(*credentials),
        _ => None,
    }
}

fn assert_same(one: &Credentials, other: &Credentials) {
    assert_eq!(one.user, other.user);
    assert_eq!(one.authorization_id, other.authorization_id);
    assert_eq!(one.secret.expose(), other.secret.expose());
}
