//! `reprieve policy fuzz`: faults in policies are found, and shown by scenarios that fail.

use super::{assert_says, run, text};
use crate::support::guests;

/// Enough runs to find each fault, and few enough for seconds.
const RUNS: [&str; 4] = ["--seed", "1", "--runs", "200"];

/// A fault, the invariant that it breaks, and what the failing scenario says.
const FAULTS: [(&str, &str, &str); 7] = [
    ("off-by-one", "retry-after", "expected: pass"),
    ("no-reset", "reset", "expected: pass"),
    ("slot-taken-by-attempt", "wrong-password", "expected: pass"),
    ("own-memory", "own-memory", "the policy keeps state in its own memory"),
    ("trap-at-midnight", "failure", "it trapped"),
    ("unbounded-store", "store", "store, bytes"),
    ("new-mail-waits", "new-mail", "expected: passed"),
];

#[test]
fn each_planted_fault_is_found_and_shown_by_a_scenario_that_fails() {
    let faulty = guests::faulty().display().to_string();
    let folder = tempfile::tempdir().unwrap();
    for (fault, invariant, expected) in FAULTS {
        let scenario = folder.path().join(format!("{fault}.toml")).display().to_string();
        let set = format!("fault={fault}");
        let output = run(&[&["fuzz", &faulty, "--set", &set, "-o", &scenario], &RUNS[..]].concat());
        assert_says(&output, 1, &[&format!("{invariant} does not hold"), "the scenario is in "]);
        assert_says(&run(&["test", &faulty, &scenario]), 1, &[expected]);
        // The fault alone makes it fail.
        let content = std::fs::read_to_string(&scenario).unwrap();
        let settings = format!("settings = {{ \"fault\" = \"{fault}\" }}\n");
        assert!(content.contains(&settings), "{content}");
        let steps = content.matches("[[step]]").count();
        assert!(steps <= 8, "{steps} steps:\n{content}");
        if !content.contains("expect = {") {
            std::fs::write(&scenario, content.replace(&settings, "")).unwrap();
            assert_says(&run(&["test", &faulty, &scenario]), 0, &["1 passed, 0 failed"]);
        }
    }
}

#[test]
fn policies_without_a_fault_break_no_invariant() {
    for policy in [&*guests::faulty().display().to_string(), "interval"] {
        let output = run(&[&["fuzz", policy], &RUNS[..]].concat());
        assert_says(&output, 0, &["all invariants held in 200 runs"]);
    }
}

#[test]
fn an_invariant_that_is_switched_off_is_not_checked() {
    let faulty = guests::faulty().display().to_string();
    let fuzz = ["fuzz", &faulty, "--set", "fault=unbounded-store", "--runs", "3"];
    assert_says(&run(&fuzz), 1, &["store does not hold (run 0, seed 0)"]);
    assert_says(&run(&[&fuzz[..], &["--without", "store"]].concat()), 0, &["all invariants held in 3 runs"]);
    assert_says(&run(&[&fuzz[..], &["--without", "shop"]].concat()), 2, &["wrong-password"]);
    assert_says(&run(&[&fuzz[..], &["--without", "store", "--time", "soon"]].concat()), 2, &["1h30m"]);
}

#[test]
fn without_a_file_the_scenario_is_printed() {
    let faulty = guests::faulty().display().to_string();
    let fuzz = ["fuzz", &faulty, "--set", "fault=off-by-one"];
    let output = run(&[&fuzz[..], &RUNS[..]].concat());
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("\n[[step]]\nafter = \"10m\"\nlogin = { user = \"alice\""), "{said}");
    assert_eq!(said, text(&run(&[&fuzz[..], &RUNS[..]].concat()).stdout), "the same seed finds the same");
}
