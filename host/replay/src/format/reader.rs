//! Reads a log in one format, including the repetitions that a syslog daemon has counted.

use super::repeated::{self, Repeated};
use super::{Format, FormatInfo, LineStart, ParsedLine, Parser, syslog};
use crate::calendar::Calendar;

/// Reads the lines of one log in one format.
#[derive(Debug)]
pub struct Reader {
    info: &'static FormatInfo,
    parser: Box<dyn Parser>,
    /// The previous line: the next one may say that it was repeated.
    previous: String,
}

impl Reader {
    /// A reader at the beginning of a log.
    #[must_use]
    pub fn new(format: Format) -> Self {
        let info = format.info();
        Self { info, parser: (info.parser)(), previous: String::new() }
    }

    /// The format that it reads.
    #[must_use]
    pub fn format(&self) -> Format {
        self.info.format
    }

    /// Parses a line, which must not have its line end.
    pub fn parse(&mut self, line: &str, calendar: &mut Calendar) -> ParsedLine {
        if self.info.line_start != LineStart::Syslog {
            return self.parser.parse(line, calendar);
        }
        match repeated::parse(line) {
            None => {
                self.previous.clear();
                self.previous.push_str(line);
                self.parser.parse(line, calendar)
            }
            Some(Repeated::Quoted(line, times)) => {
                let parsed = self.parser.parse(&line, calendar);
                self.previous = line;
                multiply(parsed, times)
            }
            Some(Repeated::Previous(times)) => self.repeat_previous(times, line, calendar),
            Some(Repeated::TooOften) => ParsedLine::Malformed("implausible number of repetitions"),
        }
    }

    /// The logins of the previous line again, at the time of the line that counts them.
    fn repeat_previous(&mut self, times: u32, count_line: &str, calendar: &mut Calendar) -> ParsedLine {
        let mut parsed = multiply(self.parser.parse(&self.previous, calendar), times);
        if let ParsedLine::Logins(logins) = &mut parsed {
            let Some(at_ms) = syslog::split(count_line).and_then(|line| line.timestamp.resolve(calendar))
            else {
                return ParsedLine::Malformed("no such date");
            };
            logins.iter_mut().for_each(|login| login.at_ms = at_ms);
        }
        parsed
    }
}

/// Counts each login of the line `times` times.
fn multiply(mut parsed: ParsedLine, times: u32) -> ParsedLine {
    if let ParsedLine::Logins(logins) = &mut parsed {
        logins.iter_mut().for_each(|login| login.times = login.times.saturating_mul(times));
        logins.retain(|login| login.times > 0);
        if logins.is_empty() {
            return ParsedLine::NoLogin;
        }
    }
    parsed
}
