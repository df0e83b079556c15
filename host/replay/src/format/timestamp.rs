//! Timestamps at the beginning of a line, in all notations that logs use.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::Offset;

use crate::calendar::Calendar;

const MONTHS: [&[u8; 3]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];

/// A timestamp as written in a log, which may lack the year or the time zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LogTimestamp {
    /// `Nov 27 22:11:26`: no year, no zone.
    Yearless { month: i8, day: i8, time: Time },
    /// `2026-11-27 22:11:26`, `2026/11/27 22:11:26`: no zone.
    Local(DateTime),
    /// `2026-11-27T22:11:26.123456+01:00`.
    Absolute(DateTime, Offset),
}

impl LogTimestamp {
    /// Milliseconds since 1970. None if there is no such time.
    pub(super) fn resolve(self, calendar: &mut Calendar) -> Option<u64> {
        match self {
            Self::Yearless { month, day, time } => calendar.yearless(month, day, time),
            Self::Local(at) => calendar.local(at),
            Self::Absolute(at, offset) => calendar.absolute(offset.to_timestamp(at).ok()?),
        }
    }
}

/// Splits a line into the timestamp at its beginning and the rest, without the white space between
/// them.
pub(super) fn parse_prefix(text: &str) -> Option<(LogTimestamp, &str)> {
    let mut cursor = Cursor(text.as_bytes());
    let timestamp = match cursor.0.first()? {
        b'0'..=b'9' => numeric(&mut cursor)?,
        b'A'..=b'Z' => syslog(&mut cursor)?,
        _ => return None,
    };
    let rest = text.get(text.len() - cursor.0.len()..)?;
    match rest.as_bytes().first() {
        None | Some(b' ' | b'\t') => Some((timestamp, rest.trim_start_matches([' ', '\t']))),
        // From programs that do not log to syslog: `Nov 27 22:11:26: text`, `…Z,field`.
        Some(b':' | b',') => Some((timestamp, rest)),
        Some(_) => None,
    }
}

/// `Nov 27 22:11:26`, `Nov  7 22:11:26.123456`, `Nov 27 2026 22:11:26`.
fn syslog(cursor: &mut Cursor<'_>) -> Option<LogTimestamp> {
    let name = cursor.0.get(..3)?;
    let month = MONTHS.iter().position(|month| *month == name)?;
    let month = i8::try_from(month + 1).ok()?;
    cursor.skip(3);
    cursor.spaces()?;
    let day = i8::try_from(cursor.number(1, 2)?).ok()?;
    cursor.spaces()?;
    let digits = cursor.0.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 4 {
        let year = i16::try_from(cursor.number(4, 4)?).ok()?;
        cursor.spaces()?;
        let date = Date::new(year, month, day).ok()?;
        return Some(LogTimestamp::Local(DateTime::from_parts(date, cursor.time()?)));
    }
    (1..=31).contains(&day).then_some(())?;
    Some(LogTimestamp::Yearless { month, day, time: cursor.time()? })
}

/// `2026-11-27T22:11:26.123456+01:00`, `2026-11-27 22:11:26`, `2026/11/27 22:11:26`.
fn numeric(cursor: &mut Cursor<'_>) -> Option<LogTimestamp> {
    let year = i16::try_from(cursor.number(4, 4)?).ok()?;
    let separator = cursor.one_of(b"-/")?;
    let month = i8::try_from(cursor.number(2, 2)?).ok()?;
    cursor.one_of(&[separator])?;
    let day = i8::try_from(cursor.number(2, 2)?).ok()?;
    cursor.one_of(b"T ")?;
    let at = DateTime::from_parts(Date::new(year, month, day).ok()?, cursor.time()?);
    let sign = match cursor.0.first() {
        Some(b'Z') => {
            cursor.skip(1);
            return Some(LogTimestamp::Absolute(at, Offset::UTC));
        }
        Some(b'+') => 1,
        Some(b'-') => -1,
        _ => return Some(LogTimestamp::Local(at)),
    };
    cursor.skip(1);
    let hours = i32::try_from(cursor.number(2, 2)?).ok()?;
    if cursor.0.first() == Some(&b':') {
        cursor.skip(1);
    }
    let minutes = i32::try_from(cursor.number(2, 2)?).ok()?;
    let offset = Offset::from_seconds(sign * (hours * 3600 + minutes * 60)).ok()?;
    Some(LogTimestamp::Absolute(at, offset))
}

struct Cursor<'a>(&'a [u8]);

impl Cursor<'_> {
    fn skip(&mut self, bytes: usize) {
        self.0 = self.0.get(bytes..).unwrap_or_default();
    }

    fn spaces(&mut self) -> Option<()> {
        let spaces = self.0.iter().take_while(|byte| **byte == b' ').count();
        (1..=2).contains(&spaces).then(|| self.skip(spaces))
    }

    fn one_of(&mut self, bytes: &[u8]) -> Option<u8> {
        let first = *self.0.first()?;
        bytes.contains(&first).then(|| {
            self.skip(1);
            first
        })
    }

    /// A number of `least` to `most` digits.
    fn number(&mut self, least: usize, most: usize) -> Option<u32> {
        let digits = self.0.iter().take(most).take_while(|byte| byte.is_ascii_digit()).count();
        (digits >= least).then_some(())?;
        let number = self.0[..digits].iter().fold(0, |number, digit| number * 10 + u32::from(digit - b'0'));
        self.skip(digits);
        Some(number)
    }

    /// `22:11:26`, with a fraction of up to nine digits. A leap second (60) is read as 59.
    fn time(&mut self) -> Option<Time> {
        let part = |number: u32| i8::try_from(number).ok();
        let hour = part(self.number(2, 2)?)?;
        self.one_of(b":")?;
        let minute = part(self.number(2, 2)?)?;
        self.one_of(b":")?;
        let second = part(self.number(2, 2)?)?.min(60);
        let second = if second == 60 { 59 } else { second };
        let mut nanosecond = 0;
        if matches!(self.0.first(), Some(b'.' | b',')) && self.0.get(1).is_some_and(u8::is_ascii_digit) {
            self.skip(1);
            let digits = self.0.iter().take(9).take_while(|byte| byte.is_ascii_digit()).count();
            let scale = 10_i32.checked_pow(u32::try_from(9 - digits).ok()?)?;
            nanosecond = i32::try_from(self.number(1, 9)?).ok()? * scale;
        }
        Time::new(hour, minute, second, nanosecond).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{calendar, utc_ms};
    use super::*;

    fn read(text: &str) -> Option<(u64, &str)> {
        let (timestamp, rest) = parse_prefix(text)?;
        Some((timestamp.resolve(&mut calendar())?, rest))
    }

    #[test]
    fn every_notation_is_parsed() {
        let expected = utc_ms("2026-11-27T22:11:26Z");
        for text in [
            "Nov 27 22:11:26 rest",
            "Nov 27 2026 22:11:26 rest",
            "2026-11-27T22:11:26Z rest",
            "2026-11-27T22:11:26+00:00 rest",
            "2026-11-27T23:11:26+0100 rest",
            "2026-11-27T17:41:26.000000-04:30 rest",
            "2026-11-27 22:11:26 rest",
            "2026/11/27 22:11:26 rest",
        ] {
            assert_eq!(read(text), Some((expected, "rest")), "{text}");
        }
        for text in ["2026-11-27T22:11:26.123456789Z", "Nov 27 22:11:26.123", "2026-11-27 22:11:26,123999"] {
            assert_eq!(read(text), Some((expected + 123, "")), "{text}");
        }
        assert_eq!(read("Nov  7 22:11:26 x"), Some((utc_ms("2026-11-07T22:11:26Z"), "x")));
        assert_eq!(read("2026-06-30T23:59:60Z x"), Some((utc_ms("2026-06-30T23:59:59Z"), "x")));
    }

    #[test]
    fn other_text_is_not_a_timestamp() {
        for text in [
            "",
            "Nov",
            "Nov 27",
            "Nov 27 22:11",
            "Nov 0 22:11:26",
            "Nov 32 22:11:26",
            "Nox 27 22:11:26",
            "Nov 27 24:00:00",
            "2026-13-01T00:00:00Z",
            "2026-11-27",
            "2026-11/27 00:00:00",
            "2026-11-27T22:11:26+",
            "2026-11-27T22:11:26+99:99",
            "Nov 27 22:11:26x",
            "99999999999999",
            "1969-12-31T23:59:59Z",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
