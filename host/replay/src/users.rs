//! Logins by user, and the users who poll most.

use std::cmp::Reverse;
use std::collections::HashMap;

use serde::Serialize;

use super::entry::Entry;
use super::player::Decision;
use reprieve_policy_host::Ending;

/// Memory limit in bytes, enough for about four million users. A log with more is hostile, or from
/// a site that is too large for one process; further users are not counted separately.
const MAX_BYTES: usize = 512 << 20;
/// Memory of a user in bytes, without the name.
const USER_BYTES: usize = 96;

#[derive(Clone, Copy, Debug, Default)]
struct UserTotals {
    logins: u32,
    passed: u32,
    rejected: u32,
    first_ms: u64,
    last_ms: u64,
}

/// A user who polls often.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub struct UserRow {
    /// User name as in the log.
    pub user: String,
    /// All logins of the user.
    pub logins: u64,
    /// Logins that reach a mail server.
    pub passed: u64,
    /// Logins that do not reach a mail server.
    pub relieved: u64,
    /// Logins that the mail server rejected, according to the log.
    pub rejected: u64,
    /// Average time between logins in seconds; none if there is only one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub average_interval_s: Option<f64>,
}

/// The totals of all users.
#[derive(Debug, Default)]
pub(super) struct Users {
    users: HashMap<String, UserTotals>,
    bytes: usize,
    logins_beyond_limit: u64,
}

impl Users {
    pub(super) fn add(&mut self, entry: &Entry, decision: &Decision) {
        let has_room = self.bytes < MAX_BYTES;
        let user = match self.users.get_mut(&entry.user) {
            Some(user) => user,
            None if has_room => {
                self.bytes += entry.user.len() + USER_BYTES;
                let new = UserTotals { first_ms: entry.at_ms, ..UserTotals::default() };
                self.users.entry(entry.user.clone()).or_insert(new)
            }
            None => {
                self.logins_beyond_limit += 1;
                return;
            }
        };
        user.logins = user.logins.saturating_add(1);
        user.passed = user.passed.saturating_add(u32::from(!decision.is_relieved(entry)));
        user.rejected = user.rejected.saturating_add(u32::from(entry.outcome == Some(Ending::Rejected)));
        user.last_ms = user.last_ms.max(entry.at_ms);
    }

    pub(super) fn count(&self) -> u64 {
        self.users.len() as u64
    }

    /// Number of logins of users beyond the memory limit.
    pub(super) fn logins_beyond_limit(&self) -> u64 {
        self.logins_beyond_limit
    }

    /// The `count` users with the most logins, in descending order, then by name.
    pub(super) fn top(&self, count: usize) -> Vec<UserRow> {
        if count == 0 {
            return Vec::new();
        }
        let mut all: Vec<(&String, &UserTotals)> = self.users.iter().collect();
        let key = |row: &(&String, &UserTotals)| (Reverse(row.1.logins), row.0.clone());
        if all.len() > count {
            all.select_nth_unstable_by_key(count, key);
            all.truncate(count);
        }
        all.sort_by_key(key);
        all.into_iter().map(|(name, user)| user.row(name)).collect()
    }
}

impl UserTotals {
    #[allow(clippy::cast_precision_loss)]
    fn row(self, name: &str) -> UserRow {
        let span_s = self.last_ms.saturating_sub(self.first_ms) as f64 / 1000.0;
        UserRow {
            user: name.to_owned(),
            logins: self.logins.into(),
            passed: self.passed.into(),
            relieved: (self.logins - self.passed).into(),
            rejected: self.rejected.into(),
            average_interval_s: (self.logins > 1).then(|| span_s / f64::from(self.logins - 1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorded_verdict::{RecordedVerdict, VerdictKind};
    use reprieve_policy_host::Standing;
    use reprieve_policy_host::{Action, Disposition};

    #[test]
    fn the_top_pollers_have_the_most_logins() {
        let mut users = Users::default();
        for (user, logins) in [("often", 5_u64), ("seldom", 2), ("also", 2), ("once", 1)] {
            for login in 0..logins {
                let action = if login == 0 { Action::Passed } else { Action::Posed };
                let decision = Decision {
                    standing: Standing::Known,
                    verdict: RecordedVerdict::new(VerdictKind::Pass),
                    disposition: Disposition::as_decided(action),
                };
                users.add(&Entry::new(login * 60_000, user, Ending::Authenticated), &decision);
            }
        }
        let top = users.top(3);
        let names: Vec<_> = top.iter().map(|row| row.user.as_str()).collect();
        assert_eq!(names, ["often", "also", "seldom"]);
        assert_eq!((top[0].logins, top[0].passed, top[0].relieved), (5, 1, 4));
        assert_eq!(top[0].average_interval_s, Some(60.0));
        assert_eq!(users.top(10)[3].average_interval_s, None);
        assert!(users.top(0).is_empty());
    }
}
