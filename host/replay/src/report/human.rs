//! The report as a table for a terminal.

use std::fmt::Write as _;

use super::words::{about, counted, day, formats, moment, number, percent, policy, seconds, span, why};
use super::{Against, CostFrom, Report};
use crate::problems::WithoutLogins;
use crate::tally::{Counts, share};

/// Hours that are shown one by one; of more, days are shown.
const MOST_HOURS: usize = 72;
/// Days that are shown.
const MOST_DAYS: usize = 62;
/// Kinds of differences that are shown.
const MOST_KINDS: usize = 12;
/// Characters of a bar.
const BAR: u32 = 24;
/// Characters of a user's name, at least.
const NAME: usize = 24;

/// The report as a table.
#[must_use]
pub fn table(report: &Report) -> String {
    let mut text = String::new();
    write_table(report, &mut text).expect("writing to a string");
    text
}

fn write_table(report: &Report, out: &mut String) -> std::fmt::Result {
    let names = match &report.logs.names[..] {
        [one] => one.clone(),
        many => {
            format!("{} and {} more", many.first().map_or("", String::as_str), many.len().saturating_sub(1))
        }
    };
    let of = if report.logs.formats.is_empty() {
        String::new()
    } else {
        format!(" ({})", formats(&report.logs.formats))
    };
    writeln!(out, "{names}{of}, replayed with policy {}", policy(&report.policy))?;
    let Some(when) = report.span else {
        writeln!(out, "no POP3 login in {}", counted(report.logs.lines, "line", "lines"))?;
        return problems(report, out);
    };
    writeln!(out, "{}", span(when, report))?;
    writeln!(
        out,
        "{}, {} of {}",
        counted(report.logs.lines, "line", "lines"),
        counted(report.counts.logins, "login", "logins"),
        counted(report.users, "user", "users")
    )?;
    writeln!(out)?;
    totals(report, out)?;
    periods(report, out)?;
    worst(report, out)?;
    if let Some(against) = &report.against {
        difference(report, against, out)?;
    }
    own_lines(report, out)?;
    problems(report, out)
}

fn totals(report: &Report, out: &mut String) -> std::fmt::Result {
    let counts = &report.counts;
    let mut row = |name: &str, count: u64, note: &str| {
        let part = percent(share(count, counts.logins));
        let line = format!(" {name:<28}{:>12}  {part:>7}   {note}", number(count));
        writeln!(out, "{}", line.trim_end())
    };
    row("reach the mail server", counts.passed, "")?;
    row("relieved", counts.relieved, &of_relieved(counts))?;
    for (reason, count) in &counts.passed_though_denied {
        row("denied, but go on", *count, why(reason))?;
    }
    if counts.upgraded > 0 {
        row("posed, but go on", counts.upgraded, "they asked for what only the mail server has")?;
    }
    for (kind, count) in &counts.failures {
        row("the policy failed", *count, kind)?;
    }
    if counts.rejected > 0 {
        row("the server refused", counts.rejected, "wrong passwords and the like")?;
    }
    if let Some(happened) = report.happened {
        row("relieved then", happened.relieved, "what has happened, by the log")?;
    }
    match report.saved {
        Some(saved) => {
            let from = match saved.cost_from {
                CostFrom::Given => "given by --login-cost",
                CostFrom::Measured => "measured in the log",
            };
            writeln!(
                out,
                " {:<28}{:>12}            at {:.1} ms a login, {from}",
                "server time saved",
                seconds(saved.seconds),
                saved.login_cost_ms
            )
        }
        None => writeln!(
            out,
            " {:<28}{:>12}            tell it by --login-cost, such as 14ms",
            "server time saved", "?"
        ),
    }
}

/// Of what the relief is made: manners and, where there are more, reasons.
fn of_relieved(counts: &Counts) -> String {
    let list = |counts: &std::collections::BTreeMap<String, u64>| {
        let mut all: Vec<_> = counts.iter().collect();
        all.sort_by(|a, b| b.1.cmp(a.1));
        all.iter().map(|(word, count)| format!("{word} {}", number(**count))).collect::<Vec<_>>().join(", ")
    };
    match (counts.manners.len(), counts.reasons.len()) {
        (0, _) => String::new(),
        (1, 1) => {
            let word = |counts: &std::collections::BTreeMap<String, u64>| counts.keys().next().cloned();
            format!(
                "{}, {}",
                word(&counts.manners).unwrap_or_default(),
                word(&counts.reasons).unwrap_or_default()
            )
        }
        _ => format!("denials: {}; {}", list(&counts.manners), list(&counts.reasons)),
    }
}

fn periods(report: &Report, out: &mut String) -> std::fmt::Result {
    let (periods, are_days) = report.periods(MOST_HOURS);
    let most = periods.iter().map(|period| period.logins).max().unwrap_or(0);
    let name = if are_days { "day" } else { "hour" };
    writeln!(out, "\n {name:<18}{:>12}{:>10}   █ reach the mail server  ░ relieved", "logins", "relief")?;
    let skipped = periods.len().saturating_sub(MOST_DAYS.max(MOST_HOURS));
    for period in &periods[skipped..] {
        let when = if are_days {
            day(period.start_ms, &report.zone)
        } else {
            moment(period.start_ms, &report.zone, false)
        };
        let (full, light) = bar(period.passed, period.logins, most);
        writeln!(
            out,
            " {when:<18}{:>12}{:>10}   {}{}",
            number(period.logins),
            percent(share(period.relieved, period.logins)),
            "█".repeat(full),
            "░".repeat(light)
        )?;
    }
    if skipped > 0 {
        writeln!(out, " … and {skipped} days before; --output-format json has them all")?;
    }
    Ok(())
}

/// Characters for those that pass and for the others.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn bar(passed: u64, logins: u64, most: u64) -> (usize, usize) {
    let width = |count: u64| (share(count, most) * f64::from(BAR)).round() as usize;
    let whole = width(logins).max(usize::from(logins > 0));
    let full = width(passed).min(whole);
    (full, whole - full)
}

fn worst(report: &Report, out: &mut String) -> std::fmt::Result {
    if report.worst.is_empty() {
        return Ok(());
    }
    let name =
        report.worst.iter().map(|row| row.user.chars().count()).max().unwrap_or(0).clamp(NAME, 2 * NAME);
    writeln!(
        out,
        "\n {:<name$}{:>12}{:>12}{:>12}{:>10}",
        "worst pollers", "logins", "one every", "reach it", "relief"
    )?;
    for row in &report.worst {
        let user = super::super::problems::shown(row.user.as_bytes());
        let user: String = if user.chars().count() > name {
            user.chars().take(name - 1).chain(['…']).collect()
        } else {
            user
        };
        writeln!(
            out,
            " {user:<name$}{:>12}{:>12}{:>12}{:>10}",
            number(row.logins),
            row.every_s.map_or_else(|| "–".to_owned(), about),
            number(row.passed),
            percent(share(row.relieved, row.logins))
        )?;
    }
    if report.users_beyond > 0 {
        writeln!(
            out,
            " {} of users beyond those that fit in memory are not told apart",
            counted(report.users_beyond, "login", "logins")
        )?;
    }
    Ok(())
}

fn difference(report: &Report, against: &Against, out: &mut String) -> std::fmt::Result {
    let difference = &against.difference;
    let to = against
        .policy
        .as_ref()
        .map_or_else(|| "what happened".to_owned(), |other| format!("policy {}", policy(other)));
    writeln!(out, "\n difference to {to}")?;
    if let Some(counts) = &against.counts {
        writeln!(
            out,
            " relief {} here, {} there: {} relieved here, {} there",
            percent(report.counts.relief()),
            percent(counts.relief()),
            number(report.counts.relieved),
            number(counts.relieved)
        )?;
    }
    writeln!(
        out,
        " {} compared: {} the same{}, {} not",
        counted(difference.compared, "login", "logins"),
        number(difference.same),
        match difference.other_retry_after {
            0 => String::new(),
            count => format!(" ({} with another retry-after)", number(count)),
        },
        number(difference.different())
    )?;
    for kind in difference.kinds.iter().take(MOST_KINDS) {
        let first = kind.examples.first().map_or_else(String::new, |example| {
            format!(
                "first {} {}",
                moment(example.at_ms, &report.zone, true),
                super::super::problems::shown(example.user.as_bytes())
            )
        });
        writeln!(out, " {:>12}  {} here, {} there; {first}", number(kind.count), kind.policy, kind.other)?;
    }
    let more = difference.kinds.len().saturating_sub(MOST_KINDS);
    if more > 0 {
        writeln!(out, " … and {more} kinds more; --output-format json has them all")?;
    }
    Ok(())
}

fn own_lines(report: &Report, out: &mut String) -> std::fmt::Result {
    let log = &report.policy.log;
    if log.count > 0 {
        writeln!(out, "\n the policy wrote {}, the first:", counted(log.count, "log line", "log lines"))?;
        for line in &log.first {
            writeln!(out, "   {line}")?;
        }
    }
    if report.policy.failed_outcomes > 0 {
        writeln!(
            out,
            "\n the policy failed at {}",
            counted(report.policy.failed_outcomes, "outcome", "outcomes")
        )?;
    }
    Ok(())
}

fn problems(report: &Report, out: &mut String) -> std::fmt::Result {
    let problems = &report.logs.problems;
    if problems.malformed_lines > 0 {
        writeln!(
            out,
            "\n {} could not be read, the first:",
            counted(problems.malformed_lines, "line", "lines")
        )?;
        for problem in &problems.examples {
            writeln!(out, "   {problem}")?;
        }
    }
    for problem in &problems.cut_off {
        writeln!(out, "\n {} could not be read beyond line {}: {}", problem.log, problem.line, problem.why)?;
    }
    // If there is no login at all, the command says so of each log.
    if report.span.is_some() {
        for WithoutLogins { log, saw } in &problems.without_logins {
            writeln!(out, "\n {log} tells of no POP3 login; it has {saw}")?;
        }
    }
    for wrong in &problems.wrong_years {
        writeln!(out, "\n {wrong}")?;
    }
    if report.hours_beyond > 0 {
        writeln!(
            out,
            "\n {} at so many different hours that they are not told apart",
            counted(report.hours_beyond, "login is", "logins are")
        )?;
    }
    if problems.out_of_order > 0 {
        writeln!(
            out,
            "\n {} later in the log than they happened, by more than could be mended",
            counted(problems.out_of_order, "login stands", "logins stand")
        )?;
    }
    Ok(())
}
