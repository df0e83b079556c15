//! A part of the logs: some users, some time, one virtual server.

use super::entry::Entry;
use super::format::delivery::Delivery;
use super::new_mail::is_recipient;

/// Which logins of the logs are read. The default is all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// User names as in the logs; all users if it is empty.
    pub users: Vec<String>,
    /// Name of the virtual server, which only Reprieve's own logs have.
    pub virtual_server: Option<String>,
    /// The first time, in milliseconds since 1970.
    pub since_ms: Option<u64>,
    /// The time after the last, in milliseconds since 1970.
    pub until_ms: Option<u64>,
}

impl Selection {
    /// Whether no login is left out.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn includes(&self, entry: &Entry) -> bool {
        let server = entry.recorded.as_ref().map(|recorded| &*recorded.virtual_server);
        (self.users.is_empty() || self.users.contains(&entry.user))
            && self.virtual_server.as_deref().is_none_or(|name| server == Some(name))
            && self.includes_time(entry.at_ms)
    }

    /// A delivery names the user in another way than a login may do.
    pub(super) fn includes_delivery(&self, delivery: &Delivery, at_ms: u64) -> bool {
        (self.users.is_empty() || self.users.iter().any(|user| is_recipient(delivery, user)))
            && self.includes_time(at_ms)
    }

    fn includes_time(&self, at_ms: u64) -> bool {
        self.since_ms.is_none_or(|since_ms| at_ms >= since_ms)
            && self.until_ms.is_none_or(|until_ms| at_ms < until_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Recorded;
    use reprieve_policy_host::Ending;

    #[test]
    fn a_login_must_match_every_part_of_a_selection() {
        let mut entry = Entry::new(1000, "alice", Ending::Authenticated);
        let all = Selection::default();
        let user = |name: &str| Selection { users: vec!["bob".to_owned(), name.to_owned()], ..all.clone() };
        let server = Selection { virtual_server: Some("pop3".to_owned()), ..all.clone() };
        assert!(all.includes(&entry) && user("alice").includes(&entry) && !user("Alice").includes(&entry));
        assert!(!server.includes(&entry), "another software's log has no virtual server");
        let recorded = Recorded { virtual_server: "pop3".to_owned(), ..Recorded::default() };
        entry.recorded = Some(Box::new(recorded));
        assert!(server.includes(&entry));
        for (since_ms, until_ms, expected) in
            [(1000, 1001, true), (1001, 2000, false), (0, 1000, false), (0, 1001, true)]
        {
            let time = Selection { since_ms: Some(since_ms), until_ms: Some(until_ms), ..server.clone() };
            assert_eq!(time.includes(&entry), expected, "{since_ms} {until_ms}");
        }
    }
}
