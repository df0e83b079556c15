//! The last 24 hours of each virtual server, minute by minute, and its last minute, second by
//! second. What is kept does not grow with traffic.

use std::collections::VecDeque;

use parking_lot::Mutex;
use serde::Serialize;

use crate::session::CountersSnapshot;

/// Minutes that are kept.
const MINUTES: usize = 24 * 60;
/// Seconds that are kept.
const SECONDS: usize = 60;

/// What was counted in a while.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    passed: u32,
    denied: u32,
    relieved: u32,
}

impl Counts {
    /// What has been counted from one moment to another. Counters that are smaller than they
    /// were have begun anew.
    fn between(before: &CountersSnapshot, after: &CountersSnapshot) -> Self {
        let anew = after.passed < before.passed || after.denied < before.denied;
        let before = if anew { CountersSnapshot::default() } else { *before };
        let rise = |after: u64, before: u64| u32::try_from(after.saturating_sub(before)).unwrap_or(u32::MAX);
        Self {
            passed: rise(after.passed, before.passed),
            denied: rise(after.denied, before.denied),
            relieved: rise(after.relieved, before.relieved),
        }
    }

    fn add(&mut self, other: Self) {
        self.passed = self.passed.saturating_add(other.passed);
        self.denied = self.denied.saturating_add(other.denied);
        self.relieved = self.relieved.saturating_add(other.relieved);
    }
}

/// One virtual server's.
#[derive(Debug)]
struct Course {
    name: String,
    last: CountersSnapshot,
    /// The newest is at the back, and not over yet.
    seconds: VecDeque<Counts>,
    minutes: VecDeque<Counts>,
    /// The second in which it was last seen: one that was removed is kept as long as its day.
    seen: u64,
}

/// What a virtual server has done in the last minute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Pace {
    /// Its name.
    server: String,
    /// The time that this is about.
    seconds: u64,
    passed: u64,
    denied: u64,
    relieved: u64,
    /// The minute before the present one, and the present one.
    minutes: Vec<[u32; 3]>,
}

/// The minutes of a virtual server, oldest first; each has passed, denied and relieved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Minutes {
    server: String,
    minutes: Vec<[u32; 3]>,
}

/// All that is kept, as a page asks for it once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Shown {
    /// Number of the newest minute, from 0 when Reprieve began.
    minute: u64,
    servers: Vec<Minutes>,
}

/// What is kept of all virtual servers.
#[derive(Debug, Default)]
pub(super) struct Day(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    second: u64,
    courses: Vec<Course>,
}

fn row(counts: &Counts) -> [u32; 3] {
    [counts.passed, counts.denied, counts.relieved]
}

impl Day {
    /// Looks at the counters in this second, counted from when Reprieve began.
    pub(super) fn look(&self, second: u64, servers: impl Iterator<Item = (String, CountersSnapshot)>) {
        let mut kept = self.0.lock();
        // Never back.
        let second = second.max(kept.second);
        let gone = usize::try_from(second - kept.second).unwrap_or(usize::MAX);
        let minutes_gone = usize::try_from(second / 60 - kept.second / 60).unwrap_or(usize::MAX);
        kept.second = second;
        for course in &mut kept.courses {
            advance(&mut course.seconds, gone, SECONDS + 1);
            advance(&mut course.minutes, minutes_gone, MINUTES + 1);
        }
        for (name, counters) in servers {
            let courses = &mut kept.courses;
            let at = courses.iter().position(|course| course.name == name).unwrap_or_else(|| {
                courses.push(Course {
                    name,
                    last: CountersSnapshot::default(),
                    seconds: VecDeque::from([Counts::default()]),
                    minutes: VecDeque::from([Counts::default()]),
                    seen: second,
                });
                courses.len() - 1
            });
            let course = &mut courses[at];
            let counts = Counts::between(&course.last, &counters);
            course.last = counters;
            course.seen = second;
            for ring in [&mut course.seconds, &mut course.minutes] {
                if let Some(present) = ring.back_mut() {
                    present.add(counts);
                }
            }
        }
        kept.courses.retain(|course| second - course.seen < 60 * MINUTES as u64);
    }

    /// What each has done in the last minute, and the number of the present minute.
    pub(super) fn pace(&self) -> (u64, Vec<Pace>) {
        let kept = self.0.lock();
        let pace = kept.courses.iter().map(|course| {
            let sum =
                |part: fn(&Counts) -> u32| course.seconds.iter().map(|counts| u64::from(part(counts))).sum();
            let newest = course.minutes.iter().rev().take(2).rev();
            Pace {
                server: course.name.clone(),
                seconds: (course.seconds.len() as u64).min(SECONDS as u64),
                passed: sum(|counts| counts.passed),
                denied: sum(|counts| counts.denied),
                relieved: sum(|counts| counts.relieved),
                minutes: newest.map(row).collect(),
            }
        });
        (kept.second / 60, pace.collect())
    }

    /// All that is kept.
    pub(super) fn shown(&self) -> Shown {
        let kept = self.0.lock();
        let servers = kept.courses.iter().map(|course| Minutes {
            server: course.name.clone(),
            minutes: course.minutes.iter().map(row).collect(),
        });
        Shown { minute: kept.second / 60, servers: servers.collect() }
    }
}

/// Moves a ring on, with nothing in what it moves over.
fn advance(ring: &mut VecDeque<Counts>, steps: usize, most: usize) {
    for _ in 0..steps.min(most) {
        if ring.len() == most {
            ring.pop_front();
        }
        ring.push_back(Counts::default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(passed: u64, denied: u64, relieved: u64) -> CountersSnapshot {
        CountersSnapshot { passed, denied, relieved, ..CountersSnapshot::default() }
    }

    fn look(day: &Day, second: u64, counters: CountersSnapshot) {
        day.look(second, std::iter::once(("pop3".to_owned(), counters)));
    }

    #[test]
    fn each_minute_has_what_was_counted_in_it_and_all_together_what_was_counted() {
        let day = Day::default();
        look(&day, 1, counters(1, 0, 0));
        look(&day, 59, counters(2, 3, 2));
        look(&day, 61, counters(2, 10, 9));
        look(&day, 190, counters(3, 10, 10));
        let shown = day.shown();
        assert_eq!(shown.minute, 3);
        assert_eq!(shown.servers[0].minutes, [[2, 3, 2], [0, 7, 7], [0, 0, 0], [1, 0, 1]]);
        let (_, pace) = day.pace();
        assert_eq!((pace[0].passed, pace[0].denied), (1, 0), "only the last minute");
        assert_eq!(pace[0].minutes, [[0, 0, 0], [1, 0, 1]]);
    }

    #[test]
    fn a_day_is_kept_and_no_more() {
        let day = Day::default();
        for minute in 0..3000 {
            look(&day, minute * 60, counters(minute + 1, 0, 0));
        }
        let shown = day.shown();
        assert_eq!(shown.servers[0].minutes.len(), MINUTES + 1, "a day and the minute that is not over");
        assert!(shown.servers[0].minutes.iter().all(|minute| *minute == [1, 0, 0]));
        look(&day, 3000 * 60 + 10_000_000, counters(3000, 0, 0));
        assert!(day.shown().servers[0].minutes.iter().all(|minute| *minute == [0, 0, 0]));
    }

    #[test]
    fn a_server_that_comes_later_or_anew_or_goes_is_told_of_rightly() {
        let day = Day::default();
        look(&day, 0, counters(5, 5, 5));
        let both = [("pop3".to_owned(), counters(2, 0, 0)), ("late".to_owned(), counters(1, 0, 0))];
        day.look(60, both.into_iter());
        let shown = day.shown();
        assert_eq!(shown.servers[0].minutes, [[5, 5, 5], [2, 0, 0]], "its counters have begun anew");
        assert_eq!(shown.servers[1].minutes, [[1, 0, 0]]);
        look(&day, 60 + 60 * MINUTES as u64, counters(2, 0, 0));
        assert_eq!(day.shown().servers.len(), 1);
    }
}
