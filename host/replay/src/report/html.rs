//! The report as one page that needs nothing else: no script, no font, no picture from anywhere.
//! What comes from a log is escaped; and the page allows nothing to be loaded or run.

use std::fmt::{self, Display, Write as _};

use super::chart::Chart;
use super::words::{about, counted, day, formats, moment, number, percent, policy, seconds, span, why, zone};
use super::{Against, CostFrom, Report};
use crate::problems::{WithoutLogins, shown};
use crate::tally::share;

/// Hours that the chart shows; of more, it shows days.
const MOST_HOURS: usize = 24 * 8;
/// Kinds of differences that are shown.
const MOST_KINDS: usize = 30;
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
    let title = format!("What {} would have done", report.policy.component);
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
    let names =
        report.logs.names.iter().take(4).map(|name| shown(name.as_bytes())).collect::<Vec<_>>().join(", ");
    let more = report.logs.names.len().saturating_sub(4);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let of = if report.logs.formats.is_empty() {
        String::new()
    } else {
        format!(" ({})", formats(&report.logs.formats))
    };
    writeln!(out, "<p class=\"quiet\">{}{more}{of}</p>", Escaped(&names))?;
    if let Some(when) = report.span {
        writeln!(out, "<p class=\"quiet\">{}</p>", Escaped(&span(when, report)))?;
    }
    writeln!(out, "</header>")?;
    if report.span.is_some() {
        in_short(report, out)?;
        over_time(report, out)?;
        worst(report, out)?;
        verdicts(report, out)?;
        if let Some(against) = &report.against {
            difference(report, against, out)?;
        }
    } else {
        writeln!(out, "<section><h2>No login</h2><p>The logs tell of no POP3 login.</p></section>")?;
    }
    what_was_read(report, out)?;
    writeln!(
        out,
        "<footer><p>Made by reprieve {} in {}. Policy <code>{}</code>, SHA-256 <code>{}</code>; its days change in {}.</p></footer>\n\
         </main>\n</body>\n</html>",
        env!("CARGO_PKG_VERSION"),
        seconds(report.took.as_secs_f64()),
        Escaped(&policy(&report.policy)),
        report.policy.sha256,
        Escaped(&zone(&report.zone))
    )
}

fn in_short(report: &Report, out: &mut String) -> fmt::Result {
    let counts = &report.counts;
    let (saved, cost) = match report.saved {
        Some(saved) => (
            seconds(saved.seconds),
            format!(
                "at {:.1} ms a login, {}",
                saved.login_cost_ms,
                match saved.cost_from {
                    CostFrom::Given => "as given",
                    CostFrom::Measured => "measured in the log",
                }
            ),
        ),
        None => ("?".to_owned(), "tell a login's cost by --login-cost".to_owned()),
    };
    let then = report
        .happened
        .map(|happened| format!("{} then, by the log", percent(share(happened.relieved, happened.logins))));
    writeln!(
        out,
        "<section aria-labelledby=\"short\">\n<h2 id=\"short\">In short</h2>\n<dl class=\"figures\">"
    )?;
    for (class, name, value, note) in [
        (
            " class=\"first\"",
            "Relief",
            percent(counts.relief()),
            then.unwrap_or_else(|| "of logins do not reach it".to_owned()),
        ),
        (
            "",
            "Reach the mail server",
            number(counts.passed),
            format!("of {}", counted(counts.logins, "login", "logins")),
        ),
        ("", "Relieved", number(counts.relieved), counted(report.users, "user", "users")),
        ("", "Server time saved", saved, cost),
    ] {
        writeln!(
            out,
            "<div{class}><dt>{name}</dt><dd class=\"value\">{value}</dd><dd class=\"note\">{}</dd></div>",
            Escaped(&note)
        )?;
    }
    let passed = share(counts.passed, counts.logins) * 100.0;
    writeln!(
        out,
        "</dl>\n<svg class=\"share\" viewBox=\"0 0 100 1\" preserveAspectRatio=\"none\" role=\"img\" aria-labelledby=\"share-title\">\
         <title id=\"share-title\">{passed:.1} percent of logins reach the mail server</title>\
         <rect class=\"relieved\" width=\"100\" height=\"1\"/><rect class=\"passed\" width=\"{passed:.2}\" height=\"1\"/></svg>\n</section>"
    )
}

fn over_time(report: &Report, out: &mut String) -> fmt::Result {
    let (periods, are_days) = report.periods(MOST_HOURS);
    let unit = if are_days { "Day by day" } else { "Hour by hour" };
    let square = |class| {
        format!(
            "<svg viewBox=\"0 0 1 1\" aria-hidden=\"true\"><rect class=\"{class}\" width=\"1\" height=\"1\"/></svg>"
        )
    };
    writeln!(
        out,
        "<section aria-labelledby=\"time\">\n<h2 id=\"time\">{unit}</h2>\n<figure>\n\
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
         <table><caption>Logins by the {}</caption>\n\
         <thead><tr><th scope=\"col\">{heading}</th><th scope=\"col\">Logins</th><th scope=\"col\">Reach the server</th><th scope=\"col\">Relieved</th><th scope=\"col\">Relief</th></tr></thead>\n<tbody>",
        heading.to_lowercase()
    )?;
    for period in &periods {
        let when = if are_days {
            day(period.start_ms, &report.zone)
        } else {
            moment(period.start_ms, &report.zone, false)
        };
        writeln!(
            out,
            "<tr><th scope=\"row\">{when}</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            number(period.logins),
            number(period.passed),
            number(period.relieved),
            percent(share(period.relieved, period.logins))
        )?;
    }
    writeln!(out, "</tbody></table>\n</div></details>\n</section>")
}

fn worst(report: &Report, out: &mut String) -> fmt::Result {
    if report.worst.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "<section aria-labelledby=\"worst\">\n<h2 id=\"worst\">Worst pollers</h2>\n<table>\n\
         <thead><tr><th scope=\"col\">User</th><th scope=\"col\">Logins</th><th scope=\"col\">One every</th><th scope=\"col\" class=\"less\">Reach the server</th><th scope=\"col\" class=\"relief\">Relief</th></tr></thead>\n<tbody>"
    )?;
    for row in &report.worst {
        let relief = share(row.relieved, row.logins);
        writeln!(
            out,
            "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td class=\"less\">{}</td><td>{}\
             <svg class=\"mini\" viewBox=\"0 0 100 1\" preserveAspectRatio=\"none\" aria-hidden=\"true\"><rect class=\"track\" width=\"100\" height=\"1\"/><rect class=\"relieved\" width=\"{:.2}\" height=\"1\"/></svg></td></tr>",
            Escaped(&shown(row.user.as_bytes())),
            number(row.logins),
            row.every_s.map_or_else(|| "–".to_owned(), about),
            number(row.passed),
            percent(relief),
            relief * 100.0
        )?;
    }
    writeln!(out, "</tbody></table>\n</section>")
}

/// What the policy said, and what was made of it.
fn verdicts(report: &Report, out: &mut String) -> fmt::Result {
    let counts = &report.counts;
    writeln!(
        out,
        "<section aria-labelledby=\"verdicts\">\n<h2 id=\"verdicts\">Verdicts</h2>\n<table>\n\
         <thead><tr><th scope=\"col\">What</th><th scope=\"col\">Logins</th><th scope=\"col\">Share</th></tr></thead>\n<tbody>"
    )?;
    let mut row = |what: &str, count: u64| {
        writeln!(
            out,
            "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td></tr>",
            Escaped(what),
            number(count),
            percent(share(count, counts.logins))
        )
    };
    row("Reach the mail server", counts.passed)?;
    for (why_not, count) in &counts.passed_though_denied {
        row(&format!("… though denied: {}", why(why_not)), *count)?;
    }
    for (count, what) in [
        (counts.posed, "Let in and answered by Reprieve"),
        (counts.upgraded, "… and went on at the mail server for what only that has"),
        (counts.refused, "Answered with -ERR"),
        (counts.disconnected, "Connection closed"),
    ] {
        if count > 0 {
            row(what, count)?;
        }
    }
    for (manner, count) in &counts.manners {
        row(&format!("Denials: {manner}"), *count)?;
    }
    for (reason, count) in &counts.reasons {
        row(&format!("Denials by reason: {reason}"), *count)?;
    }
    for (kind, count) in &counts.failures {
        row(&format!("The policy failed: {kind}"), *count)?;
    }
    if counts.rejected > 0 {
        row("Refused by the mail server (wrong passwords and the like)", counts.rejected)?;
    }
    writeln!(out, "</tbody></table>\n</section>")
}

fn difference(report: &Report, against: &Against, out: &mut String) -> fmt::Result {
    let difference = &against.difference;
    let to = against.policy.as_ref().map_or_else(|| "what happened".to_owned(), policy);
    writeln!(
        out,
        "<section aria-labelledby=\"difference\">\n<h2 id=\"difference\">Difference to {}</h2>",
        Escaped(&to)
    )?;
    if let Some(counts) = &against.counts {
        writeln!(
            out,
            "<p>Relief {} here and {} there: {} logins relieved here, {} there.</p>",
            percent(report.counts.relief()),
            percent(counts.relief()),
            number(report.counts.relieved),
            number(counts.relieved)
        )?;
    }
    writeln!(
        out,
        "<p>Of {} that can be compared, {} came out the same{} and {} did not.</p>",
        counted(difference.compared, "login", "logins"),
        number(difference.same),
        match difference.other_retry_after {
            0 => String::new(),
            count => format!(" ({} of them with another retry-after)", number(count)),
        },
        number(difference.different())
    )?;
    if difference.kinds.is_empty() {
        return writeln!(out, "</section>");
    }
    writeln!(
        out,
        "<table><thead><tr><th scope=\"col\" class=\"kind\">Here</th><th scope=\"col\" class=\"words kind\">There</th><th scope=\"col\">Logins</th><th scope=\"col\" class=\"words\">The first</th></tr></thead>\n<tbody>"
    )?;
    for kind in difference.kinds.iter().take(MOST_KINDS) {
        let first = kind.examples.first().map_or_else(String::new, |example| {
            format!("{} {}", moment(example.at_ms, &report.zone, true), shown(example.user.as_bytes()))
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
    let more = difference.kinds.len().saturating_sub(MOST_KINDS);
    if more > 0 {
        writeln!(out, "<p class=\"quiet\">… and {more} kinds more.</p>")?;
    }
    writeln!(out, "</section>")
}

fn what_was_read(report: &Report, out: &mut String) -> fmt::Result {
    let problems = &report.logs.problems;
    writeln!(
        out,
        "<section aria-labelledby=\"read\">\n<h2 id=\"read\">What was read</h2>\n<p>{} of {}; {} could not be read.</p>",
        counted(report.logs.lines, "line", "lines"),
        counted(report.logs.names.len() as u64, "log", "logs"),
        counted(problems.malformed_lines, "line", "lines")
    )?;
    let mut list = Vec::new();
    for problem in &problems.examples {
        list.push(format!(
            "{}:{}: {}: <code>{}</code>",
            Escaped(&shown(problem.log.as_bytes())),
            problem.line,
            Escaped(&problem.why),
            Escaped(&problem.text)
        ));
    }
    for problem in &problems.cut_off {
        list.push(format!(
            "{} could not be read beyond line {}: {}",
            Escaped(&shown(problem.log.as_bytes())),
            problem.line,
            Escaped(&problem.why)
        ));
    }
    for WithoutLogins { log, saw } in &problems.without_logins {
        let log = shown(log.as_bytes());
        list.push(format!("{} tells of no POP3 login; it has {}", Escaped(&log), Escaped(saw)));
    }
    for wrong in &problems.wrong_years {
        list.push(Escaped(&wrong.to_string()).to_string());
    }
    if problems.out_of_order > 0 {
        list.push(format!(
            "{} later in the log than they happened, by more than could be mended",
            counted(problems.out_of_order, "login stands", "logins stand")
        ));
    }
    if report.hours_beyond > 0 {
        list.push(format!(
            "{} at so many different hours that they are not told apart",
            counted(report.hours_beyond, "login is", "logins are")
        ));
    }
    if report.users_beyond > 0 {
        list.push(format!(
            "{} of users beyond those that fit in memory are not told apart",
            counted(report.users_beyond, "login", "logins")
        ));
    }
    for line in &report.policy.log.first {
        list.push(format!("the policy wrote: <code>{}</code>", Escaped(line)));
    }
    if !list.is_empty() {
        writeln!(out, "<ul class=\"plain\">")?;
        for item in list {
            writeln!(out, "<li>{item}</li>")?;
        }
        writeln!(out, "</ul>")?;
    }
    writeln!(out, "</section>")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_a_log_is_text_and_nothing_else() {
        assert_eq!(
            Escaped("<script>'x' & \"y\"</script>").to_string(),
            "&lt;script&gt;&#39;x&#39; &amp; &quot;y&quot;&lt;/script&gt;"
        );
    }
}
