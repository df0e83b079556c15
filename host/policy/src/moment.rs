//! Times in the form that policies see.

use jiff::tz::TimeZone;

use super::{Date, Moment, Weekday};
use reprieve_store::clock::civil;

/// The WIT form of a Unix time in milliseconds, with the civil time of a time zone.
#[must_use]
pub fn moment(unix_ms: u64, zone: &TimeZone) -> Moment {
    let civil = civil(unix_ms, zone);
    Moment {
        unix_ms,
        date: Date { year: civil.year, month: civil.month, day: civil.day },
        weekday: match civil.weekday {
            0 => Weekday::Monday,
            1 => Weekday::Tuesday,
            2 => Weekday::Wednesday,
            3 => Weekday::Thursday,
            4 => Weekday::Friday,
            5 => Weekday::Saturday,
            _ => Weekday::Sunday,
        },
        second_of_day: civil.second_of_day,
    }
}
