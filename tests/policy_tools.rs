//! `reprieve policy decide`, `bench` and `inspect`.

mod support;

use std::process::{Command, Output};

use serde_json::Value;
use support::guests;

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_reprieve"))
        .arg("policy")
        .args(arguments)
        .output()
        .expect("running reprieve")
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
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
    let first = run(&["decide", "interval", "--user", "alice", "--at", "2026-03-10T12:00:00"]);
    assert_says(
        &first,
        0,
        &[
            "2026-03-10 12:00:00",
            "\"alice\", secret unknown",
            "pass",
            "goes on to the mail server",
            "authenticated: taken",
            "get \"alice\" → nothing",
            "set \"alice\" = hex:",
            "µs of CPU",
            "KiB",
        ],
    );
    let again = run(&["decide", "interval", "--user", "alice", "--last", "1m", "--set", "interval=10m"]);
    assert_says(
        &again,
        0,
        &[
            "secret known",
            "deny unchanged, retry-after 540, reason \"too-soon\"",
            "answered by Reprieve",
            "get \"alice\" → hex:",
        ],
    );
    let stranger = run(&["decide", "interval", "--user", "alice", "--last", "1m", "--standing", "changed"]);
    assert_says(&stranger, 0, &["deny unchanged", "only it can tell whether the secret is right"]);
    let (code, report) =
        json(&["decide", "interval", "--user", "alice", "--last", "1m", "--set", "manner=busy"]);
    assert_eq!(code, Some(0));
    assert_eq!(report["verdict"]["manner"], "busy");
    assert_eq!(report["becomes"], "posed");
    assert_eq!(report["store"].as_array().map(Vec::len), Some(2));
}

#[test]
fn a_policy_that_fails_is_explained_too() {
    let hostile = guests::hostile().display().to_string();
    let decide = |more: &[&str]| run(&[&["decide", &hostile, "--user", "alice"], more].concat());
    assert_says(
        &decide(&["--set", "at=decide", "--set", "how=trap"]),
        1,
        &["failure trap: it trapped", "on-failure = \"pass\"", "as I was told"],
    );
    assert_says(&decide(&["--set", "at=decide", "--set", "how=spin"]), 1, &["failure time", "limits.time"]);
    assert_says(
        &decide(&["--set", "at=configure", "--set", "how=refuse-settings"]),
        1,
        &["not to my liking"],
    );
    assert_says(&run(&["decide", "interval", "--user", "a", "--set", "x"]), 2, &["KEY=VALUE"]);
    assert_says(&run(&["decide", "interval", "--user", "a", "--last", "soon"]), 2, &["--last soon", "10m"]);
    assert_says(&run(&["decide", "intervall", "--user", "a"]), 2, &["built in: interval"]);
}

#[test]
fn a_policy_is_measured_as_the_proxy_calls_it() {
    let (code, report) = json(&["bench", "interval", "--calls", "3000", "--users", "100", "--fresh", "20"]);
    assert_eq!(code, Some(0));
    assert_eq!(report["decide"]["count"], 3000);
    assert_eq!(report["fresh"]["count"], 20);
    // A hundred users in thirty minutes: each passes at the start and every ten minutes.
    assert_eq!(report["passed"], 300);
    assert_eq!(report["observe"]["count"], 300);
    assert_eq!(report["failed"], 0);
    let share = report["denied-poll"]["share"].as_f64().expect("a share");
    assert!((0.0..1.0).contains(&share), "{share}");
    assert!(report["decide"]["p99-us"].as_f64() >= report["decide"]["p50-us"].as_f64());
    assert!(report["memory"]["highest"].as_u64() >= report["memory"]["start"].as_u64());
}

#[test]
fn a_policy_that_fails_when_it_is_measured_is_told() {
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
            "reprieve:policy@0.1.0",
            "decide",
            "reprieve:policy/store@0.1.0",
            "(virtual)",
            "known are interval, reset, memory-limit",
            "runs       yes",
        ],
    );
    let (_, report) = json(&["inspect", "interval"]);
    let folder = tempfile::tempdir().unwrap();
    let octets = reprieve::policy::load_source("interval").unwrap();
    let path = folder.path().join("interval.wasm");
    std::fs::write(&path, &octets).unwrap();
    let summed = Command::new("sha256sum").arg(&path).output().expect("running sha256sum");
    assert!(text(&summed.stdout).starts_with(report["sha256"].as_str().unwrap()));
}

#[test]
fn what_cannot_run_is_inspected_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let octets = reprieve::policy::load_source("interval").unwrap();
    for (name, content, expected) in [
        ("text.wasm", &b"hello"[..], &["no WebAssembly", "runs       no: it is not WebAssembly"][..]),
        ("core.wasm", b"\0asm\x01\0\0\0", &["core module", "wasm-tools component new"]),
        ("cut.wasm", &octets[..octets.len() / 2], &["component", "damage", "cut off or damaged"]),
        ("empty.wasm", b"", &["runs       no: the file is empty"]),
    ] {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        assert_says(&run(&["inspect", &path.display().to_string()]), 1, expected);
    }
    assert_says(&run(&["inspect", "nowhere.wasm"]), 2, &["cannot read the component nowhere.wasm"]);
}
