//! The report as a table for a terminal.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use super::display::{
    NO_DELIVERIES, average_duration, counted, date, deliveries, duration, explanation, format_names,
    local_time, number, percent, policy, span, wait, waits,
};
use super::{Comparison, CostSource, Report};
use crate::new_mail::NewMail;
use crate::problems::{LogWithoutLogins, excerpt};
use crate::totals::{Totals, share};

/// If there are more hours, days are shown.
const MAX_HOURS: usize = 72;
/// How many days are shown.
const MAX_DAYS: usize = 62;
/// How many kinds of differences are shown.
const MAX_KINDS: usize = 12;
/// Width of the longest bar in characters.
const BAR_WIDTH: u32 = 24;
/// Minimum width of the column of user names in characters.
const NAME_WIDTH: usize = 24;

/// The report as a table.
#[must_use]
pub fn table(report: &Report) -> String {
    let mut text = String::new();
    write_table(report, &mut text).expect("writing to a string");
    text
}

fn write_table(report: &Report, out: &mut String) -> fmt::Result {
    let names = match &report.logs.names[..] {
        [one] => one.clone(),
        many => {
            format!("{} and {} more", many.first().map_or("", String::as_str), many.len().saturating_sub(1))
        }
    };
    let formats = match &report.logs.formats[..] {
        [] => String::new(),
        formats => format!(" ({})", format_names(formats)),
    };
    writeln!(out, "{names}{formats}, replayed with policy {}", policy(&report.policy))?;
    let lines = counted(report.logs.lines, "line", "lines");
    let Some(first_to_last) = report.span else {
        writeln!(out, "no POP3 login in {lines}")?;
        return problems(report, out);
    };
    writeln!(out, "{}", span(first_to_last, report))?;
    let logins = counted(report.totals.logins, "login", "logins");
    writeln!(out, "{lines}, {logins} of {}", counted(report.users, "user", "users"))?;
    writeln!(out)?;
    totals(report, out)?;
    saved_time(report, out)?;
    match &report.new_mail {
        Some(mail) => new_mail(mail, out)?,
        None => writeln!(out, "\n {NO_DELIVERIES}")?,
    }
    periods(report, out)?;
    top_pollers(report, out)?;
    if let Some(comparison) = &report.comparison {
        write_comparison(report, comparison, out)?;
    }
    policy_log(report, out)?;
    problems(report, out)
}

fn totals(report: &Report, out: &mut String) -> fmt::Result {
    let totals = &report.totals;
    let mut row = |name: &str, count: u64, note: &str| {
        let part = percent(share(count, totals.logins));
        let line = format!(" {name:<28}{:>12}  {part:>7}   {note}", number(count));
        writeln!(out, "{}", line.trim_end())
    };
    row("reach the mail server", totals.passed, "")?;
    row("relieved", totals.relieved, &manners_and_reasons(totals))?;
    for (because, count) in &totals.denied_but_passed {
        row("denied, but passed", *count, explanation(because))?;
    }
    if totals.upgraded > 0 {
        row("upgraded", totals.upgraded, "posed first, then continued at the mail server")?;
    }
    for (kind, count) in &totals.failures {
        row("policy failed", *count, kind)?;
    }
    if totals.rejected > 0 {
        row("rejected by the mail server", totals.rejected, "for example a wrong password")?;
    }
    if let Some(recorded) = report.recorded {
        row("relieved at that time", recorded.relieved, "according to the log")?;
    }
    Ok(())
}

fn saved_time(report: &Report, out: &mut String) -> fmt::Result {
    let (saved, note) = match report.saved_time {
        Some(saved) => {
            let source = match saved.cost_source {
                CostSource::Given => "set with --login-cost",
                CostSource::Measured => "measured in the log",
            };
            (duration(saved.total_s), format!("at {:.1} ms per login, {source}", saved.login_cost_ms))
        }
        None => ("?".to_owned(), "set the cost of a login, such as --login-cost 14ms".to_owned()),
    };
    writeln!(out, " {:<28}{saved:>12}            {note}", "server time saved")
}

fn new_mail(new_mail: &NewMail, out: &mut String) -> fmt::Result {
    let (name, relief) = ("delay of new mail", "relief");
    writeln!(out, "\n {name:<28}{relief:>10}{:>14}{:>14}{:>14}", "median", "90 %", "longest")?;
    for (name, waits) in waits(new_mail) {
        let [relief, median, p90, worst] =
            [percent(waits.relief), wait(waits.median_s), wait(waits.p90_s), wait(waits.worst_s)];
        writeln!(out, " {name:<28}{relief:>10}{median:>14}{p90:>14}{worst:>14}")?;
    }
    writeln!(out, " {}", deliveries(new_mail))
}

/// The manners and reasons of denials: only their names if there is one of each.
fn manners_and_reasons(totals: &Totals) -> String {
    fn list(counts: &BTreeMap<String, u64>) -> String {
        let mut counts: Vec<_> = counts.iter().collect();
        counts.sort_by(|a, b| b.1.cmp(a.1));
        let items: Vec<_> =
            counts.iter().map(|(label, count)| format!("{label} {}", number(**count))).collect();
        items.join(", ")
    }
    let names = |counts: &BTreeMap<String, u64>| counts.keys().cloned().collect::<Vec<_>>().join(", ");
    match (totals.manners.len(), totals.reasons.len()) {
        (0, _) => String::new(),
        (1, 1) => format!("{}, {}", names(&totals.manners), names(&totals.reasons)),
        _ => format!("denials: {}; {}", list(&totals.manners), list(&totals.reasons)),
    }
}

fn periods(report: &Report, out: &mut String) -> fmt::Result {
    let (periods, are_days) = report.periods(MAX_HOURS);
    let most = periods.iter().map(|period| period.logins).max().unwrap_or(0);
    let name = if are_days { "day" } else { "hour" };
    writeln!(out, "\n {name:<18}{:>12}{:>10}   █ reach the mail server  ░ relieved", "logins", "relief")?;
    let skipped = periods.len().saturating_sub(MAX_DAYS.max(MAX_HOURS));
    for period in &periods[skipped..] {
        let start = if are_days {
            date(period.start_ms, &report.zone)
        } else {
            local_time(period.start_ms, &report.zone, false)
        };
        let (passed, relieved) = bar(period.passed, period.logins, most);
        writeln!(
            out,
            " {start:<18}{:>12}{:>10}   {}{}",
            number(period.logins),
            percent(share(period.relieved, period.logins)),
            "█".repeat(passed),
            "░".repeat(relieved)
        )?;
    }
    if skipped > 0 {
        writeln!(out, " {skipped} earlier days are not shown; --output-format json has all")?;
    }
    Ok(())
}

/// Widths in characters of the passed and the relieved part of a bar.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn bar(passed: u64, logins: u64, most: u64) -> (usize, usize) {
    let width = |count: u64| (share(count, most) * f64::from(BAR_WIDTH)).round() as usize;
    let whole = width(logins).max(usize::from(logins > 0));
    let passed = width(passed).min(whole);
    (passed, whole - passed)
}

fn top_pollers(report: &Report, out: &mut String) -> fmt::Result {
    if report.top_pollers.is_empty() {
        return Ok(());
    }
    let longest = report.top_pollers.iter().map(|row| row.user.chars().count()).max().unwrap_or(0);
    let width = longest.clamp(NAME_WIDTH, 2 * NAME_WIDTH);
    writeln!(
        out,
        "\n {:<width$}{:>12}{:>12}{:>12}{:>10}",
        "top pollers", "logins", "one every", "passed", "relief"
    )?;
    for row in &report.top_pollers {
        let mut user = excerpt(row.user.as_bytes());
        if user.chars().count() > width {
            user = user.chars().take(width - 1).chain(['…']).collect();
        }
        writeln!(
            out,
            " {user:<width$}{:>12}{:>12}{:>12}{:>10}",
            number(row.logins),
            row.average_interval_s.map_or_else(|| "–".to_owned(), average_duration),
            number(row.passed),
            percent(share(row.relieved, row.logins))
        )?;
    }
    if report.logins_beyond_user_limit > 0 {
        let logins = counted(report.logins_beyond_user_limit, "login", "logins");
        writeln!(out, " {logins} of further users, who do not fit in memory, are not in this list")?;
    }
    Ok(())
}

fn write_comparison(report: &Report, comparison: &Comparison, out: &mut String) -> fmt::Result {
    let differences = &comparison.differences;
    let other = comparison.policy.as_ref().map_or_else(
        || "what happened according to the log".to_owned(),
        |other| format!("policy {}", policy(other)),
    );
    writeln!(out, "\n compared with {other}")?;
    if let Some(other) = &comparison.totals {
        writeln!(
            out,
            " relief {} instead of {}: {} relieved instead of {}",
            percent(report.totals.relief()),
            percent(other.relief()),
            number(report.totals.relieved),
            number(other.relieved)
        )?;
    }
    if let Some(mail) = &comparison.new_mail {
        new_mail(mail, out)?;
        writeln!(out)?;
    }
    let retry_after = match differences.different_retry_after {
        0 => String::new(),
        count => format!(" ({} with a different retry-after)", number(count)),
    };
    writeln!(
        out,
        " {} compared: {} equal{retry_after}, {} different",
        counted(differences.compared, "login", "logins"),
        number(differences.same),
        number(differences.different())
    )?;
    for kind in differences.kinds.iter().take(MAX_KINDS) {
        let first = kind.examples.first().map_or_else(String::new, |example| {
            let time = local_time(example.at_ms, &report.zone, true);
            format!("; first: {time} {}", excerpt(example.user.as_bytes()))
        });
        writeln!(out, " {:>12}  {} instead of {}{first}", number(kind.count), kind.policy, kind.other)?;
    }
    let more = differences.kinds.len().saturating_sub(MAX_KINDS);
    if more > 0 {
        writeln!(out, " {more} more kinds are not shown; --output-format json has all")?;
    }
    Ok(())
}

fn policy_log(report: &Report, out: &mut String) -> fmt::Result {
    let log = &report.policy.log;
    if log.count > 0 {
        writeln!(out, "\n the policy logged {}, the first:", counted(log.count, "line", "lines"))?;
        for line in &log.first {
            writeln!(out, "   {line}")?;
        }
    }
    if report.policy.failed_outcomes > 0 {
        let outcomes = counted(report.policy.failed_outcomes, "outcome", "outcomes");
        writeln!(out, "\n the policy failed at {outcomes}")?;
    }
    Ok(())
}

fn problems(report: &Report, out: &mut String) -> fmt::Result {
    let problems = &report.logs.problems;
    if problems.malformed_lines > 0 {
        let lines = counted(problems.malformed_lines, "line", "lines");
        writeln!(out, "\n {lines} could not be read, the first:")?;
        for problem in &problems.examples {
            writeln!(out, "   {problem}")?;
        }
    }
    for log in &problems.truncated_logs {
        writeln!(out, "\n {} could not be read after line {}: {}", log.log, log.line, log.reason)?;
    }
    // If there is no login at all, the command says so for each log.
    if report.span.is_some() {
        for LogWithoutLogins { log, contents } in &problems.without_logins {
            writeln!(out, "\n {log} has no POP3 logins; it has {contents}")?;
        }
    }
    for wrong_year in &problems.wrong_years {
        writeln!(out, "\n {wrong_year}")?;
    }
    if report.logins_beyond_hour_limit > 0 {
        let logins = counted(report.logins_beyond_hour_limit, "login", "logins");
        writeln!(out, "\n {logins} in further hours are missing above; are the timestamps right?")?;
    }
    if problems.out_of_order > 0 {
        let logins = counted(problems.out_of_order, "login", "logins");
        writeln!(out, "\n {logins} replayed too late: too far out of order in the log")?;
    }
    Ok(())
}
