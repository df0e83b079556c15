//! Signals of new mail, as their senders write them: JSON in the plain form or in that of Dovecot's `ox`
//! driver, or lines with user names.
//!
//! A request is refused with a reason of one line, or names users within the limit. What Reprieve writes to name users
//! is read again as the same users.

use reprieve::fuzzing::{MAX_REQUEST_BYTES, MAX_REQUEST_USERS, Request, bodies};

/// See the head of this file.
pub fn new_mail(data: &[u8]) {
    let request = match Request::parse(data) {
        Ok(request) => request,
        Err(error) => {
            let text = error.to_string();
            assert!(!text.is_empty() && !text.chars().any(char::is_control), "{text:?}");
            return;
        }
    };
    let Request { pool, users } = &request;
    let is_json = data.trim_ascii_start().starts_with(b"{");
    assert!(users.len() <= MAX_REQUEST_USERS && (is_json || !users.is_empty() && pool.is_none()));
    assert!(users.iter().all(|user| !user.is_empty() && user.trim_ascii() == user));
    assert_eq!(Request::parse(data).as_ref(), Ok(&request));
    // A name with a line end can only be written as JSON.
    if users.iter().any(|user| user.contains(&b'\n')) {
        return;
    }
    let bodies = bodies(users);
    assert!(bodies.iter().all(|body| body.len() <= MAX_REQUEST_BYTES));
    let again: Vec<_> = bodies.iter().flat_map(|body| Request::parse(body).expect("names").users).collect();
    assert_eq!(again, *users);
}
