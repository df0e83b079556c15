//! One log as a stream of logins and deliveries, in order of time.

use std::borrow::Cow;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::tz::TimeZone;

use super::calendar::{Calendar, FirstYear};
use super::contents::Contents;
use super::event::Event;
use super::format::{Detected, Detector, Format, ParsedLine, Reader, delivery};
use super::lines::{Line, Lines};
use super::problems::{LogWithoutLogins, MostlyUnread, Problem, Problems, WrongYear};
use super::reorder::ReorderBuffer;
use super::run::Progress;
use super::source::LogSource;

/// How far the lines of mail servers are out of order: the time that they may wait in a syslog
/// daemon's queue.
const SYSLOG_WINDOW_MS: u64 = 5_000;
/// How long a session in Reprieve's own logs may last without its login losing its place.
const SESSION_WINDOW_MS: u64 = 4 * 3_600_000;
/// How many lines of a log are searched for its first login.
const PREVIEW_LINES: u64 = 500_000;

/// How to read logs.
#[derive(Clone, Debug)]
pub(super) struct ReadOptions {
    /// None to detect it.
    pub(super) format: Option<Format>,
    /// Time zone of timestamps that have none.
    pub(super) zone: TimeZone,
    /// Year of each log's first line, if lines have no year. None to guess it.
    pub(super) year: Option<i16>,
}

/// What is known about a log before it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Preview {
    /// Time of the first login or delivery in milliseconds since 1970. None if there is none near
    /// the beginning.
    pub(super) first_ms: Option<u64>,
    /// Whether the log has a 29 February in the year of its first line.
    pub(super) has_leap_day: bool,
}

/// A log that is being read.
pub(super) struct Stream {
    name: String,
    lines: Lines<Box<dyn Read>>,
    calendar: Calendar,
    mode: Mode,
    waiting: ReorderBuffer,
    /// Number of the current line, from 1.
    number: u64,
    is_at_end: bool,
    is_finished: bool,
    counts: LineCounts,
    contents: Contents,
    total_lines: Arc<AtomicU64>,
}

enum Mode {
    Detecting(Detector),
    Reading(Box<Reader>),
}

/// Number of lines by what the format's parser made of them.
#[derive(Default)]
struct LineCounts {
    logins: u64,
    deliveries: u64,
    malformed: u64,
    /// Lines that the software that writes this format cannot have written.
    foreign: u64,
    /// The first line that is malformed or foreign.
    first_unread: Option<Problem>,
}

impl LineCounts {
    /// Remembers an unread line if it is the first.
    fn note_unread(&mut self, log: &str, line: u64, reason: &str, text: &str) {
        self.first_unread.get_or_insert_with(|| Problem::new(log, line, reason, text.as_bytes()));
    }

    /// Whether most of the lines about logins, or most of all `lines`, could not be read.
    fn mostly_unread(&self, lines: u64) -> Option<MostlyUnread> {
        let first = self.first_unread.clone()?;
        let unread = self.malformed + self.foreign;
        if self.malformed > self.logins {
            let of = self.malformed + self.logins;
            return Some(MostlyUnread { unread: self.malformed, of, all_lines: false, first });
        }
        (unread > lines / 2).then_some(MostlyUnread { unread, of: lines, all_lines: true, first })
    }
}

impl Stream {
    /// Opens a log. `has_leap_day` is that of its preview.
    pub(super) fn open(
        log: &LogSource,
        options: &ReadOptions,
        has_leap_day: bool,
        progress: &Progress,
    ) -> std::io::Result<Self> {
        let first_year = match options.year {
            Some(year) => FirstYear::Is(year),
            None if has_leap_day => FirstYear::LeapNotAfter(log.modified_ms()),
            None => FirstYear::NotAfter(log.modified_ms()),
        };
        let mode = match options.format {
            Some(format) => Mode::Reading(Box::new(Reader::new(format))),
            None => Mode::Detecting(Detector::new()),
        };
        Ok(Self {
            name: log.name(),
            lines: Lines::new(log.open(&progress.bytes)?),
            calendar: Calendar::new(options.zone.clone(), first_year),
            waiting: ReorderBuffer::new(options.format.map_or(SYSLOG_WINDOW_MS, window_ms)),
            mode,
            number: 0,
            is_at_end: false,
            is_finished: false,
            counts: LineCounts::default(),
            contents: Contents::default(),
            total_lines: progress.lines.clone(),
        })
    }

    /// Reads the beginning of a log, to find its first login and its year.
    pub(super) fn preview(log: &LogSource, options: &ReadOptions) -> std::io::Result<Preview> {
        let (first_ms, may_miss_leap_day) = Self::first_login(log, options, false)?;
        if may_miss_leap_day && has_leap_day(log)? {
            let (first_ms, _) = Self::first_login(log, options, true)?;
            return Ok(Preview { first_ms, has_leap_day: true });
        }
        Ok(Preview { first_ms, has_leap_day: false })
    }

    /// The time of a log's first login, and whether the guessed year may lack a 29 February that
    /// the log has.
    fn first_login(
        log: &LogSource,
        options: &ReadOptions,
        has_leap_day: bool,
    ) -> std::io::Result<(Option<u64>, bool)> {
        let mut stream = Self::open(log, options, has_leap_day, &Progress::default())?;
        let mut problems = Problems::default();
        while stream.number < PREVIEW_LINES && !stream.is_at_end {
            if let Some(events) = stream.next_line(&mut problems) {
                let first = events.iter().map(Event::at_ms).min();
                return Ok((first, stream.calendar.may_miss_leap_day()));
            }
        }
        Ok((None, false))
    }

    /// The next login or delivery; none at the end.
    pub(super) fn next(&mut self, problems: &mut Problems) -> Option<Event> {
        loop {
            if let Some(event) = self.waiting.pop_ready() {
                return Some(event);
            }
            if self.is_at_end {
                let event = self.waiting.pop();
                if event.is_none() {
                    self.finish(problems);
                }
                return event;
            }
            for event in self.next_line(problems).into_iter().flatten() {
                self.waiting.push(event);
            }
        }
    }

    /// None until it is detected.
    pub(super) fn format(&self) -> Option<Format> {
        match &self.mode {
            Mode::Reading(reader) => Some(reader.format()),
            Mode::Detecting(_) => None,
        }
    }

    /// Adds the problems of the log as a whole.
    fn finish(&mut self, problems: &mut Problems) {
        if std::mem::replace(&mut self.is_finished, true) {
            return;
        }
        problems.out_of_order += self.waiting.late();
        if let Some(year) = self.calendar.without_leap_day() {
            problems.wrong_years.push(WrongYear { log: self.name.clone(), year });
        }
        let mode = std::mem::replace(&mut self.mode, Mode::Detecting(Detector::new()));
        if let Mode::Detecting(detector) = mode {
            self.add_earlier_malformed(&detector.into_malformed(), problems);
        }
        if self.counts.logins == 0 && self.counts.deliveries == 0 {
            let contents = self.contents.describe();
            problems.without_logins.push(LogWithoutLogins { log: self.name.clone(), contents });
        }
        if let Some(unread) = self.counts.mostly_unread(self.number) {
            problems.mostly_unread.push(unread);
        }
    }

    /// Counts the malformed lines from before the format was detected.
    fn add_earlier_malformed(&mut self, earlier: &Problems, problems: &mut Problems) {
        self.counts.malformed += earlier.malformed_lines;
        self.counts.first_unread =
            earlier.examples.first().cloned().or_else(|| self.counts.first_unread.take());
        problems.merge_malformed(earlier);
    }

    /// Reads the next line. None if it has neither logins nor a delivery, and at the end of the log.
    fn next_line(&mut self, problems: &mut Problems) -> Option<Vec<Event>> {
        let line = match self.lines.next() {
            Ok(Some(line)) => line,
            Ok(None) => {
                self.is_at_end = true;
                return None;
            }
            Err(error) => {
                self.is_at_end = true;
                problems.add_truncated_log(&self.name, self.number, &error);
                return None;
            }
        };
        self.number += 1;
        self.total_lines.fetch_add(1, Ordering::Relaxed);
        let Line::Whole(bytes) = line else {
            problems.add_malformed(&self.name, self.number, "a line of more than 64 KiB", b"");
            return None;
        };
        // The check of valid text is faster than the conversion, which checks it in pieces.
        let text = str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed);
        if self.counts.logins == 0 {
            self.contents.add(&text);
        }
        if let Some(delivery) = delivery(&self.mode, &text) {
            // The next line may say that this one was repeated.
            if let Mode::Reading(reader) = &mut self.mode {
                reader.parse(&text, &mut self.calendar);
            }
            let delivered = delivery.and_then(|delivery| {
                let at_ms = delivery.resolve(&mut self.calendar).ok_or("no such date")?;
                Ok(vec![Event::Delivery(at_ms, delivery)])
            });
            self.counts.deliveries += 1;
            return delivered
                .inspect_err(|why| problems.add_malformed(&self.name, self.number, why, text.as_bytes()))
                .ok();
        }
        let (parsed, earlier) = match &mut self.mode {
            Mode::Reading(reader) => (reader.parse(&text, &mut self.calendar), None),
            Mode::Detecting(detector) => {
                let detected = detector.parse(&self.name, self.number, &text, &mut self.calendar)?;
                let Detected { reader, parsed, malformed } = detected;
                self.waiting = ReorderBuffer::new(window_ms(reader.format()));
                self.mode = Mode::Reading(Box::new(reader));
                (parsed, Some(malformed))
            }
        };
        match parsed {
            ParsedLine::Logins(logins) => {
                self.counts.logins += 1;
                if let Some(earlier) = earlier {
                    self.add_earlier_malformed(&earlier, problems);
                }
                return Some(logins.into_iter().map(Event::from).collect());
            }
            ParsedLine::NoLogin => {
                let is_foreign =
                    matches!(&self.mode, Mode::Reading(reader) if !reader.format().could_have_written(&text));
                if is_foreign && !text.is_empty() {
                    self.counts.foreign += 1;
                    self.counts.note_unread(&self.name, self.number, "no timestamp at the beginning", &text);
                }
            }
            ParsedLine::InvalidUserName => {
                problems.add_malformed(&self.name, self.number, "an invalid user name", text.as_bytes());
            }
            ParsedLine::Malformed(reason) => {
                self.counts.malformed += 1;
                self.counts.note_unread(&self.name, self.number, reason, &text);
                problems.add_malformed(&self.name, self.number, reason, text.as_bytes());
            }
        }
        None
    }
}

/// The delivery of a line, or why it cannot be parsed. Reprieve's own logs have none.
fn delivery(mode: &Mode, line: &str) -> Option<Result<delivery::Delivery, &'static str>> {
    if matches!(mode, Mode::Reading(reader) if reader.format().is_own()) {
        return None;
    }
    delivery::parse_line(line).transpose()
}

/// Whether a log has a delivery near its beginning.
pub(super) fn has_delivery(log: &LogSource) -> std::io::Result<bool> {
    let mut lines = Lines::new(log.open(&Arc::default())?);
    for _ in 0..PREVIEW_LINES {
        // An error is reported when the log is read.
        let Ok(Some(line)) = lines.next() else { break };
        let Line::Whole(line) = line else { continue };
        if matches!(delivery::parse_line(&String::from_utf8_lossy(line)), Ok(Some(_))) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether lines without a year reach a 29 February before a day in March.
fn has_leap_day(log: &LogSource) -> std::io::Result<bool> {
    let mut lines = Lines::new(log.open(&Arc::default())?);
    // An error is reported when the log is read.
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

fn window_ms(format: Format) -> u64 {
    if format.is_own() { SESSION_WINDOW_MS } else { SYSLOG_WINDOW_MS }
}
