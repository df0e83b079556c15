//! `reprieve policy decide`, `bench`, `inspect` and `fuzz`.

mod any_login;
mod fuzz;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use crate::support::running::BINARY;
use crate::support::{components, guests};
use serde_json::Value;

fn run(arguments: &[&str]) -> Output {
    Command::new(BINARY).arg("policy").args(arguments).output().expect("running reprieve")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn json(arguments: &[&str]) -> (Option<i32>, Value) {
    let output = run(&[arguments, &["--format", "json"]].concat());
    let report = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}{}", text(&output.stdout), text(&output.stderr)));
    (output.status.code(), report)
}

#[track_caller]
fn assert_says(output: &Output, code: i32, expected: &[&str]) {
    let said = text(&output.stdout) + &text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    for part in expected {
        assert!(said.contains(part), "{part:?} is not in:\n{said}");
    }
}

#[test]
fn a_decision_is_explained() {
    // A fixed time, because `interval` resets at midnight.
    let decide = ["decide", "interval", "--user", "alice", "--at", "2026-03-10T12:00:00"];
    let again = |more: &[&'static str]| [&decide[..], &["--last", "1m"], more].concat();
    let first = run(&decide);
    assert_says(
        &first,
        0,
        &[
            "2026-03-10 12:00:00",
            "\"alice\", secret unknown",
            "pass",
            "passed to the mail server",
            "authenticated: observed",
            "get memory of \"alice\" → nothing",
            "commit: set memory of \"alice\" = [1773",
            "µs of CPU",
            "KiB",
        ],
    );
    let second = run(&again(&["--set", "interval=10m"]));
    assert_says(
        &second,
        0,
        &[
            "secret known",
            "deny unchanged, retry-after 540, reason \"too-soon\"",
            "answers in the mail server's place",
            "get memory of \"alice\" → [1773",
        ],
    );
    let changed = run(&again(&["--standing", "changed"]));
    assert_says(&changed, 0, &["deny unchanged", "only it can verify the secret"]);
    let (code, report) = json(&again(&["--set", "manner=busy"]));
    assert_eq!(code, Some(0));
    assert_eq!(report["verdict"]["manner"], "busy");
    assert_eq!(report["disposition"], "posed");
    assert_eq!(report["store"].as_array().map(Vec::len), Some(1), "{report}");
}

/// The table of settings in the README of `interval` is what the policy says itself.
#[test]
fn the_readme_has_the_settings_that_interval_describes() {
    let (_, report) = json(&["inspect", "interval"]);
    let described: BTreeMap<_, _> = report["settings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["name"].as_str().unwrap(), one["default"].as_str().unwrap()))
        .collect();
    let readme = include_str!("../../policies/interval/README.md");
    let rows = readme.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | `"));
    let documented: BTreeMap<_, _> =
        rows.filter_map(|(name, rest)| Some((name, rest.split_once('`')?.0))).collect();
    assert_eq!(documented, described);
}

#[test]
fn a_wrong_setting_is_refused_with_its_description() {
    let output = run(&["decide", "interval", "--user", "alice", "--set", "interval=soon"]);
    assert_says(
        &output,
        1,
        &["`interval` is \"soon\"; it is a duration such as 9m30s (default 10m): How long Reprieve answers"],
    );
}

#[test]
fn a_policy_that_fails_is_explained_too() {
    let hostile = guests::hostile().display().to_string();
    let decide = |more: &[&str]| run(&[&["decide", &hostile, "--user", "alice"], more].concat());
    assert_says(
        &decide(&["--set", "at=decide", "--set", "how=trap"]),
        1,
        &["failure trap: it trapped", "on-failure = \"pass\"", "as configured"],
    );
    assert_says(&decide(&["--set", "at=decide", "--set", "how=spin"]), 1, &["failure time", "limits.time"]);
    assert_says(
        &decide(&["--set", "at=configure", "--set", "how=refuse-settings"]),
        1,
        &["refused by the test"],
    );
    assert_says(&run(&["decide", "interval", "--user", "a", "--set", "x"]), 2, &["KEY=VALUE"]);
    assert_says(&run(&["decide", "interval", "--user", "a", "--last", "soon"]), 2, &["--last soon", "10m"]);
    assert_says(&run(&["decide", "intervall", "--user", "a"]), 2, &["built in: interval"]);
}

#[test]
fn bench_calls_a_policy_as_the_proxy_does() {
    let (code, report) = json(&["bench", "interval", "--calls", "3000", "--users", "100", "--fresh", "20"]);
    assert_eq!(code, Some(0));
    assert_eq!(report["decide"]["count"], 3000);
    assert_eq!(report["fresh"]["count"], 20);
    // A hundred users for thirty minutes: each passes at the start and every ten minutes.
    assert_eq!(report["passed"], 300);
    assert_eq!(report["observe"]["count"], 300);
    assert_eq!(report["failed"], 0);
    let share = report["denied_poll"]["share"].as_f64().expect("a share");
    assert!((0.0..1.0).contains(&share), "{share}");
    assert!(report["decide"]["p99_us"].as_f64() >= report["decide"]["p50_us"].as_f64());
    let bytes = |name: &str| report["memory"][name].as_u64().expect("a number of bytes");
    assert!(bytes("peak_bytes") >= bytes("start_bytes"));
}

#[test]
fn bench_reports_a_policy_that_fails() {
    let hostile = guests::hostile().display().to_string();
    let set = ["--set", "at=decide", "--set", "how=trap"];
    let (code, report) = json(&[&["bench", &hostile, "--calls", "50", "--fresh", "0"], &set[..]].concat());
    assert_eq!(code, Some(1));
    assert_eq!(report["failed"], 50);
}

#[test]
fn a_component_is_inspected() {
    let output = run(&["inspect", "interval"]);
    assert_says(
        &output,
        0,
        &[
            "component",
            "reprieve:policy@0.2.0",
            "reprieve:policy/handler@0.2.0",
            "reprieve:policy/store@0.2.0",
            "(virtual)",
            "interval: a duration such as 9m30s, default 10m. How long",
            "reset: one of daily, never, default daily.",
            "runs       yes",
        ],
    );
    let (_, report) = json(&["inspect", "interval"]);
    let folder = tempfile::tempdir().unwrap();
    let bytes = reprieve_policy_host::load_source("interval").unwrap();
    let path = folder.path().join("interval.wasm");
    std::fs::write(&path, &bytes).unwrap();
    let summed = Command::new("sha256sum").arg(&path).output().expect("running sha256sum");
    assert!(text(&summed.stdout).starts_with(report["sha256"].as_str().unwrap()));
}

#[test]
fn a_component_that_cannot_run_can_be_inspected() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = reprieve_policy_host::load_source("interval").unwrap();
    for (name, content, expected) in [
        ("text.wasm", &b"hello"[..], &["not WebAssembly", "runs       no: it is not WebAssembly"][..]),
        ("core.wasm", b"\0asm\x01\0\0\0", &["core module", "wasm-tools component new"]),
        ("cut.wasm", &bytes[..bytes.len() / 2], &["component", "damage", "truncated or damaged"]),
        ("empty.wasm", b"", &["runs       no: the file is empty"]),
    ] {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        assert_says(&run(&["inspect", &path.display().to_string()]), 1, expected);
    }
    assert_says(&run(&["inspect", "nowhere.wasm"]), 2, &["cannot read the component nowhere.wasm"]);
}

#[test]
fn one_invalid_scenario_file_does_not_stop_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let good = write("good.toml", "[[step]]\nlogin = \"alice\"\nexpect = \"pass\"\n");
    let wrong = write("wrong.toml", "[[scenarios]]\nname = \"a\"\n");
    let missing = folder.path().join("missing.toml").to_str().unwrap().to_owned();
    let output = run(&["test", "interval", &wrong, &missing, &good]);
    assert_says(
        &output,
        2,
        &[
            "wrong.toml:1: unknown key `scenarios`; did you mean `scenario`?",
            "cannot read the scenario",
            "✓ good",
            "1 passed, 2 failed",
        ],
    );
    let (code, report) = json(&["test", "interval", &wrong, &good]);
    assert_eq!((code, report["failed"].as_u64()), (Some(2), Some(1)));
    let why = report["scenarios"][0]["unreadable"].as_str().unwrap();
    assert!(why.contains("did you mean `scenario`?"), "{why}");
}

#[test]
fn log_lines_at_the_start_of_a_policy_are_shown() {
    let hostile = guests::hostile().to_str().unwrap();
    let at_start = ["--set", "at=configure", "--set", "how=long-line"];
    let decided = run(&[&["decide", hostile, "--user", "alice"][..], &at_start].concat());
    assert_says(&decided, 0, &["start log  info  xxxxx"]);
    let (_, report) = json(&[&["decide", hostile, "--user", "alice"][..], &at_start].concat());
    assert_eq!(report["start_log"].as_array().unwrap().len(), 1, "of one instance: {report}");
    let folder = tempfile::tempdir().unwrap();
    let scenario = folder.path().join("refused.toml");
    std::fs::write(&scenario, "[[step]]\nlogin = \"alice\"\nexpect = \"deny\"\n").unwrap();
    let tested = run(&[&["test", hostile, scenario.to_str().unwrap()][..], &at_start].concat());
    assert_says(&tested, 1, &["log at the start: info  xxxxx"]);
}

#[test]
fn a_component_is_compiled_once() {
    let folder = tempfile::tempdir().unwrap();
    let cached = |arguments: &[&str]| {
        let output = Command::new(BINARY)
            .arg("policy")
            .args(arguments)
            .env("CACHE_DIRECTORY", folder.path())
            .output()
            .expect("running reprieve");
        assert_says(&output, 0, &[]);
        text(&output.stdout)
    };
    cached(&["inspect", "interval"]);
    let kept: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(kept.len(), 1, "{kept:?}");
    let said = cached(&["bench", "interval", "--calls", "100", "--fresh", "1"]);
    assert!(said.contains("compiled code from the policy cache"), "{said}");
}

#[test]
fn the_policys_language_is_told_apart_from_its_runtimes() {
    let folder = tempfile::tempdir().unwrap();
    let interval = reprieve_policy_host::load_source("interval").unwrap().into_owned();
    // Their runtime's producers section, at the end of a component that says Rust.
    let marks: [(&[u8], &str); 4] = [
        (b"", "Rust"),
        (b"componentize_py", "Python"),
        (b"quickjs", "JavaScript or TypeScript"),
        (b"~\0l\0i\0b\0/\0r\0t\0/\0", "AssemblyScript"),
    ];
    for (mark, expected) in marks {
        let path = folder.path().join("marked.wasm");
        let content = [&[1, b'x'][..], mark].concat();
        let section = [vec![0, u8::try_from(content.len()).unwrap()], content].concat();
        std::fs::write(&path, [interval.clone(), section].concat()).unwrap();
        let (_, report) = json(&["inspect", path.to_str().unwrap()]);
        assert_eq!(report["language"], expected);
        assert_eq!(report["runs"], true);
    }
}

/// Anybody may have written them.
#[test]
fn names_in_a_component_are_escaped() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("escapes.wasm");
    let interval = reprieve_policy_host::load_source("interval").unwrap().into_owned();
    let name = "\u{1b}[2J\u{9b}\u{202e}sdk";
    let length = u8::try_from(name.len()).unwrap();
    let content = [&b"\x09producers\x01\x03sdk\x01"[..], &[length], name.as_bytes(), &[0]].concat();
    let section = [vec![0, u8::try_from(content.len()).unwrap()], content].concat();
    std::fs::write(&path, [interval, section].concat()).unwrap();
    for (format, expected) in
        [("human", "\\u{1b}[2J\\u{9b}\\u{202e}sdk"), ("json", "\\u001b[2J\\u009b\\u202esdk")]
    {
        let output = run(&["inspect", path.to_str().unwrap(), "--format", format]);
        let said = text(&output.stdout);
        assert!(said.contains(expected), "{said:?}");
        let raw = said.chars().find(|&one| one != '\n' && reprieve_text::escape::is_active(one));
        assert_eq!(raw, None, "{said:?}");
    }
}

/// Runs the compiler process with these limits; whether it succeeded, and its output.
fn compile(component: &[u8], seconds: u32, memory: u64) -> (bool, String) {
    let mut child = Command::new(BINARY)
        .args(["compile-policy", "67108864", "524288", &seconds.to_string(), &memory.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("running reprieve");
    // A process at its limit reads no further.
    let _ = child.stdin.take().expect("its standard input").write_all(component);
    let output = child.wait_with_output().expect("its end");
    assert_eq!(output.status.success(), !output.stdout.is_empty());
    (output.status.success(), text(&output.stderr))
}

/// Component size does not predict compile time: 100 loops over 2,000 variables take 18 kB, 20,000
/// functions of two bytes 100 kB.
#[test]
fn compilation_stops_at_its_time_and_memory_limits() {
    let interval = reprieve_policy_host::load_source("interval").unwrap();
    let (enough, gib) = (600, 1 << 30);
    assert_eq!(compile(&interval, enough, gib), (true, String::new()));
    let slow = components::with_functions(&interval, &[components::loops(100, 2_000)]);
    let (done, why) = compile(&slow, 0, gib);
    assert!(!done && why.contains("more than 0 s of CPU time"), "{why}");
    let many = components::with_functions(&interval, &vec![vec![0, 0x0b]; 20_000]);
    let (done, why) = compile(&many, enough, 128 << 20);
    assert!(!done && why.contains("more than 128 MiB of memory"), "{why}");
}
