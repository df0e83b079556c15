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
use super::problems::{Problem, Problems, Unread, WithoutLogins, WrongYear};
use super::run::Progress;
use super::saw::Saw;
use super::source::LogFile;
use crate::format::{Detected, Detector};

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
    finished: bool,
    tally: Tally,
    saw: Saw,
    total_lines: Arc<AtomicU64>,
}

/// Lines, by how they were understood.
#[derive(Default)]
struct Tally {
    /// They tell of logins.
    logins: u64,
    /// They do, or claim to, and could not be read.
    malformed: u64,
    /// They are not of such a log.
    foreign: u64,
    /// The first that could not be read.
    first: Option<Problem>,
}

impl Tally {
    /// Keeps a line that could not be read, if it is the first.
    fn note(&mut self, log: &str, line: u64, why: &str, text: &str) {
        self.first.get_or_insert_with(|| Problem::new(log, line, why, text.as_bytes()));
    }

    /// Whether most lines about logins, or most of all, could not be read.
    fn mostly_unread(&self, lines: u64) -> Option<Unread> {
        let first = self.first.clone()?;
        let unread = self.malformed + self.foreign;
        if self.malformed > self.logins {
            let of = self.malformed + self.logins;
            return Some(Unread { unread: self.malformed, of, all_lines: false, first });
        }
        (unread > lines / 2).then_some(Unread { unread, of: lines, all_lines: true, first })
    }
}

enum Mode {
    Detecting(Detector),
    Reading(Box<Reader>),
}

impl Stream {
    /// Opens a log. `progress` counts what is read; `is_leap`: the log has a 29 February.
    pub(super) fn open(
        log: &LogFile,
        how: &HowToRead,
        is_leap: bool,
        progress: &Progress,
    ) -> std::io::Result<Self> {
        let first_year = match how.year {
            Some(year) => FirstYear::Is(year),
            None if is_leap => FirstYear::LeapNotAfter(log.written_ms()),
            None => FirstYear::NotAfter(log.written_ms()),
        };
        let mode = match how.format {
            Some(format) => Mode::Reading(Box::new(Reader::new(format))),
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
            finished: false,
            tally: Tally::default(),
            saw: Saw::default(),
            total_lines: progress.lines.clone(),
        })
    }

    /// What is known of a log before it is read.
    pub(super) fn look(log: &LogFile, how: &HowToRead) -> std::io::Result<Foreseen> {
        let (first_ms, may_miss_leap_day) = Self::first_login(log, how, false)?;
        if may_miss_leap_day && has_leap_day(log)? {
            let (first_ms, _) = Self::first_login(log, how, true)?;
            return Ok(Foreseen { first_ms, is_leap: true });
        }
        Ok(Foreseen { first_ms, is_leap: false })
    }

    /// The time of a log's first login, none if there is none near its beginning, and whether the
    /// year supposed of it may lack a day that it has.
    fn first_login(log: &LogFile, how: &HowToRead, is_leap: bool) -> std::io::Result<(Option<u64>, bool)> {
        let mut stream = Self::open(log, how, is_leap, &Progress::default())?;
        let mut problems = Problems::default();
        while stream.number < LOOKED_THROUGH && !stream.ended {
            if let Some(logins) = stream.next_line(&mut problems) {
                let first = logins.iter().map(|login| login.at_ms).min();
                return Ok((first, stream.calendar.may_miss_leap_day()));
            }
        }
        Ok((None, false))
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
        if std::mem::replace(&mut self.finished, true) {
            return;
        }
        if let Some(year) = self.calendar.without_leap_day() {
            problems.wrong_years.push(WrongYear { log: self.name.clone(), year });
        }
        let mode = std::mem::replace(&mut self.mode, Mode::Detecting(Detector::new()));
        if let Mode::Detecting(detector) = mode {
            self.missed(&detector.into_missed(), problems);
        }
        if self.tally.logins == 0 {
            let saw = self.saw.describe();
            problems.without_logins.push(WithoutLogins { log: self.name.clone(), saw });
        }
        if let Some(unread) = self.tally.mostly_unread(self.number) {
            problems.mostly_unread.push(unread);
        }
    }

    /// Counts what could not be read before the format was known.
    fn missed(&mut self, missed: &Problems, problems: &mut Problems) {
        self.tally.malformed += missed.malformed_lines;
        self.tally.first = missed.examples.first().cloned().or_else(|| self.tally.first.take());
        problems.add_malformed(missed);
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
        if self.tally.logins == 0 {
            self.saw.add(&text);
        }
        let (told, missed) = match &mut self.mode {
            Mode::Reading(reader) => (reader.read(&text, &mut self.calendar), None),
            Mode::Detecting(detector) => {
                let found = detector.read(&self.name, self.number, &text, &mut self.calendar)?;
                let Detected { reader, told, missed } = found;
                self.order = Order::new(window(Some(reader.format())));
                self.mode = Mode::Reading(Box::new(reader));
                (told, Some(missed))
            }
        };
        let why = match told {
            Told::Logins(logins) => {
                self.tally.logins += 1;
                if let Some(missed) = missed {
                    self.missed(&missed, problems);
                }
                return Some(logins);
            }
            Told::Nothing => {
                let is_foreign = matches!(&self.mode, Mode::Reading(reader) if !reader.format().knows(&text));
                if is_foreign && !text.is_empty() {
                    self.tally.foreign += 1;
                    self.tally.note(&self.name, self.number, "no time at its beginning", &text);
                }
                return None;
            }
            Told::BadName => {
                problems.malformed(&self.name, self.number, "no user name can be like that", octets);
                return None;
            }
            Told::Malformed(why) => why,
        };
        self.tally.malformed += 1;
        self.tally.note(&self.name, self.number, why, &text);
        problems.malformed(&self.name, self.number, why, octets);
        None
    }

    fn count_line(&mut self) {
        self.number += 1;
        self.total_lines.fetch_add(1, Ordering::Relaxed);
    }
}

/// What is known of a log before it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Foreseen {
    /// The time of its first login, in milliseconds since 1970; none if there is none near its
    /// beginning.
    pub(super) first_ms: Option<u64>,
    /// Whether it has a 29 February in the year of its first line.
    pub(super) is_leap: bool,
}

/// Whether lines that have no year go on to a 29 February, before any of March.
fn has_leap_day(log: &LogFile) -> std::io::Result<bool> {
    let mut lines = Lines::new(log.open(&Arc::default())?);
    // What is wrong with the log is told when it is read.
    while let Ok(Some(line)) = lines.next() {
        let Line::Whole(line) = line else { continue };
        let line = line.strip_prefix(b"dovecot: ").unwrap_or(line);
        let line = match line.first() {
            Some(b'<') => line.splitn(2, |byte| *byte == b'>').nth(1).unwrap_or(line),
            _ => line,
        };
        match line.get(..7) {
            Some(b"Feb 29 ") => return Ok(true),
            Some(day) if day.starts_with(b"Mar ") => return Ok(false),
            _ => {}
        }
    }
    Ok(false)
}

fn window(format: Option<Format>) -> u64 {
    if format.is_some_and(Format::is_own) { SESSION_ENDS_WITHIN_MS } else { LOGGED_WITHIN_MS }
}
