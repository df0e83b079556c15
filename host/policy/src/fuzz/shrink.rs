//! Makes a history that violates an invariant smaller: fewer logins, plain details, round times.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::check::{Finding, check};
use super::history::{Details, Event, History};
use super::invariant::Invariant;
use super::player::Player;
use crate::Ending;

/// Histories to try at most.
const MAX_TRIES: usize = 2_000;
/// Names that need no explanation, for users that have others.
const PLAIN_NAMES: [&str; 3] = ["alice", "bob", "carol"];
/// 2026-03-10T12:00:00Z, where scenarios start that name no time.
const PLAIN_START_MS: u64 = 1_773_144_000_000;
/// Round times between two logins, in milliseconds.
const PLAIN_GAPS_MS: [u64; 5] = [0, 1000, 60_000, 600_000, 3_600_000];

/// Returns the smallest history that was found to violate the invariant, and how it does.
pub(super) fn shrink(
    invariant: Invariant,
    player: &mut Player<'_>,
    mut history: History,
    mut finding: Finding,
) -> anyhow::Result<Finding> {
    let mut tries = 0;
    'smaller: loop {
        for candidate in smaller(&history) {
            tries += 1;
            if tries > MAX_TRIES {
                return Ok(finding);
            }
            if let Some(found) = check(invariant, player, &candidate)? {
                (history, finding) = (candidate, found);
                continue 'smaller;
            }
        }
        return Ok(finding);
    }
}

/// Histories that are one step smaller, the smallest first. None of them can lead back to this one.
fn smaller(history: &History) -> Vec<History> {
    let mut all = fewer_events(history);
    all.extend(plain_zone(history));
    all.extend(plain_names(history));
    for index in 0..history.events.len() {
        all.extend(plain_event(&history.events[index]).into_iter().map(|event| {
            let mut plainer = history.clone();
            plainer.events[index] = event;
            plainer
        }));
    }
    all.extend(plain_times(history));
    all
}

/// Without half of the events, a quarter, and so on down to one; the last one stays.
fn fewer_events(history: &History) -> Vec<History> {
    let removable = history.events.len().saturating_sub(1);
    let mut all = Vec::new();
    let mut length = removable;
    while length > 0 {
        for start in (0..removable).step_by(length) {
            let mut fewer = history.clone();
            fewer.events.drain(start..(start + length).min(removable));
            all.push(fewer);
        }
        length /= 2;
    }
    all
}

/// In UTC, at the same time or at the same local time.
fn plain_zone(history: &History) -> Vec<History> {
    let Some(first_ms) = history.events.first().map(|first| first.at_ms) else { return Vec::new() };
    if history.zone == "UTC" {
        return Vec::new();
    }
    let same_time = History { zone: "UTC", ..history.clone() };
    let offset_ms = || {
        let first = Timestamp::from_millisecond(i64::try_from(first_ms).ok()?).ok()?;
        Some(i64::from(TimeZone::get(history.zone).ok()?.to_offset(first).seconds()) * 1000)
    };
    let local_ms = offset_ms().and_then(|offset_ms| first_ms.checked_add_signed(offset_ms));
    let same_local_time = local_ms.and_then(|local_ms| shifted(&same_time, 0, local_ms));
    std::iter::once(same_time).chain(same_local_time).collect()
}

/// One user with a plain name instead of another.
fn plain_names(history: &History) -> Vec<History> {
    let is_free = |name: &str| !history.events.iter().any(|event| event.user == name);
    let Some(free) = PLAIN_NAMES.into_iter().find(|name| is_free(name)) else { return Vec::new() };
    let mut odd: Vec<_> = history.events.iter().map(|event| event.user.as_str()).collect();
    odd.retain(|name| !PLAIN_NAMES.contains(name));
    odd.sort_unstable();
    odd.dedup();
    let renamed = odd.into_iter().map(|name| {
        let mut renamed = history.clone();
        for event in renamed.events.iter_mut().filter(|event| event.user == name) {
            free.clone_into(&mut event.user);
        }
        renamed
    });
    renamed.collect()
}

/// The event with all or one of its details as in a step that names none.
fn plain_event(event: &Event) -> Vec<Event> {
    let plain = Details::plain();
    let mut all = Vec::new();
    let mut add = |change: &dyn Fn(&mut Event)| {
        let mut plainer = event.clone();
        change(&mut plainer);
        if plainer != *event {
            all.push(plainer);
        }
    };
    add(&|event| event.details = plain.clone());
    add(&|event| event.details.mechanism = plain.mechanism);
    add(&|event| event.details.peer = plain.peer);
    add(&|event| event.details.tls = None);
    add(&|event| event.details.backend = plain.backend.clone());
    add(&|event| event.details.maildrop = plain.maildrop);
    add(&|event| event.details.earlier_logins = 0);
    add(&|event| event.authorization_id = None);
    if !event.is_guess {
        add(&|event| event.ending = Ending::Authenticated);
        add(&|event| event.standing = None);
    }
    all
}

/// With a round time between two events, or a plain start. The later events move, too.
fn plain_times(history: &History) -> Vec<History> {
    let mut all = Vec::new();
    if let Some(first) = history.events.first() {
        let starts = std::iter::once(PLAIN_START_MS).chain(floors(first.at_ms));
        let others = starts.filter(|start_ms| *start_ms != first.at_ms);
        all.extend(others.filter_map(|start_ms| shifted(history, 0, start_ms)));
    }
    for index in 1..history.events.len() {
        let (before_ms, at_ms) = (history.events[index - 1].at_ms, history.events[index].at_ms);
        let Some(gap_ms) = at_ms.checked_sub(before_ms) else {
            all.extend(shifted(history, index, before_ms));
            continue;
        };
        let gaps = PLAIN_GAPS_MS.into_iter().chain(floors(gap_ms)).filter(|plain| *plain < gap_ms);
        all.extend(gaps.filter_map(|gap_ms| shifted(history, index, before_ms + gap_ms)));
    }
    all
}

/// Whole hours, minutes and seconds.
fn floors(ms: u64) -> [u64; 3] {
    [3_600_000, 60_000, 1000].map(|unit| ms - ms % unit)
}

/// The history with an event at another time, and the later events as long after it as before. None
/// if a time would be before 1970.
fn shifted(history: &History, index: usize, to_ms: u64) -> Option<History> {
    let from_ms = history.events[index].at_ms;
    let mut shifted = history.clone();
    for event in &mut shifted.events[index..] {
        event.at_ms = event.at_ms.checked_add(to_ms)?.checked_sub(from_ms)?;
    }
    Some(shifted)
}
