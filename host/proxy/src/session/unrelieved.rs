//! Users who are not relieved: the policy denies their logins, and they pass all the same. Each
//! is reported with the reason, once a day, because something is wrong for as long as that is
//! so. Bounded, whatever names are tried.

use std::collections::HashMap;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::login::Candidate;
use crate::maildrop::{NoSnapshot, Standing};

/// Users and reasons that are known at a time.
const MOST: usize = 1000;
const DAY_MS: u64 = 86_400_000;
/// Users that are shown at a time.
const SHOWN: usize = 20;
/// Denied logins of a day that may pass for a reason that can be over with the next one.
const USUAL: u64 = 10;

/// Why a denied login passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unrelieved {
    /// The mail server has accepted none of the user's secrets yet, or too long ago.
    Unknown,
    /// It has accepted another secret: each device, or each login, has one of its own.
    Changed,
    /// It has rejected too many logins since it accepted one.
    Rejections,
    /// Reprieve never sees the secret of this way to log in.
    Unverifiable,
    /// There is nothing to show.
    NoSnapshot(NoSnapshot),
}

/// How many there are.
pub(super) const UNRELIEVED: usize = 4 + NoSnapshot::ALL.len();

impl Unrelieved {
    pub(super) fn of_unproven(candidate: &Candidate) -> Self {
        match candidate.seen.standing {
            _ if candidate.tag.is_none() => Self::Unverifiable,
            Standing::Known => Self::Rejections,
            Standing::Changed => Self::Changed,
            Standing::Unknown => Self::Unknown,
        }
    }

    /// All of them.
    pub(super) fn all() -> [Self; UNRELIEVED] {
        std::array::from_fn(|at| match at {
            0 => Self::Unknown,
            1 => Self::Changed,
            2 => Self::Rejections,
            3 => Self::Unverifiable,
            _ => Self::NoSnapshot(NoSnapshot::ALL[at - 4]),
        })
    }

    /// Its place among all.
    pub(super) fn index(self) -> usize {
        match self {
            Self::Unknown => 0,
            Self::Changed => 1,
            Self::Rejections => 2,
            Self::Unverifiable => 3,
            Self::NoSnapshot(why) => 4 + why as usize,
        }
    }

    /// Its word in logs, metrics and JSON.
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

    /// What the administrator has to know, and what they can do.
    #[must_use]
    pub const fn explanation(self) -> &'static str {
        match self {
            Self::Unknown => "no login of this user was accepted within `maildrop.trust`",
            Self::Changed => {
                "each login has another secret than the ones that were accepted: tokens, one-time passwords, or more devices with passwords of their own than are remembered"
            }
            Self::Rejections => {
                "the mail server rejects logins of this user in a row (`max-rejected-logins`): a device has a wrong password, or somebody guesses"
            }
            Self::Unverifiable => {
                "the client logs in by APOP, CRAM-MD5 or SCRAM, of which Reprieve never sees the secret; leave it out of `mechanisms`, or set `unverifiable = \"refuse\"`"
            }
            Self::NoSnapshot(NoSnapshot::NoneYet) => {
                "no session at the mail server has ended, or what was known was forgotten: `maildrop.memory` may be too small"
            }
            Self::NoSnapshot(NoSnapshot::Overlap) => {
                "sessions of this user's clients overlap, so nobody knows which listing is newer"
            }
            Self::NoSnapshot(NoSnapshot::Incomplete) => {
                "sessions break off before the mail server has told the whole listing"
            }
            Self::NoSnapshot(NoSnapshot::Refused) => "the mail server refuses STAT, LIST, UIDL, RSET or QUIT",
            Self::NoSnapshot(NoSnapshot::Malformed) => {
                "the mail server's STAT, LIST or UIDL is not exactly what RFC 1939 shows, so it could not be shown the same again"
            }
            Self::NoSnapshot(NoSnapshot::Contradictory) => {
                "the mail server's STAT, LIST and UIDL contradict each other, or a unique-id is not unique"
            }
            Self::NoSnapshot(NoSnapshot::TooLarge) => {
                "the listing is too large: one may take a sixteenth of `maildrop.memory`, 200,000 messages, and 1 MiB in a shared store"
            }
            Self::NoSnapshot(NoSnapshot::NoRoom) => "`maildrop.memory` is used up in the shared store",
            Self::NoSnapshot(NoSnapshot::Elsewhere) => {
                "another proxy saw the maildrop last; share = \"tags+snapshots\" shares the listings"
            }
        }
    }

    /// After how many logins of a day it is worth a word.
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

/// A user who is not relieved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unrelievable {
    /// Their name, as the policy sees it.
    pub user: String,
    /// The reason's word, as in logs and metrics.
    pub reason: String,
    /// What the administrator has to know, and what they can do.
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
    /// Whether the log knows that there are more.
    told_more: bool,
}

/// The users of a virtual server who are not relieved, of one day.
#[derive(Debug, Default)]
pub struct UnrelievedUsers(Mutex<Day>);

/// What the log is to be told.
#[derive(Debug, PartialEq, Eq)]
enum News {
    Nothing,
    User,
    More,
}

impl UnrelievedUsers {
    /// Counts a denied login that passes, at `now_ms` since 1970.
    pub(super) fn count(&self, server: &str, user: &str, why: Unrelieved, now_ms: u64) {
        match self.0.lock().count(user, why, now_ms) {
            News::Nothing => {}
            News::User => tracing::warn!(
                server,
                user,
                reason = why.name(),
                "logins of this user are denied and pass all the same: {}",
                why.explanation()
            ),
            News::More => tracing::warn!(
                server,
                "more than {MOST} users have logins today that are denied and pass all the same; the metric reprieve_denials_passed_total counts them by reason"
            ),
        }
    }

    /// Those of today for whom it is not a matter of chance: the twenty with the most logins.
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
            // Whoever was not reported yet makes room.
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
    fn any_number_of_names_takes_bounded_memory_and_pushes_nobody_out_who_was_reported() {
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
    fn every_reason_has_a_place_a_name_and_a_way_out() {
        let names: std::collections::HashSet<_> = Unrelieved::all().iter().map(|why| why.name()).collect();
        assert_eq!(names.len(), UNRELIEVED);
        for (at, why) in Unrelieved::all().into_iter().enumerate() {
            assert_eq!(why.index(), at);
            assert!(why.explanation().len() > 30);
        }
    }

    #[test]
    fn the_list_has_those_who_were_reported() {
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
