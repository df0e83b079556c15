//! What came of scenarios, for people and for machines.

use std::io::{self, Write};

use serde_json::json;

use super::run::{Failed, Played};
use crate::harness::text_in_words as in_words;

/// How a report looks.
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Text for people
    #[default]
    Human,
    /// One JSON object
    Json,
    /// JUnit XML, for continuous integration
    Junit,
}

/// Writes a report. `colour`: whether people's terminals show colours.
///
/// # Errors
/// Where it cannot be written.
pub fn write(
    out: &mut impl Write,
    format: Format,
    policy: &str,
    played: &[Played],
    colour: bool,
) -> io::Result<()> {
    match format {
        Format::Human => human(out, played, colour),
        Format::Json => machine(out, policy, played),
        Format::Junit => junit(out, policy, played),
    }
}

fn human(out: &mut impl Write, played: &[Played], colour: bool) -> io::Result<()> {
    let paint = |code: &str, text: &str| {
        if colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    };
    for one in played {
        let mark = if one.is_good() { paint("32", "✓") } else { paint("31", "✗") };
        writeln!(out, "{mark} {}{}", one.name, paint("2", &figures(one)))?;
        if let Some(why) = &one.unreadable {
            writeln!(out, "    {}", paint("31", why))?;
        }
        if !one.is_good() {
            for line in &one.start_log {
                writeln!(out, "    log at the start: {line}")?;
            }
        }
        for failed in &one.failed {
            let who = failed.user.as_ref().map(|user| format!(", {}", in_words(user))).unwrap_or_default();
            let place =
                if failed.line > 0 { format!("{}:{}", one.file, failed.line) } else { one.file.clone() };
            let at = if failed.at.is_empty() { String::new() } else { format!(" at {}", failed.at) };
            writeln!(out, "    {place}{at}{who}")?;
            for (what, expected, got) in &failed.differences {
                writeln!(out, "      {what}")?;
                writeln!(out, "        {}", paint("32", &format!("expected: {expected}")))?;
                writeln!(out, "        {}", paint("31", &format!("got:      {got}")))?;
            }
            if let Some(decision) = &failed.decision {
                writeln!(out, "      decision: {decision}")?;
            }
            if let Some(held) = &failed.held {
                let words = if held.is_empty() { " nothing" } else { "" };
                writeln!(out, "      the store holds:{words}")?;
                for entry in held {
                    writeln!(out, "        {entry}")?;
                }
            }
            for (what, lines) in [("store", &failed.store), ("log", &failed.log)] {
                for line in lines {
                    writeln!(out, "      {what}: {line}")?;
                }
            }
        }
        if one.more_failed > 0 {
            writeln!(out, "    and {} more like these", one.more_failed)?;
        }
    }
    let failed = played.iter().filter(|one| !one.is_good()).count();
    let good = played.len() - failed;
    let summary = format!("{good} passed, {failed} failed");
    writeln!(out, "{}", paint(if failed == 0 { "32" } else { "31" }, &summary))
}

fn figures(one: &Played) -> String {
    if one.logins == 0 {
        return String::new();
    }
    #[allow(clippy::cast_precision_loss)]
    let relief = (one.logins - one.passed) as f64 * 100.0 / one.logins as f64;
    format!(
        " — {}, {}, {} went on, relief {relief:.0} %, {} in {:.0} ms",
        count(one.steps, "step"),
        count(one.logins, "login"),
        one.passed,
        span(one.virtual_time.as_secs()),
        one.real_time.as_secs_f64() * 1000.0
    )
}

fn count(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// Seconds as people say them.
fn span(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

fn machine(out: &mut impl Write, policy: &str, played: &[Played]) -> io::Result<()> {
    let scenarios: Vec<_> = played
        .iter()
        .map(|one| {
            json!({
                "name": one.name,
                "file": one.file,
                "good": one.is_good(),
                "steps": one.steps,
                "logins": one.logins,
                "passed": one.passed,
                "virtual-s": one.virtual_time.as_secs_f64(),
                "real-s": one.real_time.as_secs_f64(),
                "failed": one.failed.iter().map(failed_in_json).collect::<Vec<_>>(),
                "more-failed": one.more_failed,
                "start-log": one.start_log,
                "unreadable": one.unreadable,
            })
        })
        .collect();
    let failed = played.iter().filter(|one| !one.is_good()).count();
    let report = json!({ "policy": policy, "good": failed == 0, "failed": failed, "scenarios": scenarios });
    serde_json::to_writer_pretty(&mut *out, &report)?;
    writeln!(out)
}

fn failed_in_json(failed: &Failed) -> serde_json::Value {
    let differences: Vec<_> = failed
        .differences
        .iter()
        .map(|(what, expected, got)| json!({ "what": what, "expected": expected, "got": got }))
        .collect();
    json!({
        "line": failed.line,
        "at": failed.at,
        "user": failed.user,
        "differences": differences,
        "decision": failed.decision,
        "log": failed.log,
        "store": failed.store,
        "store-held": failed.held,
    })
}

fn junit(out: &mut impl Write, policy: &str, played: &[Played]) -> io::Result<()> {
    let failures = played.iter().filter(|one| !one.is_good()).count();
    let seconds: f64 = played.iter().map(|one| one.real_time.as_secs_f64()).sum();
    writeln!(out, r#"<?xml version="1.0" encoding="UTF-8"?>"#)?;
    writeln!(
        out,
        r#"<testsuites><testsuite name="{}" tests="{}" failures="{failures}" errors="0" time="{seconds:.3}">"#,
        xml(policy),
        played.len()
    )?;
    for one in played {
        write!(
            out,
            r#"  <testcase classname="{}" name="{}" time="{:.3}">"#,
            xml(&one.file),
            xml(&one.name),
            one.real_time.as_secs_f64()
        )?;
        if !one.is_good() {
            let mut words = Vec::new();
            human(&mut words, std::slice::from_ref(one), false)?;
            let first = one.failed.first().and_then(|failed| failed.differences.first());
            let message = match (&one.unreadable, first) {
                (Some(why), _) => why.clone(),
                (None, Some((what, expected, got))) => format!("{what}: expected {expected}, got {got}"),
                (None, None) => String::new(),
            };
            write!(
                out,
                "\n    <failure message=\"{}\">{}</failure>\n  ",
                xml(&message),
                xml(&String::from_utf8_lossy(&words))
            )?;
        }
        writeln!(out, "</testcase>")?;
    }
    writeln!(out, "</testsuite></testsuites>")
}

/// Text for XML 1.0, which has no place for most control characters.
fn xml(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(character),
            character if character.is_control() || matches!(character, '\u{FFFE}' | '\u{FFFF}') => {
                out.extend(character.escape_unicode());
            }
            character => out.push(character),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xml_has_no_control_characters() {
        assert_eq!(xml("a<b>&\"\u{1b}[2J\r\n"), "a&lt;b&gt;&amp;&quot;\\u{1b}[2J\\u{d}\n");
    }

    fn failed() -> Played {
        Played {
            name: "one".to_owned(),
            file: "one.toml".to_owned(),
            steps: 1,
            logins: 2,
            passed: 1,
            failed: vec![Failed {
                line: 7,
                at: "2026-03-10 12:00:00".to_owned(),
                user: Some("a\u{1b}[2J".to_owned()),
                differences: vec![("manner".to_owned(), "busy".to_owned(), "empty".to_owned())],
                held: Some(Vec::new()),
                ..Failed::default()
            }],
            more_failed: 3,
            ..Played::default()
        }
    }

    fn report(format: Format, colour: bool) -> String {
        let mut out = Vec::new();
        write(&mut out, format, "p.wasm", &[Played::default(), failed()], colour).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn people_are_told_what_was_expected_and_what_came() {
        let report = report(Format::Human, false);
        for expected in [
            "✗ one — 1 step, 2 logins, 1 went on, relief 50 %, 0 s in 0 ms",
            "one.toml:7 at 2026-03-10 12:00:00, \"a\\u{1b}[2J\"",
            "manner\n        expected: busy\n        got:      empty\n",
            "the store holds: nothing",
            "and 3 more like these",
            "1 passed, 1 failed",
        ] {
            assert!(report.contains(expected), "{expected:?} is not in:\n{report}");
        }
        assert!(!report.contains('\u{1b}'), "no colours, and no escapes of a user's name");
    }

    #[test]
    fn colours_are_there_where_they_are_wanted() {
        let report = report(Format::Human, true);
        assert!(report.contains("\u{1b}[32m✓\u{1b}[0m") && report.contains("\u{1b}[31m✗\u{1b}[0m"));
        assert!(!report.contains("\u{1b}[2J"), "{report}");
    }

    #[test]
    fn spans_are_told_as_people_say_them() {
        assert_eq!([span(5), span(600), span(36_000), span(1_000_000)], ["5 s", "10 min", "10 h", "11 days"]);
    }
}
