//! Merges several logs by time: rotated logs, which may be named in any order, and logs of several
//! servers.

use anyhow::Context as _;

use super::event::Event;
use super::format::Format;
use super::problems::Problems;
use super::run::Progress;
use super::source::LogSource;
use super::stream::{Preview, ReadOptions, Stream};

/// Returns the logins and deliveries of all logs in order of time. A log is open only while it is needed.
pub(super) struct Merge {
    options: ReadOptions,
    /// Logs that are not open yet; the one that begins first is the last element.
    closed: Vec<(Preview, LogSource)>,
    /// Open logs with what is next in them.
    open: Vec<(Event, Stream)>,
    progress: Progress,
    formats: Vec<Format>,
}

impl Merge {
    /// Finds the first login or delivery of each log.
    ///
    /// # Errors
    /// If one cannot be opened.
    pub(super) fn new(logs: &[LogSource], options: ReadOptions, progress: &Progress) -> anyhow::Result<Self> {
        let mut closed = Vec::with_capacity(logs.len());
        for log in logs {
            let preview = match log {
                // It can be read only once.
                LogSource::Stdin => Preview { first_ms: Some(0), has_leap_day: false },
                LogSource::Path(_) => Stream::preview(log, &options).with_context(|| cannot_read(log))?,
            };
            closed.push((preview, log.clone()));
        }
        // A stable sort: logs that begin at the same time stay in the order of the command line.
        closed.sort_by_key(|(preview, _)| preview.first_ms.unwrap_or(u64::MAX));
        closed.reverse();
        Ok(Self { options, closed, open: Vec::new(), progress: progress.clone(), formats: Vec::new() })
    }

    /// The next login or delivery of all logs; none at the end.
    ///
    /// # Errors
    /// If a log can no longer be opened.
    pub(super) fn next(&mut self, problems: &mut Problems) -> anyhow::Result<Option<Event>> {
        let earliest = |open: &[(Event, Stream)]| (0..open.len()).min_by_key(|&at| (open[at].0.at_ms(), at));
        while let Some((preview, _)) = self.closed.last() {
            let first_ms = preview.first_ms.unwrap_or(u64::MAX);
            if earliest(&self.open).is_some_and(|at| self.open[at].0.at_ms() < first_ms) {
                break;
            }
            let Some((Preview { has_leap_day, .. }, log)) = self.closed.pop() else { break };
            let mut stream = Stream::open(&log, &self.options, has_leap_day, &self.progress)
                .with_context(|| cannot_read(&log))?;
            if let Some(event) = stream.next(problems) {
                self.open.push((event, stream));
            }
        }
        let Some(at) = earliest(&self.open) else { return Ok(None) };
        let (next, stream) = &mut self.open[at];
        if let Some(format) = stream.format()
            && !self.formats.contains(&format)
        {
            self.formats.push(format);
        }
        Ok(Some(match stream.next(problems) {
            Some(after) => std::mem::replace(next, after),
            None => self.open.remove(at).0,
        }))
    }

    /// The formats of the logs, in the order in which they were first used.
    pub(super) fn formats(&self) -> &[Format] {
        &self.formats
    }
}

fn cannot_read(log: &LogSource) -> String {
    format!("cannot read the log {}", log.name())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::path::Path;

    use jiff::tz::TimeZone;

    use super::*;

    fn merge(logs: &[LogSource]) -> (Vec<String>, Problems, u64) {
        let options = ReadOptions { format: None, zone: TimeZone::UTC, year: Some(2026) };
        let progress = Progress::default();
        let mut merge = Merge::new(logs, options, &progress).unwrap();
        let (mut users, mut problems) = (Vec::new(), Problems::default());
        while let Some(event) = merge.next(&mut problems).unwrap() {
            users.push(match event {
                Event::Login(entry) => entry.user,
                Event::Delivery(_, delivery) => format!("to {}", delivery.users.join(" ")),
            });
        }
        (users, problems, progress.lines.load(std::sync::atomic::Ordering::Relaxed))
    }

    fn line(time: &str, user: &str) -> String {
        format!("Nov {time} mx pop3d: LOGIN, user={user}, ip=[::ffff:192.0.2.7]\n")
    }

    fn file(directory: &Path, name: &str, bytes: &[u8]) -> LogSource {
        let path = directory.join(name);
        std::fs::write(&path, bytes).unwrap();
        LogSource::Path(path)
    }

    #[test]
    fn logs_are_merged_by_time_in_any_order_and_compression() {
        let directory = tempfile::tempdir().unwrap();
        let today = file(directory.path(), "mail.log", line("27 00:00:01", "c").as_bytes());
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all((line("26 00:00:01", "a") + &line("26 12:00:00", "b")).as_bytes()).unwrap();
        let yesterday = file(directory.path(), "mail.log.1.gz", &gzip.finish().unwrap());
        let other = line("26 11:00:00", "x") + &line("26 13:00:00", "y") + &line("27 00:00:00", "z");
        let zstd = zstd::encode_all(other.as_bytes(), 3).unwrap();
        let other = file(directory.path(), "other.log", &zstd);
        let (users, problems, lines) = merge(&[today, yesterday, other]);
        assert_eq!(users, ["a", "x", "b", "y", "z", "c"]);
        assert_eq!((problems.out_of_order, lines), (0, 6));
    }

    #[test]
    fn a_hostile_log_is_read_and_the_next_one_too() {
        let directory = tempfile::tempdir().unwrap();
        let mut bytes = line("26 00:00:00", "a").into_bytes();
        bytes.extend_from_slice(&[0; 300_000]);
        bytes.extend_from_slice(b"\nNov 99 99:99:99 mx pop3d: LOGIN, user=\xff\xfe, ip=[x]\n");
        bytes.extend_from_slice(b"\xff\xff\0\x1b[31m\n");
        bytes.extend_from_slice(b"Nov 31 00:00:00 mx pop3d: LOGIN, user=b, ip=[::1]\n");
        let hostile = file(directory.path(), "hostile.log", &bytes);
        let mut truncated = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
        truncated.write_all((line("26 00:00:01", "b").repeat(5_000)).as_bytes()).unwrap();
        let mut truncated = truncated.finish().unwrap();
        truncated.truncate(truncated.len() / 2);
        let truncated = file(directory.path(), "truncated.gz", &truncated);
        let none = file(directory.path(), "none.log", b"Nov 26 00:00:00 mx postfix/smtpd[1]: connect\n");
        let last = file(directory.path(), "last.log", line("27 00:00:00", "c").as_bytes());
        let (users, problems, _) = merge(&[hostile, truncated, none, last]);
        assert_eq!((users.first().unwrap().as_str(), users.last().unwrap().as_str()), ("a", "c"));
        assert_eq!(problems.malformed_lines, 2, "{:?}", problems.examples);
        assert!(problems.examples[0].reason.contains("64 KiB") && problems.examples[0].line == 2);
        assert!(problems.examples[1].log.ends_with("hostile.log") && problems.examples[1].line == 5);
        assert!(problems.truncated_logs[0].log.ends_with("truncated.gz"));
        assert!(problems.without_logins[0].log.ends_with("none.log"));
        assert!(
            problems.without_logins[0].contents.starts_with("1 line: 1 of postfix/smtpd; the first: Nov 26")
        );
    }

    #[test]
    fn the_error_names_a_missing_log() {
        let options = ReadOptions { format: None, zone: TimeZone::UTC, year: None };
        let error = Merge::new(&["/nowhere/mail.log".into()], options, &Progress::default()).err().unwrap();
        assert!(format!("{error:#}").starts_with("cannot read the log /nowhere/mail.log: No such file"));
    }
}
