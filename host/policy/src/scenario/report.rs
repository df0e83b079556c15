//! Writes the results of scenarios as text, JSON or JUnit XML.

use std::io::{self, Write};

use serde_json::json;

use super::result::{ScenarioResult, StepFailure};
use crate::harness::quoted;

/// Format of a report.
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

/// Writes a report. `colour`: whether [`Format::Human`] uses terminal colours.
///
/// # Errors
/// `out` cannot be written to.
pub fn write(
    out: &mut impl Write,
    format: Format,
    policy: &str,
    results: &[ScenarioResult],
    colour: bool,
) -> io::Result<()> {
    match format {
        Format::Human => write_text(out, results, colour),
        Format::Json => write_json(out, policy, results),
        Format::Junit => write_junit(out, policy, results),
    }
}

fn write_text(out: &mut impl Write, results: &[ScenarioResult], colour: bool) -> io::Result<()> {
    let paint = |code: &str, text: &str| {
        if colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    };
    let shared = shared_causes(results);
    for (cause, times) in &shared {
        writeln!(out, "{}", paint("31", &format!("{times} scenarios fail because {cause}")))?;
    }
    let several_files = results.iter().any(|result| result.file != results[0].file);
    let mut file = "";
    for result in results {
        if several_files && result.file != file {
            file = &result.file;
            writeln!(out, "{file}:")?;
        }
        let mark = if result.succeeded() { paint("32", "✓") } else { paint("31", "✗") };
        writeln!(out, "{mark} {}{}", result.name, paint("2", &statistics(result)))?;
        if let Some(why) = &result.unreadable {
            writeln!(out, "    {}", paint("31", why))?;
        }
        if result.causes.iter().any(|cause| shared.iter().any(|(other, _)| other == cause)) {
            continue;
        }
        for cause in &result.causes {
            writeln!(out, "    {}", paint("31", &format!("cause: {cause}")))?;
        }
        if !result.succeeded() {
            for line in &result.start_log {
                writeln!(out, "    log at the start: {line}")?;
            }
        }
        for failed in &result.failed {
            write_failure(out, result, failed, &paint)?;
        }
        if result.more_failed > 0 {
            writeln!(out, "    and {} more, which are not shown", result.more_failed)?;
        }
    }
    let failed = results.iter().filter(|result| !result.succeeded()).count();
    let succeeded = results.len() - failed;
    let summary = format!("{succeeded} passed, {failed} failed");
    writeln!(out, "{}", paint(if failed == 0 { "32" } else { "31" }, &summary))
}

/// The causes that stopped several scenarios from being played, and of how many: the policy does
/// not start, or refuses its settings.
fn shared_causes(results: &[ScenarioResult]) -> Vec<(&str, usize)> {
    let mut causes: Vec<(&str, usize)> = Vec::new();
    let not_played = results.iter().filter(|result| result.steps == 0);
    for cause in not_played.flat_map(|result| &result.causes) {
        match causes.iter_mut().find(|(other, _)| other == cause) {
            Some((_, times)) => *times += 1,
            None => causes.push((cause, 1)),
        }
    }
    causes.retain(|(_, times)| *times > 1);
    causes
}

fn write_failure(
    out: &mut impl Write,
    result: &ScenarioResult,
    failed: &StepFailure,
    paint: &impl Fn(&str, &str) -> String,
) -> io::Result<()> {
    let user = failed.user.as_ref().map(|user| format!(", {}", quoted(user))).unwrap_or_default();
    let location =
        if failed.line > 0 { format!("{}:{}", result.file, failed.line) } else { result.file.clone() };
    let at = if failed.at.is_empty() { String::new() } else { format!(" at {}", failed.at) };
    writeln!(out, "    {location}{at}{user}{}", repetitions(failed))?;
    for (what, expected, got) in &failed.differences {
        writeln!(out, "      {what}")?;
        writeln!(out, "        {}", paint("32", &format!("expected: {expected}")))?;
        writeln!(out, "        {}", paint("31", &format!("got:      {got}")))?;
    }
    if let Some(decision) = &failed.decision {
        writeln!(out, "      decision: {decision}")?;
    }
    if let Some(held) = &failed.store_held {
        let nothing = if held.is_empty() { " nothing" } else { "" };
        writeln!(out, "      the store holds:{nothing}")?;
        for entry in held {
            writeln!(out, "        {entry}")?;
        }
    }
    for (what, lines) in [("store", &failed.store), ("log", &failed.log)] {
        for line in lines {
            writeln!(out, "      {what}: {line}")?;
        }
    }
    Ok(())
}

/// How often the failure was repeated, and in which other lines.
fn repetitions(failed: &StepFailure) -> String {
    let lines: Vec<_> = failed.more_lines.iter().map(ToString::to_string).collect();
    let lines = match lines.len() {
        0 => String::new(),
        1 => format!(", also in line {}", lines[0]),
        _ => format!(", also in lines {}", lines.join(", ")),
    };
    if failed.times > 1 {
        format!(", the first of {} failures with this reason{lines}", failed.times)
    } else {
        lines
    }
}

fn statistics(result: &ScenarioResult) -> String {
    if result.logins == 0 {
        return String::new();
    }
    #[allow(clippy::cast_precision_loss)]
    let relief = (result.logins - result.passed) as f64 * 100.0 / result.logins as f64;
    format!(
        " — {}, {} ({} passed), relief {relief:.0} %, {} of virtual time in {:.0} ms",
        count(result.steps, "step"),
        count(result.logins, "login"),
        result.passed,
        format_seconds(result.virtual_time.as_secs()),
        result.real_time.as_secs_f64() * 1000.0
    )
}

fn count(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// Seconds in a unit that keeps the number small.
fn format_seconds(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

fn write_json(out: &mut impl Write, policy: &str, results: &[ScenarioResult]) -> io::Result<()> {
    let scenarios: Vec<_> = results
        .iter()
        .map(|result| {
            json!({
                "name": result.name,
                "file": result.file,
                "ok": result.succeeded(),
                "steps": result.steps,
                "logins": result.logins,
                "passed": result.passed,
                "virtual_s": result.virtual_time.as_secs_f64(),
                "real_s": result.real_time.as_secs_f64(),
                "causes": result.causes,
                "failed": result.failed.iter().map(failed_in_json).collect::<Vec<_>>(),
                "more_failed": result.more_failed,
                "start_log": result.start_log,
                "unreadable": result.unreadable,
            })
        })
        .collect();
    let failed = results.iter().filter(|result| !result.succeeded()).count();
    let report = json!({ "policy": policy, "ok": failed == 0, "failed": failed, "scenarios": scenarios });
    serde_json::to_writer_pretty(&mut *out, &report)?;
    writeln!(out)
}

fn failed_in_json(failed: &StepFailure) -> serde_json::Value {
    let differences: Vec<_> = failed
        .differences
        .iter()
        .map(|(what, expected, got)| json!({ "what": what, "expected": expected, "got": got }))
        .collect();
    json!({
        "times": failed.times,
        "line": failed.line,
        "more_lines": failed.more_lines,
        "at": failed.at,
        "user": failed.user,
        "policy_failure": failed.policy_failure,
        "differences": differences,
        "decision": failed.decision,
        "log": failed.log,
        "store": failed.store,
        "store_held": failed.store_held,
    })
}

fn write_junit(out: &mut impl Write, policy: &str, results: &[ScenarioResult]) -> io::Result<()> {
    let failures = results.iter().filter(|result| !result.succeeded()).count();
    let seconds: f64 = results.iter().map(|result| result.real_time.as_secs_f64()).sum();
    writeln!(out, r#"<?xml version="1.0" encoding="UTF-8"?>"#)?;
    writeln!(
        out,
        r#"<testsuites><testsuite name="{}" tests="{}" failures="{failures}" errors="0" time="{seconds:.3}">"#,
        xml(policy),
        results.len()
    )?;
    for result in results {
        write!(
            out,
            r#"  <testcase classname="{}" name="{}" time="{:.3}">"#,
            xml(&result.file),
            xml(&result.name),
            result.real_time.as_secs_f64()
        )?;
        if !result.succeeded() {
            let mut text = Vec::new();
            write_text(&mut text, std::slice::from_ref(result), false)?;
            let first = result.failed.first().and_then(|failed| failed.differences.first());
            let message = match (result.unreadable.as_ref().or(result.causes.first()), first) {
                (Some(why), _) => why.clone(),
                (None, Some((what, expected, got))) => format!("{what}: expected {expected}, got {got}"),
                (None, None) => String::new(),
            };
            write!(
                out,
                "\n    <failure message=\"{}\">{}</failure>\n  ",
                xml(&message),
                xml(&String::from_utf8_lossy(&text))
            )?;
        }
        writeln!(out, "</testcase>")?;
    }
    writeln!(out, "</testsuite></testsuites>")
}

/// Escapes text for XML 1.0, which cannot contain most control characters.
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

    fn failed() -> ScenarioResult {
        ScenarioResult {
            name: "one".to_owned(),
            file: "one.toml".to_owned(),
            steps: 1,
            logins: 2,
            passed: 1,
            causes: vec!["the policy fails".to_owned()],
            failed: vec![StepFailure {
                times: 200,
                line: 7,
                at: "2026-03-10 12:00:00".to_owned(),
                user: Some("a\u{1b}[2J".to_owned()),
                differences: vec![("manner".to_owned(), "busy".to_owned(), "empty".to_owned())],
                store_held: Some(Vec::new()),
                ..StepFailure::default()
            }],
            more_failed: 3,
            ..ScenarioResult::default()
        }
    }

    fn report(format: Format, colour: bool) -> String {
        let mut out = Vec::new();
        write(&mut out, format, "p.wasm", &[ScenarioResult::default(), failed()], colour).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_text_report_shows_expected_and_actual_values() {
        let report = report(Format::Human, false);
        for expected in [
            "✗ one — 1 step, 2 logins (1 passed), relief 50 %, 0 s of virtual time in 0 ms",
            "    cause: the policy fails\n",
            "one.toml:7 at 2026-03-10 12:00:00, \"a\\u{1b}[2J\", the first of 200 failures with this reason\n",
            "manner\n        expected: busy\n        got:      empty\n",
            "the store holds: nothing",
            "and 3 more, which are not shown",
            "1 passed, 1 failed",
        ] {
            assert!(report.contains(expected), "{expected:?} is not in:\n{report}");
        }
        assert!(!report.contains('\u{1b}'), "no colours, and no escapes of a user's name");
    }

    #[test]
    fn a_cause_that_several_scenarios_share_is_named_once_and_first() {
        let result = |cause: &str, steps| ScenarioResult {
            steps,
            causes: vec![cause.to_owned()],
            failed: vec![StepFailure::default()],
            ..ScenarioResult::default()
        };
        let refused = "the policy refuses its settings: x";
        let results = [result(refused, 0), result("the policy fails", 1), result(refused, 0)];
        let mut out = Vec::new();
        write(&mut out, Format::Human, "p.wasm", &results, false).unwrap();
        let report = String::from_utf8(out).unwrap();
        assert!(
            report.starts_with("2 scenarios fail because the policy refuses its settings: x\n"),
            "{report}"
        );
        assert_eq!(report.matches("refuses").count(), 1, "{report}");
        assert!(report.contains("cause: the policy fails\n"), "{report}");
    }

    #[test]
    fn the_text_report_has_colours_on_request() {
        let report = report(Format::Human, true);
        assert!(report.contains("\u{1b}[32m✓\u{1b}[0m") && report.contains("\u{1b}[31m✗\u{1b}[0m"));
        assert!(!report.contains("\u{1b}[2J"), "{report}");
    }

    #[test]
    fn durations_have_a_fitting_unit() {
        assert_eq!(
            [format_seconds(5), format_seconds(600), format_seconds(36_000), format_seconds(1_000_000)],
            ["5 s", "10 min", "10 h", "11 days"]
        );
    }
}
