//! What the demo came to: the figures, and whether everything was right.

use std::io::{self, Write};

use super::board::{Board, Figures, Reading, a_poll};
use super::ledger::{Ledger, Tally};
use super::phase::Phase;
use super::table::{median, percent, row, row_of, time};

/// The result of a demo.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The clients at the mail server itself.
    pub direct: Figures,
    /// The same clients through Reprieve.
    pub relieved: Figures,
    /// Sessions that Reprieve began on its own and gave to the mail server after all, because
    /// the client asked for what only it has.
    pub upgrades: u64,
    /// Messages, and what became of them.
    pub messages: Tally,
    /// Replies that clients read and checked.
    pub replies: u64,
    /// Wrong passwords tried.
    pub mistyped: u64,
    /// Of them, those that were refused, as all must be.
    pub mistyped_refused: u64,
    /// The first things that were wrong, with the client's name.
    pub faults: Vec<String>,
    /// How many things were wrong.
    pub fault_count: u64,
    /// The user ended the demo before its time.
    pub interrupted: bool,
}

impl Report {
    pub(crate) fn new(board: &Board, ledger: &Ledger, now: &Reading, upgrades: u64) -> Self {
        let figures = |phase| {
            let figures = board.figures(phase, now).unwrap_or_default();
            Figures { took: board.took(phase), waits: ledger.waits(phase), ..figures }
        };
        Self {
            direct: figures(Phase::Direct),
            relieved: figures(Phase::Relieved),
            upgrades,
            messages: ledger.tally(),
            replies: board.replies,
            mistyped: board.mistyped,
            mistyped_refused: board.mistyped_refused,
            faults: board.faults.clone(),
            fault_count: board.fault_count,
            interrupted: board.interrupted,
        }
    }

    /// Whether every message reached each of its clients once, and every answer was right.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.messages.missing() == 0 && self.messages.doubled == 0 && self.fault_count == 0
    }

    /// Writes the summary.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out)?;
        if self.interrupted {
            writeln!(out, " Ended before its time; the figures are those of the time that there was.\n")?;
        }
        self.write_figures(out)?;
        writeln!(out)?;
        self.write_judgement(out)?;
        writeln!(out)?;
        self.write_notes(out)
    }

    fn write_figures(&self, out: &mut impl Write) -> io::Result<()> {
        let mut line = |label: &str, show: &dyn Fn(&Figures) -> String| {
            writeln!(out, "{}", row_of(label, Some(&self.direct), Some(&self.relieved), show))
        };
        let count = |count: u64| count.to_string();
        line("", &|figures| {
            if std::ptr::eq(figures, &raw const self.direct) { "straight" } else { "through Reprieve" }
                .to_owned()
        })?;
        line("time", &|figures| time(figures.elapsed))?;
        line("polls", &|figures| count(figures.polls))?;
        line("reached the mail server", &|figures| count(figures.server.logins))?;
        line("the mail server's connections", &|figures| count(figures.server.connections))?;
        line("  commands", &|figures| count(figures.server.commands))?;
        line("  KiB sent", &|figures| count(figures.server.bytes_out / 1024))?;
        line("  CPU time", &|figures| time(figures.server.cpu))?;
        line("  CPU time a poll", &|figures| time(figures.server_cpu_a_poll()))?;
        line("  of that, checking passwords", &|figures| {
            time(a_poll(figures.server.password_cpu, figures.polls))
        })?;
        line("a poll takes its client (median)", &|figures| shown(median(&figures.took)))?;
        line("new mail waited (median)", &|figures| shown(median(&figures.waits)))?;
        line("  (longest)", &|figures| shown(figures.waits.last().copied()))?;
        let relieved = &self.relieved;
        writeln!(
            out,
            "{}",
            row("Reprieve's own CPU time a poll", "", &time(relieved.reprieve_cpu_a_poll()))
        )?;
        writeln!(out, "{}", row("relief", "", &percent(relieved.relief())))?;
        let (before, after) = (self.direct.server_cpu_a_poll(), relieved.server_cpu_a_poll());
        if !before.is_zero() {
            let left = after.as_secs_f64() / before.as_secs_f64();
            writeln!(out, "{}", row("left of the mail server's CPU time", "", &percent(left)))?;
        }
        Ok(())
    }

    fn write_judgement(&self, out: &mut impl Write) -> io::Result<()> {
        let Tally { delivered, expected, late, doubled, .. } = self.messages;
        let lost = self.messages.missing();
        let late = if late == 0 { String::new() } else { format!("; waiting when the time was up: {late}") };
        writeln!(
            out,
            " Mail       messages: {delivered}, to be fetched {expected} times; compared octet by octet"
        )?;
        writeln!(out, "            lost: {}, doubled: {}{late}", none(lost), none(doubled))?;
        writeln!(out, " Answers    checked: {}, wrong: {}", self.replies, none(self.fault_count))?;
        let (tried, refused) = (self.mistyped, self.mistyped_refused);
        writeln!(out, " Passwords  wrong ones tried right after a right one: {tried}, refused: {refused}")?;
        let upgrades = self.upgrades;
        writeln!(out, " Upgrades   denied sessions that went on at the mail server, for mail: {upgrades}")?;
        for fault in &self.faults {
            writeln!(out, " WRONG      {fault}")?;
        }
        let untold = self.fault_count - self.faults.len() as u64;
        if untold > 0 {
            writeln!(out, " WRONG      and {untold} more")?;
        }
        if !self.is_sound() {
            writeln!(out, " FAILED     {lost} lost, {doubled} doubled, {} wrong answers", self.fault_count)?;
        }
        Ok(())
    }

    fn write_notes(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(
            out,
            " All figures were measured just now, in this process. The mail server is the\n \
             demo's own, small and with its mail in memory. For comparison: on a two-core\n \
             machine the same poll took a Dovecot 2.3 1.2 ms of CPU time when tuned, and\n \
             14 ms as installed."
        )?;
        if cfg!(debug_assertions) {
            writeln!(out, " This is a debug build: its CPU times are a multiple of a release build's.")?;
        }
        Ok(())
    }
}

fn shown(duration: Option<std::time::Duration>) -> String {
    duration.map_or_else(|| "-".to_owned(), time)
}

fn none(count: u64) -> String {
    if count == 0 { "none".to_owned() } else { count.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(report: &Report) -> String {
        let mut out = Vec::new();
        report.write(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_message_that_is_lost_or_doubled_or_a_wrong_answer_fails_the_demo() {
        let sound = Report::default();
        assert!(sound.is_sound() && !written(&sound).contains("FAILED"));
        let lost =
            Report { messages: Tally { expected: 2, fetched: 1, ..Tally::default() }, ..sound.clone() };
        let doubled = Report { messages: Tally { doubled: 1, ..Tally::default() }, ..sound.clone() };
        let wrong = Report { fault_count: 9, faults: vec!["anna: no answer".to_owned()], ..sound };
        for (report, says) in
            [(lost, "1 lost, 0 doubled"), (doubled, "0 lost, 1 doubled"), (wrong, "9 wrong answers")]
        {
            assert!(!report.is_sound());
            assert!(written(&report).contains("FAILED     "), "{}", written(&report));
            assert!(written(&report).contains(says), "{}", written(&report));
        }
    }

    #[test]
    fn the_summary_fits_into_eighty_columns() {
        assert!(written(&Report::default()).lines().all(|line| line.chars().count() <= 80));
    }
}
