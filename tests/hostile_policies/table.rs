//! The table in `docs/hostile-policies.md`: what each hostile policy does, and what follows.

use std::fmt::Write as _;
use std::path::Path;

use super::loading::load_failures;
use super::log::lines_of;
use super::pair::{Pair, hostile};
use crate::support::mail_server;

/// Misbehaviour at `decide`, and the counted kind of failure.
const FAILURES: [(&str, &str, &str); 29] = [
    ("spin", "loops for ever", "time"),
    ("spin-store", "asks the store for ever", "time"),
    ("spin-clock", "asks for the time for ever", "time"),
    ("memory", "allocates megabytes for ever", "memory"),
    ("small-memory", "allocates small pieces for ever", "memory"),
    ("hoard-streams", "opens standard output for ever, and begins a line in each", "trap"),
    ("recurse", "calls itself for ever", "stack"),
    ("sleep", "sleeps for an hour", "wait"),
    ("sleep-often", "sleeps a millisecond for ever", "wait"),
    ("trap", "panics", "trap"),
    ("unreachable", "executes `unreachable`", "trap"),
    ("divide", "divides by zero", "trap"),
    ("out-of-bounds", "reads outside its memory", "trap"),
    ("exit", "ends the process", "trap"),
    ("long-note", "returns a note of 100,000 bytes", "verdict"),
    ("giant-note", "returns a note of 8 MiB", "strings"),
    ("giant-user", "returns a user name of 8 MiB", "strings"),
    ("giant-reason", "returns a reason of 8 MiB", "strings"),
    ("long-reason", "returns a reason of 65 bytes", "verdict"),
    ("forged-reason", "returns a reason with a line feed", "verdict"),
    ("unknown-pool", "names a pool that does not exist", "verdict"),
    ("smuggling-user", "returns a user name with CR LF and a command", "verdict"),
    ("nul-user", "returns a user name with NUL", "verdict"),
    ("blank-user", "returns a blank user name", "verdict"),
    ("long-user", "returns a user name of 249 bytes", "verdict"),
    ("invalid-string", "returns a string that is not UTF-8", "trap"),
    ("bad-pointer", "returns a string outside its memory", "trap"),
    ("bad-discriminant", "returns a manner that does not exist", "trap"),
    ("giant-value", "passes the store a value of 8 MiB", "strings"),
];

/// Misbehaviour that exceeds a limit without failing the call, and the counted kind.
const OVERRUNS: [(&str, &str, &str); 6] = [
    ("fill-store", "fills the store", "store-quota"),
    ("store-too-long", "passes the store a value of 65,537 bytes", "store-length"),
    ("flood-log", "writes 100,000 lines to the log", "log-lines"),
    ("flood-output", "writes 20,000 lines to standard output and error", "log-lines"),
    ("long-line", "writes a line of 5,000 bytes", "log-line"),
    ("absurd-delay", "refuses with a delay of 49 days", "delay"),
];

/// A row of the table: component, what it does, what the log says, what the client sees.
pub type Row = (String, String, String, String);

fn failures_at_decide(rows: &mut Vec<Row>) {
    let mail = mail_server(1);
    for (how, what, kind) in FAILURES {
        // On a busy machine the time limit may be reached before another one.
        let limits = if kind == "time" { "" } else { "limits = { time = \"5s\" }\n" };
        let pair = Pair::start(how, &hostile("decide", how, limits), mail.address()).unwrap();
        pair.neighbour_is_served();
        let answer = pair.answer();
        assert!(answer.starts_with("+OK"), "{how}: {answer}");
        pair.neighbour_is_served();
        let metrics = pair.metrics();
        assert_eq!(metrics.failed(kind), 1, "{how}: {metrics:?}");
        assert_eq!(metrics.failures.iter().map(|(_, count)| count).sum::<u64>(), 1, "{how}: {metrics:?}");
        let told = pair.told();
        drop(pair);
        let pair = Pair::start(
            &format!("{how}-deny"),
            &hostile("decide", how, &format!("{limits}on-failure = \"deny\"")),
            mail.address(),
        )
        .unwrap();
        let answer = pair.answer();
        assert!(answer.starts_with("-ERR [SYS/TEMP]"), "{how}: {answer}");
        rows.push((
            format!("`decide`: {how}"),
            what.to_owned(),
            told,
            "passes; with `on-failure = \"deny\"` -ERR [SYS/TEMP]".to_owned(),
        ));
    }
}

fn overruns_at_decide(rows: &mut Vec<Row>) {
    let mail = mail_server(1);
    let limits = "store-quota = \"1MiB\"\nlimits = { time = \"2s\", delay = \"10ms\" }";
    for (how, what, kind) in OVERRUNS {
        let pair = Pair::start(how, &hostile("decide", how, limits), mail.address()).unwrap();
        let answer = pair.answer();
        pair.neighbour_is_served();
        let metrics = pair.metrics();
        assert!(metrics.overran(kind) >= 1, "{how}: {metrics:?}");
        assert_eq!(metrics.failures.iter().map(|(_, count)| count).sum::<u64>(), 0, "{how}: {metrics:?}");
        let refused = how == "absurd-delay";
        assert_eq!(answer.starts_with("-ERR [LOGIN-DELAY]"), refused, "{how}: {answer}");
        assert_eq!(answer.starts_with("+OK"), !refused, "{how}: {answer}");
        // A policy's output stays in its own log lines, whose number is limited.
        let lines = lines_of(how);
        assert!(lines.len() < 500, "{how}: {} lines", lines.len());
        assert!(
            lines.iter().all(|line| !line["message"].as_str().unwrap_or("").contains(['\r', '\n', '\u{1b}'])),
            "{how}"
        );
        let seen = if refused { "is refused, as judged, after `limits.delay`" } else { "passes" };
        rows.push((format!("`decide`: {how}"), what.to_owned(), pair.told(), seen.to_owned()));
    }
}

fn failures_at_observe(rows: &mut Vec<Row>) {
    let mail = mail_server(1);
    for (how, what, kind) in FAILURES
        .into_iter()
        .filter(|(how, ..)| ["trap", "spin", "memory", "recurse", "sleep", "exit"].contains(how))
    {
        let name = format!("observe-{how}");
        let limits = if kind == "time" { "" } else { "limits = { time = \"5s\" }\n" };
        let pair = Pair::start(&name, &hostile("observe", how, limits), mail.address()).unwrap();
        assert!(pair.answer().starts_with("+OK"), "{how}");
        pair.neighbour_is_served();
        assert_eq!(pair.metrics().failed(kind), 1, "{how}");
        rows.push((
            format!("`observe`: {how}"),
            what.to_owned(),
            pair.told(),
            "is let in, as the mail server said".to_owned(),
        ));
    }
}

#[test]
fn the_table_of_hostile_policies_is_up_to_date() {
    let mut rows = Vec::new();
    failures_at_decide(&mut rows);
    overruns_at_decide(&mut rows);
    failures_at_observe(&mut rows);
    load_failures(&mut rows);
    assert!(rows.len() >= 60);
    let mut table = String::from(
        "# Hostile policies\n\nWhat happens with policies that misbehave, as the tests in `tests/hostile_policies` see it; they fail if this page says anything else. In each of these cases another virtual server of the same process was served before and after.\n\n| component | what it does | what the administrator is told | what the client sees |\n| --- | --- | --- | --- |\n",
    );
    for (component, what, told, seen) in rows {
        let told = told.replace('|', "\\|").replace('\n', " ");
        // Digests and sizes depend on the compiler's version.
        let told = hide_what_changes(&told);
        let _ = writeln!(table, "| {component} | {what} | {told} | {seen} |");
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("the workspace")
        .join("docs/hostile-policies.md");
    if std::env::var_os("REPRIEVE_WRITE_TABLE").is_some() {
        std::fs::write(&path, &table).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    for (number, (written, seen)) in written.lines().zip(table.lines()).enumerate() {
        assert_eq!(
            written,
            seen,
            "docs/hostile-policies.md:{}: REPRIEVE_WRITE_TABLE=1 writes it anew",
            number + 1
        );
    }
    assert_eq!(
        written.lines().count(),
        table.lines().count(),
        "REPRIEVE_WRITE_TABLE=1 writes docs/hostile-policies.md anew"
    );
}

/// Masks digests, offsets and sizes of compiled components.
fn hide_what_changes(text: &str) -> String {
    let mut out = String::new();
    for word in text.split(' ') {
        let digits = word.bytes().filter(u8::is_ascii_hexdigit).count();
        let is_number = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
        let changes = digits == 64
            || word.contains("..")
            || word.contains("0x")
            || (is_number && text.contains("limits.component") && word.len() > 5)
            || (is_number && text.contains("compiled"))
            || word.ends_with(')') && word.starts_with(|c: char| c.is_ascii_digit());
        out.push_str(if changes { "…" } else { word });
        out.push(' ');
    }
    out.trim_end().to_owned()
}
