//! Users who get no relief: the policy denies their logins, but they pass anyway. Each is reported
//! once a day with the reason and the remedy. The memory is bounded, whatever names are tried.

use std::collections::HashMap;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::login::Candidate;
use crate::maildrop::{NoSnapshot, TagStanding};

/// Pairs of user and reason that are tracked at a time.
const MOST: usize = 1000;
const DAY_MS: u64 = 86_400_000;
/// Users in a report.
const SHOWN: usize = 20;
/// Denied logins per day that may pass for a temporary reason before the user is reported.
const USUAL: u64 = 10;

/// Why a denied login passed anyway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unrelieved {
    /// The mail server has not accepted any secret of the user yet, or not within
    /// `maildrop.credential-ttl`.
    Unknown,
    /// The mail server has accepted other secrets of this user: each device, or each login, has its
    /// own.
    Changed,
    /// The mail server has rejected too many logins in a row.
    Rejections,
    /// Reprieve never sees the secret of this mechanism.
    Unverifiable,
    /// There is no snapshot.
    NoSnapshot(NoSnapshot),
}

/// Number of reasons.
pub(super) const UNRELIEVED: usize = 4 + NoSnapshot::ALL.len();

impl Unrelieved {
    pub(super) fn of_unproven(candidate: &Candidate) -> Self {
        match candidate.fetched.standing {
            _ if candidate.tag.is_none() => Self::Unverifiable,
            TagStanding::Known => Self::Rejections,
            TagStanding::Changed => Self::Changed,
            TagStanding::Unknown => Self::Unknown,
        }
    }

    /// All reasons.
    pub(super) fn all() -> [Self; UNRELIEVED] {
        std::array::from_fn(|at| match at {
            0 => Self::Unknown,
            1 => Self::Changed,
            2 => Self::Rejections,
            3 => Self::Unverifiable,
            _ => Self::NoSnapshot(NoSnapshot::ALL[at - 4]),
        })
    }

    /// The place among all reasons.
    pub(super) fn index(self) -> usize {
        match self {
            Self::Unknown => 0,
            Self::Changed => 1,
            Self::Rejections => 2,
            Self::Unverifiable => 3,
            Self::NoSnapshot(why) => 4 + why as usize,
        }
    }

    /// The word in logs, metrics and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown-secret",
            Self::Changed => "changed-secret",
            Self::Rejections => "rejections",
            Self::Unverifiable => "unverifiable",
            Self::NoSnapshot(why) => why.name(),
        }
    }

    /// The cause and the remedy, for the administrator.
    #[must_use]
    pub const fn explanation(self) -> &'static str {
        match self {
            Self::Unknown => "no login of this user was accepted within `maildrop.credential-ttl`",
            Self::Changed => {
                "each login has a different secret: tokens, one-time passwords, or more devices with passwords of their own than Reprieve remembers"
            }
            Self::Rejections => {
                "the mail server has rejected `max-rejected-logins` or more logins of this user in a row: a device has a wrong password, or someone is guessing it"
            }
            Self::Unverifiable => {
                "the client logs in with APOP, CRAM-MD5 or SCRAM, whose secret Reprieve never sees; leave the mechanism out of `mechanisms`, or set `unverifiable = \"refuse\"`"
            }
            Self::NoSnapshot(NoSnapshot::NoneYet) => {
                "no session at the mail server has ended yet, or its snapshot was evicted: `maildrop.memory` may be too small"
            }
            Self::NoSnapshot(NoSnapshot::Overlap) => {
                "sessions of this user's clients overlap, so it is unknown which listing is newer"
            }
            Self::NoSnapshot(NoSnapshot::Incomplete) => {
                "sessions end before the mail server has sent the whole listing"
            }
            Self::NoSnapshot(NoSnapshot::Refused) => "the mail server refuses STAT, LIST, UIDL, RSET or QUIT",
            Self::NoSnapshot(NoSnapshot::Malformed) => {
                "the mail server's STAT, LIST or UIDL is not exactly what RFC 1939 shows, so Reprieve cannot reproduce it"
            }
            Self::NoSnapshot(NoSnapshot::Contradictory) => {
                "the mail server's STAT, LIST and UIDL contradict each other, or a unique-id is not unique"
            }
            Self::NoSnapshot(NoSnapshot::TooLarge) => {
                "the listing is too large: one may have 200,000 messages, and take a sixteenth of `maildrop.memory` or, in a shared store, 1 MiB compressed"
            }
            Self::NoSnapshot(NoSnapshot::NoRoom) => "`maildrop.memory` is used up in the shared store",
            Self::NoSnapshot(NoSnapshot::Elsewhere) => {
                "another proxy saw the maildrop last; share = \"tags+snapshots\" shares the listings"
            }
        }
    }

    /// Logins per day after which the user is reported.
    fn threshold(self) -> u64 {
        match self {
            Self::Unverifiable
            | Self::NoSnapshot(
                NoSnapshot::Refused
                | NoSnapshot::Malformed
                | NoSnapshot::Contradictory
                | NoSnapshot::TooLarge
                | NoSnapshot::NoRoom,
            ) => 1,
            _ => USUAL,
        }
    }
}

/// A user who gets no relief.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unrelievable {
    /// User name, as the policy sees it.
    pub user: String,
    /// The reason, as in logs and metrics.
    pub reason: String,
    /// The cause and the remedy, for the administrator.
    pub explanation: String,
    /// Denied logins that passed for this reason today (UTC).
    pub logins: u64,
    /// When the last one was, in milliseconds since 1970.
    pub last_ms: u64,
}

#[derive(Debug, Default)]
struct Day {
    number: u64,
    users: HashMap<(Box<str>, usize), (u64, u64)>,
    /// Whether the overflow has been logged.
    told_more: bool,
}

/// The users of a virtual server who get no relief, of one UTC day.
#[derive(Debug, Default)]
pub struct UnrelievedUsers(Mutex<Day>);

/// What to log.
#[derive(Debug, PartialEq, Eq)]
enum News {
    Nothing,
    User,
    More,
}

impl UnrelievedUsers {
    /// Counts a denied login that passes, at `now_ms` (Unix time), and logs the user when due.
    pub(super) fn count(&self, server: &str, user: &str, why: Unrelieved, now_ms: u64) {
        match self.0.lock().count(user, why, now_ms) {
            News::Nothing => {}
            News::User => tracing::warn!(
                server,
                user,
                reason = why.name(),
                "logins of this user are denied but pass anyway: {}",
                why.explanation()
            ),
            News::More => tracing::warn!(
                server,
                "more than {MOST} pairs of user and reason had denied logins today that passed anyway; the metric reprieve_denials_passed_total counts them by reason"
            ),
        }
    }

    /// Today's users beyond the threshold, the twenty with the most logins.
    #[must_use]
    pub fn list(&self, now_ms: u64) -> Vec<Unrelievable> {
        let day = self.0.lock();
        if day.number != now_ms / DAY_MS {
            return Vec::new();
        }
        let mut found: Vec<_> = day
            .users
            .iter()
            .filter_map(|((user, why), &(logins, last_ms))| {
                let why = Unrelieved::all()[*why];
                (logins >= why.threshold()).then(|| Unrelievable {
                    user: user.to_string(),
                    reason: why.name().to_owned(),
                    explanation: why.explanation().to_owned(),
                    logins,
                    last_ms,
                })
            })
            .collect();
        found.sort_by(|a, b| b.logins.cmp(&a.logins).then_with(|| a.user.cmp(&b.user)));
        found.truncate(SHOWN);
        found
    }
}

impl Day {
    fn count(&mut self, user: &str, why: Unrelieved, now_ms: u64) -> News {
        let number = now_ms / DAY_MS;
        if number != self.number {
            *self = Self { number, ..Self::default() };
        }
        let key = (user.into(), why.index());
        if self.users.len() >= MOST && !self.users.contains_key(&key) {
            // A user who has not been reported yet makes room.
            let all = Unrelieved::all();
            let found = self.users.iter().find(|((_, why), (logins, _))| *logins < all[*why].threshold());
            let Some(least) = found.map(|(key, _)| key.clone()) else {
                return if std::mem::replace(&mut self.told_more, true) { News::Nothing } else { News::More };
            };
            self.users.remove(&least);
        }
        let (logins, last_ms) = self.users.entry(key).or_default();
        *logins += 1;
        *last_ms = now_ms;
        if *logins == why.threshold() { News::User } else { News::Nothing }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MALFORMED: Unrelieved = Unrelieved::NoSnapshot(NoSnapshot::Malformed);

    #[test]
    fn each_user_and_reason_is_reported_once_a_day() {
        let mut day = Day::default();
        let now = 20_000 * DAY_MS;
        assert_eq!(day.count("alice", MALFORMED, now), News::User);
        assert_eq!(day.count("alice", MALFORMED, now + 1), News::Nothing);
        assert_eq!(day.count("bob", MALFORMED, now), News::User);
        for login in 1..30 {
            let expected = if login == USUAL { News::User } else { News::Nothing };
            assert_eq!(day.count("alice", Unrelieved::Changed, now), expected);
        }
        assert_eq!(day.count("alice", MALFORMED, now + DAY_MS), News::User);
    }

    #[test]
    fn any_number_of_names_takes_bounded_memory_and_keeps_reported_users() {
        let mut day = Day::default();
        day.count("alice", MALFORMED, 0);
        for name in 0..10 * MOST {
            day.count(&name.to_string(), Unrelieved::Unknown, 0);
        }
        assert_eq!(day.users.len(), MOST);
        assert!(day.users.contains_key(&("alice".into(), MALFORMED.index())));
        let mut more = 0;
        for name in 0..2 * MOST {
            more += usize::from(day.count(&format!("m{name}"), MALFORMED, 0) == News::More);
        }
        assert_eq!((more, day.users.len()), (1, MOST));
    }

    #[test]
    fn every_reason_has_a_place_a_name_and_a_remedy() {
        let names: std::collections::HashSet<_> = Unrelieved::all().iter().map(|why| why.name()).collect();
        assert_eq!(names.len(), UNRELIEVED);
        for (at, why) in Unrelieved::all().into_iter().enumerate() {
            assert_eq!(why.index(), at);
            assert!(why.explanation().len() > 30);
        }
    }

    #[test]
    fn the_list_has_the_reported_users() {
        let users = UnrelievedUsers::default();
        for _ in 0..3 {
            users.count("s", "alice", MALFORMED, 5);
            users.count("s", "bob", Unrelieved::Changed, 5);
        }
        let list = users.list(6);
        assert_eq!(
            (list.len(), &*list[0].user, list[0].logins, &*list[0].reason),
            (1, "alice", 3, "malformed")
        );
        assert!(users.list(DAY_MS).is_empty());
    }
}
