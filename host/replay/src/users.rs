//! What became of each user's logins, and who polls the most.

use std::cmp::Reverse;
use std::collections::HashMap;

use serde::Serialize;

use super::entry::Entry;
use super::player::Decision;
use reprieve_policy_host::Ending;

/// Octets that users may take: some four million. A log that names more is hostile, or of a
/// larger site than one process serves; the others are not told apart.
const MOST_OCTETS: usize = 512 << 20;
/// Octets of a user beside the name.
const USER_OCTETS: usize = 96;

#[derive(Clone, Copy, Debug, Default)]
struct User {
    logins: u32,
    passed: u32,
    rejected: u32,
    first_ms: u64,
    last_ms: u64,
}

/// A user who polls a lot.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct UserRow {
    /// The name as the log has it.
    pub user: String,
    /// All logins.
    pub logins: u64,
    /// Those that reach a mail server.
    pub passed: u64,
    /// Those that do not.
    pub relieved: u64,
    /// Those that the mail server had refused.
    pub rejected: u64,
    /// Seconds from one login to the next, on average.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub every_s: Option<f64>,
}

/// All users.
#[derive(Debug, Default)]
pub(super) struct Users {
    users: HashMap<String, User>,
    octets: usize,
    beyond: u64,
}

impl Users {
    pub(super) fn add(&mut self, entry: &Entry, decision: &Decision) {
        let has_room = self.octets < MOST_OCTETS;
        let user = match self.users.get_mut(&entry.user) {
            Some(user) => user,
            None if has_room => {
                self.octets += entry.user.len() + USER_OCTETS;
                let new = User { first_ms: entry.at_ms, ..User::default() };
                self.users.entry(entry.user.clone()).or_insert(new)
            }
            None => {
                self.beyond += 1;
                return;
            }
        };
        user.logins = user.logins.saturating_add(1);
        user.passed = user.passed.saturating_add(u32::from(!decision.relieves(entry)));
        user.rejected = user.rejected.saturating_add(u32::from(entry.outcome == Some(Ending::Rejected)));
        user.last_ms = user.last_ms.max(entry.at_ms);
    }

    pub(super) fn count(&self) -> u64 {
        self.users.len() as u64
    }

    /// Logins of users that are not told apart.
    pub(super) fn beyond(&self) -> u64 {
        self.beyond
    }

    /// Those with the most logins, the most first; of as many, by name.
    pub(super) fn worst(&self, count: usize) -> Vec<UserRow> {
        if count == 0 {
            return Vec::new();
        }
        let mut all: Vec<(&String, &User)> = self.users.iter().collect();
        let key = |row: &(&String, &User)| (Reverse(row.1.logins), row.0.clone());
        if all.len() > count {
            all.select_nth_unstable_by_key(count, key);
            all.truncate(count);
        }
        all.sort_by_key(key);
        all.into_iter().map(|(name, user)| user.row(name)).collect()
    }
}

impl User {
    #[allow(clippy::cast_precision_loss)]
    fn row(self, name: &str) -> UserRow {
        let span_s = self.last_ms.saturating_sub(self.first_ms) as f64 / 1000.0;
        UserRow {
            user: name.to_owned(),
            logins: self.logins.into(),
            passed: self.passed.into(),
            relieved: (self.logins - self.passed).into(),
            rejected: self.rejected.into(),
            every_s: (self.logins > 1).then(|| span_s / f64::from(self.logins - 1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::said::{Said, Word};
    use reprieve_policy_host::Standing;
    use reprieve_policy_host::harness::Becomes;

    #[test]
    fn the_worst_poll_the_most_and_come_first() {
        let mut users = Users::default();
        for (user, logins) in [("often", 5_u64), ("seldom", 2), ("also", 2), ("once", 1)] {
            for login in 0..logins {
                let becomes = if login == 0 { Becomes::Passed } else { Becomes::Posed };
                let decision =
                    Decision { standing: Standing::Known, said: Said::only(Word::Pass), becomes, why: None };
                users.add(&Entry::new(login * 60_000, user, Ending::Authenticated), &decision);
            }
        }
        let worst = users.worst(3);
        let names: Vec<_> = worst.iter().map(|row| row.user.as_str()).collect();
        assert_eq!(names, ["often", "also", "seldom"]);
        assert_eq!((worst[0].logins, worst[0].passed, worst[0].relieved), (5, 1, 4));
        assert_eq!(worst[0].every_s, Some(60.0));
        assert_eq!(users.worst(10)[3].every_s, None);
        assert!(users.worst(0).is_empty());
    }
}
