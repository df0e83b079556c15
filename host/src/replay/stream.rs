//! One log as a stream of logins in their order.

use std::borrow::Cow;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::tz::TimeZone;

use super::calendar::{Calendar, FirstYear};
use super::entry::Entry;
use super::format::{Format, Reader, Told};
use super::lines::{Line, Lines};
use super::order::Order;
use super::problems::Problems;
use super::run::Progress;
use super::source::LogFile;
use crate::replay::format::Detector;

/// How far servers' logs are out of order: what waits in a syslog daemon's queue.
const LOGGED_WITHIN_MS: u64 = 5_000;
/// How long after its login a session of our own may end and still be put in its place.
const SESSION_ENDS_WITHIN_MS: u64 = 4 * 3_600_000;
/// Lines through which the first login of a log is looked for beforehand.
const LOOKED_THROUGH: u64 = 500_000;

/// How logs are to be read.
#[derive(Clone, Debug)]
pub(super) struct HowToRead {
    /// None to find out.
    pub(super) format: Option<Format>,
    /// Of times that name none.
    pub(super) zone: TimeZone,
    /// Of each log's first line, where lines have no year; none to find out.
    pub(super) year: Option<i16>,
}

/// A log that is being read.
pub(super) struct Stream {
    name: String,
    lines: Lines<Box<dyn Read>>,
    calendar: Calendar,
    mode: Mode,
    order: Order,
    number: u64,
    ended: bool,
    found: bool,
    total_lines: Arc<AtomicU64>,
}

enum Mode {
    Detecting(Detector),
    Reading(Reader),
}

impl Stream {
    /// Opens a log. `progress` counts what is read.
    pub(super) fn open(log: &LogFile, how: &HowToRead, progress: &Progress) -> std::io::Result<Self> {
        let first_year = how.year.map_or_else(|| FirstYear::NotAfter(log.written_ms()), FirstYear::Is);
        let mode = match how.format {
            Some(format) => Mode::Reading(Reader::new(format)),
            None => Mode::Detecting(Detector::new()),
        };
        Ok(Self {
            name: log.name(),
            lines: Lines::new(log.open(&progress.octets)?),
            calendar: Calendar::new(how.zone.clone(), first_year),
            order: Order::new(window(how.format)),
            mode,
            number: 0,
            ended: false,
            found: false,
            total_lines: progress.lines.clone(),
        })
    }

    /// The time of a log's first login, in milliseconds since 1970; none where there is none
    /// near its beginning.
    pub(super) fn first_login(log: &LogFile, how: &HowToRead) -> std::io::Result<Option<u64>> {
        let mut stream = Self::open(log, how, &Progress::default())?;
        let mut problems = Problems::default();
        while stream.number < LOOKED_THROUGH && !stream.ended {
            if let Some(logins) = stream.next_line(&mut problems) {
                return Ok(logins.iter().map(|login| login.at_ms).min());
            }
        }
        Ok(None)
    }

    /// The next login; none at the end.
    pub(super) fn next(&mut self, problems: &mut Problems) -> Option<Entry> {
        loop {
            if let Some(entry) = self.order.pop_ready() {
                return Some(entry);
            }
            if self.ended {
                let entry = self.order.pop();
                if entry.is_none() {
                    self.finish(problems);
                }
                return entry;
            }
            if let Some(logins) = self.next_line(problems) {
                for login in logins {
                    self.order.push(login);
                }
            }
        }
    }

    /// The format, once it is known.
    pub(super) fn format(&self) -> Option<Format> {
        match &self.mode {
            Mode::Reading(reader) => Some(reader.format()),
            Mode::Detecting(_) => None,
        }
    }

    fn finish(&mut self, problems: &mut Problems) {
        problems.out_of_order += self.order.late();
        self.order = Order::new(0);
        if !std::mem::replace(&mut self.found, true) {
            problems.without_logins.push(self.name.clone());
        }
    }

    /// What the next line tells, if it tells of logins.
    fn next_line(&mut self, problems: &mut Problems) -> Option<Vec<Entry>> {
        let octets = match self.lines.next() {
            Ok(Some(Line::Whole(octets))) => octets,
            Ok(Some(Line::TooLong)) => {
                self.count_line();
                problems.malformed(&self.name, self.number, "a line of more than 64 KiB", b"");
                return None;
            }
            Ok(None) => {
                self.ended = true;
                return None;
            }
            Err(error) => {
                self.ended = true;
                problems.cut_off(&self.name, self.number, &error);
                return None;
            }
        };
        self.number += 1;
        self.total_lines.fetch_add(1, Ordering::Relaxed);
        let text = match str::from_utf8(octets) {
            Ok(text) => Cow::Borrowed(text),
            Err(_) => String::from_utf8_lossy(octets),
        };
        let told = match &mut self.mode {
            Mode::Reading(reader) => reader.read(&text, &mut self.calendar),
            Mode::Detecting(detector) => {
                let (reader, told) = detector.read(&text, &mut self.calendar)?;
                self.order = Order::new(window(Some(reader.format())));
                self.mode = Mode::Reading(reader);
                told
            }
        };
        match told {
            Told::Logins(logins) => {
                self.found = true;
                Some(logins)
            }
            Told::Nothing => None,
            Told::Malformed(why) => {
                problems.malformed(&self.name, self.number, why, octets);
                None
            }
        }
    }

    fn count_line(&mut self) {
        self.number += 1;
        self.total_lines.fetch_add(1, Ordering::Relaxed);
    }
}

fn window(format: Option<Format>) -> u64 {
    if format.is_some_and(Format::tells_at_the_end) { SESSION_ENDS_WITHIN_MS } else { LOGGED_WITHIN_MS }
}
