//! Users whose mailboxes have other names at the mail server than at login: a policy has sent the login
//! to another pool or under another name, or a master user has opened the mailbox. A signal of new
//! mail names the mailbox.

use std::collections::HashMap;

use arrayvec::ArrayVec;
use parking_lot::Mutex;

use super::tag::UserKey;

/// Maximum number of mailboxes: more than any site should rename, and at most 50 MB.
const MAX_MAILBOXES: usize = 200_000;
/// Maximum number of users of one mailbox.
pub(super) const MAX_USERS: usize = 16;

/// The users of a mailbox.
pub(super) type MailboxUsers = ArrayVec<UserKey, MAX_USERS>;

/// Whether a user of a mailbox was known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learned {
    /// They were.
    Known,
    /// They are known from now on: signals may have been missed before.
    New,
    /// There is no room for them: signals will be missed.
    Full,
    /// The store cannot be reached: signals will be missed until the next login.
    Unavailable,
}

/// The users of mailboxes, in this process.
#[derive(Debug, Default)]
pub(super) struct Names {
    mailboxes: Mutex<HashMap<UserKey, MailboxUsers>>,
}

impl Names {
    pub fn learn(&self, mailbox: UserKey, user: UserKey) -> Learned {
        let mut mailboxes = self.mailboxes.lock();
        if mailboxes.len() >= MAX_MAILBOXES && !mailboxes.contains_key(&mailbox) {
            return Learned::Full;
        }
        let users = mailboxes.entry(mailbox).or_default();
        if users.contains(&user) {
            return Learned::Known;
        }
        users.try_push(user).map_or(Learned::Full, |()| Learned::New)
    }

    pub fn users_of(&self, mailbox: UserKey) -> MailboxUsers {
        self.mailboxes.lock().get(&mailbox).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_list_learns_no_mailbox_and_keeps_those_that_it_has() {
        let names = Names::default();
        let [one, two, three] = [1, 2, 3].map(UserKey::numbered);
        for mailbox in 0..MAX_MAILBOXES as u128 {
            assert_eq!(names.learn(UserKey::numbered(mailbox), one), Learned::New);
        }
        let another = UserKey::numbered(MAX_MAILBOXES as u128);
        assert_eq!(names.learn(another, one), Learned::Full);
        assert!(names.users_of(another).is_empty());
        assert_eq!(names.learn(three, two), Learned::New);
        assert_eq!(names.learn(three, one), Learned::Known);
        assert_eq!(names.users_of(three)[..], [one, two]);
    }
}
