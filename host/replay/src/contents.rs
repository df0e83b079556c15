//! What a log without logins contains: it shows the administrator why there are none.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::format;
use super::problems::excerpt;

/// The most programs that are counted separately.
const MAX_PROGRAMS: usize = 200;
/// How many programs are named.
const NAMED_PROGRAMS: usize = 4;
/// Maximum length of a program's name in bytes.
const NAME_LIMIT: usize = 32;

/// Number of lines by the program that wrote them.
#[derive(Debug, Default)]
pub(super) struct Contents {
    lines: u64,
    json: u64,
    without_time: u64,
    programs: BTreeMap<String, u64>,
    first: String,
}

impl Contents {
    pub(super) fn add(&mut self, line: &str) {
        self.lines += 1;
        if self.first.is_empty() {
            self.first = excerpt(line.as_bytes());
        }
        if line.starts_with('{') {
            self.json += 1;
            return;
        }
        let Some(program) = format::program(line) else {
            self.without_time += 1;
            return;
        };
        let is_name = |name: &&str| !name.is_empty() && name.len() <= NAME_LIMIT && !name.contains(',');
        let Some(program) = Some(program).filter(is_name) else { return };
        if let Some(count) = self.programs.get_mut(program) {
            *count += 1;
        } else if self.programs.len() < MAX_PROGRAMS {
            self.programs.insert(program.to_owned(), 1);
        }
    }

    /// The counts as text: `5 lines: 2 of imap-login, …; the first: …`.
    pub(super) fn describe(&self) -> String {
        if self.lines == 0 {
            return "no lines".to_owned();
        }
        let mut programs: Vec<_> = self.programs.iter().collect();
        programs.sort_by(|a, b| b.1.cmp(a.1));
        let named =
            programs.iter().take(NAMED_PROGRAMS).map(|(name, count)| (**count, excerpt(name.as_bytes())));
        let mut parts: Vec<_> = named.collect();
        let rest =
            self.lines - self.json - self.without_time - parts.iter().map(|(count, _)| count).sum::<u64>();
        parts.push((rest, "other programs".to_owned()));
        let mut text = match self.lines {
            1 => "1 line".to_owned(),
            lines => format!("{lines} lines"),
        };
        let mut separator = ": ";
        for (count, name) in parts.iter().filter(|(count, _)| *count > 0) {
            let _ = write!(text, "{separator}{count} of {name}");
            separator = ", ";
        }
        for (count, what) in
            [(self.json, "of JSON"), (self.without_time, "without a timestamp at the beginning")]
        {
            if count > 0 {
                let _ = write!(text, "{separator}{count} {what}");
                separator = ", ";
            }
        }
        let _ = write!(text, "; the first: {}", self.first);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_described_by_its_programs() {
        for (lines, expected) in [
            (&[][..], "no lines"),
            (
                &[
                    "Nov 26 00:00:00 mx systemd[1]: Started.",
                    "Nov 26 00:00:01 mx dovecot: imap-login: Login: user=<a>, method=PLAIN",
                    "Nov 26 00:00:02 mx dovecot: imap(a)<1><x>: Disconnected",
                    "2026-11-26T00:00:03Z mx dovecot[7]: imap-login: Login: user=<b>, method=PLAIN",
                    "Nov 26 00:00:04 mx last message repeated",
                ],
                "5 lines: 2 of imap-login, 1 of imap, 1 of systemd, 1 of other programs; the first: Nov 26 00:00:00 mx systemd[1]: Started.",
            ),
            (&["{\"a\":1}"], "1 line: 1 of JSON; the first: {\"a\":1}"),
            (
                &["\u{1b}[2J", "26.11.2026 00:00:00 x"],
                "2 lines: 2 without a timestamp at the beginning; the first: \\u{1b}[2J",
            ),
        ] {
            let mut contents = Contents::default();
            lines.iter().for_each(|line| contents.add(line));
            assert_eq!(contents.describe(), expected);
        }
    }

    #[test]
    fn a_hostile_log_cannot_fill_the_memory() {
        let mut contents = Contents::default();
        for number in 0..10_000 {
            contents.add(&format!("Nov 26 00:00:00 mx p{number}: x"));
        }
        assert_eq!(contents.programs.len(), MAX_PROGRAMS);
        assert!(contents.describe().starts_with("10000 lines: 1 of p0, "), "{}", contents.describe());
        assert!(contents.describe().contains("9996 of other programs"), "{}", contents.describe());
    }
}
