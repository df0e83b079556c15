//! The users' maildrops: messages with unique-ids, and the lock that a session holds
//! (RFC 1939, sections 4, 5 and 7).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;

use super::password::StoredPassword;

/// A message as the server keeps it: lines end in CR LF, nothing is stuffed.
#[derive(Debug, PartialEq, Eq)]
pub struct Message {
    /// The unique-id, never given again to another message.
    pub unique_id: String,
    /// The whole message.
    pub octets: Box<[u8]>,
}

struct Maildrop {
    password: StoredPassword,
    messages: Vec<Arc<Message>>,
    locked: bool,
    /// Logins that the server had to judge for this user.
    logins: u64,
}

/// Why a maildrop was not opened.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The user is not known, or the password is wrong: nobody learns which.
    Credentials,
    /// Another session holds the lock.
    InUse,
}

/// All maildrops of a server.
pub(crate) struct Maildrops {
    by_user: Mutex<HashMap<String, Maildrop>>,
    /// Tells the unique-ids of this server's life from those of another.
    validity: u32,
    next_id: Mutex<u64>,
    rounds: u32,
    /// Checked in place of an unknown user's, so that time does not tell who exists.
    nobody: StoredPassword,
}

impl Maildrops {
    pub(crate) fn new(rounds: u32) -> Self {
        Self {
            by_user: Mutex::default(),
            validity: getrandom::u32().expect("the system gives random octets"),
            next_id: Mutex::new(1),
            rounds,
            nobody: StoredPassword::new(b"", rounds),
        }
    }

    /// Adds a user, or changes the password of one that is there.
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

    /// Adds a message at the end of a maildrop; its unique-id, unless there is no such user.
    pub(crate) fn deliver(&self, user: &str, text: &[u8]) -> Option<String> {
        let octets = with_crlf(text).into_boxed_slice();
        let number = {
            let mut next = self.next_id.lock();
            let number = *next;
            *next += 1;
            number
        };
        let unique_id = format!("{:08x}.{number}", self.validity);
        let mut by_user = self.by_user.lock();
        let maildrop = by_user.get_mut(user)?;
        maildrop.messages.push(Arc::new(Message { unique_id: unique_id.clone(), octets }));
        Some(unique_id)
    }

    /// What a maildrop holds now, whether or not a session is open.
    pub(crate) fn messages(&self, user: &str) -> Vec<Arc<Message>> {
        self.by_user.lock().get(user).map(|maildrop| maildrop.messages.clone()).unwrap_or_default()
    }

    /// Logins that were judged for a user so far.
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
        // The costly part runs without the lock on all maildrops.
        let matches = match &stored {
            Some(stored) => stored.matches(password),
            None => {
                self.nobody.matches(password);
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

/// The lock on a maildrop and what the maildrop held when it was taken: messages that come
/// later are the next session's. Dropped, it unlocks and deletes nothing.
pub(crate) struct Lease {
    maildrops: Arc<Maildrops>,
    user: String,
    messages: Vec<Arc<Message>>,
}

impl Lease {
    /// The messages in the order of their numbers, the first of which is 1.
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

/// Ends each line in CR LF, the last one too.
fn with_crlf(text: &[u8]) -> Vec<u8> {
    let mut octets = Vec::with_capacity(text.len() + text.len() / 32 + 2);
    for line in text.split_inclusive(|&octet| octet == b'\n') {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        octets.extend_from_slice(line.strip_suffix(b"\r").unwrap_or(line));
        octets.extend_from_slice(b"\r\n");
    }
    octets
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
    fn lines_end_in_crlf_whatever_was_delivered() {
        assert_eq!(with_crlf(b"a\nb\r\n\nc"), b"a\r\nb\r\n\r\nc\r\n");
        assert_eq!(with_crlf(b""), b"");
    }

    #[test]
    fn a_second_session_is_kept_out_until_the_first_ends() {
        let maildrops = maildrops();
        let first = maildrops.open("anna", b"secret").ok();
        assert!(first.is_some());
        assert_eq!(maildrops.open("anna", b"secret").err(), Some(Refused::InUse));
        assert_eq!(maildrops.open("anna", b"wrong").err(), Some(Refused::Credentials));
        drop(first);
        assert!(maildrops.open("anna", b"secret").is_ok());
    }

    #[test]
    fn what_comes_during_a_session_belongs_to_the_next() {
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
    fn nobody_has_no_mail() {
        let maildrops = maildrops();
        assert_eq!(maildrops.deliver("nobody", b"x\r\n"), None);
        assert_eq!(maildrops.open("nobody", b"").err(), Some(Refused::Credentials));
    }
}
