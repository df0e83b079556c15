//! Whether the store stops growing if the same number of new users logs in every day.

use super::history::{Details, Event};
use super::player::{Player, Variation};
use crate::Ending;

/// Days that are played.
const DAYS: u64 = 7;
/// Numbers of new users per day to try; the first at which the store grows is reported.
const NEW_USERS: [u64; 3] = [1, 5, 50];
const DAY_MS: u64 = 86_400_000;
const HOUR_MS: u64 = 3_600_000;

/// A store that grows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Growth {
    pub(super) users_per_day: u64,
    /// Bytes that the store may have after the last day: a tenth more than after the second.
    pub(super) limit_bytes: u64,
    /// Bytes that it has.
    pub(super) got_bytes: u64,
}

impl Growth {
    /// Number of days that are played.
    pub(super) const DAYS: u64 = DAYS;

    /// Name of the new users of a day, numbered by `{}`.
    pub(super) fn name(day: u64) -> String {
        format!("day-{day}-{{}}@example.org")
    }
}

/// Plays a week that starts at this time; None if the store does not grow after the second day.
pub(super) fn find(player: &mut Player<'_>, start_ms: u64) -> anyhow::Result<Option<Growth>> {
    for users_per_day in NEW_USERS {
        let usage = usage_per_day(player, start_ms, users_per_day)?;
        let (Some(second), Some(last)) = (usage.get(1), usage.last()) else { continue };
        // Longer numbers take a few more bytes.
        let limit_bytes = second + second / 10;
        if *last > limit_bytes {
            return Ok(Some(Growth { users_per_day, limit_bytes, got_bytes: *last }));
        }
    }
    Ok(None)
}

/// Bytes in the store an hour after the logins of each day.
fn usage_per_day(player: &mut Player<'_>, start_ms: u64, users_per_day: u64) -> anyhow::Result<Vec<u64>> {
    let mut harness = player.harness("UTC", start_ms, Variation::None)?;
    let mut usage = Vec::new();
    for day in 1..=DAYS {
        let day_ms = start_ms + (day - 1) * DAY_MS;
        harness.set_now_ms(day_ms);
        for number in 1..=users_per_day {
            let event = Event {
                at_ms: day_ms,
                user: Growth::name(day).replace("{}", &number.to_string()),
                authorization_id: None,
                details: Details::plain(),
                standing: None,
                ending: Ending::Authenticated,
                is_guess: false,
            };
            harness.login(event.login());
            player.logins += 1;
        }
        harness.set_now_ms(day_ms + HOUR_MS);
        usage.push(harness.store_usage());
    }
    Ok(usage)
}
