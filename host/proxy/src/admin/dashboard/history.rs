//! History of each virtual server: the last 24 hours by minute, and the last minute by second.
//! Memory use does not depend on traffic.

use std::collections::VecDeque;

use parking_lot::Mutex;
use serde::Serialize;

use crate::session::CountersSnapshot;

const MINUTES: usize = 24 * 60;
const SECONDS: usize = 60;

/// Counts of one second or minute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    passed: u32,
    denied: u32,
    relieved: u32,
}

impl Counts {
    /// Difference of two snapshots. If a counter is smaller than before, the counters were reset,
    /// and all of `after` counts.
    fn between(before: &CountersSnapshot, after: &CountersSnapshot) -> Self {
        let was_reset = after.passed < before.passed || after.denied < before.denied;
        let before = if was_reset { CountersSnapshot::default() } else { *before };
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

/// History of one virtual server.
#[derive(Debug)]
struct ServerHistory {
    name: String,
    last: CountersSnapshot,
    /// The last element is the current second, which is not over yet.
    seconds: VecDeque<Counts>,
    minutes: VecDeque<Counts>,
    /// The second in which it was last recorded. A removed virtual server is kept for 24 hours.
    seen: u64,
}

/// Totals of a virtual server over the last 60 seconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct LastMinute {
    server: String,
    /// Length of the period; less than 60 after the start.
    seconds: u64,
    passed: u64,
    denied: u64,
    relieved: u64,
    /// The previous and the current calendar minute, as in [`Minutes`].
    minutes: Vec<[u32; 3]>,
}

/// The minutes of a virtual server, oldest first: `[passed, denied, relieved]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Minutes {
    server: String,
    minutes: Vec<[u32; 3]>,
}

/// The whole history, which the page requests once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct HistorySnapshot {
    /// Number of the newest minute; 0 is when the server started.
    minute: u64,
    servers: Vec<Minutes>,
}

/// The history of all virtual servers.
#[derive(Debug, Default)]
pub(super) struct History(Mutex<HistoryState>);

#[derive(Debug, Default)]
struct HistoryState {
    second: u64,
    histories: Vec<ServerHistory>,
}

fn row(counts: &Counts) -> [u32; 3] {
    [counts.passed, counts.denied, counts.relieved]
}

impl History {
    /// Records the counters at `second`, counted from the start of the server.
    pub(super) fn record(&self, second: u64, servers: impl Iterator<Item = (String, CountersSnapshot)>) {
        let mut state = self.0.lock();
        // Time never goes back.
        let second = second.max(state.second);
        let seconds_passed = usize::try_from(second - state.second).unwrap_or(usize::MAX);
        let minutes_passed = usize::try_from(second / 60 - state.second / 60).unwrap_or(usize::MAX);
        state.second = second;
        for history in &mut state.histories {
            advance(&mut history.seconds, seconds_passed, SECONDS + 1);
            advance(&mut history.minutes, minutes_passed, MINUTES + 1);
        }
        for (name, counters) in servers {
            let histories = &mut state.histories;
            let at = histories.iter().position(|history| history.name == name).unwrap_or_else(|| {
                histories.push(ServerHistory {
                    name,
                    last: CountersSnapshot::default(),
                    seconds: VecDeque::from([Counts::default()]),
                    minutes: VecDeque::from([Counts::default()]),
                    seen: second,
                });
                histories.len() - 1
            });
            let history = &mut histories[at];
            let counts = Counts::between(&history.last, &counters);
            history.last = counters;
            history.seen = second;
            for ring in [&mut history.seconds, &mut history.minutes] {
                if let Some(present) = ring.back_mut() {
                    present.add(counts);
                }
            }
        }
        state.histories.retain(|history| second - history.seen < 60 * MINUTES as u64);
    }

    /// The number of the current minute, and the totals of the last 60 seconds.
    pub(super) fn last_minute(&self) -> (u64, Vec<LastMinute>) {
        let state = self.0.lock();
        let totals = state.histories.iter().map(|history| {
            let sum =
                |part: fn(&Counts) -> u32| history.seconds.iter().map(|counts| u64::from(part(counts))).sum();
            let newest = history.minutes.iter().rev().take(2).rev();
            LastMinute {
                server: history.name.clone(),
                seconds: (history.seconds.len() as u64).min(SECONDS as u64),
                passed: sum(|counts| counts.passed),
                denied: sum(|counts| counts.denied),
                relieved: sum(|counts| counts.relieved),
                minutes: newest.map(row).collect(),
            }
        });
        (state.second / 60, totals.collect())
    }

    /// The whole history.
    pub(super) fn snapshot(&self) -> HistorySnapshot {
        let state = self.0.lock();
        let servers = state.histories.iter().map(|history| Minutes {
            server: history.name.clone(),
            minutes: history.minutes.iter().map(row).collect(),
        });
        HistorySnapshot { minute: state.second / 60, servers: servers.collect() }
    }
}

/// Appends empty counts, and drops the oldest beyond `most`.
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

    fn record(day: &History, second: u64, counters: CountersSnapshot) {
        day.record(second, std::iter::once(("pop3".to_owned(), counters)));
    }

    #[test]
    fn each_count_is_in_the_minute_in_which_it_was_counted() {
        let day = History::default();
        record(&day, 1, counters(1, 0, 0));
        record(&day, 59, counters(2, 3, 2));
        record(&day, 61, counters(2, 10, 9));
        record(&day, 190, counters(3, 10, 10));
        let shown = day.snapshot();
        assert_eq!(shown.minute, 3);
        assert_eq!(shown.servers[0].minutes, [[2, 3, 2], [0, 7, 7], [0, 0, 0], [1, 0, 1]]);
        let (_, totals) = day.last_minute();
        assert_eq!((totals[0].passed, totals[0].denied), (1, 0), "only the last minute");
        assert_eq!(totals[0].minutes, [[0, 0, 0], [1, 0, 1]]);
    }

    #[test]
    fn exactly_one_day_is_kept() {
        let day = History::default();
        for minute in 0..3000 {
            record(&day, minute * 60, counters(minute + 1, 0, 0));
        }
        let shown = day.snapshot();
        assert_eq!(shown.servers[0].minutes.len(), MINUTES + 1, "a day and the current minute");
        assert!(shown.servers[0].minutes.iter().all(|minute| *minute == [1, 0, 0]));
        record(&day, 3000 * 60 + 10_000_000, counters(3000, 0, 0));
        assert!(day.snapshot().servers[0].minutes.iter().all(|minute| *minute == [0, 0, 0]));
    }

    #[test]
    fn servers_that_are_added_reset_or_removed_are_recorded_correctly() {
        let day = History::default();
        record(&day, 0, counters(5, 5, 5));
        let both = [("pop3".to_owned(), counters(2, 0, 0)), ("late".to_owned(), counters(1, 0, 0))];
        day.record(60, both.into_iter());
        let shown = day.snapshot();
        assert_eq!(shown.servers[0].minutes, [[5, 5, 5], [2, 0, 0]], "its counters were reset");
        assert_eq!(shown.servers[1].minutes, [[1, 0, 0]]);
        record(&day, 60 + 60 * MINUTES as u64, counters(2, 0, 0));
        assert_eq!(day.snapshot().servers.len(), 1);
    }
}
