//! Fresh instances, equal failures, and what explains them.

use super::{Folder, play, run, text};
use crate::support::guests;

/// Runs one scenario for the policy that misbehaves in `decide` as `how` says.
fn play_hostile(how: &str, steps: &str) -> (Option<i32>, String) {
    let folder = Folder::new();
    let content = format!("settings = {{ at = \"decide\", how = \"{how}\" }}\n{steps}");
    let path = folder.file("one.toml", &content);
    let output = run(&[&guests::hostile().display().to_string(), &path.display().to_string()]);
    (output.status.code(), text(&output.stdout) + &text(&output.stderr))
}

#[test]
fn a_policy_that_remembers_in_its_own_memory_is_found() {
    // It notes the number of blocks in its memory.
    let (code, report) = play_hostile("grow", "[[step]]\nlogin = \"alice\"\n[[step]]\nlogin = \"bob\"\n");
    assert_eq!(code, Some(1), "{report}");
    let expected = "cause: the policy keeps state in its own memory, which the host may discard at any time: \
                    in line 4, at 2026-03-10 12:00:00, the login of \"bob\" is \"pass, note \"2\" → passed\" with \
                    a reused instance and \"pass, note \"1\" → passed\" with a fresh one; keep state in the store";
    assert!(report.contains(expected), "{report}");
}

#[test]
fn random_numbers_and_state_in_the_store_are_not_memory() {
    let two = "[[step]]\nrepeat = 2\nlogin = \"alice\"\n";
    for how in ["random-note", "reroute-once-then-deny"] {
        let (code, report) = play_hostile(how, two);
        assert_eq!(code, Some(0), "{how}: {report}");
    }
}

#[test]
fn equal_failures_are_reported_once_with_their_number() {
    let (code, report, _) = play(
        "[[step]]\nusers = { count = 200, name = \"u{}\" }\nexpect = \"deny\"\n\
         [[step]]\nusers = { count = 20, name = \"u{}\" }\nexpect = { retry-after = 1 }\n",
        &[],
    );
    assert_eq!(code, Some(1));
    for expected in [
        "one.toml:1 at 2026-03-10 12:00:00, \"u1\", the first of 200 failures with this reason",
        "one.toml:4 at 2026-03-10 12:00:00, \"u1\", the first of 20 failures with this reason",
    ] {
        assert!(report.contains(expected), "{expected:?} is not in:\n{report}");
    }
    assert_eq!(report.matches("one.toml:").count(), 2, "{report}");
}

#[test]
fn a_policy_that_fails_is_named_first() {
    let steps = "[[step]]\nlogin = \"alice\"\nexpect = \"pass\"\n\
                 [[step]]\nrepeat = 9\nlogin = \"bob\"\ncount = { deny = 9 }\n";
    let (code, report) = play_hostile("divide", steps);
    assert_eq!(code, Some(1));
    let place = |part: &str| report.find(part).unwrap_or_else(|| panic!("{part:?} is not in:\n{report}"));
    let cause = place("cause: the policy fails in 10 of 10 logins: it trapped: ");
    let first = place("the first of 10 failures with this reason, also in line 5");
    assert!(cause < first && first < place("count of deny"), "{report}");
}

#[test]
fn settings_that_are_refused_are_named_once_for_all_scenarios() {
    let content =
        "[[scenario]]\n[[scenario.step]]\nlogin = \"a\"\n[[scenario]]\n[[scenario.step]]\nlogin = \"b\"\n";
    let (code, report, _) = play(content, &["--set", "interval=soon"]);
    assert_eq!(code, Some(1));
    assert!(report.starts_with("2 scenarios fail because the policy refuses its settings: "), "{report}");
    assert_eq!(report.matches("soon").count(), 1, "{report}");
}

#[test]
fn a_policy_that_does_not_start_with_some_settings_fails_only_their_scenarios() {
    let folder = Folder::new();
    let path = folder.file(
        "one.toml",
        "[[scenario]]\nsettings = { at = \"configure\", how = \"unreachable\" }\n[[scenario.step]]\nlogin = \"a\"\n\
         [[scenario]]\n[[scenario.step]]\nlogin = \"a\"\n",
    );
    let output = run(&[&guests::hostile().display().to_string(), &path.display().to_string()]);
    let report = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{report}");
    assert!(report.contains("cause: the policy does not start: "), "{report}");
    assert!(report.contains("1 passed, 1 failed"), "{report}");
}
