//! Generates histories: logins at times and with details at which policies are likely to go wrong.

use std::ops::RangeInclusive;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng, RngExt as _};

use super::check::TWO_DAYS_MS;
use super::history::{Details, Event, History};
use super::invariant::Invariant;
use crate::harness::parse_time;
use crate::{
    Ending, Freshness, MECHANISMS, Maildrop, Mechanism, STANDINGS, SnapshotFacts, Standing, TlsSession,
};

const ZONES: [&str; 5] = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"];

/// Local times at which histories start: before changes to and from daylight saving time, leap days,
/// ends of years, and the end of 32-bit signed time.
const STARTS: [&str; 11] = [
    "2026-03-10T12:00:00",
    "2026-03-10T23:55:00",
    "2026-03-07T23:30:00",
    "2026-03-28T23:30:00",
    "2026-04-04T23:30:00",
    "2026-10-03T23:30:00",
    "2026-10-24T23:30:00",
    "2026-10-31T23:30:00",
    "2026-12-31T23:45:00",
    "2028-02-28T23:45:00",
    "2038-01-19T02:50:00",
];

const PEERS: [&str; 6] =
    ["192.0.2.1", "198.51.100.77", "203.0.113.255", "2001:db8::7", "::ffff:192.0.2.9", "fe80::1"];

const EVENTS: RangeInclusive<usize> = 1..=12;
const USERS: RangeInclusive<usize> = 1..=3;
/// Names that look like something else, are long, or are not ASCII.
const NAMES: [&str; 14] = [
    "alice",
    "bob@example.org",
    "Alice",
    "user:alice",
    "1",
    "grüße@bücher.example",
    "用户@例子.公司",
    "\u{202e}ecila",
    "o'brien \"the\" {}%s",
    "..\\\\..\\\\x",
    "\\xff\\xfe",
    "tab\tand\rreturn",
    "a*b+c@",
    "null",
];
/// Lengths of names around the limits of keys in the store and of lines in POP3.
const LENGTHS: [usize; 5] = [255, 1_023, 1_024, 1_025, 8_000];

pub(super) fn history(rng: &mut StdRng) -> History {
    let zone = pick(rng, &ZONES);
    let local = pick(rng, &STARTS);
    let time_zone = TimeZone::get(zone).unwrap_or(TimeZone::UTC);
    let mut at_ms = parse_time(local, &time_zone).unwrap_or(0);
    let users: Vec<_> = (0..rng.random_range(USERS)).map(|_| user(rng)).collect();
    let mut events: Vec<Event> = Vec::new();
    for _ in 0..rng.random_range(EVENTS) {
        if !events.is_empty() {
            at_ms = next_time(rng, at_ms, &time_zone);
        }
        let (user, authorization_id) = users.choose(rng).cloned().unwrap_or_default();
        let same_details = events.last().filter(|_| rng.random_bool(0.5)).map(|event| event.details.clone());
        events.push(Event {
            at_ms,
            user,
            authorization_id,
            details: same_details.unwrap_or_else(|| details(rng)),
            standing: rng.random_bool(0.1).then(|| pick(rng, &STANDINGS).1),
            ending: ending(rng),
            is_guess: false,
        });
    }
    History { zone, events }
}

/// A history in which an invariant can be checked, made from one in which no call failed; None if it
/// has nothing to check.
pub(super) fn prepare(invariant: Invariant, history: &History, rng: &mut StdRng) -> Option<History> {
    let chosen = rng.random_range(0..history.events.len());
    let mut prepared = history.up_to(chosen);
    let last = history.events[chosen].clone();
    match invariant {
        Invariant::Failure => return Some(history.clone()),
        Invariant::OwnMemory | Invariant::RetryAfter | Invariant::OtherUsers => {}
        Invariant::Reset => {
            let waited_ms = TWO_DAYS_MS + rng.random_range(0..24_u64) * 3_600_000;
            let at_ms = history.latest_ms() + waited_ms;
            let later = Event { at_ms, standing: Some(Standing::Known), ..last };
            prepared = history.followed_by(later);
        }
        Invariant::WrongPassword => {
            for _ in 0..rng.random_range(1..=3) {
                let place = rng.random_range(0..prepared.events.len());
                let guess = guess(rng, &prepared.events[..place], &prepared.events[place], &last);
                prepared.events.insert(place, guess);
            }
        }
        Invariant::Unknown => {
            if let Some(last) = prepared.events.last_mut() {
                last.standing = Some(Standing::Unknown);
            }
        }
        Invariant::NewMail => {
            if let Some(last) = prepared.events.last_mut() {
                last.details.maildrop.freshness = Freshness::NewMail;
            }
        }
        Invariant::Store => return None,
    }
    Some(prepared)
}

/// Somebody else's login with this user's name and a wrong password, before another event.
fn guess(rng: &mut StdRng, earlier: &[Event], next: &Event, user: &Event) -> Event {
    let had_logged_in =
        earlier.iter().any(|event| event.is_of_same_user(user) && event.ending == Ending::Authenticated);
    Event {
        at_ms: next.at_ms,
        details: if rng.random_bool(0.5) { user.details.clone() } else { details(rng) },
        standing: Some(if had_logged_in { Standing::Changed } else { Standing::Unknown }),
        ending: Ending::Rejected,
        is_guess: true,
        ..user.clone()
    }
}

/// A user name, and the identity that they act as.
fn user(rng: &mut StdRng) -> (String, Option<String>) {
    let name = match rng.random_range(0..10) {
        0 => "x".repeat(pick(rng, &LENGTHS)),
        1..=4 => pick(rng, &NAMES).to_owned(),
        _ => format!("user-{}@example.org", rng.random_range(1..10)),
    };
    let acting = rng.random_bool(0.1).then(|| pick(rng, &NAMES).to_owned());
    (name, acting)
}

/// When the next login comes: at once, within seconds to a day, at midnight, or in the past because
/// the clock was set back.
fn next_time(rng: &mut StdRng, at_ms: u64, zone: &TimeZone) -> u64 {
    let gap_ms = match rng.random_range(0..20) {
        0 | 1 => 0,
        2 => rng.random_range(1..1000),
        3..=6 => rng.random_range(1..=120) * 1000,
        7..=11 => rng.random_range(1..=20) * 60_000,
        12 | 13 => rng.random_range(1..=36) * 600_000,
        14 => 86_400_000,
        15 => rng.random_range(0..30_000_000),
        16 => return at_ms.saturating_sub(rng.random_range(1..=7200) * 1000),
        _ => {
            let midnight_ms = next_midnight(at_ms, zone).unwrap_or(at_ms);
            let shift_ms = pick(rng, &[0, 0, 1, 1000, 600_000]);
            let is_before = rng.random_bool(0.5) && midnight_ms - at_ms > shift_ms;
            return if is_before { midnight_ms - shift_ms } else { midnight_ms + shift_ms };
        }
    };
    at_ms + gap_ms
}

/// The start of the next day in a time zone, after `at_ms`.
fn next_midnight(at_ms: u64, zone: &TimeZone) -> Option<u64> {
    let now = Timestamp::from_millisecond(i64::try_from(at_ms).ok()?).ok()?;
    let tomorrow = now.to_zoned(zone.clone()).tomorrow().ok()?.start_of_day().ok()?;
    u64::try_from(tomorrow.timestamp().as_millisecond()).ok()
}

fn details(rng: &mut StdRng) -> Details {
    let mut details = Details::plain();
    if rng.random_bool(0.5) {
        return details;
    }
    details.mechanism = pick(rng, &MECHANISMS).1;
    if let Ok(peer) = pick(rng, &PEERS).parse() {
        details.peer = peer;
    }
    details.tls = (rng.random_bool(0.5) || details.mechanism == Mechanism::External).then(|| TlsSession {
        version: pick(rng, &["TLSv1.2", "TLSv1.3"]).to_owned(),
        server_name: rng.random_bool(0.5).then(|| "pop.example.org".to_owned()),
        client_subject: rng.random_bool(0.3).then(|| "CN=Ünïcode,O=\"a, b\"".to_owned()),
    });
    details.earlier_logins = pick(rng, &[0, 0, 1, 1000]);
    let backend = &mut details.backend;
    backend.nodes = pick(rng, &[0, 1, 3, 1000]);
    backend.healthy_nodes = rng.random_range(0..=backend.nodes);
    backend.sessions = amount(rng);
    backend.waiting = amount(rng);
    backend.login_latency_ms = optional_amount(rng);
    details.maildrop = Maildrop {
        snapshot: rng.random_bool(0.6).then(|| SnapshotFacts {
            messages: amount(rng),
            total_bytes: amount(rng),
            seconds_since_seen: optional_amount(rng),
            seconds_unchanged: optional_amount(rng),
        }),
        seconds_since_upgrade: optional_amount(rng),
        open_sessions: amount(rng),
        freshness: pick(rng, &Freshness::ALL),
    };
    details
}

/// Zero, a usual number, or one near the largest.
fn amount(rng: &mut StdRng) -> u32 {
    match rng.random_range(0..6) {
        0 | 1 => 0,
        2 => u32::MAX - rng.random_range(0..2),
        3 => rng.next_u32(),
        _ => rng.random_range(1..2000),
    }
}

fn optional_amount(rng: &mut StdRng) -> Option<u32> {
    rng.random_bool(0.5).then(|| amount(rng))
}

fn ending(rng: &mut StdRng) -> Ending {
    match rng.random_range(0..20) {
        0..=14 => Ending::Authenticated,
        15 | 16 => Ending::Rejected,
        17 | 18 => Ending::Abandoned,
        _ => Ending::Unreachable,
    }
}

fn pick<T: Copy>(rng: &mut StdRng, from: &[T]) -> T {
    from[rng.random_range(0..from.len())]
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_histories() {
        let histories = |seed| {
            let mut rng = StdRng::seed_from_u64(seed);
            (0..20).map(|_| history(&mut rng)).collect::<Vec<_>>()
        };
        assert_eq!(histories(1), histories(1));
        assert_ne!(histories(1), histories(2));
    }

    #[test]
    fn some_logins_are_at_midnight_sharp_and_some_after_the_clock_was_set_back() {
        let mut rng = StdRng::seed_from_u64(1);
        let (mut at_midnight, mut set_back) = (0, 0);
        for _ in 0..200 {
            let history = history(&mut rng);
            let zone = TimeZone::get(history.zone).unwrap();
            let is_midnight = |event: &Event| next_midnight(event.at_ms - 1, &zone) == Some(event.at_ms);
            at_midnight += history.events.iter().filter(|event| is_midnight(event)).count();
            set_back += history.events.windows(2).filter(|two| two[1].at_ms < two[0].at_ms).count();
        }
        assert!(at_midnight > 10, "{at_midnight}");
        assert!(set_back > 10, "{set_back}");
    }
}
