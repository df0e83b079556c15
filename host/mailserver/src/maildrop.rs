//! Maildrops: their messages with unique-ids, and the lock of a session (RFC 1939, sections 4, 5 and
//! 7).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;

use super::password::StoredPassword;

/// A message in a maildrop. Its lines end in CR LF; dots are not doubled.
#[derive(Debug, PartialEq, Eq)]
pub struct Message {
    /// Its unique-id, which no other message ever gets.
    pub unique_id: String,
    /// Header and body.
    pub bytes: Box<[u8]>,
}

struct Maildrop {
    password: StoredPassword,
    messages: Vec<Arc<Message>>,
    locked: bool,
    /// Logins so far, including refused ones.
    logins: u64,
}

/// Why a maildrop was not opened.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The user does not exist, or the password is wrong. The reply does not reveal which.
    Credentials,
    /// Another session holds the lock.
    InUse,
}

/// All maildrops of a server.
pub(crate) struct Maildrops {
    by_user: Mutex<HashMap<String, Maildrop>>,
    /// Distinguishes the unique-ids of this server from those of another one.
    uid_prefix: u32,
    next_id: Mutex<u64>,
    rounds: u32,
    /// Checked for users that do not exist, so that the time does not reveal who exists.
    dummy_password: StoredPassword,
}

impl Maildrops {
    pub(crate) fn new(rounds: u32) -> Self {
        Self {
            by_user: Mutex::default(),
            uid_prefix: getrandom::u32().expect("the system provides random bytes"),
            next_id: Mutex::new(1),
            rounds,
            dummy_password: StoredPassword::new(b"", rounds),
        }
    }

    /// Adds a user, or changes the password of an existing one.
    pub(crate) fn add_user(&self, user: &str, password: &str) {
        let password = StoredPassword::new(password.as_bytes(), self.rounds);
        let mut by_user = self.by_user.lock();
        match by_user.get_mut(user) {
            Some(maildrop) => maildrop.password = password,
            None => {
                let maildrop = Maildrop { password, messages: Vec::new(), locked: false, logins: 0 };
                by_user.insert(user.to_owned(), maildrop);
            }
        }
    }

    /// Adds a message at the end of a maildrop, and returns its unique-id. None if the user does not
    /// exist.
    pub(crate) fn deliver(&self, user: &str, text: &[u8]) -> Option<String> {
        let bytes = with_crlf(text).into_boxed_slice();
        let number = {
            let mut next = self.next_id.lock();
            let number = *next;
            *next += 1;
            number
        };
        let unique_id = format!("{:08x}.{number}", self.uid_prefix);
        let mut by_user = self.by_user.lock();
        let maildrop = by_user.get_mut(user)?;
        maildrop.messages.push(Arc::new(Message { unique_id: unique_id.clone(), bytes }));
        Some(unique_id)
    }

    /// The messages in a maildrop, whether or not it is locked.
    pub(crate) fn messages(&self, user: &str) -> Vec<Arc<Message>> {
        self.by_user.lock().get(user).map(|maildrop| maildrop.messages.clone()).unwrap_or_default()
    }

    /// Logins of a user so far, including refused ones.
    pub(crate) fn logins(&self, user: &str) -> u64 {
        self.by_user.lock().get(user).map_or(0, |maildrop| maildrop.logins)
    }

    /// Checks the password, then takes the lock.
    pub(crate) fn open(self: &Arc<Self>, user: &str, password: &[u8]) -> Result<Lease, Refused> {
        let stored = match self.by_user.lock().get_mut(user) {
            Some(maildrop) => {
                maildrop.logins += 1;
                Some(maildrop.password.clone())
            }
            None => None,
        };
        // Hashing takes long: the lock on all maildrops is not held.
        let matches = match &stored {
            Some(stored) => stored.matches(password),
            None => {
                self.dummy_password.matches(password);
                false
            }
        };
        if !matches {
            return Err(Refused::Credentials);
        }
        let mut by_user = self.by_user.lock();
        let maildrop = by_user.get_mut(user).ok_or(Refused::Credentials)?;
        if maildrop.locked {
            return Err(Refused::InUse);
        }
        maildrop.locked = true;
        let messages = maildrop.messages.clone();
        Ok(Lease { maildrops: Arc::clone(self), user: user.to_owned(), messages })
    }
}

/// The lock on a maildrop, with the messages at the time of locking: messages that arrive later
/// belong to the next session. Dropping it unlocks the maildrop and deletes nothing.
pub(crate) struct Lease {
    maildrops: Arc<Maildrops>,
    user: String,
    messages: Vec<Arc<Message>>,
}

impl Lease {
    /// The messages in the order of their numbers, from 1.
    pub(crate) fn messages(&self) -> &[Arc<Message>] {
        &self.messages
    }

    /// Deletes messages by unique-id and unlocks.
    pub(crate) fn delete(self, unique_ids: &HashSet<&str>) {
        let mut by_user = self.maildrops.by_user.lock();
        if let Some(maildrop) = by_user.get_mut(&self.user) {
            maildrop.messages.retain(|message| !unique_ids.contains(message.unique_id.as_str()));
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(maildrop) = self.maildrops.by_user.lock().get_mut(&self.user) {
            maildrop.locked = false;
        }
    }
}

/// Makes each line end in CR LF, including the last one.
fn with_crlf(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len() + text.len() / 32 + 2);
    for line in text.split_inclusive(|&byte| byte == b'\n') {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        bytes.extend_from_slice(line.strip_suffix(b"\r").unwrap_or(line));
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn maildrops() -> Arc<Maildrops> {
        let maildrops = Arc::new(Maildrops::new(2));
        maildrops.add_user("anna", "secret");
        maildrops
    }

    #[test]
    fn lines_of_delivered_messages_end_in_crlf() {
        assert_eq!(with_crlf(b"a\nb\r\n\nc"), b"a\r\nb\r\n\r\nc\r\n");
        assert_eq!(with_crlf(b""), b"");
    }

    #[test]
    fn a_maildrop_is_locked_until_its_session_ends() {
        let maildrops = maildrops();
        let first = maildrops.open("anna", b"secret").ok();
        assert!(first.is_some());
        assert_eq!(maildrops.open("anna", b"secret").err(), Some(Refused::InUse));
        assert_eq!(maildrops.open("anna", b"wrong").err(), Some(Refused::Credentials));
        drop(first);
        assert!(maildrops.open("anna", b"secret").is_ok());
    }

    #[test]
    fn a_message_delivered_during_a_session_belongs_to_the_next() {
        let maildrops = maildrops();
        maildrops.deliver("anna", b"one\r\n");
        let lease = maildrops.open("anna", b"secret").ok().unwrap();
        let second = maildrops.deliver("anna", b"two\r\n").unwrap();
        assert_eq!(lease.messages().len(), 1);
        let first = lease.messages()[0].unique_id.clone();
        lease.delete(&HashSet::from([first.as_str()]));
        let left = maildrops.messages("anna");
        assert_eq!(left.iter().map(|m| m.unique_id.as_str()).collect::<Vec<_>>(), [second.as_str()]);
    }

    #[test]
    fn a_user_who_does_not_exist_gets_no_mail_and_no_login() {
        let maildrops = maildrops();
        assert_eq!(maildrops.deliver("nobody", b"x\r\n"), None);
        assert_eq!(maildrops.open("nobody", b"").err(), Some(Refused::Credentials));
    }
}
