//! The report as one self-contained page without scripts. Text from logs is escaped, and the page's
//! content security policy allows nothing to be loaded or run.

use std::fmt::{self, Display, Write as _};

use super::chart::Chart;
use super::display::{
    NO_DELIVERIES, average_duration, counted, date, deliveries, duration, explanation, format_names,
    local_time, number, percent, policy, span, wait, waits, zone_name,
};
use super::{Comparison, CostSource, Report};
use crate::differences::DifferenceKind;
use crate::new_mail::NewMail;
use crate::problems::{LogWithoutLogins, excerpt};
use crate::totals::share;

/// If there are more hours, the chart has days.
const MAX_HOURS: usize = 24 * 8;
/// How many kinds of differences are shown.
const MAX_KINDS: usize = 30;
/// How many logs are named.
const MAX_LOGS: usize = 4;
const STYLE: &str = include_str!("page.css");

/// Text as HTML.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}

/// The report as a page.
#[must_use]
pub fn page(report: &Report) -> String {
    let mut page = String::with_capacity(64 << 10);
    write_page(report, &mut page).expect("writing to a string");
    page
}

fn write_page(report: &Report, out: &mut String) -> fmt::Result {
    header(report, out)?;
    if report.span.is_some() {
        summary(report, out)?;
        new_mail(report, out)?;
        logins_over_time(report, out)?;
        top_pollers(report, out)?;
        verdicts(report, out)?;
        if let Some(comparison) = &report.comparison {
            write_comparison(report, comparison, out)?;
        }
    } else {
        writeln!(out, "<section><h2>No logins</h2><p>The logs have no POP3 logins.</p></section>")?;
    }
    input(report, out)?;
    writeln!(
        out,
        "<footer><p>Made by reprieve {} in {}. Policy <code>{}</code>, SHA-256 <code>{}</code>; time zone {}.</p></footer>\n\
         </main>\n</body>\n</html>",
        env!("CARGO_PKG_VERSION"),
        duration(report.duration.as_secs_f64()),
        Escaped(&policy(&report.policy)),
        report.policy.sha256,
        Escaped(&zone_name(&report.zone))
    )
}

fn header(report: &Report, out: &mut String) -> fmt::Result {
    let title = format!("Replay with policy {}", report.policy.component);
    writeln!(
        out,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n<header>\n<h1>{}</h1>",
        Escaped(&title),
        Escaped(&title)
    )?;
    let settings = &report.policy.settings;
    if !settings.is_empty() {
        let settings: Vec<_> = settings.iter().map(|(key, value)| format!("{key} = {value}")).collect();
        writeln!(out, "<p>{}</p>", Escaped(&settings.join(", ")))?;
    }
    let names = report.logs.names.iter().take(MAX_LOGS).map(|name| excerpt(name.as_bytes()));
    let names = names.collect::<Vec<_>>().join(", ");
    let more = match report.logs.names.len().saturating_sub(MAX_LOGS) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let formats = match &report.logs.formats[..] {
        [] => String::new(),
        formats => format!(" ({})", format_names(formats)),
    };
    writeln!(out, "<p class=\"quiet\">{}{more}{formats}</p>", Escaped(&names))?;
    if let Some(first_to_last) = report.span {
        writeln!(out, "<p class=\"quiet\">{}</p>", Escaped(&span(first_to_last, report)))?;
    }
    writeln!(out, "</header>")
}

fn summary(report: &Report, out: &mut String) -> fmt::Result {
    let totals = &report.totals;
    let (saved, cost) = match report.saved_time {
        Some(saved) => {
            let source = match saved.cost_source {
                CostSource::Given => "set with --login-cost",
                CostSource::Measured => "measured in the log",
            };
            (duration(saved.total_s), format!("at {:.1} ms per login, {source}", saved.login_cost_ms))
        }
        None => ("?".to_owned(), "set the cost of a login with --login-cost".to_owned()),
    };
    let relief_note = report.recorded.map_or_else(
        || "of logins do not reach the mail server".to_owned(),
        |recorded| format!("{} according to the log", percent(share(recorded.relieved, recorded.logins))),
    );
    writeln!(
        out,
        "<section aria-labelledby=\"summary\">\n<h2 id=\"summary\">Summary</h2>\n<dl class=\"figures\">"
    )?;
    let of_logins = format!("of {}", counted(totals.logins, "login", "logins"));
    for (class, name, value, note) in [
        (" class=\"first\"", "Relief", percent(totals.relief()), relief_note),
        ("", "Reach the mail server", number(totals.passed), of_logins),
        ("", "Relieved", number(totals.relieved), counted(report.users, "user", "users")),
        ("", "Server time saved", saved, cost),
    ] {
        writeln!(
            out,
            "<div{class}><dt>{name}</dt><dd class=\"value\">{value}</dd><dd class=\"note\">{}</dd></div>",
            Escaped(&note)
        )?;
    }
    let passed = share(totals.passed, totals.logins) * 100.0;
    writeln!(
        out,
        "</dl>\n<svg class=\"share\" viewBox=\"0 0 100 1\" preserveAspectRatio=\"none\" role=\"img\" aria-labelledby=\"share-title\">\
         <title id=\"share-title\">{passed:.1} percent of logins reach the mail server</title>\
         <rect class=\"relieved\" width=\"100\" height=\"1\"/><rect class=\"passed\" width=\"{passed:.2}\" height=\"1\"/></svg>\n</section>"
    )
}

fn new_mail(report: &Report, out: &mut String) -> fmt::Result {
    writeln!(out, "<section aria-labelledby=\"new-mail\">\n<h2 id=\"new-mail\">Delay of new mail</h2>")?;
    match &report.new_mail {
        Some(new_mail) => wait_table(new_mail, out)?,
        None => writeln!(out, "<p>{NO_DELIVERIES}</p>")?,
    }
    writeln!(out, "</section>")
}

fn wait_table(new_mail: &NewMail, out: &mut String) -> fmt::Result {
    writeln!(
        out,
        "<table>\n<thead><tr><th scope=\"col\">Policy</th><th scope=\"col\">Relief</th><th scope=\"col\">Median</th><th scope=\"col\">90 %</th><th scope=\"col\">Longest</th></tr></thead>\n<tbody>"
    )?;
    for (name, waits) in waits(new_mail) {
        writeln!(
            out,
            "<tr><th scope=\"row\">{name}</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            percent(waits.relief),
            wait(waits.median_s),
            wait(waits.p90_s),
            wait(waits.worst_s)
        )?;
    }
    writeln!(out, "</tbody></table>\n<p>{}</p>", deliveries(new_mail))
}

fn logins_over_time(report: &Report, out: &mut String) -> fmt::Result {
    let (periods, are_days) = report.periods(MAX_HOURS);
    let unit = if are_days { "day" } else { "hour" };
    let square = |class| {
        format!(
            "<svg viewBox=\"0 0 1 1\" aria-hidden=\"true\"><rect class=\"{class}\" width=\"1\" height=\"1\"/></svg>"
        )
    };
    writeln!(
        out,
        "<section aria-labelledby=\"time\">\n<h2 id=\"time\">Logins per {unit}</h2>\n<figure>\n\
         <ul class=\"legend\"><li>{}reach the mail server</li><li>{}relieved</li></ul>",
        square("passed"),
        square("relieved")
    )?;
    for (id, width, height) in [("wide", 960, 280), ("narrow", 340, 230)] {
        let chart = Chart { periods: &periods, are_days, zone: &report.zone, id, width, height };
        out.push_str(&chart.svg());
    }
    let heading = if are_days { "Day" } else { "Hour" };
    writeln!(
        out,
        "</figure>\n<details><summary>All figures</summary>\n<div class=\"long\" role=\"region\" aria-label=\"All figures\" tabindex=\"0\">\n\
         <table><caption>Logins per {unit}</caption>\n\
         <thead><tr><th scope=\"col\">{heading}</th><th scope=\"col\">Logins</th><th scope=\"col\">Reach the server</th><th scope=\"col\">Relieved</th><th scope=\"col\">Relief</th></tr></thead>\n<tbody>"
    )?;
    for period in &periods {
        let start = if are_days {
            date(period.start_ms, &report.zone)
        } else {
            local_time(period.start_ms, &report.zone, false)
        };
        writeln!(
            out,
            "<tr><th scope=\"row\">{start}</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            number(period.logins),
            number(period.passed),
            number(period.relieved),
            percent(share(period.relieved, period.logins))
        )?;
    }
    writeln!(out, "</tbody></table>\n</div></details>\n</section>")
}

fn top_pollers(report: &Report, out: &mut String) -> fmt::Result {
    if report.top_pollers.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "<section aria-labelledby=\"pollers\">\n<h2 id=\"pollers\">Top pollers</h2>\n<table>\n\
         <thead><tr><th scope=\"col\">User</th><th scope=\"col\">Logins</th><th scope=\"col\">One every</th><th scope=\"col\" class=\"less\">Reach the server</th><th scope=\"col\" class=\"relief\">Relief</th></tr></thead>\n<tbody>"
    )?;
    for row in &report.top_pollers {
        let relief = share(row.relieved, row.logins);
        writeln!(
            out,
            "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td class=\"less\">{}</td><td>{}\
             <svg class=\"mini\" viewBox=\"0 0 100 1\" preserveAspectRatio=\"none\" aria-hidden=\"true\"><rect class=\"track\" width=\"100\" height=\"1\"/><rect class=\"relieved\" width=\"{:.2}\" height=\"1\"/></svg></td></tr>",
            Escaped(&excerpt(row.user.as_bytes())),
            number(row.logins),
            row.average_interval_s.map_or_else(|| "–".to_owned(), average_duration),
            number(row.passed),
            percent(relief),
            relief * 100.0
        )?;
    }
    writeln!(out, "</tbody></table>\n</section>")
}

/// The verdicts of the policy and what would have happened after them.
fn verdicts(report: &Report, out: &mut String) -> fmt::Result {
    let totals = &report.totals;
    writeln!(
        out,
        "<section aria-labelledby=\"verdicts\">\n<h2 id=\"verdicts\">Verdicts</h2>\n<table>\n\
         <thead><tr><th scope=\"col\">Result</th><th scope=\"col\">Logins</th><th scope=\"col\">Share</th></tr></thead>\n<tbody>"
    )?;
    let mut rows = vec![("Reach the mail server".to_owned(), totals.passed)];
    for (because, count) in &totals.denied_but_passed {
        rows.push((format!("… although denied: {}", explanation(because)), *count));
    }
    let optional = [
        ("Posed: accepted and answered by Reprieve", totals.posed),
        ("… of these, upgraded: continued at the mail server", totals.upgraded),
        ("Refused with -ERR", totals.refused),
        ("Disconnected", totals.disconnected),
    ];
    rows.extend(
        optional.into_iter().filter(|(_, count)| *count > 0).map(|(text, count)| (text.into(), count)),
    );
    rows.extend(
        totals.manners.iter().map(|(manner, count)| (format!("Denials with manner {manner}"), *count)),
    );
    rows.extend(
        totals.reasons.iter().map(|(reason, count)| (format!("Denials with reason {reason}"), *count)),
    );
    rows.extend(totals.failures.iter().map(|(kind, count)| (format!("Policy failures: {kind}"), *count)));
    if totals.rejected > 0 {
        let text = "Rejected by the mail server, for example because of a wrong password";
        rows.push((text.to_owned(), totals.rejected));
    }
    for (text, count) in rows {
        writeln!(
            out,
            "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td></tr>",
            Escaped(&text),
            number(count),
            percent(share(count, totals.logins))
        )?;
    }
    writeln!(out, "</tbody></table>\n</section>")
}

fn write_comparison(report: &Report, comparison: &Comparison, out: &mut String) -> fmt::Result {
    let differences = &comparison.differences;
    let other =
        comparison.policy.as_ref().map_or_else(|| "what happened according to the log".to_owned(), policy);
    writeln!(
        out,
        "<section aria-labelledby=\"comparison\">\n<h2 id=\"comparison\">Compared with {}</h2>",
        Escaped(&other)
    )?;
    if let Some(other) = &comparison.totals {
        writeln!(
            out,
            "<p>Relief is {} instead of {}: {} logins relieved instead of {}.</p>",
            percent(report.totals.relief()),
            percent(other.relief()),
            number(report.totals.relieved),
            number(other.relieved)
        )?;
    }
    if let Some(new_mail) = &comparison.new_mail {
        wait_table(new_mail, out)?;
    }
    let retry_after = match differences.different_retry_after {
        0 => String::new(),
        count => format!(" ({} of them with a different retry-after)", number(count)),
    };
    writeln!(
        out,
        "<p>Of {} that can be compared, {} have equal verdicts{retry_after} and {} different ones.</p>",
        counted(differences.compared, "login", "logins"),
        number(differences.same),
        number(differences.different())
    )?;
    if !differences.kinds.is_empty() {
        let other = if comparison.policy.is_some() { "Other policy" } else { "Log" };
        difference_table(report, &differences.kinds, other, out)?;
    }
    writeln!(out, "</section>")
}

fn difference_table(report: &Report, kinds: &[DifferenceKind], other: &str, out: &mut String) -> fmt::Result {
    writeln!(
        out,
        "<table><thead><tr><th scope=\"col\" class=\"kind\">This policy</th><th scope=\"col\" class=\"words kind\">{other}</th><th scope=\"col\">Logins</th><th scope=\"col\" class=\"words\">First</th></tr></thead>\n<tbody>"
    )?;
    for kind in kinds.iter().take(MAX_KINDS) {
        let first = kind.examples.first().map_or_else(String::new, |example| {
            format!("{} {}", local_time(example.at_ms, &report.zone, true), excerpt(example.user.as_bytes()))
        });
        writeln!(
            out,
            "<tr><th scope=\"row\" class=\"kind\">{}</th><td class=\"words kind\">{}</td><td>{}</td><td class=\"words\">{}</td></tr>",
            Escaped(&kind.policy),
            Escaped(&kind.other),
            number(kind.count),
            Escaped(&first)
        )?;
    }
    writeln!(out, "</tbody></table>")?;
    let more = kinds.len().saturating_sub(MAX_KINDS);
    if more > 0 {
        writeln!(out, "<p class=\"quiet\">{more} more kinds are not shown.</p>")?;
    }
    Ok(())
}

fn input(report: &Report, out: &mut String) -> fmt::Result {
    writeln!(
        out,
        "<section aria-labelledby=\"input\">\n<h2 id=\"input\">Input</h2>\n<p>{} in {}; {} could not be read.</p>",
        counted(report.logs.lines, "line", "lines"),
        counted(report.logs.names.len() as u64, "log", "logs"),
        counted(report.logs.problems.malformed_lines, "line", "lines")
    )?;
    let notes = notes(report);
    if !notes.is_empty() {
        writeln!(out, "<ul class=\"plain\">")?;
        for note in notes {
            writeln!(out, "<li>{note}</li>")?;
        }
        writeln!(out, "</ul>")?;
    }
    writeln!(out, "</section>")
}

/// Notes about problems with the logs and what the policy has logged, as HTML.
fn notes(report: &Report) -> Vec<String> {
    let problems = &report.logs.problems;
    let escaped_excerpt = |text: &str| Escaped(&excerpt(text.as_bytes())).to_string();
    let mut notes = Vec::new();
    for problem in &problems.examples {
        notes.push(format!(
            "{}:{}: {}: <code>{}</code>",
            escaped_excerpt(&problem.log),
            problem.line,
            Escaped(&problem.reason),
            Escaped(&problem.text)
        ));
    }
    for log in &problems.truncated_logs {
        notes.push(format!(
            "{} could not be read after line {}: {}",
            escaped_excerpt(&log.log),
            log.line,
            Escaped(&log.reason)
        ));
    }
    for LogWithoutLogins { log, contents } in &problems.without_logins {
        notes.push(format!("{} has no POP3 logins; it has {}", escaped_excerpt(log), Escaped(contents)));
    }
    notes.extend(problems.wrong_years.iter().map(|wrong| Escaped(&wrong.to_string()).to_string()));
    if problems.out_of_order > 0 {
        let logins = counted(problems.out_of_order, "login", "logins");
        notes.push(format!("{logins} replayed too late: too far out of order in the log"));
    }
    if report.logins_beyond_hour_limit > 0 {
        let logins = counted(report.logins_beyond_hour_limit, "login", "logins");
        notes.push(format!("{logins} in further hours are missing in the chart; are the timestamps right?"));
    }
    if report.logins_beyond_user_limit > 0 {
        let logins = counted(report.logins_beyond_user_limit, "login", "logins");
        notes.push(format!(
            "{logins} of further users, who do not fit in memory, are missing in the top pollers"
        ));
    }
    for line in &report.policy.log.first {
        notes.push(format!("the policy logged: <code>{}</code>", Escaped(line)));
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_a_log_is_escaped() {
        assert_eq!(
            Escaped("<script>'x' & \"y\"</script>").to_string(),
            "&lt;script&gt;&#39;x&#39; &amp; &quot;y&quot;&lt;/script&gt;"
        );
    }
}
