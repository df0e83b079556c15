//! What a sender of signals writes, over HTTP and to the socket: a JSON object, or a user name per line.

use serde::Deserialize;

/// Maximum size of a request: a datagram has to fit into the socket's buffer.
pub const MAX_REQUEST_BYTES: usize = 64 << 10;
/// Maximum number of users in a request. With a store in Redis it takes about 0.1 s.
pub const MAX_REQUEST_USERS: usize = 1_000;
/// The mailbox that POP3 shows; mail in other ones is none for its users.
const INBOX: &str = "INBOX";

/// The signals of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// The pool whose users are named.
    pub pool: Option<String>,
    /// Users who have new mail, as the mail server names them.
    pub users: Vec<Vec<u8>>,
}

/// Why a request cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// It begins like JSON, and is none, or has a value of another type.
    #[error("the JSON object is invalid: {0}")]
    Json(String),
    /// It names no user.
    #[error(
        "the request names no user; send {{\"users\": [\"alice@example.org\"]}}, or one user name per line"
    )]
    NoUser,
    /// It names so many users.
    #[error("the request names {0} users, more than {MAX_REQUEST_USERS}; send them in several requests")]
    TooManyUsers(usize),
}

/// The plain form, and what Dovecot's `ox` driver sends. The latter has the message's sender, subject
/// and first words, too: they are skipped without being kept.
#[derive(Deserialize)]
struct Json {
    pool: Option<String>,
    users: Option<Vec<String>>,
    user: Option<String>,
    event: Option<String>,
    folder: Option<String>,
}

impl Json {
    /// Whether a message arrived in the maildrop. Dovecot's events are those of RFC 5423, section 4.1.
    fn is_new_mail(&self) -> bool {
        let is = |value: &Option<String>, expected: &[&str]| {
            value.as_ref().is_none_or(|value| expected.iter().any(|one| value.eq_ignore_ascii_case(one)))
        };
        is(&self.event, &["messageNew", "messageAppend"]) && is(&self.folder, &[INBOX])
    }
}

impl Request {
    /// Parses the body of a request.
    ///
    /// # Errors
    /// If it is neither JSON with users nor text with user names, or has too many.
    pub fn parse(body: &[u8]) -> Result<Self, RequestError> {
        let request = if body.trim_ascii_start().starts_with(b"{") {
            let json: Json =
                serde_json::from_slice(body).map_err(|error| RequestError::Json(error.to_string()))?;
            if json.users.is_none() && json.user.is_none() {
                return Err(RequestError::NoUser);
            }
            if !json.is_new_mail() {
                return Ok(Self { pool: json.pool, users: Vec::new() });
            }
            let users = json.users.into_iter().flatten().chain(json.user);
            Self { pool: json.pool, users: names(users.map(String::into_bytes)) }
        } else {
            Self { pool: None, users: names(body.split(|byte| *byte == b'\n').map(<[u8]>::to_vec)) }
        };
        match request.users.len() {
            0 => Err(RequestError::NoUser),
            1..=MAX_REQUEST_USERS => Ok(request),
            count => Err(RequestError::TooManyUsers(count)),
        }
    }
}

/// Bodies of requests that name all users, none of them too large.
pub fn bodies(users: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut bodies: Vec<(usize, Vec<u8>)> = Vec::new();
    for user in users {
        match bodies.last_mut() {
            Some((count, body))
                if *count < MAX_REQUEST_USERS && body.len() + user.len() < MAX_REQUEST_BYTES =>
            {
                *count += 1;
                body.push(b'\n');
                body.extend_from_slice(user);
            }
            // At the beginning of a text, a brace would be that of JSON.
            _ if user.trim_ascii_start().starts_with(b"{") => {
                let users = serde_json::json!({ "users": [String::from_utf8_lossy(user)] });
                bodies.push((MAX_REQUEST_USERS, users.to_string().into_bytes()));
            }
            _ => bodies.push((1, user.clone())),
        }
    }
    bodies.into_iter().map(|(_, body)| body).collect()
}

fn names(users: impl Iterator<Item = Vec<u8>>) -> Vec<Vec<u8>> {
    users.map(|user| user.trim_ascii().to_vec()).filter(|user| !user.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users(body: &str) -> Vec<String> {
        let users = Request::parse(body.as_bytes()).unwrap().users;
        users.into_iter().map(|user| String::from_utf8(user).unwrap()).collect()
    }

    #[test]
    fn json_and_lines_name_users() {
        for body in [
            r#"{"users": ["alice", "bob"]}"#,
            "\n {\"users\": [\" alice\", \"\", \"bob\"], \"more\": [1]}",
            "alice\nbob",
            "alice\r\n\r\n bob \n",
        ] {
            assert_eq!(users(body), ["alice", "bob"], "{body}");
        }
        let request = Request::parse(br#"{"pool": "mail", "users": ["alice"]}"#).unwrap();
        assert_eq!(request.pool.as_deref(), Some("mail"));
        assert_eq!(Request::parse(b"ali\xffce\n").unwrap().users, [b"ali\xffce"]);
    }

    #[test]
    fn many_users_are_named_in_several_requests() {
        for length in [5, 500] {
            let user = |number: usize| format!("{number:0length$}").into_bytes();
            let users: Vec<_> = (1..=2_500).map(user).collect();
            let bodies = bodies(&users);
            assert!(bodies.len() < 25 && bodies.iter().all(|body| body.len() <= MAX_REQUEST_BYTES));
            let parsed = bodies.iter().flat_map(|body| Request::parse(body).unwrap().users);
            assert_eq!(parsed.collect::<Vec<_>>(), users);
        }
    }

    #[test]
    fn a_name_that_begins_with_a_brace_is_no_json() {
        let users = ["{alice}", "bob", "{carol", "{\"", "dave"].map(|user| user.as_bytes().to_vec());
        let parsed = bodies(&users).into_iter().flat_map(|body| Request::parse(&body).unwrap().users);
        assert_eq!(parsed.collect::<Vec<_>>(), users);
    }

    #[test]
    fn only_new_messages_in_the_inbox_count() {
        let body = |event: &str, folder: &str| {
            format!(
                r#"{{"user":"alice","event":"{event}","folder":"{folder}","imap-uidvalidity":1,"imap-uid":2,"from":"x","subject":"y","snippet":"z","unseen":3}}"#
            )
        };
        assert_eq!(users(&body("messageNew", "INBOX")), ["alice"]);
        assert_eq!(users(&body("MessageAppend", "inbox")), ["alice"]);
        assert!(users(&body("messageNew", "Junk")).is_empty());
        assert!(users(&body("messageExpunge", "INBOX")).is_empty());
    }

    #[test]
    fn an_unusable_request_is_refused_with_a_reason() {
        for (body, expected) in [
            ("", "names no user"),
            ("\n \n", "names no user"),
            ("{}", "names no user"),
            (r#"{"users": []}"#, "names no user"),
            (r#"{"users": "alice"}"#, "JSON object is invalid"),
            (r#"{"users": ["alice""#, "JSON object is invalid"),
        ] {
            let error = Request::parse(body.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(expected), "{body}: {error}");
        }
        let many = "user\n".repeat(MAX_REQUEST_USERS + 1);
        assert_eq!(Request::parse(many.as_bytes()), Err(RequestError::TooManyUsers(MAX_REQUEST_USERS + 1)));
    }
}
